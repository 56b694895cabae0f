"""Cohere's embed, v1 and v2. Sources: https://docs.cohere.com/reference/embed, …/v1/reference/embed."""

from __future__ import annotations

from typing import Any

from ...config.models import CohereOptions
from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from ..pivot import count, embeddings, merged_body, not_an_answer, obj, text
from .common import drop_unknown, read_error, read_usage

_OWN = ("truncate", "max_tokens", "priority")
_HANDLED = frozenset(
    {"input", "model", "dimensions", "encoding_format", "input_type", "embedding_types", *_OWN}
)


class Embed:
    """The embeddings operation. v2 must be told which kind of numbers; both answer by kind then."""

    format = "cohere"

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        options = call.options.cohere or CohereOptions()
        kind = text(body.get("input_type")) or options.embedding_input_type
        inputs = body.get("input")
        inputs = [inputs] if isinstance(inputs, str) else inputs
        if not isinstance(inputs, list) or not inputs or not all(isinstance(one, str) for one in inputs):
            raise BadRequest("input must be a text or a list of texts for Cohere", param="input")
        request: Json = {
            "model": call.model,
            "images" if kind == "image" else "texts": inputs,
            "input_type": kind,
            "embedding_types": body.get("embedding_types") or ["float"],
        }
        dimensions = body.get("dimensions") or call.options.embeddings_dimensions
        if dimensions:
            request["output_dimension"] = dimensions
        for name in _OWN:
            if body.get(name) is not None:
                request[name] = body[name]
        drop_unknown(body, _HANDLED, call)
        return request

    def response(self, body: Json, call: Call) -> Json:
        found = body.get("embeddings") if isinstance(body, dict) else None
        vectors = _vectors(found)
        if vectors is None:
            raise not_an_answer("Cohere")
        call.usage = read_usage(body.get("meta"))
        if images := count(obj(obj(body.get("meta")).get("billed_units")).get("image_tokens")):
            # Beside the tokens of text.
            call.usage.image_prompt_tokens = images
            call.usage.prompt_tokens += images
        call.response_id = text(body.get("id")) or None
        return embeddings(call, vectors)

    def stream(self, call: Call) -> StreamDecoder:
        raise ApiError(400, "embeddings cannot be streamed", param="stream")

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


def _vectors(found: Any) -> list[Any] | None:
    """A plain list (v1 without embedding_types), or the first kind there is, floats before others."""
    if isinstance(found, list):
        return found
    for vectors in (obj(found).get("float"), *obj(found).values()):
        if isinstance(vectors, list):
            return vectors
    return None


EMBED_V1 = Embed()
EMBED_V2 = Embed()

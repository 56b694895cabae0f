"""Ollama's /api/embed. Source: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-embeddings."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..base import StreamDecoder
from ..pivot import count, embeddings, merged_body, not_an_answer, text
from .common import read_error

_OWN = ("truncate", "keep_alive", "options")
_HANDLED = frozenset({"input", "model", "dimensions", "encoding_format", *_OWN})


class OllamaEmbed:
    """The embeddings operation."""

    format = "ollama"

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        given = body.get("input")
        inputs = [given] if isinstance(given, str) else given
        if not isinstance(inputs, list) or not inputs or not all(isinstance(one, str) for one in inputs):
            raise BadRequest("input must be a text or a list of texts for Ollama", param="input")
        request: Json = {"model": call.model, "input": given}
        dimensions = body.get("dimensions") or call.options.embeddings_dimensions
        if dimensions:
            request["dimensions"] = dimensions
        for key, value in body.items():
            if value is None:
                continue
            if key in _OWN:
                request[key] = value
            elif key not in _HANDLED:
                call.drop(key)
        return request

    def response(self, body: Json, call: Call) -> Json:
        found = body.get("embeddings") if isinstance(body, dict) else None
        if not isinstance(found, list):
            raise not_an_answer("Ollama")
        tokens = count(body.get("prompt_eval_count"))
        if tokens is not None:
            call.usage = Usage(prompt_tokens=tokens, source=UsageSource.REPORTED)
        return embeddings(call, found, model=text(body.get("model")))

    def stream(self, call: Call) -> StreamDecoder:
        raise ApiError(400, "embeddings cannot be streamed", param="stream")

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


EMBED = OllamaEmbed()

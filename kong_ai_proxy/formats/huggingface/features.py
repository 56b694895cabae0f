"""Feature extraction: embeddings of the Inference API and of text-embeddings-inference.

Source: https://huggingface.co/docs/inference-providers/tasks/feature-extraction.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder
from ..pivot import embeddings, merged_body, not_an_answer, number
from .errors import read_error

_OWN = ("normalize", "prompt_name", "truncate", "truncation_direction", "dimensions")
_HANDLED = frozenset({"input", "model", "encoding_format", *_OWN})


class FeatureExtraction:
    """The embeddings operation."""

    format = "huggingface"
    lists = True
    """Whole answers may be lists."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        given = body.get("input")
        inputs = [given] if isinstance(given, str) else given
        if not isinstance(inputs, list) or not inputs or not all(isinstance(one, str) for one in inputs):
            raise BadRequest("input must be a text or a list of texts for Hugging Face", param="input")
        request: Json = {"inputs": inputs}
        for key, value in body.items():
            if key in _OWN and value is not None:
                request[key] = value
            elif key not in _HANDLED and value is not None:
                call.drop(key)
        return request

    def response(self, body: Any, call: Call) -> Json:
        vectors = _vectors(body)
        if vectors is None:
            raise not_an_answer("Hugging Face")
        return embeddings(call, vectors)

    def stream(self, call: Call) -> StreamDecoder:
        raise ApiError(400, "embeddings cannot be streamed", param="stream")

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


def _vectors(body: Any) -> list[Any] | None:
    """One vector an input. A model without pooling answers with one a token: they are averaged, as
    sentence-transformers does unless told otherwise."""
    if isinstance(body, dict):
        body = body.get("embeddings")
    if not isinstance(body, list) or not body:
        return None
    if all(number(one) is not None for one in body):
        return [body]
    return [_pooled(one) for one in body] if all(isinstance(one, list) for one in body) else None


def _pooled(vectors: list[Any]) -> list[Any]:
    while len(vectors) == 1 and isinstance(vectors[0], list):
        vectors = vectors[0]
    if not vectors or not all(isinstance(one, list) and one for one in vectors):
        return vectors
    width = min(len(one) for one in vectors)
    return [sum(number(one[at]) or 0.0 for one in vectors) / len(vectors) for at in range(width)]


FEATURE_EXTRACTION = FeatureExtraction()

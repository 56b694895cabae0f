"""OpenAI's embeddings → Gemini's: `batchEmbedContents` (public), `predict` and `embedContent` (Vertex).

Sources: https://ai.google.dev/api/embeddings,
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api; recordings
gemini/embeddings-native, vertex/embeddings-native.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..base import StreamDecoder
from ..pivot import embeddings, integer, merged_body, not_an_answer, number, obj, objects, text
from .errors import google_error
from .usage import UsageReader

_HANDLED = frozenset({"input", "model", "dimensions", "encoding_format", "task_type", "taskType", "title"})


class _Embeddings:
    """What the three have in common."""

    format = "gemini"

    def stream(self, call: Call) -> StreamDecoder:
        raise ApiError(400, "embeddings cannot be streamed", param="stream")

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return google_error(status, headers, body)


class BatchEmbeddings(_Embeddings):
    """The public API's `batchEmbedContents`."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        options = _options(body, call)
        model = f"models/{call.model.removeprefix('models/')}"
        return {"requests": [{"model": model, "content": _content(one), **options} for one in _inputs(body)]}

    def response(self, body: Json, call: Call) -> Json:
        found = body.get("embeddings") if isinstance(body, dict) else None
        if not isinstance(found, list):
            raise not_an_answer("Gemini")
        reader = UsageReader()
        reader.take(body.get("usageMetadata"))
        call.usage = reader.usage()
        return embeddings(call, [obj(one).get("values") or [] for one in found])


class PredictEmbeddings(_Embeddings):
    """Vertex's `predict`: text embedding models, gemini-embedding-001, multimodalembedding."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        options = _options(body, call)
        multimodal = call.model.startswith("multimodalembedding")
        instance = {"task_type": options.get("taskType"), "title": options.get("title")}
        instance = {key: value for key, value in instance.items() if value is not None}
        name = "text" if multimodal else "content"
        request: Json = {"instances": [{name: one, **instance} for one in _inputs(body)]}
        if "outputDimensionality" in options:
            key = "dimension" if multimodal else "outputDimensionality"
            request["parameters"] = {key: options["outputDimensionality"]}
        return request

    def response(self, body: Json, call: Call) -> Json:
        predictions = body.get("predictions") if isinstance(body, dict) else None
        if not isinstance(predictions, list):
            raise not_an_answer("Gemini")
        vectors: list[Any] = []
        tokens = 0
        counted = False
        for prediction in objects(predictions):
            found = obj(prediction.get("embeddings"))
            vectors.append(found.get("values") or prediction.get("textEmbedding") or [])
            # Recorded as a whole number, documented as a float too.
            count = number(obj(found.get("statistics")).get("token_count"))
            if count is not None and 0 <= count < 2**53:
                tokens += int(count)
                counted = True
        if counted:
            call.usage = Usage(prompt_tokens=tokens, total_tokens=tokens, source=UsageSource.REPORTED)
        return embeddings(call, vectors)


class SingleEmbedding(_Embeddings):
    """Vertex's `embedContent`, one input a request: gemini-embedding-2 and later.

    Source: google/cloud/aiplatform/v1beta1/prediction_service.proto (EmbedContentRequest).
    """

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        options = _options(body, call)
        inputs = _inputs(body)
        if len(inputs) != 1:
            raise BadRequest(f"{call.model} on Vertex takes one input a request", param="input")
        request: Json = {"content": _content(inputs[0])}
        if options:
            request["embedContentConfig"] = options
        return request

    def response(self, body: Json, call: Call) -> Json:
        found = body.get("embedding") if isinstance(body, dict) else None
        if not isinstance(found, dict):
            raise not_an_answer("Gemini")
        reader = UsageReader()
        reader.take(body.get("usageMetadata"))
        call.usage = reader.usage()
        return embeddings(call, [found.get("values") or []])


PUBLIC_EMBEDDINGS = BatchEmbeddings()
VERTEX_EMBEDDINGS = PredictEmbeddings()
VERTEX_SINGLE_EMBEDDING = SingleEmbedding()


def embeds_one(model: str) -> bool:
    """Whether Vertex serves this model by `embedContent` rather than `predict`."""
    return "gemini" in model and model != "gemini-embedding-001"


def _inputs(body: Json) -> list[str]:
    given = body.get("input")
    inputs = [given] if isinstance(given, str) else given
    if not isinstance(inputs, list) or not inputs or not all(isinstance(one, str) for one in inputs):
        raise BadRequest("input must be a text or a list of texts for Gemini", param="input")
    return inputs


def _content(one: str) -> Json:
    return {"parts": [{"text": one}]}


def _options(body: Json, call: Call) -> Json:
    options: Json = {}
    dimensions = integer(body.get("dimensions")) or call.options.embeddings_dimensions
    if dimensions:
        options["outputDimensionality"] = dimensions
    task = text(body.get("task_type")) or text(body.get("taskType"))
    if task:
        options["taskType"] = task
    if text(body.get("title")):
        options["title"] = body["title"]
    for key, value in body.items():
        if key not in _HANDLED and value is not None:
            call.drop(key)
    return options

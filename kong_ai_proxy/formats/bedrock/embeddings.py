"""OpenAI's embeddings through InvokeModel: Amazon Titan and Nova, Cohere Embed.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html,
…/model-parameters-embed.html (Cohere v3), …/model-parameters-embed-v4.html,
https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html; recordings
bedrock/embeddings-invoke.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..base import StreamDecoder
from ..pivot import count, embeddings, items, merged_body, not_an_answer, obj, objects
from .errors import read_error

_HANDLED = frozenset({"model", "input", "dimensions", "encoding_format", "stream", "normalize", "input_type"})
_COHERE_INPUT_TYPE = "classification"
"""Kong's default of `options.cohere.embedding_input_type`."""
_TOKENS_HEADER = "x-amzn-bedrock-input-token-count"


class EmbeddingsAdapter:
    """Embeddings, in the form of the model's family."""

    format = "bedrock-invoke"

    def request(self, body: Json, call: Call) -> Json:
        body = merged_body(body)
        name = call.model.lower()
        for field, value in body.items():
            if field not in _HANDLED and value is not None:
                call.drop(field)
        texts = _texts(body.get("input"))
        if "cohere.embed" in name:
            return _cohere(body, texts, name, call)
        if len(texts) != 1:
            raise BadRequest("this model embeds one text at a time; input must hold one", param="input")
        if "nova" in name:
            return _nova(body, texts[0], call)
        return _titan(body, texts[0], name, call)

    def response(self, body: Json, call: Call) -> Json:
        vectors = _vectors(body)
        if not vectors:
            raise not_an_answer(call.provider)
        tokens = count(body.get("inputTextTokenCount"))
        if tokens is None and call.answer_headers.get(_TOKENS_HEADER, "").isdigit():
            tokens = int(call.answer_headers[_TOKENS_HEADER])
        if tokens is not None:
            call.usage = Usage(prompt_tokens=tokens, total_tokens=tokens, source=UsageSource.REPORTED)
        return embeddings(call, vectors)

    def stream(self, call: Call) -> StreamDecoder:
        raise BadRequest("embeddings cannot be streamed", param="stream")

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body, call)


def _texts(given: Any) -> list[str]:
    texts = [given] if isinstance(given, str) else items(given)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("input must be a text or an array of texts for provider bedrock", param="input")
    return texts


def _titan(body: Json, text: str, name: str, call: Call) -> Json:
    out: Json = {"inputText": text}
    size = body.get("dimensions")
    if "embed-image" in name:
        if size is not None:
            out["embeddingConfig"] = {"outputEmbeddingLength": size}
    elif "v1" in name.rpartition("embed-text")[2] or "embed-g1" in name:
        if size is not None:
            call.drop("dimensions")  # Titan v1 has one size
    else:
        if size is not None:
            out["dimensions"] = size
        bedrock = call.options.bedrock
        normalize = body.get("normalize")
        out["normalize"] = (
            normalize if normalize is not None else bool(bedrock and bedrock.embeddings_normalize)
        )
    return out


def _cohere(body: Json, texts: list[str], name: str, call: Call) -> Json:
    configured = call.options.cohere
    kind = body.get("input_type") or (configured.embedding_input_type if configured else _COHERE_INPUT_TYPE)
    out: Json = {"texts": texts, "input_type": kind}
    size = body.get("dimensions")
    if size is not None:
        if "embed-v4" in name:
            out["output_dimension"] = size
        else:
            call.drop("dimensions")
    return out


def _nova(body: Json, text: str, call: Call) -> Json:
    params: Json = {
        "embeddingPurpose": body.get("input_type") or "GENERIC_INDEX",
        "text": {"truncationMode": "NONE", "value": text},
    }
    if body.get("dimensions") is not None:
        params["embeddingDimension"] = body["dimensions"]
    return {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params}


def _vectors(body: Json) -> list[Any]:
    found = body.get("embeddings")
    if isinstance(found, dict):  # Cohere with embedding types
        return items(found.get("float")) or items(next(iter(found.values()), None))
    if isinstance(found, list) and found and isinstance(found[0], dict):  # Nova
        return [items(one.get("embedding")) for one in objects(found)]
    if isinstance(found, list):  # Cohere v3
        return found
    if isinstance(body.get("embedding"), list):  # Titan
        return [body["embedding"]]
    by_type = obj(body.get("embeddingsByType"))
    return [by_type["float"]] if isinstance(by_type.get("float"), list) else []

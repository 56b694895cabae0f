"""Embeddings of Gemini and Vertex beyond what is recorded. Source: https://ai.google.dev/api/embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any

import pytest
from native_support import check_embeddings, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.gemini import PUBLIC_EMBEDDINGS, VERTEX_EMBEDDINGS, VERTEX_SINGLE_EMBEDDING


def call_for(model: str, body: Any = None, **options: Any) -> Any:
    return make_call("gemini", model, "embeddings", body=body, options=options)


def test_public_request() -> None:
    call = call_for("models/gemini-embedding-001", embeddings_dimensions=64)
    body = {"input": "a", "task_type": "CLUSTERING", "title": "T", "encoding_format": "float", "user": "u"}
    assert PUBLIC_EMBEDDINGS.request(body, call) == {
        "requests": [
            {
                "model": "models/gemini-embedding-001",
                "content": {"parts": [{"text": "a"}]},
                "outputDimensionality": 64,
                "taskType": "CLUSTERING",
                "title": "T",
            }
        ]
    }
    assert call.dropped == ["user"]


def test_multimodal_model_of_vertex() -> None:
    call = call_for("multimodalembedding@001")
    assert VERTEX_EMBEDDINGS.request({"input": ["a"], "dimensions": 128}, call) == {
        "instances": [{"text": "a"}],
        "parameters": {"dimension": 128},
    }
    answer = VERTEX_EMBEDDINGS.response({"predictions": [{"textEmbedding": [0.5]}]}, call)
    assert answer["data"][0]["embedding"] == [0.5]
    assert call.usage.source is UsageSource.NONE


def test_one_input_a_request() -> None:
    call = call_for("gemini-embedding-2")
    assert VERTEX_SINGLE_EMBEDDING.request({"input": ["a"], "dimensions": 8}, call) == {
        "content": {"parts": [{"text": "a"}]},
        "embedContentConfig": {"outputDimensionality": 8},
    }
    with pytest.raises(ApiError) as caught:
        VERTEX_SINGLE_EMBEDDING.request({"input": ["a", "b"]}, call)
    assert caught.value.status == 400
    body = {
        "embedding": {"values": [0.5, 1.5]},
        "usageMetadata": {"promptTokenCount": 3, "totalTokenCount": 3},
    }
    answer = VERTEX_SINGLE_EMBEDDING.response(body, call)
    check_embeddings(answer)
    assert answer["usage"]["prompt_tokens"] == 3


def test_base64_where_it_is_asked_for() -> None:
    """OpenAI's Python SDK asks for base64 unless told otherwise."""
    call = call_for("m", {"input": "a", "encoding_format": "base64"})
    answer = PUBLIC_EMBEDDINGS.response({"embeddings": [{"values": [1.0, -2.5]}]}, call)
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert struct.unpack("<2f", packed) == (1.0, -2.5)


@pytest.mark.parametrize("wrong", [None, "", [], [1, 2], [[1]], {"a": 1}, ["a", 3]])
def test_inputs_that_are_no_text(wrong: Any) -> None:
    for adapter in (PUBLIC_EMBEDDINGS, VERTEX_EMBEDDINGS, VERTEX_SINGLE_EMBEDDING):
        if wrong == "":
            continue
        with pytest.raises(ApiError) as caught:
            adapter.request({"input": wrong}, call_for("m"))
        assert caught.value.param == "input"


@pytest.mark.parametrize(
    "body", [{}, [], None, {"embeddings": None}, {"embeddings": [{"values": ["a"]}]}, {"error": {}}]
)
def test_what_is_no_answer(body: Any) -> None:
    for adapter in (PUBLIC_EMBEDDINGS, VERTEX_EMBEDDINGS, VERTEX_SINGLE_EMBEDDING):
        with pytest.raises(ApiError) as caught:
            adapter.response(body, call_for("m"))
        assert caught.value.status == 502

"""Embeddings through InvokeModel, and where Bedrock is called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore
import pytest

from kong_ai_proxy.config.models import BedrockOptions, CohereOptions, Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.bedrock.embeddings import EmbeddingsAdapter
from kong_ai_proxy.providers import provider

ADAPTER = EmbeddingsAdapter()
CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
TITAN = "amazon.titan-embed-text-v2:0"


def call(model: str = TITAN, operation: str = "embeddings", body: bytes = b"", **options: Any) -> Call:
    target = Target(model=Model(provider="bedrock", name=model), route_type="llm/v1/embeddings")
    return Call(target, Options(**options), model, operation, ClientRequest("POST", "/", "", {}, body))


@pytest.mark.parametrize(
    ("model", "body", "expected", "noted"),
    [
        (TITAN, {"input": "a", "dimensions": 256},
         {"inputText": "a", "dimensions": 256, "normalize": False}, []),
        (TITAN, {"input": ["a"], "extra_body": {"normalize": True}},
         {"inputText": "a", "normalize": True}, []),
        ("amazon.titan-embed-text-v1", {"input": "a", "dimensions": 256}, {"inputText": "a"}, ["dimensions"]),
        ("amazon.titan-embed-image-v1", {"input": "a", "dimensions": 256},
         {"inputText": "a", "embeddingConfig": {"outputEmbeddingLength": 256}}, []),
        ("cohere.embed-english-v3", {"input": ["a", "b"], "dimensions": 9, "user": "u"},
         {"texts": ["a", "b"], "input_type": "classification"}, ["user", "dimensions"]),
        ("cohere.embed-v4:0", {"input": "a", "dimensions": 512, "input_type": "search_query"},
         {"texts": ["a"], "input_type": "search_query", "output_dimension": 512}, []),
        ("amazon.nova-2-multimodal-embeddings-v1:0", {"input": "a", "dimensions": 256},
         {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {
             "embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256,
             "text": {"truncationMode": "NONE", "value": "a"}}}, []),
    ],
)  # fmt: skip
def test_requests(model: str, body: Any, expected: Any, noted: list[str]) -> None:
    # Kong 3.12/3.13: Titan v2 dimensions, Cohere on Bedrock refused, Titan malformed.
    made = call(model)
    assert ADAPTER.request(body, made) == expected
    assert made.dropped == noted


def test_configured_options() -> None:
    made = call(bedrock=BedrockOptions(embeddings_normalize=True))
    assert ADAPTER.request({"input": "a"}, made) == {"inputText": "a", "normalize": True}
    made = call("cohere.embed-english-v3", cohere=CohereOptions(embedding_input_type="search_document"))
    assert ADAPTER.request({"input": "a"}, made)["input_type"] == "search_document"


@pytest.mark.parametrize("given", [None, [], ["a", "b"], [1, 2], [[1]], 5])
def test_inputs_that_titan_cannot_take(given: Any) -> None:
    with pytest.raises(BadRequest):
        ADAPTER.request({"input": given}, call())


@pytest.mark.parametrize(
    ("body", "headers", "vectors", "tokens"),
    [
        ({"embedding": [0.5, 1], "inputTextTokenCount": 4}, {}, [[0.5, 1]], 4),
        ({"embeddingsByType": {"float": [0.5]}, "inputTextTokenCount": 4.0}, {}, [[0.5]], 4),
        ({"embeddings": [[0.5], [1]]}, {"x-amzn-bedrock-input-token-count": "9"}, [[0.5], [1]], 9),
        ({"embeddings": {"float": [[0.5]]}}, {"x-amzn-bedrock-input-token-count": "x"}, [[0.5]], 0),
        ({"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5]}]}, {}, [[0.5]], 0),
    ],
)
def test_answers(body: Any, headers: dict[str, str], vectors: Any, tokens: int) -> None:
    made = call()
    made.answer_headers = headers
    answer = ADAPTER.response(body, made)
    assert [one["embedding"] for one in answer["data"]] == vectors
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert answer["model"] == TITAN


def test_base64_where_asked_for() -> None:
    made = call(body=json.dumps({"encoding_format": "base64"}).encode())
    assert ADAPTER.response({"embedding": [0.5]}, made)["data"][0]["embedding"] == "AAAAPw=="


@pytest.mark.parametrize("body", [{}, {"embeddings": None}, {"embedding": "x"}, {"message": "x"}])
def test_what_is_no_answer_is_a_502(body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        ADAPTER.response(body, call())
    assert caught.value.status == 502


# ---- the provider


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "bedrock-runtime.us-east-1.amazonaws.com"),
        ("us-gov-west-1", "bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", "bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("us-iso-east-1", "bedrock-runtime.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "bedrock-runtime.us-isob-east-1.sc2s.sgov.gov"),
        ("eusc-de-east-1", "bedrock-runtime.eusc-de-east-1.amazonaws.eu"),
    ],
)
def test_hosts_by_partition(region: str, host: str) -> None:
    url = provider("bedrock").url(call(operation="chat", bedrock=BedrockOptions(aws_region=region)))
    assert (url.host, url.scheme, url.port) == (host, "https", 443)


def test_partitions_are_botocores() -> None:
    data = Path(botocore.__file__).parent / "data" / "partitions.json"
    for partition in json.loads(data.read_text())["partitions"]:
        for region in partition["regions"]:
            if "global" in region:
                continue
            made = call(operation="chat", bedrock=BedrockOptions(aws_region=region))
            suffix = partition["outputs"]["dnsSuffix"]
            assert provider("bedrock").url(made).host == f"bedrock-runtime.{region}.{suffix}"


def test_paths() -> None:
    # Kong 3.11: inference profiles' ARNs were not escaped.
    region = BedrockOptions(aws_region="us-east-1")
    arn = "arn:aws:bedrock:us-east-1:1:inference-profile/us.x"
    bedrock = provider("bedrock")
    made = call(arn, "chat", bedrock=region)
    quoted = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x"
    assert bedrock.url(made).path == f"{quoted}/converse"
    made.stream = True
    assert bedrock.url(made).path == f"{quoted}/converse-stream"
    assert bedrock.url(call(bedrock=region)).path == "/model/amazon.titan-embed-text-v2%3A0/invoke"
    for name in ("", ".."):
        made.model = name
        with pytest.raises(ApiError) as caught:
            bedrock.url(made)
        assert caught.value.status == 400


def test_a_claude_for_a_client_that_speaks_messages() -> None:
    made = call(CLAUDE, "chat", bedrock=BedrockOptions(aws_region="us-east-1"))
    bedrock = provider("bedrock")
    assert bedrock.adapter(made).format == "bedrock"
    assert bedrock.observer(made) is None
    made.client_format = "anthropic"
    assert bedrock.adapter(made).format == "anthropic"
    assert bedrock.observer(made) is not None
    assert bedrock.url(made).path.endswith("/invoke")
    made.stream = True
    assert bedrock.url(made).path.endswith("/invoke-with-response-stream")
    made.model = "us.amazon.nova-pro-v1:0"
    assert bedrock.adapter(made).format == "bedrock"
    assert bedrock.url(made).path.endswith("/converse-stream")


def test_configured_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    bedrock = provider("bedrock")
    made = call("m", "chat", upstream_url="http://localhost:9000")
    assert (bedrock.url(made).authority, bedrock.url(made).path) == ("localhost:9000", "/model/m/converse")
    made = call("m", "chat", upstream_url="https://vpce.test/fixed/path?x=1")
    assert bedrock.url(made).target == "/fixed/path?x=1"
    made = call("m", "chat", upstream_path="/own", bedrock=BedrockOptions(aws_region="us-east-1"))
    assert bedrock.url(made).path == "/own"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert bedrock.url(call("m", "chat")).host == "bedrock-runtime.eu-west-1.amazonaws.com"
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    with pytest.raises(ApiError, match="aws_region must be set"):
        bedrock.url(call("m", "chat"))
    for region in ("evil.test/", "us-east-1.evil.test", "US-EAST-1"):
        with pytest.raises(ApiError) as caught:
            bedrock.url(call("m", "chat", bedrock=BedrockOptions(aws_region=region)))
        assert caught.value.status == 500
        assert region not in caught.value.message


def test_anthropics_addresses_and_headers() -> None:
    target = Target(model=Model(provider="anthropic", name="c"), route_type="llm/v1/chat")
    made = Call(target, Options(), "c", "chat", ClientRequest("POST", "/", "", {}))
    anthropic = provider("anthropic")
    assert (anthropic.url(made).host, anthropic.url(made).path) == ("api.anthropic.com", "/v1/messages")
    assert anthropic.headers(made) == {"anthropic-version": "2023-06-01"}
    assert anthropic.observer(made) is None
    made.client_format = "anthropic"
    assert anthropic.observer(made) is not None
    made.options = Options(anthropic_version="2024-01-01", upstream_path="/v9/messages")
    assert anthropic.url(made).path == "/v9/messages"
    assert anthropic.headers(made) == {"anthropic-version": "2024-01-01"}
    made.options = Options(upstream_url="https://res.services.ai.azure.com/anthropic/v1/messages")
    assert anthropic.url(made).host == "res.services.ai.azure.com"
    assert anthropic.forward_headers == {"anthropic-beta", "anthropic-user-profile-id"}
    made.operation = "embeddings"
    with pytest.raises(ApiError) as caught:
        anthropic.supports(made)
    assert caught.value.status == 400

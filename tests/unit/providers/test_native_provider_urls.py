"""Where Gemini, Vertex, Cohere, Ollama, Llama and Hugging Face are called, and in which form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import client_request, first_attempt, proxy
from native_support import make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.providers import provider

VERTEX = {
    "api_endpoint": "us-central1-aiplatform.googleapis.com",
    "project_id": "p1",
    "location_id": "us-central1",
}
PLACE = "https://us-central1-aiplatform.googleapis.com/v1/projects/p1/locations/us-central1"
PUBLIC = "https://generativelanguage.googleapis.com/v1beta"


def where(name: str, model: str, operation: str = "chat", stream: bool = False, **options: Any) -> str:
    url = provider(name).url(make_call(name, model, operation, options=options, stream=stream))
    return f"{url.scheme}://{url.authority}{url.target}"


def form(name: str, model: str, operation: str = "chat", **options: Any) -> str:
    call = make_call(name, model, operation, options=options)
    provider(name).supports(call)
    return provider(name).adapter(call).format


def test_gemini_public() -> None:
    assert where("gemini", "gemini-2.5-flash") == f"{PUBLIC}/models/gemini-2.5-flash:generateContent"
    assert (
        where("gemini", "models/gemini-2.5-flash", stream=True)
        == f"{PUBLIC}/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    )
    assert where("gemini", "tunedModels/x") == f"{PUBLIC}/tunedModels/x:generateContent"
    assert where("gemini", "gemini-embedding-001", "embeddings").endswith(
        "/gemini-embedding-001:batchEmbedContents"
    )
    assert where("gemini", "m", upstream_url="http://mock:8080/x?a=b") == "http://mock:8080/x?a=b"
    assert where("gemini", "m", upstream_path="/v1/models/m:generateContent").endswith(
        "googleapis.com/v1/models/m:generateContent"
    )


@pytest.mark.parametrize(
    ("given", "stream", "expected"),
    [
        ("http://m", False, "http://m/v1beta/models/g:generateContent"),
        ("http://m:81/", True, "http://m:81/v1beta/models/g:streamGenerateContent?alt=sse"),
        ("http://m/x/g:generateContent", True, "http://m/x/g:streamGenerateContent?alt=sse"),
        ("http://m/x/g:streamGenerateContent?alt=sse", False, "http://m/x/g:generateContent"),
        ("http://m/x/g:streamGenerateContent?alt=json", True, "http://m/x/g:streamGenerateContent?alt=json"),
        ("http://m/x/c:rawPredict", True, "http://m/x/c:streamRawPredict"),
        ("http://m/own", True, "http://m/own"),
    ],
)
def test_gemini_upstream_url(given: str, stream: bool, expected: str) -> None:
    assert where("gemini", "g", stream=stream, upstream_url=given) == expected


@pytest.mark.parametrize("model", ["", "..", "a/../b", "x/y"])
def test_gemini_refuses_models_that_lead_elsewhere(model: str) -> None:
    """Kong's security fix 3.14.0.7: unsafe model names must not leave the path."""
    with pytest.raises(ApiError) as caught:
        where("gemini", model)
    assert caught.value.status == 400


def test_characters_of_a_model_are_escaped() -> None:
    assert "/models/a%3Fb%23c:generateContent" in where("gemini", "a?b#c")


@pytest.mark.parametrize(
    ("model", "stream", "path", "spoken"),
    [
        ("gemini-2.5-pro", False, "/publishers/google/models/gemini-2.5-pro:generateContent", "gemini"),
        ("gemini-x", True, "/publishers/google/models/gemini-x:streamGenerateContent?alt=sse", "gemini"),
        ("claude-4@2025", False, "/publishers/anthropic/models/claude-4@2025:rawPredict", "anthropic"),
        ("anthropic/claude-x", True, "/publishers/anthropic/models/claude-x:streamRawPredict", "anthropic"),
        ("publishers/anthropic/models/c", False, "/publishers/anthropic/models/c:rawPredict", "anthropic"),
        ("mistral-large-2411", False, "/publishers/mistralai/models/mistral-large-2411:rawPredict", "openai"),
        ("jamba-1.5", True, "/publishers/ai21/models/jamba-1.5:streamRawPredict", "openai"),
        ("meta/llama-3.3-70b-instruct-maas", False, "/endpoints/openapi/chat/completions", "openai"),
        ("llama-3.3-70b-instruct-maas", True, "/endpoints/openapi/chat/completions", "openai"),
    ],
)  # fmt: skip
def test_vertex(model: str, stream: bool, path: str, spoken: str) -> None:
    """Kong's bugs 3.10.0.4 (rawPredict) and 3.12 (Model Garden)."""
    assert where("gemini", model, stream=stream, gemini=VERTEX) == PLACE + path
    assert form("gemini", model, gemini=VERTEX) == spoken


def test_mistral_on_vertex_speaks_mistral() -> None:
    call = make_call("gemini", "mistral-large-2411", options={"gemini": VERTEX})
    body = {
        "model": "mistral-large-2411",
        "messages": [{"role": "user", "content": "Hi"}],
        "seed": 1,
        "user": "u",
    }
    sent: Any = provider("gemini").adapter(call).request(body, call)
    assert sent["random_seed"] == 1
    assert "user" not in sent
    assert call.dropped == ["user"]


def test_claude_on_vertex_passes_through_for_its_own_clients() -> None:
    """With Vertex's body (no model, a version) and the client's betas; Gemini's models get neither."""
    gemini = provider("gemini")
    call = make_call("gemini", "claude-x", options={"gemini": VERTEX})
    call.request.headers["anthropic-beta"] = "context-1m-2025-08-07"
    observer = gemini.observer(call)
    assert observer is not None
    body = {"model": "claude-x", "max_tokens": 5, "messages": [], "output_config": {}}
    sent = json.loads(observer.request(json.dumps(body).encode(), body, call))
    assert sent == {"max_tokens": 5, "messages": [], "anthropic_version": "vertex-2023-10-16"}
    assert gemini.headers(call) == {"anthropic-beta": "context-1m-2025-08-07"}
    for other in (
        make_call("gemini", "gemini-x", options={"gemini": VERTEX}),
        make_call("gemini", "claude-x"),
    ):
        other.request.headers["anthropic-beta"] = "context-1m-2025-08-07"
        assert gemini.observer(other) is None
        assert gemini.headers(other) == {}


def test_vertex_embeddings() -> None:
    google = f"{PLACE}/publishers/google/models"
    assert (
        where("gemini", "text-embedding-004", "embeddings", gemini=VERTEX)
        == f"{google}/text-embedding-004:predict"
    )
    assert (
        where("gemini", "gemini-embedding-2", "embeddings", gemini=VERTEX)
        == f"{google}/gemini-embedding-2:embedContent"
    )


def test_vertex_endpoints() -> None:
    options = {**VERTEX, "endpoint_id": "123"}
    assert where("gemini", "gemini-2.0-flash", gemini=options) == f"{PLACE}/endpoints/123:generateContent"
    assert where("gemini", "", gemini=options) == f"{PLACE}/endpoints/123:generateContent"
    assert where("gemini", "llama-3-8b", gemini=options) == f"{PLACE}/endpoints/123/chat/completions"
    assert form("gemini", "llama-3-8b", gemini=options) == "openai"


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({"location_id": "global"}, "aiplatform.googleapis.com"),
        ({"location_id": "europe-west4"}, "europe-west4-aiplatform.googleapis.com"),
        (
            {"location_id": "global", "api_endpoint": "https://aiplatform.googleapis.com/"},
            "aiplatform.googleapis.com",
        ),
        ({"location_id": "us", "api_endpoint": "10.0.0.1.nip.io"}, "10.0.0.1.nip.io"),
    ],
)
def test_vertex_hosts(options: dict[str, str], host: str) -> None:
    assert where("gemini", "gemini-x", gemini={"project_id": "p", **options}).startswith(
        f"https://{host}/v1/"
    )


def test_vertex_needs_project_and_location() -> None:
    for missing in ("project_id", "location_id"):
        options = {key: value for key, value in VERTEX.items() if key != missing}
        with pytest.raises(ApiError) as caught:
            where("gemini", "gemini-x", gemini=options)
        assert caught.value.status == 500
        assert f"gemini.{missing}" in caught.value.message


def test_cohere() -> None:
    assert where("cohere", "command-a") == "https://api.cohere.com/v2/chat"
    assert where("cohere", "command-a", "completions") == "https://api.cohere.com/v1/generate"
    assert where("cohere", "embed-v4", "embeddings") == "https://api.cohere.com/v2/embed"
    chat = provider("cohere").adapter(make_call("cohere", "command-a"))
    first = make_call("cohere", "command-a", options={"upstream_url": "https://proxy.test/v1/chat"})
    assert provider("cohere").adapter(first) is not chat
    assert provider("cohere").url(first).host == "proxy.test"
    assert where("cohere", "c", upstream_url="http://m:81") == "http://m:81/v2/chat"
    path = make_call("cohere", "command-a", options={"upstream_path": "/v1/chat"})
    assert provider("cohere").adapter(path) is provider("cohere").adapter(first)


@pytest.mark.parametrize(
    ("given", "operation", "expected", "spoken"),
    [
        ("http://o:11434", "chat", "http://o:11434/api/chat", "ollama"),
        ("http://o:11434/", "embeddings", "http://o:11434/api/embed", "ollama"),
        ("http://o:11434/api/chat", "chat", "http://o:11434/api/chat", "ollama"),
        ("http://o/x/api/chat?t=1", "chat", "http://o/x/api/chat?t=1", "ollama"),
        ("http://o/v1/chat/completions", "chat", "http://o/v1/chat/completions", "openai"),
    ],
)
def test_ollama(given: str, operation: str, expected: str, spoken: str) -> None:
    assert where("ollama", "llama3", operation, upstream_url=given) == expected
    assert form("ollama", "llama3", operation, upstream_url=given) == spoken


@pytest.mark.parametrize(
    ("kind", "operation", "given", "expected", "spoken"),
    [
        ("ollama", "chat", "http://l:11434", "http://l:11434/api/chat", "ollama"),
        ("ollama", "completions", "http://l:11434", "http://l:11434/api/generate", "ollama"),
        ("openai", "chat", "http://l", "http://l/v1/chat/completions", "openai"),
        ("openai", "embeddings", "http://l/e", "http://l/e", "openai"),
        ("raw", "chat", "http://l/generate", "http://l/generate", "huggingface"),
    ],
)
def test_llama(kind: str, operation: str, given: str, expected: str, spoken: str) -> None:
    options = {"llama2_format": kind, "upstream_url": given}
    assert where("llama2", "llama2", operation, **options) == expected
    assert form("llama2", "llama2", operation, **options) == spoken


def test_llama_says_what_is_missing() -> None:
    for options, field in (
        ({"llama2_format": "raw"}, "upstream_url"),
        ({"upstream_url": "http://l"}, "llama2_format"),
    ):
        with pytest.raises(ApiError) as caught:
            where("llama2", "llama2", **options)
        assert field in caught.value.message
    with pytest.raises(ApiError) as caught:
        form("llama2", "llama2", "embeddings", llama2_format="raw", upstream_url="http://l")
    assert caught.value.status == 400


def test_huggingface() -> None:
    router = "https://router.huggingface.co"
    assert where("huggingface", "a/b") == f"{router}/v1/chat/completions"
    features = f"{router}/hf-inference/models/a/b/pipeline/feature-extraction"
    assert where("huggingface", "a/b", "embeddings") == features
    tgi = {"upstream_url": "http://tgi:8080/generate"}
    assert where("huggingface", "a/b", **tgi) == "http://tgi:8080/generate"
    assert where("huggingface", "a/b", stream=True, **tgi) == "http://tgi:8080/generate_stream"
    assert form("huggingface", "a/b", **tgi) == "huggingface"
    assert (
        form("huggingface", "a/b", upstream_url="https://api-inference.huggingface.co/models/gpt2")
        == "huggingface"
    )
    assert form("huggingface", "a/b", upstream_url="https://e.test") == "openai"
    assert (
        form("huggingface", "a/b", upstream_url="https://x.test/models/a/b/v1/chat/completions") == "openai"
    )
    for model in ("", "../x", "a/b/c"):
        with pytest.raises(ApiError):
            where("huggingface", model, "embeddings")


@pytest.mark.parametrize(
    "model", ["a/../../b", "a/..", "../a", "..\\a", "a\\..\\b", "arn:aws:bedrock:x:1:inference-profile/../y",
              "a//b", "a\x7f", "a\r\nb", ".", "..", "a/"]
)  # fmt: skip
@pytest.mark.parametrize(
    ("provider", "route_type", "options"),
    [
        ("bedrock", "llm/v1/chat", {"bedrock": {"aws_region": "us-east-1"}}),
        ("bedrock", "llm/v1/embeddings", {"bedrock": {"aws_region": "us-east-1"}}),
        ("gemini", "llm/v1/chat", {}),
        ("huggingface", "llm/v1/embeddings", {}),
    ],
)
def test_a_clients_model_leads_nowhere_else(
    provider: str, route_type: str, options: dict[str, Any], model: str
) -> None:
    """Not encoded either: some servers, and proxies before them, decode a slash before they look."""
    member = {"input": "x"} if "embed" in route_type else {"messages": [{"role": "user", "content": "x"}]}
    request = client_request({"model": model, **member})
    _, attempt = first_attempt(proxy(provider, None, route_type=route_type, options=options), request)
    with pytest.raises(ApiError) as refused:
        attempt.translation.request()
    assert refused.value.status == 400

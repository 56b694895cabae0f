"""What must hold at each of the sixteen providers."""

from __future__ import annotations

from typing import Any

import pytest
from exchange_support import client_request, first_attempt, proxy, sent

from kong_ai_proxy.core.errors import ApiError

CHAT = {"messages": [{"role": "user", "content": "hi"}]}
SELF_HOSTED = "http://models.example:8000/v1/chat/completions"
OPTIONS: dict[str, dict[str, Any]] = {
    "anthropic": {},
    "azure": {"azure_instance": "unit", "azure_deployment_id": "d"},
    "bedrock": {"bedrock": {"aws_region": "eu-west-1"}},
    "cerebras": {},
    "cohere": {},
    "dashscope": {},
    "databricks": {"databricks": {"workspace_instance_id": "unit"}},
    "deepseek": {},
    "gemini": {},
    "huggingface": {},
    "llama2": {"llama2_format": "openai", "upstream_url": SELF_HOSTED},
    "mistral": {"mistral_format": "openai"},
    "ollama": {"upstream_url": "http://models.example:11434/api/chat"},
    "openai": {},
    "vllm": {"upstream_url": SELF_HOSTED},
    "xai": {},
}
VERTEX = {"gemini": {"api_endpoint": "aiplatform.googleapis.com", "project_id": "p", "location_id": "global"}}


@pytest.mark.parametrize("provider", OPTIONS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_chat_is_sent(provider: str, stream: bool) -> None:
    upstream = sent(
        proxy(provider, "m", options=OPTIONS[provider]), client_request({**CHAT, "stream": stream})
    )
    assert upstream.url.host
    assert b"hi" in upstream.body


@pytest.mark.parametrize(
    "model",
    [
        "../../admin",
        "..%2f..%2fadmin",
        "m/../../../admin",
        "m?x=1",
        "m#f",
        "m&a=b",
        "..",
        ".",
        "m\r\nHost: evil",
        "m\\..\\admin",
        "//evil.example/x",
        "@evil.example",
        "\u2025",
    ],
)
@pytest.mark.parametrize(("provider", "options"), [*OPTIONS.items(), ("gemini", VERTEX)])
def test_a_clients_model_name_leads_nowhere_else(provider: str, options: dict[str, Any], model: str) -> None:
    """Kong mended unsafe model names more than once (3.12.0.9, 3.13.0.8, 3.14.0.7)."""
    instance = proxy(provider, None, options=options)
    plain = sent(proxy(provider, "m", options=options), client_request(CHAT)).url
    try:
        url = sent(instance, client_request({**CHAT, "model": model})).url
    except ApiError as error:
        assert error.status == 400
        return
    assert (url.scheme, url.host, url.port, url.query) == (plain.scheme, plain.host, plain.port, plain.query)
    assert url.path.isascii() and url.path.isprintable()
    assert not {"?", "#", " ", "\\"} & set(url.path)
    segments = url.path.lower().replace("%2e", ".").split("/")
    assert ".." not in segments and "." not in segments
    if provider not in ("gemini", "huggingface"):
        assert len(segments) == len(plain.path.split("/"))


@pytest.mark.parametrize("provider", OPTIONS)
def test_a_target_is_described_before_anything_is_sent(provider: str) -> None:
    _, attempt = first_attempt(proxy(provider, "m", options=OPTIONS[provider]))
    assert attempt.entry is None
    attempt.translation.request()
    entry = attempt.entry
    assert entry is not None
    assert entry["provider"] == provider
    assert type(entry["port"]) is int

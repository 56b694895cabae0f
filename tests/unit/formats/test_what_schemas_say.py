"""What a client says of its schemas (`response_format.json_schema.description`), and nothing where a provider
wants to be told something."""

from __future__ import annotations

from typing import Any

import pytest
from exchange_support import client_request, first_attempt, proxy, sent_body

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "string"}}}


def wanted(schema: dict[str, Any]) -> dict[str, Any]:
    form = {"name": "n", "description": "Of fruit.", "schema": schema}
    return {
        "messages": [{"role": "user", "content": "hi"}],
        "response_format": {"type": "json_schema", "json_schema": form},
    }


@pytest.mark.parametrize(
    ("provider", "model", "where"),
    [
        ("anthropic", "claude-sonnet-4-5", ("output_config", "format", "schema")),
        ("gemini", "gemini-2.5-flash", ("generationConfig", "responseJsonSchema")),
        ("gemini", "gemini-1.5-flash", ("generationConfig", "responseSchema")),
    ],
)
def test_models_read_it_in_the_schema(provider: str, model: str, where: tuple[str, ...]) -> None:
    instance = proxy(provider, model)
    found: Any = sent_body(instance, wanted(SCHEMA))
    for name in where:
        found = found[name]
    assert found["description"] == "Of fruit."
    found = sent_body(instance, wanted({**SCHEMA, "description": "Its own."}))
    for name in where:
        found = found[name]
    assert found["description"] == "Its own."


@pytest.mark.parametrize(
    ("provider", "model", "options"),
    [
        ("cohere", "command-a-03-2025", {}),
        ("cohere", "command-r", {"upstream_url": "https://cohere.example/v1/chat"}),
        ("ollama", "llama3.2", {"upstream_url": "http://ollama.example/api/chat"}),
        ("huggingface", "m", {"upstream_url": "http://tgi.example/generate"}),
    ],
)
def test_grammars_cannot_tell_it(provider: str, model: str, options: dict[str, Any]) -> None:
    request = client_request(wanted(SCHEMA))
    attempt = first_attempt(proxy(provider, model, options=options), request)[1]
    attempt.translation.request()
    assert attempt.call.dropped == ["response_format.json_schema.description"]


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "parameters": None}])
def test_mistral_is_told_of_no_parameters(function: dict[str, Any]) -> None:
    """mistralai 3.7: client/models/function.py has them as required."""
    tools = [{"type": "function", "function": function}, {"type": "web_search"}]
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": tools}
    made = sent_body(proxy("mistral", "mistral-large-latest"), body)["tools"]
    assert made[0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert made[1] == {"type": "web_search"}
    assert sent_body(proxy("deepseek", "deepseek-chat"), body)["tools"] == tools

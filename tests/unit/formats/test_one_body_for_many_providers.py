"""Failover asks one provider after the other with one parsed body: no translation may leave a mark on it, and
the second provider is asked as if it were the first."""

from __future__ import annotations

import copy
from itertools import permutations
from typing import Any

import pytest
from exchange_support import proxy

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import dumps
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.defaults import with_defaults
from kong_ai_proxy.providers import provider

SELF_HOSTED = "http://models.example:8000/v1/chat/completions"
VERTEX = {"gemini": {"api_endpoint": "a.test", "project_id": "p", "location_id": "global"}}
TARGETS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "anthropic": ("anthropic", "claude-sonnet-4-5", {}),
    "bedrock": ("bedrock", "anthropic.claude-sonnet-4-5", {"bedrock": {"aws_region": "eu-west-1"}}),
    "nova": ("bedrock", "amazon.nova-pro-v1:0", {"bedrock": {"aws_region": "eu-west-1"}}),
    "cohere": ("cohere", "command-a", {}),
    "databricks": ("databricks", "databricks-claude", {"databricks": {"workspace_instance_id": "unit"}}),
    "deepseek": ("deepseek", "deepseek-chat", {}),
    "gemini": ("gemini", "gemini-3-pro", {}),
    "vertex-claude": ("gemini", "claude-sonnet-4-5", VERTEX),
    "huggingface": ("huggingface", "m/m", {}),
    "mistral": ("mistral", "mistral-large", {"mistral_format": "openai"}),
    "ollama": ("ollama", "m", {"upstream_url": "http://models.example:11434/api/chat"}),
    "openai": ("openai", "gpt-5", {}),
    "vllm": ("vllm", "m", {"upstream_url": SELF_HOSTED}),
    "xai": ("xai", "grok-4", {}),
}
MARK = {"type": "ephemeral"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": MARK}]},
        {"role": "user", "content": "Hello "},
        {
            "role": "assistant", "content": None, "reasoning_content": "Hm.",
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}],
            "tool_calls": [
                {"id": "call/1", "type": "function", "function": {"name": "f", "arguments": '{"a":"b"}'}},
                {"id": "call/2", "type": "custom", "custom": {"name": "patch", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call/1", "content": '{"a": 1}'},
        {"role": "tool", "tool_call_id": "call/2", "content": [{"type": "text", "text": "done"}]},
        {"role": "developer", "content": "Now in German."},
        {"role": "assistant", "content": "Ja. ", "annotations": [{"type": "url_citation"}]},
        {"role": "user", "content": [{"type": "text", "text": "And?"}], "cache_control": MARK},
    ],
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}},
        {"type": "custom", "custom": {"name": "patch", "description": "Patch."}},
    ],
    "tool_choice": {"type": "custom", "custom": {"name": "patch"}},
    "web_search_options": {"user_location": {"type": "approximate", "approximate": {"city": "Ulm"}}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}},
    "reasoning_effort": "low", "max_tokens": 50, "stop": ["x", " "], "metadata": {"a": "b"},
    "extra_body": {"top_k": 5},
}  # fmt: skip
LEGACY = {
    "messages": [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "1"},
        {"role": "user", "content": "And?"},
    ],
    "functions": [{"name": "f", "parameters": SCHEMA}],
}
RESPONSES = {
    "instructions": "Be brief.",
    "input": [
        {"role": "developer", "content": "One."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
        {"type": "function_call", "call_id": "call/1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call/1", "output": "1"},
        {"role": "developer", "content": "Two."},
        {"role": "user", "content": "And?"},
    ],
    "tools": [
        {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True},
        {"type": "custom", "name": "patch"},
    ],
    "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}},
}
MESSAGES = {
    "max_tokens": 50,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": MARK}],
    "messages": [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": ""},
                {"type": "text", "text": "Well.", "citations": [{"encrypted_index": "", "url": "u"}]},
                {"type": "tool_use", "id": "toolu/1", "name": "f", "input": {"city": "Ulm"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu/1", "content": "1"}]},
        {"role": "system", "content": "Now in German."},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
}
BODIES = {"openai": [CHAT, LEGACY], "responses": [RESPONSES], "anthropic": [MESSAGES]}


def asked(client: str, target: str, body: dict[str, Any]) -> tuple[Any, list[str]]:
    """What the provider gets and what is noted as left out; or the error."""
    name, model, options = TARGETS[target]
    made = proxy(name, model, options=options).targets[0]
    request = ClientRequest("POST", "/", "", {}, dumps(body))
    call = Call(made, made.model.options, model, "chat", request, client_format=client)
    try:
        pivot = with_defaults(client_format(client).request(body, call), call)
        sent = provider(name).adapter(call).request(pivot, call)
    except ApiError as error:
        return error.message, []
    return sent if isinstance(sent, bytes) else dumps(sent), call.dropped


@pytest.mark.parametrize(
    ("client", "body"), [(client, body) for client, bodies in BODIES.items() for body in bodies]
)
def test_the_second_provider_is_asked_as_if_it_were_the_first(client: str, body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    alone = {target: asked(client, target, copy.deepcopy(body)) for target in TARGETS}
    assert sum(isinstance(sent, bytes) for sent, _ in alone.values()) > len(TARGETS) // 2
    for first, second in permutations(TARGETS, 2):
        shared = copy.deepcopy(before)
        asked(client, first, shared)
        assert shared == before, first
        assert asked(client, second, shared) == alone[second], (first, second)

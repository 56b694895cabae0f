"""A coding agent's conversation to every provider: nothing is lost that is not reported."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from claude_code_support import conversation, marks
from exchange_support import client_request, first_attempt, proxy

from kong_ai_proxy.exchange.attempt import Attempt

OPTIONS: dict[str, dict[str, Any]] = {
    "azure": {"azure_instance": "i", "azure_deployment_id": "d"},
    "bedrock": {"bedrock": {"aws_region": "us-east-1"}},
    "databricks": {"databricks": {"workspace_instance_id": "w"}},
    "llama2": {"llama2_format": "openai", "upstream_url": "http://llama.test/v1/chat/completions"},
    "ollama": {"upstream_url": "http://ollama.test"},
    "vllm": {"upstream_url": "http://vllm.test/v1/chat/completions"},
}
TARGETS = [
    ("anthropic", "claude-sonnet-4-5"), ("azure", "gpt-4.1"),
    ("bedrock", "us.anthropic.claude-sonnet-4-5-v1:0"),
    ("bedrock", "us.amazon.nova-pro-v1:0"), ("cerebras", "gpt-oss-120b"), ("cohere", "command-a-03-2025"),
    ("dashscope", "qwen-plus"), ("databricks", "databricks-gpt-oss-20b"), ("deepseek", "deepseek-chat"),
    ("gemini", "gemini-2.5-pro"), ("gemini", "gemini-3-pro"), ("huggingface", "some/model"),
    ("llama2", "llama2"), ("mistral", "mistral-large-latest"), ("ollama", "qwen3"), ("openai", "gpt-5-mini"),
    ("vllm", "some-model"), ("xai", "grok-4"),
]  # fmt: skip


def tried(provider: str, model: str, body: Any) -> tuple[Attempt, bytes]:
    body = {**body, "model": model}
    instance = proxy(provider, model, llm_format="anthropic", options=OPTIONS.get(provider, {}))
    headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "interleaved-thinking-2025-05-14"}
    request = client_request(body, headers=headers, path="/v1/messages", query="beta=true")
    _, attempt = first_attempt(instance, request)
    return attempt, attempt.translation.request().body


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_nothing_is_lost_unreported(provider: str, model: str) -> None:
    attempt, sent = tried(provider, model, conversation())
    dropped = " ".join(attempt.call.dropped)
    text = sent.decode()
    for mark, reports in marks().items():
        there = mark in text or base64.b64encode(mark.encode()).decode().rstrip("=") in text
        assert there or any(word in dropped for word in reports), f"{mark} is lost; reported: {dropped}"


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_cache_points_arrive_or_are_reported(provider: str, model: str) -> None:
    attempt, sent = tried(provider, model, conversation())
    arrived = b"cache_control" in sent or b"cachePoint" in sent
    assert arrived or any("cache" in path for path in attempt.call.dropped)


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_the_failed_tool_is_told_or_reported(provider: str, model: str) -> None:
    attempt, sent = tried(provider, model, conversation())
    told = any(word in sent for word in (b'"is_error":true', b'"is_error": true', b'"status":"error"'))
    assert told or any("is_error" in path for path in attempt.call.dropped)


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_calls_and_results_meet(provider: str, model: str) -> None:
    """Four calls in one turn, four results, in the same order."""
    _, sent = tried(provider, model, conversation())
    body = json.loads(sent)
    order = [sent.find(mark) for mark in (b"mark-result-text", b"mark-result-error", b"mark-result-image")]
    assert order == sorted(order) and order[0] > sent.find(b"mark-c") > 0
    messages = body.get("messages") or body["contents"]
    assert sum(str(message).count("no_arguments") for message in messages) >= 1


def shortened() -> Any:
    """The same conversation with three of the tools, and what agents send besides."""
    body = conversation()
    body["tools"] = [body["tools"][0], body["tools"][1], body["tools"][-1]]
    body["system"][1]["text"] = "mark-system-rules"
    body["temperature"] = 0.5
    body["context_management"] = {
        "edits": [{"type": "clear_tool_uses_20250919", "keep": {"type": "tool_uses", "value": 3}}]
    }
    return body


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, (dict, list)):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, key))
    else:
        yield path, value


def with_another(body: Any, path: tuple[Any, ...]) -> Any:
    """The body with something else at this place."""
    changed = copy.deepcopy(body)
    place = changed
    for key in path[:-1]:
        place = place[key]
    value = place[path[-1]]
    if isinstance(value, bool):
        place[path[-1]] = not value
    elif isinstance(value, (int, float)):
        place[path[-1]] = value / 5 if isinstance(value, float) else value // 5 + 1
    else:
        place[path[-1]] = f"{value}~"
    return changed


STRUCTURE = {"model", "type", "role", "stream", "$schema", "tool_use_id", "id", "media_type", "ttl"}
"""What says how a thing is said, and is said in other words elsewhere. The time to live goes with the cache
breakpoint, which has a test of its own."""
REPORTED_AS = {
    "budget_tokens": ("thinking", "reasoning_effort"),
    "data": ("redacted", "thinking", "image"),
    "keep": ("context_management",),
    "signature": ("signature", "thinking"),
    "temperature": ("temperature",),
    "thinking": ("thinking", "reasoning"),
    "user_id": ("user", "metadata"),
    "value": ("context_management",),
}


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_every_leaf_arrives_or_is_reported(provider: str, model: str) -> None:
    """Another value of a field makes another request, or the field's loss is reported."""
    body = shortened()
    attempt, base = tried(provider, model, body)
    dropped = attempt.call.dropped
    for path, _ in leaves(body):
        name = path[-1] if isinstance(path[-1], str) else path[-2]
        if name in STRUCTURE or tried(provider, model, with_another(body, path))[1] != base:
            continue
        words = REPORTED_AS.get(name, (name,))
        assert any(word in one for word in words for one in dropped), f"{path} is lost; reported: {dropped}"


@pytest.mark.parametrize(("provider", "model"), TARGETS)
def test_each_place_of_a_cache_breakpoint_is_told_apart(provider: str, model: str) -> None:
    """On a tool, in the system prompt, in a message: each arrives, or its own loss is reported."""
    for place, reported in (
        (("tools", -1), "tools.cache_control"),
        (("system", 1), "messages.content.cache_control"),
        (("messages", 0, "content", 1), "messages.content.cache_control"),
    ):
        body = shortened()
        attempt, base = tried(provider, model, body)
        without = copy.deepcopy(body)
        holder: Any = without
        for key in place:
            holder = holder[key]
        del holder["cache_control"]
        arrived = tried(provider, model, without)[1] != base
        assert arrived or reported in attempt.call.dropped, f"{place}: {attempt.call.dropped}"


def test_a_budget_is_a_budget_where_it_can_be() -> None:
    _, sent = tried("gemini", "gemini-2.5-pro", conversation())
    assert json.loads(sent)["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 10_000
    _, sent = tried("gemini", "gemini-3-pro", conversation())
    assert json.loads(sent)["generationConfig"]["thinkingConfig"]["thinkingLevel"] == "high"


def test_a_claude_gets_it_byte_for_byte() -> None:
    """At Anthropic itself nothing is touched."""
    body = conversation()
    _, sent = tried("anthropic", body["model"], body)
    assert sent == client_request(body).body

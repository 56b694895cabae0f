"""Whatever a client sends, whatever a provider answers: what is made of it, or a clean error."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from auth_support import logged
from exchange_support import advanced, client_request, open_exchange, openai_answer, proxy, sse, target_config
from fuzz_support import examples
from hypothesis import HealthCheck, given, note
from hypothesis import strategies as st

from kong_ai_proxy.accounting.encoding import encode
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.carry import NOT_TRANSLATED
from kong_ai_proxy.exchange.exchange import Exchange

NOVA = {"bedrock": {"aws_region": "eu-west-1"}}
INSTANCES = {
    "openai": proxy(name=None),
    "named": proxy(),
    "anthropic": proxy("anthropic", "claude-sonnet-4-5"),
    "azure": proxy("azure", None, options={"azure_instance": "unit", "azure_deployment_id": "d"}),
    "cohere": proxy("cohere", "command-a-03-2025"),
    "gemini": proxy("gemini", "gemini-2.5-flash"),
    "bedrock": proxy("bedrock", "amazon.nova-lite-v1:0", options=NOVA),
    "completions": proxy(route_type="llm/v1/completions"),
    "embeddings": proxy(route_type="llm/v1/embeddings"),
    "always": proxy(response_streaming="always"),
    "messages-anthropic": proxy("anthropic", None, llm_format="anthropic"),
    "messages-openai": proxy(name=None, llm_format="anthropic"),
    "messages-bedrock": proxy("bedrock", None, llm_format="anthropic", options=NOVA),
    "messages-gemini": proxy("gemini", None, llm_format="anthropic"),
    "aliases": advanced(target_config(alias="a"), target_config("anthropic", "claude-sonnet-4-5", alias="a")),
}
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**40), 2**40),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["user", "assistant", "tool", "system", "text", "image_url", "function", "auto"]),
    st.sampled_from(["tool_use", "tool_result", "thinking", "image", "base64", "document", "gpt-4o"]),
)
MEMBERS = st.sampled_from([
    "arguments", "audio", "cache_control", "content", "data", "description", "effort", "function", "id",
    "image_url", "input", "input_audio", "is_error", "json_schema", "media_type", "name", "parameters",
    "properties", "required", "role", "schema", "signature", "source", "text", "thinking", "thinking_blocks",
    "tool_call_id", "tool_calls", "tool_use_id", "type", "url",
])  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(MEMBERS, inner, max_size=5)),
    max_leaves=10,
)
TOP = st.sampled_from([
    "extra_body", "frequency_penalty", "functions", "function_call", "input", "logit_bias", "logprobs",
    "max_completion_tokens", "max_tokens", "messages", "metadata", "modalities", "model", "n",
    "parallel_tool_calls", "prediction", "prompt", "reasoning", "reasoning_effort", "response_format",
    "safetySettings", "generationConfig", "seed", "service_tier", "stop", "stop_sequences", "store",
    "stream", "stream_options", "system", "temperature", "thinking", "tool_choice", "tools", "top_k",
    "top_p", "user", "web_search_options",
])  # fmt: skip
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer", "tool"])},
        optional={
            "content": VALUES,
            "tool_calls": VALUES,
            "tool_call_id": LEAVES,
            "name": LEAVES,
            "function_call": VALUES,
            "reasoning_content": LEAVES,
            "thinking_blocks": VALUES,
            "refusal": LEAVES,
        },
    ),
    min_size=1,
    max_size=4,
)
BODIES = st.one_of(
    st.dictionaries(TOP, VALUES, max_size=6),
    st.builds(
        lambda messages, rest: {**rest, "messages": messages, "prompt": "p", "input": "i"},
        MESSAGES,
        st.dictionaries(TOP, VALUES, max_size=4),
    ),
)
QUICK = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHARED = examples(150, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Making an example takes fifty times as long as trying it, so each is tried at every instance."""
ANSWERING = ("named", "anthropic", "azure", "gemini", "cohere")


@pytest.fixture(autouse=True)
def _no_guard_had_to_help() -> Iterator[io.StringIO]:
    """The exchange turns what an adapter did not expect into an error, and logs it: here that is a bug."""
    with logged() as lines:
        yield lines
        assert "could not be translated" not in lines.getvalue(), lines.getvalue()[:3000]


def carried(instance: Any, request: ClientRequest) -> Exchange | None:
    """Up to where the request would be sent; None where it was refused."""
    try:
        exchange = open_exchange(instance, request)
        attempt = exchange.next_attempt()
        assert attempt is not None
        upstream = attempt.translation.request()
        assert upstream.url.path.startswith("/")
        assert all(value.isprintable() for value in upstream.headers.values())
    except ApiError as error:
        assert 400 <= error.status < 600
        assert error.code != NOT_TRANSLATED, f"an adapter did not expect {request.body!r}"
        return None
    return exchange


@given(body=BODIES)
@SHARED
def test_any_json_body(body: dict[str, Any]) -> None:
    for name, instance in INSTANCES.items():
        note(name)
        carried(instance, client_request(body))


@given(body=st.one_of(st.binary(max_size=40), VALUES.map(lambda value: json.dumps(value).encode())))
@QUICK
def test_any_bytes(body: bytes) -> None:
    carried(INSTANCES["openai"], client_request(body))


@given(
    content_type=st.text(max_size=20),
    query=st.text(max_size=30),
    headers=st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=8), st.text(max_size=10), max_size=3),
)
@QUICK
def test_any_headers_and_query(content_type: str, query: str, headers: dict[str, str]) -> None:
    carried(INSTANCES["openai"], client_request(headers={**headers, "content-type": content_type}))
    exchange = carried(INSTANCES["named"], client_request(headers=headers, query=query))
    assert exchange is not None
    target = exchange.attempts[0].translation.upstream.url.target  # type: ignore[union-attr]
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target


@pytest.mark.parametrize("depth", [200, 260, 900])
@pytest.mark.parametrize("name", ["openai", "anthropic", "gemini", "bedrock"])
def test_deep_nesting(name: str, depth: int) -> None:
    deep = json.loads("[" * depth + "]" * depth)
    messages = [{"role": "user", "content": "hi"}]
    carried(INSTANCES[name], client_request({"messages": messages, "metadata": deep, "model": None}))
    carried(INSTANCES[name], client_request({"messages": [{"role": "user", "content": deep}]}))
    tool = {"type": "function", "function": {"name": "f", "parameters": {"enum": deep}}}
    carried(INSTANCES[name], client_request({"messages": messages, "tools": [tool]}))


ANSWERS = st.one_of(
    VALUES,
    st.dictionaries(
        st.sampled_from(["id", "object", "created", "model", "choices", "usage", "error", "type", "content"]),
        VALUES,
        max_size=6,
    ),
    st.builds(lambda changes: openai_answer(**changes), st.dictionaries(
        st.sampled_from(["id", "created", "model", "choices", "usage"]), VALUES, max_size=3
    )),
)  # fmt: skip


@given(answer=ANSWERS, status=st.sampled_from([200, 201, 302, 400, 429, 500]))
@SHARED
def test_any_answer(answer: Any, status: int) -> None:
    for name in ANSWERING:
        note(name)
        _answered(name, answer, status)


def _answered(name: str, answer: Any, status: int) -> None:
    exchange = carried(INSTANCES[name], client_request())
    assert exchange is not None
    attempt = exchange.attempts[0]
    attempt.connected("192.0.2.1", 0.01)
    attempt.rejected(status, {})
    body = json.dumps(answer).encode()
    response = attempt.translation.response(status, {"content-type": "application/json"}, body)
    attempt.ended()
    json.loads(response.body)
    assert 200 <= response.status < 600
    assert (response.status < 300) <= (status < 300), "an error never becomes an answer"
    record = exchange.record()
    assert record is not None
    json.dumps(record)
    assert len(encode(record)) <= 3072


@given(
    events=st.lists(ANSWERS, max_size=5),
    content_type=st.sampled_from(["text/event-stream", "application/json", ""]),
    cut=st.integers(0, 200),
)
@SHARED
def test_any_stream(events: list[Any], content_type: str, cut: int) -> None:
    for name in ANSWERING:
        note(name)
        _streamed(name, events, content_type, cut)


def _streamed(name: str, events: list[Any], content_type: str, cut: int) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
    exchange = carried(INSTANCES[name], client_request(body))
    assert exchange is not None
    attempt = exchange.attempts[0]
    attempt.connected("192.0.2.1", 0.01)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": content_type})
    assert stream is not None
    data = sse(*events)
    out = stream.feed(data[:cut]) + stream.feed(data[cut:]) + stream.finish()
    assert isinstance(out, bytes)
    if stream.failed is not None:
        assert not out.rstrip().endswith(b"[DONE]")
    attempt.ended(partial=cut % 2 == 0)
    json.dumps(exchange.record())

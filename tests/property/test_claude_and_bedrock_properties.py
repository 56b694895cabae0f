"""Whatever comes in, translation for Anthropic and Bedrock ends in a result or an ApiError, no crash."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.client import CLIENT
from kong_ai_proxy.formats.anthropic.flavor import BEDROCK, VERTEX
from kong_ai_proxy.formats.anthropic.observer import MessagesObserver
from kong_ai_proxy.formats.base import Adapter
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.bedrock.embeddings import EmbeddingsAdapter
from kong_ai_proxy.formats.bedrock.invoke import InvokeMessagesAdapter
from kong_ai_proxy.wire.eventstream import encode_frame

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99_999) | st.floats(0, 3) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MODELS = (
    "claude-sonnet-4-5", "claude-opus-4-7", "claude-opus-5-5", "claude-3-haiku-20240307", "unknown",
    "us.amazon.nova-2-lite-v1:0", "us.anthropic.claude-opus-4-6-v1", "meta.llama3-3-70b-instruct-v1:0",
    "openai.gpt-oss-20b-1:0", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x",
)  # fmt: skip
ADAPTERS: tuple[Adapter, ...] = (
    MessagesAdapter(),
    MessagesAdapter(VERTEX),
    MessagesAdapter(BEDROCK),
    ConverseAdapter(),
)


def maybe(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Nearly always what is valid; sometimes anything."""
    return st.one_of(valid, valid, valid, JSON)


MARK = st.sampled_from([None, {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}, 5])
PART = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": maybe(st.text(max_size=9)), "cache_control": MARK}
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("image_url"),
            "image_url": maybe(
                st.fixed_dictionaries(
                    {"url": st.sampled_from(["data:image/png;base64,AA==", "https://x.test/a"])}
                )
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("file"),
            "file": maybe(st.fixed_dictionaries({"file_data": st.just("data:application/pdf;base64,AA==")})),
        }
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["input_audio", "video_url", "thinking", "odd"])}),
    JSON,
)
CONTENT = st.one_of(st.none(), st.text(max_size=12), st.lists(PART, max_size=3), JSON)
TOOL_CALL = st.fixed_dictionaries(
    {
        "id": maybe(st.sampled_from(["a", "b c", ""])),
        "type": st.just("function"),
        "function": maybe(
            st.fixed_dictionaries(
                {"name": maybe(st.just("f")), "arguments": maybe(st.sampled_from(["{}", "", "{oops", "[1]"]))}
            )
        ),
    }
)
THINKING = st.sampled_from(
    [
        {"type": "thinking", "thinking": "h", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {},
        3,
    ]
)
MESSAGE = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer", "user"]), "content": CONTENT, "cache_control": MARK}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": CONTENT},
        optional={
            "tool_calls": maybe(st.lists(maybe(TOOL_CALL), max_size=2)),
            "thinking_blocks": maybe(st.lists(THINKING, max_size=2)),
            "reasoning_content": maybe(st.text(max_size=5)),
            "provider_specific_fields": JSON,
            "function_call": JSON,
        },
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": maybe(st.just("a")), "content": CONTENT}),
)
FUNCTION = st.fixed_dictionaries(
    {
        "name": maybe(st.just("f")),
        "parameters": maybe(
            st.just({"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}})
        ),
        "strict": st.sampled_from([None, True, False, 7]),
    }
)
BODY = st.fixed_dictionaries(
    {"messages": maybe(st.lists(maybe(MESSAGE), min_size=1, max_size=4))},
    optional={
        "tools": maybe(
            st.lists(
                st.fixed_dictionaries({"type": st.just("function"), "function": maybe(FUNCTION)}), max_size=2
            )
        ),
        "tool_choice": maybe(
            st.sampled_from(["auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
        ),
        "parallel_tool_calls": maybe(st.booleans()),
        "response_format": maybe(
            st.sampled_from(
                [
                    {"type": "json_object"},
                    {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
                ]
            )
        ),
        "reasoning_effort": maybe(st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"])),
        "thinking": maybe(
            st.sampled_from([{"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"}])
        ),
        "temperature": maybe(st.floats(0, 2)),
        "top_p": maybe(st.floats(0, 1)),
        "top_k": maybe(st.integers(0, 9)),
        "max_tokens": maybe(st.integers(0, 9999)),
        "max_completion_tokens": maybe(st.integers(0, 9999)),
        "stop": maybe(st.sampled_from(["x", [" ", "y"]])),
        "metadata": JSON,
        "user": JSON,
        "service_tier": JSON,
        "extra_body": JSON,
        "output_config": JSON,
        "seed": JSON,
        "logit_bias": JSON,
    },
)


def call(provider: Any, model: str, client: str = "openai") -> Call:
    target = Target(model=Model(provider=provider, name=model), route_type="llm/v1/chat")
    request = ClientRequest("POST", "/", "", {})
    return Call(target, target.model.options, model, "chat", request, client_format=client)


@examples(60)
@given(body=BODY, model=st.sampled_from(MODELS), adapter=st.sampled_from(ADAPTERS))
def test_any_chat_request(body: Any, model: str, adapter: Adapter) -> None:
    before = copy.deepcopy(body)
    try:
        json.dumps(adapter.request(body, call("bedrock", model)))
    except ApiError as error:
        assert 400 <= error.status < 500
    assert body == before


MEMBERS = (
    "system", "tools", "tool_choice", "thinking", "output_config", "output_format", "metadata",
    "stop_sequences", "service_tier", "top_k",
)  # fmt: skip
BLOCK_TYPES = (
    "text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking",
    "search_result", "server_tool_use",
)  # fmt: skip
SOURCE = st.fixed_dictionaries(
    {"type": st.sampled_from(["base64", "url", "text", "content", "file"])},
    optional={"content": JSON, "data": JSON, "url": JSON},
)
BLOCK = st.fixed_dictionaries(
    {"type": st.sampled_from(BLOCK_TYPES)},
    optional={
        "source": maybe(SOURCE), "content": JSON, "text": JSON, "id": JSON, "input": JSON, "caller": JSON,
        "thinking": JSON, "citations": JSON, "title": JSON, "tool_use_id": JSON,
    },
)  # fmt: skip
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.one_of(st.text(max_size=5), st.lists(st.one_of(JSON, BLOCK), max_size=3)),
    }
)


@examples(60)
@given(
    body=st.dictionaries(st.sampled_from(MEMBERS), JSON),
    messages=maybe(st.lists(maybe(TURN), max_size=3)),
    provider=st.sampled_from(["openai", "anthropic", "bedrock", "cohere"]),
)
def test_any_messages_request(body: Any, messages: Any, provider: str) -> None:
    made = call(provider, "us.anthropic.claude-opus-4-6-v1", "anthropic")
    body = {**body, "messages": messages}
    before = copy.deepcopy(body)
    try:
        json.dumps(CLIENT.request(body, made))
        MessagesObserver().request(b"", body, made)
    except ApiError as error:
        assert error.status == 400
    assert body == before


ANSWER: dict[str, Any] = {
    "id": "msg",
    "type": "message",
    "model": "m",
    "content": [
        {"type": "thinking", "thinking": "h", "signature": "s"},
        {"type": "text", "text": "t", "citations": [{"type": "x", "url": "u", "title": "t"}]},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}, "caller": {"type": "c"}},
        {"type": "server_tool_use", "id": "b", "name": "g", "input": {}},
    ],
    "stop_reason": "refusal",
    "stop_details": {"explanation": "e"},
    "usage": {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation": {"ephemeral_5m_input_tokens": 1},
        "iterations": [{"input_tokens": 1, "output_tokens": 1}],
        "output_tokens_details": {"thinking_tokens": 1},
    },
}
EVENTS: list[Any] = [
    {"type": "message_start", "message": {**ANSWER, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "h"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "text", "text": "", "citations": []},
    },
    {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "t"}},
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "citations_delta", "citation": {"url": "u"}},
    },
    {"type": "content_block_stop", "index": 1},
    {
        "type": "content_block_start",
        "index": 2,
        "content_block": {"type": "tool_use", "id": "a", "name": "f"},
    },
    {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
    {"type": "content_block_stop", "index": 2},
    {"type": "content_block_start", "index": 3, "content_block": {"type": "compaction", "content": None}},
    {"type": "content_block_delta", "index": 3, "delta": {"type": "compaction_delta", "content": "c"}},
    {"type": "content_block_stop", "index": 3},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "refusal", "stop_details": {}},
        "usage": {"output_tokens": 3},
    },
    {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
    {"type": "message_stop"},
]
CONVERSE: dict[str, Any] = {
    "output": {
        "message": {
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "h", "signature": "s"}}},
                {"reasoningContent": {"redactedContent": "AA=="}},
                {"text": "t"},
                {"toolUse": {"toolUseId": "a", "name": "f", "input": {"x": 1}}},
                {
                    "citationsContent": {
                        "content": [{"text": "c"}],
                        "citations": [{"location": {"web": {"url": "u"}}}],
                    }
                },
            ]
        }
    },
    "stopReason": "tool_use",
    "usage": {
        "inputTokens": 1,
        "outputTokens": 2,
        "totalTokens": 3,
        "cacheDetails": [{"ttl": "5m", "inputTokens": 1}],
    },
    "trace": {"guardrail": {"x": 1}, "promptRouter": {"invokedModelId": "m"}},
    "serviceTier": {"type": "flex"},
}
FRAMES: list[Any] = [
    ("messageStart", {"role": "assistant"}),
    (
        "contentBlockDelta",
        {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "h", "signature": "s"}}},
    ),
    (
        "contentBlockDelta",
        {"contentBlockIndex": 0, "delta": {"reasoningContent": {"redactedContent": "AA=="}}},
    ),
    ("contentBlockStop", {"contentBlockIndex": 0}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "t"}}),
    (
        "contentBlockDelta",
        {"contentBlockIndex": 1, "delta": {"citation": {"location": {"web": {"url": "u"}}}}},
    ),
    ("contentBlockStop", {"contentBlockIndex": 1}),
    ("contentBlockStart", {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "a", "name": "f"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 2, "delta": {"toolUse": {"input": "{}"}}}),
    ("contentBlockStop", {"contentBlockIndex": 2}),
    ("messageStop", {"stopReason": "tool_use", "additionalModelResponseFields": {"x": 1}}),
    ("metadata", {"usage": CONVERSE["usage"], "serviceTier": {"type": "flex"}}),
]


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at] if at else []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += paths(inner, (*at, key))
    return found


@st.composite
def mutated(draw: Any, base: Any) -> Any:
    """The same with some members replaced, or taken away."""
    value = copy.deepcopy(base)
    for _ in range(draw(st.integers(1, 3))):
        every = paths(value)
        if not every:
            break
        *way, last = draw(st.sampled_from(every))
        place = value
        for key in way:
            place = place[key]
        if draw(st.booleans()) and isinstance(place, dict):
            del place[last]
        else:
            place[last] = draw(JSON)
    return value


@examples(60)
@given(body=mutated(ANSWER))
def test_any_message(body: Any) -> None:
    made = call("anthropic", "claude", "anthropic")
    try:
        answer = MessagesAdapter().response(body, made)
    except ApiError as error:
        assert error.status >= 400
        return
    json.dumps(answer)
    assert answer["choices"][0]["finish_reason"] in ("stop", "length", "tool_calls", "content_filter")
    json.dumps(CLIENT.response(answer, made))
    MessagesObserver().response(json.dumps(body).encode(), call("anthropic", "claude"))


@examples(60)
@given(events=mutated(EVENTS), cut=st.integers(0, 3000))
def test_any_messages_stream(events: Any, cut: int) -> None:
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    made = call("anthropic", "claude", "anthropic")
    decoder, encoder = MessagesAdapter().stream(made), CLIENT.stream(made)
    items = [*decoder.feed(data[:cut]), *decoder.feed(data[cut:]), *decoder.finish()]
    for item in items[:-1]:
        assert not isinstance(item, ApiError)
        encoder.encode(item)
    encoder.finish()
    observer = MessagesObserver().stream(call("anthropic", "claude"))
    observer.feed(data[:cut])
    observer.feed(data[cut:])
    observer.finish()


@examples(60)
@given(body=mutated(CONVERSE))
def test_any_converse_answer(body: Any) -> None:
    try:
        answer = ConverseAdapter().response(body, call("bedrock", "m"))
    except ApiError as error:
        assert error.status == 502
        return
    json.dumps(answer)


@examples(60)
@given(frames=mutated([[name, event] for name, event in FRAMES]), junk=st.binary(max_size=40))
def test_any_converse_stream(frames: Any, junk: bytes) -> None:
    decoder = ConverseAdapter().stream(call("bedrock", "m"))
    items = []
    for frame in frames:
        name, event = [*frame, None, None][:2] if isinstance(frame, list) else (frame, None)
        headers = {":message-type": "event", ":event-type": str(name)[:50]}
        items += decoder.feed(encode_frame(headers, json.dumps(event).encode()))
    items += decoder.feed(junk)
    items += decoder.finish()
    assert not any(isinstance(item, ApiError) for item in items[:-1])
    for item in items:
        if not isinstance(item, ApiError):
            json.dumps(item)


@examples(30)
@given(
    body=st.one_of(
        JSON, mutated({"embeddings": {"float": [[1]]}}), mutated({"embeddings": [{"embedding": [1]}]})
    )
)
def test_any_embeddings_answer(body: Any) -> None:
    if not isinstance(body, dict):
        return
    try:
        json.dumps(EmbeddingsAdapter().response(body, call("bedrock", "m")))
    except ApiError as error:
        assert error.status == 502


@examples(30)
@given(
    status=st.integers(300, 599),
    body=st.one_of(st.binary(max_size=30), JSON.map(lambda v: json.dumps(v).encode())),
)
def test_any_error(status: int, body: bytes) -> None:
    for adapter in (*ADAPTERS, InvokeMessagesAdapter(), EmbeddingsAdapter()):
        error = adapter.error(status, {"x-amzn-errortype": "A:b"}, body, call("bedrock", "m"))
        assert error.status == status
        assert isinstance(error.message, str)
        assert error.message
        json.dumps(CLIENT.error(error))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_deep_schemas_do_not_overflow(adapter: Adapter) -> None:
    schema: Any = {"type": "object"}
    for _ in range(100):
        schema = {"type": "object", "properties": {"x": schema}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = {"messages": [{"role": "user", "content": "x"}], "response_format": form}
    sent: Any = adapter.request(body, call("bedrock", "anthropic.claude-sonnet-4-5"))
    assert json.dumps(sent).count("properties") >= 100

"""Converse answers and streams of our own making: exceptions as frames, guardrails, odd shapes, tools.

AWS's exception frames are in no recording; they are built as the service model has them.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.bedrock.blocks import FINISH_REASONS
from kong_ai_proxy.formats.bedrock.invoke import InvokeMessagesAdapter, InvokeMessagesObserver
from kong_ai_proxy.formats.json_mode import JSON_TOOL
from kong_ai_proxy.wire.eventstream import encode_frame

ADAPTER = ConverseAdapter()
USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 17, "cacheReadInputTokens": 10}


def call() -> Call:
    target = Target(model=Model(provider="bedrock", name="m"), route_type="llm/v1/chat")
    return Call(target, target.model.options, "m", "chat", ClientRequest("POST", "/", "", {}))


def frame(name: str, payload: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, json.dumps({**payload, "p": "abcd"}).encode())


def exception(name: str, payload: Any) -> bytes:
    return encode_frame({":exception-type": name, ":message-type": "exception"}, json.dumps(payload).encode())


def start(index: int, tool: Any) -> bytes:
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": tool}})


def delta(index: int, what: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": what})


def stop(index: int) -> bytes:
    return frame("contentBlockStop", {"contentBlockIndex": index})


BEGIN = frame("messageStart", {"role": "assistant"})
METADATA = frame("metadata", {"usage": USAGE, "metrics": {"latencyMs": 1}})


def ends(reason: Any) -> bytes:
    return frame("messageStop", {"stopReason": reason})


def run(*frames: bytes, made: Call | None = None) -> list[Any]:
    decoder = ADAPTER.stream(made or call())
    return [*decoder.feed(b"".join(frames)), *decoder.finish()]


def deltas(items: list[Any]) -> list[Any]:
    return [item["choices"][0]["delta"] for item in items if item["choices"]]


@pytest.mark.parametrize(
    ("name", "payload", "status", "kind"),
    [
        ("throttlingException", {"message": "slow"}, 429, "rate_limit_error"),
        ("validationException", {"message": "bad"}, 400, "invalid_request_error"),
        ("internalServerException", {"message": "oh"}, 500, "server_error"),
        ("serviceUnavailableException", {"message": "away"}, 503, "server_error"),
        ("modelStreamErrorException", {"message": "no", "originalStatusCode": 529}, 529, "server_error"),
        ("modelStreamErrorException", {"originalMessage": "no"}, 502, "server_error"),
        ("brandNewException", {}, 502, "server_error"),
    ],
)
def test_exception_frames_end_the_stream(name: str, payload: Any, status: int, kind: str) -> None:
    items = run(BEGIN, delta(0, {"text": "par"}), exception(name, payload), ends("end_turn"))
    error = items[-1]
    assert isinstance(error, ApiError)
    assert (error.status, error.type) == (status, kind)
    assert error.code == name[0].upper() + name[1:]
    assert error.message
    assert not any(isinstance(item, ApiError) for item in items[:-1])


def test_an_error_frame_and_a_corrupt_frame_end_the_stream() -> None:
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "lost"}
    error = run(BEGIN, encode_frame(headers, b""))[-1]
    assert isinstance(error, ApiError)
    assert (error.message, error.code) == ("lost", "InternalError")
    broken = bytearray(delta(0, {"text": "x"}))
    broken[-1] ^= 1
    error = run(BEGIN, bytes(broken), ends("end_turn"))[-1]
    assert isinstance(error, ApiError)
    assert error.code == "upstream_invalid_stream"
    not_json = encode_frame({":event-type": "messageStart", ":message-type": "event"}, b"{oops")
    error = run(not_json)[-1]
    assert isinstance(error, ApiError)
    assert error.code == "upstream_invalid_stream"


def test_tool_indexes_are_dense() -> None:
    # contentBlockIndex counts texts too; OpenAI's index counts calls only.
    items = run(
        BEGIN,
        delta(0, {"text": "Let me see."}),
        stop(0),
        start(1, {"toolUseId": "a", "name": "now"}),
        stop(1),
        start(2, {"toolUseId": "s", "name": "search", "type": "server_tool_use"}),
        delta(2, {"toolUse": {"input": '{"q":1}'}}),
        stop(2),
        start(3, {"toolUseId": "b", "name": "f"}),
        delta(3, {"toolUse": {"input": ""}}),
        delta(3, {"toolUse": {"input": '{"x"'}}),
        delta(3, {"toolUse": {"input": ":1}"}}),
        stop(3),
        ends("tool_use"),
        METADATA,
    )
    calls: dict[int, Any] = {}
    for one in deltas(items):
        for part in one.get("tool_calls", []):
            known = calls.setdefault(part["index"], {"id": part.get("id"), "arguments": ""})
            known["arguments"] += part["function"]["arguments"]
    assert calls == {0: {"id": "a", "arguments": "{}"}, 1: {"id": "b", "arguments": '{"x":1}'}}
    own = [
        b for one in deltas(items) for b in one.get("provider_specific_fields", {}).get("content_blocks", [])
    ]
    assert own[0]["toolUse"]["input"] == {"q": 1}
    assert items[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_reasoning_streamed_and_whole() -> None:
    redacted = base64.b64encode(b"RtkECg==").decode()
    items = run(
        BEGIN,
        delta(0, {"reasoningContent": {"text": "h"}}),
        delta(0, {"reasoningContent": {"text": "m"}}),
        delta(0, {"reasoningContent": {"signature": "c2ln"}}),
        stop(0),
        delta(1, {"reasoningContent": {"redactedContent": redacted}}),
        stop(1),
        delta(2, {"text": "Hi"}),
        stop(2),
        ends("end_turn"),
        METADATA,
    )
    content = [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": redacted}},
        {"text": "Hi"},
    ]
    whole = {"output": {"message": {"content": content}}, "stopReason": "end_turn", "usage": USAGE}
    message = ADAPTER.response(whole, call())["choices"][0]["message"]
    blocks = [block for one in deltas(items) for block in one.get("thinking_blocks", [])]
    assert message["thinking_blocks"] == blocks == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "RtkECg=="},
    ]  # fmt: skip
    assert message["reasoning_content"] == "".join(one.get("reasoning_content", "") for one in deltas(items))
    # And back again, byte for byte, for the next turn of a tool loop.
    ask = {"role": "user", "content": "Hi"}
    sent = ADAPTER.request({"messages": [ask, message, ask]}, call())
    assert isinstance(sent, dict)
    assert sent["messages"][1]["content"] == content


def test_the_json_answer_is_text() -> None:
    use = {"toolUseId": "t", "name": JSON_TOOL}
    items = run(BEGIN, start(0, use), delta(0, {"toolUse": {"input": '{"a":1}'}}), stop(0), ends("tool_use"))
    assert "".join(one.get("content", "") for one in deltas(items)) == '{"a":1}'
    assert items[-1]["choices"][0]["finish_reason"] == "stop"
    content = [{"toolUse": {**use, "input": {"a": 1}}}]
    whole = {"output": {"message": {"content": content}}, "stopReason": "tool_use"}
    choice = ADAPTER.response(whole, call())["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"a":1}', "stop")


@pytest.mark.parametrize(("reason", "ours"), sorted(FINISH_REASONS.items()))
def test_stop_reasons(reason: str, ours: str) -> None:
    block = (
        {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}} if reason == "tool_use" else {"text": "x"}
    )
    whole = {"output": {"message": {"content": [block]}}, "stopReason": reason, "usage": USAGE}
    made = call()
    assert ADAPTER.response(whole, made)["choices"][0]["finish_reason"] == ours
    assert made.finish_reasons == [ours]
    first = start(0, {"toolUseId": "t", "name": "f"}) if reason == "tool_use" else delta(0, {"text": "x"})
    made = call()
    run(BEGIN, first, stop(0), ends(reason), made=made)
    assert made.finish_reasons == [ours]


def test_usage_and_its_absence() -> None:
    made = call()
    items = run(BEGIN, delta(0, {"text": "x"}), stop(0), ends("end_turn"), METADATA, made=made)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total) == (13, 4, 17)
    assert items[-1]["usage"]["prompt_tokens_details"] == {"cached_tokens": 10}
    made = call()
    items = run(BEGIN, delta(0, {"text": "x"}), stop(0), ends("end_turn"), made=made)
    assert not isinstance(items[-1], ApiError)
    assert made.usage.source is UsageSource.NONE
    assert made.output_bytes == 1


def test_a_guardrail_says_so() -> None:
    trace = {"guardrail": {"actionReason": "blocked"}, "promptRouter": {"invokedModelId": "arn:routed"}}
    whole = {
        "output": {"message": {"content": [{"text": "Sorry."}]}},
        "stopReason": "guardrail_intervened",
        "usage": USAGE,
        "trace": trace,
    }
    choice = ADAPTER.response(whole, call())["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["provider_specific_fields"] == {
        "stop_reason": "guardrail_intervened",
        "trace": {"actionReason": "blocked"},
    }
    metadata = frame("metadata", {"usage": USAGE, "trace": trace})
    made = call()
    items = run(
        BEGIN, delta(0, {"text": "Sorry."}), stop(0), ends("guardrail_intervened"), metadata, made=made
    )
    assert made.response_model == "arn:routed"
    assert items[-2]["choices"][0]["finish_reason"] == "content_filter"
    own = choice["message"]["provider_specific_fields"]
    assert deltas(items)[-1]["provider_specific_fields"] == own


def test_citations() -> None:
    web = {"title": "T", "location": {"web": {"url": "https://x.test"}}}
    page = {"title": "P", "location": {"documentPage": {"start": 1}}}
    cited = {"content": [{"text": "cited"}], "citations": [web, page]}
    content = [{"text": "Before "}, {"citationsContent": cited}]
    whole = {"output": {"message": {"content": content}}, "stopReason": "end_turn"}
    message = ADAPTER.response(whole, call())["choices"][0]["message"]
    assert message["content"] == "Before cited"
    assert message["annotations"][0]["url_citation"] == {
        "url": "https://x.test", "title": "T", "start_index": 7, "end_index": 12,
    }  # fmt: skip
    assert message["provider_specific_fields"] == {"citations": [page]}
    items = run(
        BEGIN, delta(0, {"text": "Before "}), stop(0), delta(1, {"text": "cited"}),
        delta(1, {"citation": web}), delta(1, {"citation": page}), stop(1), ends("end_turn"),
    )  # fmt: skip
    (one,) = (found for found in deltas(items) if "annotations" in found)
    assert one["annotations"] == message["annotations"]
    assert one["provider_specific_fields"] == message["provider_specific_fields"]


@pytest.mark.parametrize(
    "body",
    [
        {"output": None, "stopReason": None, "usage": None},
        {"output": {"message": {"content": [None, 4, {}, {"text": None}, {"toolUse": None}, {"image": 1}]}}},
        {"stopReason": 5, "usage": {"inputTokens": "x", "cacheDetails": [None]}, "trace": 3},
        {"output": {"message": {"content": [{"reasoningContent": None}, {"citationsContent": None}]}}},
    ],
)
def test_odd_answers_are_answers(body: Any) -> None:
    assert ADAPTER.response(body, call())["choices"][0]["finish_reason"] in ("stop", "tool_calls")


@pytest.mark.parametrize("body", [{}, {"message": "x"}, {"choices": []}])
def test_what_is_no_answer_is_a_502(body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        ADAPTER.response(body, call())
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("status", "header", "body", "message", "kind", "code"),
    [
        (429, "ThrottlingException:http://internal/", b'{"message":"slow"}', "slow", "rate_limit_error",
         "ThrottlingException"),
        (403, "ExpiredTokenException", b'{"message":"old"}', "old", "authentication_error",
         "ExpiredTokenException"),
        (403, "AccessDeniedException", b'{"Message":"no"}', "no", "permission_error",
         "AccessDeniedException"),
        (424, "ModelErrorException", b'{"message":"m"}', "m", "server_error", "ModelErrorException"),
        (400, "", b'{"__type":"a#ValidationException","message":"v"}', "v", "invalid_request_error",
         "ValidationException"),
        (500, "", b"", "bedrock answered with status 500", "server_error", None),
        (503, "", b"<html>", "bedrock answered with status 503", "server_error", None),
    ],
)  # fmt: skip
def test_errors(status: int, header: str, body: bytes, message: str, kind: str, code: Any) -> None:
    headers = {"x-amzn-errortype": header} if header else {}
    error = ADAPTER.error(status, {**headers, "x-amzn-requestid": "r"}, body, call())
    assert (error.status, error.message, error.type, error.code) == (status, message, kind, code)
    assert error.headers == {"x-amzn-requestid": "r"}


def wrapped(event: Any) -> bytes:
    inner = base64.b64encode(json.dumps(event).encode()).decode()
    headers = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    return encode_frame(headers, json.dumps({"bytes": inner, "p": "abc"}).encode())


EVENTS: list[Any] = [
    {"type": "message_start", "message": {"id": "msg", "model": "claude", "usage": {"input_tokens": 5}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]


def test_messages_behind_invoke_for_clients_that_speak_them() -> None:
    data = b"".join(map(wrapped, EVENTS))
    for cut in range(0, len(data), 7):
        made = call()
        observer = InvokeMessagesObserver().stream(made)
        out = observer.feed(data[:cut]) + observer.feed(data[cut:]) + observer.finish()
        frames = [part.split("\n") for part in out.decode().split("\n\n") if part]
        assert [name for name, _ in frames] == [f"event: {event['type']}" for event in EVENTS]
        assert [json.loads(line[6:]) for _, line in frames] == EVENTS
        assert observer.complete
        assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (5, 2)


def test_messages_behind_invoke_broken_off() -> None:
    observer = InvokeMessagesObserver().stream(call())
    assert observer.feed(wrapped(EVENTS[0]))
    assert observer.finish() == b""
    assert not observer.complete
    for bad in (exception("throttlingException", {"message": "slow"}), b"\0" * 40, wrapped("no object")):
        observer = InvokeMessagesObserver().stream(call())
        out = observer.feed(wrapped(EVENTS[0]) + bad)
        assert b"event: error\ndata: " in out
        assert observer.failed is not None
        assert observer.feed(wrapped(EVENTS[-1])) == b""
        decoder = InvokeMessagesAdapter().stream(call())
        items = decoder.feed(wrapped(EVENTS[0]) + bad) + decoder.finish()
        assert isinstance(items[-1], ApiError)
        assert items[-1].message == observer.failed.message

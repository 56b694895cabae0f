"""Whole answers and streams: translated, passed through, refused, broken, or not what was asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from auth_support import logged
from exchange_support import (
    USAGE_CHUNK,
    answered,
    chunk,
    client_request,
    events,
    first_attempt,
    openai_answer,
    proxy,
    sse,
)

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.exchange.exchange import error_response
from kong_ai_proxy.exchange.tickets import Ticket

STREAMED = {"messages": [{"role": "user", "content": "hi"}], "stream": True}
HELLO = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hel"}),
    chunk({"content": "lo"}),
    chunk({}, "stop"),
]
CLAUDE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


def started(instance: Any, body: Any = None, content_type: str = "text/event-stream") -> Any:
    _, attempt = first_attempt(instance, client_request(body or STREAMED))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": content_type, "x-request-id": "r-1"})
    return attempt, stream


# Whole answers.


def test_same_format_passes_byte_for_byte() -> None:
    raw = b'{ "id":"c", "choices":[{"index":0,"message":{"content":"\\u00e9"}}],"x_new":[] }'
    done = answered(proxy(), raw)
    assert done.response.body == raw
    assert done.response.status == 200


def test_translated_answer() -> None:
    done = answered(proxy("anthropic", "claude-sonnet-4-5"), CLAUDE)
    assert done.json["object"] == "chat.completion"
    assert done.json["choices"][0]["message"]["content"] == "Hello"
    assert done.json["usage"]["total_tokens"] == 7
    assert done.attempt.call.response_model == "claude-sonnet-4-5-20250929"


def test_created_keeps_its_status() -> None:
    assert answered(proxy(), openai_answer(), status=201).response.status == 201


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'"x"', b"\xff"])
def test_a_2xx_that_is_no_answer(body: bytes) -> None:
    done = answered(proxy("anthropic", "claude-sonnet-4-5"), body)
    assert done.response.status == 502
    assert done.json["error"]["type"] == "server_error"


def test_choices_null_does_no_harm() -> None:
    assert answered(proxy(), openai_answer(choices=None)).response.status == 200


def test_a_bug_in_an_adapter_becomes_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _, attempt = first_attempt(proxy("anthropic", "m"))
    attempt.translation.request()
    monkeypatch.setattr(
        attempt.translation._adapter, "response", lambda body, call: {}["missing"], raising=False
    )
    with logged() as lines:
        response = attempt.translation.response(200, {}, b"{}")
    assert response.status == 502
    assert json.loads(response.body)["error"]["code"] == "upstream_invalid_answer"
    assert "KeyError" in lines.getvalue() and b"missing" not in response.body


def test_a_bug_in_an_adapters_request_too(monkeypatch: pytest.MonkeyPatch) -> None:
    _, attempt = first_attempt(proxy("anthropic", "m"))
    carrier = attempt.translation
    monkeypatch.setattr(carrier, "_translated", lambda adapter: {}["missing"])
    with logged() as lines, pytest.raises(ApiError) as caught:
        carrier.request()
    assert (caught.value.status, caught.value.code) == (400, "request_not_translated")
    assert "KeyError" in lines.getvalue()


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
def test_nesting_that_json_cannot_be_written_with(provider: str) -> None:
    deep: Any = 1
    for _ in range(300):
        deep = {"items": deep}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": deep}}}
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [tool], "stream": True}
    _, attempt = first_attempt(proxy(provider, "m"), client_request(body))
    with logged(), pytest.raises(ApiError) as caught:
        attempt.translation.request()
    assert caught.value.status == 400
    assert "deep" in caught.value.message


# Errors.


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_errors_keep_their_status_and_speak_the_clients_format(provider: str, status: int) -> None:
    error = {"type": "error", "error": {"type": "some_error", "message": "it broke"}}
    done = answered(proxy(provider, "m"), error, status=status, headers={"retry-after": "9"})
    assert done.response.status == status
    assert done.json["error"]["message"] == "it broke"
    assert done.response.headers["retry-after"] == "9"
    assert done.response.headers["content-type"] == "application/json"


def test_openai_error_passes_as_it_came() -> None:
    raw = b'{"error":{"message":"m","type":"t","param":null,"code":"content_filter","innererror":{"x":{}}}}'
    assert answered(proxy(), raw, status=400).response.body == raw


@pytest.mark.parametrize(
    "body", [b"upstream connect error", b"", b"<html>busy</html>", b'{"error":"text"}', b"[]"]
)
def test_other_shapes_of_errors_become_openais(body: bytes) -> None:
    done = answered(proxy(), body, status=503, headers={"content-type": "text/html"})
    assert done.response.status == 503
    assert isinstance(done.json["error"]["message"], str)
    assert done.response.headers["content-type"] == "application/json"


def test_error_to_a_stream_request_is_json_with_its_status() -> None:
    done = answered(proxy(), {"error": {"message": "slow down"}}, client_request(STREAMED), status=429)
    assert done.response.status == 429
    assert done.response.headers["content-type"] == "application/json"
    assert done.attempt.translation.stream(429, {"content-type": "application/json"}) is None


def test_an_error_with_status_200_is_an_error() -> None:
    error = {"error": {"message": "filtered", "type": None, "param": "prompt", "code": "content_filter"}}
    done = answered(proxy(), error)
    assert done.response.status >= 400
    assert done.json["error"]["message"] == "filtered"
    assert done.json["error"]["code"] == "content_filter"
    assert "usage" not in (done.exchange.record() or {})


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirects_are_not_followed_nor_passed_on(status: int) -> None:
    done = answered(proxy(), b"", status=status, headers={"location": "http://internal.example/"})
    assert done.response.status == 502
    assert b"internal.example" not in done.response.body
    assert "location" not in done.response.headers


def test_a_provider_that_repeats_the_key() -> None:
    error = {"error": {"message": "Incorrect API key provided: sk-configured-0123456789."}}
    done = answered(proxy(), error, status=401)
    assert b"sk-configured" not in done.response.body
    assert b"Incorrect API key" in done.response.body


def test_errors_before_there_is_an_exchange() -> None:
    response = error_response(None, ApiError(503, "the plugin did not run"))
    assert response.status == 503
    assert json.loads(response.body) == {
        "error": {"message": "the plugin did not run", "type": "server_error", "param": None, "code": None}
    }
    ticket = Ticket(proxy(), filter_installed=True, buffered=False)
    assert error_response(ticket, ApiError(413, "too big")).status == 413


# Streams.


def test_stream_passes_through_without_the_usage_nobody_asked_for() -> None:
    attempt, stream = started(proxy())
    out = b"".join(stream.feed(sse(event)) for event in [*HELLO, USAGE_CHUNK, "[DONE]"]) + stream.finish()
    assert out == sse(*HELLO, "[DONE]")
    assert stream.failed is None
    assert attempt.call.usage.completion_tokens == 4
    assert stream.headers == {"x-request-id": "r-1", "x-kong-llm-model": "openai/gpt-4o"}


def test_usage_where_it_was_asked_for() -> None:
    body = {**STREAMED, "stream_options": {"include_usage": True}}
    _, stream = started(proxy(), body)
    out = stream.feed(sse(*HELLO, USAGE_CHUNK, "[DONE]")) + stream.finish()
    assert USAGE_CHUNK in events(out)


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_truncated_stream_does_not_look_complete(provider: str) -> None:
    _, stream = started(proxy(provider, "m"))
    out = stream.feed(sse(HELLO[0], HELLO[1])) if provider == "openai" else b""
    out += stream.finish()
    last = events(out)[-1]
    assert last["error"]["code"] == "upstream_stream_truncated"
    assert b"[DONE]" not in out
    assert stream.failed is not None
    assert stream.failed.status == 502
    assert stream.finish() == b""
    assert stream.feed(sse(HELLO[2])) == b""


def test_providers_error_event_ends_the_stream_once() -> None:
    _, stream = started(proxy())
    out = stream.feed(sse(HELLO[1], {"error": {"message": "overloaded", "type": "server_error"}}))
    out += stream.finish()
    assert out.count(b'"error"') == 1
    assert b"[DONE]" not in out
    assert stream.failed is not None


def test_aborting() -> None:
    _, stream = started(proxy())
    stream.feed(sse(HELLO[1]))
    (event,) = events(stream.abort(ApiError(504, "too long", code="stream_too_long")))
    assert event["error"]["code"] == "stream_too_long"
    assert stream.failed is not None
    assert stream.abort(ApiError(504, "again")) == b""
    assert stream.finish() == b""


def test_aborting_what_has_ended() -> None:
    _, stream = started(proxy())
    stream.feed(sse(*HELLO, "[DONE]"))
    stream.finish()
    assert stream.abort(ApiError(504, "too late")) == b""
    assert stream.failed is None


def test_a_bug_in_a_decoder_becomes_an_error_event(monkeypatch: pytest.MonkeyPatch) -> None:
    _, stream = started(proxy("anthropic", "m"))
    monkeypatch.setattr(stream._decoder, "feed", lambda data: 1 / 0)
    (event,) = events(stream.feed(b"data: {}\n\n"))
    assert event["error"]["code"] == "upstream_invalid_answer"
    assert "division" not in event["error"]["message"]
    assert stream.failed is not None


def test_a_running_stream_holds_no_request() -> None:
    """Prompts of a megabyte times hundreds of streams would be most of the memory."""
    body = {"messages": [{"role": "user", "content": "x" * 4000}], "stream": True}
    attempt, stream = started(proxy(), body)
    assert stream.feed(sse(HELLO[0])[:10]) == b""
    assert attempt.call.request.body, "another target may yet be tried"
    stream.feed(sse(HELLO[0])[10:])
    assert attempt.call.request.body == b""
    assert attempt._exchange.plan.body == attempt._exchange._asked.body == {}
    assert attempt.translation.upstream.body == b""
    assert not attempt.rejected(503, {})
    stream.feed(sse(HELLO[1]))
    attempt.status = 200
    attempt.ended(partial=True)
    usage = attempt._exchange.record()["usage"]
    assert usage["prompt_tokens"] == 1000, "counted before it was let go"


# What was asked for as a stream and is none, and the other way round.


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("usage", [False, True])
def test_plain_json_becomes_a_stream_for_the_client_who_asked_for_one(size: int, usage: bool) -> None:
    body = {**STREAMED, "stream_options": {"include_usage": usage}}
    attempt, stream = started(proxy(), body, "application/json")
    raw = json.dumps(openai_answer("Hello")).encode()
    out = b"".join(stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)) + stream.finish()
    *chunks, end = events(out)
    assert end == "[DONE]"
    assert all(event["object"] == "chat.completion.chunk" for event in chunks)
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "Hello"}
    assert chunks[1]["choices"][0]["finish_reason"] == "stop"
    assert any("usage" in event for event in chunks) is usage
    assert attempt.call.usage.completion_tokens == 4
    assert stream.content_type == "text/event-stream"


@pytest.mark.parametrize("content_type", ["", "text/plain; charset=utf-8"])
def test_plain_json_of_a_vague_type_becomes_a_stream_too(content_type: str) -> None:
    _, stream = started(proxy(), content_type=content_type)
    raw = b"\xef\xbb\xbf" + json.dumps(openai_answer("Hello")).encode()
    first, _, end = events(stream.feed(raw) + stream.finish())
    assert (first["choices"][0]["delta"]["content"], end) == ("Hello", "[DONE]")
    _, stream = started(proxy(), content_type=content_type)
    assert stream.feed(sse(HELLO[0])) == sse(HELLO[0]), "not held back"


def test_plain_json_with_tools_becomes_a_stream() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": '{"x":1}'}},
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    answer = openai_answer(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    _, stream = started(proxy(), content_type="application/json; charset=utf-8")
    first, second, _ = events(stream.feed(json.dumps(answer).encode()) + stream.finish())
    assert [call["index"] for call in first["choices"][0]["delta"]["tool_calls"]] == [0, 1]
    assert second["choices"][0]["finish_reason"] == "tool_calls"


def test_plain_completion_becomes_a_stream() -> None:
    choice = {"index": 0, "text": "Hello", "finish_reason": "length", "logprobs": None}
    answer = openai_answer(object="text_completion", choices=[choice])
    body = {"prompt": "Say", "stream": True}
    _, stream = started(proxy(route_type="llm/v1/completions"), body, "application/json")
    first, second, end = events(stream.feed(json.dumps(answer).encode()) + stream.finish())
    assert (first["object"], first["choices"][0]["text"]) == ("text_completion", "Hello")
    assert second["choices"][0]["finish_reason"] == "length"
    assert end == "[DONE]"


def test_a_stream_labelled_json_is_a_stream_all_the_same() -> None:
    _, stream = started(proxy(), content_type="application/json")
    first = stream.feed(sse(HELLO[0]))
    assert first == sse(HELLO[0]), "not held back"
    out = first + stream.feed(sse(*HELLO[1:], USAGE_CHUNK, "[DONE]")) + stream.finish()
    assert out == sse(*HELLO, "[DONE]")


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_no_byte_of_the_answer(content_type: str) -> None:
    _, stream = started(proxy(), content_type=content_type)
    out = stream.finish()
    assert events(out)[-1]["error"]["code"] == "upstream_stream_truncated"
    assert stream.failed is not None


def test_plain_json_that_is_cut_off() -> None:
    _, stream = started(proxy(), content_type="application/json")
    out = stream.feed(json.dumps(openai_answer()).encode()[:50]) + stream.finish()
    assert stream.failed is not None
    assert b"[DONE]" not in out


def test_plain_json_error_with_status_200() -> None:
    _, stream = started(proxy("anthropic", "m"), content_type="application/json")
    out = (
        stream.feed(b'{"type":"error","error":{"type":"overloaded_error","message":"busy"}}')
        + stream.finish()
    )
    assert events(out)[-1]["error"]
    assert stream.failed is not None


@pytest.mark.parametrize("provider", ["openai", "mistral", "vllm"])
def test_a_stream_nobody_asked_for_becomes_a_whole_answer(provider: str) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    called = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    made = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    second = {"index": 1, "delta": {"content": "two"}}
    raw = b"\xef\xbb\xbf: hello\n\n" + sse(
        chunk({"role": "assistant", "content": "Hel", "reasoning_content": "H"}),
        chunk({"content": "lo", "reasoning_content": "m"}, logprobs=None),
        chunk({"tool_calls": [called]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}, "tool_calls"),
        chunk(choices=[{**second, "finish_reason": "stop", "logprobs": {"content": []}}]),
        chunk(choices=[], usage=usage),
        "[DONE]",
    )
    options = {"upstream_url": "https://x.example/v1/chat/completions"}
    done = answered(proxy(provider, "m", options=options), raw)
    assert done.json == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-2024",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "reasoning_content": "Hm",
                    "tool_calls": [made],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "two"},
                "logprobs": {"content": []},
                "finish_reason": "stop",
            },
        ],
        "usage": usage,
    }
    assert done.attempt.call.usage.total == 7


def test_lines_nobody_asked_for_become_a_whole_answer() -> None:
    lines = [
        {"model": "m", "message": {"role": "assistant", "content": "Hel"}, "done": False},
        {"model": "m", "message": {"content": "lo"}, "done": True, "done_reason": "length"},
    ]
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    done = answered(proxy("ollama", "m", options={"upstream_url": "http://x.example:11434"}), raw)
    assert done.json["choices"][0]["message"]["content"] == "Hello"
    assert done.json["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("end", [b"", b'data: {"error":{"message":"no","code":429}}\n\n'])
def test_a_stream_nobody_asked_for_may_break(end: bytes) -> None:
    for raw in (sse(*HELLO[:2]) + end, end or b"data: [DONE\n\n"):
        done = answered(proxy(), raw)
        assert done.response.status == (429 if end else 502)
        assert "choices" not in done.json


def test_always_streaming_gives_a_stream_to_who_did_not_ask() -> None:
    instance = proxy(response_streaming="always")
    _, stream = started(instance, {"messages": [{"role": "user", "content": "hi"}]})
    assert stream.feed(sse(*HELLO, "[DONE]")) + stream.finish() == sse(*HELLO, "[DONE]")


def test_no_stream_for_who_did_not_ask() -> None:
    _, stream = started(proxy(), {"messages": [{"role": "user", "content": "hi"}]})
    assert stream is None


# Payloads in the record.


def test_payloads_are_those_of_the_providers_side() -> None:
    logging = {"log_payloads": True, "log_statistics": False}
    done = answered(proxy("anthropic", "claude-sonnet-4-5", logging=logging), CLAUDE)
    record = done.exchange.record()
    assert record is not None
    assert set(record) == {"payload"}
    assert json.loads(record["payload"]["request"])["max_tokens"] > 0
    assert json.loads(record["payload"]["response"]) == CLAUDE


def test_streams_payload_is_kept_as_it_came() -> None:
    attempt, stream = started(proxy(logging={"log_payloads": True}))
    raw = sse(*HELLO, USAGE_CHUNK, "[DONE]")
    stream.feed(raw)
    stream.finish()
    attempt.ended()
    assert attempt._exchange.record()["payload"]["response"] == raw.decode()


def test_a_credential_in_the_body_is_not_in_the_payload() -> None:
    from kong_ai_proxy.auth import authenticate

    auth = {"param_name": "token", "param_value": "planted-secret", "param_location": "body"}
    exchange, attempt = first_attempt(proxy(auth=auth, logging={"log_payloads": True}))
    upstream = attempt.translation.request()
    authenticate(upstream, attempt.call)
    assert b"planted-secret" in upstream.body
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    attempt.translation.response(200, {}, json.dumps(openai_answer()).encode())
    attempt.ended()
    assert "planted-secret" not in json.dumps(exchange.record())


def test_nothing_wanted_nothing_recorded() -> None:
    assert answered(proxy(logging={}), openai_answer()).exchange.record() is None

"""Clients that speak Anthropic's Messages: through unchanged to Anthropic, translated for others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import (
    USAGE_CHUNK,
    answered,
    chunk,
    client_request,
    first_attempt,
    openai_answer,
    proxy,
    sent,
    sent_body,
    sse,
)

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.exchange.exchange import Exchange, error_response
from kong_ai_proxy.exchange.tickets import Ticket

BODY = {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "cache_read_input_tokens": 20, "output_tokens": 2},
}
EVENTS = [
    ("message_start", {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}),
    (
        "content_block_start",
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ),
    (
        "content_block_delta",
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    ),
    ("content_block_stop", {"type": "content_block_stop", "index": 0}),
    (
        "message_delta",
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    ),
    ("message_stop", {"type": "message_stop"}),
]


def messages(provider: str, name: str | None = None, **fields: Any) -> Any:
    return proxy(provider, name, llm_format="anthropic", **fields)


def wire(*events: tuple[str, Any]) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (kind.encode(), json.dumps(data).encode()) for kind, data in events
    )


def kinds(stream: bytes) -> list[str]:
    return [
        line.removeprefix("event: ") for line in stream.decode().split("\n") if line.startswith("event: ")
    ]


def streaming(instance: Any, content_type: str = "text/event-stream") -> Any:
    _, attempt = first_attempt(instance, client_request({**BODY, "stream": True}))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    return attempt, attempt.translation.stream(200, {"content-type": content_type})


def test_body_passes_byte_for_byte_to_anthropic() -> None:
    raw = b'{"max_tokens": 10,  "model":"claude-x","messages":[{"role":"user","content":"hi"}],"new":{}}'
    assert sent(messages("anthropic"), client_request(raw)).body == raw


def test_answer_passes_byte_for_byte_and_is_counted() -> None:
    raw = json.dumps(MESSAGE, indent=1).encode()
    done = answered(messages("anthropic"), raw, client_request(BODY))
    assert done.response.body == raw
    usage = done.exchange.record()["usage"]  # type: ignore[index]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (25, 2)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 20


def test_stream_passes_byte_for_byte_and_is_counted() -> None:
    attempt, stream = streaming(messages("anthropic"))
    raw = wire(*EVENTS)
    assert stream.feed(raw) + stream.finish() == raw
    assert stream.failed is None
    assert (attempt.call.usage.prompt_tokens, attempt.call.usage.completion_tokens) == (25, 2)


def test_stream_cut_off_gets_an_error_event_of_its_own_kind() -> None:
    _, stream = streaming(messages("anthropic"))
    out = stream.feed(wire(*EVENTS[:3])) + stream.finish()
    assert kinds(out)[-1] == "error"
    assert stream.failed is not None


def test_configured_defaults_and_the_models_own_rule() -> None:
    instance = messages("anthropic", "claude-sonnet-4-5", options={"temperature": 0.5, "max_tokens": 99})
    body = sent_body(instance, {"messages": BODY["messages"]})
    assert (body["temperature"], body["max_tokens"], body["model"]) == (0.5, 99, "claude-sonnet-4-5")
    with pytest.raises(ApiError, match="cannot use own model - must be: claude-sonnet-4-5"):
        sent(instance, client_request({**BODY, "model": "claude-opus-4"}))


def test_always_streaming_asks_for_a_stream() -> None:
    assert sent_body(messages("anthropic", response_streaming="always"), BODY)["stream"] is True


def test_beta_query_and_header_reach_anthropic() -> None:
    request = client_request(BODY, headers={"anthropic-beta": "context-1m"}, query="beta=true")
    upstream = sent(messages("anthropic"), request)
    assert upstream.url.target == "/v1/messages?beta=true"
    assert upstream.headers["anthropic-beta"] == "context-1m"


def test_translated_for_openai_and_back() -> None:
    instance = messages("openai", "gpt-4o")
    body = {**BODY, "model": "gpt-4o", "system": "Be brief."}
    assert sent_body(instance, body)["messages"][0]["role"] in ("system", "developer")
    done = answered(instance, openai_answer("Hello"), client_request(body))
    assert done.json["type"] == "message"
    assert done.json["content"] == [{"type": "text", "text": "Hello"}]
    assert done.json["usage"]["output_tokens"] == 4


def test_translated_stream_has_anthropics_events() -> None:
    attempt, stream = streaming(messages("openai"))
    given = [chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}), chunk({}, "stop")]
    out = stream.feed(sse(*given, USAGE_CHUNK, "[DONE]")) + stream.finish()
    assert [kind for kind in kinds(out) if kind != "ping"] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert attempt.call.usage.completion_tokens == 4


@pytest.mark.parametrize("provider", ["anthropic", "openai"])
def test_plain_json_becomes_a_stream(provider: str) -> None:
    _, stream = streaming(messages(provider), "application/json")
    answer = MESSAGE if provider == "anthropic" else openai_answer("Hello")
    out = stream.feed(json.dumps(answer).encode()) + stream.finish()
    assert kinds(out)[0] == "message_start"
    assert kinds(out)[-1] == "message_stop"
    assert b"Hello" in out


def test_errors_are_in_anthropics_shape() -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit"}}
    done = answered(
        messages("openai", "gpt-4o"), error, client_request({**BODY, "model": "gpt-4o"}), status=429
    )
    assert done.response.status == 429
    assert (done.json["type"], done.json["error"]["type"]) == ("error", "rate_limit_error")
    ticket = Ticket(messages("anthropic"), filter_installed=True, buffered=False)
    with pytest.raises(ApiError) as caught:
        Exchange.open(ticket, client_request({"model": "m"}))
    assert json.loads(error_response(ticket, caught.value).body)["type"] == "error"

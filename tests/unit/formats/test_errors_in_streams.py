"""Errors in the middle of a stream, in whatever words: the client hears of them, and never a good end."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from exchange_support import chunk, client_request, first_attempt, proxy, sse

Json = dict[str, Any]

CHAT: Final = sse(chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}))
MESSAGE: Final = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
CLAUDE: Final = sse(
    {"type": "message_start", "message": {**MESSAGE, "usage": {"input_tokens": 5, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hello"}},
)
GEMINI: Final = sse({"candidates": [{"content": {"parts": [{"text": "Hello"}]}}]})
COHERE: Final = sse(
    {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
    {
        "type": "content-start",
        "index": 0,
        "delta": {"message": {"content": {"type": "text", "text": "Hello"}}},
    },
)
BEGUN: Final = {
    "mistral": CHAT, "xai": CHAT, "deepseek": CHAT, "openai": CHAT,
    "anthropic": CLAUDE, "gemini": GEMINI, "cohere": COHERE,
}  # fmt: skip
BOOM: Final = {"message": "boom", "type": "server_error", "code": "x"}
COMMON: Final = {
    "an object": b'data: {"error":' + json.dumps(BOOM).encode() + b"}",
    "a text": b'data: {"error":"boom","error_type":"overloaded"}',
    "an event's object": b'event: error\ndata: {"error":{"message":"boom"}}',
    "bare": b'{"error":{"code":503,"message":"boom","status":"UNAVAILABLE"}}',
}
COMPATIBLE: Final = {
    "an event's message": b'event: error\ndata: {"message":"boom","code":5}',
    "an event's text": b"event: error\ndata: boom",
    "in a list": b'data: [{"error":{"code":503,"message":"boom"}}]',
    "called one": b'data: {"object":"error","message":"boom"}',
    "detail": b'data: {"detail":"boom"}',
    "findings": b'data: {"detail":[{"loc":["body"],"msg":"boom"}]}',
    "Databricks'": b'data: {"error_code":"INTERNAL","message":"boom"}',
    "DashScope's": b'id:1\nevent:error\n:HTTP_STATUS/400\ndata:{"code":"X","message":"boom"}',
}
SAID: Final = [
    *((provider, event) for provider in BEGUN for event in COMMON.values()),
    *((provider, event) for provider in ("mistral", "xai", "deepseek") for event in COMPATIBLE.values()),
    ("anthropic", b'event: error\ndata: {"message":"boom"}'),
    ("cohere", b'data: {"message":"boom"}'),
]


def streamed(provider: str, raw: bytes) -> tuple[bytes, Any]:
    asked = client_request({"messages": [{"role": "user", "content": "hi"}], "stream": True})
    _, attempt = first_attempt(proxy(provider, "m"), asked)
    attempt.translation.request()
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    return stream.feed(raw) + stream.finish(), stream.failed


@pytest.mark.parametrize(("provider", "event"), SAID)
def test_an_error_is_told(provider: str, event: bytes) -> None:
    out, failed = streamed(provider, BEGUN[provider] + event + b"\n\n")
    assert b"lo" in out and b"[DONE]" not in out
    assert failed is not None and "boom" in failed.message and 400 <= failed.status < 600
    assert b"boom" in out


@pytest.mark.parametrize("provider", BEGUN)
@pytest.mark.parametrize(
    "end", [b"", b"<html>boom</html>\n\n", b"data: {}\n\n", b": bye\n\n", b'data: {"odd": 1}\n\n']
)
def test_whatever_ends_a_stream_early_is_no_good_end(provider: str, end: bytes) -> None:
    out, failed = streamed(provider, BEGUN[provider] + end)
    assert failed is not None and failed.status == 502
    assert b"[DONE]" not in out

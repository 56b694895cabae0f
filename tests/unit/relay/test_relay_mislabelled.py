"""Answers that are not what their content type says, through the real exchange and over real sockets."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from exchange_support import events, proxy
from relay_support import Peer, every, provider_of, relay_world

USED: Final = {"input_tokens": 5, "output_tokens": 7}
MESSAGE: Final = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "usage": USED,
    "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn", "stop_sequence": None,
}  # fmt: skip
OVERLOADED: Final = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
EVENTS: Final = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USED},
    {"type": "message_stop"},
]


def sse(*said: Any) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in said)


def replied(raw: bytes, label: str, *, stream: bool, status: str = "200 OK") -> Any:
    asked = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.send(
            f"HTTP/1.1 {status}\r\ncontent-type: {label}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        peer.chunk(raw[:9])
        peer.chunk(raw[9:])
        peer.end()

    with provider_of(every(script)) as place, relay_world(real=True) as world:
        url = f"http://127.0.0.1:{place.port}/"
        world.instance = proxy("anthropic", "m", options={"upstream_url": url})
        return world.post(json.dumps(asked).encode())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("raw", "label"),
    [
        (json.dumps(MESSAGE, indent=1).encode(), "text/event-stream; charset=utf-8"),
        (sse(*EVENTS), "application/json"),
    ],
)
def test_the_client_gets_what_it_asked_for(raw: bytes, label: str, stream: bool) -> None:
    reply = replied(raw, label, stream=stream)
    assert reply.status == 200
    if stream:
        body = reply.body.partition(b": kong-ai-usage")[0]
        *chunks, end = events(body)
        said = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
        assert (said, end) == ("Hello", "[DONE]")
        assert reply.headers["content-type"] == "text/event-stream"
    else:
        answer = json.loads(reply.body)
        assert answer["choices"][0]["message"]["content"] == "Hello"
        assert answer["usage"]["total_tokens"] == 12


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("status", ["200 OK", "529 Overloaded"])
@pytest.mark.parametrize("raw", [json.dumps(OVERLOADED).encode(), sse(OVERLOADED)])
def test_an_error_in_an_event_streams_place(raw: bytes, status: str, stream: bool) -> None:
    reply = replied(raw, "text/event-stream", stream=stream, status=status)
    assert reply.status == 529
    assert reply.headers["content-type"] == "application/json"
    assert json.loads(reply.body)["error"]["message"] == "Busy"

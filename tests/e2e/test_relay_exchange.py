"""The relay with the real exchange: configuration, translation, credentials, record; scripted providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

import gevent
import gevent.event
import pytest
from relay_support import Peer, Provider, World, eventually, every, provider_of, relay_world

from kong_ai_proxy import log
from kong_ai_proxy.exchange.instance import ADVANCED, PROXY, Instance
from kong_ai_proxy.exchange.tickets import Ticket

pytestmark = pytest.mark.in_process("scripts the relay's own parts; for workers see test_relay_workers")

CHAT = b'{"messages":[{"role":"user","content":"Say hello"}]}'
STREAM = b'{"stream":true,"stream_options":{"include_usage":true},' + CHAT[1:]

START = {
    "type": "message_start",
    "message": {
        "id": "msg_7", "type": "message", "role": "assistant", "model": "claude-x", "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1},
    },
}  # fmt: skip
BLOCK = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
END = [
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 4},
    },
    {"type": "message_stop"},
]
WHOLE = {
    "id": "msg_7", "type": "message", "role": "assistant", "model": "claude-x",
    "content": [{"type": "text", "text": "Hello there"}], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 11, "output_tokens": 4},
}  # fmt: skip


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def delta(text: str) -> bytes:
    return event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})


def target(provider: Provider, **extra: Any) -> dict[str, Any]:
    return {
        "route_type": "llm/v1/chat",
        "logging": {"log_statistics": True},
        "auth": {"header_name": "x-api-key", "header_value": "secret-key-1"},
        "model": {
            "provider": "anthropic",
            "name": "claude-x",
            "options": {
                "anthropic_version": "2023-06-01",
                "max_tokens": 100,
                "input_cost": 1000,
                "output_cost": 1000,
                "upstream_url": f"http://127.0.0.1:{provider.port}/v1/messages",
            },
        },
        **extra,
    }


@contextmanager
def real(plugin: str, config: dict[str, Any], **kwargs: Any) -> Iterator[World]:
    with relay_world(real=True, **kwargs) as world:
        world.instance = Instance.from_config(plugin, {"__plugin_id": "p-1", **config})
        yield world


def decoded(record: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in record.split("&"):
        path, _, value = pair.partition("=")
        found[path] = float(value[1:]) if value[0] == "n" else unquote(value[1:])
    return found


def events_of(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def test_chat_translated_with_its_record() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        headers = "content-type: application/json\r\nrequest-id: req_9\r\nset-cookie: a=b\r\nserver: x\r\n"
        peer.answer(json.dumps(WHOLE).encode(), headers=headers)

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        reply = world.post(CHAT, "cookie: mine\r\nauthorization: Bearer mine\r\n")
        assert reply.status == 200
        answer = json.loads(reply.body)
        assert answer["choices"][0]["message"]["content"] == "Hello there"
        assert reply.headers["x-kong-llm-model"] == "anthropic/claude-x"
        assert "set-cookie" not in reply.headers and "server" not in reply.headers
        record = decoded(reply.headers["x-kong-ai-usage"])
        assert record["usage.prompt_tokens"] == 11 and record["usage.completion_tokens"] == 4
        assert record["usage.cost"] == 0.015
        assert record["meta.plugin_id"] == "p-1" and record["meta.request_mode"] == "oneshot"
        assert record["tried_targets.1.ip"] == "127.0.0.1"
        head = provider.requests[0][0].decode().lower()
        assert "x-api-key: secret-key-1" in head
        assert "mine" not in head and "x-kong" not in head


def test_stream_translated_token_by_token() -> None:
    step = gevent.event.Event()

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(event(START) + event(BLOCK) + delta("Hello"))
        assert step.wait(5)
        peer.chunk(delta(" there") + b"".join(map(event, END)))
        peer.end()

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        with world.connect() as client:
            client.send_request(STREAM)
            status, headers = client.read_head()
            assert (status, headers["content-type"]) == (200, "text/event-stream")
            first = client.read_chunk() or b""
            assert b"Hello" in first  # and the second was not sent yet
            step.set()
            rest = b""
            while (chunk := client.read_chunk()) is not None:
                rest += chunk
        events = events_of(first + rest)
        text = "".join(
            choice["delta"].get("content") or "" for each in events[:-1] for choice in each["choices"]
        )
        assert text == "Hello there" and events[-1] == "[DONE]"
        assert events[-2]["usage"]["total_tokens"] == 15
        comment = rest.decode().rstrip("\n").rpartition("\n\n")[2]
        assert comment.startswith(": kong-ai-usage ")
        record = decoded(comment.removeprefix(": kong-ai-usage "))
        assert record["usage.completion_tokens"] == 4 and record["meta.request_mode"] == "stream"
        assert "usage.time_to_first_token" in record and "usage.source" not in record


def test_truncated_stream_ends_with_an_error_and_partial_usage() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(event(START) + event(BLOCK) + delta("Hello"))
        gevent.sleep(0.02)
        peer.sock.close()

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        reply = world.post(STREAM)
        assert reply.status == 200 and reply.complete
        events = events_of(reply.body)
        assert "error" in events[-1] and "[DONE]" not in events
        assert "usage.source=spartial" in reply.body.decode()


def test_overloaded_before_any_token_keeps_its_status() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        peer.chunk(event(error))
        peer.wait_closed()

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        reply = world.post(STREAM)
        assert reply.status in (503, 529)
        assert reply.headers["content-type"] == "application/json"
        assert "Overloaded" in json.loads(reply.body)["error"]["message"]
        assert provider.closed.wait(1)


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves(stream: bool) -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        if b'"stream":true' in body.replace(b" ", b""):
            peer.stream_head()
            peer.chunk(event(START) + event(BLOCK) + delta("Hello there, this is some text"))
        peer.wait_closed()

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        client = world.connect()
        client.send_request(STREAM if stream else CHAT)
        if stream:
            client.read_head()
            client.read_chunk()
        else:
            eventually(lambda: len(provider.requests) == 1)
        client.close()
        assert provider.closed.wait(1)
        eventually(lambda: bool(world.logged))
        usage = world.logged[0]["usage"]
        assert usage["source"] == "partial"
        if stream:
            assert usage["prompt_tokens"] == 11


def test_failover_to_the_second_target() -> None:
    def busy(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b'{"type":"error","error":{"type":"api_error","message":"no"}}', "503 Busy")

    def fine(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(json.dumps(WHOLE).encode())

    with provider_of(every(busy)) as one, provider_of(every(fine)) as two:
        config = {
            "targets": [target(one), target(two)],
            "balancer": {
                "algorithm": "round-robin",
                "failover_criteria": ["error", "timeout", "http_503", "non_idempotent"],
            },
        }
        with real(ADVANCED, config) as world:
            tried = set()
            for _ in range(2):
                reply = world.post(CHAT)
                assert reply.status == 200
                record = decoded(reply.headers["x-kong-ai-usage"])
                tried.add("tried_targets.2.host" in record)
            assert True in tried
            assert one.requests and two.requests


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", "", 400),
        (b"[]", "", 400),
        (b"{}", "", 400),
        (CHAT, "content-type: application/x-www-form-urlencoded\r\n", 400),
        (b"x" * 2_000_000, "", 413),
        (b"x" * 2_000_000, "content-type: multipart/form-data; boundary=x\r\n", 413),
    ],
)
def test_refused_before_any_provider(body: bytes, headers: str, status: int) -> None:
    with (
        provider_of(every(lambda peer, head, sent: None)) as provider,
        real(PROXY, target(provider)) as world,
        world.connect() as client,
    ):
        reply = client.post(body, headers)
        assert reply.status == status
        assert json.loads(reply.body)["error"]["message"]
        assert provider.connections == 0
        assert client.post(b"{", "").status == 400  # the connection is in step


def test_configured_time_limit_of_a_stream() -> None:
    def endless(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(event(START) + event(BLOCK))
        while True:
            peer.chunk(delta("x"))
            gevent.sleep(0.01)

    with provider_of(every(endless)) as provider:
        config = target(provider, kong_ai_proxy={"max_stream_duration": 150})
        with real(PROXY, config) as world:
            reply = world.post(STREAM)
            assert reply.complete
            events = events_of(reply.body)
            assert "took longer than 0.15 seconds" in events[-1]["error"]["message"]


@pytest.mark.parametrize("limit", [None, 100_000])
@pytest.mark.parametrize("llm_format", ["openai", "anthropic"])
def test_event_without_end_is_a_clear_error(limit: int | None, llm_format: str) -> None:
    def endless(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(event(START) + event(BLOCK) + delta("Hello"))
        gevent.sleep(0.02)
        peer.chunk(b"data: ")
        try:
            while True:
                peer.chunk(b"x" * 65536)
        except OSError:
            peer.provider.closed.set()

    with provider_of(every(endless)) as provider:
        config = target(provider, llm_format=llm_format)
        if limit is not None:
            config["kong_ai_proxy"] = {"max_frame_size": limit}
        with real(PROXY, config) as world:
            body = STREAM.replace(b"{", b'{"max_tokens":99,', 1)
            reply = world.post(body if llm_format == "anthropic" else STREAM)
            assert reply.complete
            events = events_of(reply.body)
            assert f"exceeds {limit or 16777216} bytes" in events[-1]["error"]["message"]
            assert provider.closed.wait(1)


def test_usage_line_without_the_filter(capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers must stand in it, though some of their names end in "token"."""

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(json.dumps(WHOLE).encode())

    log.configure("info")
    with provider_of(every(script)) as provider, real(PROXY, target(provider), log_usage=None) as world:
        world.filter_installed = False
        assert "x-kong-ai-usage" not in world.post(CHAT).headers
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["event"] == "usage"]
    usage = line["ai"]["proxy"]["usage"]
    assert usage["total_tokens"] == 15
    assert isinstance(usage["time_per_token"], (int, float))
    assert isinstance(usage["time_to_first_token"], (int, float))


def test_ticket_of_a_buffered_request_holds_the_record() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(json.dumps(WHOLE).encode())

    with provider_of(every(script)) as provider, real(PROXY, target(provider)) as world:
        assert world.instance is not None
        token = world.tickets.file(Ticket(instance=world.instance, filter_installed=False, buffered=True))
        with world.connect() as client:
            reply = client.post(CHAT, ticket=token)
        assert reply.status == 200 and not reply.headers.keys() & {"x-kong-ai-ticket", "x-kong-ai-usage"}
        record = world.tickets.collect(token)
        assert record is not None and record["usage"]["total_tokens"] == 15

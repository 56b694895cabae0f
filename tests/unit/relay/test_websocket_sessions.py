"""Sessions through the relay: the handshake, what crosses it, and how it ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from relay_support import Limits, Provider, World, eventually, every, provider_of, relay_world
from websocket_support import (
    Ping,
    Pong,
    Session,
    connect,
    realtime_instance,
    realtime_provider,
    realtime_target,
)
from wsproto.events import BytesMessage, CloseConnection, TextMessage

DONE = {
    "type": "response.done",
    "response": {
        "id": "r",
        "status": "completed",
        "usage": {
            "total_tokens": 30,
            "input_tokens": 20,
            "output_tokens": 10,
            "input_token_details": {"text_tokens": 5, "audio_tokens": 15, "cached_tokens": 4},
            "output_token_details": {"text_tokens": 3, "audio_tokens": 7},
        },
    },
}


@contextmanager
def world_to(*providers: Provider, scheme: str = "ws", **config: Any) -> Iterator[World]:
    model = config.pop("model", {"name": "m"})
    options: dict[str, Any] = {
        name: config.pop(name) for name in ("tls", "limits", "deposit_url") if name in config
    }
    with relay_world(real=True, **options) as world:
        targets = [realtime_target(f"{scheme}://127.0.0.1:{each.port}", **dict(model)) for each in providers]
        world.instance = realtime_instance(*targets, **config)
        world.filter_installed = False
        yield world


def echo(session: Session) -> None:
    session.accept()
    while (event := session.event()) is not None:
        if isinstance(event, CloseConnection):
            session.send(event.response())
            return
        if isinstance(event, Ping):
            session.send(event.response())
        elif isinstance(event, TextMessage | BytesMessage):
            session.send(type(event)(data=event.data, message_finished=event.message_finished))


def test_handshake_crosses_by_allow_list() -> None:
    seen: list[Session] = []

    def talk(session: Session) -> None:
        seen.append(session)
        session.accept(subprotocol="realtime", extra_headers=[(b"x-request-id", b"7"), (b"set-cookie", b"c")])
        session.event()

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(
            world,
            "/realtime?model=m&key=secret&other=1",
            {
                "authorization": "Bearer client",
                "cookie": "c=1",
                "openai-beta": "realtime=v1",
                "x-other": "1",
                "sec-websocket-extensions": "permessage-deflate",
            },
            ["realtime", "openai-insecure-api-key.browser", "openai-beta.realtime-v1"],
        )
        assert (client.status, client.subprotocol) == (101, "realtime")
        assert client.headers["x-request-id"] == "7"
        assert client.headers["x-kong-llm-model"] == "openai/m"
        assert "set-cookie" not in client.headers
        got = seen[0]
        assert got.request.target == "/v1/realtime?model=m&other=1"
        assert got.request.subprotocols == ["realtime", "openai-beta.realtime-v1"]
        assert got.headers["authorization"] == "Bearer configured"
        assert got.headers["openai-beta"] == "realtime=v1"
        assert not got.headers.keys() & {"cookie", "x-other", "x-kong-ai-ticket"}
        assert got.request.extensions == []


def test_messages_cross_unchanged_both_ways() -> None:
    with realtime_provider(echo) as provider, world_to(provider) as world:
        client = connect(world)
        for size in (0, 1, 125, 126, 65535, 65536, 1_000_000):
            text = "é" * (size // 2) + "x" * (size % 2)
            client.text(text)
            assert client.message() == text
            client.send(BytesMessage(data=b"\x00" * size))
            assert client.message() == b"\x00" * size
        client.send(TextMessage(data="a", message_finished=False))
        client.send(Ping(payload=b"between"))
        client.send(TextMessage(data="b", message_finished=False))
        client.send(TextMessage(data="", message_finished=True))
        events = [client.event() for _ in range(4)]
        assert [type(event).__name__ for event in events].count("Pong") == 1
        assert any(isinstance(event, Pong) and event.payload == b"between" for event in events)
        assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "ab"


def test_usage_is_summed_and_logged_once() -> None:
    def talk(session: Session) -> None:
        session.accept()
        session.text({"type": "session.created", "session": {"id": "s", "model": "m-2025"}})
        for _ in range(2):
            session.message()
            session.text({"type": "response.created", "response": {}})
            session.text({"type": "response.output_text.delta", "delta": "x"})
            session.text(DONE)
        event = session.event()
        assert isinstance(event, CloseConnection)
        session.send(event.response())

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        client.json()
        for _ in range(2):
            client.text({"type": "response.create"})
            assert [client.json()["type"] for _ in range(3)][-1] == "response.done"
        client.send(CloseConnection(code=1000, reason="done"))
        assert client.closed() == (1000, "done")
        assert client.gone()
        record = world.logged[0]
        assert len(world.logged) == 1
        assert record["meta"]["request_mode"] == "realtime"
        assert record["meta"]["response_model"] == "m-2025"
        usage = record["usage"]
        assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (40, 20, 60)
        assert usage["input_tokens_details"] == {"cached_tokens": 8, "audio_tokens": 30, "text_tokens": 10}
        assert usage["output_tokens_details"] == {"audio_tokens": 14, "text_tokens": 6}
        assert usage["cost"] == pytest.approx((40 * 1 + 20 * 10) / 1e6)
        assert "source" not in usage
        assert record["tried_targets"][0]["upstream_scheme"] == "ws"
        assert record["tried_targets"][0]["upstream_uri"] == "/v1/realtime?model=m"


def test_close_of_the_provider_is_carried_with_its_reason() -> None:
    answers = []

    def talk(session: Session) -> None:
        session.accept()
        session.send(CloseConnection(code=4001, reason="session expired"))
        answers.append(session.closed())

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        event = client.event()
        assert isinstance(event, CloseConnection)
        assert (event.code, event.reason) == (4001, "session expired")
        client.send(event.response())
        assert client.gone()
        eventually(lambda: answers == [(4001, "session expired")])


def test_provider_may_finish_after_the_clients_close() -> None:
    def talk(session: Session) -> None:
        session.accept()
        event = session.event()
        assert isinstance(event, CloseConnection)
        # wsproto sends no message after a Close came: the frame is written by hand.
        text = json.dumps(DONE).encode()
        session.sock.sendall(b"\x81\x7e" + len(text).to_bytes(2, "big") + text)
        session.send(event.response())

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        client.send(CloseConnection(code=1000))
        assert client.json()["type"] == "response.done"
        assert client.closed()[0] == 1000
        eventually(lambda: bool(world.logged))
        assert world.logged[0]["usage"]["total_tokens"] == 30


def test_client_gone_closes_the_provider_within_a_second() -> None:
    ended: list[Any] = []

    def talk(session: Session) -> None:
        session.accept()
        session.text({"type": "response.created", "response": {}})
        ended.append(session.closed())
        ended.append(session.gone())

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        client.json()
        client.sock.close()
        began = time.monotonic()
        eventually(lambda: len(ended) == 2, 1.0)
        assert time.monotonic() - began < 1.0
        assert ended == [(1001, "the client is gone"), True]
        assert world.logged[0]["usage"]["source"] == "partial"


@pytest.mark.parametrize("midway", [False, True])
def test_provider_gone_closes_the_client_within_a_second(midway: bool) -> None:
    def talk(session: Session) -> None:
        session.accept()
        session.text("hello")
        if midway:
            session.sock.sendall(b"\x81\x05ab")

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        assert client.message() == "hello"
        began = time.monotonic()
        if midway:
            event = client.event()
            assert isinstance(event, TextMessage) and event.data == "ab"
            assert client.event() is None  # nothing may be put into a frame that was begun
        else:
            assert client.closed() == (1011, "the provider broke the connection")
        assert time.monotonic() - began < 1.0
        eventually(lambda: bool(world.logged))


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_refusal_comes_before_the_upgrade(status: int) -> None:
    body = b'{"error":{"message":"no","type":"t","code":"c"}}'

    def refuse(peer: Any, head: bytes, _: bytes) -> None:
        peer.answer(body, f"{status} X", "content-type: application/json\r\nretry-after: 3\r\n")

    with provider_of(every(refuse)) as provider, world_to(provider) as world:
        client = connect(world)
        assert (client.status, client.body) == (status, body)
        assert client.headers["retry-after"] == "3"
        assert world.logged[0]["meta"]["provider_name"] == "openai"


def test_refusal_that_is_no_json_is_made_one() -> None:
    def refuse(peer: Any, head: bytes, _: bytes) -> None:
        peer.answer(b"<html>", "403 Forbidden", "content-type: text/html\r\n")

    with provider_of(every(refuse)) as provider, world_to(provider) as world:
        client = connect(world)
        assert client.status == 403
        assert json.loads(client.body)["error"]["code"] == "upstream_refused"
        assert client.headers["content-type"] == "application/json"


def test_no_upgrade_in_a_200_is_a_502() -> None:
    with (
        provider_of(every(lambda peer, head, body: peer.answer(b"{}"))) as provider,
        world_to(provider) as world,
    ):
        client = connect(world)
        assert client.status == 502
        assert json.loads(client.body)["error"]["code"] == "upstream_no_websocket"


def test_wrong_accept_key_is_no_agreement() -> None:
    def lie(peer: Any, head: bytes, _: bytes) -> None:
        peer.send(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
            b"sec-websocket-accept: bm90IGl0\r\n\r\n"
        )

    with provider_of(every(lie)) as provider, world_to(provider) as world:
        assert connect(world).status == 502


def test_unreachable_target_fails_over_before_the_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with realtime_provider(echo) as provider, world_to(provider) as world:
            dead = realtime_target(f"ws://127.0.0.1:{closed.getsockname()[1]}", name="m")
            live = realtime_target(f"ws://127.0.0.1:{provider.port}", name="m")
            world.instance = realtime_instance(
                dead, live, balancer={"algorithm": "round-robin", "retries": 3}
            )
            for _ in range(2):
                client = connect(world)
                client.text("x")
                assert client.message() == "x"
                client.send(CloseConnection(code=1000))
                assert client.closed()[0] == 1000
            eventually(lambda: len(world.logged) == 2)
            tried = [len(record["tried_targets"]) for record in world.logged]
            assert sorted(tried) == [1, 2]


def test_refused_target_fails_over_by_criteria() -> None:
    with (
        provider_of(every(lambda peer, head, body: peer.answer(b"{}", "429 Too Many Requests"))) as full,
        realtime_provider(echo) as provider,
        world_to(full, provider, balancer={"failover_criteria": ["http_429"], "retries": 2}) as world,
    ):
        for _ in range(2):
            assert connect(world).status == 101


@pytest.mark.parametrize(
    ("target", "status"),
    [("/realtime?model=other", 400), ("/realtime", 101), ("/realtime?model=alias", 400)],
)
def test_model_rule(target: str, status: int) -> None:
    with realtime_provider(echo) as provider, world_to(provider) as world:
        assert connect(world, target).status == status


def test_alias_becomes_the_model() -> None:
    seen = []

    def talk(session: Session) -> None:
        seen.append(session.request.target)
        echo(session)

    with (
        realtime_provider(talk) as provider,
        world_to(provider, model={"name": "m", "model_alias": "mine"}) as world,
    ):
        assert connect(world, "/realtime?model=mine").status == 101
        assert connect(world, "/realtime?model=m").status == 400
    assert seen == ["/v1/realtime?model=m"]


def test_browsers_key_is_used_only_where_none_is_configured() -> None:
    seen = []

    def talk(session: Session) -> None:
        seen.append(session.headers["authorization"])
        echo(session)

    protocols = ["realtime", "openai-insecure-api-key.browser"]
    with realtime_provider(talk) as provider, world_to(provider) as world:
        connect(world, subprotocols=protocols)
        target = realtime_target(f"ws://127.0.0.1:{provider.port}", name="m")
        world.instance = realtime_instance({**target, "auth": {}})
        connect(world, subprotocols=protocols)
    assert seen == ["Bearer configured", "Bearer browser"]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET {} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 8\r\n", 426),
        (
            "GET {} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
            400,
        ),
        ("GET {} HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n", 400),
        ("GET {} HTTP/1.1\r\n", 426),
        ("POST {} HTTP/1.1\r\ncontent-length: 2\r\n", 426),
    ],
)
def test_what_is_no_handshake(head: str, status: int) -> None:
    with realtime_provider(echo) as provider, world_to(provider) as world, world.connect() as client:
        text = head.format("/realtime?model=m") + f"x-kong-ai-ticket: {world.ticket()}\r\n\r\n"
        client.sock.sendall(text.encode() + (b"{}" if "POST" in head else b""))
        reply = client.read()
        assert reply.status == status
        assert json.loads(reply.body)["error"]["message"]


def test_upgrade_elsewhere_is_refused() -> None:
    with relay_world() as world:
        assert connect(world).status == 501


def test_idle_session_is_ended() -> None:
    with (
        realtime_provider(echo) as provider,
        world_to(provider, kong_ai_proxy={"realtime_idle_timeout": 200}) as world,
    ):
        client = connect(world)
        for _ in range(3):
            gevent.sleep(0.1)
            client.text("x")
            assert client.message() == "x"
        began = time.monotonic()
        assert client.closed() == (1001, "nothing was said for too long")
        assert 0.15 < time.monotonic() - began < 1.0


def test_long_session_is_ended() -> None:
    with (
        realtime_provider(echo) as provider,
        world_to(provider, kong_ai_proxy={"max_stream_duration": 300}) as world,
    ):
        client = connect(world)
        assert client.closed() == (1001, "the session has lasted as long as it may")


def test_message_that_is_too_long_ends_the_session() -> None:
    closes = []

    def talk(session: Session) -> None:
        session.accept()
        while not isinstance(event := session.event(), CloseConnection):
            assert event is not None
        closes.append(event.code)

    with (
        realtime_provider(talk) as provider,
        world_to(provider, kong_ai_proxy={"max_frame_size": 1024}) as world,
    ):
        client = connect(world)
        for _ in range(3):
            client.send(TextMessage(data="x" * 400, message_finished=False))
        code, _ = client.closed()
        assert code == 1009
        eventually(lambda: bool(closes))


def test_unmasked_frames_of_a_client_end_the_session() -> None:
    with realtime_provider(echo) as provider, world_to(provider) as world:
        client = connect(world)
        client.sock.sendall(b"\x81\x02hi")
        assert client.closed()[0] == 1002


def test_slow_client_slows_the_provider() -> None:
    sent = [0]

    def talk(session: Session) -> None:
        session.accept()
        while True:
            session.send(BytesMessage(data=b"x" * 60_000))
            sent[0] += 60_000

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        gevent.sleep(0.3)
        stalled = sent[0]
        gevent.sleep(0.3)
        assert sent[0] == stalled < 30_000_000  # the kernels' buffers
        client.message()


def test_slow_provider_slows_the_client() -> None:
    """And what it has to say meanwhile comes through."""
    read = Event()

    def talk(session: Session) -> None:
        session.accept()
        session.send(TextMessage(data="busy"))
        read.wait()
        while session.event() is not None:
            pass

    with realtime_provider(talk) as provider, world_to(provider) as world:
        client = connect(world)
        client.sock.settimeout(0.4)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 30_000_000:  # the kernels' buffers hold less
                client.send(BytesMessage(data=b"x" * 60_000))
                sent += 60_000
        client.sock.settimeout(5)
        assert client.message() == "busy"
        read.set()


def test_client_that_takes_nothing_is_given_up() -> None:
    def talk(session: Session) -> None:
        session.accept()
        while True:
            session.send(BytesMessage(data=b"x" * 60_000))

    with realtime_provider(talk) as provider, world_to(provider, limits=Limits(send_seconds=0.4)) as world:
        connect(world)
        eventually(lambda: bool(world.logged), 3.0)


def test_relays_end_ends_sessions_in_order() -> None:
    with realtime_provider(echo) as provider, world_to(provider) as world:
        client = connect(world)
        world.relay.stop(0.05)
        assert client.closed() == (1001, "the gateway is shutting down")
        assert len(world.logged) == 1

"""The record's way into Kong's log: what is left when, and when it is logged here instead; TLS."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from relay_support import Provider, World, certificate, eventually, every, provider_of, relay_world
from websocket_support import Session, connect, realtime_instance, realtime_provider, realtime_target
from wsproto.events import CloseConnection

from kong_ai_proxy.relay.upstream import UpstreamClient
from kong_ai_proxy.relay.websocket_deposit import Deposit

DONE = {"type": "response.done", "response": {"usage": {"input_tokens": 3, "output_tokens": 4}}}


class Kong:
    """The deposit route."""

    def __init__(self, status: str = "204 No Content") -> None:
        self.status = status
        self.delay = 0.0
        self.left: list[tuple[str, str]] = []
        """Token and record, in the order they came."""

    def answer(self, peer: Any, head: bytes, body: bytes) -> None:
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        self.left.append((fields["x-kong-ai-ticket"], body.decode()))
        gevent.sleep(self.delay)
        peer.send(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\n\r\n".encode())


@contextmanager
def world_with(provider: Provider, kong: Kong, **options: Any) -> Iterator[World]:
    with provider_of(every(kong.answer)) as route:
        url = f"http://127.0.0.1:{route.port}/leave"
        with relay_world(real=True, deposit_url=url, **options) as world:
            world.instance = realtime_instance(realtime_target(f"ws://127.0.0.1:{provider.port}", name="m"))
            yield world


def talk(session: Session) -> None:
    session.accept()
    while (event := session.event()) is not None:
        if isinstance(event, CloseConnection):
            session.send(event.response())
            return
        session.text({"type": "response.created"})
        if getattr(event, "data", "") == "whole":
            session.text(DONE)


def test_record_is_there_before_the_close_goes_out() -> None:
    kong = Kong()
    with realtime_provider(talk) as provider, world_with(provider, kong) as world:
        client = connect(world)
        eventually(lambda: len(kong.left) == 1)  # the session's beginning
        client.text("whole")
        assert [client.json()["type"] for _ in range(2)] == ["response.created", "response.done"]
        client.send(CloseConnection(code=1000))
        client.closed()
        token, record = kong.left[-1]
        assert token == client.token  # type: ignore[attr-defined]
        assert "usage.total_tokens=n7" in record
        assert "meta.request_mode=srealtime" in record
        assert client.gone()
        assert not world.logged


def test_client_that_goes_within_a_response_left_a_partial_record() -> None:
    kong = Kong()
    with realtime_provider(talk) as provider, world_with(provider, kong) as world:
        client = connect(world)
        client.text("begin")
        client.json()
        eventually(lambda: "usage.source=spartial" in kong.left[-1][1])
        gevent.sleep(0.2)  # for Kong's 204 to be read
        before = len(kong.left)
        client.sock.close()
        eventually(lambda: world.relay.connections == 0)
        assert len(kong.left) == before  # nobody would come for it
        assert not world.logged


def test_client_that_goes_while_the_record_is_left_is_logged_here() -> None:
    kong = Kong()
    with realtime_provider(talk) as provider, world_with(provider, kong) as world:
        client = connect(world)
        eventually(lambda: len(kong.left) == 1)
        kong.delay = 0.3
        client.text("whole")
        client.json(), client.json()
        eventually(lambda: len(kong.left) == 2)
        client.sock.close()
        eventually(lambda: bool(world.logged))
        assert [record["usage"]["total_tokens"] for record in world.logged] == [7]


@pytest.mark.parametrize("status", ["400 Bad Request", "507 Insufficient Storage", "404 Not Found"])
def test_what_kong_does_not_take_is_logged_here(status: str) -> None:
    kong = Kong(status)
    with realtime_provider(talk) as provider, world_with(provider, kong) as world:
        client = connect(world)
        client.text("whole")
        client.json(), client.json()
        client.send(CloseConnection(code=1000))
        client.closed()
        assert [record["usage"]["total_tokens"] for record in world.logged] == [7]


def test_route_that_is_away_delays_nobody() -> None:
    with realtime_provider(talk) as provider, world_with(provider, Kong()) as world:
        world.relay._deposit = Deposit("http://127.0.0.1:1/leave", UpstreamClient())
        client = connect(world)
        client.text("whole")
        client.json(), client.json()
        with gevent.Timeout(1):
            client.send(CloseConnection(code=1000))
            client.closed()
        assert len(world.logged) == 1


def test_without_the_filter_nothing_is_left() -> None:
    kong = Kong()
    with realtime_provider(talk) as provider, world_with(provider, kong) as world:
        world.filter_installed = False
        client = connect(world)
        client.send(CloseConnection(code=1000))
        client.closed()
        assert not kong.left
        assert len(world.logged) == 1


@pytest.mark.parametrize("url", ["ftp://kong/", "kong", "ws://kong/"])
def test_url_that_is_none(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        Deposit(url, UpstreamClient())


@pytest.mark.parametrize("scheme", ["wss", "https"])
def test_tls_is_spoken_and_verified(tmp_path: Path, scheme: str) -> None:
    server = certificate(tmp_path, "localhost", "127.0.0.1")
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    for context, status in ((trusting, 101), (None, 502)):
        with realtime_provider(talk, server) as provider, relay_world(real=True, tls=context) as world:
            url = f"{scheme}://127.0.0.1:{provider.port}"
            world.instance = realtime_instance(realtime_target(url, name="m"))
            world.filter_installed = False
            client = connect(world)
            assert client.status == status
            if status == 101:
                for _ in range(20):
                    client.text("x" * 60)
                    client.json()
                client.send(CloseConnection(code=1000))
                assert client.closed()[0] == 1000
                assert world.logged[0]["tried_targets"][0]["upstream_scheme"] == "wss"


def test_tls_both_ways_at_once(tmp_path: Path) -> None:
    server = certificate(tmp_path, "localhost", "127.0.0.1")

    def flood(session: Session) -> None:
        session.accept()
        sender = gevent.spawn(lambda: [session.text("d" * 50_000) for _ in range(100)])
        for _ in range(100):
            assert len(session.message()) == 50_000
        sender.join()
        session.text("all")
        session.event()

    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    with realtime_provider(flood, server) as provider, relay_world(real=True, tls=context) as world:
        world.instance = realtime_instance(realtime_target(f"wss://127.0.0.1:{provider.port}", name="m"))
        client = connect(world)
        sender = gevent.spawn(lambda: [client.text("u" * 50_000) for _ in range(100)])
        for _ in range(100):
            assert client.message() == "d" * 50_000
        assert client.message() == "all"
        sender.join()

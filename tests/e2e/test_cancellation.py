"""The client goes away: the provider's connection is closed at once, and what was used so far is logged.

Driven at the relay, where Kong's closing its connection is how a client's leaving is seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import gevent
import pytest
from relay_support import Peer, World, eventually, every, provider_of, relay_world

from kong_ai_proxy.relay import telling

Handler = Callable[[Peer, bytes, bytes], None]

pytestmark = pytest.mark.in_process("measures within the relay's own loop")

BAR = 0.5
"""Seconds. The promise is one; it takes a millisecond, but not on a machine that is busy otherwise."""


def silent(peer: Peer, head: bytes, body: bytes) -> None:
    peer.wait_closed()


def head_only(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.wait_closed()


def two_tokens(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.chunk(b"data: 1\n\n")
    peer.chunk(b"data: 2\n\n")
    peer.wait_closed()


def half_a_plain_answer(peer: Peer, head: bytes, body: bytes) -> None:
    peer.send(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"a":')
    peer.wait_closed()


def _leave(world: World, handler: Handler, *, after_output: bool, kind: str = "close") -> None:
    with provider_of(every(handler)) as provider:
        world.to(provider)
        client = world.connect()
        client.send_request()
        if after_output:
            client.read_head()
            assert client.read_chunk()
        eventually(lambda: len(provider.requests) == 1)
        gevent.sleep(0.05)
        assert not provider.closed.is_set()
        left = time.monotonic()
        client.close()
        assert provider.closed.wait(2), "the provider's connection stayed open"
        assert provider.closed_at - left < BAR
        exchange = world.exchanges[-1]
        eventually(lambda: ("ended", True) in exchange.events)
        assert exchange.events.count(("ended", True)) == 1
        eventually(lambda: world.relay.connections == 0)


@pytest.mark.parametrize(
    ("handler", "after_output"),
    [(silent, False), (head_only, False), (two_tokens, True), (half_a_plain_answer, False)],
    ids=["before-headers", "before-first-token", "mid-stream", "plain-answer"],
)
@pytest.mark.parametrize("filter_installed", [True, False])
def test_provider_is_closed_and_usage_logged(
    handler: Handler, after_output: bool, filter_installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as Kong may not have read what it was told with the head; later its log has the record."""
    monkeypatch.setattr(telling, "_SURELY_READ", 60.0)
    with relay_world() as world:
        world.filter_installed = filter_installed
        _leave(world, handler, after_output=after_output)
        assert [record["usage"] for record in world.logged] == [{"partial": True}]
        assert world.client.idle_connections == 0


def test_while_connecting() -> None:
    """A provider that takes no connection: nothing was sent, nothing is left behind."""
    full = gevent.socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    address = full.getsockname()
    fillers = []
    try:
        for _ in range(3):
            sock = gevent.socket.socket()
            sock.setblocking(False)
            sock.connect_ex(address)
            fillers.append(sock)
        with relay_world() as world, provider_of(every(silent)) as provider:
            world.to(provider)
            world.urls[0].port = address[1]
            client = world.connect()
            client.send_request()
            eventually(lambda: bool(world.attempts))
            gevent.sleep(0.05)
            assert world.exchanges[0].events == []
            client.close()
            eventually(lambda: world.relay.connections == 0)
            assert world.exchanges[0].events == [("ended", True)]
    finally:
        for sock in fillers:
            sock.close()
        full.close()


def test_slow_client_that_leaves_is_noticed_while_the_relay_sends() -> None:
    def flood(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        try:
            while True:
                peer.chunk(b"data: " + b"x" * 60_000 + b"\n\n")
        except OSError:
            peer.provider.closed.set()

    with relay_world() as world, provider_of(every(flood)) as provider:
        world.to(provider)
        world.filter_installed = False
        client = world.connect()
        client.send_request()
        client.read_head()
        gevent.sleep(0.2)
        assert not provider.closed.is_set()
        client.close()
        assert provider.closed.wait(1)
        eventually(lambda: len(world.logged) == 1)


def test_buffered_answers_leave_their_record_for_the_response_phase() -> None:
    with relay_world() as world, provider_of(every(silent)) as provider:
        world.to(provider)
        world.filter_installed, world.buffered = False, True
        token = world.ticket()
        client = world.connect()
        client.send_request(ticket=token)
        eventually(lambda: len(provider.requests) == 1)
        client.close()
        assert provider.closed.wait(1)
        eventually(lambda: world.relay.connections == 0)
        record = world.tickets.collect(token)
        assert record is not None and record["usage"] == {"partial": True}
        assert world.logged == []


def test_next_request_behind_the_running_one_does_not_hide_the_leaving() -> None:
    with relay_world() as world, provider_of(every(silent)) as provider:
        world.to(provider)
        client = world.connect()
        client.send_request()
        eventually(lambda: len(provider.requests) == 1)
        client.sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        gevent.sleep(0.05)
        assert not provider.closed.is_set()
        client.close()
        assert provider.closed.wait(1)

"""Connections from Kong that the relay is asked to give back, for another process to carry."""

from __future__ import annotations

import os
import random
from typing import Any

import gevent
import gevent.event
from gevent import get_hub, socket
from relay_support import Peer, World, eventually, every, provider_of, relay_world


def asked_back(world: World, most: int) -> list[tuple[int, str]]:
    """As `give_back` is called: in gevent's hub."""
    done: Any = gevent.event.AsyncResult()
    get_hub().loop.run_callback(lambda: done.set(world.relay.give_back(most)))
    found: list[tuple[int, str]] = done.get(timeout=5)
    return found


def answer(peer: Peer, head: bytes, body: bytes) -> None:
    peer.answer(b'{"ok":true}')


def test_idle_ones_are_given_open_and_are_served_by_whoever_has_them() -> None:
    with provider_of(every(answer)) as provider, relay_world() as world, relay_world() as other:
        world.to(provider)
        other.to(provider)
        clients = [world.connect() for _ in range(3)]
        assert [client.post().status for client in clients] == [200] * 3
        eventually(lambda: world.relay.connections == 3 and not world.relay.running)
        assert asked_back(world, 0) == asked_back(world, -1) == []
        given = asked_back(world, 2)
        assert [peer for _, peer in given] == ["127.0.0.1"] * 2
        assert world.relay.connections == 1
        # Kong sends while nobody has the connection.
        for client in clients:
            client.send_request(ticket=other.ticket() if client is not clients[2] else None)
        for fd, peer in given:
            gevent.spawn(other.relay.serve, socket.socket(fileno=fd), (peer,))
        assert [client.read().status for client in clients] == [200] * 3
        assert len(other.exchanges) == 2
        assert len(asked_back(world, 9)) == 1
        for fd, _ in asked_back(other, 9):
            os.close(fd)


def test_what_has_begun_stays() -> None:
    go_on = gevent.event.Event()

    def held(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: 1\n\n")
        go_on.wait()
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with provider_of(every(held)) as provider, relay_world() as world:
        world.to(provider)
        streams, begun = world.connect(), world.connect()
        streams.send_request()
        assert streams.read_head()[0] == 200 and streams.read_chunk() == b"data: 1\n\n"
        begun.sock.sendall(b"POST /chat HTTP/1.1\r\nhost: re")
        eventually(lambda: world.relay.running == 2)
        assert asked_back(world, 9) == []
        go_on.set()
        assert b"[DONE]" in b"".join(iter(lambda: streams.read_chunk() or b"", b""))
        eventually(lambda: world.relay.running == 1)
        ((fd, _),) = asked_back(world, 9)
        os.close(fd)


def test_at_any_moment_a_request_is_answered_once() -> None:
    """Connections wander between two relays while requests are on their way."""
    rng = random.Random(7)
    with provider_of(every(answer)) as provider, relay_world() as one, relay_world() as two:
        worlds = (one, two)
        for world in worlds:
            world.to(provider)
        two.tickets._open = one.tickets._open
        clients = [one.connect() for _ in range(6)]
        over = False

        def move() -> None:
            while not over:
                for source, target in (worlds, worlds[::-1]):
                    for fd, peer in asked_back(source, rng.randrange(7)):
                        gevent.spawn(target.relay.serve, socket.socket(fileno=fd), (peer,))
                gevent.sleep(0.001)

        def ask(client: Any) -> int:
            asked = 0
            # Until both have had enough of them: how soon that is, the machine's load says.
            while asked < 12 or min(len(one.exchanges), len(two.exchanges)) <= 12:
                assert client.post().status == 200
                asked += 1
            return asked

        mover = gevent.spawn(move)
        asking = [gevent.spawn(ask, client) for client in clients]
        gevent.joinall(asking, raise_error=True, timeout=60)
        over = True
        mover.join(5)
        asked = sum(greenlet.get(block=False) for greenlet in asking)
        assert len(one.exchanges) + len(two.exchanges) == asked == len(provider.requests)
        assert one.relay.connections + two.relay.connections == 6

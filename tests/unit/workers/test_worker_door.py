"""Where connections come in, in the worker."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from relay_support import eventually

from kong_ai_proxy import log
from kong_ai_proxy.workers import channel as channels
from kong_ai_proxy.workers import worker as workers
from kong_ai_proxy.workers.channel import Channel
from kong_ai_proxy.workers.worker import Worker


class Setup:
    def __init__(self) -> None:
        self.left = self.stayed = 0
        control, theirs = channels.pair()
        self.door, their_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        handlers = {"left": self.count, "stayed": self.count_back}
        self.channel = Channel(control, handlers, on_closed=lambda reason: None)
        self.worker = Worker(theirs.detach(), their_door.detach())
        self.served: list[Any] = []
        self.idle: list[int] = []
        self.worker._relay = self  # type: ignore[assignment]

    def count(self) -> None:
        self.left += 1

    def count_back(self) -> None:
        self.stayed += 1

    def give_back(self, most: int) -> list[tuple[int, str]]:
        return [(self.idle.pop(), "192.0.2.7") for _ in range(min(most, len(self.idle)))]

    def serve(self, sock: Any, address: Any) -> None:
        self.served.append((sock.recv(10), address))
        sock.close()
        if len(self.served) == 2:
            raise RuntimeError


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr(workers, "_end", lambda reason: None)
    made = Setup()
    yield made
    made.channel.close()
    eventually(lambda: made.worker._channel.closed)
    made.worker._watcher.close()
    made.worker._door.close()
    made.door.close()


def test_connections_are_carried_and_counted(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        one, other = socket.socketpair()
        with one, other:
            one.sendall(b"hello")
            socket.send_fds(setup.door, [b"192.0.2.%d" % number], [other.fileno()])
    setup.worker._come_in()
    eventually(lambda: setup.left == 2)
    assert setup.served == [(b"hello", ("192.0.2.1",)), (b"hello", ("192.0.2.2",))]
    capsys.readouterr()  # a failure is gevent's to print


def test_one_that_came_without_its_descriptor(setup: Setup) -> None:
    stream = io.StringIO()
    log.configure("info", stream)
    try:
        setup.door.send(b"192.0.2.1")
        setup.worker._come_in()
        eventually(lambda: setup.left == 1)
    finally:
        log.configure("info", None)
    assert "no descriptor is free" in stream.getvalue()


def test_the_end_of_the_other_side(setup: Setup) -> None:
    setup.worker._watcher.start(setup.worker._come_in)
    setup.door.close()
    eventually(lambda: not setup.worker._watcher.active)
    setup.worker._come_in()
    gevent.sleep(0)
    assert not setup.served


def test_metrics_before_there_is_a_relay(setup: Setup) -> None:
    setup.worker._relay = None
    names = [family[0] for family in setup.worker._collect()]
    assert "process_cpu_seconds_total" in names
    setup.worker._give_back(3)


def test_idle_connections_go_back_the_way_they_came(setup: Setup) -> None:
    one, other = socket.socketpair()
    setup.idle.append(other.detach())
    setup.channel.tell("give_back", 2)
    eventually(lambda: not setup.idle)
    peer, fds, _, _ = socket.recv_fds(setup.door, 100, 1)
    with one, socket.socket(fileno=fds[0]) as moved:
        assert peer == b"192.0.2.7"
        one.sendall(b"hello")
        assert moved.recv(10) == b"hello"
    assert setup.stayed == 0


def test_what_cannot_go_back_is_carried_on(setup: Setup) -> None:
    one, other = socket.socketpair()
    setup.idle.append(other.detach())
    setup.door.close()
    with one:
        one.sendall(b"hello")
        setup.worker._give_back(1)
        eventually(lambda: setup.left == 1)
    assert (setup.stayed, setup.served) == (1, [(b"hello", ("192.0.2.7",))])

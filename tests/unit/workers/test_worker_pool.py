"""The pool's own decisions, with workers that are no processes: who gets a connection, who is given up."""

from __future__ import annotations

import array
import errno
import gc
import io
import json
import os
import socket as plain_socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import socket
from gevent.event import Event
from relay_support import eventually

from kong_ai_proxy import log
from kong_ai_proxy.exchange.tickets import TicketStore
from kong_ai_proxy.metrics.exposition import Family
from kong_ai_proxy.relay.connection import StdSocket
from kong_ai_proxy.workers import pool as pools
from kong_ai_proxy.workers import wire
from kong_ai_proxy.workers.channel import Channel, RemoteError
from kong_ai_proxy.workers.pool import WorkerPool


class Fake:
    """In a child's place: a worker within this process that does what the test tells it."""

    made: list[Fake]
    behave: Callable[[Fake], None]

    def __init__(self, arguments: list[str], inherited: tuple[int, int]) -> None:
        assert arguments[:2] == ["-m", "kong_ai_proxy.workers.process"]
        assert list(map(int, arguments[2:])) == [*inherited, os.getpid()]
        self.pid = 4_000_000 + len(self.made)
        self.status: int | None = None
        self.killed = False
        self.told: list[Any] = []
        self.answers = True
        self.looked_at = 0
        self.grace: list[float] = []
        self.asked_back: list[int] = []
        self.counted = 2.0
        self._ended = Event()
        control, door = (os.dup(fd) for fd in inherited)
        handlers: dict[str, Any] = {
            "hello": lambda *told: self.told.append(wire.Hello(*told)),
            "drain": self.drain,
            "collect": self.collect,
            "well": self.well,
            "give_back": self.asked_back.append,
        }
        self.channel = Channel(StdSocket(fileno=control), handlers, on_closed=lambda reason: None)
        self.door = StdSocket(fileno=door)
        self.door.setblocking(False)
        self.connections: list[Any] = []
        self.made.append(self)
        gevent.spawn(type(self).behave, self)

    def collect(self) -> Any:
        if not self.answers:
            raise RuntimeError
        cpu = Family("process_cpu_seconds_total", "counter", "h").add(2.0)
        counted = Family("counted_total", "counter", "h").add(self.counted, {"of": "them"})
        timed = Family("timed", "histogram", "h").add(self.counted, {"__suffix__": "_count"})
        gauge = Family("held", "gauge", "h").add(1)
        return wire.pack_families([cpu, counted, timed, gauge])

    def well(self) -> bool:
        self.looked_at += 1
        return True

    def drain(self, grace: float) -> None:
        self.grace.append(grace)
        if grace < 100:
            self.end(0)

    def end(self, status: int) -> None:
        if self.status is None:
            self.status = status
            self._ended.set()
            self.channel.close()
            for each in (self.door, *self.connections):
                each.close()

    def kill(self) -> None:
        self.killed = True
        self.end(-9)

    def wait(self) -> int:
        self._ended.wait()
        assert self.status is not None
        return self.status

    def take(self) -> None:
        """Receives the connections that were handed over."""
        while True:
            try:
                peer, notes, _, _ = self.door.recvmsg(256, plain_socket.CMSG_SPACE(4))
            except BlockingIOError:
                return
            assert peer == b"127.0.0.1"
            self.connections.append(StdSocket(fileno=array.array("i", notes[0][2])[0]))


def well(fake: Fake) -> None:
    fake.channel.tell("ready")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    Fake.made, Fake.behave = [], staticmethod(well)  # type: ignore[assignment]
    monkeypatch.setattr(pools, "Child", Fake)
    monkeypatch.setattr(pools, "_LAST_WORDS", 0.01)
    monkeypatch.setattr(pools, "_FIRST_PAUSE", 0.01)
    stream = io.StringIO()
    log.configure("info", stream)
    with gevent.Timeout(10, AssertionError("the test hangs")):
        yield lambda event: [
            line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event
        ]
    log.configure("info", None)


def started(workers: int = 2, **more: Any) -> WorkerPool:
    pool = WorkerPool(("127.0.0.1", 0), TicketStore(), workers=workers, **more)
    pool.start()
    return pool


@pytest.fixture
def pool(lines: Any) -> Iterator[WorkerPool]:
    made = started()
    yield made
    made.stop(0)


def connect(pool: WorkerPool) -> Any:
    sock = socket.create_connection(("127.0.0.1", pool.port))
    sock.settimeout(5)
    return sock


def test_connections_go_where_there_are_fewest(pool: WorkerPool) -> None:
    one, other = Fake.made
    socks = [connect(pool) for _ in range(5)]
    eventually(lambda: pool._handed == 5)
    for fake in (one, other):
        fake.take()
    assert [len(one.connections), len(other.connections)] == [3, 2]
    for _ in range(2):
        one.channel.tell("left")
    eventually(lambda: pool._workers[0].connections == 1)
    socks += [connect(pool) for _ in range(1)]
    eventually(lambda: pool._handed == 6)
    one.take()
    assert len(one.connections) == 4
    socks[0].sendall(b"hello")
    one.connections[0].setblocking(True)
    assert one.connections[0].recv(5) == b"hello"
    for sock in socks:
        sock.close()
    hello = one.told[0]
    assert (hello.number, hello.log_level, hello.deposit_url, hello.idle_per_host) == (1, "info", None, 64)


def test_one_at_a_time_they_take_turns(pool: WorkerPool) -> None:
    for number in range(4):
        sock = connect(pool)
        eventually(lambda number=number: pool._handed == number + 1)  # type: ignore[misc]
        fake = Fake.made[number % 2]
        fake.take()
        fake.channel.tell("left")
        eventually(lambda: not any(worker.connections for worker in pool._workers))
        sock.close()
    assert [len(fake.connections) for fake in Fake.made] == [2, 2]


def test_a_worker_that_takes_nothing_is_passed_over(pool: WorkerPool) -> None:
    Fake.made[0].door.close()
    socks = [connect(pool) for _ in range(3)]
    eventually(lambda: pool._handed == 3)
    Fake.made[1].take()
    assert len(Fake.made[1].connections) == 3
    for sock in socks:
        sock.close()


def test_one_that_dies_is_started_again(pool: WorkerPool, lines: Any) -> None:
    Fake.made[0].end(-11)
    eventually(lambda: len(Fake.made) == 3 and len(pool.pids) == 2)
    Fake.made[2].end(7)
    eventually(lambda: len(Fake.made) == 4 and len(pool.pids) == 2)
    told = [(line["worker"], line["status"], line["restarted_after_s"]) for line in lines("worker_died")]
    assert told == [(1, "SIGSEGV", 0.01), (1, "7", 0.02)]
    assert [worker.restarts for worker in pool._workers] == [2, 0]


def test_pauses_grow_and_begin_anew(
    pool: WorkerPool, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_LONGEST_PAUSE", 0.02)
    for number in range(3):
        Fake.made[-1].end(-99)
        eventually(lambda number=number: len(Fake.made) == number + 3)  # type: ignore[misc]
        eventually(lambda: len(pool.pids) == 2)
    monkeypatch.setattr(pools, "_WELL_AFTER", 0.0)
    Fake.made[-1].end(1)
    eventually(lambda: len(Fake.made) == 6)
    assert [line["restarted_after_s"] for line in lines("worker_died")] == [0.01, 0.02, 0.02, 0.01]
    assert lines("worker_died")[0]["status"] == "-99"


def test_one_that_cannot_be_started(
    pool: WorkerPool, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patched:
        patched.setattr(pools, "Child", full)
        Fake.made[0].end(1)
        eventually(lambda: len(lines("worker_died")) == 2)
    eventually(lambda: len(pool.pids) == 2)
    assert "not started: Resource temporarily unavailable" in lines("worker_died")[1]["status"]


def test_one_that_talks_nonsense_is_killed(pool: WorkerPool, lines: Any) -> None:
    fake = Fake.made[0]
    fake.channel._socket.send(b"\xc1")
    eventually(lambda: fake.killed and len(pool.pids) == 2)
    (line,) = lines("worker_killed")
    assert (line["worker"], line["reason"]) == (1, "speaks another language")


def test_one_that_hangs_is_killed(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(pools, "_HUNG_SECONDS", 0.2)
    monkeypatch.setattr(pools, "_SILENT_SECONDS", 0.05)
    pool = started()
    try:
        one, other = Fake.made
        eventually(lambda: one.looked_at > 1 and other.looked_at > 1)
        one.channel._reader.stop()
        eventually(lambda: one.killed and len(pool.pids) == 2)
        assert not other.killed and len(Fake.made) == 3
        assert [line["reason"] for line in lines("worker_killed")] == ["it does not answer"]
    finally:
        pool.stop(0)


def test_one_that_answers_at_last_goes_on(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(pools, "_HUNG_SECONDS", 0.05)
    pool = started(1)
    try:
        (fake,) = Fake.made
        fake.channel._reader.stop()
        gevent.sleep(0.2)  # it has been asked again, for one second
        fake.channel._reader.start(fake.channel._readable)
        eventually(lambda: fake.looked_at > 3)
        assert not fake.killed and not lines("worker_killed")
    finally:
        pool.stop(0)


def test_while_there_is_none_connections_wait(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_HELD_MOST", 2)
    pool = started(1)
    try:
        monkeypatch.setattr(pools, "_FIRST_PAUSE", 0.3)
        Fake.behave = staticmethod(lambda fake: None)  # type: ignore[assignment]
        Fake.made[0].end(-9)
        eventually(lambda: len(Fake.made) == 2)
        early, late, surplus = connect(pool), connect(pool), connect(pool)
        assert surplus.recv(1000).startswith(b"HTTP/1.1 503 ")
        gevent.sleep(0.15)  # looked at, and kept
        Fake.made[1].channel.tell("ready")
        eventually(lambda: pool._handed == 2)
        Fake.made[1].take()
        assert len(Fake.made[1].connections) == 2
        for sock in (early, late, surplus):
            sock.close()
    finally:
        pool.stop(0)


def test_who_waited_too_long_is_answered(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = started(1)
    try:
        monkeypatch.setattr(pools, "_HOLD_SECONDS", 0.05)
        Fake.behave = staticmethod(lambda fake: None)  # type: ignore[assignment]
        Fake.made[0].end(-9)
        eventually(lambda: len(Fake.made) == 2)
        sock = connect(pool)
        sock.sendall(b"POST /chat HTTP/1.1\r\n\r\n")
        answer = b""
        while data := sock.recv(1000):
            answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in head
        assert json.loads(body)["error"]["code"] == "no_worker"
        assert f"content-length: {len(body)}".encode() in head
        sock.close()
        monkeypatch.setattr(pools, "_HOLD_SECONDS", 60)
        waiting = connect(pool)
        eventually(lambda: len(pool._held) == 1)
    finally:
        pool.stop(0)
    assert waiting.recv(1000).startswith(b"HTTP/1.1 503 ")
    waiting.close()


def test_without_descriptors_accepting_pauses(
    pool: WorkerPool, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = pool._listener._accept
    errors = [OSError(errno.EMFILE, "full"), OSError(errno.ECONNABORTED, "gone")]

    class Listener:
        def _accept(self) -> Any:
            if errors:
                raise errors.pop(0)
            return accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(listener, name)

    listener = pool._listener
    monkeypatch.setattr(pool, "_listener", Listener())
    sock = connect(pool)
    eventually(lambda: pool._handed == 1, 3)
    assert len(lines("accept_failed")) == 1
    sock.close()
    pool._accept_again()


def test_health_and_metrics(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(path: str) -> tuple[int, Any, bytes]:
        status, headers, body = Fake.made[1].channel.ask("manage", path)
        return status, headers, body

    assert json.loads(asked("/health")[2]) == {"status": "ok", "workers": {"wanted": 2, "up": 2}}
    text = asked("/metrics")[2].decode()
    assert 'kong_ai_proxy_worker_cpu_seconds_total{worker="2"} 2.0\n' in text
    assert text.count("kong_ai_proxy_worker_up{") == 2
    Fake.made[0].answers = False
    status, _, body = asked("/health")
    assert (status, json.loads(body)["status"], json.loads(body)["workers"]["up"]) == (200, "degraded", 1)
    text = asked("/metrics")[2].decode()
    assert 'kong_ai_proxy_worker_up{worker="1"} 0\n' in text
    Fake.made[0].channel._reader.stop()
    monkeypatch.setattr(pools, "_ANSWER_SECONDS", 0.05)
    assert json.loads(asked("/health")[2])["workers"]["up"] == 1
    pool._stopping = True
    status, _, body = asked("/health")
    assert (status, json.loads(body)["status"]) == (503, "stopping")
    Fake.made[0].channel._reader.start(Fake.made[0].channel._readable)


def value(name: str) -> float | None:
    """What the page of metrics says, asked of the second worker."""
    _, _, body = Fake.made[1].channel.ask("manage", "/metrics")
    found = [line for line in body.decode().splitlines() if line.startswith(name)]
    return float(found[0].rpartition(" ")[2]) if found else None


def test_counters_do_not_fall(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = Fake.made
    assert (value("counted_total"), value("timed_count"), value("held")) == (4, 4, 2)
    one.counted = 5.0
    assert value("counted_total") == 7
    monkeypatch.setattr(pools, "_ANSWER_SECONDS", 0.02)
    one.channel._reader.stop()  # it hangs
    assert (value("counted_total"), value("held")) == (7, 1)
    one.channel._reader.start(one.channel._readable)
    for ends in range(2):
        Fake.made[0 if not ends else 2].end(-9)
        assert value("counted_total") == 7 + 2 * ends
        eventually(lambda ends=ends: len(Fake.made) == 3 + ends and len(pool.pids) == 2)  # type: ignore[misc]
        assert (value("counted_total"), value("timed_count"), value("held")) == (9 + 2 * ends,) * 2 + (2,)


def test_after_a_restart_idle_connections_move(pool: WorkerPool, lines: Any) -> None:
    one, other = Fake.made
    socks = [connect(pool) for _ in range(6)]
    eventually(lambda: pool._handed == 6)
    other.end(-9)
    eventually(lambda: len(Fake.made) == 3 and len(pool.pids) == 2)
    fresh = Fake.made[2]
    eventually(lambda: one.asked_back == [1])
    assert not fresh.asked_back, "each its share"
    one.take()
    assert len(one.connections) == 3
    moved = one.connections.pop(0)
    socket.send_fds(one.door, [b"127.0.0.1"], [moved.fileno()])
    moved.close()
    one.channel.tell("left")
    eventually(lambda: pool._handed == 7)
    assert [worker.connections for worker in pool._workers] == [2, 1]
    fresh.take()
    socks[0].sendall(b"hello")
    fresh.connections[0].setblocking(True)
    assert fresh.connections[0].recv(5) == b"hello"
    # One that came without its descriptor; one that the worker could not give back after all.
    one.door.send(b"127.0.0.1")
    one.channel.tell("left")
    one.channel.tell("stayed")
    eventually(lambda: lines("connection_lost"))
    assert [worker.connections for worker in pool._workers] == [2, 1]
    for sock in socks:
        sock.close()


def test_what_comes_back_at_the_end_is_refused(pool: WorkerPool) -> None:
    one, other = socket.socketpair()
    pool._stopping = True
    socket.send_fds(Fake.made[0].door, [b"127.0.0.1"], [other.fileno()])
    other.close()
    assert one.recv(1000).startswith(b"HTTP/1.1 503 ")
    one.close()


def test_what_comes_back_waits_where_nobody_takes_it(pool: WorkerPool) -> None:
    one, other = socket.socketpair()
    for worker in pool._workers:
        worker.ready = False
    socket.send_fds(Fake.made[0].door, [b"127.0.0.1"], [other.fileno()])
    other.close()
    eventually(lambda: len(pool._held) == 1)
    one.close()


def test_one_that_is_silent_gets_nothing_new(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(pools, "_SILENT_SECONDS", 0.05)
    pool = started()
    try:
        one, other = Fake.made
        one.channel._reader.stop()
        eventually(lambda: pool._workers[0].silent)
        assert [line["worker"] for line in lines("worker_silent")] == [1]
        socks = [connect(pool) for _ in range(3)]
        eventually(lambda: pool._handed == 3)
        assert [worker.connections for worker in pool._workers] == [0, 3]
        assert not other.asked_back
        one.channel._reader.start(one.channel._readable)
        eventually(lambda: not pool._workers[0].silent)
        eventually(lambda: other.asked_back[:1] == [1])
        for worker in pool._workers:
            worker.silent = True
        socks.append(connect(pool))
        eventually(lambda: pool._handed == 4)
        for sock in socks:
            sock.close()
    finally:
        pool.stop(0)


def test_many_restarts_leave_nothing(pool: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(pools, "_LOOK_SECONDS", 0.01)

    def restart() -> None:
        before = len(Fake.made)
        Fake.made[-1].end(-9)
        eventually(lambda: len(Fake.made) > before and len(pool.pids) == 2)

    restart()
    descriptors, visitors = len(os.listdir("/proc/self/fd")), len(pool._desk._visitors)
    greenlets = running_greenlets()
    for _ in range(20):
        restart()
    eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
    assert len(pool._desk._visitors) == visitors == 2
    gevent.sleep(0.05)  # greenlets that end a process which has ended
    assert running_greenlets() <= greenlets


def running_greenlets() -> int:
    return sum(type(each) is gevent.Greenlet and not each.dead for each in gc.get_objects())


def test_a_worker_cannot_ask_for_what_is_not_there(pool: WorkerPool) -> None:
    with pytest.raises(RemoteError):
        Fake.made[0].channel.ask("vectors", 99)
    with pytest.raises(RemoteError):
        Fake.made[0].channel.ask("pick", 99, [0], [], {}, None)
    Fake.made[0].channel.tell("released", 99)
    assert Fake.made[0].channel.ask("redeem", "nothing") is None


def test_lines_of_workers_are_written_here(pool: WorkerPool, lines: Any) -> None:
    Fake.made[0].channel.tell("log", json.dumps({"event": "from a worker"}))
    eventually(lambda: len(lines("from a worker")) == 1)


def test_one_that_does_not_end_is_killed(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_END_SECONDS", -99.9)
    pool = started(1)
    pool.stop(100.0)
    assert Fake.made[0].grace == [100.0] and Fake.made[0].killed
    assert lines("worker_killed")[0]["reason"] == "it does not end"


def test_a_worker_that_ends_at_its_start(lines: Any) -> None:
    Fake.behave = staticmethod(lambda fake: fake.end(1))  # type: ignore[assignment]
    pool = WorkerPool(("127.0.0.1", 0), TicketStore(), workers=2)
    with pytest.raises(OSError, match="ended at its start"):
        pool.start()
    assert all(fake.status is not None for fake in Fake.made)


def test_workers_that_never_come(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_START_SECONDS", 0.02)
    Fake.behave = staticmethod(lambda fake: None)  # type: ignore[assignment]
    pool = WorkerPool(("127.0.0.1", 0), TicketStore(), workers=2)
    with pytest.raises(OSError, match="did not start in time"):
        pool.start()
    assert [fake.grace for fake in Fake.made] == [[0.0], [0.0]]


def test_nobody_is_let_in_before_there_are_workers(lines: Any) -> None:
    refused: list[int] = []

    def slowly(fake: Fake) -> None:
        with socket.socket() as early:
            refused.append(early.connect_ex(("127.0.0.1", pool.port)))
        fake.channel.tell("ready")

    Fake.behave = staticmethod(slowly)  # type: ignore[assignment]
    pool = WorkerPool(("127.0.0.1", 0), TicketStore(), workers=2)
    pool.start()
    try:
        assert refused == [errno.ECONNREFUSED] * 2
        connect(pool).close()
    finally:
        pool.stop(0)


def test_an_address_that_is_taken(pool: WorkerPool) -> None:
    with pytest.raises(OSError, match="in use"):
        WorkerPool(("127.0.0.1", pool.port), TicketStore(), workers=1).start()
    assert len(Fake.made) == 2


@pytest.mark.parametrize("host", ["", "localhost", "::1"])
def test_other_addresses_to_listen_on(host: str, lines: Any) -> None:
    pool = WorkerPool((host, 0), TicketStore(), workers=1)
    try:
        pool.start()
    except OSError:
        pytest.skip("no IPv6 here")
    try:
        sock = socket.create_connection((host or "127.0.0.1", pool.port))
        eventually(lambda: pool._handed == 1)
        sock.close()
    finally:
        pool.stop(0)


def test_a_deposit_url_that_is_none() -> None:
    with pytest.raises(ValueError, match="not an http"):
        WorkerPool(("127.0.0.1", 0), TicketStore(), workers=2, deposit_url="ws://kong/x")


def test_a_stopped_pool_is_stopped(lines: Any) -> None:
    pool = started(1)
    pool.stop(0)
    pool.stop(0)
    WorkerPool(("127.0.0.1", 0), TicketStore(), workers=1).stop(0)

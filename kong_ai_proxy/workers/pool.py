"""The relay as several processes: what the plugin server has in place of a `RelayServer`.

It listens, and hands each connection to the worker that has the fewest. Kong keeps connections and sends
requests of all kinds on each, so a worker asks for the ticket of every request; where the connection goes
says nothing about that.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent import get_hub
from gevent.event import Event

from .. import log as logs
from ..core.http import ClientResponse
from ..core.json import dumps
from ..exchange.tickets import TicketStore
from ..metrics import manage, process
from ..metrics.exposition import Collector, Family
from ..relay.connection import StdSocket
from ..relay.memory import Settling
from ..relay.pool import PoolLimits
from . import channel as channels
from .channel import Channel, ChannelClosed, RemoteError
from .child import Child
from .desk import Desk, Visitor
from .door import bound, pass_on, refuse, taken
from .merge import Kept, merged, of_workers
from .wire import Hello, Packed, unpack_families

log = logs.get_logger("workers")

PROGRAM = ("-m", "kong_ai_proxy.workers.process")
"""What Python runs for a worker."""

_START_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 1.0
"""How long a worker may take to say how it is."""
_LOOK_SECONDS: Final = 2.0
"""Between two questions whether a worker is well."""
_SILENT_SECONDS: Final = 1.0
"""Without an answer: it gets no new connections, if another worker does answer."""
_HUNG_SECONDS: Final = 15.0
"""Without an answer: nothing moves in that worker, and nobody else would end it, for the node is healthy. On
connections that Kong keeps to it requests wait so long."""
_END_SECONDS: Final = 3.0
"""After the grace, until a worker is killed."""
_LAST_WORDS: Final = 1.0
"""Seconds from the end of what it says to the end of a worker."""
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 30.0
_WELL_AFTER: Final = 60.0
"""Seconds: a worker that ran so long did not fail at its start."""
_HOLD_SECONDS: Final = 10.0
"""How long a connection waits for a worker while there is none."""
_HELD_MOST: Final = 1024
_READ: Final = 1
_WOULD_BLOCK = (BlockingIOError, InterruptedError)
_FEWEST_IDLE: Final = 8


class _Worker:
    """One place among the workers, and the process that fills it at the moment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        """It takes connections."""
        self.silent = False
        """It has been asked whether it is well, and says nothing."""
        self.connections = 0
        self.last = 0
        """Which of all connections was its last one."""
        self.restarts = 0
        self.process: Child | None = None
        self.channel: Channel | None = None
        self.door: socket.socket | None = None
        """Where connections are handed over."""
        self.kept = Kept()
        """Its numbers."""
        self.keeper: Any = None
        """The greenlet that starts the process, again and again."""


class WorkerPool:
    """See the module. A `server.serve.Relay`, and a `plugin.Book`."""

    def __init__(
        self,
        listen: tuple[str, int],
        tickets: TicketStore,
        *,
        workers: int,
        deposit_url: str | None = None,
        backlog: int = 1024,
        settle: bool = False,
    ) -> None:
        """`settle`: as `RelayServer` has it, for this process; workers always do. Raises ValueError for a
        `deposit_url` that is none."""
        if deposit_url is not None:
            _check_url(deposit_url)
        self.collectors: list[Collector] = [process.collect, self._metrics]
        """What this process's part of /metrics is."""
        self._listen = listen
        self._backlog = backlog
        self._deposit_url = deposit_url
        self._desk = Desk(tickets, Settling().exchanged if settle else None)
        self.opened = self._desk.opened
        self.closed = self._desk.closed
        self._workers = [_Worker(number) for number in range(1, workers + 1)]
        self._listener: Any = None
        self._watcher: Any = None
        self._held: deque[tuple[float, int, str]] = deque()
        self._sweeper: Any = None
        self._handed = 0
        """Connections so far."""
        self._stopping = False
        self._ending = Event()
        self._changed = Event()
        """Set when a worker became ready or ended."""

    @property
    def port(self) -> int:
        """The port listened on."""
        return int(self._listener.getsockname()[1])

    @property
    def pids(self) -> list[int]:
        """Of the workers that run, in their order."""
        return [worker.process.pid for worker in self._workers if worker.ready and worker.process]

    def start(self) -> None:
        """Waits until all workers are there, and listens. Raises OSError where the address is taken, or a
        worker ends at its start."""
        self._listener = bound(self._listen)
        try:
            for worker in self._workers:
                worker.keeper = gevent.spawn(self._keep, worker)
            self._await_all()
            # Not before: what comes now has passed no plugin, so that it need not wait for workers.
            self._listener.listen(self._backlog)
        except BaseException:
            self.stop(0)
            raise
        self._watcher = get_hub().loop.io(self._listener.fileno(), _READ)
        self._watcher.start(self._accept)
        log.info("listening", address=self._listen[0], port=self.port, workers=len(self._workers))

    def stop(self, grace_s: float = 10.0) -> None:
        """No new connections; running exchanges may end within `grace_s` seconds; the rest is broken off.
        No worker is left."""
        self._stopping = True
        self._ending.set()
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        if self._listener is not None:
            self._listener.close()
        while self._held:
            refuse(self._held.popleft()[1])
        for worker in self._workers:
            if worker.channel is not None:
                worker.channel.tell("drain", grace_s)
        keepers = [worker.keeper for worker in self._workers if worker.keeper is not None]
        gevent.joinall(keepers, timeout=grace_s + _END_SECONDS)
        for worker in self._workers:
            if worker.process is not None and worker.process.status is None:
                log.error("worker_killed", worker=worker.number, reason="it does not end")
                worker.process.kill()
        gevent.joinall(keepers, timeout=_END_SECONDS)

    def _await_all(self) -> None:
        with gevent.Timeout(_START_SECONDS, OSError("the relay workers did not start in time")):
            while not all(worker.ready for worker in self._workers):
                self._changed.wait()
                self._changed.clear()
                if any(worker.restarts for worker in self._workers):
                    raise OSError("a relay worker ended at its start")

    # Processes.

    def _keep(self, worker: _Worker) -> None:
        """Runs the process, and another one when it ends, until the pool stops."""
        pause = _FIRST_PAUSE
        while not self._stopping:
            began = time.monotonic()
            try:
                status = _status(self._run(worker))
            except Exception as error:
                # Whatever it is: there shall be a worker here.
                status = f"not started: {getattr(error, 'strerror', None) or error}"
            if self._stopping:
                return
            worker.restarts += 1
            self._changed.set()
            if time.monotonic() - began > _WELL_AFTER:
                pause = _FIRST_PAUSE
            log.error("worker_died", worker=worker.number, status=status, restarted_after_s=pause)
            self._ending.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _run(self, worker: _Worker) -> int:
        """One process, from its start to its end."""
        ours, theirs = channels.pair()
        door, their_door = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            inherited = (theirs.fileno(), their_door.fileno())
            # Only the numbers of two descriptors are told here: others may read a process's arguments.
            numbers = map(str, (*inherited, os.getpid()))
            child = worker.process = Child([*PROGRAM, *numbers], inherited)
        except BaseException:
            ours.close()
            door.close()
            raise
        finally:
            theirs.close()
            their_door.close()
        plain_door = worker.door = StdSocket(fileno=door.detach())
        plain_door.setblocking(False)
        returns = get_hub().loop.io(plain_door.fileno(), _READ)
        returns.start(self._come_back, plain_door, returns)
        self._talk(worker, StdSocket(fileno=ours.detach()), child)
        try:
            return child.wait()
        finally:
            assert worker.channel is not None
            worker.ready = False
            worker.channel.close("the process ended")
            worker.door = None
            returns.close()
            plain_door.close()
            worker.connections = 0
            worker.kept.ended()

    def _talk(self, worker: _Worker, sock: socket.socket, child: Child) -> None:
        """Opens the channel to a process that has just been started."""
        visitor: Visitor

        def gone(reason: str) -> None:
            worker.ready = False
            self._desk.leave(visitor)
            gevent.spawn_later(_LAST_WORDS, end, reason)

        def end(reason: str) -> None:
            if child.status is None:
                log.error("worker_killed", worker=worker.number, reason=reason)
                child.kill()

        def ready() -> None:
            worker.ready, worker.silent = True, False
            gevent.spawn(self._mind, worker, channel, child)
            self._changed.set()
            self._hand_over_held()
            self._even_out()

        def left() -> None:
            worker.connections -= 1

        def stayed() -> None:
            worker.connections += 1

        handlers: dict[str, Callable[..., Any]] = {
            "ready": ready,
            "left": left,
            "stayed": stayed,
            "log": logs.write_line,
            "manage": self._manage,
            # The desk's names are entered when the visitor is known.
        }
        channel = worker.channel = Channel(
            sock, handlers, slow=("manage", "vectors"), on_closed=gone
        )
        visitor = Visitor(channel)
        handlers.update(self._desk.handlers(visitor))
        idle = max(_FEWEST_IDLE, -(-PoolLimits().idle_per_host // len(self._workers)))
        channel.tell("hello", *Hello(worker.number, logs.level(), self._deposit_url, idle).pack())
        self._desk.enter(visitor)

    def _mind(self, worker: _Worker, channel: Channel, child: Child) -> None:
        """Ends a process that runs, and does nothing."""
        while not self._ending.wait(_LOOK_SECONDS):
            hangs = False
            doubt = get_hub().loop.timer(_SILENT_SECONDS)
            doubt.start(_falls_silent, worker)
            try:
                if not _answers(channel, _HUNG_SECONDS):
                    # Perhaps this process had no time, either: then the answers are there by now.
                    hangs = not _answers(channel, _SILENT_SECONDS)
            except (ChannelClosed, RemoteError):
                return
            finally:
                doubt.close()
            if hangs:
                log.error("worker_killed", worker=worker.number, reason="it does not answer")
                child.kill()
                return
            worker.silent = False
            self._even_out()

    # Connections.

    def _accept(self) -> None:
        while True:
            try:
                fd, address = self._listener._accept()  # no object for what is passed on at once
            except _WOULD_BLOCK:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("accept_failed", reason=os.strerror(error.errno))
                    self._watcher.stop()
                    gevent.spawn_later(0.5, self._accept_again)
                return
            peer = str(address[0]) if address else ""
            if not self._hand_over(fd, peer):
                self._hold(fd, peer)

    def _accept_again(self) -> None:
        if self._watcher is not None:
            self._watcher.start(self._accept)

    def _hand_over(self, fd: int, peer: str) -> bool:
        """To the worker with the fewest connections that takes it."""
        for worker in sorted((each for each in self._workers if each.ready), key=_load):
            assert worker.door is not None
            if not pass_on(worker.door, fd, peer):
                continue  # it takes nothing just now, or is about to be found dead
            worker.connections += 1
            self._handed += 1
            worker.last = self._handed
            return True
        return False

    def _even_out(self) -> None:
        """Has those that hold more than their share give back what is idle: Kong keeps its connections, so a
        worker that came later would have few of them for long."""
        ready = [worker for worker in self._workers if worker.ready and not worker.silent]
        share = -(-sum(worker.connections for worker in ready) // max(1, len(ready)))
        for worker in ready:
            if worker.connections > share and worker.channel is not None:
                worker.channel.tell("give_back", worker.connections - share)

    def _come_back(self, door: socket.socket, watcher: Any) -> None:
        """Takes what a worker gave back. Nothing was read of what has come on it meanwhile."""
        while True:
            try:
                peer, fd = taken(door)
            except _WOULD_BLOCK:
                return
            except EOFError:
                watcher.stop()  # the process has ended
                return
            if fd is None:
                log.error("connection_lost", reason="no descriptor is free")
            elif self._stopping:
                refuse(fd)
            elif not self._hand_over(fd, peer):
                self._hold(fd, peer)

    def _hold(self, fd: int, peer: str) -> None:
        """There will be a worker again in a moment."""
        if len(self._held) >= _HELD_MOST:
            refuse(fd)
            return
        self._held.append((time.monotonic(), fd, peer))
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def _hand_over_held(self) -> None:
        while self._held and self._hand_over(*self._held[0][1:]):
            self._held.popleft()

    def _sweep(self) -> None:
        while self._held:
            gevent.sleep(0.1)
            self._hand_over_held()
            while self._held and time.monotonic() - self._held[0][0] > _HOLD_SECONDS:
                refuse(self._held.popleft()[1])
        self._sweeper = None

    # Management.

    def _manage(self, path: str) -> Packed:
        """The answer to /health or /metrics, whichever worker was asked."""
        response = self._health() if path == manage.HEALTH_PATH else self._all_metrics()
        return [response.status, response.headers, response.body]

    def _health(self) -> ClientResponse:
        up = sum(families is not None for families in self._collected())
        wanted = len(self._workers)
        status = "stopping" if self._stopping else "ok" if up == wanted else "degraded"
        body = {"status": status, "workers": {"wanted": wanted, "up": up}}
        return ClientResponse(
            503 if self._stopping else 200, {"content-type": "application/json"}, dumps(body)
        )

    def _all_metrics(self) -> ClientResponse:
        collected = self._collected()
        own = list(manage.collected(self.collectors))
        kept = (worker.kept.families(said) for worker, said in zip(self._workers, collected, strict=True))
        return manage.page([*merged([own, *kept]), *of_workers(collected)])

    def _collected(self) -> list[list[Family] | None]:
        """What each worker says of itself; None of one that says nothing."""
        asked = [gevent.spawn(self._collect, worker) for worker in self._workers]
        gevent.joinall(asked)
        return [each.value for each in asked]

    @staticmethod
    def _collect(worker: _Worker) -> list[Family] | None:
        if not worker.ready or worker.channel is None:
            return None
        with gevent.Timeout(_ANSWER_SECONDS, False):
            try:
                said = unpack_families(worker.channel.ask("collect"))
                worker.kept.said(said)
                return said
            except (ChannelClosed, RemoteError):
                return None
        log.warning("worker_does_not_answer", worker=worker.number)
        return None

    def _metrics(self) -> Iterator[Family]:
        restarts = Family("kong_ai_proxy_worker_restarts_total", "counter", "Relay workers that died.")
        connections = Family(
            "kong_ai_proxy_worker_connections", "gauge", "Connections from Kong that a worker was handed."
        )
        for worker in self._workers:
            labels = {"worker": str(worker.number)}
            restarts.add(worker.restarts, labels)
            connections.add(worker.connections, labels)
        yield from (restarts, connections)


def _load(worker: _Worker) -> tuple[bool, int, int]:
    """Of workers with as many connections, the one whose turn is longest ago."""
    return worker.silent, worker.connections, worker.last


def _answers(channel: Channel, seconds: float) -> bool:
    """Raises ChannelClosed, RemoteError."""
    with gevent.Timeout(seconds, False):
        channel.ask("well")
        return True
    return False


def _falls_silent(worker: _Worker) -> None:
    worker.silent = True
    log.warning("worker_silent", worker=worker.number)


def _status(code: int) -> str:
    """An exit status, or the signal that ended the process."""
    if code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return str(code)


def _check_url(url: str) -> None:
    from ..core.http import Url

    if Url.parse(url).scheme not in ("http", "https"):
        raise ValueError(f"not an http(s) URL: {url!r}")

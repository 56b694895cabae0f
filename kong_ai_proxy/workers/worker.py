"""A relay worker: carries what comes on the connections that the plugin server hands over.

It ends when the plugin server says so, and at once when that is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TextIO, cast

import gevent
from gevent import get_hub
from gevent.event import Event

from ..core.http import ClientRequest, ClientResponse
from ..core.json import Json
from ..log import configure, get_logger, take_over_gevent
from ..metrics import manage, process
from ..metrics.sources import of_tokens
from ..relay.connection import StdSocket
from ..relay.pool import PoolLimits
from ..relay.server import RelayServer
from ..relay.upstream import UpstreamClient
from ..server.serve import prepare
from ..telemetry import from_environment
from .channel import Channel
from .door import pass_on, taken
from .remote import Instances, RemoteTickets
from .wire import Hello, Packed, pack_families

log = get_logger("workers")

_READ: Final = 1
_FLUSH_SECONDS: Final = 1.0


class Worker:
    """The one of this process."""

    def __init__(self, control: int, door: int) -> None:
        """Descriptors: of the channel, and of the socket that connections come over."""
        self._hello: Hello | None = None
        self._greeted = Event()
        self._over = Event()
        self._grace = 0.0
        handlers: dict[str, Callable[..., Any]] = {
            "hello": self._greet,
            "drain": self._drain,
            "collect": self._collect,
            "well": lambda: True,
            "give_back": self._give_back,
            "configure": self._configure,
        }
        self._channel = Channel(StdSocket(fileno=control), handlers, on_closed=_end)
        self._instances = Instances(self._channel)
        handlers.update(retire=self._instances.retire, renew=self._instances.renew)
        self._door = StdSocket(fileno=door)
        self._door.setblocking(False)
        self._watcher: Any = get_hub().loop.io(door, _READ)
        self._relay: RelayServer | None = None

    def run(self) -> int:
        """Until the plugin server says that it is over. Gives the exit status."""
        self._greeted.wait()
        hello = self._hello
        assert hello is not None
        configure(hello.log_level, cast(TextIO, _Lines(self._channel)), {"worker": hello.number})
        take_over_gevent()
        relay = self._relay = RelayServer(
            None,
            RemoteTickets(self._channel, self._instances),
            client=UpstreamClient(limits=PoolLimits(idle_per_host=hello.idle_per_host)),
            deposit_url=hello.deposit_url,
            settle=True,
            manage=self._manage,
            telemetry=from_environment(),
        )
        relay.collectors.append(of_tokens)
        self._watcher.start(self._come_in)
        self._channel.tell("ready")
        self._over.wait()
        self._come_in()
        self._watcher.close()
        self._door.close()
        relay.stop(self._grace)
        self._channel.flush(_FLUSH_SECONDS)
        return 0

    # What it is told.

    def _greet(self, *told: Any) -> None:
        self._hello = Hello(*told)
        self._greeted.set()

    def _drain(self, grace: float) -> None:
        self._grace = grace
        self._over.set()

    def _configure(self, number: int, plugin: str, config: Json, renewed: dict[str, str]) -> None:
        prepare(self._instances.configure(number, plugin, config, renewed).credentials)

    def _collect(self) -> Packed:
        relay = self._relay
        collectors = relay.collectors if relay is not None else []
        return pack_families(manage.collected([process.collect, *collectors]))

    # Connections.

    def _come_in(self) -> None:
        """Takes the connections that were handed over."""
        while True:
            try:
                peer, fd = taken(self._door)
            except (BlockingIOError, InterruptedError):
                return
            except EOFError:
                self._watcher.stop()  # the plugin server is gone: the channel tells, too
                return
            if fd is not None:
                gevent.spawn(self._carry, fd, peer)
            else:
                log.error("connection_lost", reason="no descriptor is free")
                self._channel.tell("left")

    def _give_back(self, most: int) -> None:
        """Another worker has fewer connections: some of those that wait for a request go there."""
        relay = self._relay
        for fd, peer in relay.give_back(most) if relay is not None else ():
            if not pass_on(self._door, fd, peer):
                self._channel.tell("stayed")
                gevent.spawn(self._carry, fd, peer)

    def _carry(self, fd: int, peer: str) -> None:
        assert self._relay is not None
        try:
            self._relay.serve(StdSocket(fileno=fd), (peer,))
        finally:
            self._channel.tell("left")

    def _manage(self, request: ClientRequest) -> ClientResponse | None:
        """/health and /metrics are the whole plugin server's, which puts them together."""
        if not manage.asks(request):
            return None
        status, headers, body = self._channel.ask("manage", request.path)
        return ClientResponse(status, headers, body)


class _Lines:
    """The log of this process is the plugin server's, so that lines do not get mixed up."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write(self, text: str) -> None:
        self._channel.tell("log", text.rstrip("\n"))

    def flush(self) -> None:
        return


def _end(reason: str) -> None:
    """Without the plugin server nothing here can be right any more."""
    os._exit(1)

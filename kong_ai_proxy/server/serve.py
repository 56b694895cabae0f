"""The whole process: relay, both plugins' sockets, signals, and the order in which it all ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from errno import EADDRINUSE, ENOENT, ENOTDIR
from functools import partial
from typing import Any, Protocol

import gevent
import gevent.event

from ..complaints import told
from ..config.models import Target
from ..exchange.tickets import TicketStore
from ..log import get_logger, take_over_gevent
from ..metrics.exposition import Collector
from ..metrics.sources import CountedTickets, of_plugin_server
from ..plugin import PHASES, PLUGINS, Book, Context
from ..telemetry import from_environment
from . import parent
from .address import RelayAddress
from .instances import Plugin
from .rpc import RpcServer
from .sockets import SocketDirectory

log = get_logger("server")

TICKET_TTL = 900.0
"""Seconds. Between `access` and the relay nginx takes in the client's whole body, however slowly it comes."""

_EXPIRE_EVERY = 30.0
_PREPARE_AFTER = 0.01
"""Seconds; the reply to StartInstance goes out first."""
_REDEEM_GRACE = 1.0
"""Seconds for requests on their way from `access` to the relay when the end comes."""
_LOG_GRACE = 0.3
"""Seconds in which Kong runs `response` and `log` of the exchanges that ended last."""


class Relay(Protocol):
    """What carries the exchanges (relay/server.py)."""

    collectors: list[Collector]
    """What its /metrics tells."""

    @property
    def port(self) -> int: ...

    def start(self) -> None: ...

    def stop(self, grace_s: float = ...) -> None: ...


def plugins(context: Context) -> dict[str, Plugin]:
    """Both plugins as the RPC server takes them."""

    def offered(name: str) -> Plugin:
        cls = PLUGINS[name]
        return Plugin(name, lambda config: cls(config, context), frozenset(PHASES))

    return {name: offered(name) for name in PLUGINS}


def prepare(targets: Sequence[Target]) -> None:
    """Have what these targets' credentials need loaded soon: after Kong has heard that the instance runs, and
    before a request has to wait for it."""
    gevent.spawn_later(_PREPARE_AFTER, _load, targets)


def _load(targets: Sequence[Target]) -> None:
    from ..auth import prepare as load

    load(targets)


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    kong_prefix: str
    """The directory for the two sockets."""
    relay: tuple[str, int]
    """What the relay listens on; port 0 takes a free one."""
    advertise: tuple[str, int] | None = None
    """The relay's address for Kong, where it differs."""
    socket_mode: int = 0o660
    grace: float = 10.0
    """Seconds running exchanges may take to end."""
    deposit_url: str | None = None
    """Kong's route where records of realtime sessions are left for its log (see `docs/realtime.md`)."""
    workers: int = 1
    """Processes that carry requests; with one it is this process itself."""


class Server:
    """A running plugin server with its relay."""

    def __init__(
        self,
        options: Options,
        make_relay: Callable[[tuple[str, int], TicketStore], Relay],
        make_plugins: Callable[[Context], Mapping[str, Plugin]] = plugins,
    ) -> None:
        self._options = options
        self._make_relay = make_relay
        self._make_plugins = make_plugins
        self.tickets = CountedTickets(ttl=TICKET_TTL)
        self._housekeeper: gevent.Greenlet | None = None
        self._stop = gevent.event.Event()

    def start(self) -> None:
        """Raises SocketInUse, OSError or ValueError where an address or the directory cannot be had; nothing
        is left behind then."""
        options = self._options
        directory = SocketDirectory(options.kong_prefix)
        try:
            self.relay = self._make_relay(options.relay, self.tickets)
            self.relay.start()
        except BaseException:
            directory.release()
            raise
        try:
            listen = (options.relay[0], self.relay.port)
            self.address = RelayAddress(listen, options.advertise)
            offered = self._make_plugins(self._context())
            self.rpc = RpcServer(offered)
            self.relay.collectors.append(partial(of_plugin_server, self.rpc, self.tickets))
            # Kong comes as soon as a socket is there: all must be ready by then.
            for name in offered:
                self.rpc.listen(directory.bind(f"{name}.sock", options.socket_mode))
        except BaseException:
            self.relay.stop(0)
            directory.release()
            raise
        self._directory = directory
        self._housekeeper = gevent.spawn(self._keep_house)
        log.info(
            "serving",
            sockets=[str(directory.path / f"{name}.sock") for name in offered],
            relay=f"{listen[0]}:{listen[1]}",
            relay_for_kong=f"{self.address.host}:{self.address.port}",
            pid=os.getpid(),
        )

    def _context(self) -> Context:
        if isinstance(self.relay, Book):
            # Others carry the requests: it is they who need the instances, and what credentials need.
            return Context(self.tickets, self.address, book=self.relay)
        return Context(self.tickets, self.address, prepare=prepare)

    def run(self) -> None:
        """Serve until `stop` is called."""
        self._stop.wait()
        self.shutdown()

    def stop(self, reason: str) -> None:
        """End `run`. Safe in a signal handler."""
        if not self._stop.is_set():
            log.info("stopping", reason=reason)
            self._stop.set()

    def shutdown(self) -> None:
        """Take nothing new, let running exchanges end within the grace, leave nothing behind."""
        until = time.monotonic() + self._options.grace
        self.rpc.stop_accepting()
        self._directory.release()  # a server that comes after this one need not wait for its end
        self._wait(min(_REDEEM_GRACE, self._options.grace), lambda: not len(self.tickets))
        self.relay.stop(max(0.0, until - time.monotonic()))
        gevent.sleep(min(_LOG_GRACE, self._options.grace))
        drained = self.rpc.drain(max(0.0, until - time.monotonic()))
        self.rpc.close()
        if self._housekeeper is not None:
            self._housekeeper.kill()
        log.info("stopped", drained=drained)

    @staticmethod
    def _wait(seconds: float, done: Callable[[], bool]) -> None:
        until = time.monotonic() + seconds
        while not done() and time.monotonic() < until:
            gevent.sleep(0.02)

    def _keep_house(self) -> None:
        while True:
            gevent.sleep(_EXPIRE_EVERY)
            before = len(self.tickets)
            self.tickets.expire()
            if gone := before - len(self.tickets):
                log.info("tickets_expired", count=max(0, gone))


def _relay_of(options: Options) -> Callable[[tuple[str, int], TicketStore], Relay]:
    if options.workers > 1:
        from ..workers.pool import WorkerPool

        return partial(
            WorkerPool, workers=options.workers, settle=True, deposit_url=options.deposit_url
        )
    from ..relay.server import RelayServer

    return partial(
        RelayServer, settle=True, deposit_url=options.deposit_url, telemetry=from_environment()
    )


def _hint(error: Exception) -> dict[str, str]:
    """How to mend what people meet first."""
    if isinstance(error, OSError) and error.filename is not None and error.errno in (ENOENT, ENOTDIR):
        return {"hint": "--kong-prefix or KONG_PREFIX names the directory for the sockets: Kong's prefix"}
    if isinstance(error, OSError) and error.errno == EADDRINUSE:
        return {"hint": "another address for the relay: --relay HOST:PORT; the services' URL leads there"}
    return {}


def serve(options: Options) -> int:
    """Serve until a signal or Kong's end. Gives the exit status."""
    from ..relay.networks import allowed_networks
    from .sockets import SocketInUse

    take_over_gevent()
    server = Server(options, _relay_of(options))
    try:
        allowed_networks()  # so that a mistake in them ends this process, and not each worker
        server.start()
    except (OSError, ValueError, SocketInUse) as error:
        log.error("not_started", reason=told(error), **_hint(error))
        return 1
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, server.stop, signal.Signals(number).name)
    kong: Any = parent.kong_parent()
    if kong is not None:
        parent.watch(kong, lambda: server.stop("Kong is gone"))
    server.run()
    return 0

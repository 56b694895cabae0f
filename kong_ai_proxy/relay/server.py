"""The HTTP server that Kong proxies to. It answers requests that carry a ticket of ours, and nothing else."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import gevent
from gevent.server import StreamServer

from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse
from ..core.json import Json, dumps
from ..exchange.exchange import Exchange, error_response
from ..exchange.realtime import RealtimeExchange, only_realtime, serves_realtime
from ..exchange.tickets import TICKET_HEADER, Ticket, TicketStore
from ..log import get_logger
from ..metrics import manage
from ..metrics.exposition import Collector, Family
from ..metrics.llm import LlmMetrics
from ..telemetry import Telemetry
from .carry import Journey, too_large
from .connection import Connection
from .downstream import BadMessage, BodyTooLarge, ClientGone, Downstream, Limits, RequestUpload
from .heap import Arenas, Heap
from .memory import Settling
from .parts import Authenticate, Encode, LogUsage, Open, Parts
from .upstream import UpstreamClient
from .websocket import Upgrade, check_handshake
from .websocket_deposit import Deposit

if TYPE_CHECKING:
    from ..judge import Judging

log = get_logger("relay")

_LAST_TELEMETRY: Final = 2.0
"""Seconds at the end to send what is left of spans and metrics."""
_JSON: Final = {"content-type": "application/json"}

Manage: TypeAlias = Callable[[ClientRequest], ClientResponse | None]
"""Answers a management request; None for every other one."""

NO_TICKET: Final = (
    "this request did not pass the kong-ai-proxy plugin, so it was not sent anywhere. Kong proxies requests "
    "past a plugin whose server is not running: see Kong's error log for the plugin server, and check that "
    "the plugin is enabled on this route. (A request is accepted once: set the service's retries to 0.)"
)


class _GivenBack(BaseException):
    """Thrown into what serves a connection, while it waits for a request."""

    descriptor = -1
    """Of the connection, open still."""


class RelayServer:
    """See the module. Needs gevent's loop in the thread that starts it."""

    def __init__(
        self,
        listen: tuple[str, int] | None,
        tickets: TicketStore,
        *,
        limits: Limits | None = None,
        client: UpstreamClient | None = None,
        open: Open | None = None,
        authenticate: Authenticate | None = None,
        encode: Encode | None = None,
        log_usage: LogUsage | None = None,
        deposit_url: str | None = None,
        backlog: int = 1024,
        settle: bool = False,
        manage: Manage | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """`listen`: None where connections are accepted by somebody else (see `serve`); port 0 takes a free
        one. `open`, `authenticate`, `encode` and `log_usage` are those of `exchange`, `auth`, `accounting`
        and the log unless given. `settle`: keep the garbage collector's pauses short, and freed
        memory, in the whole process (see `memory` and `heap`), as suits one that serves. `deposit_url`: the
        route of Kong's where records of WebSockets and judges are left (see `websocket_deposit`); ValueError
        for what is none. `manage` answers /health and /metrics in this relay's place."""
        llm = LlmMetrics()
        self._limits = limits or Limits()
        self._tickets = tickets
        self._client = client or UpstreamClient()
        self._deposit = Deposit(deposit_url, self._client) if deposit_url else None
        judging = self._judging = _judging(self._client, self._deposit)
        self._parts = Parts(
            client=self._client,
            tickets=tickets,
            open=open or Exchange.open,
            authenticate=authenticate or _authenticate(),
            encode=encode or _encode(),
            log_usage=log_usage or _log_usage,
            telemetry=telemetry,
            observe=llm.observe if open is None else None,
            judging=judging,
        )
        self._listen = listen
        self._backlog = backlog
        self._server: StreamServer | None = None
        self._connections: dict[Any, Downstream] = {}
        """By the greenlet that serves it."""
        self._stopping = False
        self._refused_at = -math.inf
        self._refused = self._redeemed = 0
        self.collectors: list[Collector] = [self._metrics, llm.collect, judging.counts.collect]
        """What /metrics tells, besides the process itself; others may add theirs."""
        self._settling = Settling() if settle else None
        self._heap = Heap()
        if settle:
            self._heap.keep()
        self._arenas = Arenas()
        self._manage = manage or self._manage_alone

    def start(self) -> None:
        """Listens. Raises OSError where the address is taken."""
        assert self._listen is not None
        server = StreamServer(self._listen, self.serve, backlog=self._backlog)
        server.start()
        self._server = server
        log.info("listening", address=self._listen[0], port=self.port)

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server is not None
        return int(self._server.server_port)

    @property
    def connections(self) -> int:
        """Open connections from Kong."""
        return len(self._connections)

    @property
    def running(self) -> int:
        """Exchanges under way."""
        return sum(1 for down in self._connections.values() if not down.idle)

    def stop(self, grace_s: float = 10.0) -> None:
        """No new connections; running exchanges may end within `grace_s` seconds; the rest is broken off."""
        self._stopping = True
        if self._server is not None:
            self._server.close()
        for down in self._connections.values():
            down.closing = True
        until = time.monotonic() + grace_s
        while True:
            idle = [greenlet for greenlet, down in self._connections.items() if down.idle]
            gevent.killall(idle)
            if not self._connections or time.monotonic() >= until:
                break
            gevent.sleep(0.02)
        if self._connections:
            log.warning("exchanges broken off at shutdown", count=self.running)
            gevent.killall(list(self._connections), timeout=2.0)
        self._judging.close()
        self._client.close()
        self._heap.close()
        self._arenas.close()
        if self._parts.telemetry is not None:
            gevent.spawn(self._parts.telemetry.shutdown).join(_LAST_TELEMETRY)

    # One connection.

    def serve(self, sock: Any, address: Any) -> None:
        """Carries what comes on an accepted connection, in this greenlet, until it ends."""
        greenlet = gevent.getcurrent()
        connection = Connection.accepted(sock, str(address[0]) if address else "")
        down = Downstream(connection, self._limits)
        self._connections[greenlet] = down
        try:
            self._requests(down)
        except (ClientGone, gevent.GreenletExit):
            pass
        except _GivenBack as given:
            given.descriptor = connection.detach()
        except Exception:
            log.exception("connection failed")
        finally:
            del self._connections[greenlet]
            connection.close()

    def give_back(self, most: int) -> list[tuple[int, str]]:
        """Up to so many connections that wait for a request, not served here any longer: their descriptors,
        the caller's now, and who is at the other end. To be called in gevent's hub."""
        idle = [(greenlet, down) for greenlet, down in self._connections.items() if down.idle]
        given = []
        for greenlet, down in idle[: max(0, most)]:
            request = _GivenBack()
            greenlet.throw(request)
            if request.descriptor >= 0:
                given.append((request.descriptor, down.connection.peer_ip))
        return given

    def _requests(self, down: Downstream) -> None:
        while True:
            try:
                request = down.next_request()
                if request is None:
                    return
                down.closing = down.closing or self._stopping
                self._handle(down, request)
            except BadMessage as error:
                down.closing = True
                if not down.answered:
                    down.respond(_plain(ApiError(error.status, str(error))))
                down.linger()
                return
            del request  # the next one may be long in coming, and this one's body large
            if not down.body_complete:
                down.drain()
            if self._settling is not None:
                self._settling.exchanged()
            self._heap.exchanged()
            self._arenas.exchanged()
            if down.closing:
                down.linger()
                return

    def _handle(self, down: Downstream, request: ClientRequest) -> None:
        token = request.headers.pop(TICKET_HEADER, "")
        ticket = self._tickets.redeem(token) if token else None
        if ticket is None:
            down.drain()
            down.respond(self._without_ticket(request, token))
            return
        self._redeemed += 1
        if not down.upgrade and only_realtime(ticket.instance):
            error = ApiError(426, "this route takes WebSockets only", headers={"upgrade": "websocket"})
            down.drain()
            down.respond(error_response(ticket, error))
            return
        try:
            if down.upgrade:
                self._upgrade(down, ticket, token, request)
                return
            self._exchange(down, ticket, token, request)
        except BadMessage:
            raise
        except Exception:
            # A bug of ours. The client gets an answer or a connection that visibly breaks, never half of one.
            log.exception("exchange failed")
            if down.answered:
                raise ClientGone from None
            down.drain()
            down.respond(error_response(ticket, ApiError(500, "internal error in kong-ai-proxy")))

    def _exchange(self, down: Downstream, ticket: Ticket, token: str, request: ClientRequest) -> None:
        request.captures = ticket.captures
        limit = ticket.instance.max_request_body_size
        try:
            length = down.length
            if limit and length is not None and length > limit:
                raise BodyTooLarge
            if (length is None or length > self._limits.upload) and not _is_json(request):
                request.upload = RequestUpload(down, length, limit)
            elif length != 0:
                request.body = down.read_body(limit)
                self._arenas.expect(len(request.body))
            exchange = self._parts.open(ticket, request)
        except BodyTooLarge:
            down.drain()
            down.respond(error_response(ticket, too_large()))
            return
        except ApiError as error:
            down.drain()
            down.respond(error_response(ticket, error))
            return
        Journey(self._parts, down, ticket, token, request, exchange).run()

    def _upgrade(self, down: Downstream, ticket: Ticket, token: str, request: ClientRequest) -> None:
        try:
            if not serves_realtime(ticket.instance):
                raise ApiError(501, "WebSocket connections are not supported here")
            check_handshake(request)
            exchange = RealtimeExchange.open(ticket, request)
        except ApiError as error:
            down.respond(error_response(ticket, error))
            return
        Upgrade(self._parts, down, ticket, token, request, exchange, self._deposit).run()

    def _without_ticket(self, request: ClientRequest, token: str) -> ClientResponse:
        if not token:
            own = self._manage(request)
            if own is not None:
                return own
        self._refused += 1
        now = time.monotonic()
        if now - self._refused_at > 10.0:
            self._refused_at = now
            log.warning("request without a valid ticket refused", method=request.method, path=request.path)
        return _plain(ApiError(503, NO_TICKET, code="plugin_did_not_run"))

    def _manage_alone(self, request: ClientRequest) -> ClientResponse | None:
        return manage.answer(request, stopping=self._stopping, collectors=self.collectors)

    def _metrics(self) -> Iterator[Family]:
        requests = Family("kong_ai_proxy_relay_requests_total", "counter", "Requests from Kong.")
        requests.add(self._redeemed, {"ticket": "valid"}).add(self._refused, {"ticket": "none"})
        yield requests
        downs = list(self._connections.values())
        kept = self._client.idle_connections
        running = sum(not down.idle for down in downs)
        streams = sum(down.answered and not down.head_sent and not down.idle for down in downs)
        for name, text, number in (
            ("relay_connections", "Open connections from Kong.", len(downs)),
            ("relay_exchanges_running", "Requests under way; this one is among them.", running),
            ("relay_streams_open", "Answers that are being streamed.", streams),
            ("upstream_idle_connections", "Connections to providers kept for reuse.", kept),
        ):
            yield Family(f"kong_ai_proxy_{name}", "gauge", text).add(number)


def _is_json(request: ClientRequest) -> bool:
    """Bodies without a type are taken for JSON, and refused, with the rest of the checks."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind in ("", "application/json") or kind.endswith("+json")


def _plain(error: ApiError) -> ClientResponse:
    """In OpenAI's form: where there is no ticket there is no client format."""
    body = {"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}}
    return ClientResponse(error.status, dict(_JSON), dumps(body))


def _authenticate() -> Authenticate:
    from ..auth import authenticate  # boto3 and google-auth take their time to load

    return authenticate


def _judging(client: UpstreamClient, deposit: Deposit | None) -> Judging:
    from ..judge import Judging  # which has the client of this room

    return Judging(client, deposit)


def _encode() -> Encode:
    from ..accounting.encoding import encode

    return encode


def _log_usage(record: Json) -> None:
    log.info("usage", ai={"proxy": record})

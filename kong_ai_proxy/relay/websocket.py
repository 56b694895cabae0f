"""A client's request for a WebSocket: asked of a provider, agreed or refused, and the session carried.

The provider is asked before the client is answered: until then the client can be told by a status what
failed, and another target may be tried.
"""

from __future__ import annotations

from typing import Any, Final, cast

from gevent import getcurrent

from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse
from ..core.json import Json
from ..exchange.attempt import Attempt
from ..exchange.exchange import Exchange
from ..exchange.realtime import RealtimeAttempt, RealtimeExchange, SessionCarrier
from ..exchange.tickets import Ticket
from ..log import get_logger
from ..wire.websocket import accept_key, valid_key
from .answer import UpstreamFailure
from .carry import Journey, _Another, _error_of, unsendable
from .downstream import ClientGone, Downstream
from .parts import Parts
from .websocket_deposit import LIMIT, REFRESH, Deposit
from .websocket_dial import Agreed, Refused, upgrade
from .websocket_tunnel import End, Tunnel, TunnelLimits

log = get_logger("relay")

_EARLY: Final = 64 * 1024
"""Bytes that a client may send before it was answered."""
_HANDSHAKE: Final = ("upgrade", "connection", "sec-websocket-accept", "sec-websocket-protocol")


def check_handshake(request: ClientRequest) -> None:
    """RFC 6455, 4.2.1. Raises ApiError: 426 for another version, 400 for what is no handshake."""
    headers = request.headers
    if request.method != "GET" or headers.get("upgrade", "").lower() != "websocket":
        raise ApiError(400, "the request asks for a protocol that is not spoken here")
    if headers.get("sec-websocket-version") != "13":
        raise ApiError(
            426, "WebSocket version 13 is spoken here", headers={"sec-websocket-version": "13"}
        )
    if not valid_key(headers.get("sec-websocket-key", "")):
        raise ApiError(400, "the request has no valid sec-websocket-key")


class Upgrade(Journey):
    """A `Journey` that leads to a session."""

    __slots__ = ("_deposit", "_deposited", "_early", "_token")

    def __init__(
        self,
        parts: Parts,
        down: Downstream,
        ticket: Ticket,
        token: str,
        request: ClientRequest,
        exchange: Exchange,
        deposit: Deposit | None,
    ) -> None:
        super().__init__(parts, down, ticket, token, request, exchange)
        self._token = token
        self._deposit = deposit if ticket.filter_installed else None
        self._deposited: tuple[int, str] | None = None
        """The tokens that Kong's record has, and their source."""
        self._early = bytearray(down.behind)

    def run(self) -> None:
        """See `Journey.run`."""
        connection = self._down.connection
        greenlet: Any = getcurrent()

        def something_came() -> None:
            data = connection.recv_now(4096)
            if data is None:
                return
            self._early += data
            if not data or len(self._early) > _EARLY:
                connection.unwatch()
                greenlet.throw(ClientGone())

        connection.watch(something_came)
        try:
            response = self._answer()
            if response is not None:
                self._respond(response)
        except BaseException:
            self._broken_off()
            raise
        finally:
            connection.unwatch()
            self._over()
            self._exchange.close()

    def _try(self, attempt: Attempt) -> ClientResponse | None:
        """Raises as `Journey._try` does."""
        call = attempt.call
        upstream = attempt.translation.request()
        try:
            self._parts.authenticate(upstream, call)
        except ApiError as error:
            attempt.doubt_credential()
            self._failed("error", error)
        if self._trace is not None:
            self._trace.sent(attempt, upstream)
        try:
            result = upgrade(self._parts.client, upstream, attempt.timeouts, attempt.connected)
        except UpstreamFailure as failure:
            self._failed(failure.kind, _error_of(failure, call))
        except ValueError as error:
            raise unsendable(error, call) from None
        if isinstance(result, Refused):
            return self._refused(attempt, result)
        attempt.status = 101
        try:
            self._session(cast(RealtimeAttempt, attempt), result)
        finally:
            result.connection.close()
        return None

    def _refused(self, attempt: Attempt, answer: Refused) -> ClientResponse:
        status, headers = answer.status, answer.headers
        refusal = answer.body if attempt.reads_refusal(status) else None
        if attempt.rejected(status, headers, refusal):
            self._attempt = None
            raise _Another(ApiError(502, f"{attempt.call.provider} answered with {status}"))
        response = attempt.translation.response(status, headers, answer.body)
        self._end()
        return response

    # The session.

    def _session(self, attempt: RealtimeAttempt, agreed: Agreed) -> None:
        down, exchange = self._down, cast(RealtimeExchange, self._exchange)
        down.connection.unwatch()
        session = attempt.opened()
        call = attempt.call
        extensions = self._ticket.instance.extensions
        idle_ms = getattr(extensions, "realtime_idle_timeout", 0)
        total_ms = extensions.max_stream_duration
        limits = TunnelLimits(
            message=call.max_frame,
            idle=idle_ms / 1000,
            total=total_ms / 1000 if total_ms else self._limits.stream_seconds,
            stall=self._limits.send_seconds,
        )
        down.send(_agreement(self._request, agreed, attempt))
        down.answered = down.head_sent = True
        tunnel = Tunnel(
            down.connection,
            agreed.connection,
            limits,
            received=session.received,
            noted=self._refresh,
            first=(lambda message: exchange.setup(call, message)) if call.provider == "gemini" else None,
            refresh=REFRESH if self._deposit is not None else 0.0,
        )
        self._leave()
        end = tunnel.run(bytes(self._early), agreed.early, lambda end: self._settle(attempt, end))
        log.debug("session ended", why=end.why, provider=call.provider)

    def _refresh(self) -> None:
        self._leave()

    def _leave(self) -> bool:
        """Leave the record so far with Kong: a client may go without a word, and the log is written then."""
        if self._deposit is None:
            return False
        record = self._noted()
        if record is None:
            return False
        counted = self._counted()
        if not self._deposit.put(self._token, self._parts.encode(record, LIMIT)):
            return False
        self._deposited = counted
        return True

    def _counted(self) -> tuple[int, str]:
        usage = self._exchange.attempts[-1].call.usage
        return usage.total, str(usage.source)

    def _settle(self, attempt: RealtimeAttempt, end: End) -> None:
        """Deliver the record, once."""
        attempt.over()
        self._attempt = None
        if self._telling.delivered:
            return
        self._telling.delivered = True
        record = self._noted()
        if record is None:
            return
        if end.client_gone and end.noting:
            # Kong's log may have been written before the record came. Rather twice than not at all.
            delivered = False
        else:
            # Where the client is gone, Kong's log is written already, with what was left by then.
            leave = not end.client_gone and end.why != "shutdown"
            delivered = (leave and self._leave()) or self._deposited == self._counted()
        if not delivered:
            self._parts.log_usage(record)

    def _noted(self) -> Json | None:
        try:
            return cast(RealtimeExchange, self._exchange).so_far()
        except Exception:
            log.exception("no log record could be made")
            return None


def _agreement(request: ClientRequest, agreed: Agreed, attempt: RealtimeAttempt) -> bytes:
    """The head that switches the client's connection."""
    carrier = cast(SessionCarrier, attempt.translation)
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "connection: Upgrade",
        "upgrade: websocket",
        f"sec-websocket-accept: {accept_key(request.headers['sec-websocket-key'])}",
    ]
    protocol = agreed.headers.get("sec-websocket-protocol")
    if protocol:
        lines.append(f"sec-websocket-protocol: {protocol}")
    for name, value in carrier.accepted(agreed.headers).items():
        if name not in _HANDSHAKE and not any(mark in value for mark in "\r\n\0"):
            lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")


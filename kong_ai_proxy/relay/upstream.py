"""The client towards providers: HTTP/1.1 over kept-alive connections."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Final, TypeAlias

from ..core.http import Upload, UpstreamRequest, Url
from ..exchange.exchange import Timeouts
from .answer import SWITCHED, Answer, Channel, UpstreamFailure
from .connection import Connection, ConnectionBroken, TimedOut
from .dial import Dialer
from .headers import ends_a_head
from .pool import Pool, PoolLimits
from .resolver import Resolver

__all__ = ["Answer", "PoolLimits", "UpstreamClient", "UpstreamFailure"]

Connected: TypeAlias = Callable[[str, float], None]
"""Told the provider's address and the seconds it took to have a connection."""

_RECV: Final = 64 * 1024
_HEAD_LIMIT: Final = 64 * 1024
"""Bytes of an answer's head, interim answers included."""
_FRAMING: Final = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that are written here, whatever a request says."""
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
"""RFC 9110, 9.2.2."""


class _Stale(Exception):
    """A kept-alive connection was closed before any byte of the answer."""

    def __init__(self, untouched: bool) -> None:
        super().__init__()
        self.untouched = untouched
        """The provider cannot have acted on the request: the end of it never reached its system."""


class UpstreamClient:
    """All connections to providers of this process."""

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = Pool(limits or PoolLimits())
        self._dialer = Dialer(resolver, tls)

    def send(
        self,
        request: UpstreamRequest,
        timeouts: Timeouts,
        connected: Connected | None = None,
        *,
        repeatable: bool = False,
    ) -> Answer:
        """Sends, and waits for the answer's head. Raises UpstreamFailure; ValueError for what cannot
        be sent.

        A request is sent a second time in one case only: the connection had been kept alive, and closed
        before any byte of an answer, as a server does that has just ended an idle connection. But it may
        have been one that failed over this very request, and a proxy must not repeat that on its own
        (RFC 9110, 9.2.2). So it is sent again where the provider cannot have acted on it, where the method
        is idempotent, or where the caller says that it is `repeatable`.
        """
        head = request_head(request)
        url = request.url
        key = (url.tls, url.host, url.port)
        began = time.perf_counter()
        channel = self._pool.take(key)
        if channel is not None and request.public_only:
            address = channel.connection.peer_ip
            if not self._dialer.public(address):
                # Where a configuration led to, under the same name.
                channel.connection.close()
                channel = None
        if channel is not None:
            if connected:
                connected(channel.connection.peer_ip, time.perf_counter() - began)
            try:
                return self._exchange(channel, head, request, timeouts)
            except _Stale as stale:
                started = request.upload is not None and request.upload.started
                if started or not (stale.untouched or repeatable or request.method in _IDEMPOTENT):
                    raise UpstreamFailure(
                        "error", "the provider closed the connection without an answer"
                    ) from None
        channel = Channel(key, self._dialer.dial(url, timeouts.connect, public_only=request.public_only))
        if connected:
            connected(channel.connection.peer_ip, time.perf_counter() - began)
        return self._exchange(channel, head, request, timeouts)

    def dial(self, url: Url, timeout: float) -> Connection:
        """A new connection, which is the caller's to close. Raises UpstreamFailure."""
        return self._dialer.dial(url, timeout)

    def close(self) -> None:
        """Closes what is idle."""
        self._pool.close()

    @property
    def idle_connections(self) -> int:
        return len(self._pool)

    # One request on one connection.

    def _exchange(
        self, channel: Channel, head: bytes, request: UpstreamRequest, timeouts: Timeouts
    ) -> Answer:
        connection = channel.connection
        reading = channel.reading
        reused = channel.used
        channel.used = True
        try:
            try:
                if request.upload is None:
                    connection.send_all(head, request.body, timeouts.write)
                else:
                    _send_upload(connection, head, request.upload, timeouts.write)
            except (TimedOut, ConnectionBroken) as error:
                # An early answer (413, 401) may be there, from a provider that does not care for the rest.
                if not self._early_answer(channel):
                    if isinstance(error, TimedOut):
                        text = "the provider did not take the request in time"
                        raise UpstreamFailure("timeout", text) from None
                    if reused:
                        raise _Stale(untouched=True) from None
                    raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
            if not reading.status:
                self._read_head(channel, timeouts.read, reused)
            if reading.status == 101:
                raise UpstreamFailure("invalid_header", SWITCHED)
        except BaseException:
            connection.close()
            raise
        return Answer(channel, self._pool.give, request.method, timeouts.read)

    def _read_head(self, channel: Channel, timeout: float, reused: bool) -> None:
        reading = channel.reading
        size = 0
        deadline = time.monotonic() + timeout if timeout else 0.0
        while not reading.status:
            try:
                data = channel.connection.recv(_RECV, timeout)
            except TimedOut:
                raise UpstreamFailure("timeout", "the provider did not answer in time") from None
            except ConnectionBroken as error:
                if reused and not size:
                    raise _Stale(error.closed and channel.connection.unacknowledged()) from None
                raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
            if not data:
                if reused and not size:
                    raise _Stale(untouched=channel.connection.unacknowledged())
                raise UpstreamFailure("error", "the provider closed the connection without an answer")
            size += len(data)
            channel.feed_head(data)
            if not reading.status:
                if size > _HEAD_LIMIT:
                    raise UpstreamFailure("invalid_header", "the head of the answer is too long")
                # A head that drips in byte by byte does not get the time-out anew with each byte.
                if deadline and time.monotonic() > deadline:
                    raise UpstreamFailure("timeout", "the provider did not answer in time")

    def _early_answer(self, channel: Channel) -> bool:
        try:
            while not channel.reading.status:
                data = channel.connection.recv(_RECV, 0.001)
                if not data:
                    return False
                channel.feed_head(data)
        except (TimedOut, ConnectionBroken, UpstreamFailure):
            return False
        channel.reading.extra = True  # not to be reused
        return True


def request_head(request: UpstreamRequest) -> bytes:
    """Request line and headers. Raises ValueError for what would break the request."""
    url = request.url
    target = url.target
    lines = [f"{request.method} {target} HTTP/1.1", f"host: {url.authority}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name not in _FRAMING]
    if "accept-encoding" not in request.headers:
        lines.append("accept-encoding: identity")
    upload = request.upload
    if upload is not None and upload.length is None:
        lines.append("transfer-encoding: chunked")
    elif upload is not None:
        lines.append(f"content-length: {upload.length}")
    elif request.body or request.method not in _BODILESS:
        lines.append(f"content-length: {len(request.body)}")
    if " " in target or ends_a_head("".join(lines)):
        raise ValueError("a header or the URL holds what would break the request")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _send_upload(connection: Connection, head: bytes, upload: Upload, timeout: float) -> None:
    pending = head
    chunked = upload.length is None
    for piece in upload:
        if chunked and piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        connection.send(pending + piece if pending else piece, timeout)
        pending = b""
    if chunked:
        pending += b"0\r\n\r\n"
    if pending:
        connection.send(pending, timeout)

"""The client towards providers: HTTP/1.1 over kept-alive connections."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import gevent
import httptools

from ..core.http import Headers, UpstreamRequest, Url
from ..exchange.exchange import FailureKind, Timeouts
from .connection import Connection, ConnectionBroken, TimedOut, TlsConnection
from .inflate import BadEncoding, Inflate, inflater
from .resolver import ResolveError, Resolver

Connected: TypeAlias = Callable[[str, float], None]
"""Told the provider's address and the seconds it took to have a connection."""

_RECV: Final = 64 * 1024
_HEAD_LIMIT: Final = 64 * 1024
"""Bytes of an answer's head, interim answers included."""
_SWITCHED: Final = "the provider changed the protocol without being asked"
_BODILESS: Final = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class UpstreamFailure(Exception):
    """The provider gave no answer, or not all of one. `kind` is the word `failover_criteria` has for it; the
    text is fit for a log and for the client: it names neither address nor credential."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind


class _Stale(Exception):
    """A kept-alive connection was closed before any byte of the answer."""


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Kept-alive connections to providers."""

    idle_per_host: int = 128
    idle_seconds: float = 55.0
    """Below the 60 s after which most servers and load balancers close."""
    age_seconds: float = 300.0
    """After that a connection is not reused: a host's new address shall be found."""


_Key: TypeAlias = tuple[bool, str, int]


class _Channel:
    """A connection with its response parser, as the pool keeps them."""

    __slots__ = ("born", "connection", "idle_since", "key", "parser", "reading", "used")

    def __init__(self, key: _Key, connection: Connection) -> None:
        self.key = key
        self.connection = connection
        self.reading = _Reading()
        self.parser = self.reading.parser = httptools.HttpResponseParser(self.reading)
        self.used = False
        self.born = self.idle_since = time.monotonic()


class _Reading:
    """What the parser has seen of the current answer."""

    __slots__ = (
        "_fields", "complete", "extra", "headers", "keep_alive", "parser", "pieces", "started", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parser: Any = None
        self.reset()

    def reset(self) -> None:
        self.status = 0
        """Of the final answer, once its head is complete."""
        self._fields: list[tuple[bytes, bytes]] = []
        self.headers: Headers = {}
        self.pieces: list[bytes] = []
        self.started = False
        self.complete = False
        self.keep_alive = False
        self.extra = False

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.complete:
            self.extra = True
        self._fields = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200 and status != 101:
            return
        if self.status:
            return
        headers: Headers = {}
        for raw_name, raw_value in self._fields:
            name = raw_name.decode("latin-1").lower()
            value = decode_value(raw_value)
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        self.headers = headers
        self.status = status

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.pieces.append(data)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self.keep_alive = self.parser.should_keep_alive()


class Answer:
    """A provider's answer whose head has come. Read it to its end, or `close` it."""

    __slots__ = (
        "_channel", "_client", "_inflate", "_pieces", "_read_timeout", "_until_close", "headers", "status",
    )  # fmt: skip

    def __init__(self, client: UpstreamClient, channel: _Channel, method: str, read_timeout: float) -> None:
        reading = channel.reading
        self._client = client
        self._channel: _Channel | None = channel
        self._read_timeout = read_timeout
        self._inflate: Inflate | None = None
        self._pieces: Iterator[bytes] | None = None
        self.status = reading.status
        self.headers = headers = reading.headers
        coding = headers.get("transfer-encoding", "")
        self._until_close = "content-length" not in headers and coding == ""
        if coding and coding.strip().lower() != "chunked":
            self.close()
            raise UpstreamFailure("invalid_header", f"transfer-encoding {coding[:40]!r} is not supported")
        if method == "HEAD" or self.status in (204, 304):
            # The parser cannot know that no body follows a HEAD; such a connection is not reused.
            reading.complete = True
            self._until_close = False
        if encoding := headers.get("content-encoding"):
            try:
                self._inflate = inflater(encoding)
            except BadEncoding as error:
                self.close()
                raise UpstreamFailure("invalid_header", f"{error} is not supported") from None
            del headers["content-encoding"]
            headers.pop("content-length", None)
        if reading.complete and not reading.pieces:
            self._release()

    def read(self, timeout: float | None = None) -> bytes:
        """The next piece of the body, decoded; b"" at its end. Waits at most `timeout` seconds (as configured
        when None). Raises UpstreamFailure where the answer breaks off."""
        if self._inflate is None:
            return self._read_raw(timeout)
        while True:
            if self._pieces is not None:
                try:
                    for piece in self._pieces:
                        return piece
                except BadEncoding as error:
                    self.close()
                    raise UpstreamFailure("error", f"the answer's compression is broken: {error}") from None
            data = self._read_raw(timeout)
            if not data:
                try:
                    self._inflate.finish()
                except BadEncoding as error:
                    raise UpstreamFailure("error", f"the answer broke off: {error}") from None
                return b""
            self._pieces = self._inflate.feed(data)

    def read_all(self, limit: int) -> bytes:
        """The whole body. Raises UpstreamFailure, also where it is longer than `limit` bytes."""
        pieces = []
        size = 0
        while piece := self.read():
            size += len(piece)
            if size > limit:
                self.close()
                raise UpstreamFailure("error", f"the answer is longer than {limit} bytes")
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def discard(self) -> None:
        """Gives up the rest; the connection stays usable where all of it has arrived already."""
        channel = self._channel
        if channel is not None and channel.reading.complete:
            channel.reading.pieces.clear()
            self._release()
        else:
            self.close()

    def close(self) -> None:
        """Idempotent. Gives up what was not read: the connection is closed."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.connection.close()

    def _read_raw(self, timeout: float | None) -> bytes:
        channel = self._channel
        if channel is None:
            return b""
        reading = channel.reading
        while not reading.pieces:
            if reading.complete:
                self._release()
                return b""
            try:
                data = channel.connection.recv(_RECV, self._read_timeout if timeout is None else timeout)
            except TimedOut:
                self.close()
                raise UpstreamFailure("timeout", "the provider fell silent within its answer") from None
            except ConnectionBroken as error:
                self.close()
                raise UpstreamFailure("error", f"the answer broke off ({error})") from None
            except BaseException:
                self.close()
                raise
            if not data:
                self.close()
                if self._until_close:
                    return b""
                raise UpstreamFailure("error", "the provider closed the connection within its answer")
            try:
                channel.parser.feed_data(data)
            except httptools.HttpParserError as error:
                if not reading.complete:
                    self.close()
                    raise UpstreamFailure("error", f"the answer's framing is broken ({error})") from None
                reading.extra = True
        pieces = reading.pieces
        if len(pieces) == 1:
            piece = pieces.pop()
        else:
            piece = b"".join(pieces)
            pieces.clear()
        if reading.complete:
            # From here on the channel may serve another request: this answer must not look at it again.
            self._release()
        return piece

    def _release(self) -> None:
        """The whole answer is here: the connection is free for the next request."""
        channel = self._channel
        if channel is None:
            return
        self._channel = None
        self._client._give(channel)


class UpstreamClient:
    """All connections to providers of this process."""

    def __init__(
        self,
        *,
        limits: PoolLimits | None = None,
        resolver: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._limits = limits or PoolLimits()
        self._resolver = resolver or Resolver()
        self._tls = tls
        self._idle: dict[_Key, list[_Channel]] = {}
        self._sweeper: Any = None

    def send(
        self, request: UpstreamRequest, timeouts: Timeouts, connected: Connected | None = None
    ) -> Answer:
        """Sends, and waits for the answer's head. Raises UpstreamFailure; ValueError for what cannot
        be sent.

        A request is sent a second time in one case only: the connection had been kept alive, and closed
        before any byte of an answer, as a server does that has just ended an idle connection.
        """
        head = _head(request)
        url = request.url
        key = (url.tls, url.host, url.port)
        began = time.perf_counter()
        channel = self._take(key)
        if channel is not None:
            if connected:
                connected(channel.connection.peer_ip, time.perf_counter() - began)
            try:
                return self._exchange(channel, head, request, timeouts)
            except _Stale:
                if request.upload is not None and request.upload.started:
                    raise UpstreamFailure("error", "the provider closed the connection") from None
        channel = self._open(key, url, timeouts.connect)
        if connected:
            connected(channel.connection.peer_ip, time.perf_counter() - began)
        return self._exchange(channel, head, request, timeouts)

    def close(self) -> None:
        """Closes what is idle."""
        if self._sweeper is not None:
            self._sweeper.kill()
            self._sweeper = None
        for channels in self._idle.values():
            for channel in channels:
                channel.connection.close()
        self._idle.clear()

    @property
    def idle_connections(self) -> int:
        return sum(map(len, self._idle.values()))

    # One request on one connection.

    def _exchange(
        self, channel: _Channel, head: bytes, request: UpstreamRequest, timeouts: Timeouts
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
                        raise _Stale from None
                    raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
            if not reading.status:
                self._read_head(channel, timeouts.read, reused)
            if reading.status == 101:
                raise UpstreamFailure("invalid_header", _SWITCHED)
        except BaseException:
            connection.close()
            raise
        return Answer(self, channel, request.method, timeouts.read)

    def _read_head(self, channel: _Channel, timeout: float, reused: bool) -> None:
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
                    raise _Stale from None
                raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
            if not data:
                if reused and not size:
                    raise _Stale
                raise UpstreamFailure("error", "the provider closed the connection without an answer")
            size += len(data)
            _parse_head(channel, data)
            if not reading.status:
                if size > _HEAD_LIMIT:
                    raise UpstreamFailure("invalid_header", "the head of the answer is too long")
                # A head that drips in byte by byte does not get the time-out anew with each byte.
                if deadline and time.monotonic() > deadline:
                    raise UpstreamFailure("timeout", "the provider did not answer in time")

    def _early_answer(self, channel: _Channel) -> bool:
        try:
            while not channel.reading.status:
                data = channel.connection.recv(_RECV, 0.001)
                if not data:
                    return False
                _parse_head(channel, data)
        except (TimedOut, ConnectionBroken, UpstreamFailure):
            return False
        channel.reading.extra = True  # not to be reused
        return True

    # Connections.

    def _open(self, key: _Key, url: Url, timeout: float) -> _Channel:
        deadline = time.monotonic() + timeout if timeout else None
        try:
            addresses = self._resolver.resolve(url.host, url.port, timeout)
        except ResolveError:
            raise UpstreamFailure("error", "the provider's host name could not be resolved") from None
        except gevent.Timeout:
            raise UpstreamFailure("timeout", "the provider's host name was not resolved in time") from None
        failure: UpstreamFailure | None = None
        for index, (family, address) in enumerate(addresses):
            left = 0.0
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                # A dead address must leave time for the others.
                left /= min(len(addresses) - index, 3)
            try:
                return _Channel(key, self._connect(url, family, address, left))
            except UpstreamFailure as error:
                failure = error
                if isinstance(error.__context__, ssl.SSLError):
                    break
        raise failure or UpstreamFailure("timeout", "no connection to the provider in time")

    def _connect(self, url: Url, family: int, address: tuple[Any, ...], timeout: float) -> Connection:
        kind = TlsConnection if url.tls else Connection
        try:
            connection = kind.connect(family, address, timeout)
        except TimedOut:
            raise UpstreamFailure("timeout", "no connection to the provider in time") from None
        except (ConnectionBroken, OSError) as error:
            raise UpstreamFailure("error", f"no connection to the provider ({error})") from None
        if isinstance(connection, TlsConnection):
            try:
                connection.handshake(self._context(), url.host, timeout)
            except BaseException as error:
                connection.close()
                if isinstance(error, TimedOut):
                    raise UpstreamFailure("timeout", "no TLS connection to the provider in time") from None
                if isinstance(error, ssl.SSLCertVerificationError):
                    raise UpstreamFailure(
                        "error", f"the provider's certificate is not valid: {error.verify_message}"
                    ) from error
                if isinstance(error, (ssl.SSLError, ConnectionBroken)):
                    reason = getattr(error, "reason", None) or str(error)
                    raise UpstreamFailure("error", f"TLS with the provider failed ({reason})") from error
                raise
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _take(self, key: _Key) -> _Channel | None:
        channels = self._idle.get(key)
        if not channels:
            return None
        now = time.monotonic()
        limits = self._limits
        while channels:
            channel = channels.pop()
            if (
                now - channel.idle_since < limits.idle_seconds
                and now - channel.born < limits.age_seconds
                and channel.connection.idle_and_open()
            ):
                channel.reading.reset()
                return channel
            channel.connection.close()
        return None

    def _give(self, channel: _Channel) -> None:
        reading = channel.reading
        if not reading.keep_alive or reading.extra or channel.connection.closed:
            channel.connection.close()
            return
        channels = self._idle.setdefault(channel.key, [])
        if len(channels) >= self._limits.idle_per_host:
            channel.connection.close()
            return
        channel.idle_since = time.monotonic()
        channels.append(channel)
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def _sweep(self) -> None:
        """Closes what has been idle for too long, or was closed by the other side, until nothing is left."""
        while self._idle:
            gevent.sleep(5.0)
            now = time.monotonic()
            for key, channels in list(self._idle.items()):
                keep = []
                for channel in channels:
                    young = now - channel.idle_since < self._limits.idle_seconds
                    if young and channel.connection.idle_and_open():
                        keep.append(channel)
                    else:
                        channel.connection.close()
                if keep:
                    self._idle[key] = keep
                else:
                    del self._idle[key]
        self._sweeper = None


def decode_value(value: bytes) -> str:
    """A header's value as text: UTF-8 where it is, else Latin-1 (RFC 9110, 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _parse_head(channel: _Channel, data: bytes) -> None:
    try:
        channel.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        raise UpstreamFailure("invalid_header", _SWITCHED) from None
    except httptools.HttpParserError as error:
        if not channel.reading.status:
            raise UpstreamFailure("invalid_header", f"the answer is not HTTP ({error})") from None
        if not channel.reading.complete:
            raise UpstreamFailure("error", f"the answer's framing is broken ({error})") from None
        channel.reading.extra = True


def _head(request: UpstreamRequest) -> bytes:
    url = request.url
    lines = [f"{request.method} {url.target} HTTP/1.1\r\nhost: {url.authority}"]
    for name, value in request.headers.items():
        if name not in ("host", "content-length", "transfer-encoding", "connection"):
            lines.append(f"{name}: {value}")
    if "accept-encoding" not in request.headers:
        lines.append("accept-encoding: identity")
    upload = request.upload
    if upload is not None and upload.length is None:
        lines.append("transfer-encoding: chunked")
    elif upload is not None:
        lines.append(f"content-length: {upload.length}")
    elif request.body or request.method not in _BODILESS:
        lines.append(f"content-length: {len(request.body)}")
    head = "\r\n".join(lines)
    # The first line holds one line end more; any further one was smuggled in through a value.
    if " " in url.target or head.count("\r") != len(lines) or head.count("\n") != len(lines) or "\0" in head:
        raise ValueError("a header or the URL holds what would break the request")
    return f"{head}\r\n\r\n".encode()


def _send_upload(connection: Connection, head: bytes, upload: Any, timeout: float) -> None:
    pending = head
    chunked = upload.length is None
    for piece in upload:
        if chunked:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        connection.send(pending + piece if pending else piece, timeout)
        pending = b""
    if chunked:
        pending += b"0\r\n\r\n"
    if pending:
        connection.send(pending, timeout)

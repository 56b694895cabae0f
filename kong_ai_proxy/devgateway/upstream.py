"""The way to the service: connections, requests, and answers, as nginx's proxy module has them."""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator

import httptools
from gevent import socket
from gevent.monkey import get_original

from .headers import Headers

KEEPALIVE_IDLE = 60.0
"""Kong's `upstream_keepalive_idle_timeout`, in seconds."""
KEEPALIVE_SIZE = 512
_READ = 65536


class UpstreamError(Exception):
    """No answer: `status` is what nginx tells the client, 502 or 504."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Truncated(Exception):
    """The service closed its connection before its answer was complete."""


class UpstreamConnection:
    """One connection to a service and the answer that is read from it."""

    def __init__(self, sock: socket.socket, key: tuple[str, int, str, str]) -> None:
        self.socket = sock
        self.key = key
        self.cached = False
        self.idle_since = 0.0
        self._poller = get_original("select", "poll")()
        self._poller.register(sock.fileno(), 1)
        self.begin()

    def begin(self) -> None:
        self.status = 0
        self.headers = Headers()
        self.complete = False
        self.upgraded: bytes | None = None
        self._pairs: list[tuple[str, str]] = []
        self._chunks: deque[bytes] = deque()
        self._head_done = False
        self._eof_ends = False
        self._bodyless = False
        self._parser = httptools.HttpResponseParser(self)

    # httptools' callbacks
    def on_header(self, name: bytes, value: bytes) -> None:
        self._pairs.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._pairs = []
            return
        self.status = status
        self.headers = Headers(self._pairs)
        self._head_done = True
        self._eof_ends = not ("content-length" in self.headers or "transfer-encoding" in self.headers)

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._head_done:
            self.complete = True

    def send(self, head: bytes, body: Iterable[bytes]) -> None:
        """Raises OSError."""
        blocks = iter(body)
        self.socket.sendall(head + next(blocks, b""))
        for block in blocks:
            self.socket.sendall(block)

    def read_head(self, method: str) -> None:
        """Raises UpstreamError."""
        while not self._head_done:
            try:
                data = self.socket.recv(_READ)
            except TimeoutError as error:
                raise UpstreamError(504, "upstream timed out while reading response header") from error
            except OSError as error:
                raise UpstreamError(502, f"recv() failed: {error}") from error
            if not data:
                raise UpstreamError(502, "upstream prematurely closed connection")
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self.upgraded = data[upgrade.args[0] :]
                self._head_done = True
            except httptools.HttpParserError as error:
                raise UpstreamError(502, f"upstream sent invalid header: {error}") from error
        if method == "HEAD" or self.status in (204, 304):
            self._bodyless = self.complete = True

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes. Raises Truncated, OSError."""
        while True:
            if self._chunks:
                data = b"".join(self._chunks)
                self._chunks.clear()
                yield data
            if self.complete:
                return
            received = self.socket.recv(_READ)
            if not received:
                if self._eof_ends:
                    return
                raise Truncated
            try:
                self._parser.feed_data(received)
            except httptools.HttpParserError as error:
                raise Truncated from error

    @property
    def reusable(self) -> bool:
        keep = self.complete and not self._bodyless and not self._chunks and self.upgraded is None
        return keep and (self.headers.get("connection") or "").lower() != "close"

    def alive(self) -> bool:
        try:
            return not self._poller.poll(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        self.socket.close()


class Pool:
    """Kept-alive connections to services."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, str, str], deque[UpstreamConnection]] = {}
        self.opened = 0
        """Connections made so far."""

    def get(self, scheme: str, host: str, port: int, name: str, timeout: float) -> UpstreamConnection:
        """A connection, kept or new. `timeout` for connecting, seconds. Raises UpstreamError."""
        key = (host, port, scheme, name)
        idle = self._idle.get(key)
        while idle:
            connection = idle.pop()
            if connection.alive() and time.monotonic() - connection.idle_since < KEEPALIVE_IDLE:
                connection.cached = True
                connection.begin()
                return connection
            connection.close()
        return self._open(key, timeout)

    def _open(self, key: tuple[str, int, str, str], timeout: float) -> UpstreamConnection:
        host, port, scheme, name = key
        try:
            sock = _connect(host, port, timeout)
        except TimeoutError as error:
            raise UpstreamError(504, f"upstream timed out while connecting to {host}:{port}") from error
        except OSError as error:
            raise UpstreamError(502, f"connect() to {host}:{port} failed: {error}") from error
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if scheme == "https":
            sock = _tls(sock, name.rsplit(":", 1)[0])
        self.opened += 1
        return UpstreamConnection(sock, key)

    def put(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose answer was read, or close it."""
        if not connection.reusable:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        idle = self._idle.setdefault(connection.key, deque())
        idle.append(connection)
        if len(idle) > KEEPALIVE_SIZE:
            idle.popleft().close()

    def close(self) -> None:
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


def _connect(host: str, port: int, timeout: float) -> socket.socket:
    """Raises OSError. Whatever ends it, no socket is left behind."""
    problem: OSError = OSError("no address")
    for family, kind, proto, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        sock = socket.socket(family, kind, proto)
        try:
            sock.settimeout(timeout)
            sock.connect(address)
            return sock
        except OSError as error:
            sock.close()
            problem = error
        except BaseException:
            sock.close()
            raise
    raise problem


def _tls(sock: socket.socket, name: str) -> socket.socket:
    from gevent.ssl import SSLContext

    # As nginx by default: no certificate is checked. A reason not to call providers from Kong itself.
    context = SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        return context.wrap_socket(sock, server_hostname=name)
    except OSError as error:
        sock.close()
        raise UpstreamError(502, f"SSL_do_handshake() failed: {error}") from error

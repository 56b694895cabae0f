"""Kong's side of the relay: requests as they come in over one connection, and answers going out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import httptools
from gevent import getcurrent

from ..core.http import ClientRequest, ClientResponse, Headers
from .connection import Connection, ConnectionBroken, TimedOut
from .headers import ends_a_head, merged, text_of

_RECV: Final = 64 * 1024
_BULK: Final = 256 * 1024
"""Where so much of a body of known length is still to come, it is read past the parser, in such pieces."""
_SURPLUS: Final = 64 * 1024
"""Bytes of a next request that may come while one is answered, before the client is taken for broken."""

FRAMING_MAX: Final = 256 * 1024
"""Bytes of a chunk's extensions, or of trailers: nothing of them is of use to anybody here."""
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "content-encoding"})
"""Headers that are the relay's own business: how this answer is framed, not how the provider's was."""

_REASONS: Final = {
    200: "OK", 201: "Created", 202: "Accepted", 204: "No Content", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content",
    426: "Upgrade Required", 429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the relay, besides what a plugin instance configures. Bytes and seconds."""

    head: int = 64 * 1024
    """A request's line and headers."""
    head_seconds: float = 30.0
    """From a request's first byte to its last header."""
    body_seconds: float = 60.0
    """Between two reads of a request's body."""
    send_seconds: float = 120.0
    """How long the client may take nothing of an answer."""
    idle_seconds: float = 120.0
    """How long Kong may keep a connection without a request; its own limit (60 s) shall come first."""
    upload: int = 1024 * 1024
    """A body that is not JSON and longer, or of unknown length, is not held in memory."""
    drain: int = 64 * 1024 * 1024
    """How much of a refused body is read, so that Kong sees the answer instead of a broken connection."""
    drain_seconds: float = 5.0
    linger_seconds: float = 2.0
    """How long a connection that is given up stays open for the other side to read its answer."""
    answer: int = 512 * 1024 * 1024
    """A whole answer of a provider."""
    stream_seconds: float = 0.0
    """A streamed answer, from its head to its last byte, where the instance sets no limit. 0 is none."""


class ClientGone(BaseException):
    """Kong closed the connection: the client went away. Thrown into the exchange wherever it waits; not an
    Exception, so that nobody on the way takes it for an error of his own."""


class BadMessage(Exception):
    """What came is not a request that can be answered in order. The connection ends with `status`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class BodyTooLarge(Exception):
    """The request's body is longer than allowed."""


class _Incoming:
    """What the parser has seen of the current request."""

    __slots__ = (
        "body", "complete", "fields", "head_complete", "keep_alive", "parser", "surplus", "target", "upgrade",
    )  # fmt: skip

    def __init__(self) -> None:
        self.parser: Any = None
        self.reset()

    def reset(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.body: list[bytes] = []
        self.head_complete = False
        self.complete = False
        self.keep_alive = False
        self.upgrade = False
        self.surplus = False

    def head_size(self) -> int:
        """Bytes of its line and headers."""
        return len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.fields)

    def on_message_begin(self) -> None:
        if self.complete:
            # A second request before the first is answered: the connection ends after the first.
            self.surplus = True
            raise BadMessage(400, "pipelining is not supported")

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_complete:  # else a trailer
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head_complete = True
        self.keep_alive = self.parser.should_keep_alive()
        self.upgrade = self.parser.should_upgrade()

    def on_body(self, piece: bytes) -> None:
        self.body.append(piece)

    def on_message_complete(self) -> None:
        self.complete = True


class RequestUpload:
    """A request's body that goes on to the provider while it arrives (see `core.http.Upload`)."""

    __slots__ = ("_down", "_limit", "length", "started")

    def __init__(self, down: Downstream, length: int | None, limit: int) -> None:
        """`limit` in bytes, 0 is none."""
        self._down = down
        self._limit = limit
        self.length = length
        self.started = False

    def __iter__(self) -> Iterator[bytes]:
        """Raises BodyTooLarge, BadMessage, ClientGone."""
        self.started = True
        size = 0
        for piece in self._down.body():
            size += len(piece)
            if self._limit and size > self._limit:
                raise BodyTooLarge
            yield piece
        # Only from here on the client's silence says nothing and its end can be watched for.
        self._down.watch()


class Downstream:
    """One connection from Kong."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self.connection = connection
        self.limits = limits
        self.idle = True
        """Waiting for a request."""
        self.answered = False
        """Something of the current answer was sent."""
        self.head_sent = False
        """The head of a whole answer is on its way."""
        self.closing = False
        """No further request will be read."""
        self.behind = b""
        """What came behind a request for an upgrade, in the same read."""
        self._incoming = _Incoming()
        self._parser = self._incoming.parser = httptools.HttpRequestParser(self._incoming)
        self._http10 = False
        self._method = ""
        self.length: int | None = 0
        """Bytes of the current request's body; None where it comes in chunks."""
        self._continue = False
        self._left = 0
        """Bytes of the current body that the parser need not see, but for them everything has come."""
        self._greenlet: Any = None
        self._surplus = 0

    # Reading.

    def next_request(self) -> ClientRequest | None:
        """The next request's head, its body not read yet; None when Kong is done with the connection.
        Raises BadMessage."""
        incoming = self._incoming
        incoming.reset()
        self.answered = self.head_sent = False
        self._method = ""
        self.idle = True
        began = 0.0
        size = 0
        while not incoming.head_complete:
            try:
                limits = self.limits
                data = self.connection.recv(_RECV, limits.head_seconds if began else limits.idle_seconds)
            except TimedOut:
                if began:
                    raise BadMessage(408, "the request did not arrive in time") from None
                return None
            except ConnectionBroken:
                return None
            if not data:
                return None
            if not began:
                self.idle = False
                began = time.monotonic()
            size += len(data)
            self._feed(data)
            if not incoming.head_complete:
                if size > self.limits.head:
                    raise BadMessage(431, "the request's head is too long")
                if time.monotonic() - began > self.limits.head_seconds:
                    raise BadMessage(408, "the request did not arrive in time")
        if size > self.limits.head and incoming.head_size() > self.limits.head:  # there may be body in it
            raise BadMessage(431, "the request's head is too long")
        return self._request()

    def _request(self) -> ClientRequest:
        incoming = self._incoming
        headers = merged(incoming.fields)
        self._method = self._parser.get_method().decode()
        self._http10 = self._parser.get_http_version() == "1.0"
        self._continue = not self._http10 and headers.get("expect", "").lower() == "100-continue"
        self.closing = self.closing or not incoming.keep_alive
        if headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise BadMessage(400, "no transfer coding but chunked is supported")
        path, _, query = text_of(incoming.target).partition("?")
        if not path.startswith("/"):
            raise BadMessage(400, "the request's target is not a path")
        self.length = None if "transfer-encoding" in headers else _length(headers)
        left = (self.length or 0) - sum(map(len, incoming.body))
        self._left = left if left >= _BULK and not incoming.upgrade else 0
        return ClientRequest(self._method, path, query, headers)

    @property
    def upgrade(self) -> bool:
        """The request asks for another protocol (a WebSocket)."""
        return self._incoming.upgrade

    @property
    def body_complete(self) -> bool:
        return self._incoming.complete

    def read_body(self, limit: int) -> bytes:
        """The whole body; `limit` 0 is none. Raises BodyTooLarge as soon as that is known, BadMessage,
        ClientGone."""
        if limit and self.length is not None and self.length > limit:
            raise BodyTooLarge
        pieces = self._incoming.body
        if self.length and len(pieces) == 1 and self._incoming.complete:  # it came with the head
            return pieces.pop()
        pieces = []
        size = 0
        for piece in self.body():
            size += len(piece)
            if limit and size > limit:
                raise BodyTooLarge
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def body(self) -> Iterator[bytes]:
        """The body as it arrives; the next piece is read from the socket only when it is asked for."""
        incoming = self._incoming
        framing = 0
        if self._continue and not incoming.complete and not incoming.body:
            self._continue = False
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            pieces = incoming.body
            if pieces:
                incoming.body = []
                yield pieces[0] if len(pieces) == 1 else b"".join(pieces)
                continue
            if incoming.complete:
                return
            try:
                data = self.connection.recv(min(self._left, _BULK) or _RECV, self.limits.body_seconds)
            except TimedOut:
                raise BadMessage(408, "the request's body did not arrive in time") from None
            except ConnectionBroken:
                raise ClientGone from None
            if not data:
                raise ClientGone
            if self._left:
                self._left -= len(data)
                if not self._left:
                    incoming.complete = True
                    self._parser = incoming.parser = httptools.HttpRequestParser(incoming)
                yield data
                continue
            self._feed(data)
            framing = 0 if incoming.body else framing + len(data)
            if framing > FRAMING_MAX:
                self.closing = True
                raise BadMessage(400, "the request's body is nothing but framing")

    def _feed(self, data: bytes) -> None:
        incoming = self._incoming
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            incoming.complete = True
            self.closing = True
            self.behind = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self.closing = True
            if not incoming.complete:
                raise BadMessage(400, f"the request is not valid HTTP ({error})") from None

    def drain(self) -> None:
        """Reads on past a body that nobody wants; where the limits do not reach, the connection will end."""
        if self._incoming.complete:
            return
        if self._continue:
            self.closing = True  # the client still waits for leave to send: it will not send
            return
        limits = self.limits
        until = time.monotonic() + limits.drain_seconds
        size = 0
        try:
            for piece in self.body():
                size += len(piece)
                if size > limits.drain or time.monotonic() > until:
                    self.closing = True
                    return
        except BadMessage:
            self.closing = True

    # Noticing that the client goes away.

    def watch(self) -> None:
        """From now on ClientGone is thrown into the current greenlet when Kong closes the connection."""
        if not self._incoming.complete:
            return
        self._greenlet = getcurrent()
        self._surplus = 0
        self.connection.watch(self._something_came)

    def unwatch(self) -> None:
        """Idempotent."""
        self.connection.unwatch()
        self._greenlet = None

    def _something_came(self) -> None:
        data = self.connection.recv_now(4096)
        if data is None:
            return
        if data:
            # A next request before this one is answered: the connection ends after the answer. It is taken
            # off the socket, as the end of the connection would else not be seen behind it.
            self.closing = True
            self._surplus += len(data)
            if self._surplus <= _SURPLUS:
                return
        greenlet = self._greenlet
        self.unwatch()
        if greenlet is not None:
            greenlet.throw(ClientGone())

    # Answering.

    def respond(self, response: ClientResponse) -> None:
        """A whole answer. Raises ClientGone."""
        status = response.status
        lines = _head_lines(status, response.headers)
        if status >= 200 and status not in (204, 304):
            lines.append(f"content-length: {len(response.body)}")
        if self.closing or self._http10:
            self.closing = True
            lines.append("connection: close")
        self.answered = True
        head = _join(lines)
        body = b"" if self._method == "HEAD" or status in (204, 304) else response.body
        # Head and body in one send; of a large body its beginning, as joining costs more than a second call.
        self.send(head + body[:_RECV])
        self.head_sent = True
        if len(body) > _RECV:
            self.send(memoryview(body)[_RECV:])

    def stream_head(self, status: int, headers: Headers) -> bytes:
        """The head of an answer of unknown length, to be sent with its first bytes."""
        lines = _head_lines(status, headers)
        if not self._http10:
            lines.append("transfer-encoding: chunked")
        if self.closing or self._http10:
            self.closing = True
            lines.append("connection: close")
        self.answered = True
        return _join(lines)

    @property
    def chunked(self) -> bool:
        """Streamed answers are framed in chunks; HTTP/1.0 has them bare, up to the connection's end."""
        return not self._http10

    def send(self, data: bytes | memoryview) -> None:
        """Waits until the kernel took all of it. Raises ClientGone."""
        try:
            self.connection.send(data, self.limits.send_seconds)
        except (TimedOut, ConnectionBroken):
            raise ClientGone from None

    def linger(self) -> None:
        """Before closing with unread bytes: lets the peer read the answer, which a reset would take away."""
        self.connection.shutdown_write()
        until = time.monotonic() + self.limits.linger_seconds
        try:
            while time.monotonic() < until and self.connection.recv(_RECV, 0.5):
                pass
        except (TimedOut, ConnectionBroken):
            pass


def _length(headers: Headers) -> int:
    try:
        return int(headers.get("content-length") or 0)
    except ValueError:  # digits that the parser takes, but thousands of them
        raise BadMessage(400, "the request's content-length is none") from None


def _head_lines(status: int, headers: Headers) -> list[str]:
    """The status line, and the headers but for those that say how the answer is framed."""
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items() if name not in _FRAMING]
    return lines


def _join(lines: list[str]) -> bytes:
    if ends_a_head("".join(lines)):
        # A header value that would end the head: it is left out, whoever let it in.
        lines = [line for line in lines if not ends_a_head(line)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "replace")

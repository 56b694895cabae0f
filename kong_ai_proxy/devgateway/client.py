"""The client's side: HTTP/1.1 requests off a connection, answers onto it."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import IO

import httptools
from gevent import socket

from .headers import Headers

BODY_BUFFER = 8192
"""nginx's `client_body_buffer_size` in Kong: a larger body goes to disk."""
_IN_MEMORY = 1 << 20
_READ = 65536


class ClientGone(Exception):
    """The client closed its connection."""


@dataclass(slots=True)
class _Message:
    url: bytes = b""
    method: str = ""
    version: str = "1.1"
    headers: list[tuple[str, str]] = field(default_factory=list)
    chunks: deque[bytes] = field(default_factory=deque)
    ready: bool = False
    complete: bool = False
    keep_alive: bool = True


class ClientConnection:
    """One client connection; requests may be pipelined."""

    def __init__(self, sock: socket.socket, address: tuple[str, int]) -> None:
        self.socket = sock
        self.address = address
        self._messages: deque[_Message] = deque()
        self._parser = httptools.HttpRequestParser(self)
        self._fields: list[tuple[str, str]] = []
        self._ended = False
        self.upgraded = b""
        """What came after the head of a request for an upgrade."""
        self._upgrading = False

    # httptools' callbacks
    def on_message_begin(self) -> None:
        self._messages.append(_Message())

    def on_url(self, url: bytes) -> None:
        self._messages[-1].url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._messages[-1].headers.append((name.decode("latin-1"), value.decode("latin-1").strip()))

    def on_headers_complete(self) -> None:
        message = self._messages[-1]
        message.method = self._parser.get_method().decode()
        message.version = self._parser.get_http_version()
        message.keep_alive = self._parser.should_keep_alive()
        message.ready = True

    def on_body(self, data: bytes) -> None:
        self._messages[-1].chunks.append(data)

    def on_message_complete(self) -> None:
        self._messages[-1].complete = True

    def _more(self) -> bool:
        if self._ended or self._upgrading:
            return False
        data = self.socket.recv(_READ)
        if not data:
            self._ended = True
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self.upgraded = data[upgrade.args[0] :]
            self._upgrading = True
        return True

    def next(self) -> ClientRequest | None:
        """The next request's head; None when the client is done.

        Raises HttpParserError for what is not HTTP.
        """
        while not (self._messages and self._messages[0].ready):
            if not self._more():
                return None
        return ClientRequest(self, self._messages[0])

    def done(self) -> bool:
        """Forget the request that was answered; True if another may follow."""
        message = self._messages[0]
        if not message.complete or self._upgrading or not message.keep_alive:
            return False
        self._messages.popleft()
        return True

    @property
    def pipelined(self) -> bool:
        return len(self._messages) > 1


class ClientRequest:
    """A request; its body is read when somebody asks for it."""

    def __init__(self, connection: ClientConnection, message: _Message) -> None:
        self.connection = connection
        self._message = message
        self.method = message.method
        self.version = message.version
        self.raw_uri = message.url.decode("latin-1")
        self.headers = Headers(message.headers)
        self.length = len(message.url) + sum(len(n) + len(v) + 4 for n, v in message.headers) + 20
        """Bytes received so far, about."""
        self._body: IO[bytes] | None = None
        self._spooled = False
        self._size = 0

    @property
    def complete(self) -> bool:
        return self._message.complete

    def body_chunks(self) -> Iterator[bytes]:
        """The body as it comes; afterwards `read_body` has nothing."""
        self._continue()
        while True:
            while self._message.chunks:
                chunk = self._message.chunks.popleft()
                self.length += len(chunk)
                yield chunk
            if self._message.complete:
                return
            if not self.connection._more():
                raise ClientGone

    def read_body(self) -> None:
        """Take the whole body, as nginx does before it proxies. Raises ClientGone."""
        if self._body is not None:
            return
        body: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
        try:
            for chunk in self.body_chunks():
                body.write(chunk)
                self._size += len(chunk)
        except BaseException:
            body.close()
            raise
        self._body = body
        self._spooled = self._size > BODY_BUFFER

    def replace_body(self, data: bytes) -> None:
        """`ngx.req.set_body_data`: the new body stays in memory."""
        self.read_body()
        assert self._body is not None
        self._body.seek(0)
        self._body.truncate()
        self._body.write(data)
        self._size, self._spooled = len(data), False
        self.headers.set("Content-Length", str(len(data)))
        self.headers.remove("Transfer-Encoding")

    @property
    def body_size(self) -> int:
        """Bytes; after `read_body`."""
        return self._size

    @property
    def spooled(self) -> bool:
        """Whether nginx would have the body on disk."""
        return self._spooled

    def body(self) -> bytes:
        self.read_body()
        assert self._body is not None
        self._body.seek(0)
        return self._body.read()

    def body_blocks(self, size: int = _READ) -> Iterator[bytes]:
        """The read body again, for proxying; any number of times."""
        self.read_body()
        assert self._body is not None
        self._body.seek(0)
        while block := self._body.read(size):
            yield block

    def discard(self) -> None:
        """Read and drop what is left of a small body, so that the connection can be used again."""
        if self._body is None and not self._message.complete:
            try:
                for _ in self.body_chunks():
                    if self.length > _IN_MEMORY:
                        return
            except (ClientGone, OSError):
                return

    def close(self) -> None:
        if self._body is not None:
            self._body.close()

    def _continue(self) -> None:
        if not self._message.complete and (self.headers.get("expect") or "").lower() == "100-continue":
            self.headers.remove("expect")
            self.connection.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


class ClientWriter:
    """One answer. Raises OSError when the client is gone."""

    def __init__(self, request: ClientRequest) -> None:
        self._request = request
        self._socket = request.connection.socket
        self.chunked = False
        self.sent = 0
        """Bytes sent, head included."""
        self.keep_alive = request._message.keep_alive
        self.started = False
        self._bodyless = request.method == "HEAD"

    def head(self, status: int, headers: Headers, first: bytes = b"") -> None:
        """Send the head, and the first bytes of the body with it."""
        self.started = True
        self._bodyless = self._bodyless or status in (204, 304) or 100 <= status < 200
        lines = [f"HTTP/1.1 {status} {_reason(status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if status == 101:
            lines.append("Connection: upgrade")
        else:
            if "content-length" not in headers and not self._bodyless:
                if self._request.version == "1.0":
                    self.keep_alive = False
                else:
                    self.chunked = True
                    lines.append("Transfer-Encoding: chunked")
            lines.append(f"Connection: {'keep-alive' if self.keep_alive else 'close'}")
        self._write("\r\n".join([*lines, "", ""]).encode("latin-1", "surrogateescape") + self._framed(first))

    def body(self, data: bytes) -> None:
        framed = self._framed(data)
        if framed:
            self._write(framed)

    def end(self) -> None:
        if self.chunked and not self._bodyless:
            self._write(b"0\r\n\r\n")

    def _framed(self, data: bytes) -> bytes:
        if not data or self._bodyless:
            return b""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data

    def _write(self, data: bytes) -> None:
        self._socket.sendall(data)
        self.sent += len(data)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""

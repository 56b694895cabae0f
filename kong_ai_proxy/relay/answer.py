"""A provider's answer, read from a connection as it arrives."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import httptools

from ..core.http import Headers
from ..exchange.exchange import FailureKind
from .connection import Connection, ConnectionBroken, TimedOut
from .headers import merged
from .inflate import BadEncoding, Inflate, inflater

Key: TypeAlias = tuple[bool, str, int]
"""What a kept-alive connection can be used for: TLS, host, port."""

SWITCHED: Final = "the provider changed the protocol without being asked"
_FRAMING_MAX: Final = 256 * 1024
"""Bytes of a chunk's extensions, or of trailers."""
_RECV: Final = 32 * 1024
"""A piece of a stream stands in memory up to four times: read, unframed, translated, framed."""


class UpstreamFailure(Exception):
    """The provider gave no answer, or not all of one. `kind` is the word `failover_criteria` has for it; the
    text is fit for a log and for the client: it names neither address nor credential."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(detail)
        self.kind: FailureKind = kind


class Channel:
    """A connection with its response parser, as the pool keeps them."""

    __slots__ = ("born", "connection", "idle_max", "idle_since", "key", "parser", "reading", "used")

    def __init__(self, key: Key, connection: Connection) -> None:
        self.key = key
        self.connection = connection
        self.reading = Reading()
        self.parser = self.reading.parser = httptools.HttpResponseParser(self.reading)
        self.used = False
        self.idle_max = math.inf
        """Seconds for which it is of use to keep it idle."""
        self.born = self.idle_since = time.monotonic()

    def feed_head(self, data: bytes) -> None:
        """What came before the answer's head was complete. Raises UpstreamFailure."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise UpstreamFailure("invalid_header", SWITCHED) from None
        except httptools.HttpParserError as error:
            if not self.reading.status:
                raise UpstreamFailure("invalid_header", f"the answer is not HTTP ({error})") from None
            if not self.reading.complete:
                raise UpstreamFailure("error", f"the answer's framing is broken ({error})") from None
            self.reading.extra = True


class Reading:
    """What the parser has seen of the current answer."""

    __slots__ = (
        "_fields", "complete", "extra", "headers", "keep_alive", "parser", "pieces", "status",
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
        self.headers = merged(self._fields)
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
        "_channel", "_give_back", "_inflate", "_pieces", "_read_timeout", "_until_close", "headers", "status",
    )  # fmt: skip

    def __init__(
        self, channel: Channel, give_back: Callable[[Channel], None], method: str, read_timeout: float
    ) -> None:
        """`give_back` is told when the whole answer is here. Raises UpstreamFailure for a framing or an
        encoding that is not known."""
        reading = channel.reading
        self._give_back = give_back
        self._channel: Channel | None = channel
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
        framing = 0
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
            framing += len(data)
            if framing > _FRAMING_MAX and not reading.pieces:
                self.close()
                raise UpstreamFailure("error", "the answer's framing is broken (there is nothing else)")
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
        self._give_back(channel)

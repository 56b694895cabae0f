"""How the log record of an exchange gets to Kong: on the answer's head, in a stream's comments, through the
ticket store, or, where there is no way, as a line of the plugin server's log (docs/architecture.md)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from ..accounting.encoding import HEADER_LIMIT, STREAM_LIMIT
from ..core.http import Headers
from ..core.json import Json
from ..exchange.exchange import Exchange
from ..exchange.tickets import Ticket
from ..exchange.translation import StreamTranslation
from ..log import get_logger
from .parts import Parts

USAGE_HEADER: Final = "x-kong-ai-usage"
"""On the answer to Kong, where the usage filter takes it out: the record; or `stream` and what is known so
far, `;padded` where comments in it are (see `padded`)."""
_SOONEST: Final = 0.2
_LATEST: Final = 1.0
_SHARE: Final = 0.2
"""When Kong is told how far a stream has come, for the log of a client that leaves: seconds, and the share of
the time it has run. So what is logged falls short by a second's output, or a fifth of it all, at most."""
_SURELY_READ: Final = 0.25
"""Seconds after which Kong has read a stream's head, if it does at all."""
_PAD: Final = b";" + b"-" * 10240
"""A chunk extension of the length that schema/usage-filter.lua expects (PAD)."""
_EVENTS: Final = ("text/event-stream", "application/vnd.amazon.eventstream", "application/json")
"""Streams of events, frames or elements. Any other answer (sound, files) goes untouched."""

log = get_logger("relay")


class Telling:
    """The record of one exchange on its way to Kong."""

    __slots__ = (
        "_exchange", "_left_with_kong", "_parts", "_record", "_ticket", "_token", "_told", "delivered",
    )  # fmt: skip

    def __init__(self, parts: Parts, ticket: Ticket, token: str, exchange: Exchange) -> None:
        self._parts = parts
        self._ticket = ticket
        self._token = token
        self._exchange = exchange
        self._record: Json | None = None
        self._told: Json | None = None
        """What Kong was told with the head of an answer that nothing can follow."""
        self._left_with_kong = math.inf
        """When Kong was told what to log should the client leave."""
        self.delivered = False
        """The record is where it belongs; or there is none."""

    # A whole answer.

    def with_answer(self, headers: Headers) -> None:
        """Puts the record on the head of a whole answer, where Kong can take it from there."""
        record = self._note()
        self.delivered = True
        if record is None:
            return
        if self._ticket.buffered:
            self._parts.tickets.settle(self._token, record)
        elif self._ticket.filter_installed:
            headers[USAGE_HEADER] = self._parts.encode(record, HEADER_LIMIT)
            self.delivered = False
        else:
            self._parts.log_usage(record)

    # A stream.

    def in_band(self, stream: StreamTranslation) -> bool:
        """The record can stand in the stream: the filter takes it out, whatever stands around it."""
        return self._ticket.filter_installed and stream.content_type.startswith(_EVENTS)

    def with_head(self, stream: StreamTranslation, headers: Headers, *, chunked: bool) -> None:
        """Puts on the head of a stream what is known by then."""
        if self.in_band(stream):
            headers[USAGE_HEADER] = "stream;padded" if chunked else "stream"
            record = self._made(self._exchange.record_if_left)
            if record is not None:
                headers[USAGE_HEADER] += " " + self._parts.encode(record, HEADER_LIMIT)
                self._left_with_kong = time.monotonic()
        elif not self._ticket.buffered and self._ticket.filter_installed and stream.binary:
            # Nothing can follow the answer, so what is known goes with its head.
            self._told = self._made(self._exchange.record_so_far)
            if self._told is not None:
                headers[USAGE_HEADER] = self._parts.encode(self._told, HEADER_LIMIT)

    def change(self) -> bytes:
        """A comment that tells Kong how far a stream has come; empty where there is nothing to tell."""
        record = self._made(self._exchange.record_if_left)
        if record is None:
            return b""
        # What has gone with the head need not be told again.
        change: Json = {name: record[name] for name in ("meta", "usage") if name in record}
        return self._comment("+" + self._parts.encode(change, STREAM_LIMIT))

    def at_end(self, stream: StreamTranslation) -> bytes:
        """The comment that follows a stream's last event; empty where the record goes another way."""
        record = self._note()
        if record is None:
            return b""
        if self.in_band(stream):
            return self._comment(self._parts.encode(record, STREAM_LIMIT))
        if self._ticket.buffered:
            self._parts.tickets.settle(self._token, record)
        elif self._told is None or "usage" in record:
            self._parts.log_usage(record)
        self.delivered = True
        return b""

    # Nobody there.

    def broken_off(self) -> None:
        """Nobody is there to take the record but Kong, where it was left before, or the log."""
        if self.delivered or time.monotonic() - self._left_with_kong > _SURELY_READ:
            return
        self.delivered = True
        record = self._record or self._note()
        if record is None:
            return
        if self._ticket.buffered:
            self._parts.tickets.settle(self._token, record)
        else:
            self._parts.log_usage(record)

    def _comment(self, text: str) -> bytes:
        return f": kong-ai-usage {self._token} {text}\n\n".encode()

    def _note(self) -> Json | None:
        record = self._made(self._exchange.record)
        if record is not None:
            self._record = record
        return self._record

    @staticmethod
    def _made(make: Callable[[], Json | None]) -> Json | None:
        """A record. A mistake in making it must not cost the client its answer."""
        try:
            return make()
        except Exception:
            log.exception("no log record could be made")
            return None


def next_change(began: float, now: float) -> float:
    """When Kong is to be told again how far a stream has come that began then."""
    return now + min(_LATEST, max(_SOONEST, _SHARE * (now - began)))


def framed(data: bytes) -> bytes:
    """A chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def padded(data: bytes) -> bytes:
    """A chunk with bytes before it that are no data. The usage filter knows by the number of bytes that come
    where a comment may be, and need not look into every chunk for it."""
    return b"%x%b\r\n%b\r\n" % (len(data), _PAD, data)

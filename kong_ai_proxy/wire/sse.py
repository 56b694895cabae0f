"""Server-sent events without I/O: an incremental decoder, an event-aligned buffer, an event's encoding.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation.
Two deviations. An event that the end of the stream cuts off before its empty line is still given out by
`finish`, because providers end streams that way; whoever reads it must judge whether it is whole. And an
object that stands there bare, without `data:`, is an event too: so Google says that its stream failed
(https://github.com/googleapis/python-genai, `_api_client.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_FRAME = 16 * 1024 * 1024
"""Bytes one event may have unless said otherwise: above any real one, images in base64 included."""

DONE = b"data: [DONE]\n\n"
"""How OpenAI's streams say that they are complete."""

_BOM = b"\xef\xbb\xbf"
_LF = 10


class Event(NamedTuple):
    """One event that carries data."""

    event: str | None
    """The `event:` field; None where there was none (the standard's "message")."""
    data: bytes
    """The `data:` lines, joined with LF."""
    id: str | None = None


class FrameTooLarge(ValueError):
    """An event is larger than the limit. What came before it in the same `feed` is good: `events` of the
    decoder, `block` of the buffer."""

    def __init__(self, limit: int, events: list[Event] | None = None, block: bytes = b"") -> None:
        super().__init__(f"an event of the provider's stream exceeds {limit} bytes")
        self.limit = limit
        self.events = events or []
        self.block = block


class SSEDecoder:
    """Bytes in, events out; the same events however the bytes are split."""

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._held: list[bytes] = []
        self._held_size = 0
        self._after_cr = False
        self._start = True

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises FrameTooLarge; the decoder is of no use after that."""
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        if not data:
            return []
        held = self._held
        if held:
            if b"\n\n" not in data and not (data[0] == _LF and held[-1][-1] == _LF):
                self._hold(data, [])
                return []
            held.append(data)
            data = b"".join(held)
            held.clear()
            self._held_size = 0
        elif _is_one_line_event(data) and len(data) <= self._max:
            self._start = False
            return [Event(None, data[6:-2])]
        end = data.rfind(b"\n\n")
        if end < 0:
            self._hold(data, [])
            return []
        events = self._events(data[:end])
        if end + 2 < len(data):
            self._hold(data[end + 2 :], events)
        return events

    def finish(self) -> list[Event]:
        """The stream has ended: the event that no empty line closed, if any."""
        rest = b"".join(self._held).removesuffix(b"\n")
        self._held.clear()
        self._held_size = 0
        return self._events(rest) if rest else []

    def _events(self, block: bytes) -> list[Event]:
        if self._start:
            self._start = False
            block = block.removeprefix(_BOM)
        events: list[Event] = []
        check = len(block) > self._max
        for frame in block.split(b"\n\n"):
            if check and len(frame.strip(b"\n")) > self._max:
                raise FrameTooLarge(self._max, events)
            if frame.startswith(b"data: ") and b"\n" not in frame:
                events.append(Event(None, frame[6:]))
            elif frame and (event := _parse(frame)) is not None:
                events.append(event)
        return events

    def _hold(self, data: bytes, events: list[Event]) -> None:
        if not self._held and data[0] == _LF:
            self._start = False
            data = data.lstrip(b"\n")
            if not data:
                return
        self._held.append(data)
        self._held_size += len(data)
        # An LF that ends the last line does not count, as it does not in a frame that comes whole.
        if self._held_size > self._max + (data[-1] == _LF):
            raise FrameTooLarge(self._max, events)

    def _with_lf(self, data: bytes) -> bytes:
        """CRLF and CR become LF. A CR at the end counts at once; an LF that then follows belongs to it."""
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            self._after_cr = False
            if not data:
                return data
        if data:
            self._after_cr = data[-1] == 13
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


class AlignedBuffer:
    """Lets a stream through unchanged, but only whole events at a time.

    For streams that pass from provider to client as they are: what comes out can be searched and, where it
    must be, edited event by event (`frames`) without an event ever being cut in two.
    """

    def __init__(self, max_frame: int = MAX_FRAME) -> None:
        self._max = max_frame
        self._held: list[bytes] = []
        self._held_size = 0

    def feed(self, data: bytes) -> bytes:
        """All that is complete, byte for byte. Raises FrameTooLarge."""
        held = self._held
        if not held:
            # Nearly always a read ends where an event does.
            if data.endswith(b"\n\n"):
                return data
        elif data:
            last = held[-1][-1:] + data[:1]
            if _boundary(data) < 0 and last not in _DOUBLE:
                self._hold(data)
                return b""
            held.append(data)
            data = b"".join(held)
            held.clear()
            self._held_size = 0
        end = _boundary(data)
        if end < 0:
            if data:
                self._hold(data)
            return b""
        if end < len(data):
            self._hold(data[end:], data[:end])
        return data[:end]

    def finish(self) -> bytes:
        """What was held back: an event that no empty line closed."""
        rest = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
        return rest

    def _hold(self, data: bytes, before: bytes = b"") -> None:
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > self._max:
            raise FrameTooLarge(self._max, block=before)


# Two line ends in a row contain one of these pairs; CR LF, one line end, is not among them.
_DOUBLE = (b"\n\n", b"\n\r", b"\r\r")
_TWO_ENDS = re.compile(rb"\n\n|\n\r\n?|\r\r\n?")


def _boundary(data: bytes) -> int:
    """Where the last complete event ends; -1 where none does."""
    end = data.rfind(b"\n\n")
    if b"\r" in data:
        end = max(end, data.rfind(b"\n\r"), data.rfind(b"\r\r"))
        if end >= 0 and data[end + 1] == 13 and data[end + 2 : end + 3] == b"\n":
            end += 1
    return end + 2 if end >= 0 else -1


def frames(block: bytes) -> Iterator[tuple[bytes, Event | None]]:
    """The frames of what `AlignedBuffer` gave out: the bytes as they came, and the event if there is one."""
    start = 0
    size = len(block)
    mixed = b"\r" in block
    while start < size:
        if mixed:
            end = _first_boundary(block, start)
        else:
            end = block.find(b"\n\n", start)
            end = size if end < 0 else end + 2
        raw = block[start:end]
        yield raw, parse_frame(raw)
        start = end


def parse_frame(frame: bytes) -> Event | None:
    """One frame, with or without its closing empty line, with any line ends; None if it carries no data."""
    if _is_one_line_event(frame):
        return Event(None, frame[6:-2])
    if b"\r" in frame:
        frame = frame.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _parse(frame.removeprefix(_BOM))


def encode(data: bytes, event: str | None = None) -> bytes:
    """One event. JSON has no line ends, so `data` is nearly always one line."""
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    if event is None:
        return b"data: %b\n\n" % data
    return b"event: %b\ndata: %b\n\n" % (event.encode(), data)


def _first_boundary(block: bytes, start: int) -> int:
    found = _TWO_ENDS.search(block, start)
    return found.end() if found else len(block)


def _is_one_line_event(data: bytes) -> bool:
    """One `data: …` line and the empty one after it: nearly every event of every stream."""
    end = len(data) - 2
    return data.startswith(b"data: ") and data.find(b"\n") == end and data[-1] == _LF and data[end - 1] != 13


def _parse(frame: bytes) -> Event | None:
    """A frame with LF line ends."""
    name: str | None = None
    identity: str | None = None
    data: list[bytes] = []
    for line in frame.split(b"\n"):
        field, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            identity = value.decode("utf-8", "replace")
    if not data:
        bare = frame.strip()
        is_object = bare.startswith(b"{") and bare.endswith(b"}")
        return Event(name, bare, identity) if is_object else None
    return Event(name, b"\n".join(data) if len(data) > 1 else data[0], identity)

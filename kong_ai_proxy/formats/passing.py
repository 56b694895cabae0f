"""Answers of native APIs that pass through: what reads their streams and bodies on the way.

The bytes go on as they came. A reader holds back no more than the event or frame that is not whole yet, so
that what has to be said after a cut (an error, the usage record) begins where an event could.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core.call import Call
from ..core.errors import ApiError
from ..core.json import Json, loads_lenient
from ..wire.eventstream import BadFrame, EventStreamDecoder, Frame
from ..wire.jsonarray import ElementTooLarge, JSONArrayDecoder
from ..wire.ndjson import LineTooLarge, NDJSONDecoder
from ..wire.sse import AlignedBuffer, FrameTooLarge, frames
from .base import StreamObserver
from .pivot import decoded, json_object


class Reader:
    """Notes on the call what an API's answers say. Subclasses override what their API has."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.failed: ApiError | None = None
        """Set by whoever reads the error that ends a stream."""

    def whole(self, body: Any) -> None:
        """A whole 2xx answer's JSON."""

    def event(self, body: Any) -> None:
        """One event's, element's or frame's JSON."""

    def frame(self, frame: Frame) -> None:
        """One AWS frame; by default its JSON payload is an event."""
        self.event(decoded(frame.payload))

    def end(self) -> None:
        """The stream is over, complete or not: the call's usage is to be set now."""

    @property
    def complete(self) -> bool:
        """Whether the answer ended as the API says it must; True where it says nothing about that."""
        return True


class PassingObserver:
    """See `formats.base.Observer`. Bodies go on as they are; `make` makes the reader of one answer."""

    def __init__(self, make: Callable[[Call], Reader]) -> None:
        self._make = make

    def request(self, body: bytes, parsed: Json, call: Call) -> bytes:
        return body

    def response(self, body: bytes, call: Call) -> bytes:
        try:
            parsed = loads_lenient(body)
        except ValueError:
            return body
        self._make(call).whole(parsed)
        return body

    def stream(self, call: Call) -> StreamObserver:
        return PassedEvents(self._make(call))

    def array(self, call: Call) -> StreamObserver:
        """For a stream that is one JSON array."""
        return PassedArray(self._make(call))

    def lines(self, call: Call) -> StreamObserver:
        """For a stream of JSON lines."""
        return PassedLines(self._make(call))

    def reader(self, call: Call) -> Reader:
        """What reads one answer."""
        return self._make(call)

    def frames(self, call: Call) -> StreamObserver:
        """For a stream of AWS frames."""
        return PassedFrames(self._make(call))


class _Passed:
    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.failed: ApiError | None = None

    @property
    def complete(self) -> bool:
        return self.failed is None and self._reader.complete

    def _see_failure(self) -> None:
        self.failed = self._reader.failed
        if self.failed is not None:
            self._reader.end()

    def _broken(self, message: str, code: str) -> ApiError:
        """Why nothing can be read any more; whoever passes the stream on ends it with this error."""
        self._reader.end()
        return ApiError(502, message, code=code)


class PassedEvents(_Passed):
    """Server-sent events."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._buffer = AlignedBuffer(reader.call.max_frame)
        self._too_large: FrameTooLarge | None = None
        self._begun = False
        self._whole = False
        """There were no events, but one whole answer, from who does not stream."""

    @property
    def complete(self) -> bool:
        return super().complete or (self._whole and self.failed is None)

    def feed(self, data: bytes) -> bytes:
        """See `StreamObserver`. What follows an error is not sent on."""
        if self.failed is not None:
            return b""
        self._refuse()
        try:
            block = self._buffer.feed(data)
        except FrameTooLarge as error:
            block, self._too_large = error.block, error
            if not block:
                self._refuse()
        return self._pass(block) if block else b""

    def finish(self) -> bytes:
        self._refuse()
        rest = b""
        if self.failed is None and (rest := self._buffer.finish()).strip():
            whole = None if self._begun else json_object(rest.decode("utf-8", "replace"))
            if whole is not None and not whole.get("error"):
                self._whole = True
                self._reader.whole(whole)
            else:
                # An event that no empty line closed.
                self._pass(rest)
        self._reader.end()
        return rest

    def _refuse(self) -> None:
        """Raise what an event too large left to say, once what came before it has gone on."""
        if self._too_large is not None and self.failed is None:
            raise self._broken(str(self._too_large), "upstream_event_too_large")

    def _pass(self, block: bytes) -> bytes:
        self._begun = True
        for _, event in frames(block):
            if event is None:
                continue
            try:
                parsed = loads_lenient(event.data)
            except ValueError:
                continue
            self._reader.event(parsed)
        self._see_failure()
        return block


class PassedLines(_Passed):
    """One JSON object a line."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._lines = NDJSONDecoder(reader.call.max_frame)

    def feed(self, data: bytes) -> bytes:
        try:
            self._read(self._lines.feed(data))
        except LineTooLarge as error:
            self._read(error.lines)
            raise self._broken(str(error), "upstream_event_too_large") from None
        self._see_failure()
        return data

    def finish(self) -> bytes:
        self._read(self._lines.finish())
        self._reader.end()
        return b""

    def _read(self, lines: list[bytes]) -> None:
        for line in lines:
            try:
                self._reader.event(loads_lenient(line))
            except ValueError:
                continue


class ResultLines:
    """Reads a file of results on its way, JSON in lines. What cannot be read does not hold up the file: it is
    just not counted. A file with a line of another kind is not read on.

    `marks`: what every line holds.
    """

    def __init__(self, reader: Reader, marks: tuple[bytes, ...] = ()) -> None:
        self._reader = reader
        self._marks = marks
        self._lines: NDJSONDecoder | None = NDJSONDecoder(reader.call.max_frame)

    def feed(self, data: bytes) -> None:
        if self._lines is not None:
            try:
                self._take(self._lines.feed(data))
            except LineTooLarge as error:
                self._take(error.lines)
                self._lines = None

    def finish(self) -> None:
        if self._lines is not None:
            self._take(self._lines.finish())
            self._lines = None
        self._reader.end()

    def _take(self, lines: list[bytes]) -> None:
        for line in lines:
            if not line.startswith(b"{") or not all(mark in line for mark in self._marks):
                self._lines = None
                return
            try:
                parsed = loads_lenient(line)
            except ValueError:
                continue
            self._reader.event(parsed)


class PassedArray(_Passed):
    """One JSON array, its elements given on as they arrive."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._array = JSONArrayDecoder(reader.call.max_frame)

    @property
    def complete(self) -> bool:
        return super().complete and self._array.complete

    def feed(self, data: bytes) -> bytes:
        try:
            self._read(self._array.feed(data))
        except ElementTooLarge as error:
            self._read(error.elements)
            raise self._broken(str(error), "upstream_event_too_large") from None
        # An error closes the array like any other element: the rest of the bytes is needed to read it.
        return data

    def finish(self) -> bytes:
        self._reader.end()
        self.failed = self._reader.failed
        return b""

    def _read(self, elements: list[bytes]) -> None:
        for element in elements:
            try:
                self._reader.event(loads_lenient(element))
            except ValueError:
                continue


class PassedFrames(_Passed):
    """AWS's event stream."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._decoder = EventStreamDecoder(reader.call.max_frame)
        self._held = b""

    @property
    def complete(self) -> bool:
        return super().complete and not self._held

    def feed(self, data: bytes) -> bytes:
        if self.failed is not None:
            return b""
        try:
            found = self._decoder.feed(data)
        except BadFrame as error:
            for frame in error.frames:
                self._reader.frame(frame)
            raise self._broken(str(error), "upstream_invalid_stream") from None
        for frame in found:
            self._reader.frame(frame)
        self._see_failure()
        data = self._held + data if self._held else data
        size = len(data) - self._decoder.pending
        self._held = data[size:]
        return data[:size]

    def finish(self) -> bytes:
        self._reader.end()
        return b""

"""What stream decoders have in common: frames in, JSON out, and an end that is either good or an error."""

from __future__ import annotations

from typing import Any, ClassVar

from ..core.call import Call
from ..core.errors import ApiError
from ..core.json import Json, JSONEvents
from ..core.usage import UsageSource
from ..wire.ndjson import LineTooLarge, NDJSONDecoder
from ..wire.sse import FrameTooLarge, SSEDecoder
from .base import StreamItem
from .pivot import Chunks, not_an_answer, obj, truncated


class JSONStream:
    """A decoder for streams whose every frame is a JSON object. Subclasses say what an object means (`take`).

    `ended` is set by whoever sees the end of the answer; nothing is read after it.
    """

    provider: ClassVar[str]
    """Its name in messages."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.chunks = Chunks(call)
        self.ended = False
        self._events = JSONEvents()

    def take(self, body: Json, made: list[StreamItem]) -> None:
        """One frame's object."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[StreamItem]:
        """See `StreamDecoder`."""
        made: list[StreamItem] = []
        if self.ended:
            return made
        try:
            frames = self._frames(data)
        except (FrameTooLarge, LineTooLarge) as error:
            before = (
                error.lines if isinstance(error, LineTooLarge) else [event.data for event in error.events]
            )
            self._take_all(before, made)
            self.fail(ApiError(502, str(error), code="upstream_frame_too_large"), made)
            return made
        self._take_all(frames, made)
        return made

    def finish(self) -> list[StreamItem]:
        """See `StreamDecoder`."""
        made: list[StreamItem] = []
        if not self.ended:
            # What the end cut off in the middle is no answer that cannot be understood.
            self._take_all(self._rest(), made, truncated())
            self.close(made)
        return made

    def close(self, made: list[StreamItem]) -> None:
        """The stream is over and its end has not been seen."""
        self.fail(truncated(), made)

    def fail(self, error: ApiError, made: list[StreamItem]) -> None:
        """End with an error, unless it has ended already."""
        if not self.ended:
            self.ended = True
            made.append(error)

    def complete(self, last: Json, reason: str, made: list[StreamItem]) -> None:
        """End well: the last delta of the one choice with its finish reason, then usage if there is any."""
        if self.ended:
            return
        self.ended = True
        self.call.finish_reasons = [reason]
        made.append(self.chunks.delta(0, last, reason))
        if self.call.usage.source is not UsageSource.NONE:
            made.append(self.chunks.usage(self.call.usage))

    def _frames(self, data: bytes) -> list[bytes]:
        raise NotImplementedError

    def _rest(self) -> list[bytes]:
        raise NotImplementedError

    def _take_all(
        self, frames: list[bytes], made: list[StreamItem], unreadable: ApiError | None = None
    ) -> None:
        for frame in frames:
            if self.ended:
                return
            if frame == b"[DONE]":
                continue
            try:
                body: Any = self._events.loads(frame)
            except ValueError:
                self.fail(unreadable or not_an_answer(self.provider), made)
                return
            self.take(obj(body), made)


class SSEStream(JSONStream):
    """Server-sent events. `[DONE]` is passed over: these providers say in another way that they are done."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._decoder = SSEDecoder(call.max_frame)

    def _frames(self, data: bytes) -> list[bytes]:
        return [event.data for event in self._decoder.feed(data)]

    def _rest(self) -> list[bytes]:
        return [event.data for event in self._decoder.finish()]


class NDJSONStream(JSONStream):
    """One JSON object a line."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._decoder = NDJSONDecoder(call.max_frame)

    def _frames(self, data: bytes) -> list[bytes]:
        return self._decoder.feed(data)

    def _rest(self) -> list[bytes]:
        return self._decoder.finish()

"""Claude behind InvokeModel: Anthropic's Messages, its stream wrapped in AWS frames.

For clients that speak Messages themselves, so that nothing of theirs is lost on the way through Converse.
Each frame's payload is `{"bytes": base64 of one Messages event}`. Source: recordings bedrock/invoke-stream,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json, JSONEvents, dumps
from ...wire.eventstream import BadFrame, EventStreamDecoder, Frame
from ...wire.sse import encode
from ..anthropic.errors import write_error
from ..anthropic.flavor import BEDROCK
from ..anthropic.observer import MessagesObserver, MessagesReader
from ..anthropic.request import build_request
from ..anthropic.response import read_answer
from ..anthropic.stream import MessagesEvents
from ..base import StreamDecoder, StreamItem, StreamObserver
from ..pivot import decoded, obj, text
from .errors import read_error, read_frame_error


class InvokeMessagesAdapter:
    """Messages over InvokeModel and InvokeModelWithResponseStream."""

    format = "anthropic"

    def request(self, body: Json, call: Call) -> Json:
        return build_request(body, call, BEDROCK)

    def response(self, body: Json, call: Call) -> Json:
        return read_answer(body, call)

    def stream(self, call: Call) -> StreamDecoder:
        return InvokeMessagesDecoder(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body, call)


class InvokeMessagesDecoder:
    """See `formats.base.StreamDecoder`."""

    def __init__(self, call: Call) -> None:
        self._frames = _EventFrames(call.max_frame)
        self._events = MessagesEvents(call)

    def feed(self, data: bytes) -> list[StreamItem]:
        if self._events.ended:
            return []
        items: list[StreamItem] = []
        events, failure = self._frames.feed(data)
        for _, event in events:
            items += self._events.event(event)
            if self._events.ended:
                return items
        if failure is not None:
            items.append(self._events.fail(failure))
        return items

    def finish(self) -> list[StreamItem]:
        return self._events.finish()


class InvokeMessagesObserver(MessagesObserver):
    """Messages for a client that speaks them: only the envelope changes."""

    def __init__(self) -> None:
        super().__init__(BEDROCK)

    def stream(self, call: Call) -> StreamObserver:
        return InvokeMessagesStreamObserver(call)


class InvokeMessagesStreamObserver:
    """Takes the events out of AWS's frames and gives them on as server-sent events, byte for byte."""

    def __init__(self, call: Call) -> None:
        self._frames = _EventFrames(call.max_frame)
        self._reader = MessagesReader(call)
        self.failed: ApiError | None = None
        """The error that the provider ended its stream with; the client has it already."""

    @property
    def complete(self) -> bool:
        return self._reader.stopped and self.failed is None

    def feed(self, data: bytes) -> bytes:
        if self.failed is not None:
            return b""
        events, failure = self._frames.feed(data)
        out = []
        for raw, event in events:
            self._reader.note(event)
            out.append(encode(raw, text(event.get("type")) or None))
            if self._reader.failed is not None:
                self.failed = self._reader.failed
                return b"".join(out)
        if failure is not None:
            self.failed = failure
            out.append(encode(dumps(write_error(failure)), "error"))
        return b"".join(out)

    def finish(self) -> bytes:
        rest = self._reader.missing_stop() if self.failed is None else b""
        self._reader.end()
        return rest


class _EventFrames:
    """The JSON events inside the frames, with their bytes, and the error that ends them."""

    def __init__(self, max_frame: int) -> None:
        self._decoder = EventStreamDecoder(max_frame)
        self._json = JSONEvents()

    def feed(self, data: bytes) -> tuple[list[tuple[bytes, Json]], ApiError | None]:
        try:
            frames, failure = self._decoder.feed(data), None
        except BadFrame as error:
            frames, failure = error.frames, ApiError(502, str(error), code="upstream_invalid_stream")
        events: list[tuple[bytes, Json]] = []
        for frame in frames:
            if frame.kind != "event":
                return events, read_frame_error(frame)
            if frame.name not in ("chunk", ""):
                continue  # e.g. `initial-response`, of which AWS's streams may have one
            raw = _inner(frame)
            event = self._parsed(raw)
            if not isinstance(event, dict):
                what = "the provider's stream holds an event that is not JSON"
                return events, ApiError(502, what, code="upstream_invalid_stream")
            events.append((raw, event))
        return events, failure

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._json.loads(raw)
        except ValueError:
            return None


def _inner(frame: Frame) -> bytes:
    try:
        return base64.b64decode(text(obj(decoded(frame.payload)).get("bytes")))
    except (binascii.Error, ValueError):
        return b""

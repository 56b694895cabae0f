"""Gemini's streams → OpenAI's chunks: server-sent events (`alt=sse`) or one JSON array.

Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. Every element is an
answer of its own with what is new; there is no terminator: a stream is complete when every candidate has its
finish reason.
"""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONEvents
from ...core.usage import UsageSource
from ...wire.jsonarray import ElementTooLarge, JSONArrayDecoder
from ...wire.sse import FrameTooLarge, SSEDecoder
from ..base import StreamItem
from ..pivot import Chunks, integer, not_an_answer, obj, objects, truncated
from .errors import api_error, error_object
from .response import Candidate, blocked_choice, identity
from .usage import UsageReader


class ChatStream:
    """One streamed answer. The finish reasons go out when the stream has ended: a part may follow the first
    of them.
    """

    def __init__(self, call: Call, vertex: bool) -> None:
        self._call = call
        self._vertex = vertex
        self._chunks = Chunks(call)
        self._reader = UsageReader()
        self._candidates: dict[int, Candidate] = {}
        self._feedback: Json = {}
        self._sse: SSEDecoder | None = None
        self._array: JSONArrayDecoder | None = None
        self._identified = False
        self._ended = False
        self._events = JSONEvents()

    def feed(self, data: bytes) -> list[StreamItem]:
        """See `StreamDecoder`."""
        if self._ended:
            return []
        items: list[StreamItem] = []
        try:
            payloads = self._payloads(data)
        except FrameTooLarge as error:
            payloads = [event.data for event in error.events]
            return self._over_limit(payloads, error, items)
        except ElementTooLarge as error:
            return self._over_limit(error.elements, error, items)
        for payload in payloads:
            self._take(payload, items)
        return items

    def finish(self) -> list[StreamItem]:
        """See `StreamDecoder`."""
        if self._ended:
            return []
        items: list[StreamItem] = []
        if self._sse is not None:
            for event in self._sse.finish():
                self._take(event.data, items, truncated())
            if self._ended:
                return items
        self._ended = True
        self._call.usage = self._reader.usage()
        complete = all(state.reason for state in self._candidates.values())
        blocked = self._feedback.get("blockReason") is not None
        if not complete or not (self._candidates or blocked):
            items.append(truncated())
            return items
        reasons: list[str] = []
        if not self._candidates:
            choice = blocked_choice(self._feedback)
            delta = {
                key: value for key, value in choice["message"].items() if key != "role" and value is not None
            }
            reasons.append(choice["finish_reason"])
            items.append(self._chunks.delta(0, delta, choice["finish_reason"]))
        for index in sorted(self._candidates):
            state = self._candidates[index]
            last = state.last()
            reasons.append(state.finish_reason())
            items.append(self._chunks.delta(index, last, reasons[-1]))
        self._call.finish_reasons = reasons
        if self._call.usage.source is not UsageSource.NONE:
            items.append(self._chunks.usage(self._call.usage))
        return items

    def _payloads(self, data: bytes) -> list[bytes]:
        if self._sse is not None:
            return [event.data for event in self._sse.feed(data)]
        if self._array is None:
            start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            if not start:
                return []
            if start not in b"[{":
                self._sse = SSEDecoder(self._call.max_frame)
                return [event.data for event in self._sse.feed(data)]
            self._array = JSONArrayDecoder(self._call.max_frame)
        return self._array.feed(data)

    def _take(self, payload: bytes, items: list[StreamItem], unreadable: ApiError | None = None) -> None:
        if self._ended or payload in (b"", b"[DONE]"):
            return
        try:
            body = self._events.loads(payload)
        except ValueError:
            # What the end of the stream cut off is no answer that cannot be understood.
            self._fail(unreadable or not_an_answer("Gemini"), items)
            return
        error = error_object(body)
        if error is not None:
            self._fail(api_error(error), items)
            return
        body = obj(body)
        if not self._identified:
            self._chunks.identify(**identity(body))
            self._identified = "modelVersion" in body
        self._reader.take(body.get("usageMetadata"))
        if "promptFeedback" in body:
            self._feedback.update(obj(body["promptFeedback"]))
        for position, candidate in enumerate(objects(body.get("candidates"))):
            given = integer(candidate.get("index"))
            index = position if given is None else given
            state = self._candidates.get(index)
            if state is None:
                state = self._candidates[index] = Candidate(self._call, index, self._vertex)
            delta = state.take(candidate)
            if not delta:
                continue
            logprobs = delta.pop("logprobs", None)
            chunk = self._chunks.delta(index, delta)
            if logprobs is not None:
                chunk["choices"][0]["logprobs"] = logprobs
            items.append(chunk)

    def _over_limit(
        self, payloads: list[bytes], error: ValueError, items: list[StreamItem]
    ) -> list[StreamItem]:
        for payload in payloads:
            self._take(payload, items)
        self._fail(ApiError(502, str(error), code="upstream_frame_too_large"), items)
        return items

    def _fail(self, error: ApiError, items: list[StreamItem]) -> None:
        if not self._ended:
            self._ended = True
            self._call.usage = self._reader.usage()
            items.append(error)

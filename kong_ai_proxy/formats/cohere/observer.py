"""Cohere's answers for clients that speak Cohere themselves: read on the way, never changed.

Sources: https://docs.cohere.com/reference/chat-stream (v2), …/v1/reference/chat (v1), …/reference/rerank,
…/reference/embed.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.usage import UsageSource
from ..passing import PassingObserver, Reader
from ..pivot import obj, objects, text, utf8_size
from .common import finish_reason, read_usage, stream_error


class CohereReader(Reader):
    """v1 and v2: chat, generate, embed, rerank."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._complete = False
        self._calls = 0

    @property
    def complete(self) -> bool:
        return self._complete

    def whole(self, body: Any) -> None:
        body, call = obj(body), self.call
        call.response_id = text(body.get("id")) or text(body.get("response_id")) or call.response_id
        message = obj(body.get("message"))
        calls = objects(message.get("tool_calls")) or objects(body.get("tool_calls"))
        parts = objects(message.get("content"))
        said = [text(part.get("text")) + text(part.get("thinking")) for part in parts]
        said += [text(message.get("tool_plan"))]
        said += [text(body.get("text")), *(text(one.get("text")) for one in objects(body.get("generations")))]
        call.output_bytes += sum(map(utf8_size, said))
        if text(body.get("finish_reason")):
            call.finish_reasons = [finish_reason(body["finish_reason"], len(calls))]
        self._usage(body.get("usage") or body.get("meta"))

    def event(self, body: Any) -> None:
        body, call = obj(body), self.call
        kind = body.get("type") or body.get("event_type")
        delta = obj(body.get("delta"))
        message = obj(delta.get("message"))
        if kind == "message-start":
            call.response_id = text(body.get("id")) or call.response_id
        elif kind in ("content-start", "content-delta"):
            content = obj(message.get("content"))
            call.output_bytes += utf8_size(text(content.get("text")) + text(content.get("thinking")))
        elif kind == "tool-plan-delta":
            call.output_bytes += utf8_size(text(message.get("tool_plan")))
        elif kind == "text-generation":
            call.output_bytes += utf8_size(text(body.get("text")))
        elif kind in ("tool-call-start", "tool-calls-generation"):
            self._calls += 1
        elif kind == "tool-call-delta":
            function = obj(obj(message.get("tool_calls")).get("function"))
            call.output_bytes += utf8_size(text(function.get("arguments")))
        elif kind == "message-end":
            self._end(delta.get("finish_reason"), delta.get("usage"))
            self._failure(delta.get("error"))
        elif kind == "stream-end":
            answer = obj(body.get("response"))
            call.response_id = text(answer.get("response_id")) or call.response_id
            self._end(body.get("finish_reason"), answer.get("meta"))
        elif kind == "stream-error" or text(body.get("message")):
            self._failure(text(body.get("err")) or text(body.get("message")) or "error")

    def _failure(self, said: Any) -> None:
        if text(said):
            self.failed = stream_error(said)

    def _end(self, reason: Any, usage: Any) -> None:
        self._complete = True
        self.call.finish_reasons = [finish_reason(reason, self._calls)]
        self._usage(usage)

    def _usage(self, usage: Any) -> None:
        found = read_usage(usage)
        if found.source is not UsageSource.NONE:
            self.call.usage = found


OBSERVER: Final = PassingObserver(CohereReader)

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
from .common import finish_reason, read_usage


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
        said = [text(part.get("text")) for part in objects(message.get("content"))]
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
        elif kind == "content-delta":
            call.output_bytes += utf8_size(text(obj(message.get("content")).get("text")))
        elif kind == "text-generation":
            call.output_bytes += utf8_size(text(body.get("text")))
        elif kind in ("tool-call-start", "tool-calls-generation"):
            self._calls += 1
        elif kind == "tool-call-delta":
            function = obj(obj(message.get("tool_calls")).get("function"))
            call.output_bytes += utf8_size(text(function.get("arguments")))
        elif kind == "message-end":
            self._end(delta.get("finish_reason"), delta.get("usage"))
        elif kind == "stream-end":
            answer = obj(body.get("response"))
            call.response_id = text(answer.get("response_id")) or call.response_id
            self._end(body.get("finish_reason"), answer.get("meta"))

    def _end(self, reason: Any, usage: Any) -> None:
        self._complete = True
        self.call.finish_reasons = [finish_reason(reason, self._calls)]
        self._usage(usage)

    def _usage(self, usage: Any) -> None:
        found = read_usage(usage)
        if found.source is not UsageSource.NONE:
            self.call.usage = found


OBSERVER: Final = PassingObserver(CohereReader)

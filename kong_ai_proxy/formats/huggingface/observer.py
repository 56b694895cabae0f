"""Text generation's answers for clients that speak it themselves: read on the way, never changed.

Source: https://huggingface.co/docs/text-generation-inference/reference/api_reference.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import UsageSource
from ..passing import PassingObserver, Reader
from ..pivot import obj, text, utf8_size
from .errors import error_in_stream
from .generation import FINISH_REASONS, details_usage, generations


class GenerationReader(Reader):
    """`/generate` and `/generate_stream`."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._tokens = 0
        self._complete = False

    @property
    def complete(self) -> bool:
        return self._complete

    def whole(self, body: Any) -> None:
        found = generations(body)
        self.call.output_bytes += sum(utf8_size(text(one.get("generated_text"))) for one in found)
        self._usage(found)
        reasons = [text(obj(one.get("details")).get("finish_reason")) for one in found]
        self.call.finish_reasons = [FINISH_REASONS.get(reason, "stop") for reason in reasons if reason]

    def event(self, body: Any) -> None:
        error = error_in_stream(obj(body))
        if error is not None:
            self.failed = error
            return
        body = obj(body)
        token = obj(body.get("token"))
        if token:
            self._tokens += 1
            self.call.output_bytes += utf8_size(text(token.get("text")))
        if isinstance(body.get("generated_text"), str):
            self._complete = True
            details = obj(body.get("details"))
            self._usage([{"details": {"generated_tokens": self._tokens, **details}}])
            reason = text(details.get("finish_reason"))
            self.call.finish_reasons = [FINISH_REASONS.get(reason, "stop")]

    def _usage(self, found: list[Json]) -> None:
        usage = details_usage(found)
        if usage.completion_tokens or usage.source is not UsageSource.NONE:
            self.call.usage = usage


OBSERVER: Final = PassingObserver(GenerationReader)

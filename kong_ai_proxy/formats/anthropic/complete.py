"""Anthropic's legacy text completions on their way through: they report no usage, so their text is counted.

Sources: https://platform.claude.com/docs/en/api/completions/create, recordings anthropic/native-complete*.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ..passing import PassingObserver, Reader
from ..pivot import obj, text, utf8_size
from .errors import read_stream_error

_FINISH_REASONS: Final = {"stop_sequence": "stop", "max_tokens": "length"}


class CompletionReader(Reader):
    """Whole answers and events have the same members; an event has its part of the text."""

    _stopped = False

    def whole(self, body: Any) -> None:
        self._note(obj(body))

    def event(self, body: Any) -> None:
        event = obj(body)
        if event.get("type") == "error" or "error" in event:
            self.failed = read_stream_error(event)
        elif event.get("type") != "ping":
            self._note(event)

    @property
    def complete(self) -> bool:
        return self._stopped

    def _note(self, said: Json) -> None:
        call = self.call
        call.output_bytes += utf8_size(text(said.get("completion")))
        call.response_id = text(said.get("id")) or text(said.get("log_id")) or call.response_id
        call.response_model = text(said.get("model")) or call.response_model
        if reason := text(said.get("stop_reason")):
            self._stopped = True
            call.finish_reasons = [_FINISH_REASONS.get(reason, "stop")]


OBSERVER: Final = PassingObserver(CompletionReader)

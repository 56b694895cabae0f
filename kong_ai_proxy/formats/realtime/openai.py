"""OpenAI's Realtime API, spoken by Azure (GA, preview and Voice Live) and by xAI too.

- `response.done` carries the usage of one response: in `response.usage`, at xAI beside it (recorded in
  xai/realtime/005; `response.usage` is `{}` there).
- `conversation.item.input_audio_transcription.completed` carries that of a transcription, a model of its
  own: `{"type": "tokens", …}`, or `{"type": "duration", "seconds"}`, which are not tokens and not counted
  (recorded in openai/realtime/004).

Source: https://platform.openai.com/docs/api-reference/realtime-server-events.
"""

from __future__ import annotations

from typing import Final

from ...core.json import Json
from ...core.usage import Usage
from .session import Session

_SESSION: Final = frozenset({"session.created", "session.updated", "transcription_session.updated"})
_TRANSCRIBED: Final = "conversation.item.input_audio_transcription.completed"


class OpenAIRealtime(Session):
    """See the module."""

    def _event(self, event: Json) -> bool:
        kind = event.get("type")
        if not isinstance(kind, str):
            return False
        if kind == "response.created":
            self._began()
        elif kind == "response.done":
            return self._response_done(event)
        elif kind.startswith("response.") and kind.endswith(".delta"):
            self._piece()
        elif kind == _TRANSCRIBED:
            return self._add(_tokens(event.get("usage")))
        elif kind in _SESSION:
            self._session(event.get("session"))
        return False

    def _session(self, session: object) -> None:
        if not isinstance(session, dict):
            return
        model, session_id = session.get("model"), session.get("id")
        if isinstance(model, str) and model:
            self.call.response_model = model
        if isinstance(session_id, str) and session_id:
            self.call.response_id = session_id

    def _response_done(self, event: Json) -> bool:
        self._done()
        response = event.get("response")
        usage: object = None
        if isinstance(response, dict):
            usage = response.get("usage")
            status = response.get("status")
            if isinstance(status, str):
                self.call.finish_reasons = [status]
        return self._add(_tokens(usage or event.get("usage")))


def _tokens(usage: object) -> Usage:
    if isinstance(usage, dict) and usage.get("type") == "duration":
        return Usage()
    return Usage.from_openai(usage)

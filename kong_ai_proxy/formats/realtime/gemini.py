"""Gemini's Live API (BidiGenerateContent): its usage, and the model in a client's first message.

`usageMetadata` counts one turn, the conversation so far being its prompt: recorded in gemini/realtime/005,
two turns of 1185 + 51 and 1251 + 63 tokens. Within a turn a later one replaces an earlier one; turns are
summed, as they are billed. Its `totalTokenCount` leaves the thoughts out (recorded in 001: 1131 + 26 = 1157
beside 24 thoughts), so the total is made here, of the prompt, the tools' part of it, the answer and the
thoughts.

Source: https://ai.google.dev/api/live.
"""

from __future__ import annotations

import re
from typing import Final

from ...core.errors import BadRequest
from ...core.json import Json, JSONDecodeError, dumps, loads
from ...core.usage import Usage, UsageSource
from ..gemini.usage import UsageReader
from .session import Session

_PLACE: Final = re.compile(r"(?:projects/[^/]+/locations/[^/]+/)?(?:publishers/google/)?models/|google/")
"""What may stand before a model's name, at the public API and on Vertex."""


class GeminiLive(Session):
    """See the module."""

    _turn: UsageReader | None = None
    """Of the turn under way."""

    def _event(self, event: Json) -> bool:
        content = event.get("serverContent")
        ended = False
        if isinstance(content, dict):
            ended = content.get("turnComplete") is True
            if content.keys() & {"modelTurn", "outputTranscription"}:
                self._began()
                self._piece()
        elif isinstance(event.get("toolCall"), dict):
            self._began()
            self._piece()
        metadata = event.get("usageMetadata")
        if isinstance(metadata, dict):
            if self._turn is None:
                self._turn = UsageReader()
            self._turn.take(metadata)
        if ended:
            self._done()
            return self._turn_over()
        return False

    def settle(self) -> None:
        self._turn_over()
        super().settle()

    def _turn_over(self) -> bool:
        turn, self._turn = self._turn, None
        return self._add(_whole(turn.usage())) if turn is not None else False


def _whole(usage: Usage) -> Usage:
    if usage.source is not UsageSource.NONE:
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
    return usage


def bare_model(name: str) -> str:
    """A model's name without what may stand before it."""
    place = _PLACE.match(name)
    return name[place.end() :] if place else name


def with_model(
    message: bytes, names: frozenset[str], model: str, place: str = "models/"
) -> tuple[bytes, str]:
    """A client's first message with the target's model in its `setup`, and the model that the client named.

    `names`: what clients may call the model. `model`: what the provider calls it; "" leaves the client's.
    `place`: what stands before its name there. Raises BadRequest for a message that is no setup and for
    another model.
    """
    try:
        body = loads(message)
    except (JSONDecodeError, RecursionError):
        body = None
    setup = body.get("setup") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(setup, dict):
        raise BadRequest("the first message must be a setup")
    named = setup.get("model") or ""
    if not isinstance(named, str):
        raise BadRequest("setup.model must be a string")
    asked = bare_model(named)
    if not model:
        if not asked:
            raise BadRequest("setup.model is missing")
        if "/" in asked and place != "models/":
            raise BadRequest("setup.model must be a model of Google's")
    elif asked and asked not in names:
        raise BadRequest(f"cannot use own model - must be: {model}")
    wanted = bare_model(model) or asked
    if "/" not in wanted:
        wanted = place + wanted
    # Written anew in any case: of a member that stands there twice the provider might read the other.
    return dumps({**body, "setup": {**setup, "model": wanted}}), asked

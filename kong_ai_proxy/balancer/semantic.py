"""Semantic balancing: the target whose description is nearest to what the request says.

Rules (Kong's, https://developer.konghq.com/ai-gateway/semantic-similarity/ and the load balancing page):
targets with the same description share its requests by weight; what is further away than the threshold from
all descriptions goes to the targets described as CATCHALL; without those there is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from ..core.errors import ApiError
from ..log import get_logger
from .base import Asked, Outcome
from .weighted import RoundRobin

log = get_logger("balancer")

CATCHALL: Final = "CATCHALL"
NOTE: Final = "semantic"
"""What a request's ranking is noted under."""


class Matcher(Protocol):
    """Knows how far a request is from each description. May wait for an embeddings provider."""

    def distances(self, text: str) -> list[float]:
        """From the text to each of the descriptions the matcher was made for, in their order. Raises
        ApiError."""
        ...


class Semantic:
    """Chooses by meaning, then by weight."""

    def __init__(
        self, descriptions: Sequence[str | None], weights: Sequence[int], threshold: float | None
    ) -> None:
        """`threshold`: the largest distance that still is a match; None: the nearest is always one."""
        self.groups: dict[str, list[int]] = {}
        """Description → targets, without CATCHALL."""
        self._catchall: list[int] = []
        for index, description in enumerate(descriptions):
            if description == CATCHALL:
                self._catchall.append(index)
            else:
                self.groups.setdefault(description or "", []).append(index)
        self._within = RoundRobin(weights)
        self._threshold = threshold
        self.matcher: Matcher | None = None
        """Set by whoever can do I/O, before the first request."""

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        """Raises ApiError where nothing matches, or the request's meaning cannot be had, at the first
        attempt."""
        for group in self.ranking(asked):
            untried = [index for index in group if index in candidates and index not in tried]
            if untried:
                return self._within.pick(untried, [], asked)
        return None

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return

    def ranking(self, asked: Asked) -> list[list[int]]:
        """Groups of targets, best match first, CATCHALL last; found out once per request. Raises ApiError."""
        ranking: list[list[int]] | None = asked.notes.get(NOTE)
        if ranking is None:
            ranking = asked.notes[NOTE] = self._rank(asked)
        return ranking

    def _rank(self, asked: Asked) -> list[list[int]]:
        catchall = [self._catchall] if self._catchall else []
        if not self.groups:
            return catchall
        if self.matcher is None:
            raise ApiError(500, "semantic balancing has no embeddings", code="no_embeddings")
        try:
            found = self.matcher.distances(text_of(asked))
        except ApiError as error:
            if not catchall:
                raise
            log.warning("semantic_match_failed", reason=error.message, effect="the CATCHALL targets serve it")
            return catchall
        groups = list(self.groups.values())
        order = sorted(range(len(groups)), key=found.__getitem__)
        limit = self._threshold
        near = [groups[index] for index in order if limit is None or found[index] <= limit]
        if not near and not catchall:
            log.info("no_semantic_match", threshold=limit, nearest=round(min(found), 4))
            raise ApiError(
                400, f"no target can be found under threshold {limit:g}", code="no_matching_target"
            )
        return near + catchall


def text_of(asked: Asked) -> str:
    """What the request says: the last user message's text; a completion's prompt; an embedding's input."""
    body = asked.body
    messages = body.get("messages", body.get("contents"))
    if isinstance(messages, dict):
        messages = [messages]  # Google takes one for a list of one
    if isinstance(messages, list):
        for message in reversed(messages):
            if isinstance(message, dict) and str(message.get("role", "user")).lower() == "user":
                text = _text(message.get("content", message.get("parts")))
                if text:
                    return text
        return _text(messages)
    for member in ("prompt", "input", "inputs", "query"):
        text = _text(body.get(member))
        if text:
            return text
    return ""


def _text(value: object) -> str:
    """All text in there, a line each."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(filter(None, map(_text, value)))
    if isinstance(value, dict):
        return _text(value.get("text", value.get("content", value.get("parts"))))
    return ""

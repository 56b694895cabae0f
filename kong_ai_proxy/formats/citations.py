"""Web pages that an answer cites, for clients of other formats than OpenAI's.

They come as `url_citation` annotations of the message or of a delta (OpenAI's, and those that our readers of
Anthropic, Gemini, Bedrock and Cohere make), or as a list of addresses beside the choices, which a stream may
repeat in each chunk. Sources: https://platform.openai.com/docs/guides/tools-web-search (annotations),
https://openrouter.ai/docs/features/web-search (`content`),
https://docs.x.ai/docs/guides/live-search (`citations`),
https://docs.perplexity.ai/api-reference/chat-completions-post (`citations`, `search_results`).
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.json import Json
from .pivot import count, items, obj, objects, text


class Cited(NamedTuple):
    """One citation."""

    url: str
    title: str
    start: int
    end: int
    """Which characters of the answer's text it is for; both 0 where that is not told."""
    content: str = ""
    """What the page says, where that is told."""


class Citations:
    """Those of one answer, each once, in the order they were told."""

    def __init__(self) -> None:
        self._placed: dict[tuple[str, int, int], Cited] = {}
        self._others: dict[str, Cited] = {}
        """By address: those that no part of the text is named for."""

    def said(self, message: Json) -> None:
        """What a message or delta cites."""
        for note in objects(message.get("annotations")):
            # OpenRouter's and OpenAI's chats have a member of that name, the Responses API has none.
            told = obj(note.get("url_citation")) or note
            url = text(told.get("url"))
            if note.get("type") == "url_citation" and url:
                start, end = count(told.get("start_index")) or 0, count(told.get("end_index")) or 0
                cited = Cited(url, text(told.get("title")), start, end, text(told.get("content")))
                self._placed.setdefault((url, start, end), cited)

    def beside(self, answer: Json) -> None:
        """What an answer or chunk cites beside its choices."""
        for result in objects(answer.get("search_results")):
            if url := text(result.get("url")):
                self._others[url] = Cited(url, text(result.get("title")), 0, 0, text(result.get("snippet")))
        for given in items(answer.get("citations")):
            url = text(given) or text(obj(given).get("url"))
            if url and url not in self._others:
                self._others[url] = Cited(url, text(obj(given).get("title")), 0, 0)

    def all(self) -> list[Cited]:
        """All that are known by now."""
        placed = list(self._placed.values())
        if not self._others:
            return placed
        known = {cited.url for cited in placed}
        return placed + [cited for cited in self._others.values() if cited.url not in known]


def citations_of(message: Json, answer: Json) -> list[Cited]:
    """Those of a whole answer."""
    found = Citations()
    if "annotations" in message:
        found.said(message)
    found.beside(answer)
    return found.all()

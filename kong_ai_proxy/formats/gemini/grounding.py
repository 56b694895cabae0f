"""Gemini's grounding and citations → OpenAI's `url_citation` annotations.

Sources: https://ai.google.dev/api/generate-content#GroundingMetadata and #CitationMetadata;
https://platform.openai.com/docs/guides/tools-web-search (annotations).
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json
from ..pivot import integer, items, obj, objects, text


def url_citations(specific: Json, said: str) -> list[Json]:
    """Citations that have a URL. Gemini counts UTF-8 bytes of the text, OpenAI characters."""
    positions = _Positions(said)
    found: list[Json] = []
    metadata = obj(specific.get("groundingMetadata"))
    chunks = items(metadata.get("groundingChunks"))
    for support in objects(metadata.get("groundingSupports")):
        segment = obj(support.get("segment"))
        for number in items(support.get("groundingChunkIndices")):
            at = integer(number)
            if at is None or not 0 <= at < len(chunks):
                continue
            source = _source(chunks[at])
            if source:
                found.append(_citation(*source, segment, positions))
    citations = obj(specific.get("citationMetadata"))
    # The public API calls them citationSources, Vertex citations.
    for citation in objects(citations.get("citationSources")) + objects(citations.get("citations")):
        uri = text(citation.get("uri"))
        if uri:
            found.append(_citation(uri, text(citation.get("title")), citation, positions))
    return found


def _source(chunk: Any) -> tuple[str, str] | None:
    """(URL, title) of a chunk: from the web, Maps or a retrieved document; None if it has no URL."""
    for kind in ("web", "maps", "retrievedContext"):
        source = obj(obj(chunk).get(kind))
        uri = text(source.get("uri"))
        if uri:
            return uri, text(source.get("title"))
    return None


def _citation(url: str, title: str, span: Json, positions: _Positions) -> Json:
    return {
        "type": "url_citation",
        "url_citation": {
            "url": url,
            "title": title or url,
            "start_index": positions.character(integer(span.get("startIndex")) or 0),
            "end_index": positions.character(integer(span.get("endIndex")) or 0),
        },
    }


class _Positions:
    def __init__(self, said: str) -> None:
        self._bytes = None if said.isascii() else said.encode("utf-8", "surrogatepass")

    def character(self, position: int) -> int:
        """The character that a byte of the text belongs to."""
        if self._bytes is None:
            return position
        return len(self._bytes[: max(position, 0)].decode("utf-8", "ignore"))

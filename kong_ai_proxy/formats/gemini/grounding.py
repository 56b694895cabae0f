"""Gemini's grounding and citations → OpenAI's `url_citation` annotations.

Sources: https://ai.google.dev/api/generate-content#GroundingMetadata and #CitationMetadata;
https://platform.openai.com/docs/guides/tools-web-search (annotations).
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json
from ..pivot import integer, items, obj, objects, text


class Said:
    """Where bytes of an answer's text are in its characters: Gemini counts UTF-8 bytes, OpenAI characters.

    Text is kept only from its first piece that is not ASCII on; before that the two are the same.
    """

    def __init__(self) -> None:
        self._plain = 0
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        """What has been said next."""
        if not self._pieces and piece.isascii():
            self._plain += len(piece)
        else:
            self._pieces.append(piece)

    def character(self, position: int) -> int:
        """The character that a byte of the text belongs to."""
        if position <= self._plain or not self._pieces:
            return position
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        behind = self._pieces[0].encode("utf-8", "surrogatepass")[: position - self._plain]
        return self._plain + len(behind.decode("utf-8", "ignore"))


def url_citations(specific: Json, said: Said) -> list[Json]:
    """Citations that have a URL."""
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
                found.append(_citation(*source, segment, said))
    citations = obj(specific.get("citationMetadata"))
    # The public API calls them citationSources, Vertex citations.
    for citation in objects(citations.get("citationSources")) + objects(citations.get("citations")):
        uri = text(citation.get("uri"))
        if uri:
            found.append(_citation(uri, text(citation.get("title")), citation, said))
    return found


def _source(chunk: Any) -> tuple[str, str] | None:
    """(URL, title) of a chunk: from the web, Maps or a retrieved document; None if it has no URL."""
    for kind in ("web", "maps", "retrievedContext"):
        source = obj(obj(chunk).get(kind))
        uri = text(source.get("uri"))
        if uri:
            return uri, text(source.get("title"))
    return None


def _citation(url: str, title: str, span: Json, said: Said) -> Json:
    return {
        "type": "url_citation",
        "url_citation": {
            "url": url,
            "title": title or url,
            "start_index": said.character(integer(span.get("startIndex")) or 0),
            "end_index": said.character(integer(span.get("endIndex")) or 0),
        },
    }

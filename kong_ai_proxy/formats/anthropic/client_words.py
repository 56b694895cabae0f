"""What whole messages and streams towards Anthropic's clients say alike: how an answer ended, and what
it cites.

Sources: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool#citations.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ..citations import Cited
from ..pivot import objects, text
from .blocks import ANSWER_BLOCKS

_STOP_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's finish reason → Anthropic's stop reason. All others end as "end_turn"."""

_OWN: Final = frozenset({"pause_turn", "refusal", "model_context_window_exceeded", "compaction"})


def page_citation(cited: Cited) -> Json:
    """A citation of a web page, as Claude's own search has it: what it quotes is told where that is known,
    and there is no index that only Anthropic could give."""
    return {
        "type": "web_search_result_location",
        "url": cited.url,
        "title": cited.title or None,
        "cited_text": cited.content,
        "encrypted_index": "",
    }


def without_made_citations(block: Json) -> Json:
    """A text block of a client's history without what `page_citation` made, which no Claude takes back."""
    given = block.get("citations")
    if not isinstance(given, list) or not any(map(_is_made, given)):
        return block
    kept = [one for one in given if not _is_made(one)]
    return {**block, "citations": kept} if kept else {k: v for k, v in block.items() if k != "citations"}


def _is_made(citation: Any) -> bool:
    return isinstance(citation, dict) and citation.get("encrypted_index") == ""


def own_blocks(own: Json) -> list[Json]:
    """Blocks that a Claude said beside text and calls. Others' (of Converse, Mistral) mean nothing here."""
    return [block for block in objects(own.get("content_blocks")) if text(block.get("type")) in ANSWER_BLOCKS]


def stop_reason(finish: Any, own: Json, has_tools: bool) -> str:
    """Anthropic's stop reason; what Claude itself said wins over what OpenAI's form made of it."""
    said = own.get("stop_reason")
    if isinstance(said, str) and said in _OWN:
        return said
    if stop_sequence(own) is not None:
        return "stop_sequence"
    if has_tools and finish in ("stop", None):
        return "tool_use"
    return _STOP_REASONS.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"


def stop_sequence(own: Json) -> str | None:
    """Which of the client's stop sequences ended the answer, if the provider said."""
    found = own.get("stop_sequence")
    return found if isinstance(found, str) else None

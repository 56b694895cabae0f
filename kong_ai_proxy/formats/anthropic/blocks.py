"""What answers and streams read alike: stop reasons, citations, members of odd types."""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json
from ..pivot import obj, text, utf8_size

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "stop",
    "compaction": "stop",
}
"""https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons. All others end as "stop"."""

_SAID_BY_OPENAI = frozenset({"end_turn", "stop_sequence", "max_tokens", "tool_use", None})
"""Stop reasons that OpenAI's finish reason says well enough. The others are told beside it."""

ANSWER_BLOCKS = frozenset(
    {
        "server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "advisor_tool_result",
        "code_execution_tool_result", "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result", "tool_search_tool_result", "mcp_tool_use",
        "mcp_tool_result", "mcp_tool_listing", "container_upload", "compaction", "fallback",
    }
)  # fmt: skip
"""Blocks of answers that have no place in OpenAI's form: handed on as they are. Source: anthropic's SDK 2.12,
types/beta/beta_content_block.py."""

_OWN = (
    "stop_sequence", "stop_details", "container", "context_management", "diagnostics",
    "input_transformations",
)  # fmt: skip
"""Members of a message, and of the events that say them, for which OpenAI has no place."""

_SERVICE_TIERS = {"standard": "default", "priority": "priority"}


def finish_reason(stop_reason: Any, has_tool_calls: bool) -> str:
    """OpenAI's finish reason. A tool_use stop whose only call was the JSON answer is a plain stop."""
    if not isinstance(stop_reason, str) or stop_reason == "tool_use":
        return "tool_calls" if has_tool_calls else "stop"
    return FINISH_REASONS.get(stop_reason, "stop")


def stop_fields(source: Json) -> Json:
    """Of what a message, or an event about it, says of itself, that for which OpenAI has no place."""
    fields: Json = {}
    reason = source.get("stop_reason")
    if isinstance(reason, str) and reason not in _SAID_BY_OPENAI:
        fields["stop_reason"] = reason
    for name in _OWN:
        if source.get(name) is not None:
            fields[name] = source[name]
    return fields


def refusal(source: Json) -> str | None:
    """Why the model refused, in words, if it says so."""
    details = source.get("stop_details")
    if source.get("stop_reason") == "refusal" and isinstance(details, dict):
        return text(details.get("explanation")) or None
    return None


def split_citations(citations: Any, start: int, end: int) -> tuple[list[Json], list[Json]]:
    """Citations of one text block as OpenAI annotations (those with a URL) and the others as they are.

    `start` and `end` say where the block's text stands in the whole answer.
    """
    annotations: list[Json] = []
    others: list[Json] = []
    for citation in citations if isinstance(citations, list) else []:
        if not isinstance(citation, dict):
            continue
        url = citation.get("url")
        if isinstance(url, str) and url:
            annotations.append(
                {
                    "type": "url_citation",
                    "url_citation": {
                        "url": url,
                        "title": text(citation.get("title")),
                        "start_index": start,
                        "end_index": end,
                    },
                }
            )
        else:
            others.append(citation)
    return annotations, others


def tool_extras(block: Json) -> Json:
    """Of a tool_use block, what OpenAI's tool call has no place for, as its `extra_content`; or {}.

    A call that code made (`caller`) or a toolset's call must be answered as such.
    """
    extras = {name: block[name] for name in ("caller", "toolset_name") if block.get(name) is not None}
    if obj(extras.get("caller")).get("type") == "direct":
        del extras["caller"]
    return {"extra_content": {"anthropic": extras}} if extras else {}


def serving_model(block: Json) -> str:
    """The model that goes on after a `fallback` block; "" for any other block.

    Source: anthropic's SDK, lib/streaming (the last one names the message's model).
    """
    return text(obj(block.get("to")).get("model")) if block.get("type") == "fallback" else ""


def openai_tier(tier: str | None) -> str | None:
    """OpenAI's name of a service tier, where it has one."""
    return _SERVICE_TIERS.get(tier or "")


def count_output(call: Call, words: str) -> None:
    """Add to the bytes answered so far."""
    call.output_bytes += utf8_size(words)

"""What Converse's answers and streams read alike: stop reasons, citations."""

from __future__ import annotations

from typing import Any

from ...core.json import Json
from ..pivot import obj, text

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
}
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (stopReason)."""

_SAID_BY_OPENAI = frozenset({"end_turn", "stop_sequence", "max_tokens", "tool_use"})


def finish_reason(stop_reason: Any, has_tool_calls: bool) -> str:
    """OpenAI's finish reason. A tool_use stop whose only call was the JSON answer is a plain stop."""
    if not isinstance(stop_reason, str) or stop_reason == "tool_use":
        return "tool_calls" if has_tool_calls else "stop"
    return FINISH_REASONS.get(stop_reason, "stop")


def stop_fields(stop_reason: Any, more: Any, trace: Any) -> Json:
    """Of what is said about an answer's end, that for which OpenAI has no place."""
    fields: Json = {}
    if isinstance(stop_reason, str) and stop_reason not in _SAID_BY_OPENAI:
        fields["stop_reason"] = stop_reason
    if more:
        fields["additionalModelResponseFields"] = more
    if trace:
        fields["trace"] = trace
    return fields


def annotation(citation: Json, start: int, end: int) -> Json | None:
    """A citation of a web page as OpenAI's annotation; None for citations of documents."""
    url = text(obj(obj(citation.get("location")).get("web")).get("url"))
    if not url:
        return None
    where = {"url": url, "title": text(citation.get("title")), "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": where}

"""What Converse's answers and streams read alike: stop reasons, citations."""

from __future__ import annotations

from typing import Any

from ...core.call import Call
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


def stop_fields(end: Json, metadata: Json) -> Json:
    """Of what is said about an answer's end (whole answers: the same object), that for which OpenAI has no
    place."""
    fields: Json = {}
    stop_reason = end.get("stopReason")
    if isinstance(stop_reason, str) and stop_reason not in _SAID_BY_OPENAI:
        fields["stop_reason"] = stop_reason
    own = {
        "additionalModelResponseFields": end.get("additionalModelResponseFields"),
        "trace": obj(metadata.get("trace")).get("guardrail"),
        "performanceConfig": metadata.get("performanceConfig"),
    }
    fields.update({name: value for name, value in own.items() if value})
    return fields


def image_extension(block: Json, index: int) -> Json | None:
    """An `image` block as it stands in `message.images` (see `formats.gemini.media`); None where there are no
    bytes in it: it lies in S3, or could not be made."""
    image = obj(block.get("image"))
    form, data = text(image.get("format")), text(obj(image.get("source")).get("bytes"))
    if not form or not data:
        return None
    url = f"data:image/{form};base64,{data}"
    return {"type": "image_url", "image_url": {"url": url}, "index": index}


def audio_extension(block: Json, call: Call) -> Json | None:
    """An `audio` block as OpenAI's `message.audio`; None where there are no bytes in it."""
    data = text(obj(obj(block.get("audio")).get("source")).get("bytes"))
    if not data:
        return None
    return {"id": call.new_id("audio_"), "data": data, "transcript": "", "expires_at": call.created}


def annotation(citation: Json, start: int, end: int) -> Json | None:
    """A citation of a web page as OpenAI's annotation; None for citations of documents."""
    url = text(obj(obj(citation.get("location")).get("web")).get("url"))
    if not url:
        return None
    where = {"url": url, "title": text(citation.get("title")), "start_index": start, "end_index": end}
    return {"type": "url_citation", "url_citation": where}

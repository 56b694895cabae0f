"""What Cohere's APIs have in common: finish reasons, usage, errors, citations.

Sources: https://docs.cohere.com/reference/chat, …/reference/errors; the types of Cohere's SDK
(github.com/cohere-ai/cohere-python).
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..pivot import (
    count,
    decoded,
    error_text,
    kept_headers,
    obj,
    objects,
    stop_list,
    text,
    token_limit,
)

FINISH_REASONS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    # Cut short, in one way or another.
    "ERROR": "length",
    "ERROR_LIMIT": "length",
    "TIMEOUT": "length",
    "USER_CANCEL": "length",
    "ERROR_TOXIC": "content_filter",
}


def finish_reason(reason: Any, calls: int) -> str:
    """OpenAI's word. v1 says COMPLETE for an answer that calls tools."""
    found = FINISH_REASONS.get(text(reason), "stop")
    return "tool_calls" if calls and found == "stop" else found


def sampling(body: Json, passed: tuple[str, ...], renamed: dict[str, str], *, stops: str) -> Json:
    """The request's scalar fields: `passed` as they are, `renamed` under Cohere's names, the limit of output
    tokens, and the stop sequences under the name `stops`."""
    out: Json = {name: body[name] for name in passed if body.get(name) is not None}
    for name, own in renamed.items():
        if body.get(name) is not None:
            out.setdefault(own, body[name])
    limit = token_limit(body)
    if limit is not None:
        out["max_tokens"] = limit
    found = stop_list(body)
    if found:
        out[stops] = found
    return out


def read_usage(usage: Any) -> Usage:
    """From v2's `usage`, or v1's `meta`.

    The billed units are taken: they are what is paid for, what Cohere's own OpenAI-compatible API reports
    (recordings cohere/chat), and what Kong logs. `tokens` holds Cohere's prompt template too; it is used
    where there are no billed units, and only then can `cached_tokens`, a part of it, be told.
    """
    usage = obj(usage)
    billed, counted = obj(usage.get("billed_units")), obj(usage.get("tokens"))
    source = billed if _count(billed, "input_tokens") is not None or "output_tokens" in billed else counted
    prompt, answer = _count(source, "input_tokens"), _count(source, "output_tokens")
    if prompt is None and answer is None:
        return Usage()
    found = Usage(prompt_tokens=prompt or 0, completion_tokens=answer or 0, source=UsageSource.REPORTED)
    if source is counted:
        found.cached_tokens = _count(usage, "cached_tokens")
    reasoning = _count(counted, "reasoning_tokens")
    if reasoning is not None:
        # A part of the output; billing may count fewer.
        found.reasoning_tokens = min(reasoning, found.completion_tokens)
    return found


def _count(source: Json, name: str) -> int | None:
    return count(source.get(name))


def url_citations(citations: list[Any]) -> list[Json]:
    """OpenAI's annotations for the citations whose source has a URL (documents and tool outputs may)."""
    found = []
    for citation in objects(citations):
        for source in objects(citation.get("sources")):
            document = obj(source.get("document")) or obj(source.get("tool_output"))
            url = text(document.get("url"))
            if url:
                found.append(
                    {
                        "type": "url_citation",
                        "url_citation": {
                            "url": url,
                            "title": text(document.get("title")) or url,
                            "start_index": count(citation.get("start")) or 0,
                            "end_index": count(citation.get("end")) or 0,
                        },
                    }
                )
    return found


def read_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """Cohere's errors: `{"message": …}`, some with an `error_type`."""
    value = decoded(body)
    found = obj(value)
    message = (
        text(found.get("message")) or text(found.get("error")) or text(obj(found.get("error")).get("message"))
    )
    if not message and value is None:
        message = error_text(body)
    code = text(found.get("error_type")) or None
    return ApiError(
        status, message or f"Cohere answered with status {status}", code=code, headers=kept_headers(headers)
    )


def stream_failure(event: Json) -> ApiError:
    """What an event without a kind says: Cohere's own error, or that of a gateway in between."""
    error = event.get("error")
    return stream_error(text(error) or text(obj(error).get("message")) or text(event.get("message")))


def stream_error(message: str) -> ApiError:
    """An error in mid-stream."""
    return ApiError(502, message or "Cohere broke the stream off with an error", code="upstream_error")


def drop_unknown(body: Json, known: frozenset[str], call: Call) -> None:
    """Note every field that is not known."""
    for key, value in body.items():
        if key not in known and value is not None:
            call.drop(key)

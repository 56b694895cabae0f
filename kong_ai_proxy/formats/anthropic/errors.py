"""Anthropic's errors. Source: https://platform.claude.com/docs/en/api/errors."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError, default_type
from ...core.http import Headers
from ...core.json import Json
from ..pivot import decoded, error_text, kept_headers, obj, text

_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""Error type → HTTP status, for errors inside a stream, which carry no status of their own."""

_TYPE = {status: name for name, status in _STATUS.items()}

_OPENAI_TYPE = {
    "api_error": "server_error",
    "request_too_large": "invalid_request_error",
    "conflict_error": "invalid_request_error",
}
"""Where OpenAI has a name of its own; the other names are the same or have no counterpart."""


def read_error(status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
    """A whole error answer. Its status is kept, whatever the body looks like."""
    parsed = decoded(body)
    found = parsed[0] if isinstance(parsed, list) and parsed else parsed
    kind, message = _parts(obj(found).get("error"))
    if not message:
        # The front ends of AWS, Azure and Google answer in their own shapes.
        message = text(obj(found).get("message")) or text(obj(found).get("Message"))
    if not message:
        message = error_text(body) if parsed is None else ""
        message = message or f"{call.provider} answered with status {status}"
    return ApiError(
        status,
        message,
        type=_OPENAI_TYPE.get(kind, kind) if kind else default_type(status),
        code=_code(obj(found).get("error")),
        headers=kept_headers(headers),
    )


def read_stream_error(event: Json) -> ApiError:
    """An `error` event inside a stream that began with status 200. Front ends may say the message alone."""
    kind, message = _parts(event.get("error"))
    message = message or text(event.get("message"))
    return ApiError(
        _STATUS.get(kind, 502),
        message or "the provider's stream failed",
        type=_OPENAI_TYPE.get(kind, kind) if kind else "server_error",
        code=_code(event.get("error")),
    )


def write_error(error: ApiError) -> Json:
    """The error object that Anthropic's clients expect."""
    kind = _TYPE.get(error.status)
    if error.type in _STATUS and error.type != default_type(error.status):
        kind = error.type
    if kind is None:
        kind = "api_error" if error.status >= 500 else "invalid_request_error"
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def _code(error: object) -> str | None:
    """What the error is called more exactly, where that is said: anthropic's SDK, `_exceptions.py`."""
    return text(obj(obj(error).get("details")).get("error_code")) or None


def _parts(error: object) -> tuple[str, str]:
    """Type and message, each "" where there is none."""
    if isinstance(error, str):
        return "", error
    return text(obj(error).get("type")), text(obj(error).get("message"))

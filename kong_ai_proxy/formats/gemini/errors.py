"""Google's errors → errors for the client.

Source: https://cloud.google.com/apis/design/errors and https://ai.google.dev/gemini-api/docs/troubleshooting.
"""

from __future__ import annotations

import math
import re
from typing import Any

from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..pivot import decoded, error_text, integer, kept_headers, number, obj, objects, text

# An API key is named in messages such as "Consumer 'api_key:…' has been suspended".
_KEY = re.compile(r"AIza[0-9A-Za-z_-]{10,}|api_key:[^'\"\s]+")

_KEY_REASONS = frozenset({"API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "CONSUMER_INVALID"})
"""Google answers these with 400 or 403: they are about the credential all the same."""


def google_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """From an error answer's body: an object, a list of one, or text."""
    kept = kept_headers(headers)
    value = decoded(body)
    error = error_object(value)
    if error is None:
        # From something before Google, perhaps.
        error = {"message": obj(value).get("message") if value is not None else error_text(body)}
    return api_error(error, status, kept)


def error_object(value: Any) -> Json | None:
    """The `error` of an answer or of a stream's element, if there is one."""
    if isinstance(value, list):
        value = value[0] if value else None
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else None


def api_error(error: Json, status: int | None = None, headers: Headers | None = None) -> ApiError:
    """From the error object. Without a status (inside a stream) its own `code` is used."""
    kept = dict(headers or {})
    if status is None:
        status = integer(error.get("code")) or 0
        if not 400 <= status <= 599:
            status = 502
    reason = ""
    for detail in objects(error.get("details")):
        reason = reason or text(detail.get("reason"))
        delay = _seconds(detail.get("retryDelay"))
        if delay is not None:
            kept.setdefault("retry-after", str(delay))
    code = reason or text(error.get("status")) or None
    message = _KEY.sub("[redacted]", text(error.get("message"))) or f"Gemini answered with status {status}"
    kind = "authentication_error" if reason in _KEY_REASONS else None
    return ApiError(status, message, type=kind, code=code, headers=kept)


def _seconds(delay: Any) -> int | None:
    """A google.protobuf.Duration ("48s", "0.5s") in whole seconds, rounded up."""
    if isinstance(delay, str) and delay.endswith("s"):
        try:
            value = float(delay[:-1])
        except ValueError:
            return None
        return math.ceil(value) if math.isfinite(value) else None
    seconds = number(obj(delay).get("seconds"))
    return math.ceil(seconds) if seconds is not None and math.isfinite(seconds) else None

"""Errors of the Inference API and TGI: `{"error": "text" | ["text", …], "error_type"?, "estimated_time"?}`,
or text. Source: recordings huggingface/native-inference*,
https://huggingface.co/docs/text-generation-inference/reference/api_reference.
"""

from __future__ import annotations

import math
from typing import Any

from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..pivot import decoded, error_text, items, kept_headers, number, obj, text

_STATUSES = {
    "validation": 422,
    "template_error": 422,
    "missing_template_variable": 422,
    "tool_error": 422,
    "generation": 424,
    "overloaded": 429,
    "incomplete_generation": 500,
    "incomplete_generation_stream": 500,
}
"""TGI's `error_type` → the status it has outside of streams; inside one, the answer is 200 all the same.

Source: github.com/huggingface/text-generation-inference, router/src/infer/mod.rs.
"""


def read_error(status: int, headers: Headers, body: bytes) -> ApiError:
    """An error answer's."""
    value = decoded(body)
    if isinstance(value, str):
        value = {"error": value}
    kept = kept_headers(headers)
    found = obj(value)
    wait = number(found.get("estimated_time"))
    if status == 503 and wait is not None and math.isfinite(wait):
        # The model is being loaded.
        kept.setdefault("retry-after", str(max(math.ceil(wait), 0)))
    message = error_message(found) or (error_text(body) if value is None else "")
    code = text(found.get("error_type")) or None
    return ApiError(status, message or f"Hugging Face answered with status {status}", code=code, headers=kept)


def error_message(body: Json) -> str:
    """The text of an error object; "" where there is none."""
    error: Any = body.get("error")
    if isinstance(error, dict):
        return text(error.get("message"))
    if isinstance(error, list):
        return "; ".join(one for one in items(error) if isinstance(one, str))
    return text(error) or text(body.get("message"))


def error_in_stream(body: Json) -> ApiError | None:
    """The error that an event carries instead of a token."""
    if "error" not in body or body.get("error") is None:
        return None
    kind = text(body.get("error_type"))
    status = _STATUSES.get(kind, 502)
    return ApiError(status, error_message(body) or "Hugging Face broke the stream off", code=kind or None)

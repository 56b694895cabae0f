"""The shapes that errors of OpenAI-compatible providers come in, brought to one.

Recorded: `{"error": {…}}` (most); `{"error": "text", "code"?, "error_type"?}` (xAI, TGI, Ollama); a top-level
`message` (Mistral, DashScope); `detail`, a text or a list of findings (Mistral, FastAPI servers); plain text
(Hugging Face); and a list around the first shape (Google's compatible API).
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.http import Headers
from ...core.json import Json
from ..pivot import decoded, error_text, integer, kept_headers, obj, objects, text

_FILTER_CODES: Final = frozenset(
    {
        "content_filter",
        # https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
        "ResponsibleAIPolicyViolation",
        # https://help.aliyun.com/zh/model-studio/error-code
        "data_inspection_failed",
        "DataInspectionFailed",
    }
)
"""The provider's words for "blocked by its content filter"; OpenAI's code for it is `content_filter`."""


def read_error(status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
    """The provider's error with its status kept."""
    value = decoded(body)
    message, error = _find(value)
    if not message and value is None:
        message = error_text(body)
    return _error(status, message, error, headers, call)


def error_in(value: Json, call: Call) -> ApiError | None:
    """The error that a 200 answer or an event of a stream carries instead of content, if any.

    Recorded: TGI and Groq report errors in mid-stream; Azure answers 200 with a content filter's error. Groq
    may say in `x_groq` why it stopped early (groq 1.7: types/chat/chat_completion_chunk.py).
    """
    if "x_groq" in value and text(groqs := obj(value["x_groq"]).get("error")):
        value = {"error": groqs}
    elif not value.get("error") and value.get("object") != "error" and not _is_bare(value):
        return None
    message, error = _find(value)
    status = integer(error.get("status")) or _number(error.get("code")) or 0
    if not 400 <= status < 600:
        # Cerebras: cerebras_cloud_sdk 1.91, ErrorChunkResponse.
        status = integer(value.get("status_code")) or 0
    return _error(status if 400 <= status < 600 else 502, message, error, {}, call)


def _is_bare(value: Json) -> bool:
    """Whether it is an error without the word: a message and a code, and nothing that was asked for; or the
    `detail` of FastAPI's servers. DashScope's, Databricks' and Mistral's errors look so (recorded with a
    status of their own)."""
    if "choices" in value or "data" in value or "usage" in value:
        return False
    if value.get("detail"):
        return True
    code = _code(value.get("code")) or _code(value.get("error_code"))
    return bool(text(value.get("message"))) and code is not None


def _find(value: Any, levels: int = 8) -> tuple[str, Json]:
    """The message, and the object in which code, type and param stand. `levels`: how deep it may be."""
    if not levels:
        return "", {}
    if isinstance(value, str):
        return value, {}
    if isinstance(value, list):
        return _find(value[0], levels - 1) if value else ("", {})
    if not isinstance(value, dict):
        return "", {}
    error = value.get("error")
    if isinstance(error, (dict, list)):
        message, inside = _find(error, levels - 1)
        return message, inside or obj(error)
    if isinstance(error, str) and error:
        named = {"type": value.get("error_type") or value.get("type"), "code": value.get("code")}
        return text(value.get("message")) or error, named
    for name in ("message", "msg", "detail", "details", "error_message"):
        found = value.get(name)
        if isinstance(found, str) and found:
            return found, value
        if isinstance(found, dict):
            # Mistral's 422: the findings of a validation inside `message`.
            return _find(found, levels - 1)[0], value
        if findings := [_finding(item) for item in objects(found)]:
            return "; ".join(findings), value
    return "", value


def _finding(item: Json) -> str:
    """One finding of a validation (FastAPI's form): where, and what."""
    location = item.get("loc")
    where = ".".join(map(str, location)) if isinstance(location, list) else ""
    what = text(item.get("msg")) or text(item.get("message"))
    return f"{where}: {what}" if where else what


def _error(status: int, message: str, error: Json, headers: Headers, call: Call) -> ApiError:
    # Databricks: https://docs.databricks.com/api/workspace/introduction#errors.
    code = _code(error.get("code")) or _code(error.get("error_code"))
    if code in _FILTER_CODES or _code(obj(error.get("innererror")).get("code")) in _FILTER_CODES:
        code = "content_filter"
    param = error.get("param")
    return ApiError(
        status,
        _without_secrets(message, call) or f"{call.provider} answered with status {status}",
        type=text(error.get("type")) or None,
        code=code,
        param=param if isinstance(param, str) else None,
        headers=kept_headers(headers),
    )


def _code(value: Any) -> str | None:
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        return str(value) or None
    return None


def _number(value: Any) -> int:
    if isinstance(value, str) and value.isdigit() and len(value) == 3:
        return int(value)
    return integer(value) or 0


def _without_secrets(message: str, call: Call) -> str:
    """Providers quote the key they refuse, some of them whole."""
    auth = call.target.auth
    for value in (auth.header_value, auth.param_value):
        secret = (value or "").rpartition(" ")[2]
        if len(secret) >= 8:
            message = message.replace(secret, "***")
    return message

"""Whether a provider refuses because an account has nothing left to spend, and for how long.

Asked only where `kong_ai_proxy.budget_failover` is on.

- OpenAI answers 429 with type `insufficient_quota` and a code that says which limit it was
  (https://learn.microsoft.com/microsoft-cloud/dev/dev-proxy/concepts/openai-insufficient-quota), for images
  400 with code `billing_hard_limit_reached` (https://github.com/dfinke/PowerShellAI/issues/127).
- Anthropic answers 400 `invalid_request_error` that only its text tells from a bad request
  (https://github.com/anthropics/anthropic-sdk-typescript/issues/618).
- Gemini answers 429 `RESOURCE_EXHAUSTED`, how long in `google.rpc.RetryInfo`
  (https://github.com/letterstory/lettertrace/pull/34).
- DeepSeek and others answer 402 (https://api-docs.deepseek.com/quick_start/error_codes).
"""

from __future__ import annotations

from typing import Any, Final

from ..core.json import JSONDecodeError, loads_lenient

STATUSES: Final = frozenset({400, 402, 403, 429})
"""Answers whose body may say so."""
UNTOLD: Final = 300.0
"""Seconds a target without budget is left alone where its provider does not say."""

_CODES: Final = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
"""In `error.code` or `error.type`."""
_TEXTS: Final = ("credit balance is too low", "exceeded your current quota")


def seconds_without_budget(status: int, body: bytes, retry_after: float | None) -> float | None:
    """How long the account is without budget; None if that is not what the answer says."""
    if status not in STATUSES:
        return None
    error = _error(body)
    if status != 402 and not _tells(error):
        return None
    told = retry_after if retry_after is not None else _retry_delay(error)
    return UNTOLD if told is None else told


def _tells(error: dict[str, Any]) -> bool:
    if any(isinstance(value := error.get(name), str) and value in _CODES for name in ("code", "type")):
        return True
    message = error.get("message")
    return isinstance(message, str) and any(text in message.lower() for text in _TEXTS)


def _retry_delay(error: dict[str, Any]) -> float | None:
    """Of `google.rpc.RetryInfo`: seconds with an `s` behind."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            try:
                return float(delay.removesuffix("s"))
            except ValueError:
                continue
    return None


def _error(body: bytes) -> dict[str, Any]:
    try:
        answer = loads_lenient(body)
    except (JSONDecodeError, ValueError, RecursionError):
        return {}
    if isinstance(answer, list) and answer:
        answer = answer[0]  # Gemini's streams
    error = answer.get("error") if isinstance(answer, dict) else None
    return error if isinstance(error, dict) else answer if isinstance(answer, dict) else {}

"""Usage as OpenAI-compatible providers report it: read for the record, and shown to the client as it is."""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import Usage
from ..pivot import count, obj
from .dialect import SERVICE_TIERS, Dialect

_COUNTS: Final = frozenset(
    {
        "accepted_prediction_tokens",
        "audio_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "rejected_prediction_tokens",
    }
)
"""What OpenAI's detail objects count."""

_CACHED: Final = (
    "prompt_cache_hit_tokens",
    "num_cached_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
)


def note_usage(reported: Json, call: Call, dialect: Dialect) -> None:
    """Set `call.usage`. Each report replaces the one before: all of them are running totals."""
    usage = Usage.from_openai(reported)
    usage.reasoning_is_extra = dialect.reasoning_is_extra or _adds_reasoning(usage)
    if usage.cached_tokens is None:
        usage.cached_tokens = _cached(reported)
    if usage.service_tier is None:
        usage.service_tier = call.usage.service_tier
    call.usage = usage


def note_tier(answer: Json, call: Call) -> None:
    """Note the tier an answer or chunk was served at; a word that is not OpenAI's is set apart, in place."""
    tier = answer.get("service_tier")
    if isinstance(tier, str) and tier in SERVICE_TIERS:
        call.usage.service_tier = tier
    elif tier is not None:
        del answer["service_tier"]
        if isinstance(tier, str) and tier:
            call.usage.service_tier = answer["native_service_tier"] = tier


def _adds_reasoning(usage: Usage) -> bool:
    """Whether the total says that reasoning is beside `completion_tokens`: Grok anywhere, not only at xAI."""
    reasoning = usage.reasoning_tokens or 0
    return reasoning > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens + reasoning


def shown_usage(reported: Json) -> Json:
    """The provider's own numbers, with the three that OpenAI's form requires always there."""
    usage = dict(reported)
    for name, other in (("prompt_tokens", "input_tokens"), ("completion_tokens", "output_tokens")):
        if count(usage.get(name)) is None:
            usage[name] = count(usage.get(other)) or 0
    if count(usage.get("total_tokens")) is None:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict):
            wrong = [key for key in _COUNTS & details.keys() if count(details[key]) is None]
            if wrong:
                usage[name] = {key: value for key, value in details.items() if key not in wrong}
        elif details is not None:
            del usage[name]
    cached = _cached(reported)
    if cached is not None and count(obj(usage.get("prompt_tokens_details")).get("cached_tokens")) is None:
        usage["prompt_tokens_details"] = {**obj(usage.get("prompt_tokens_details")), "cached_tokens": cached}
    return usage


def _cached(reported: Json) -> int | None:
    """Cached prompt tokens under the names providers of their own have for them.

    `prompt_cache_hit_tokens`: DeepSeek; `num_cached_tokens`: Mistral; `cached_tokens`: Moonshot behind the
    Hugging Face router; `cache_read_input_tokens`: Databricks' Claude models (all recorded).
    """
    for name in _CACHED:
        value = count(reported.get(name))
        if value is not None:
            return value
    return None

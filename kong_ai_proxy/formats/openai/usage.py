"""Usage as OpenAI-compatible providers report it: read for the record, and shown to the client as it is."""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.json import Json
from ...core.usage import Usage
from ..pivot import count, obj, objects, text
from .dialect import SERVICE_TIERS, Dialect

_COUNTS: Final = frozenset(
    {
        "accepted_prediction_tokens",
        "audio_tokens",
        "cache_write_tokens",
        "cached_tokens",
        "image_tokens",
        "reasoning_tokens",
        "rejected_prediction_tokens",
        "text_tokens",
    }
)
"""What OpenAI's detail objects count."""

_CACHED: Final = (
    "prompt_cache_hit_tokens",
    "num_cached_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
)


_WRITTEN: Final = "cache_creation_input_tokens"
"""Prompt tokens written to a cache: at the top for Databricks' Claude models (recorded), among the details of
the prompt for DashScope, beside `cache_creation` by time to live
(https://www.alibabacloud.com/help/en/model-studio/context-cache)."""
_TTLS: Final = {"ephemeral_5m_input_tokens": "5m", "ephemeral_1h_input_tokens": "1h"}
_NEEDED: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")


def usage_in(answer: Json) -> Json | None:
    """The usage of an answer or a chunk: `usage`, or where others have it.

    Groq: `x_groq.usage` on a stream's finishing chunk (recorded behind Hugging Face's router; of a whole
    answer, that member counts cache hits alone). Moonshot: `usage` of the finishing choice
    (https://platform.moonshot.ai/docs/api/chat).
    """
    usage = answer.get("usage")
    if isinstance(usage, dict) and usage:
        return usage
    if "x_groq" in answer and counts(usage := obj(answer["x_groq"]).get("usage")):
        return obj(usage)
    for choice in objects(answer.get("choices")):
        if "usage" in choice and counts(usage := choice["usage"]):
            return obj(usage)
    return None


def counts(usage: Any) -> bool:
    """Whether this says how many tokens there were."""
    return isinstance(usage, dict) and any(count(usage.get(name)) is not None for name in _NEEDED)


def note_usage(reported: Json, call: Call, dialect: Dialect) -> None:
    """Set `call.usage`. Each report replaces the one before: all of them are running totals."""
    usage = Usage.from_openai(reported)
    within = usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    usage.reasoning_is_extra = (dialect.reasoning_is_extra and not within) or _adds_reasoning(usage)
    if usage.cached_tokens is None:
        usage.cached_tokens = _cached(reported)
    if usage.cache_write_tokens is None:
        usage.cache_write_tokens, by_ttl = _written(reported)
        usage.cache_write_by_ttl = by_ttl or usage.cache_write_by_ttl
    if usage.reasoning_tokens is None and "reasoning_tokens" in reported:
        # Perplexity's: https://docs.perplexity.ai/api-reference/chat-completions-post.
        usage.reasoning_tokens = count(reported["reasoning_tokens"])
    # Mistral says it here, not beside (recorded).
    usage.service_tier = text(reported.get("service_tier")) or call.usage.service_tier
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
        found = count(usage.get(name))
        usage[name] = (count(usage.get(other)) or 0) if found is None else found  # a 3.0 becomes 3
    total = count(usage.get("total_tokens"))
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"] if total is None else total
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        details = usage.get(name)
        if isinstance(details, dict):
            wrong = [key for key in _COUNTS & details.keys() if count(details[key]) is None]
            if wrong:
                usage[name] = {key: value for key, value in details.items() if key not in wrong}
        elif details is not None:
            del usage[name]
    for name, cache in (
        ("cached_tokens", _cached(reported)),
        ("cache_write_tokens", _written(reported)[0] or None),
    ):
        if cache is not None and count(obj(usage.get("prompt_tokens_details")).get(name)) is None:
            usage["prompt_tokens_details"] = {**obj(usage.get("prompt_tokens_details")), name: cache}
    return usage


def _written(reported: Json) -> tuple[int | None, dict[str, int]]:
    """Prompt tokens written to a cache, in all and by time to live."""
    details = obj(reported.get("prompt_tokens_details"))
    found = count(details.get(_WRITTEN)) if _WRITTEN in details else None
    if found is None and _WRITTEN in reported:
        found = count(reported[_WRITTEN])
    created = obj(details.get("cache_creation"))
    if not created:
        return found, {}
    return found, {ttl: tokens for name, ttl in _TTLS.items() if (tokens := count(created.get(name)))}


def _cached(reported: Json) -> int | None:
    """Cached prompt tokens under the names providers of their own have for them.

    `prompt_cache_hit_tokens`: DeepSeek; `num_cached_tokens`: Mistral; `cached_tokens`: Moonshot behind the
    Hugging Face router; `cache_read_input_tokens`: Databricks' Claude models (all recorded).
    """
    for name in _CACHED:
        if name in reported and (value := count(reported[name])) is not None:
            return value
    return None

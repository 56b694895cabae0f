"""What a call used, each token in exactly one class, and where the numbers come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .json import Json


class UsageSource(StrEnum):
    """How far the numbers can be trusted."""

    NONE = "none"
    REPORTED = "reported"
    """By the provider; or counted here where that is as exact: images, characters of a text."""
    ESTIMATED = "estimated"
    """Counted here because the provider does not report."""
    PARTIAL = "partial"
    """The client or the provider broke off; what was known by then."""


@dataclass(frozen=True, slots=True)
class OtherModel:
    """What a model used that had a part in an answer, and is not the one that gave it."""

    model: str
    """Its name at the provider; "" where that is not told."""
    prompt_tokens: int
    """All input, cached and cache-write tokens included."""
    completion_tokens: int


@dataclass(slots=True)
class Usage:
    """Token counts of one call.

    `prompt_tokens` holds all input, cached and cache-write tokens included; `completion_tokens` all output,
    reasoning included, unless `reasoning_is_extra` (xAI reports reasoning beside completion tokens; its
    total adds them). The other fields are parts of these two. `total_tokens` is the provider's own total
    where it reports one, else their sum.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int | None = None
    cached_tokens: int | None = None
    """Read from a prompt cache; part of `prompt_tokens`."""
    cache_write_tokens: int | None = None
    """Written to a prompt cache; part of `prompt_tokens`."""
    cache_write_by_ttl: dict[str, int] = field(default_factory=dict)
    """`cache_write_tokens` by time to live, e.g. {"5m": 10, "1h": 20}."""
    reasoning_tokens: int | None = None
    reasoning_is_extra: bool = False
    audio_prompt_tokens: int | None = None
    audio_completion_tokens: int | None = None
    image_prompt_tokens: int | None = None
    image_completion_tokens: int | None = None
    text_prompt_tokens: int | None = None
    text_completion_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None
    images: int | None = None
    """Images answered: what is billed where a provider bills no tokens for them."""
    seconds: float | None = None
    """Of sound heard (transcriptions) or of video made, where that is what is billed."""
    characters: int | None = None
    """Of a text that was spoken, where that is what is billed."""
    service_tier: str | None = None
    """The tier the provider says it served."""
    other_models: tuple[OtherModel, ...] = ()
    """Models that had a part in the answer at prices of their own, each once. Their tokens are in none of
    the counts above."""
    source: UsageSource = UsageSource.NONE

    @property
    def total(self) -> int:
        if self.total_tokens is not None:
            return self.total_tokens
        extra = self.reasoning_tokens or 0 if self.reasoning_is_extra else 0
        return self.prompt_tokens + self.completion_tokens + extra

    @classmethod
    def from_openai(cls, usage: object) -> Usage:
        """Read OpenAI's `usage` object: chat's (prompt/completion) or the newer input/output form.

        Unknown and null members are skipped; anything that is not an object gives an empty Usage.
        Source: https://platform.openai.com/docs/api-reference/chat/object and .../responses/object.
        """
        if not isinstance(usage, dict) or not usage:
            return cls()
        inp = _details(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
        out = _details(usage, "completion_tokens_details", "output_tokens_details", "output_token_details")
        found = cls(
            prompt_tokens=_int(usage, "prompt_tokens", "input_tokens") or 0,
            completion_tokens=_int(usage, "completion_tokens", "output_tokens") or 0,
            total_tokens=_int(usage, "total_tokens"),
            source=UsageSource.REPORTED,
        )
        if inp:
            found.cached_tokens = _int(inp, "cached_tokens")
            found.cache_write_tokens = _int(inp, "cache_write_tokens")
            found.cache_write_by_ttl = _by_ttl(inp.get("cache_write_tokens_details"))
            found.audio_prompt_tokens = _int(inp, "audio_tokens")
            found.image_prompt_tokens = _int(inp, "image_tokens")
            found.text_prompt_tokens = _int(inp, "text_tokens")
        if out:
            found.reasoning_tokens = _int(out, "reasoning_tokens")
            found.audio_completion_tokens = _int(out, "audio_tokens")
            found.image_completion_tokens = _int(out, "image_tokens")
            found.text_completion_tokens = _int(out, "text_tokens")
            found.accepted_prediction_tokens = _int(out, "accepted_prediction_tokens")
            found.rejected_prediction_tokens = _int(out, "rejected_prediction_tokens")
        if found.cached_tokens is None:
            # DeepSeek's own name for it: https://api-docs.deepseek.com/api/create-chat-completion
            found.cached_tokens = _int(usage, "prompt_cache_hit_tokens")
        return found

    def to_openai(self) -> Json:
        """OpenAI chat's `usage` object. Detail objects appear where anything in them is known."""
        usage: Json = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total,
        }
        prompt = _known(
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            audio_tokens=self.audio_prompt_tokens,
            image_tokens=self.image_prompt_tokens,
            text_tokens=self.text_prompt_tokens,
        )
        completion = _known(
            reasoning_tokens=self.reasoning_tokens,
            audio_tokens=self.audio_completion_tokens,
            image_tokens=self.image_completion_tokens,
            text_tokens=self.text_completion_tokens,
            accepted_prediction_tokens=self.accepted_prediction_tokens,
            rejected_prediction_tokens=self.rejected_prediction_tokens,
        )
        if prompt:
            usage["prompt_tokens_details"] = prompt
        if completion:
            usage["completion_tokens_details"] = completion
        return usage


def _details(usage: Json, *names: str) -> Json:
    for name in names:
        value = usage.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _by_ttl(details: object) -> dict[str, int]:
    """From `{"ttl_30m_tokens": 5, …}`, OpenAI's cache writes by time to live: {"30m": 5}."""
    if not isinstance(details, dict):
        return {}
    return {
        name[4:-7]: tokens
        for name in details
        if name.startswith("ttl_") and name.endswith("_tokens") and (tokens := _int(details, name))
    }


def _int(obj: Json, *names: str) -> int | None:
    for name in names:
        value = obj.get(name)
        # From 0 and within 64 bits (and finite): what is beyond is no count, or could not be written again.
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**63:
            return int(value)
    return None


def _known(**values: int | None) -> Json:
    return {name: value for name, value in values.items() if value is not None}

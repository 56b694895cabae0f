"""Token counts of the Messages API.

Rules, shared by answers and streams: the prompt is `input_tokens` + `cache_creation_input_tokens` +
`cache_read_input_tokens`; output counts in `message_start` are provisional; counts in `message_delta` are
cumulative and replace what was known; `iterations` are summed where there are any, because the top-level
counts leave out compaction. Not summed are those of other models, which have prices of their own: an
advisor's (`advisor_message`; recording anthropic/native-messages-tools/010: 1128 + 1262 = 2390 at the top
level, the advisor's 2518 only in its iteration), and attempts of models that declined before another one
answered (`message` entries of another model than the `fallback_message`'s). They are `Usage.other_models`.

Sources: Kong's changelog 3.15.0.4, https://platform.claude.com/docs/en/build-with-claude/compaction,
https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool (usage and billing),
https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback (billing and rate limits).
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ...core.usage import OtherModel, Usage, UsageSource

_PROMPT: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_ADVISOR: Final = "advisor_message"
_FALLBACK: Final = "fallback_message"
"""Types of iterations, as anthropic 0.121 has them (types/beta/beta_iterations_usage.py)."""
_TTLS = {"ephemeral_5m_input_tokens": "5m", "ephemeral_1h_input_tokens": "1h"}
_TIERS_SERVED = {
    "standard": "standard",
    "priority": "priority",
    "batch": "batch",
    # OpenAI's and Bedrock's word for it.
    "default": "standard",
}
"""Any provider's tier → what Anthropic's `usage.service_tier` can say; others are left out:
https://platform.claude.com/docs/en/api/service-tiers."""
_OTHERS_MAX = 8
"""Other models told by name: whatever an answer may list, a record stays small. The rest are added up as one
without a name."""


def read_usage(usage: object) -> Usage:
    """Anthropic's `usage` object. Anything that is not one gives an empty Usage."""
    if not isinstance(usage, dict) or not usage:
        return Usage()
    iterations = usage.get("iterations")
    parts, others = _by_whom(iterations) if isinstance(iterations, list) else ([], ())
    counted = parts or [usage]
    read = _total(counted, "cache_read_input_tokens")
    written = _total(counted, "cache_creation_input_tokens")
    by_ttl = _by_ttl(counted)
    if not by_ttl and written and written == _count(usage, "cache_creation_input_tokens"):
        by_ttl = _by_ttl([usage])  # iterations need not say it
    details = usage.get("output_tokens_details")
    tier = usage.get("service_tier")
    speed = usage.get("speed")
    return Usage(
        prompt_tokens=sum(map(_prompt, counted)),
        completion_tokens=sum(_count(part, "output_tokens") or 0 for part in counted),
        cached_tokens=read,
        cache_write_tokens=written,
        cache_write_by_ttl=by_ttl,
        reasoning_tokens=_count(details, "thinking_tokens") if isinstance(details, dict) else None,
        service_tier="fast" if speed == "fast" else tier if isinstance(tier, str) else None,
        other_models=others,
        source=UsageSource.REPORTED,
    )


class StreamUsage:
    """The usage of a stream, kept up to date event by event."""

    __slots__ = ("_known", "_output_seen")

    def __init__(self) -> None:
        self._known: Json = {}
        self._output_seen = False

    def start(self, usage: object) -> None:
        """`message_start`: the input is known, the output count is provisional."""
        if isinstance(usage, dict):
            self._known = {key: value for key, value in usage.items() if value is not None}
            self._known.pop("output_tokens", None)
            self._known.pop("iterations", None)

    def delta(self, usage: object) -> None:
        """`message_delta`: cumulative counts replace what was known."""
        if isinstance(usage, dict):
            self._known.update({key: value for key, value in usage.items() if value is not None})
            self._output_seen = self._output_seen or "output_tokens" in usage

    def usage(self, *, complete: bool) -> Usage:
        """What is known by now; `complete` once the answer has ended."""
        result = read_usage(self._known)
        if result.source is UsageSource.REPORTED and not (complete and self._output_seen):
            result.source = UsageSource.PARTIAL
        return result


def write_usage(usage: Usage) -> Json:
    """Anthropic's `usage` object from ours: fresh input is the prompt less what the cache took."""
    read = usage.cached_tokens or 0
    written = usage.cache_write_tokens or 0
    result: Json = {
        "input_tokens": max(usage.prompt_tokens - read - written, 0),
        "output_tokens": usage.completion_tokens
        + (usage.reasoning_tokens or 0 if usage.reasoning_is_extra else 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
    }
    if usage.cache_write_by_ttl:
        result["cache_creation"] = {name: usage.cache_write_by_ttl.get(ttl, 0) for name, ttl in _TTLS.items()}
    if usage.reasoning_tokens is not None:
        result["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    if usage.service_tier in _TIERS_SERVED:
        result["service_tier"] = _TIERS_SERVED[usage.service_tier]
    return result


def _by_whom(iterations: list[Any]) -> tuple[list[Json], tuple[OtherModel, ...]]:
    """The iterations of the model that answered, and what the other models used."""
    parts = [part for part in iterations if isinstance(part, dict)]
    served = {_model(part) for part in parts if part.get("type") == _FALLBACK} - {""}
    own: list[Json] = []
    others: dict[str, tuple[int, int]] = {}
    for part in parts:
        model = _model(part)
        declined = bool(served and model) and model not in served
        if part.get("type") != _ADVISOR and not declined:
            own.append(part)
            continue
        if model not in others and len(others) >= _OTHERS_MAX:
            model = ""
        prompt, completion = others.get(model, (0, 0))
        others[model] = (prompt + _prompt(part), completion + (_count(part, "output_tokens") or 0))
    return own, tuple(OtherModel(model, *used) for model, used in others.items())


def _model(part: Json) -> str:
    model = part.get("model")
    return model if isinstance(model, str) else ""


def _prompt(part: Json) -> int:
    return sum(_count(part, name) or 0 for name in _PROMPT)


def _count(part: Json, name: str) -> int | None:
    value = part.get(name)
    # Within 64 bits: what is beyond is no count, and could not be written as JSON again.
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**63:
        return int(value)
    return None


def _by_ttl(parts: list[Json]) -> dict[str, int]:
    """Tokens written to the cache by time to live."""
    by_ttl: dict[str, int] = {}
    for part in parts:
        split = part.get("cache_creation")
        if isinstance(split, dict):
            for name, ttl in _TTLS.items():
                if count := _count(split, name):
                    by_ttl[ttl] = by_ttl.get(ttl, 0) + count
    return by_ttl


def _total(parts: list[Json], name: str) -> int | None:
    counts = [count for part in parts if (count := _count(part, name)) is not None]
    return sum(counts) if counts else None

"""What a call cost, by the prices of its target.

The formula and its terms: https://developer.konghq.com/ai-gateway/monitor-ai-llm-metrics/ and Kong's model
cost management page (prices are per one million tokens)::

    cost = tier * ( ctx.input  * (input * input_cost + cache reads + cache writes by time to live)
                  + ctx.output * output * output_cost ) / 1,000,000
"""

from __future__ import annotations

import re
from typing import Final

from ..config.models import Options
from ..core.usage import Usage

_MILLION: Final = 1_000_000
_TTL: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", re.IGNORECASE)
_TTL_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_ABOVE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([km]?)\s*", re.IGNORECASE)
_ABOVE_TOKENS: Final = {"": 1, "k": 1000, "m": _MILLION}
_FAST: Final = re.compile(r"\bfast\b", re.IGNORECASE)


def cost(usage: Usage, options: Options) -> float:
    """In the currency of the configured prices; 0 where none is configured."""
    if not (
        options.input_cost
        or options.output_cost
        or options.cache_read_cost
        or options.cache_write_cost
        or options.cache_write_cost_list
    ):
        return 0
    input_factor, output_factor = _context_factors(usage.prompt_tokens, options)
    paid_in = _input_cost(usage, options)
    paid_out = _output_tokens(usage) * (options.output_cost or 0)
    total = input_factor * paid_in + output_factor * paid_out
    if not total:
        return 0
    return _tier_factor(usage.service_tier, options) * total / _MILLION


def _output_tokens(usage: Usage) -> int:
    """Everything billed as output. Reasoning is part of completion tokens unless the provider reports it
    beside them, as xAI does."""
    extra = usage.reasoning_tokens or 0 if usage.reasoning_is_extra else 0
    return usage.completion_tokens + extra


def _input_cost(usage: Usage, options: Options) -> float:
    """Cached tokens and cache writes at their own price where one is configured, else at the input's."""
    price = options.input_cost or 0
    read_price = price if options.cache_read_cost is None else options.cache_read_cost
    write_price = price if options.cache_write_cost is None else options.cache_write_cost
    # Parts of the prompt: a report that says more of them than there is prompt is not paid for twice.
    read = min(max(usage.cached_tokens or 0, 0), max(usage.prompt_tokens, 0))
    by_ttl = sum(usage.cache_write_by_ttl.values())
    written = max(usage.cache_write_tokens or 0, by_ttl)
    plain = max(usage.prompt_tokens - read - written, 0)
    total = plain * price + read * read_price + (written - by_ttl) * write_price
    for ttl, tokens in usage.cache_write_by_ttl.items():
        total += tokens * _ttl_price(ttl, options, write_price)
    return total


def _ttl_price(ttl: str, options: Options, otherwise: float) -> float:
    wanted = _seconds(ttl)
    for entry in options.cache_write_cost_list or ():
        if entry.ttl.strip().lower() == ttl.strip().lower() or (
            wanted is not None and _seconds(entry.ttl) == wanted
        ):
            return entry.cost
    return otherwise


def _seconds(ttl: str) -> float | None:
    match = _TTL.fullmatch(ttl)
    return float(match[1]) * _TTL_SECONDS[match[2].lower()] if match else None


def _context_factors(input_tokens: int, options: Options) -> tuple[float, float]:
    """Of the highest threshold that the input is above."""
    crossed: float = -1
    factors: tuple[float, float] = (1, 1)
    for entry in options.context_window_factor or ():
        match = _ABOVE.fullmatch(entry.above)
        if match is None:
            continue
        above = float(match[1]) * _ABOVE_TOKENS[match[2].lower()]
        if crossed < above < input_tokens:
            crossed = above
            factors = (entry.input_factor, entry.output_factor)
    return factors


def _tier_factor(service_tier: str | None, options: Options) -> float:
    """Of the longest configured tier found in the provider's word for the tier it served."""
    if not service_tier or not options.service_tier_factor:
        return 1
    served = service_tier.lower()
    longest, factor = 0, 1.0
    for entry in options.service_tier_factor:
        tier = entry.tier.lower()
        if (tier in served or (tier == "priority" and _FAST.search(served))) and len(tier) > longest:
            longest, factor = len(tier), entry.factor
    return factor

"""Every term of the cost formula, at its edges. Prices are per million tokens."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.accounting.cost import cost
from kong_ai_proxy.config.models import Options
from kong_ai_proxy.core.usage import Usage

M = 1_000_000


def options(**fields: Any) -> Options:
    return Options.model_validate(fields)


def usage(prompt: int = 0, completion: int = 0, **fields: Any) -> Usage:
    return Usage(prompt_tokens=prompt, completion_tokens=completion, **fields)


def test_nothing_configured_costs_nothing() -> None:
    result = cost(usage(10, 20), options())
    assert result == 0
    assert isinstance(result, int), "0 as in Kong's records, not 0.0"


def test_basic_formula() -> None:
    assert cost(usage(1000, 500), options(input_cost=3, output_cost=15)) == pytest.approx(0.0105)


@pytest.mark.parametrize(("fields", "expected"), [({"input_cost": 2}, 2), ({"output_cost": 5}, 5)])
def test_one_price_only(fields: dict[str, Any], expected: float) -> None:
    assert cost(usage(M, M), options(**fields)) == expected


def test_no_tokens() -> None:
    assert cost(usage(), options(input_cost=3, output_cost=15)) == 0


# Caches.


def test_cache_reads_have_their_price_and_are_not_counted_twice() -> None:
    prices = options(input_cost=10, output_cost=0, cache_read_cost=1)
    assert cost(usage(M, cached_tokens=M // 4), prices) == pytest.approx(7.5 + 0.25)


def test_cache_reads_without_a_price_of_their_own_are_input() -> None:
    assert cost(usage(M, cached_tokens=M // 4), options(input_cost=10)) == 10


def test_free_cache_reads() -> None:
    assert cost(usage(M, cached_tokens=M), options(input_cost=10, cache_read_cost=0)) == 0


def test_cache_writes() -> None:
    prices = options(input_cost=10, cache_write_cost=12.5)
    assert cost(usage(M, cache_write_tokens=M // 2), prices) == pytest.approx(5 + 6.25)
    assert cost(usage(M, cache_write_tokens=M // 2), options(input_cost=10)) == 10


def test_reads_and_writes_together() -> None:
    prices = options(input_cost=10, cache_read_cost=1, cache_write_cost=20)
    found = usage(M, cached_tokens=M // 2, cache_write_tokens=M // 4)
    assert cost(found, prices) == pytest.approx(2.5 + 0.5 + 5)


LIST = [{"ttl": "5m", "cost": 12}, {"ttl": "1h", "cost": 20}]


@pytest.mark.parametrize(
    ("by_ttl", "expected"),
    [
        ({"5m": M}, 12),
        ({"1h": M}, 20),
        ({"5m": M // 2, "1h": M // 2}, 16),
        ({"60m": M}, 20),
        ({"300s": M}, 12),
        ({"5M": M}, 12),
        ({"1d": M}, 7),
        ({"forever": M}, 7),
    ],
)
def test_cache_writes_by_time_to_live(by_ttl: dict[str, int], expected: float) -> None:
    prices = options(input_cost=1, cache_write_cost=7, cache_write_cost_list=LIST)
    assert cost(usage(M, cache_write_tokens=M, cache_write_by_ttl=by_ttl), prices) == pytest.approx(expected)


def test_writes_whose_time_is_not_reported() -> None:
    prices = options(input_cost=1, cache_write_cost=7, cache_write_cost_list=LIST)
    found = usage(M, cache_write_tokens=M, cache_write_by_ttl={"1h": M // 4})
    assert cost(found, prices) == pytest.approx(0.25 * 20 + 0.75 * 7)


def test_times_without_their_sum() -> None:
    prices = options(input_cost=1, cache_write_cost_list=LIST)
    assert cost(usage(2 * M, cache_write_by_ttl={"1h": M}), prices) == pytest.approx(21)


def test_no_match_and_no_write_price_is_input() -> None:
    prices = options(input_cost=3, cache_write_cost_list=LIST)
    assert cost(usage(M, cache_write_by_ttl={"2h": M}), prices) == pytest.approx(3)


def test_parts_larger_than_the_whole_never_make_it_negative() -> None:
    prices = options(input_cost=10, cache_read_cost=1)
    assert cost(usage(100, cached_tokens=M), prices) == pytest.approx(0.0001), "the prompt, all of it cached"
    assert cost(usage(100, cached_tokens=-5), prices) == pytest.approx(0.001)


# Reasoning.


def test_reasoning_within_completion_tokens_is_billed_once() -> None:
    assert cost(usage(0, M, reasoning_tokens=M // 2), options(output_cost=8)) == 8


def test_reasoning_beside_completion_tokens_is_billed_at_the_output_rate() -> None:
    found = usage(0, M, reasoning_tokens=M // 2, reasoning_is_extra=True)
    assert cost(found, options(output_cost=8)) == 12
    assert cost(usage(0, M, reasoning_is_extra=True), options(output_cost=8)) == 8


# Context tiers.

TIERS = [
    {"above": "200k", "input_factor": 2, "output_factor": 1.5},
    {"above": "1m", "input_factor": 4, "output_factor": 3},
]


@pytest.mark.parametrize(
    ("prompt", "input_factor", "output_factor"),
    [(199_999, 1, 1), (200_000, 1, 1), (200_001, 2, 1.5), (M, 2, 1.5), (M + 1, 4, 3)],
)
@pytest.mark.parametrize("tiers", [TIERS, TIERS[::-1]])
def test_context_tiers(prompt: int, input_factor: float, output_factor: float, tiers: list[Any]) -> None:
    prices = options(input_cost=1, output_cost=10, context_window_factor=tiers)
    expected = (prompt * input_factor + 1000 * 10 * output_factor) / M
    assert cost(usage(prompt, 1000), prices) == pytest.approx(expected)


def test_context_is_all_input_but_no_output() -> None:
    prices = options(input_cost=1, output_cost=1, cache_read_cost=0, context_window_factor=TIERS)
    assert cost(usage(300_000, cached_tokens=200_000), prices) == pytest.approx(0.2)
    assert cost(usage(0, 300_000), prices) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("above", "factor"), [("200K", 2), ("0.2m", 2), ("200000", 2), (" 200k ", 2), ("lots", 1), ("-1k", 1)]
)
def test_how_thresholds_may_be_written(above: str, factor: float) -> None:
    tiers = [{"above": above, "input_factor": 2, "output_factor": 1}]
    prices = options(input_cost=1, context_window_factor=tiers)
    assert cost(usage(M), prices) == pytest.approx(factor)


# Service tiers.

SERVICE = [
    {"tier": "flex", "factor": 0.5},
    {"tier": "priority", "factor": 2},
    {"tier": "priority-max", "factor": 3},
]


@pytest.mark.parametrize(
    ("served", "factor"),
    [
        (None, 1),
        ("", 1),
        ("default", 1),
        ("flex", 0.5),
        ("FLEX", 0.5),
        ("scale_flex_v2", 0.5),
        ("priority", 2),
        ("on_demand_priority", 2),
        ("priority-max", 3),
        ("fast", 2),
        ("ultra fast lane", 2),
        ("Fast", 2),
        ("breakfast", 1),
        ("faster", 1),
    ],
)
def test_service_tiers(served: str | None, factor: float) -> None:
    prices = options(input_cost=1, service_tier_factor=SERVICE)
    assert cost(usage(M, service_tier=served), prices) == pytest.approx(factor)


def test_longest_match_wins_in_any_order() -> None:
    prices = options(input_cost=1, service_tier_factor=SERVICE[::-1])
    assert cost(usage(M, service_tier="priority-max"), prices) == pytest.approx(3)


def test_everything_at_once() -> None:
    prices = options(
        input_cost=3,
        output_cost=15,
        cache_read_cost=0.3,
        cache_write_cost=3.75,
        cache_write_cost_list=[{"ttl": "1h", "cost": 6}],
        context_window_factor=TIERS,
        service_tier_factor=SERVICE,
    )
    found = usage(
        300_000,
        2_000,
        cached_tokens=100_000,
        cache_write_tokens=50_000,
        cache_write_by_ttl={"5m": 20_000, "1h": 30_000},
        service_tier="priority",
    )
    paid_in = 150_000 * 3 + 100_000 * 0.3 + 20_000 * 3.75 + 30_000 * 6
    assert cost(found, prices) == pytest.approx(2 * (2 * paid_in + 1.5 * 2_000 * 15) / M)

"""Shares by weight, spread evenly; groups by priority; nobody is tried again while others are left."""

from __future__ import annotations

from collections import Counter

import pytest

from kong_ai_proxy.balancer.base import Algorithm, Asked, Outcome
from kong_ai_proxy.balancer.fixed import FixedTarget
from kong_ai_proxy.balancer.weighted import Priority, RoundRobin
from kong_ai_proxy.core.http import ClientRequest

REQUEST = Asked(ClientRequest("POST", "/", "", {}))


def picks(balancer: Algorithm, count: int, candidates: list[int]) -> list[int | None]:
    return [balancer.pick(candidates, [], REQUEST) for _ in range(count)]


@pytest.mark.parametrize("weights", [[70, 25, 5], [1, 1, 1], [1, 65535], [3, 2]])
def test_shares_are_exact_over_a_whole_cycle(weights: list[int]) -> None:
    cycle = sum(weights)
    counted = Counter(picks(RoundRobin(weights), cycle, list(range(len(weights)))))
    assert [counted[index] for index in range(len(weights))] == weights


def test_the_heavy_one_comes_in_no_bursts() -> None:
    chosen = picks(RoundRobin([5, 1, 1]), 7, [0, 1, 2])
    assert chosen == [0, 0, 1, 0, 2, 0, 0]


def test_candidates_only() -> None:
    assert set(picks(RoundRobin([1, 1, 1]), 10, [0, 2])) == {0, 2}


def test_untried_ones_first() -> None:
    balancer = RoundRobin([1, 1, 1])
    assert balancer.pick([0, 1, 2], [0], REQUEST) in (1, 2)
    assert balancer.pick([0, 1, 2], [0, 2], REQUEST) == 1


def test_when_all_were_tried_not_the_last_one_again() -> None:
    balancer = RoundRobin([1, 1])
    assert [balancer.pick([0, 1], [0, 1], REQUEST) for _ in range(4)] == [0] * 4
    assert balancer.pick([0], [0], REQUEST) == 0, "unless it is the only one"


def test_retries_do_not_spoil_the_shares() -> None:
    balancer = RoundRobin([1, 1])
    counted: Counter[int | None] = Counter()
    for _ in range(100):
        first = balancer.pick([0, 1], [], REQUEST)
        counted[first] += 1
        if first == 0:
            balancer.pick([0, 1], [0], REQUEST)
    assert counted == {0: 50, 1: 50}


def test_no_candidates() -> None:
    for balancer in (RoundRobin([1]), Priority([1]), FixedTarget()):
        assert balancer.pick([], [], REQUEST) is None


def test_highest_group_goes_first_and_shares_evenly() -> None:
    balancer = Priority([70, 70, 25])
    assert Counter(picks(balancer, 10, [0, 1, 2])) == {0: 5, 1: 5}


def test_lower_groups_only_when_the_higher_are_exhausted() -> None:
    balancer = Priority([25, 70, 70])
    assert balancer.pick([0, 1, 2], [1], REQUEST) == 2
    assert balancer.pick([0, 1, 2], [1, 2], REQUEST) == 0
    assert balancer.pick([0, 1, 2], [1, 2, 0], REQUEST) is None, "nobody is tried twice"


@pytest.mark.parametrize("balancer", [FixedTarget(), RoundRobin([1]), Priority([1])])
def test_feedback_is_taken(balancer: Algorithm) -> None:
    balancer.started(0)
    balancer.ended(0, Outcome(ok=False))
    assert balancer.pick([0], [], REQUEST) == 0

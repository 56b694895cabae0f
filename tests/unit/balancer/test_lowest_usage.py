"""The target used least, for its weight; simulated traffic."""

from __future__ import annotations

import random
from typing import Any

import pytest
from auth_support import logged
from balancer_support import Traffic, answer, asked, failure, guarded
from exchange_support import Clock

from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.balancer.weighted import RoundRobin


def priced(weights: list[int], clock: Clock, strategy: str) -> Any:
    balancer = guarded(weights, clock, algorithm="lowest-usage", tokens_count_strategy="total-tokens")
    if strategy == "total-tokens":
        return balancer
    from kong_ai_proxy.balancer.usage import LowestUsage

    balancer.algorithm = LowestUsage(balancer.states, weights, strategy, clock)
    return balancer


@pytest.mark.parametrize("strategy", ["total-tokens", "prompt-tokens", "completion-tokens", "cost"])
def test_usage_evens_out(strategy: str) -> None:
    """One target's answers use four times as much as the other's: it gets a fourth of the requests."""
    clock, rng = Clock(), random.Random(2)
    used = [0.0, 0.0]

    def serve(target: int, in_flight: int) -> Outcome:
        amount = (400 if target == 0 else 100) * rng.uniform(0.5, 1.5)
        used[target] += amount
        return answer(3000, tokens=int(amount), prompt=int(amount), cost=amount / 1e6)

    sim = Traffic(priced([100, 100], clock, strategy), clock, serve)
    counted = sim.run(300, 10, [0, 1])
    assert used[0] / used[1] == pytest.approx(1, abs=0.1)
    assert counted[0] / counted.total() == pytest.approx(0.2, abs=0.05)


def test_weights_are_shares_of_the_usage() -> None:
    clock = Clock()
    sim = Traffic(priced([300, 100], clock, "total-tokens"), clock, lambda target, _: answer(500, tokens=100))
    counted = sim.run(300, 10, [0, 1])
    assert counted[0] / counted.total() == pytest.approx(0.75, abs=0.03)


def test_requests_under_way_count_so_that_they_do_not_herd() -> None:
    """Usage is known only when an answer has ended: until then nobody must get everything."""
    clock = Clock()
    sim = Traffic(priced([1, 1, 1], clock, "total-tokens"), clock, lambda *_: answer(20_000, tokens=100))
    counted = sim.run(20, 30, [0, 1, 2])
    assert all(0.3 <= counted[target] / counted.total() <= 0.37 for target in range(3))
    sim.settle(clock.now + 60)
    sim.run(100, 30, [0, 1, 2])
    assert max(sim.most.values()) <= 1.2 * 20 * 30 / 3


def test_old_usage_is_forgotten_and_a_new_target_gets_its_part_soon() -> None:
    clock = Clock()
    sim = Traffic(priced([1, 1], clock, "total-tokens"), clock, lambda *_: answer(100, tokens=100))
    sim.run(600, 10, [0])
    counted = sim.run(60, 10, [0, 1])
    assert counted[0] > 0, "the first is not left idle until the second has caught up with ten minutes"
    late = sim.run(300, 10, [0, 1])
    assert late[0] / late.total() == pytest.approx(0.5, abs=0.05)


def test_a_failing_target_is_not_the_first_choice_for_ever() -> None:
    clock = Clock()
    sim = Traffic(
        priced([1, 1], clock, "total-tokens"),
        clock,
        lambda target, _: answer(100, tokens=100) if target else failure(),
    )
    counted = sim.run(100, 10, [0, 1])
    assert counted[0] / counted.total() <= 0.55


def test_tokens_of_broken_off_answers_count() -> None:
    clock = Clock()
    balancer = priced([1, 1], clock, "total-tokens")
    balancer.started(0)
    balancer.ended(0, answer(10, tokens=1000, partial=True))
    assert [balancer.pick([0, 1], [], asked()) for _ in range(3)] == [1, 1, 1]


def test_retries_go_elsewhere() -> None:
    balancer = priced([1, 1, 1], Clock(), "total-tokens")
    assert balancer.pick([0, 1, 2], [0, 1], asked()) == 2
    assert balancer.pick([], [], asked()) is None


def test_accuracy_without_scores_goes_by_weight() -> None:
    with logged() as lines:
        balancer = guarded([3, 1], Clock(), algorithm="lowest-usage", tokens_count_strategy="llm-accuracy")
    assert lines.getvalue().count("llm_accuracy_without_scores") == 1, "and whoever starts it is told"
    assert isinstance(balancer.algorithm, RoundRobin)
    assert [balancer.pick([0, 1], [], asked()) for _ in range(4)].count(0) == 3

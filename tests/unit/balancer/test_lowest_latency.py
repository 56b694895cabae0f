"""Mostly the fastest target, the others often enough; simulated traffic."""

from __future__ import annotations

import random

import pytest
from balancer_support import Traffic, answer, asked, failure, guarded
from exchange_support import Clock

from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.balancer.states import States


def traffic(times: list[float], *, noise: float = 0.2, strategy: str = "e2e") -> Traffic:
    """Targets that take so many ms, changed in place by tests."""
    clock, rng = Clock(), random.Random(3)
    balancer = guarded([100] * len(times), clock, algorithm="lowest-latency", latency_strategy=strategy)

    def serve(target: int, in_flight: int) -> Outcome:
        return answer(times[target] * rng.uniform(1 - noise, 1 + noise), tokens=10)

    return Traffic(balancer, clock, serve)


@pytest.mark.parametrize("strategy", ["tpot", "e2e"])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_fastest_gets_nine_tenths_and_nobody_starves(strategy: str, count: int) -> None:
    sim = traffic([400.0] * (count - 1) + [150.0], strategy=strategy)
    every = list(range(count))
    sim.run(20, 50, every)
    counted = sim.run(100, 50, every)
    total = counted.total()
    assert 0.90 <= counted[count - 1] / total <= 0.99
    for slow in range(count - 1):
        assert 0.001 <= counted[slow] / total <= 0.05


def test_equals_share() -> None:
    sim = traffic([200.0, 200.0, 200.0])
    sim.run(20, 50, [0, 1, 2])
    counted = sim.run(200, 50, [0, 1, 2])
    for target in range(3):
        assert 0.2 <= counted[target] / counted.total() <= 0.47


def test_it_leaves_a_target_that_slows_down_and_returns_when_it_recovers() -> None:
    times = [100.0, 300.0]
    sim = traffic(times)
    sim.run(60, 30, [0, 1])
    assert sim.run(20, 30, [0, 1])[0] > 20 * 30 * 0.9
    times[0] = 2000.0
    began = sim.clock.now
    sim.run(3, 30, [0, 1])
    sim.run(57, 30, [0, 1])
    after = [target for at, target in sim.picks if at > began + 5]
    assert after.count(0) / len(after) < 0.1, "within five seconds of the first slow answer"
    times[0] = 100.0
    sim.run(90, 30, [0, 1])
    assert sim.run(20, 30, [0, 1])[0] > 20 * 30 * 0.85


@pytest.mark.parametrize("per_second", [40, 60, 70])
def test_targets_that_slow_down_under_load_do_not_take_turns(per_second: int) -> None:
    """The herd: whoever is fastest gets everything, and is the slowest then. At 70 a second both together are
    at 70 % of what they can take."""
    clock, rng = Clock(), random.Random(5)
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="e2e")

    def serve(target: int, in_flight: int) -> Outcome:
        return answer(200 * (1 + in_flight / 10) * rng.uniform(0.9, 1.1))

    sim = Traffic(balancer, clock, serve)
    sim.run(60, per_second, [0, 1])
    settled = sim.clock.now
    sim.run(120, per_second, [0, 1])
    shares = sim.shares(settled, 2.0, 0)
    assert all(0.3 <= share <= 0.7 for share in shares), shares
    assert 0.45 <= sum(shares) / len(shares) <= 0.55


def test_one_target_is_enough() -> None:
    clock = Clock()
    balancer = guarded([100], clock, algorithm="lowest-latency")
    assert balancer.pick([0], [], asked()) == 0
    assert balancer.pick([0], [0], asked()) == 0
    sim = traffic([100.0])
    assert sim.run(10, 10, [0])[0] >= 99


def test_refusing_at_once_is_not_being_fast() -> None:
    clock = Clock()
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="e2e")

    def serve(target: int, in_flight: int) -> Outcome:
        return answer(500.0) if target else failure(2.0)

    sim = Traffic(balancer, clock, serve)
    sim.run(10, 20, [0, 1])
    counted = sim.run(60, 20, [0, 1])
    assert counted[0] / counted.total() < 0.05


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(ok=True, status=400, latency_ms=1.0),
        Outcome(ok=True, latency_ms=1.0),
        answer(1.0, partial=True),
        Outcome(ok=True, status=200),
    ],
)
def test_answers_that_tell_no_speed(outcome: Outcome) -> None:
    clock = Clock()
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="e2e")
    balancer.started(1)
    balancer.ended(1, answer(100.0))
    before = balancer.algorithm.shares([0, 1])  # type: ignore[attr-defined]
    balancer.started(0)
    balancer.ended(0, outcome)
    assert balancer.algorithm.shares([0, 1]) == before  # type: ignore[attr-defined]


def test_a_new_target_is_tried_by_one_request_first() -> None:
    clock = Clock()
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="e2e")
    balancer.started(0)
    balancer.ended(0, answer(100.0))
    assert balancer.algorithm.shares([0, 1]) == pytest.approx([0.5, 0.5])  # type: ignore[attr-defined]
    balancer.started(1)
    assert balancer.algorithm.shares([0, 1]) == pytest.approx([0.98, 0.02])  # type: ignore[attr-defined]


def test_embeddings_have_no_output_tokens() -> None:
    clock = Clock()
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="tpot")
    for target, taken in ((0, 50.0), (1, 200.0)):
        balancer.started(target)
        balancer.ended(target, answer(taken, tokens=0))
    assert balancer.algorithm.shares([0, 1])[0] > 0.95  # type: ignore[attr-defined]


def test_zero_milliseconds_break_nothing() -> None:
    clock = Clock()
    balancer = guarded([1, 1], clock, algorithm="lowest-latency", latency_strategy="e2e")
    for target in (0, 1):
        balancer.started(target)
        balancer.ended(target, answer(0.0))
    assert balancer.algorithm.shares([0, 1]) == pytest.approx([0.5, 0.5])  # type: ignore[attr-defined]


def test_what_was_learnt_outlives_the_instance() -> None:
    clock, states = Clock(), States()
    first = guarded([1, 1], clock, states, algorithm="lowest-latency", latency_strategy="e2e")
    for target, taken in ((0, 50.0), (1, 500.0)):
        first.started(target)
        first.ended(target, answer(taken))
    second = guarded([9, 1], clock, states, algorithm="lowest-latency", latency_strategy="e2e")
    assert second.algorithm.shares([0, 1])[0] == pytest.approx(0.98)  # type: ignore[attr-defined]
    other = guarded([1, 1], clock, states, algorithm="lowest-latency", latency_strategy="tpot")
    assert other.algorithm.shares([0, 1]) == [0.5, 0.5], "tpot is another measure"  # type: ignore[attr-defined]

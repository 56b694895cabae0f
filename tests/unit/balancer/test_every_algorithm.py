"""Every algorithm under the same simulated traffic, within stated bounds: shares, nobody starved, no swinging
to and fro, and what happens when a target slows down, or goes away, and recovers.

Time moves by events (`balancer_support.Traffic`); twenty requests a second, answers of about 300 ms.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass
from typing import Any, get_args

import pytest
from balancer_support import Traffic, answer, asked, failure, guarded
from exchange_support import Clock

from kong_ai_proxy.balancer.accuracy import MostAccurate
from kong_ai_proxy.balancer.base import Asked, Outcome
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.semantic import Semantic
from kong_ai_proxy.balancer.usage import LowestUsage
from kong_ai_proxy.config.models import base

RATE = 20.0
WINDOW = 5.0
"""Seconds in which shares are looked at: a hundred requests."""
LATENCY = 300.0
SLOW = 10
"""Times as long a slow target takes, and as many tokens it uses."""


@dataclass(frozen=True)
class Expected:
    """What is stated of an algorithm, for three targets of the given weights."""

    name: str
    settings: dict[str, Any]
    weights: list[int]
    shares: list[float]
    within: float
    """How far a share over minutes may be from the stated one."""
    swing: float
    """How far a window's share may be from the average of all windows."""
    slowed: float | None = None
    """Largest share of a target that became slow, or uses more; None: the algorithm does not look."""


EVEN = [1 / 3] * 3
BY_WEIGHT = [0.7, 0.25, 0.05]
ALGORITHMS = [
    Expected("round-robin", {}, [70, 25, 5], BY_WEIGHT, 0.001, 0.015),
    Expected("priority", {}, [9, 9, 9], EVEN, 0.001, 0.015),
    # By chance, without the header: four standard deviations of a hundred requests.
    Expected("consistent-hashing", {}, [70, 25, 5], BY_WEIGHT, 0.03, 0.19),
    Expected("least-connections", {}, [4, 4, 4], EVEN, 0.02, 0.08, slowed=0.08),
    Expected("lowest-latency", {"latency_strategy": "e2e"}, [1, 1, 1], EVEN, 0.12, 0.35, slowed=0.06),
    Expected("lowest-latency", {"latency_strategy": "tpot"}, [1, 1, 1], EVEN, 0.12, 0.35, slowed=0.06),
    *(
        Expected("lowest-usage", {"tokens_count_strategy": each}, [1, 1, 1], EVEN, 0.02, 0.1, slowed=0.2)
        for each in ("total-tokens", "prompt-tokens", "completion-tokens", "cost")
    ),
    # Without a judge; with one, see test_llm_accuracy.py.
    Expected("lowest-usage", {"tokens_count_strategy": "llm-accuracy"}, [70, 25, 5], BY_WEIGHT, 0.001, 0.015),
    Expected("lowest-usage", {"tokens_count_strategy": "llm-accuracy", "judged": "equally"}, [70, 25, 5],
             BY_WEIGHT, 0.07, 0.16, slowed=0.04),
    Expected("semantic", {}, [70, 25, 5], BY_WEIGHT, 0.001, 0.015),
]  # fmt: skip


def identity(case: Expected) -> str:
    return "-".join([case.name, *case.settings.values()])


def balancer_of(case: Expected, clock: Clock) -> Guarded:
    if case.name == "semantic":
        # Three targets of one description share by weight; who is near is test_semantic_matching.py's.
        balancer = guarded(case.weights, clock)
        balancer.algorithm = semantic = Semantic(["the same"] * 3, case.weights, None)
        semantic.matcher = Near()
        return balancer
    if "judged" in case.settings:
        balancer = guarded(case.weights, clock)
        balancer.algorithm = MostAccurate(balancer.states, case.weights)
        return balancer
    if case.settings.get("tokens_count_strategy") == "cost":
        # Prices have no say here, what an answer cost has.
        balancer = guarded(case.weights, clock)
        balancer.algorithm = LowestUsage(balancer.states, case.weights, "cost", clock)
        return balancer
    return guarded(case.weights, clock, algorithm=case.name, **case.settings)


class Near:
    def distances(self, text: str) -> list[float]:
        return [0.1]


class Targets:
    """Targets about equally fast; those in `slow` take SLOW times as long, and use as much more where the
    algorithm goes by usage, or answer badly where it goes by that."""

    judged: Judged | None = None

    def __init__(self, by_usage: bool) -> None:
        self.slow: set[int] = set()
        self.down: set[int] = set()
        self._by_usage = by_usage
        self._rng = random.Random(11)

    def serve(self, target: int, in_flight: int) -> Outcome:
        if target in self.down:
            return failure()
        if self.judged is not None:
            self.judged.answer(target, 20 if target in self.slow else 80)
        times = SLOW if target in self.slow else 1
        spread = self._rng.uniform(0.8, 1.2)
        used = int(100 * spread) * (times if self._by_usage else 1)
        return answer(LATENCY * times * spread, tokens=used, prompt=used, cost=used / 1e6)


class Judged:
    """A judge that scores every answer a second late, give or take eight points."""

    def __init__(self, sim: Traffic, *, every: int = 1, spread: float = 8.0, delay: float = 1.0) -> None:
        self._sim = sim
        self._every = every
        self._spread = spread
        self._delay = delay
        self._waiting: deque[tuple[float, int, float]] = deque()
        self._rng = random.Random(5)
        self._number = 0

    def answer(self, target: int, quality: float) -> None:
        now = self._sim.clock.now
        while self._waiting and self._waiting[0][0] <= now:
            _, judged, score = self._waiting.popleft()
            self._sim.balancer.scored(judged, score)
        self._number += 1
        if self._number % self._every == 0:
            score = min(max(self._rng.gauss(quality, self._spread), 1), 100)
            self._waiting.append((now + self._delay, target, score))


def traffic(case: Expected) -> tuple[Traffic, Targets]:
    clock, targets = Clock(), Targets(case.name == "lowest-usage")
    sim = Traffic(balancer_of(case, clock), clock, targets.serve, ask=question)
    if "judged" in case.settings:
        targets.judged = Judged(sim)
    return sim, targets


def question() -> Asked:
    made = asked()
    made.body = {"messages": [{"role": "user", "content": "anything"}]}
    return made


@pytest.mark.parametrize("case", ALGORITHMS, ids=identity)
def test_shares_are_as_stated_steady_and_nobody_starves(case: Expected) -> None:
    sim, _ = traffic(case)
    sim.run(60, RATE, [0, 1, 2])
    began = sim.clock.now
    counted = sim.run(200, RATE, [0, 1, 2])
    for target, stated in enumerate(case.shares):
        share = counted[target] / counted.total()
        assert share == pytest.approx(stated, abs=case.within), f"target {target}"
        windows = sim.shares(began, WINDOW, target)
        assert max(abs(window - share) for window in windows) <= case.swing, f"target {target}: {windows}"
        # Nobody waits longer than twelve times its turn, even where it is drawn by lot.
        times = [at for at, picked in sim.picks if picked == target]
        longest = max(later - sooner for sooner, later in itertools.pairwise(times))
        assert longest <= 12 / (RATE * stated), f"target {target} got nothing for {longest:.1f} s"


@pytest.mark.parametrize("case", ALGORITHMS, ids=identity)
def test_a_target_that_slows_down_is_left_and_comes_back(case: Expected) -> None:
    """Within half a minute its share is that of a slow one, where the algorithm looks at that, and stays so.
    A minute and a half after it recovered it has its part again. It is tried all the while."""
    sim, targets = traffic(case)
    sim.run(40, RATE, [0, 1, 2])
    targets.slow.add(0)
    sim.run(30, RATE, [0, 1, 2])
    slow = sim.run(80, RATE, [0, 1, 2])
    share = slow[0] / slow.total()
    assert slow[0] > 0, "it would never be found to have recovered"
    if case.slowed is None:
        assert share == pytest.approx(case.shares[0], abs=case.within)
    else:
        assert share <= case.slowed
    targets.slow.clear()
    sim.run(90, RATE, [0, 1, 2])
    again = sim.run(80, RATE, [0, 1, 2])
    assert again[0] / again.total() == pytest.approx(case.shares[0], abs=max(case.within, 0.05) + 0.05)


@pytest.mark.parametrize("case", ALGORITHMS, ids=identity)
def test_a_target_that_is_down_gets_its_trials_and_nothing_else(case: Expected) -> None:
    """With a circuit breaker: one trial every `fail_timeout`, the others take over. It has its part again
    soon after it is back, however long it was away."""
    sim, targets = traffic(case)
    sim.balancer.max_fails, sim.balancer.fail_timeout = 3, 10.0
    targets.down.add(0)
    sim.run(30, RATE, [0, 1, 2])
    counted = sim.run(100, RATE, [0, 1, 2])
    assert 1 <= counted[0] <= 10
    targets.down.clear()
    sim.run(30, RATE, [0, 1, 2])
    assert sim.run(60, RATE, [0, 1, 2])[0] > 0.5 * case.shares[0] * 60 * RATE


def test_every_algorithm_of_the_schema_is_here() -> None:
    assert {case.name for case in ALGORITHMS} == set(get_args(base.Algorithm))
    by = {case.settings.get("tokens_count_strategy") for case in ALGORITHMS} - {None}
    assert by == set(get_args(base.TokensCountStrategy))
    assert {"e2e", "tpot"} == {case.settings.get("latency_strategy") for case in ALGORITHMS} - {None}

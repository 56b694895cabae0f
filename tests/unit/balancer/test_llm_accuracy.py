"""Balancing by what a judge says of the answers. Under the same traffic as all other algorithms:
test_every_algorithm.py."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from balancer_support import Traffic, answer, asked, guarded
from exchange_support import Clock, advanced, target_config

from kong_ai_proxy.balancer.accuracy import MostAccurate
from kong_ai_proxy.balancer.base import Outcome, Scored
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.measures import Accuracy
from kong_ai_proxy.balancer.states import States
from kong_ai_proxy.balancer.weighted import RoundRobin
from kong_ai_proxy.metrics.sources import of_targets

RATE = 20.0


def judged(weights: list[int], **more: Any) -> Guarded:
    balancer = guarded(weights, Clock(), **more)
    balancer.algorithm = MostAccurate(balancer.states, weights)
    return balancer


def scores(balancer: Guarded, *all_scores: list[float]) -> None:
    for target, given in enumerate(all_scores):
        for score in given:
            balancer.scored(target, score)


def picks(balancer: Guarded, number: int = 1000, candidates: list[int] | None = None) -> Counter[int]:
    choice = candidates or list(range(len(balancer.states)))
    found: Counter[int] = Counter()
    for _ in range(number):
        target = balancer.pick(choice, [], asked())
        assert target is not None
        found[target] += 1
    return found


def test_a_configured_judge_makes_the_algorithm() -> None:
    instance = advanced(
        target_config(),
        target_config(name="other"),
        balancer={"algorithm": "lowest-usage", "tokens_count_strategy": "llm-accuracy"},
        kong_ai_proxy={"judge": {"llm": target_config(name="judge")}},
    )
    assert isinstance(instance.balancer, Guarded) and isinstance(instance.balancer, Scored)
    assert isinstance(instance.balancer.algorithm, MostAccurate)


def test_with_another_algorithm_a_judge_is_for_the_metrics_alone() -> None:
    judge = {"llm": target_config(name="judge")}
    instance = advanced(target_config(), target_config(name="other"), kong_ai_proxy={"judge": judge})
    assert instance.judge is not None and isinstance(instance.balancer, Guarded)
    assert isinstance(instance.balancer.algorithm, RoundRobin)
    instance.balancer.scored(1, 60)
    gauges = {
        family.name: family.samples
        for family in of_targets(lambda: [SimpleNamespace(instance=instance)])
    }
    (labels,) = gauges["kong_ai_proxy_target_accuracy"]
    assert dict(labels)["target"] == "2" and gauges["kong_ai_proxy_target_accuracy"][labels] == 60
    assert list(gauges["kong_ai_proxy_target_scores"].values()) == [1]


def test_without_scores_it_goes_by_weight() -> None:
    assert picks(judged([70, 25, 5])) == {0: 700, 1: 250, 2: 50}


def test_the_best_gets_nearly_everything_and_the_others_their_probes() -> None:
    balancer = judged([1, 1, 1])
    scores(balancer, [90] * 5, [40] * 5, [20] * 5)
    found = picks(balancer, 1040)
    assert found == {0: 1000, 1: 20, 2: 20}


def test_targets_about_equally_good_share_by_weight() -> None:
    balancer = judged([3, 1])
    scores(balancer, [80] * 5, [80] * 5)
    assert picks(balancer) == {0: 750, 1: 250}
    scores(balancer, [], [82] * 30)  # two points better
    share = picks(balancer)[1] / 1000
    assert 0.25 < share < 0.4


@pytest.mark.parametrize(("points", "least", "most"), [(5, 0.24, 0.3), (10, 0.1, 0.14), (20, 0.017, 0.03)])
def test_the_share_falls_with_the_distance(points: float, least: float, most: float) -> None:
    balancer = judged([1, 1])
    scores(balancer, [90] * 5, [90 - points] * 5)
    assert least <= picks(balancer)[1] / 1000 <= most


def test_one_unlucky_score_says_nothing_yet() -> None:
    balancer = judged([1, 1])
    scores(balancer, [90] * 5, [1, 1])
    assert picks(balancer)[1] == 500
    scores(balancer, [], [1])
    assert picks(balancer)[1] < 30


def test_a_new_target_is_tried_beside_known_ones() -> None:
    balancer = judged([1, 1, 1])
    scores(balancer, [90] * 50, [30] * 50)
    found = picks(balancer)
    assert found[2] == pytest.approx(490, abs=10) and found[0] == pytest.approx(490, abs=10)


def test_many_bad_targets_do_not_take_all_with_their_probes() -> None:
    balancer = judged([1] * 21)
    scores(balancer, [90] * 5, *([[10] * 5] * 20))
    found = picks(balancer, 10000)
    assert found[0] >= 9400
    assert min(found.values()) >= 25, "none starves"


def test_a_weight_below_the_probes_stays_what_it_is() -> None:
    balancer = judged([1, 999])
    scores(balancer, [90] * 5, [90] * 5)
    assert picks(balancer, 2000)[0] == 2


def test_the_one_that_is_left_is_taken_and_retries_go_elsewhere() -> None:
    balancer = judged([1, 1])
    scores(balancer, [90] * 5, [10] * 5)
    assert balancer.pick([1], [], asked()) == 1
    assert balancer.pick([0, 1], [0], asked()) == 1
    assert balancer.pick([0, 1], [1], asked()) == 0
    assert balancer.pick([], [], asked()) is None


class Answers:
    """What targets' answers are worth, and a judge that looks at a part of them, late and not exactly."""

    def __init__(self, *quality: float, sampling: float = 1.0, spread: float = 12.0, late: int = 20) -> None:
        self.quality = list(quality)
        self._sampling = sampling
        self._spread = spread
        self._late = late
        self._rng = random.Random(3)
        self._waiting: list[tuple[int, float]] = []
        self.balancer: Any = None

    def serve(self, target: int, in_flight: int) -> Outcome:
        if self._rng.random() < self._sampling:
            score = self._rng.gauss(self.quality[target], self._spread)
            self._waiting.append((target, min(max(score, 1.0), 100.0)))
        if len(self._waiting) > self._late:
            self.balancer.scored(*self._waiting.pop(0))
        return answer(300.0)


def simulated(answers: Answers, weights: list[int]) -> Traffic:
    balancer = judged(weights)
    answers.balancer = balancer
    return Traffic(balancer, balancer._clock, answers.serve)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampling", [1.0, 0.1])
def test_traffic_goes_to_the_best_and_follows_when_that_changes(sampling: float) -> None:
    """Twenty requests a second, all answers judged, or a tenth of them: that a target turned bad is seen
    within a minute, or ten; twice that for one that had but its probes and is good now."""
    answers = Answers(85, 40, 30, sampling=sampling)
    sim = simulated(answers, [1, 1, 1])
    soon = 60 / sampling
    sim.run(soon, RATE, [0, 1, 2])
    settled = sim.run(100, RATE, [0, 1, 2])
    assert settled[0] / settled.total() >= 0.9
    assert min(settled.values()) >= 20, "nobody starves"
    answers.quality[0] = 20  # it turns bad
    sim.run(soon, RATE, [0, 1, 2])
    after = sim.run(100, RATE, [0, 1, 2])
    assert after[0] / after.total() <= 0.1
    assert after[0] >= 20
    answers.quality[2] = 95  # one that was bad is found to be good
    sim.run(2 * soon, RATE, [0, 1, 2])
    found = sim.run(100, RATE, [0, 1, 2])
    assert found[2] / found.total() >= 0.9


def test_a_noisy_judge_makes_no_swinging() -> None:
    """Targets that are equally good, scores that differ by dozens of points: no window of ten seconds leaves
    one of them without work, or gives it everything."""
    answers = Answers(75, 75, spread=20)
    sim = simulated(answers, [1, 1])
    sim.run(30, RATE, [0, 1])
    began = sim.clock.now
    counted = sim.run(600, RATE, [0, 1])
    assert counted[0] / counted.total() == pytest.approx(0.5, abs=0.12)
    windows = sim.shares(began, 10.0, 0)
    assert min(windows) > 0.0 and max(windows) < 1.0
    jumps = [abs(later - sooner) for sooner, later in itertools.pairwise(windows)]
    assert sum(jumps) / len(jumps) < 0.25


def test_the_average_remembers_about_ten_scores() -> None:
    accuracy = Accuracy()
    for score in (10, 20, 30):
        accuracy.add(score)
    assert accuracy.mean == pytest.approx(20) and accuracy.known
    for _ in range(100):
        accuracy.add(90)
    assert accuracy.mean == pytest.approx(90, abs=0.1)
    for _ in range(7):
        accuracy.add(10)
    assert 45 < accuracy.mean < 60


def test_scores_outlive_a_reload_that_leaves_the_target_alone() -> None:
    states = States()
    before = judged([1, 1], states=states)
    scores(before, [70] * 4)
    after = judged([5, 1], states=states)
    assert after.states[0].accuracy.mean == 70 and after.states[1].accuracy.scores == 0
    other = judged([1, 1], states=states, names=["changed", "m1"])
    assert other.states[0].accuracy.scores == 0

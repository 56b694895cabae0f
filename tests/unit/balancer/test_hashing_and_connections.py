"""Sticky by a header with minimal movement; most room first."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from balancer_support import Traffic, answer, asked, guarded
from exchange_support import Clock

from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.balancer.guard import Guarded

VALUES = [f"user-{number}" for number in range(5000)]


def hashed(weights: list[int], names: list[str] | None = None, slots: int = 10000) -> Guarded:
    return guarded(
        weights, Clock(), names=names, algorithm="consistent-hashing", hash_on_header="X-User", slots=slots
    )


def placed(balancer: Guarded, candidates: list[int], tried: list[int] | None = None) -> dict[str, int | None]:
    return {value: balancer.pick(candidates, tried or [], asked(x_user=value)) for value in VALUES}


def test_the_same_value_goes_to_the_same_target() -> None:
    balancer = hashed([1, 1, 1])
    assert placed(balancer, [0, 1, 2]) == placed(balancer, [0, 1, 2])
    assert placed(hashed([1, 1, 1]), [0, 1, 2]) == placed(balancer, [0, 1, 2]), "in every process"


@pytest.mark.parametrize("weights", [[1, 1, 1], [70, 25, 5], [100, 300]])
def test_shares_by_weight(weights: list[int]) -> None:
    every = list(range(len(weights)))
    counted = Counter(placed(hashed(weights), every).values())
    for index in every:
        assert counted[index] / len(VALUES) == pytest.approx(weights[index] / sum(weights), abs=0.03)


def test_a_target_that_goes_moves_only_its_own_values() -> None:
    before = placed(hashed([1, 1, 1, 1], ["a", "b", "c", "d"]), [0, 1, 2, 3])
    after = placed(hashed([1, 1, 1], ["a", "b", "d"]), [0, 1, 2])
    names = ["a", "b", "c", "d"], ["a", "b", "d"]
    for value in VALUES:
        was, now = names[0][before[value] or 0], names[1][after[value] or 0]
        assert was in (now, "c")


def test_a_target_that_comes_takes_only_its_part() -> None:
    before = placed(hashed([1, 1, 1], ["a", "b", "c"]), [0, 1, 2])
    after = placed(hashed([1, 1, 1, 1], ["a", "b", "c", "new"]), [0, 1, 2, 3])
    moved = [value for value in VALUES if before[value] != after[value]]
    assert all(after[value] == 3 for value in moved)
    assert len(moved) / len(VALUES) == pytest.approx(0.25, abs=0.03)


def test_a_weight_that_changes_moves_its_part_only() -> None:
    before = placed(hashed([100, 100, 100]), [0, 1, 2])
    after = placed(hashed([100, 100, 110]), [0, 1, 2])
    moved = [value for value in VALUES if before[value] != after[value]]
    assert all(after[value] == 2 for value in moved)
    assert len(moved) / len(VALUES) < 0.05


def test_an_unhealthy_target_moves_only_its_own_values() -> None:
    balancer = hashed([1, 1, 1])
    before, after = placed(balancer, [0, 1, 2]), placed(balancer, [0, 2])
    assert all(after[value] == before[value] for value in VALUES if before[value] != 1)
    assert {after[value] for value in VALUES if before[value] == 1} == {0, 2}


def test_retries_are_spread_and_sticky_too() -> None:
    balancer = hashed([1, 1, 1])
    again = placed(balancer, [0, 1, 2], [0])
    assert set(again.values()) == {1, 2}
    assert again == placed(balancer, [0, 1, 2], [0])


def test_slots_bound_the_precision() -> None:
    assert len(set(placed(hashed([1] * 30, slots=10), list(range(30))).values())) <= 10


def test_more_targets_than_a_byte_can_name() -> None:
    counted = Counter(placed(hashed([1] * 300, slots=1000), list(range(300))).values())
    assert len(counted) > 250


def test_without_the_header_it_goes_by_request_id_or_chance() -> None:
    balancer = hashed([1, 1])
    by_id = Counter(balancer.pick([0, 1], [], asked(x_kong_request_id=f"{n:032x}")) for n in range(2000))
    assert by_id[0] / 2000 == pytest.approx(0.5, abs=0.06)
    same = {balancer.pick([0, 1], [], asked(x_kong_request_id="7")) for _ in range(50)}
    assert len(same) == 1
    by_chance = Counter(balancer.pick([0, 1], [], asked()) for _ in range(2000))
    assert by_chance[0] / 2000 == pytest.approx(0.5, abs=0.06)


# Least connections.


def test_attempts_at_once_follow_the_weights() -> None:
    clock, rng = Clock(), random.Random(1)
    balancer = guarded([3, 1], clock, algorithm="least-connections")
    sim = Traffic(balancer, clock, lambda *_: answer(rng.uniform(2000, 6000)))
    counted = sim.run(120, 20, [0, 1])
    assert counted[0] / counted.total() == pytest.approx(0.75, abs=0.03)
    assert sim.most[0] / sim.most[1] == pytest.approx(3, rel=0.2)


def test_a_slow_target_gets_less_and_recovers() -> None:
    clock = Clock()
    times = [1000.0, 1000.0]
    sim = Traffic(
        guarded([2, 2], clock, algorithm="least-connections"),
        clock,
        lambda target, _: answer(times[target]),
    )
    counted = sim.run(60, 20, [0, 1])
    assert counted[0] / counted.total() == pytest.approx(0.5, abs=0.02)
    times[0] = 9000.0
    sim.run(30, 20, [0, 1])
    slow = sim.run(60, 20, [0, 1])
    assert slow[0] / slow.total() == pytest.approx(0.1, abs=0.04)
    times[0] = 1000.0
    sim.run(30, 20, [0, 1])
    again = sim.run(60, 20, [0, 1])
    assert again[0] / again.total() == pytest.approx(0.5, abs=0.03)


def test_idle_equals_take_turns() -> None:
    balancer = guarded([2, 2, 2], Clock(), algorithm="least-connections")
    counted: Counter[int | None] = Counter()
    for _ in range(30):
        target = balancer.pick([0, 1, 2], [], asked())
        assert target is not None
        balancer.started(target)
        balancer.ended(target, Outcome(ok=True, status=200))
        counted[target] += 1
    assert counted == {0: 10, 1: 10, 2: 10}


def test_least_connections_retries_elsewhere() -> None:
    balancer = guarded([2, 2], Clock(), algorithm="least-connections")
    assert balancer.pick([0, 1], [0], asked()) == 1
    assert balancer.pick([0, 1], [0, 1], asked()) == 0
    assert balancer.pick([], [], asked()) is None

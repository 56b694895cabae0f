"""Total failures, `fail_timeout`, one trial; `Retry-After`; state that outlives an instance."""

from __future__ import annotations

import io
import json

import pytest
from balancer_support import answer, asked, failure, guarded
from exchange_support import Clock, advanced, target_config

from kong_ai_proxy import log
from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.states import States, target_names
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.exchange.instance import ADVANCED

FAIL_TIMEOUT = 10.0


def breaker(clock: Clock, targets: int = 2, max_fails: int = 3, **more: object) -> Guarded:
    return guarded([1] * targets, clock, max_fails=max_fails, fail_timeout=int(FAIL_TIMEOUT * 1000), **more)  # type: ignore[arg-type]


def attempt(balancer: Guarded, target: int, outcome: Outcome) -> None:
    balancer.started(target)
    balancer.ended(target, outcome)


def up(balancer: Guarded, clock: Clock) -> list[int]:
    return [index for index in range(len(balancer.states)) if balancer.available(index, clock.now)]


def test_after_max_fails_a_target_is_left_out() -> None:
    clock = Clock()
    balancer = breaker(clock)
    for number in range(3):
        assert up(balancer, clock) == [0, 1], number
        attempt(balancer, 0, failure())
    assert up(balancer, clock) == [1]
    assert {balancer.pick([0, 1], [], asked()) for _ in range(10)} == {1}


def test_failures_are_counted_in_total_not_in_a_row() -> None:
    """Two failed, one succeeded within the window: the counter stays at two."""
    clock = Clock()
    balancer = breaker(clock)
    attempt(balancer, 0, failure())
    attempt(balancer, 0, failure())
    clock.now += FAIL_TIMEOUT - 1
    attempt(balancer, 0, answer())
    assert balancer.states[0].fails == 2
    attempt(balancer, 0, failure())
    assert up(balancer, clock) == [1]


def test_a_success_after_fail_timeout_starts_the_count_at_zero() -> None:
    clock = Clock()
    balancer = breaker(clock)
    attempt(balancer, 0, failure())
    attempt(balancer, 0, failure())
    clock.now += FAIL_TIMEOUT
    attempt(balancer, 0, answer())
    assert balancer.states[0].fails == 0


def test_the_window_begins_anew_with_every_failure() -> None:
    clock = Clock()
    balancer = breaker(clock)
    attempt(balancer, 0, failure())
    clock.now += FAIL_TIMEOUT - 1
    attempt(balancer, 0, failure())
    clock.now += 2
    attempt(balancer, 0, answer())
    assert balancer.states[0].fails == 2


def open_at(clock: Clock, **more: object) -> Guarded:
    balancer = breaker(clock, max_fails=1, **more)
    attempt(balancer, 0, failure())
    return balancer


def test_one_trial_at_a_time_after_fail_timeout() -> None:
    clock = Clock()
    balancer = open_at(clock)
    clock.now += FAIL_TIMEOUT - 0.001
    assert up(balancer, clock) == [1]
    clock.now += 0.001
    assert up(balancer, clock) == [0, 1]
    picks = [balancer.pick([0], [], asked())]
    assert picks == [0]
    assert up(balancer, clock) == [1], "decided on, not begun"
    balancer.started(0)
    clock.now += 60
    assert up(balancer, clock) == [1], "under way, however long it takes"
    balancer.ended(0, answer())
    assert up(balancer, clock) == [0, 1]
    assert balancer.states[0].fails == 0


def test_a_failed_trial_closes_for_another_fail_timeout() -> None:
    clock = Clock()
    balancer = open_at(clock)
    clock.now += FAIL_TIMEOUT
    assert balancer.pick([0], [], asked()) == 0
    attempt(balancer, 0, failure())
    assert up(balancer, clock) == [1]
    clock.now += FAIL_TIMEOUT - 0.001
    assert up(balancer, clock) == [1]
    clock.now += 0.001
    assert up(balancer, clock) == [0, 1]


def test_a_trial_that_says_nothing_lets_the_next_one_try() -> None:
    """The client hung up before there was an answer."""
    clock = Clock()
    balancer = open_at(clock)
    clock.now += FAIL_TIMEOUT
    assert balancer.pick([0], [], asked()) == 0
    attempt(balancer, 0, Outcome(ok=True))
    assert balancer.states[0].fails == 1
    assert up(balancer, clock) == [0, 1]
    assert balancer.pick([0], [], asked()) == 0


def test_a_trial_that_is_decided_on_but_never_made_blocks_nobody_for_long() -> None:
    clock = Clock()
    balancer = open_at(clock)
    clock.now += FAIL_TIMEOUT
    assert balancer.pick([0], [], asked()) == 0
    clock.now += 1.0
    assert up(balancer, clock) == [0, 1]


def test_a_trial_whose_stream_has_begun_is_a_success() -> None:
    clock = Clock()
    balancer = open_at(clock)
    clock.now += FAIL_TIMEOUT
    balancer.pick([0], [], asked())
    balancer.started(0)
    balancer.answering(0)
    assert up(balancer, clock) == [0, 1]
    assert balancer.states[0].fails == 0
    clock.now += 300
    balancer.ended(0, answer(300_000))
    assert (balancer.states[0].probes, balancer.states[0].in_flight) == (0, 0)


def test_an_answer_that_was_begun_before_the_failure_is_no_trial() -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=1)
    balancer.started(0)
    clock.now += 5
    attempt(balancer, 0, failure())
    clock.now += FAIL_TIMEOUT
    balancer.ended(0, answer(latency_ms=(5 + FAIL_TIMEOUT) * 1000))
    assert balancer.states[0].fails == 1


def test_zero_max_fails_is_no_breaker() -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=0)
    for _ in range(100):
        attempt(balancer, 0, failure())
    assert up(balancer, clock) == [0, 1]


def test_all_unhealthy_is_500() -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=1)
    attempt(balancer, 0, failure())
    clock.now += 4
    attempt(balancer, 1, failure())
    with pytest.raises(ApiError) as caught:
        balancer.pick([0, 1], [], asked())
    assert caught.value.status == 500
    assert caught.value.message == "all targets are unhealthy"
    assert caught.value.headers == {"retry-after": "6"}
    assert balancer.pick([0, 1], [1], asked()) is None, "a retry ends with the answer there is"


def test_each_algorithm_sees_only_what_is_up() -> None:
    algorithms = ["round-robin", "consistent-hashing", "least-connections", "lowest-latency", "lowest-usage"]
    for algorithm in [*algorithms, "priority"]:
        clock = Clock()
        balancer = breaker(clock, 3, max_fails=1, algorithm=algorithm)
        attempt(balancer, 1, failure())
        picked = {balancer.pick([0, 1, 2], [], asked(x_user=str(n))) for n in range(60)}
        assert 1 not in picked, algorithm


def test_priority_goes_down_a_group_when_one_is_unhealthy() -> None:
    clock = Clock()
    balancer = guarded([70, 70, 25], clock, max_fails=1, algorithm="priority")
    attempt(balancer, 0, failure())
    assert {balancer.pick([0, 1, 2], [], asked()) for _ in range(5)} == {1}
    attempt(balancer, 1, failure())
    assert {balancer.pick([0, 1, 2], [], asked()) for _ in range(5)} == {2}


def test_the_log_tells_when_a_target_goes_and_comes_back() -> None:
    stream = io.StringIO()
    log.configure("info", stream)
    try:
        clock = Clock()
        balancer = breaker(clock, max_fails=2)
        for _ in range(4):
            attempt(balancer, 0, failure(status=503, retry_after_s=1.5))
        clock.now += FAIL_TIMEOUT
        attempt(balancer, 0, answer())
        attempt(balancer, 0, answer())
    finally:
        log.configure("info", None)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [line for line in lines if line["event"] != "target_left_alone"]
    assert [(line["event"], line["level"]) for line in told] == [
        ("target_unhealthy", "warning"),
        ("target_healthy", "info"),
    ]
    assert (told[0]["target"], told[0]["status"], told[0]["seconds"]) == ("openai/m0", 503, FAIL_TIMEOUT)
    alone = [line for line in lines if line["event"] == "target_left_alone"]
    assert [line["seconds"] for line in alone] == [1.5]


# Retry-After.


def test_a_target_is_left_alone_for_as_long_as_it_asks() -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=0)
    attempt(balancer, 0, failure(retry_after_s=7.0, status=429))
    assert up(balancer, clock) == [1]
    attempt(balancer, 0, failure(retry_after_s=2.0, status=429))
    clock.now += 6.9
    assert up(balancer, clock) == [1], "the longer one holds"
    clock.now += 0.1
    assert up(balancer, clock) == [0, 1]


@pytest.mark.parametrize(("status", "expected"), [(429, 429), (402, 429), (400, 429), (503, 503)])
def test_all_ask_to_be_left_alone(status: int, expected: int) -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=0)
    attempt(balancer, 0, failure(retry_after_s=7.0, status=status))
    attempt(balancer, 1, failure(retry_after_s=2.4, status=status))
    with pytest.raises(ApiError) as caught:
        balancer.pick([0, 1], [], asked())
    assert caught.value.status == expected
    assert caught.value.headers == {"retry-after": "3"}


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan"), float("inf"), None])
def test_a_senseless_retry_after_is_none(seconds: float | None) -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=0)
    attempt(balancer, 0, failure(retry_after_s=seconds, status=429))
    assert up(balancer, clock) == [0, 1]


def test_nobody_is_left_alone_for_more_than_a_day() -> None:
    clock = Clock()
    balancer = breaker(clock, max_fails=0)
    attempt(balancer, 0, failure(retry_after_s=1e12, status=429))
    clock.now += 24 * 3600
    assert up(balancer, clock) == [0, 1]


# What outlives an instance.


def test_the_state_outlives_a_reload_that_leaves_the_target_as_it_is() -> None:
    clock, states = Clock(), States()
    attempt(breaker(clock, max_fails=1, states=states), 0, failure())
    again = guarded([5, 9], clock, states, max_fails=1)
    assert up(again, clock) == [1], "weights are not the target"
    other = guarded([1, 1], clock, states, names=["other", "m1"], max_fails=1)
    assert up(other, clock) == [0, 1]
    assert up(guarded([1, 1], clock, states, plugin_id="q", max_fails=1), clock) == [0, 1]


def test_all_workers_share_it() -> None:
    clock, states = Clock(), States()
    first, second = (breaker(clock, states=states, max_fails=2) for _ in range(2))
    attempt(first, 0, failure())
    attempt(second, 0, failure())
    assert up(first, clock) == up(second, clock) == [1]


def test_also_through_the_whole_configuration() -> None:
    """As Kong's workers do: a new instance with the same id, and another weight."""
    first = advanced(target_config(weight=1), target_config(name="b"), balancer={"max_fails": 1})
    first.balancer.started(0)
    first.balancer.ended(0, failure())
    second = advanced(target_config(weight=9), target_config(name="b"), balancer={"max_fails": 1})
    assert {second.balancer.pick([0, 1], [], asked()) for _ in range(5)} == {1}


def test_a_plugin_without_an_id_shares_with_nobody() -> None:
    clock, states = Clock(), States()
    attempt(guarded([1], clock, states, plugin_id="", max_fails=1), 0, failure())
    assert up(guarded([1], clock, states, plugin_id="", max_fails=1), clock) == [0]


def config_of(**changes: object) -> list[object]:
    config = parse(ADVANCED, {"targets": [target_config(**changes), target_config(**changes)]})  # type: ignore[arg-type]
    return config.targets  # type: ignore[return-value]


def test_names_tell_targets_apart_and_nothing_else() -> None:
    names = target_names(config_of())  # type: ignore[arg-type]
    assert len(set(names)) == 2, "twins too"
    rotated = {"header_name": "Authorization", "header_value": "Bearer other"}
    assert names == target_names(config_of(auth=rotated, weight=3, description="x"))  # type: ignore[arg-type]
    assert names != target_names(config_of(options={"temperature": 0.5}))  # type: ignore[arg-type]


def test_a_new_credential_is_a_new_chance() -> None:
    clock, states = Clock(), States()
    old = target_config()
    new = target_config(auth={"header_name": "Authorization", "header_value": "Bearer repaired"})

    def one(target: object) -> Guarded:
        from kong_ai_proxy.balancer.build import balancer_for

        config = parse(ADVANCED, {"targets": [target], "balancer": {"max_fails": 1}})
        return balancer_for(config, "p", states=states, clock=clock)  # type: ignore[arg-type]

    attempt(one(old), 0, failure())
    assert up(one(old), clock) == []
    assert up(one(new), clock) == [0]


def test_what_is_remembered_is_bounded() -> None:
    states = States()
    for number in range(3000):
        guarded([1], Clock(), states, plugin_id=str(number))
    assert len(states._kept) == 2048

"""When a second target is asked."""

from __future__ import annotations

import pytest

from kong_ai_proxy.balancer.hedging import Hedging


def learnt(quantile: float = 0.95) -> Hedging:
    hedging = Hedging(quantile, 2)
    for number in range(100):
        hedging.observe(0, False, number / 100)
    return hedging


@pytest.mark.parametrize(("quantile", "delay"), [(0.5, 0.5), (0.95, 0.95), (0.999, 0.99)])
def test_the_quantile_of_its_own_times(quantile: float, delay: float) -> None:
    assert learnt(quantile).delay(0, False) == delay


def test_not_before_enough_is_known() -> None:
    hedging = learnt()
    assert hedging.delay(1, False) is None
    assert hedging.delay(0, True) is None, "streams are another matter"
    for _ in range(20):
        hedging.observe(1, False, 0.2)
    assert hedging.delay(1, False) == 0.2


def test_old_times_are_forgotten() -> None:
    hedging = learnt()
    for _ in range(128):
        hedging.observe(0, False, 3.0)
    assert hedging.delay(0, False) == 3.0


def test_a_tenth_of_the_requests_at_most() -> None:
    hedging = learnt()
    twice = 0
    for _ in range(1000):
        if hedging.delay(0, False) is not None:
            twice += hedging.spend()
    assert 95 <= twice <= 102


def test_what_was_saved_is_bounded() -> None:
    hedging = learnt()
    for _ in range(1000):
        hedging.delay(0, False)
    assert [hedging.spend() for _ in range(20)].count(True) == 10

"""Lowest usage: the target that was used least lately."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from ..core.usage import Usage
from .base import Asked, Outcome
from .measures import Meter
from .order import not_yet
from .states import TargetState
from .weighted import RoundRobin

_COUNTED: Final[dict[str, Callable[[Usage], int]]] = {
    "total-tokens": lambda usage: usage.total,
    "prompt-tokens": lambda usage: usage.prompt_tokens,
    "completion-tokens": lambda usage: usage.completion_tokens,
}
"""`tokens_count_strategy` → what of an answer's usage counts."""


class LowestUsage:
    """The least usage for its weight; requests under way count with what one uses on average.

    Usage fades within about a minute, the time of providers' own quotas: what a target did yesterday must not
    keep it idle today, and one that is new must not get everything until it has caught up.
    """

    def __init__(
        self,
        states: Sequence[TargetState],
        weights: Sequence[int],
        strategy: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`strategy`: "total-tokens", "prompt-tokens", "completion-tokens" or "cost"."""
        self._states = list(states)
        self._weights = list(weights)
        self._meters = [state.usage.setdefault(strategy, Meter()) for state in states]
        self._count = _COUNTED.get(strategy)
        self._clock = clock
        self._turns = RoundRobin(weights)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if not choice:
            return None
        now, each = self._clock(), self._average()
        used = [self._used(index, now, each) / self._weights[index] for index in choice]
        least = min(used)
        return self._turns.pick(
            [index for index, amount in zip(choice, used, strict=True) if amount == least], [], asked
        )

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        meter, now = self._meters[target], self._clock()
        if outcome.usage is not None:
            amount = outcome.cost if self._count is None else float(self._count(outcome.usage))
            meter.add(amount, now)
            if outcome.ok and not outcome.partial:
                meter.learn(amount)
        elif not outcome.ok and any(each.each is not None for each in self._meters):
            # A failure uses nothing, and would make its target the first choice for ever. (While nobody knows
            # what an answer uses there is no telling how much that is, tokens or millionths of a dollar.)
            meter.add(self._each(target, self._average()), now)

    def _used(self, index: int, now: float, average: float) -> float:
        return self._meters[index].value(now) + self._states[index].in_flight * self._each(index, average)

    def _each(self, index: int, average: float) -> float:
        each = self._meters[index].each
        return average if each is None else each

    def _average(self) -> float:
        known = [meter.each for meter in self._meters if meter.each is not None]
        return sum(known) / len(known) if known else 1.0

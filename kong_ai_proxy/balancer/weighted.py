"""Weighted round-robin and priority groups."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Asked, Outcome
from .order import not_yet


class RoundRobin:
    """Smooth weighted round-robin: the heaviest share spread evenly, never in bursts.

    Every pick raises each candidate's credit by its weight, takes the largest credit and lowers it by the
    sum of the weights, so that over any run of picks each target's share stays within one pick of its weight.
    """

    def __init__(self, weights: Sequence[int]) -> None:
        self._weights = list(weights)
        self._credit = [0] * len(self._weights)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if not choice:
            return None
        if len(choice) == 1:
            # The credit stays: being the only one left says nothing about the target's share.
            return choice[0]
        credit, weights = self._credit, self._weights
        total = 0
        for index in choice:
            credit[index] += weights[index]
            total += weights[index]
        best = max(choice, key=credit.__getitem__)
        credit[best] -= total
        return best

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return


class Priority(RoundRobin):
    """Targets of the same weight are a group; the group with the highest weight goes first, the next one
    only when every target of those before it was tried. Within a group all are equal."""

    def __init__(self, weights: Sequence[int]) -> None:
        super().__init__([1] * len(weights))
        self._priority = list(weights)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        untried = [index for index in candidates if index not in tried]
        if not untried:
            return None
        top = max(self._priority[index] for index in untried)
        return super().pick([index for index in untried if self._priority[index] == top], [], asked)

"""Lowest usage by `llm-accuracy`: mostly the targets whose answers are judged best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from .base import Asked, Outcome
from .order import not_yet
from .states import TargetState

_TOLERANCE: Final = 5.0
"""Points of accuracy below the best that leave a target 37 % of what its weight would give it; twice as many
leave 14 %, four times as many 2 %."""
_PROBES: Final = 0.02
"""Smallest share of a target, unless its weight gives it less."""
_PROBES_TOGETHER: Final = 0.06
"""Largest share of all probes."""


class MostAccurate:
    """Shares by weight among the targets that are about as accurate as the best, little for all others.

    Kong's page says that the judge's score goes into the balancing, and not how. Here accuracy is a moving
    average of the scores, and a target's share falls exponentially with its distance from the best: judges
    are not exact, so what is within a few points of each other shares the work, without swinging to and fro.
    Each target keeps its probes, so that none starves, and one that became better is found again.

    A target that was not judged often enough counts as one of the best. Shares are spread evenly, as in
    smooth weighted round-robin: a share of 2 % is every fiftieth request.
    """

    def __init__(self, states: Sequence[TargetState], weights: Sequence[int]) -> None:
        self._states = list(states)
        self._weights = list(weights)
        self._credit = [0.0] * len(self._weights)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if len(choice) < 2:
            return choice[0] if choice else None
        credit = self._credit
        for index, share in zip(choice, self.shares(choice), strict=True):
            credit[index] += share
        best = max(choice, key=credit.__getitem__)
        credit[best] -= 1.0
        return best

    def shares(self, choice: Sequence[int]) -> list[float]:
        """The part of the requests that each of these targets gets now; their sum is 1."""
        known = [self._states[index].accuracy for index in choice]
        best = max((accuracy.mean for accuracy in known if accuracy.known), default=0.0)
        total = sum(self._weights[index] for index in choice)
        fair = [self._weights[index] / total for index in choice]
        least = min(_PROBES, _PROBES_TOGETHER / (len(choice) - 1)) if len(choice) > 1 else 0.0
        wanted = [
            share * math.exp((accuracy.mean - best) / _TOLERANCE) if accuracy.known else share
            for share, accuracy in zip(fair, known, strict=True)
        ]
        wanted_in_all = sum(wanted)
        floored = [
            max(want / wanted_in_all, min(least, share)) for want, share in zip(wanted, fair, strict=True)
        ]
        in_all = sum(floored)
        return [share / in_all for share in floored]

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return

"""Lowest latency: mostly the fastest target, the others often enough to notice when that changes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Final

from .base import Asked, Outcome
from .measures import PeakEwma
from .order import not_yet
from .states import TargetState

_SHARPNESS: Final = 6
"""Exponent of speed in a target's share: twice the time is 1.5 % of the requests, 1.1 times 36 %."""
_PROBES: Final = 0.02
"""Smallest share of a target; documented are 0.1 to 5 %."""
_PROBES_TOGETHER: Final = 0.06
"""Largest share of all probes."""
_LOAD_OFFSET: Final = 5
"""Attempts that make no difference to how fast a target is."""
_LOAD_EFFECT: Final = 2.0
"""Largest factor by which a target's load changes what is expected of it."""
_PENALTY: Final = 2.0
"""A failure counts as this many times the slowest target's usual time."""


class LowestLatency:
    """Shares by speed.

    A target's share falls with a high power of its peak EWMA, so that targets about as fast as each other
    share the work (and do not take turns in being overloaded), while one that is clearly slower gets no more
    than its probes. Each target keeps those, so none starves and a recovery is seen.

    Measurements come late, when answers end. So a target with more under way than when it was measured is
    expected to be slower, one with less to be faster: without that, whoever looks fast gets everything until
    its first slow answers are in, and then the next one does.

    A target without a measurement counts as the fastest until its first attempt is under way.
    """

    def __init__(
        self,
        states: Sequence[TargetState],
        strategy: str,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """`strategy`: "tpot" (ms per output token) or "e2e" (ms)."""
        self._states = list(states)
        self._meters = [state.latency.setdefault(strategy, PeakEwma()) for state in states]
        self._per_token = strategy == "tpot"
        self._clock = clock
        self._rng = rng or random.Random()

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if len(choice) < 2:
            return choice[0] if choice else None
        return self._rng.choices(choice, self.shares(choice))[0]

    def shares(self, choice: Sequence[int]) -> list[float]:
        """The part of the requests that each of these targets gets now; their sum is 1."""
        now = self._clock()
        times = [self._time(index, now) for index in choice]
        known = [time for time in times if time is not None]
        best = min(known, default=1.0)
        speeds = []
        for index, taken in zip(choice, times, strict=True):
            if taken is not None:
                speeds.append((best / taken) ** _SHARPNESS)
            else:
                # Nobody knows yet. While others are known, one attempt at a time finds it out.
                speeds.append(0.0 if known and self._states[index].in_flight else 1.0)
        least = min(_PROBES, _PROBES_TOGETHER / (len(choice) - 1)) if len(choice) > 1 else 0.0
        total = sum(speeds) or 1.0
        return [least + (1 - least * len(choice)) * speed / total for speed in speeds]

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        sample = self._sample(outcome)
        if sample is not None:
            load = self._states[target].in_flight + 1
            self._meters[target].observe(sample, self._clock(), load, penalty=not outcome.ok)

    def _sample(self, outcome: Outcome) -> float | None:
        if not outcome.ok:
            # However quick it was: a target that refuses at once is not a fast one. Of what was measured, not
            # of penalties: those would grow with every failure, and be remembered long after the recovery.
            usual = [meter.usual for meter in self._meters if meter.usual is not None]
            return _PENALTY * max(usual) if usual else None
        if outcome.partial or outcome.latency_ms is None or outcome.status is None:
            return None
        if not 200 <= outcome.status < 300:
            return None
        if not self._per_token:
            return outcome.latency_ms
        # Embeddings have no output tokens: there it is the time of the whole answer.
        tokens = outcome.usage.completion_tokens if outcome.usage is not None else 0
        return outcome.latency_ms / max(1, tokens)

    def _time(self, index: int, now: float) -> float | None:
        meter = self._meters[index]
        if not meter.known:
            return None
        load = (self._states[index].in_flight + 1 + _LOAD_OFFSET) / (meter.load + _LOAD_OFFSET)
        return max(meter.value(now), 1e-6) * min(max(load, 1 / _LOAD_EFFECT), _LOAD_EFFECT)

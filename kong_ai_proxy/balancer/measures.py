"""Numbers about a target that follow what happens and forget what is long past. Times in seconds."""

from __future__ import annotations

import math
from typing import Final

PEAK_SECONDS: Final = 10.0
"""Time constant in which a peak fades."""
USAGE_SECONDS: Final = 60.0
"""Time constant in which usage is forgotten: providers' quotas are per minute."""
_SLOWEST, _FASTEST = 0.1, 0.5
"""Bounds of the part a new sample has in the average: neither a burst nor one late sample rules it."""


class PeakEwma:
    """An average that goes up at once and comes down slowly.

    A sample above the average is believed immediately; the excess fades by time alone, to the moving average
    of all samples. So a target that became slow is left at once, and one odd sample is forgiven without any
    request having to prove it.
    """

    __slots__ = ("_at", "_mean", "_peak", "known", "load", "usual")

    def __init__(self) -> None:
        self.known = False
        """There was a sample."""
        self.load = 0.0
        """How many attempts were under way when samples were taken, on average."""
        self.usual: float | None = None
        """Average of what was measured, without penalties; None before the first."""
        self._mean = 0.0
        self._peak = 0.0
        self._at = 0.0

    def observe(self, sample: float, now: float, load: float = 1.0, *, penalty: bool = False) -> None:
        """`load`: attempts under way, this one included. `penalty`: the sample was not measured, the target
        failed."""
        if not penalty:
            self.usual = sample if self.usual is None else self.usual + _SLOWEST * (sample - self.usual)
        if not self.known:
            self.known = True
            self._mean = self._peak = sample
            self.load = load
        else:
            current = self.value(now)
            part = 1 - math.exp(-max(0.0, now - self._at) / PEAK_SECONDS)
            self._mean += min(max(part, _SLOWEST), _FASTEST) * (sample - self._mean)
            self._peak = max(current, sample)
            self.load += _SLOWEST * (load - self.load)
        self._at = now

    def value(self, now: float) -> float:
        """The unit of the samples; 0 without any."""
        excess = self._peak - self._mean
        if excess <= 0:
            return self._mean
        return self._mean + excess * math.exp(-max(0.0, now - self._at) / PEAK_SECONDS)


class Meter:
    """What was used lately: a sum that fades, and what one request uses on average."""

    __slots__ = ("_at", "_sum", "each")

    def __init__(self) -> None:
        self._sum = 0.0
        self._at = 0.0
        self.each: float | None = None
        """Average of one request; None before the first."""

    def add(self, amount: float, now: float) -> None:
        self._sum = self.value(now) + amount
        self._at = now

    def learn(self, amount: float) -> None:
        """A whole request used so much."""
        self.each = amount if self.each is None else self.each + _SLOWEST * (amount - self.each)

    def value(self, now: float) -> float:
        return self._sum * math.exp(-max(0.0, now - self._at) / USAGE_SECONDS)


class Accuracy:
    """How well a target's answers were judged lately: a moving average of their scores, of which the first
    ones weigh the same."""

    __slots__ = ("mean", "scores")

    REMEMBERED: Final = 10
    """Scores after which a new one weighs as much as it ever will: a tenth."""
    ENOUGH: Final = 3
    """Scores from which on the average says something about the target."""

    def __init__(self) -> None:
        self.mean = 0.0
        self.scores = 0
        """How many there were."""

    @property
    def known(self) -> bool:
        return self.scores >= self.ENOUGH

    def add(self, score: float) -> None:
        self.scores += 1
        self.mean += (score - self.mean) / min(self.scores, self.REMEMBERED)

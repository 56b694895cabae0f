"""When to ask a second target because the first has not begun to answer (`kong_ai_proxy.hedge_quantile`)."""

from __future__ import annotations

from collections import deque
from typing import Final

_SAMPLES: Final = 128
"""Times that are remembered, by target."""
_ENOUGH: Final = 20
"""Times that must be known before one can say what is slow."""
_SHARE: Final = 0.1
"""Part of the requests that may be asked twice: when everything is slow, twice the load would not help."""
_SAVED_MAX: Final = 10.0
"""Requests that may be asked twice at once, after a quiet time."""


class Hedging:
    """How long each target of an instance usually takes to begin its answer, and how often that may be used.

    Streams begin at once and whole answers when they are complete, so they are kept apart.
    """

    def __init__(self, quantile: float, targets: int) -> None:
        self._quantile = quantile
        self._times: list[dict[bool, deque[float]]] = [
            {stream: deque(maxlen=_SAMPLES) for stream in (False, True)} for _ in range(targets)
        ]
        self._saved = 1.0

    def observe(self, target: int, stream: bool, seconds: float) -> None:
        """A target began its answer after so long; or had not yet, when another one did."""
        self._times[target][stream].append(seconds)

    def delay(self, target: int, stream: bool) -> float | None:
        """Seconds after which a second target may be asked; None: not at all. Called once a request."""
        self._saved = min(self._saved + _SHARE, _SAVED_MAX)
        times = self._times[target][stream]
        if len(times) < _ENOUGH or self._saved < 1:
            return None
        return sorted(times)[min(int(self._quantile * len(times)), len(times) - 1)]

    def spend(self) -> bool:
        """Whether one more request may be asked twice, now."""
        if self._saved < 1:
            return False
        self._saved -= 1
        return True

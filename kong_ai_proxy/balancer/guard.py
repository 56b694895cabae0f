"""The circuit breaker and `Retry-After`: which targets may be chosen at all.

The breaker's rules are Kong's (https://developer.konghq.com/ai-gateway/load-balancing/, health check and
circuit breaker): `max_fails` failures in total make a target unhealthy; a success in between takes none back.
After `fail_timeout` since the last failure one request may try it. If that succeeds the count starts at zero,
if it fails the target stays unhealthy for another `fail_timeout`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from ..core.errors import ApiError
from ..log import get_logger
from .base import Algorithm, Asked, Outcome
from .states import TargetState

log = get_logger("balancer")

_RESERVED_SECONDS: Final = 1.0
"""How long a decision for a trial holds back others before its attempt begins."""
COOLED_MAX: Final = 24 * 3600.0
"""Seconds; nobody is left alone for longer, whatever it asks for."""


class Sharing(Protocol):
    """Tells other nodes what happened to a target. Must return at once and never raise."""

    def watch(self, guarded: Guarded) -> None:
        """Keep these targets' states as all nodes know them, as long as the object is in use."""
        ...

    def failed(self, state: TargetState) -> None: ...

    def recovered(self, state: TargetState) -> None: ...

    def cooled(self, state: TargetState) -> None: ...

    def scored(self, state: TargetState, score: float) -> None: ...


class Guarded:
    """An algorithm that sees only the targets that are up."""

    def __init__(
        self,
        algorithm: Algorithm,
        states: Sequence[TargetState],
        *,
        max_fails: int = 0,
        fail_timeout: float = 10.0,
        sharing: Sharing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_fails` 0: no circuit breaker. `fail_timeout` in seconds."""
        self.algorithm = algorithm
        self.states = list(states)
        self.max_fails = max_fails
        self.fail_timeout = fail_timeout
        self._sharing = sharing
        self._clock = clock
        self._trying: dict[int, int] = {}
        """Target → attempts of ours under way that try an unhealthy one out."""
        if sharing:
            sharing.watch(self)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        """Raises ApiError where no candidate may be asked at all, at the first attempt."""
        now = self._clock()
        up = [index for index in candidates if self.available(index, now)]
        if not up:
            if tried or not candidates:
                return None
            raise self._nobody(candidates, now)
        index = self.algorithm.pick(up, tried, asked)
        if index is not None and self._unhealthy(self.states[index]):
            self.states[index].reserved_at = now
        return index

    def started(self, target: int) -> None:
        state = self.states[target]
        state.in_flight += 1
        if self._unhealthy(state):
            state.probes += 1
            self._trying[target] = self._trying.get(target, 0) + 1
        self.algorithm.started(target)

    def answering(self, target: int) -> None:
        """A trial that came this far was a success: others need not wait until a long stream ends."""
        state = self.states[target]
        if self._trying.get(target):
            now = self._clock()
            self._end_trial(target, state)
            self._succeeded(state, now, now)

    def ended(self, target: int, outcome: Outcome) -> None:
        state = self.states[target]
        state.in_flight -= 1
        self._end_trial(target, state)
        now = self._clock()
        if not outcome.ok:
            self._failed(state, outcome, now)
        elif outcome.status is not None:
            self._succeeded(state, now - (outcome.latency_ms or 0.0) / 1000, now)
        self.algorithm.ended(target, outcome)

    def scored(self, target: int, score: float) -> None:
        """See `Scored`."""
        state = self.states[target]
        state.accuracy.add(score)
        if self._sharing:
            self._sharing.scored(state, score)

    def available(self, target: int, now: float) -> bool:
        """May be asked: healthy or due for a trial that nobody makes, and not asking to be left alone."""
        state = self.states[target]
        if state.cooled_until > now:
            return False
        if not self._unhealthy(state):
            return True
        due = now - state.failed_at >= self.fail_timeout
        return due and not state.probes and now - state.reserved_at >= _RESERVED_SECONDS

    def _unhealthy(self, state: TargetState) -> bool:
        return 0 < self.max_fails <= state.fails

    def _end_trial(self, target: int, state: TargetState) -> None:
        # Attempts are not told apart: with trials under way, whichever ends first ends one of them.
        ours = self._trying.get(target, 0)
        if ours:
            self._trying[target] = ours - 1
            state.probes -= 1
            state.reserved_at = -math.inf

    def _failed(self, state: TargetState, outcome: Outcome, now: float) -> None:
        state.fails += 1
        state.failed_at = now
        if state.fails == self.max_fails:
            log.warning(
                "target_unhealthy",
                target=state.label,
                failures=state.fails,
                status=outcome.status,
                seconds=self.fail_timeout,
            )
        if self._sharing and self.max_fails:
            self._sharing.failed(state)
        seconds = outcome.retry_after_s
        if seconds is not None and seconds > 0 and math.isfinite(seconds):
            seconds = min(seconds, COOLED_MAX)
            if now + seconds > state.cooled_until:
                state.cooled_until = now + seconds
                state.cooled_by = outcome.status or 429
                log.info("target_left_alone", target=state.label, seconds=seconds, status=outcome.status)
                if self._sharing:
                    self._sharing.cooled(state)

    def _succeeded(self, state: TargetState, began: float, now: float) -> None:
        if not state.fails or now - state.failed_at < self.fail_timeout:
            return
        if began < state.failed_at:
            return  # it says nothing about the time since
        if self._unhealthy(state):
            log.info("target_healthy", target=state.label)
        state.fails = 0
        if self._sharing and self.max_fails:
            self._sharing.recovered(state)

    def _nobody(self, candidates: list[int], now: float) -> ApiError:
        waits = []
        for index in candidates:
            state = self.states[index]
            wait = max(0.0, state.cooled_until - now)
            if self._unhealthy(state):
                wait = max(wait, self.fail_timeout - (now - state.failed_at))
            waits.append(wait)
        headers = {"retry-after": str(max(1, math.ceil(min(waits))))}
        # Where each is unhealthy it is 500, as Kong documents; who only waits is told so.
        waiting = [self.states[index] for index in candidates if not self._unhealthy(self.states[index])]
        if not waiting:
            return ApiError(500, "all targets are unhealthy", code="no_healthy_target", headers=headers)
        if any(state.cooled_by < 500 for state in waiting):
            return ApiError(
                429, "all targets are at their limits", code="rate_limit_exceeded", headers=headers
            )
        return ApiError(503, "all targets are busy", code="no_target_available", headers=headers)

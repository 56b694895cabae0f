"""Simulated traffic for balancers: time moves by events, nothing sleeps."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from exchange_support import Clock, target_config

from kong_ai_proxy.balancer.base import Asked, Outcome
from kong_ai_proxy.balancer.build import balancer_for
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.states import States
from kong_ai_proxy.config.parse import parse
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.exchange.instance import ADVANCED


def asked(**headers: str) -> Asked:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Asked(ClientRequest("POST", "/", "", named))


def guarded(
    weights: list[int],
    clock: Clock,
    states: States | None = None,
    sharing: Any = None,
    plugin_id: str = "p",
    names: list[str] | None = None,
    **balancer: Any,
) -> Guarded:
    names = names or [f"m{number}" for number in range(len(weights))]
    targets = [target_config(name=name, weight=weight) for name, weight in zip(names, weights, strict=True)]
    config = parse(ADVANCED, {"targets": targets, "balancer": balancer})
    return balancer_for(
        config,  # type: ignore[arg-type]
        plugin_id,
        states=states or States(),
        sharing=sharing,
        clock=clock,
        rng=random.Random(7),
    )


def answer(
    latency_ms: float = 100.0, tokens: int = 10, *, prompt: int = 5, cost: float = 0.0, **more: Any
) -> Outcome:
    usage = Usage(prompt_tokens=prompt, completion_tokens=tokens, source=UsageSource.REPORTED)
    return Outcome(ok=True, status=200, latency_ms=latency_ms, usage=usage, cost=cost, **more)


def failure(latency_ms: float = 5.0, **more: Any) -> Outcome:
    return Outcome(ok=False, latency_ms=latency_ms, **more)


@dataclass
class Traffic:
    """Requests at a steady rate; what each target does with one is told by `serve(target, in_flight)`."""

    balancer: Guarded
    clock: Clock
    serve: Callable[[int, int], Outcome]
    picks: list[tuple[float, int]] = field(default_factory=list)
    """(time, target)"""
    in_flight: Counter[int] = field(default_factory=Counter)
    most: Counter[int] = field(default_factory=Counter)
    """Most attempts at once, by target."""
    ask: Callable[[], Asked] = asked
    """What every request is."""
    _ends: list[tuple[float, int, int, Outcome]] = field(default_factory=list)
    _number: int = 0

    def run(self, seconds: float, per_second: float, candidates: list[int]) -> Counter[int]:
        """How often each target was picked."""
        before = len(self.picks)
        until = self.clock.now + seconds
        gap = 1 / per_second
        while (arrival := self.clock.now + gap) <= until:
            self.settle(arrival)
            self.clock.now = arrival
            target = self.balancer.pick(candidates, [], self.ask())
            assert target is not None
            self.balancer.started(target)
            self.picks.append((arrival, target))
            self.in_flight[target] += 1
            self.most[target] = max(self.most[target], self.in_flight[target])
            outcome = self.serve(target, self.in_flight[target])
            self._number += 1
            end = arrival + (outcome.latency_ms or 0) / 1000
            heapq.heappush(self._ends, (end, self._number, target, outcome))
        self.clock.now = until
        return Counter(target for _, target in self.picks[before:])

    def settle(self, until: float) -> None:
        """End what ends by then."""
        while self._ends and self._ends[0][0] <= until:
            self.clock.now, _, target, outcome = heapq.heappop(self._ends)
            self.in_flight[target] -= 1
            self.balancer.ended(target, outcome)

    def shares(self, since: float, window: float, target: int) -> list[float]:
        """The target's part of the picks in each window of so many seconds."""
        found = []
        start = since
        while start + window <= self.clock.now:
            here = [picked for at, picked in self.picks if start < at <= start + window]
            found.append(here.count(target) / max(1, len(here)))
            start += window
        return found

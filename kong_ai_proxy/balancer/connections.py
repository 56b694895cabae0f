"""Least connections: the target with the most room."""

from __future__ import annotations

from collections.abc import Sequence

from .base import Asked, Outcome
from .order import not_yet
from .states import TargetState
from .weighted import RoundRobin


class LeastConnections:
    """The fewest attempts under way for its weight, which says how many connections a target can take.

    The measure is that of Kong's own least-connections balancer, (connections + 1) / weight, lowest first
    (kong/runloop/balancer/least_connections.lua at 3.9.3). Among equals it goes round.
    """

    def __init__(self, states: Sequence[TargetState], weights: Sequence[int]) -> None:
        self._states = list(states)
        self._weights = list(weights)
        self._turns = RoundRobin(weights)

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if not choice:
            return None
        loads = [(self._states[index].in_flight + 1) / self._weights[index] for index in choice]
        least = min(loads)
        return self._turns.pick(
            [index for index, load in zip(choice, loads, strict=True) if load == least], [], asked
        )

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return

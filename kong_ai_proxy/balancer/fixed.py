"""The balancer of an instance with one target."""

from __future__ import annotations

from .base import Asked, Outcome


class FixedTarget:
    """Always the first candidate; it keeps no state."""

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        return candidates[0] if candidates else None

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return

    def answering(self, target: int) -> None:
        return

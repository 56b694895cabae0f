"""How the exchange asks which target is next, and tells how it went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..core.http import ClientRequest
from ..core.usage import Usage


@dataclass(slots=True)
class Outcome:
    """How one attempt ended, in milliseconds and tokens."""

    ok: bool
    """False if it failed by one of `failover_criteria`."""
    connect_ms: float | None = None
    latency_ms: float | None = None
    time_to_first_token_ms: float | None = None
    usage: Usage | None = None
    cost: float = 0.0
    retry_after_s: float | None = None


class Balancer(Protocol):
    """Shared by all requests of one plugin instance."""

    def pick(self, candidates: list[int], tried: list[int], request: ClientRequest) -> int | None:
        """Index of the next target among `candidates`, `tried` in order before; None if none is available."""
        ...

    def started(self, target: int) -> None:
        """An attempt on this target begins."""
        ...

    def ended(self, target: int, outcome: Outcome) -> None:
        """It ended. Called exactly once per `started`."""
        ...

"""How the exchange asks which target is next, and tells how it went."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from ..core.http import ClientRequest
from ..core.json import Json
from ..core.usage import Usage


@dataclass(slots=True)
class Asked:
    """What a target is picked for: one client request, the same object for all of its attempts."""

    request: ClientRequest
    body: Json = field(default_factory=dict)
    """The client's body, `extra_body` merged in. Not to be changed."""
    operation: str = "chat"
    """What is asked for: "chat", "completions", "embeddings", …"""
    client_format: str = "openai"
    """Whose API the body is made for."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What a balancer found out at the first pick and needs again at the next (an embedding, say)."""


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
    status: int | None = None
    """The provider's; None if there was no answer. With `ok` that says nothing about the target: the client
    hung up, or the failure is not one of the criteria."""
    partial: bool = False
    """The answer broke off, or nobody waited for its end: its times are not those of a whole one."""


class Algorithm(Protocol):
    """Chooses among the targets it is given."""

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        """Index of the next target among `candidates`, `tried` in order before; None if none is available.
        May raise ApiError for the client."""
        ...

    def started(self, target: int) -> None:
        """An attempt on this target begins."""
        ...

    def ended(self, target: int, outcome: Outcome) -> None:
        """It ended. Called exactly once per `started`."""
        ...


class Balancer(Algorithm, Protocol):
    """What the exchange asks. Shared by all requests of one plugin instance."""

    def answering(self, target: int) -> None:
        """The attempt's answer was good, and goes to the client from now on; a stream may take long."""
        ...


@runtime_checkable
class Scored(Protocol):
    """A balancer that may be told how good a target's answers are."""

    def scored(self, target: int, score: float) -> None:
        """An answer of this target was judged: 1 is worst, 100 is best. It may have been given long ago."""
        ...

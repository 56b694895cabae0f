"""What workers ask of the process that keeps what must be one: tickets, instances, what balancers know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from ..balancer.base import Asked, Outcome, Scored
from ..balancer.semantic import NOTE, Semantic
from ..core.http import ClientRequest
from ..core.json import Json
from ..exchange.instance import Instance
from ..exchange.tickets import TicketStore
from ..log import get_logger
from .wire import Packed, pack_ticket, unpack_outcome

log = get_logger("workers")


class Teller(Protocol):
    """`Channel`, as far as it is needed here."""

    def tell(self, method: str, *args: Any) -> None: ...


@dataclass(eq=False, slots=True)
class Known:
    """An instance that workers may hold."""

    number: int
    """What it is called between the processes. Never used again."""
    instance: Instance
    closed: bool = False
    """Kong has closed it; requests that were let through before may still run."""
    renewed: dict[str, str] = field(default_factory=dict)
    """Values of vault references that differ from the configuration's."""
    held_by: set[Visitor] = field(default_factory=set)


class Visitor:
    """One worker process, from its start to its end."""

    def __init__(self, channel: Teller) -> None:
        self.channel = channel
        self.running: Counter[tuple[int, int]] = Counter()
        """Attempts that began and did not end, by instance and target."""


class Desk:
    """Knows all instances and serves all workers."""

    def __init__(self, tickets: TicketStore, exchanged: Callable[[], None] | None = None) -> None:
        """`exchanged` is called for each request."""
        self._tickets = tickets
        self._exchanged = exchanged
        self._known: dict[int, Known] = {}
        self._open: dict[int, Known] = {}
        """By the identity of the instance, which is kept by its entry."""
        self._visitors: set[Visitor] = set()
        self._last = 0

    def __len__(self) -> int:
        """Instances that some worker may still hold."""
        return len(self._known)

    # What the plugins tell.

    def opened(self, instance: Instance) -> None:
        """Has all workers make it, before any ticket for it can reach them."""
        known = self._open[id(instance)] = self._enter(instance)
        instance.rotation.on_renewed = partial(self._renewed, known)
        for visitor in self._visitors:
            self._show(visitor, known)

    def closed(self, instance: Instance) -> None:
        known = self._open.pop(id(instance), None)
        if known is None:
            return
        known.closed = True
        instance.rotation.on_renewed = None
        for visitor in known.held_by:
            visitor.channel.tell("retire", known.number)
        self._forget(known)

    def _renewed(self, known: Known, reference: str, value: str) -> None:
        known.renewed[reference] = value
        for visitor in known.held_by:
            visitor.channel.tell("renew", known.number, reference, value)

    # Workers that come and go.

    def enter(self, visitor: Visitor) -> None:
        """A worker has started: it is told all instances."""
        self._visitors.add(visitor)
        for known in self._open.values():
            self._show(visitor, known)

    def leave(self, visitor: Visitor) -> None:
        """It is gone, and its requests with it. No target is to blame."""
        self._visitors.discard(visitor)
        for (number, target), attempts in visitor.running.items():
            known = self._known.get(number)
            for _ in range(attempts if known is not None else 0):
                assert known is not None
                known.instance.balancer.ended(target, Outcome(ok=True))
        visitor.running.clear()
        for known in list(self._known.values()):
            known.held_by.discard(visitor)
            self._forget(known)

    # What workers ask and tell.

    def handlers(self, visitor: Visitor) -> Mapping[str, Callable[..., Any]]:
        """By the names that `remote` calls them by."""
        methods = (
            self.redeem, self.settle, self.pick, self.started, self.answering, self.ended, self.scored,
            self.doubt, self.vectors, self.released,
        )  # fmt: skip
        return {method.__name__: partial(method, visitor) for method in methods}

    def redeem(self, visitor: Visitor, token: str) -> Packed | None:
        """The number of the ticket's instance, whether it is the last ticket that needs it, the ticket."""
        ticket = self._tickets.redeem(token)
        if ticket is None:
            return None
        if self._exchanged is not None:
            self._exchanged()
        known = self._open.get(id(ticket.instance))
        if known is None:
            # Filed before its instance was closed.
            known = self._enter(ticket.instance)
            known.closed = True
        if visitor not in known.held_by:
            self._show(visitor, known)
        return [known.number, known.closed, pack_ticket(ticket)]

    def settle(self, visitor: Visitor, token: str, record: Json) -> None:
        self._tickets.settle(token, record)

    def pick(
        self,
        visitor: Visitor,
        number: int,
        candidates: list[int],
        tried: list[int],
        headers: dict[str, str],
        ranking: list[list[int]] | None,
    ) -> int | None:
        """Of the first try the attempt begins here and now: no other worker's pick can come in between.
        Raises ApiError."""
        balancer = self._known[number].instance.balancer
        asked = Asked(ClientRequest("POST", "/", "", headers))
        if ranking is not None:
            asked.notes[NOTE] = ranking
        target = balancer.pick(candidates, tried, asked)
        if target is not None and not tried:
            self.started(visitor, number, target)
        return target

    def started(self, visitor: Visitor, number: int, target: int) -> None:
        self._known[number].instance.balancer.started(target)
        visitor.running[number, target] += 1

    def answering(self, visitor: Visitor, number: int, target: int) -> None:
        self._known[number].instance.balancer.answering(target)

    def ended(self, visitor: Visitor, number: int, target: int, outcome: Packed) -> None:
        left = visitor.running[number, target] - 1
        if left < 0:
            raise ValueError("an attempt ended that did not begin")
        if left:
            visitor.running[number, target] = left
        else:
            del visitor.running[number, target]
        self._known[number].instance.balancer.ended(target, unpack_outcome(outcome))

    def scored(self, visitor: Visitor, number: int, target: int, score: float) -> None:
        """An answer was judged, perhaps of an instance that nobody needs any longer."""
        known = self._known.get(number)
        if known is not None and isinstance(known.instance.balancer, Scored):
            known.instance.balancer.scored(target, score)

    def doubt(self, visitor: Visitor, number: int, target: int) -> None:
        instance = self._known[number].instance
        instance.rotation.doubt(instance.credentials[target])

    def vectors(self, visitor: Visitor, number: int) -> list[list[float]]:
        """Of the descriptions, in the order of the algorithm's groups. Made once for all workers; may wait
        for the embeddings' provider. Raises ApiError."""
        algorithm = getattr(self._known[number].instance.balancer, "algorithm", None)
        matcher: Any = algorithm.matcher if isinstance(algorithm, Semantic) else None
        return [list(vector) for vector in matcher.prepare()]

    def released(self, visitor: Visitor, number: int) -> None:
        """The worker has no request for a retired instance any longer."""
        known = self._known.get(number)
        if known is not None:
            known.held_by.discard(visitor)
            self._forget(known)

    def _enter(self, instance: Instance) -> Known:
        self._last += 1
        known = self._known[self._last] = Known(self._last, instance)
        return known

    def _show(self, visitor: Visitor, known: Known) -> None:
        known.held_by.add(visitor)
        instance = known.instance
        visitor.channel.tell("configure", known.number, instance.plugin, instance.config, known.renewed)

    def _forget(self, known: Known) -> None:
        if known.closed and not known.held_by:
            self._known.pop(known.number, None)

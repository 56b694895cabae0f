"""Tickets: how a request that Kong's `access` phase let through is recognised at the relay.

`access` files a ticket and puts its token on the request; the relay redeems it, once. A request without a
valid ticket did not pass our plugin (Kong fails open when a plugin server is away) and is refused.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ..core.json import Json

if TYPE_CHECKING:
    from .instance import Instance

T = TypeVar("T")

_MANY = 16384
"""Open tickets; some 8 MB."""
_SHORT_TTL = 60.0
"""Seconds, where there are many."""
_MOST = 65536
"""Open tickets, whatever their age: who has Kong take the header off again leaves one with each request."""

TICKET_HEADER = "x-kong-ai-ticket"
"""On the request from Kong to the relay, and on a buffered answer back (for the `response` phase)."""


@dataclass(slots=True)
class Ticket:
    """What only Kong knows about a request. Everything else the relay reads from the request itself."""

    instance: Instance
    filter_installed: bool
    """The usage filter runs on this route: usage goes back in-band (header or stream comment)."""
    buffered: bool
    """Kong buffers the answer; the `response` phase will write the log record."""
    captures: Mapping[str, str] = field(default_factory=dict)
    consumer: Json | None = None
    consumer_groups: list[str] = field(default_factory=list)
    unclaimed: bool = False
    """The client sent no header that says who it is: what comes under these names is Kong's own."""
    path: str | None = None
    """The path as the client called it; only where an access rule wants it."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that an access rule matches, as they were in `access`. Afterwards Kong takes away whatever the
    client names in its `Connection` header (kong/runloop/handler.lua at 3.9.3), also what its plugins set."""
    filed: float = field(default_factory=time.monotonic)
    record: Json | None = None
    """The finished `ai.proxy` log record, once the exchange ended."""


class TicketStore:
    """All tickets of this process. Tokens are unguessable, redeemed once, and expire unredeemed."""

    def __init__(self, ttl: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl = ttl
        self._clock = clock
        self._open: dict[str, Ticket] = {}
        self._ended: dict[str, tuple[float, Json]] = {}

    def file(self, ticket: Ticket, token: str | None = None) -> str:
        """Keep a ticket; gives its token, which may be one that Kong made (unguessable, used once)."""
        if token is None:
            token = secrets.token_urlsafe(24)
        ticket.filed = self._clock()
        self._open.pop(token, None)  # the dict stays in filing order
        self._open[token] = ticket
        if len(self._open) & 0xFF == 0:
            self.expire()
        return token

    def redeem(self, token: str) -> Ticket | None:
        """The ticket, the first time its token is shown in time; else None."""
        ticket = self._open.pop(token, None)
        if ticket is None or self._clock() - ticket.filed > self._ttl:
            return None
        return ticket

    def settle(self, token: str, record: Json) -> None:
        """Leave the finished log record of a buffered answer for the `response` phase."""
        self._ended[token] = (self._clock(), record)

    def collect(self, token: str) -> Json | None:
        """Take the record that `settle` left, once."""
        ended = self._ended.pop(token, None)
        return ended[1] if ended else None

    def expire(self) -> None:
        """Forget what nobody came for, sooner where there is much of it: another plugin that answers after
        ours (a rate limit) leaves a ticket for each request."""
        horizon = self._clock() - (self._ttl if len(self._open) < _MANY else min(self._ttl, _SHORT_TTL))
        # Both dicts are in filing order: stop at the first that is young enough.
        for token in _older(self._open, horizon, lambda ticket: ticket.filed):
            del self._open[token]
        for token in list(islice(self._open, max(0, len(self._open) - _MOST))):
            del self._open[token]
        for token in _older(self._ended, horizon, lambda ended: ended[0]):
            del self._ended[token]

    def oldest_age(self) -> float:
        """Seconds since the oldest unredeemed ticket was filed; 0 without one."""
        for ticket in self._open.values():
            return self._clock() - ticket.filed
        return 0.0

    def __len__(self) -> int:
        return len(self._open)


def _older(items: dict[str, T], horizon: float, when: Callable[[T], float]) -> list[str]:
    old = []
    for token, item in items.items():
        if when(item) >= horizon:
            break
        old.append(token)
    return old

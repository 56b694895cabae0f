"""What the relay's loop is given from the other rooms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from ..core.call import Call
from ..core.http import ClientRequest, UpstreamRequest
from ..core.json import Json
from ..exchange.exchange import Exchange
from ..exchange.streams import Stream
from ..exchange.tickets import Ticket, TicketStore
from ..telemetry import Telemetry, Trace
from .upstream import UpstreamClient


class Hearing(Protocol):
    """Gathers an exchange's request and answer for a judge. Nothing here raises, or waits."""

    def listen(self, stream: Stream) -> None:
        """This stream goes to the client."""

    def over(self, exchange: Exchange, *, delivered: bool) -> None:
        """The exchange has ended. `delivered`: the client has all of an answer."""


class Judging(Protocol):
    """Has models score answers."""

    def hear(self, exchange: Exchange, trace: Trace | None) -> Hearing | None:
        """An exchange begins whose instance has a judge; None where this one is not judged."""


Open: TypeAlias = Callable[[Ticket, ClientRequest], Exchange]
Authenticate: TypeAlias = Callable[[UpstreamRequest, Call], None]
Encode: TypeAlias = Callable[[Json, int], str]
LogUsage: TypeAlias = Callable[[Json], None]
Observe: TypeAlias = Callable[[Exchange], None]


@dataclass(frozen=True, slots=True)
class Parts:
    """One of each for all exchanges."""

    client: UpstreamClient
    tickets: TicketStore
    open: Open
    authenticate: Authenticate
    encode: Encode
    """The log record as one line of ASCII of at most so many bytes."""
    log_usage: LogUsage
    """For records that cannot go back through Kong."""
    telemetry: Telemetry | None = None
    """Spans and metrics; None where nobody wants them."""
    observe: Observe | None = None
    """Told of each exchange that is over."""
    judging: Judging | None = None
    """Who scores answers, where an instance wants that; None: nobody."""

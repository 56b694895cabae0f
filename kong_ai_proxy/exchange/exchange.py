"""One client request from its ticket to its log record: what the relay drives.

The relay's loop::

    exchange = Exchange.open(ticket, request)            # ApiError → exchange_error(ticket, request, error)
    while attempt := exchange.next_attempt():
        upstream = attempt.translation.request(); authenticator.apply(upstream, attempt.call)
        try: answer = client.send(upstream, attempt.timeouts)
        except UpstreamFailure as failure:
            if attempt.failed(failure.kind): continue     # another target may be tried
            ... 502 / 504 in the client's format
        if attempt.rejected(answer.status, answer.headers): continue   # failover by status
        ... answer whole, or stream: attempt.first_output() with the first byte for the client
        attempt.ended(partial=False)
    record = exchange.record()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse, Headers
from ..core.json import Json
from .tickets import Ticket
from .translation import Translation

FailureKind = Literal["error", "timeout", "invalid_header"]
"""How an attempt failed before an answer: the words of `failover_criteria`."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float
    read: float
    write: float


class Attempt:
    """One try at one target."""

    call: Call
    translation: Translation
    timeouts: Timeouts

    def connected(self, ip: str, elapsed: float) -> None:
        """A connection is there (new or kept alive): the provider's address, seconds it took."""
        raise NotImplementedError

    def failed(self, kind: FailureKind) -> bool:
        """No answer came. True if the exchange may try another target (asks criteria, retries, method)."""
        raise NotImplementedError

    def rejected(self, status: int, headers: Headers) -> bool:
        """An answer with this status came. True if it is to be thrown away and another target tried."""
        raise NotImplementedError

    def first_output(self) -> None:
        """The first byte of the answer's body goes to the client now."""
        raise NotImplementedError

    def ended(self, *, partial: bool = False) -> None:
        """The answer is complete, or (`partial`) the client or the provider broke off. Call it exactly once for an
        attempt that neither failed nor was rejected."""
        raise NotImplementedError


class Exchange:
    """See the module."""

    stream: bool
    """The client gets a stream."""

    @classmethod
    def open(cls, ticket: Ticket, request: ClientRequest) -> Exchange:
        """Check and plan. Raises ApiError for the client (400, 403, 413, 415, …)."""
        raise NotImplementedError

    def next_attempt(self) -> Attempt | None:
        """The next target's attempt; None if there is none (left). Raises ApiError when nothing was tried and no target
        is available."""
        raise NotImplementedError

    def refuse(self, error: ApiError) -> ClientResponse:
        """The error as the client's format has it; noted for the record."""
        raise NotImplementedError

    def record(self) -> Json | None:
        """The `ai.proxy` log record of what happened, after the last attempt ended; None where nothing is to be logged."""
        raise NotImplementedError


def error_response(ticket: Ticket | None, error: ApiError) -> ClientResponse:
    """An error before there is an exchange, in the client format of the ticket's instance (OpenAI's without)."""
    raise NotImplementedError

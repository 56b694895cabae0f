"""Client format and provider put together: what the relay needs to carry one attempt."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientResponse, Headers, UpstreamRequest


class StreamTranslation(Protocol):
    """One streamed answer on its way from the provider to the client."""

    content_type: str
    headers: Headers
    """Further headers for the client (request ids, rate limits, `x-kong-llm-model`), allow-listed as those
    of a whole answer."""
    binary: bool
    """It has no form in which the client could be told of an error."""
    failed: ApiError | None
    """Set once the stream broke (error event, truncation); the bytes that say so were already given out."""

    def feed(self, data: bytes) -> bytes:
        """Bytes for the client, possibly empty. Never raises."""
        ...

    def finish(self) -> bytes:
        """The provider closed the stream: the rest, incl. the terminator of a complete one."""
        ...

    def abort(self, error: ApiError) -> bytes:
        """The relay breaks the stream off (time-out, a limit, lost connection): what tells the client, no
        terminator. Sets `failed`. Nothing may follow; empty where the stream has already ended or failed."""
        ...


class Further(NamedTuple):
    """A request that follows the answer to another, within the same attempt."""

    request: UpstreamRequest
    after: float
    """Seconds to wait before it is sent."""


class Translation(Protocol):
    """One attempt. Built anew from the client's original request for each target."""

    call: Call

    def request(self) -> UpstreamRequest:
        """Without credentials: `auth` adds them. Raises ApiError."""
        ...

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """The client's answer to a whole provider answer of any status (errors in the client's format)."""
        ...

    def stream(self, status: int, headers: Headers) -> StreamTranslation | None:
        """For a provider's answer to a request for a stream; None for an error or where none was asked for:
        read it whole and use `response`. Plain JSON in spite of `stream: true` is turned into a stream."""
        ...

    def further(self, status: int, headers: Headers, body: bytes) -> Further | None:
        """What is to be asked next of the same provider after a whole answer; None where that answer is the
        last: `response` turns it into the client's. Never raises."""
        ...

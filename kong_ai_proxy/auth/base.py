"""How a request gets its credentials."""

from __future__ import annotations

from typing import Protocol

from ..core.call import Call
from ..core.http import UpstreamRequest


class Authenticator(Protocol):
    """Adds the credentials of `call.target.auth` to a request, in place."""

    def apply(self, request: UpstreamRequest, call: Call) -> None:
        """Raises ApiError (500, no secret in its text) when a credential cannot be had."""
        ...

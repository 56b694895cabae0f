"""Templates such as `$(headers.x)` in a target's model, filled in from one request."""

from __future__ import annotations

from typing import NamedTuple

from ..config.models import Options, Target
from ..config.templates import resolve
from ..core.http import ClientRequest


class Resolved(NamedTuple):
    """A target's model for one request."""

    name: str
    """The configured name; "" where the client chooses."""
    options: Options


def resolve_target(target: Target, request: ClientRequest) -> Resolved:
    """Raises ApiError (400) where the request lacks what a template asks for."""
    return Resolved(*resolve(target, request.headers, request.captures, request.query))

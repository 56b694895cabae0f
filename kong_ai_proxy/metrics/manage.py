"""The relay's own paths, /health and /metrics: who may ask, and what is answered.

They are on the relay's port, which only Kong and the machine (or the containers' network) reach. A client
must not get there through Kong: Kong's nginx adds `X-Real-IP` and `X-Forwarded-*` to every request that it
proxies, whatever the client and the plugins do (kong/templates/nginx_kong.lua, `proxy_set_header`), so a
request with any of Kong's headers is refused like every other one without a ticket.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..core.http import ClientRequest, ClientResponse, Headers
from ..core.json import dumps
from ..exchange.tickets import TICKET_HEADER
from ..log import get_logger
from . import process
from .exposition import CONTENT_TYPE, Collector, Family, expose

log = get_logger("relay")

HEALTH_PATH: Final = "/health"
METRICS_PATH: Final = "/metrics"

_FROM_A_PROXY: Final = frozenset({"forwarded", "via", "x-real-ip", TICKET_HEADER})
_FROM_KONG: Final = ("x-forwarded-", "x-kong-", "x-consumer-", "x-credential-", "x-anonymous-")


def answer(
    request: ClientRequest, *, stopping: bool, collectors: Iterable[Collector] = ()
) -> ClientResponse | None:
    """What a management request gets; None for every other request."""
    if not asks(request):
        return None
    if request.path == HEALTH_PATH:
        body = dumps({"status": "stopping" if stopping else "ok"})
        return ClientResponse(503 if stopping else 200, {"content-type": "application/json"}, body)
    return page(collected([process.collect, *collectors]))


def asks(request: ClientRequest) -> bool:
    """Whether it is a management request, and may be answered."""
    known = request.path in (HEALTH_PATH, METRICS_PATH) and request.method in ("GET", "HEAD")
    return known and not came_through_a_proxy(request.headers)


def page(families: Iterable[Family]) -> ClientResponse:
    """/metrics."""
    return ClientResponse(200, {"content-type": CONTENT_TYPE}, expose(families))


def came_through_a_proxy(headers: Headers) -> bool:
    """True for whatever Kong proxied; names are lower-case."""
    return any(name in _FROM_A_PROXY or name.startswith(_FROM_KONG) for name in headers)


def collected(collectors: Iterable[Collector]) -> Iterable[Family]:
    """All metrics that these give."""
    for collector in collectors:
        try:
            yield from collector()
        except Exception:
            # One broken number must not hide the others.
            log.exception("metrics_not_collected")

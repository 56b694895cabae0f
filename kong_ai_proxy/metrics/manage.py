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
    if request.method not in ("GET", "HEAD") or came_through_a_proxy(request.headers):
        return None
    if request.path == HEALTH_PATH:
        body = dumps({"status": "stopping" if stopping else "ok"})
        return ClientResponse(503 if stopping else 200, {"content-type": "application/json"}, body)
    if request.path == METRICS_PATH:
        return ClientResponse(200, {"content-type": CONTENT_TYPE}, expose(_families(collectors)))
    return None


def came_through_a_proxy(headers: Headers) -> bool:
    """True for whatever Kong proxied; names are lower-case."""
    return any(name in _FROM_A_PROXY or name.startswith(_FROM_KONG) for name in headers)


def _families(collectors: Iterable[Collector]) -> Iterable[Family]:
    for collector in (process.collect, *collectors):
        try:
            yield from collector()
        except Exception:
            # One broken number must not hide the others.
            log.exception("metrics_not_collected")

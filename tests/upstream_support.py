"""Requests to scripted providers, for the tests of the relay's client."""

from __future__ import annotations

from typing import Any

from relay_support import Peer

from kong_ai_proxy.core.http import UpstreamRequest, Url
from kong_ai_proxy.exchange.exchange import Timeouts
from kong_ai_proxy.relay.upstream import UpstreamClient

QUICK = Timeouts(0.2, 0.2, 0.2)
SLOW = Timeouts(5.0, 5.0, 5.0)


def send(port: int, timeouts: Timeouts = SLOW, client: UpstreamClient | None = None, **kwargs: Any) -> Any:
    url = Url(kwargs.pop("scheme", "http"), kwargs.pop("host", "127.0.0.1"), port, "/v1")
    request = UpstreamRequest(kwargs.pop("method", "POST"), url, kwargs.pop("headers", {}), b"{}")
    connected, repeatable = kwargs.pop("connected", None), kwargs.pop("repeatable", False)
    return (client or UpstreamClient()).send(request, timeouts, connected, repeatable=repeatable)


def say(data: bytes, *, close: bool = True) -> Any:
    """A provider that reads one request, says this, and closes."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)
        if not close:
            peer.wait_closed()

    return script


def counting(peer: Peer) -> None:
    served = 0
    while peer.request() is not None:
        served += 1
        peer.answer(b"%d" % served)

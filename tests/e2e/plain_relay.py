"""A relay in the test's own process, without credentials, whose records are JSON: to be compared with what
providers and clients saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kong_ai_proxy.exchange.tickets import TicketStore
from kong_ai_proxy.relay.server import RelayServer


@contextmanager
def plain_relay(tickets: TicketStore) -> Iterator[tuple[RelayServer, list[Any]]]:
    """The relay, and the records that it logged itself."""
    logged: list[Any] = []
    relay = RelayServer(
        ("127.0.0.1", 0),
        tickets,
        authenticate=lambda request, call: None,
        encode=lambda record, limit: json.dumps(record),
        log_usage=logged.append,
    )
    relay.start()
    try:
        yield relay, logged
    finally:
        relay.stop(0)


def upstream_to(port: int) -> dict[str, str]:
    """`model.options` that lead to a provider on this machine."""
    return {"upstream_url": f"http://127.0.0.1:{port}/v1/chat/completions"}

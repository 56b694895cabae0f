"""Tickets: each is accepted once, and none is kept for ever, however many nobody comes for."""

from __future__ import annotations

import pytest
from exchange_support import proxy

from kong_ai_proxy.exchange import tickets
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore


def test_once_and_in_time() -> None:
    now = [0.0]
    store = TicketStore(ttl=60, clock=lambda: now[0])
    ticket = Ticket(proxy(), filter_installed=True, buffered=False)
    tokens = [store.file(ticket) for _ in range(2)]
    assert len(set(tokens)) == 2 and all(len(token) >= 32 for token in tokens)
    assert store.redeem(tokens[0]) is ticket and store.redeem(tokens[0]) is None
    now[0] = 61.0
    assert store.redeem(tokens[1]) is None
    assert store.redeem("") is None and len(store) == 0


def test_a_flood_of_tickets_that_nobody_redeems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has Kong take it off again (`Connection: x-kong-ai-ticket`) leaves one with each request."""
    monkeypatch.setattr(tickets, "_MOST", 1000)
    monkeypatch.setattr(tickets, "_MANY", 500)
    now = [0.0]
    store = TicketStore(ttl=900, clock=lambda: now[0])
    made = [store.file(Ticket(proxy(), filter_installed=True, buffered=False)) for _ in range(5000)]
    assert len(store) <= 1000 + 256
    assert store.redeem(made[-1]) is not None, "the youngest are kept"
    now[0] = 61.0
    store.expire()
    assert len(store) == 0, "and not for the whole time, where there are many"

"""Bodies made to keep the gateway busy: one of the default size must not hold others up for seconds."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from exchange_support import client_request, open_exchange, proxy

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError

USER = {"role": "user", "content": "hi"}
SHAPES: dict[str, Any] = {
    "unknown members": {"messages": [USER], **{f"k{number}": 1 for number in range(40_000)}},
    "empty tools": {"messages": [USER], "tools": [{}] * 100_000},
}
PROVIDERS = ["anthropic", "gemini", "cohere", "mistral", "openai"]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_in_time(provider: str, shape: str) -> None:
    request = client_request(SHAPES[shape])
    began = time.process_time()
    try:
        exchange = open_exchange(proxy(provider, "m"), request)
        attempt = exchange.next_attempt()
        assert attempt is not None
        made = attempt.translation.request()
        assert json.loads(made.body)
        assert len(attempt.call.dropped) <= 1000
    except ApiError as error:
        assert error.status == 400
    assert time.process_time() - began < 1.5, "some 0.1 s are usual, half a minute it was"


def test_what_was_dropped_is_noted_once_and_in_order() -> None:
    call: Call = open_exchange(proxy()).next_attempt().call  # type: ignore[union-attr]
    for path in ("b", "a", "b", "c.d", "a"):
        call.drop(path)
    assert call.dropped == ["b", "a", "c.d"]

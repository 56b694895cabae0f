"""Errors of a provider that are nested as deeply as JSON may be: nothing of it may raise."""

from __future__ import annotations

import pytest
from exchange_support import proxy

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.providers import provider


@pytest.mark.parametrize("opened", [b'{"error":', b"[", b'{"message":', b'{"error":[', b'{"detail":'])
@pytest.mark.parametrize("depth", [3, 9, 500, 1015])
def test_nothing_raises(opened: bytes, depth: int) -> None:
    target = proxy("vllm", "m", options={"upstream_url": "http://m.example/v1"}).targets[0]
    request = ClientRequest("POST", "/", "", {})
    call = Call(target, target.model.options, "m", "chat", request, stream=True)
    adapter = provider("vllm").adapter(call)
    closed = opened[::-1].translate(bytes.maketrans(b"{[", b"}]"))
    closing = bytes(byte for byte in closed if byte in b"}]")
    body = opened * depth + b'"Overloaded"' + closing * depth
    error = adapter.error(400, {}, body, call)
    assert (error.status, "Overloaded" in error.message) == (400, depth == 3)
    stream = adapter.stream(call)
    items = [*stream.feed(b"data: " + body + b"\n\n"), *stream.finish()]
    assert isinstance(items[-1], ApiError)

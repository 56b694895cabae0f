"""What breaks on the way: clients that leave, providers that fail, a plugin server that dies under load."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from gateway_support import Gateway
from http_support import RawClient, call

from kong_ai_proxy.mockllm import MockLLM

CHAT: Any = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello Paris"}]}
PROVIDERS = ["openai", "azure", "anthropic", "bedrock", "cohere", "ollama"]


def asked(model: str, **more: Any) -> Any:
    return {**CHAT, "model": model, **more}


def assert_closed_soon(mock: MockLLM, left: float) -> None:
    received = mock.last
    assert received.closed.wait(2.0), "the provider's connection stayed open"
    assert received.closed_at is not None and received.closed_at - left < 1.0


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("reset", [False, True])
def test_client_leaves_mid_stream(gateway: Gateway, mock: MockLLM, provider: str, reset: bool) -> None:
    client = RawClient(gateway.url)
    client.post(f"/{provider}", asked("mock-hang-4", stream=True))
    client.read_until(b"You")
    left = client.leave(reset=reset)
    assert_closed_soon(mock, left)
    [record] = gateway.log.wait(1)
    usage = record["ai"]["proxy"]["usage"]
    assert usage["source"] == "partial"
    assert usage["prompt_tokens"] > 0
    assert record["ai"]["proxy"]["meta"]["request_mode"] == "stream"


def test_the_log_knows_how_far_a_stream_had_come(gateway: Gateway, mock: MockLLM) -> None:
    """What Kong logs falls short by a fifth of the time or so at most; here a good deal more is allowed."""
    client = RawClient(gateway.url)
    client.post("/anthropic", asked("mock-pace-15+words-400", stream=True, max_tokens=900))
    data = b""
    until = time.monotonic() + 0.9
    while time.monotonic() < until:
        data += client.socket.recv(65536)
    assert b"kong-ai-usage" not in data
    client.leave()
    [record] = gateway.log.wait(1)
    usage = record["ai"]["proxy"]["usage"]
    words = data.count(b'"content":')
    assert words > 5
    assert words / 4 < usage["completion_tokens"] < words * 4, "four bytes a token, and the last part missing"
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_client_leaves_before_the_first_token(gateway: Gateway, mock: MockLLM, provider: str) -> None:
    client = RawClient(gateway.url)
    client.post(f"/{provider}", asked("mock-hang", stream=True))
    mock.wait_for(1)
    time.sleep(0.05)
    assert_closed_soon(mock, client.leave())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_client_leaves_before_a_plain_answer(gateway: Gateway, mock: MockLLM, provider: str) -> None:
    client = RawClient(gateway.url)
    client.post(f"/{provider}", asked("mock-hang"))
    mock.wait_for(1)
    time.sleep(0.05)
    assert_closed_soon(mock, client.leave())


@pytest.mark.parametrize("prefix", ["", "/bare"])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("model", ["mock-reset", "mock-cut"])
@pytest.mark.parametrize("stream", [False, True])
def test_provider_breaks_before_its_answer(
    gateway: Gateway, prefix: str, provider: str, model: str, stream: bool
) -> None:
    answer = call(gateway.url, f"{prefix}/{provider}", asked(model, stream=stream))
    assert answer.status == 502
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.message
    assert "127.0.0.1" not in answer.message


@pytest.mark.parametrize("provider", PROVIDERS)
def test_truncated_stream_ends_with_an_error(gateway: Gateway, provider: str) -> None:
    answer = call(gateway.url, f"/{provider}", asked("mock-truncate-3", stream=True))
    assert answer.status == 200
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body
    assert b"kong-ai-usage" not in answer.body


def test_plugin_server_dies_under_load(gateway: Gateway, mock: MockLLM) -> None:
    """Killed and started again while requests run: each gets an answer, soon, and none reaches a provider
    unless the plugin ran."""
    stop = threading.Event()
    results: list[tuple[int, float, str]] = []
    lock = threading.Lock()

    def load(number: int) -> None:
        while not stop.is_set():
            started = time.monotonic()
            prefix = "" if number % 2 else "/bare"
            try:
                answer = call(gateway.url, f"{prefix}/openai", asked("m", stream=number % 3 == 0), timeout=10)
                status, text = answer.status, answer.body[:200].decode("utf-8", "replace")
            except OSError as error:
                status, text = 0, repr(error)
            except Exception as error:
                status, text = -1, repr(error)
            with lock:
                results.append((status, time.monotonic() - started, text))
            time.sleep(0.01)  # what is refused at once shall not keep the server from starting

    threads = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.7)
        gateway.plugin_server.kill()
        time.sleep(0.7)
        gateway.plugin_server.start(60)
        time.sleep(1.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join(15)
    statuses = {status for status, _, _ in results}
    assert max(seconds for _, seconds, _ in results) < 5.0
    assert statuses <= {200, 500, 502, 503, 0, -1}, statuses
    # A stream that was running when the server died is cut off; that is the only request without a status.
    assert sum(status <= 0 for status, _, _ in results) <= len(threads), results
    assert any(status == 502 for status, _, _ in results), "nothing happened while the server was away"
    assert call(gateway.url, "/openai", asked("m")).status == 200
    after = [status for status, _, _ in results[-6:]]
    assert after.count(200) == 6, after


def test_kong_fails_open_and_the_relay_does_not(gateway: Gateway, mock: MockLLM) -> None:
    """Why services point at the relay: without its plugin server Kong sends the request on as it came."""
    headers = {"authorization": "Bearer of-the-client"}
    assert call(gateway.url, "/open/openai", asked("m"), headers=headers).status == 200
    assert mock.last.headers["authorization"] == "Bearer secret-openai"
    assert call(gateway.url, "/openai", asked("m"), headers=headers).status == 200
    mock.reset()
    gateway.plugin_server.kill()
    try:
        assert call(gateway.url, "/openai", asked("m"), headers=headers).status == 502
        assert mock.requests == []
        call(gateway.url, "/open/openai", asked("m"), headers=headers)
        assert mock.last.headers["authorization"] == "Bearer of-the-client"
    finally:
        gateway.plugin_server.start(60)
    assert call(gateway.url, "/openai", asked("m"), headers=headers).status == 200


def test_server_says_nothing_secret(gateway: Gateway) -> None:
    said = getattr(gateway, "server_log", lambda: "")()
    assert "secret-" not in said
    assert "Traceback" not in said

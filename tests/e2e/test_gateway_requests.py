"""Requests of every kind through the gateway: sizes, framings, refusals, what goes along and what must
not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support import Gateway
from http_support import call

from kong_ai_proxy.mockllm import Answer, MockLLM

CHAT: Any = {
    "model": "some-model",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Hello Paris"}],
}
SAID = "You said: Hello Paris"
BOTH = ["", "/bare"]
PROVIDERS = ["openai", "azure", "anthropic"]


def text_of(answer: Any) -> str:
    return str(answer.json["choices"][0]["message"]["content"])


@pytest.mark.parametrize(("prefix", "most"), [("", 3), ("/bare", 9)])
@pytest.mark.parametrize("stream", [False, True])
def test_round_trips(gateway: Gateway, prefix: str, most: int, stream: bool) -> None:
    body = {**CHAT, "stream": stream}
    assert call(gateway.url, f"{prefix}/openai", body).status == 200  # the instance is started
    gateway.log.wait(1)
    _settle(gateway)
    before = gateway.round_trips()
    if before is None:
        pytest.skip("this gateway does not count them")
    assert call(gateway.url, f"{prefix}/openai", body).status == 200
    gateway.log.wait(1)
    _settle(gateway)
    after = gateway.round_trips()
    assert after is not None and 0 < after - before <= most


def _settle(gateway: Gateway) -> None:
    """The log phase runs in a timer after the record was written."""
    import time

    last = -1
    while (now := gateway.round_trips() or 0) != last:
        last = now
        time.sleep(0.05)


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("megabytes", [1, 20])
def test_large_request(gateway: Gateway, mock: MockLLM, provider: str, prefix: str, megabytes: int) -> None:
    text = "x" * (megabytes << 20)
    body = {**CHAT, "messages": [{"role": "user", "content": text}], "max_tokens": 1}
    answer = call(gateway.url, f"{prefix}/{provider}", body, timeout=30)
    assert answer.status == 200
    assert len(mock.last.body) > megabytes << 20
    assert mock.last.json["messages"][0]["content"] == text


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_large_answer(gateway: Gateway, mock: MockLLM, provider: str, prefix: str) -> None:
    text = "y" * (20 << 20)

    def large(received: Any) -> Answer:
        from kong_ai_proxy.mockllm.providers import respond

        answer = respond(received)
        answer.body = answer.body.replace(SAID.encode(), text.encode())
        return answer

    mock.answer(large)
    answer = call(gateway.url, f"{prefix}/{provider}", CHAT, timeout=30)
    assert answer.status == 200
    assert text_of(answer) == text


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_chunked_request(gateway: Gateway, mock: MockLLM, prefix: str, size: int) -> None:
    data = json.dumps({**CHAT, "metadata": {"padding": "p" * 9000}}).encode()
    pieces = [data[i : i + size] for i in range(0, len(data), size)] if size > 1 else [data[:1], data[1:]]
    answer = call(gateway.url, f"{prefix}/openai", chunks=pieces, headers={"transfer-encoding": "chunked"})
    assert answer.status == 200
    assert text_of(answer) == SAID
    assert mock.last.json["messages"] == CHAT["messages"]


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/plain", b"hello"),
        ("application/json", b"{not json"),
        ("application/json", b""),
        ("application/json", b"[1, 2]"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b'{"model": "m"}'),
        ("application/json", b'{"model": "m", "messages": "no list"}'),
    ],
)
def test_refused_before_any_provider_hears_of_it(
    gateway: Gateway, mock: MockLLM, prefix: str, content_type: str, body: bytes
) -> None:
    answer = call(gateway.url, f"{prefix}/openai", body, headers={"content-type": content_type})
    assert 400 <= answer.status < 500, answer.body
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.message
    assert mock.requests == []


def test_content_type_with_parameters_is_json(gateway: Gateway) -> None:
    answer = call(gateway.url, "/openai", CHAT, headers={"content-type": "application/json; charset=utf-8"})
    assert text_of(answer) == SAID


@pytest.mark.parametrize("prefix", BOTH)
def test_odd_bytes_in_headers_and_query(gateway: Gateway, prefix: str) -> None:
    answer = call(
        gateway.url, f"{prefix}/openai?x=%ff%fe&y=%C3%A9&z", CHAT, headers={"x-odd": "caf\xe9 \xff"}
    )
    assert text_of(answer) == SAID


@pytest.mark.parametrize("prefix", BOTH)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_clients_secrets_stay_behind(gateway: Gateway, mock: MockLLM, provider: str, prefix: str) -> None:
    headers = {
        "authorization": "Bearer client-secret",
        "x-api-key": "client-secret",
        "api-key": "client-secret",
        "cookie": "session=client-secret",
        "x-internal": "client-secret",
        "x-forwarded-for": "10.1.2.3",
    }
    answer = call(gateway.url, f"{prefix}/{provider}", CHAT, headers=headers)
    assert text_of(answer) == SAID
    sent = str(mock.last.headers) + mock.last.raw_path + mock.last.body.decode()
    assert "client-secret" not in sent
    assert "x-kong" not in sent.lower()
    assert "10.1.2.3" not in sent
    assert f"secret-{provider}" in sent
    assert mock.last.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("prefix", BOTH)
def test_nothing_internal_in_the_answer(gateway: Gateway, prefix: str) -> None:
    answer = call(gateway.url, f"{prefix}/openai", CHAT)
    assert "x-kong-ai-ticket" not in answer.headers
    assert "x-kong-ai-usage" not in answer.headers
    assert answer.headers["x-kong-llm-model"] == "openai/some-model"
    assert answer.headers["x-request-id"] == "req_mock"
    assert answer.headers["x-ratelimit-remaining-requests"] == "99"
    assert int(answer.headers["content-length"]) == len(answer.body)


@pytest.mark.parametrize("prefix", BOTH)
def test_nothing_internal_in_a_stream(gateway: Gateway, prefix: str) -> None:
    answer = call(gateway.url, f"{prefix}/openai", {**CHAT, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"kong-ai-usage" not in answer.body
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert "x-kong-ai-usage" not in answer.headers
    assert "x-accel-buffering" not in answer.headers


def test_a_request_without_a_ticket_is_refused(gateway: Gateway, mock: MockLLM) -> None:
    relay = f"http://{gateway.plugin_server.relay}"
    for headers in ({}, {"x-kong-ai-ticket": "guessed"}):
        answer = call(relay, "/v1/chat/completions", CHAT, headers=headers)
        assert answer.status == 503
        assert "plugin" in answer.message
    assert mock.requests == []


def test_a_clients_own_ticket_header_is_replaced(gateway: Gateway) -> None:
    answer = call(gateway.url, "/openai", CHAT, headers={"x-kong-ai-ticket": "forged"})
    assert text_of(answer) == SAID


def test_a_service_elsewhere_is_led_to_the_relay(gateway: Gateway) -> None:
    assert text_of(call(gateway.url, "/away/openai", CHAT)) == SAID


@pytest.mark.parametrize("prefix", BOTH)
def test_model_from_a_uri_capture(gateway: Gateway, mock: MockLLM, prefix: str) -> None:
    body = {key: value for key, value in CHAT.items() if key != "model"}
    answer = call(gateway.url, f"{prefix}/captured/gpt-from-path", body)
    assert text_of(answer) == SAID
    assert mock.last.json["model"] == "gpt-from-path"


@pytest.mark.parametrize("prefix", BOTH)
def test_consumer_in_the_record(gateway: Gateway, prefix: str) -> None:
    assert call(gateway.url, f"{prefix}/keyed", CHAT).status == 401
    assert call(gateway.url, f"{prefix}/keyed", CHAT, headers={"x-gateway-key": "wrong"}).status == 401
    gateway.log.wait(2)
    answer = call(gateway.url, f"{prefix}/keyed", CHAT, headers={"x-gateway-key": "alice-key"})
    assert text_of(answer) == SAID
    record = gateway.log.wait(1)[0]
    assert record["consumer"]["username"] == "alice"
    assert record["ai"]["proxy"]["usage"]["total_tokens"] > 0


def test_record_holds_no_secret(gateway: Gateway) -> None:
    call(gateway.url, "/openai", CHAT)
    call(gateway.url, "/bare/azure", {**CHAT, "stream": True})
    records = gateway.log.wait(2)
    assert "secret-" not in str(records)


def test_ten_requests_on_one_connection(gateway: Gateway) -> None:
    import http.client
    from urllib.parse import urlsplit

    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    for number in range(10):
        body = {**CHAT, "stream": number % 2 == 1}
        connection.request("POST", "/openai", json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200
        assert b"Paris" in answer.read()
    connection.close()


def test_unknown_route(gateway: Gateway) -> None:
    answer = call(gateway.url, "/nowhere", CHAT)
    assert answer.status == 404
    assert answer.json["message"] == "no Route matched with those values"

"""Exchanges without Kong, relay or network: what a test feeds in, and what comes out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from kong_ai_proxy.core.http import ClientRequest, ClientResponse, UpstreamRequest
from kong_ai_proxy.exchange.exchange import Attempt, Exchange
from kong_ai_proxy.exchange.instance import ADVANCED, PROXY, Instance
from kong_ai_proxy.exchange.tickets import Ticket

KEY = "Bearer sk-configured-0123456789"


def target_config(provider: str = "openai", name: str | None = "gpt-4o", **changes: Any) -> dict[str, Any]:
    """A target of ai-proxy-advanced; `options` and `alias` belong to its model."""
    model: dict[str, Any] = {"provider": provider, "options": changes.pop("options", {})}
    if name is not None:
        model["name"] = name
    if "alias" in changes:
        model["model_alias"] = changes.pop("alias")
    target: dict[str, Any] = {
        "model": model,
        "route_type": "llm/v1/chat",
        "auth": {"header_name": "Authorization", "header_value": KEY},
        "logging": {"log_statistics": True},
    }
    target.update(changes)
    return target


def proxy(provider: str = "openai", name: str | None = "gpt-4o", **changes: Any) -> Instance:
    """An instance of ai-proxy; fields that are not a target's go to `config`."""
    top = {
        field: changes.pop(field)
        for field in ("llm_format", "response_streaming", "model_name_header", "max_request_body_size")
        if field in changes
    }
    return Instance.from_config(
        PROXY, {"__plugin_id": "plugin-1", **target_config(provider, name, **changes), **top}
    )


def advanced(*targets: dict[str, Any], balancer: dict[str, Any] | None = None, **top: Any) -> Instance:
    config: dict[str, Any] = {"__plugin_id": "plugin-2", "targets": list(targets), **top}
    if balancer is not None:
        config["balancer"] = balancer
    return Instance.from_config(ADVANCED, config)


def client_request(
    body: Any = None, *, headers: dict[str, str] | None = None, query: str = "", path: str = "/chat"
) -> ClientRequest:
    """`body` as JSON; bytes as they are; None: a short chat."""
    if body is None:
        body = {"messages": [{"role": "user", "content": "hi"}]}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ClientRequest("POST", path, query, {"content-type": "application/json", **(headers or {})}, data)


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def open_exchange(
    instance: Instance, request: ClientRequest | None = None, clock: Clock | None = None
) -> Exchange:
    ticket = Ticket(instance, filter_installed=True, buffered=False)
    exchange = Exchange.open(ticket, request or client_request())
    if clock is not None:
        exchange._clock = clock
    return exchange


def first_attempt(instance: Instance, request: ClientRequest | None = None) -> tuple[Exchange, Attempt]:
    exchange = open_exchange(instance, request)
    attempt = exchange.next_attempt()
    assert attempt is not None
    return exchange, attempt


def sent(instance: Instance, request: ClientRequest | None = None) -> UpstreamRequest:
    """What the first target gets, without credentials."""
    return first_attempt(instance, request)[1].translation.request()


def sent_body(instance: Instance, body: Any = None, **request: Any) -> dict[str, Any]:
    parsed = json.loads(sent(instance, client_request(body, **request)).body)
    assert isinstance(parsed, dict)
    return parsed


def openai_answer(content: str = "Hello", **changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gpt-4o-2024",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }
    answer.update(changes)
    return answer


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gpt-4o-2024",
        "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}],
    }
    made.update(changes)
    return made


USAGE_CHUNK = chunk(choices=[], usage={"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7})


def sse(*events: Any) -> bytes:
    """Events of a stream; a string goes as it is ("[DONE]")."""
    return b"".join(
        b"data: %b\n\n" % (event if isinstance(event, str) else json.dumps(event)).encode()
        for event in events
    )


def events(stream: bytes) -> list[Any]:
    """What a client reads from an OpenAI stream."""
    found: list[Any] = []
    for frame in stream.decode().split("\n\n"):
        if frame:
            assert frame.startswith("data: "), frame
            data = frame.removeprefix("data: ")
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


@dataclass
class Done:
    exchange: Exchange
    attempt: Attempt
    response: ClientResponse

    @property
    def json(self) -> Any:
        return json.loads(self.response.body)


def answered(
    instance: Instance,
    body: Any,
    request: ClientRequest | None = None,
    *,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Done:
    """A whole exchange with one attempt and a whole answer. `body`: JSON, or bytes as they are."""
    exchange, attempt = first_attempt(instance, request)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json", **(headers or {})}
    assert not attempt.rejected(status, given)
    response = attempt.translation.response(status, given, data)
    attempt.first_output()
    attempt.ended()
    return Done(exchange, attempt, response)

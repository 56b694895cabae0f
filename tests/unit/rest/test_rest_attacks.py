"""What clients try on OpenAI's REST APIs: models that rules forbid, forms made to break, errors that tell."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from batches_support import FILES, Asked, line, upload
from batches_support import request as asks
from exchange_support import advanced, first_attempt, proxy, target_config

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.tickets import Ticket
from kong_ai_proxy.formats.batches.ids import file_id

EDITS = "image/v1/images/edits"
ACLS = {"deny": [{"match": [{"type": "model", "values": ["dear"]}]}]}
IMAGE = ("image", "\x89PNG", "a.png")


def form(*parts: tuple[str, ...], path: str = "/images/edits") -> ClientRequest:
    """Fields (name, value), files (name, content, file name)."""
    body = b""
    for name, value, *file in parts:
        filename = f'; filename="{file[0]}"' if file else ""
        head = f'--B\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'
        body += head.encode() + value.encode("latin-1") + b"\r\n"
    return ClientRequest(
        "POST", path, "", {"content-type": "multipart/form-data; boundary=B"}, body + b"--B--\r\n"
    )


class Arriving:
    """A form that is read while it arrives."""

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self.started = False
        self._body = body

    def __iter__(self) -> Iterable[bytes]:
        for at in range(0, len(self._body), 64 * 1024):
            yield self._body[at : at + 64 * 1024]


def asked_with_rules(provider: str, route_type: str, asked: ClientRequest) -> Any:
    instance = advanced(
        target_config(provider, None, route_type=route_type), acls=ACLS, max_request_body_size=0
    )
    exchange = Exchange.open(Ticket(instance, filter_installed=True, buffered=False), asked)
    attempt = exchange.next_attempt()
    assert attempt is not None
    return attempt


@pytest.mark.parametrize(("model", "status"), [("cheap", None), ("dear", 403)])
@pytest.mark.parametrize("provider", ["openai", "gemini", "dashscope"])
def test_rules_hold_for_a_model_that_stands_behind_a_large_file(
    provider: str, model: str, status: int | None
) -> None:
    image = ("image", "\x89PNG" + "x" * 2_000_000, "a.png")
    asked = form(("prompt", "x"), image, ("model", model))
    asked.upload, asked.body = Arriving(asked.body), b""  # type: ignore[assignment]
    attempt = asked_with_rules(provider, EDITS, asked)

    def sent() -> None:
        made = attempt.translation.request()
        for _ in made.upload or ():
            pass

    if status is None:
        sent()
        return
    with pytest.raises(ApiError) as caught:
        sent()
    assert caught.value.status == status and caught.value.code == "access_denied"


@pytest.mark.parametrize("provider", ["anthropic", "gemini", "bedrock"])
def test_rules_hold_for_the_models_of_a_batchs_lines(provider: str) -> None:
    attempt = asked_with_rules(provider, FILES, upload(line("a", model="cheap"), line("b", model="dear")))
    with pytest.raises(ApiError) as caught:
        attempt.translation.request()
    assert caught.value.status == 403 and caught.value.message.startswith("line 2: ")


def test_rules_hold_for_the_model_of_a_file_that_another_uploaded() -> None:
    body = {"input_file_id": file_id("gemini", "in", "files/f1"), "endpoint": "/v1/chat/completions"}
    attempt = asked_with_rules("gemini", "llm/v1/batches", asks("POST", "/batches", body))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    label = json.dumps(["kong-ai-proxy", "dear", "a.jsonl", "/v1/chat/completions"])
    told = json.dumps({"name": "files/f1", "displayName": label}).encode()
    assert attempt.translation.further(200, {}, told) is None
    assert attempt.translation.response(200, {}, told).status == 403


@pytest.mark.parametrize("depth", [10, 300, 5000])
def test_fields_that_nest_without_end(depth: int) -> None:
    instance = proxy("gemini", "gemini-2.5-flash-image", route_type=EDITS)
    asked = form(("generationConfig" + "[a]" * depth, "1"), ("prompt", "x"), IMAGE)
    _, attempt = first_attempt(instance, asked)
    if depth == 10:
        attempt.translation.request()
        return
    with pytest.raises(ApiError) as caught:
        attempt.translation.request()
    assert caught.value.status == 400


def test_a_list_of_fields() -> None:
    instance = proxy("dashscope", "wan2.1-t2i", route_type=EDITS)
    _, attempt = first_attempt(instance, form(("a[]", "1"), ("a[]", "2"), ("prompt", "x"), IMAGE))
    attempt.translation.request()
    for twice in ((("a", "1"), ("a[]", "2")), (("a[]", "1"), ("a", "2")), (("a", "1"), ("a", "2"))):
        with pytest.raises(ApiError) as caught:
            first_attempt(instance, form(*twice, ("prompt", "x"), IMAGE))[1].translation.request()
        assert caught.value.status == 400


def test_an_error_that_a_translation_reads_itself_does_not_repeat_the_key() -> None:
    key = "sk-very-secret-key"
    instance = proxy(
        "dashscope", "wan2.2-t2i-flash", route_type="image/v1/images/generations",
        auth={"header_name": "authorization", "header_value": f"Bearer {key}"},
    )  # fmt: skip
    asked = Asked(instance, asks("POST", "/images/generations", {"prompt": "x"}))
    response = asked.reply({"code": "InvalidApiKey", "message": f"not a key: {key}"}, 400)
    assert response is not None and response.status == 400
    assert key.encode() not in response.body and b"[redacted]" in response.body

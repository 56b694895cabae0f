"""Recorded traffic of OpenAI's REST APIs through an exchange: the same request out, the same bytes back, the
usage that was reported."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from exchange_support import open_exchange, proxy
from recordings_support import load_recording, recordings

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.exchange.exchange import Attempt, Exchange

ROUTES = {
    "responses": "llm/v1/responses",
    "assistants": "llm/v1/assistants",
    "files": "llm/v1/files",
    "batches": "llm/v1/batches",
    "audio-speech": "audio/v1/audio/speech",
    "audio-transcriptions": "audio/v1/audio/transcriptions",
    "audio-translations": "audio/v1/audio/translations",
    "image-generations": "image/v1/images/generations",
    "image-edits": "image/v1/images/edits",
}
OFFERED = {
    "openai": set(ROUTES),
    "azure": {"responses"},
    "xai": {"responses", "image-generations"},
}


def _route(recording_id: str) -> str | None:
    provider, capability, _ = recording_id.split("/")
    for name in sorted(ROUTES, key=len, reverse=True):
        if capability == name or capability.startswith(f"{name}-"):
            return name if name in OFFERED.get(provider, ()) else None
    return None


IDS = [one for one in recordings("openai/", "azure/", "xai/") if _route(one)]
WHOLE = [one for one in IDS if load_recording(one)["stream"] is None]
STREAMS = [one for one in IDS if load_recording(one)["stream"] == "sse"]
every = pytest.mark.parametrize("recording_id", IDS or [pytest.param("", marks=pytest.mark.skip)])
whole = pytest.mark.parametrize("recording_id", WHOLE or [pytest.param("", marks=pytest.mark.skip)])
streamed = pytest.mark.parametrize("recording_id", STREAMS or [pytest.param("", marks=pytest.mark.skip)])


def _bytes(message: dict[str, Any]) -> bytes:
    if message.get("body_b64"):
        return base64.b64decode(message["body_b64"])
    body = message["body"]
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _attempt(recording_id: str) -> tuple[Exchange, Attempt, ClientRequest, dict[str, Any]]:
    recording = load_recording(recording_id)
    provider = recording_id.partition("/")[0]
    route = _route(recording_id)
    if recording["request"]["method"] == "GET" and recording["response"]["status"] == 401:
        pytest.skip("the request to open a WebSocket")
    assert route is not None
    url = urlsplit(recording["request"]["url"])
    options: dict[str, Any] = (
        {"azure_instance": "i", "azure_deployment_id": "d"} if provider == "azure" else {}
    )
    if provider == "azure":
        options["upstream_url"] = recording["request"]["url"].partition("?")[0]
    body = _bytes(recording["request"])
    headers = {}
    if body:
        headers["content-type"] = "application/json"
    forms = route in ("files", "audio-transcriptions", "audio-translations")
    if recording["request"]["method"] == "POST" and (
        forms or (body and not isinstance(recording["request"]["body"], dict))
    ):
        # Recorders kept little of their forms.
        headers["content-type"] = "multipart/form-data; boundary=B"
        body = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--B--\r\n'
    request = ClientRequest(recording["request"]["method"], f"/gw{url.path}", url.query, headers, body)
    instance = proxy(provider, None, route_type=ROUTES[route], options=options)
    exchange = open_exchange(instance, request)
    attempt = exchange.next_attempt()
    assert attempt is not None
    return exchange, attempt, request, recording


@every
def test_request_goes_out_as_it_came(recording_id: str) -> None:
    _, attempt, request, recording = _attempt(recording_id)
    sent = attempt.translation.request()
    url = urlsplit(recording["request"]["url"])
    assert sent.method == recording["request"]["method"]
    assert sent.url.path == url.path
    assert sent.body == (request.body if request.method == "POST" else b"")
    if "api-version" not in sent.url.query:
        assert sent.url.query == url.query


@whole
def test_answer_comes_back_byte_for_byte(recording_id: str) -> None:
    exchange, attempt, _, recording = _attempt(recording_id)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    status, headers = recording["response"]["status"], dict(recording["response"]["headers"])
    body = _bytes(recording["response"])
    headers["content-length"] = str(len(body))
    assert attempt.translation.stream(status, headers) is None
    answer = attempt.translation.response(status, headers, body)
    attempt.ended()
    assert answer.status == status
    if status >= 400 and not isinstance(json.loads(body).get("error"), dict):
        # xAI's errors have another form than OpenAI's.
        assert json.loads(answer.body)["error"]["message"] == json.loads(body)["error"]
    else:
        assert answer.body == body
    record = exchange.record()
    assert record is not None
    reported = _reported(recording)
    if reported is None and _counted(record.get("usage", {}), recording):
        assert attempt.call.usage.source is UsageSource.REPORTED
        assert record["usage"]["total_tokens"] == 0
    elif reported is None:
        assert "usage" not in record or record["usage"].get("source") == "estimated"
        assert attempt.call.usage.source is not UsageSource.REPORTED
    else:
        _check(record["usage"], reported)


@streamed
@pytest.mark.parametrize("pieces", [1, 7])
def test_stream_comes_back_byte_for_byte(recording_id: str, pieces: int) -> None:
    exchange, attempt, _, recording = _attempt(recording_id)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    stream = attempt.translation.stream(200, dict(recording["response"]["headers"]))
    assert stream is not None
    body = _bytes(recording["response"])
    step = -(-len(body) // pieces)
    out = b"".join(stream.feed(body[at : at + step]) for at in range(0, len(body), step)) + stream.finish()
    attempt.ended()
    assert out == body
    assert stream.failed is None
    record = exchange.record()
    assert record is not None
    assert record["meta"]["request_mode"] == "stream"
    reported = _stream_usage(body) if recording["request"]["method"] == "POST" else None
    assert (
        recording["request"]["method"] == "GET"
        or reported is not None
        or "assistants" in recording_id
        or "response.failed" in body.decode()
    )
    if reported is not None:
        _check(record["usage"], reported)
        assert "source" not in record["usage"]


def _check(usage: dict[str, Any], reported: dict[str, Any]) -> None:
    def logged(*names: str) -> Any:
        return next(usage[name] for name in names if name in usage)

    if reported.get("type") == "duration":
        assert usage["seconds"] == reported["seconds"]
        return
    assert logged("input_tokens", "prompt_tokens") == reported["input_tokens"]
    assert logged("output_tokens", "completion_tokens") == reported["output_tokens"]
    total = reported.get("total_tokens", reported["input_tokens"] + reported["output_tokens"])
    assert usage["total_tokens"] == total


def _counted(usage: dict[str, Any], recording: dict[str, Any]) -> bool:
    """Whether what is billed is no tokens, and counted: images, characters of a text that is spoken."""
    asked, answered = recording["request"]["body"], recording["response"]["body"]
    if recording["response"]["status"] >= 400:
        return False
    if "/images/" in recording["request"]["url"]:
        assert usage["images"] == len(answered["data"])
    elif "/audio/speech" in recording["request"]["url"]:
        assert usage["characters"] == len(asked["input"])
    else:
        return False
    return True


def _reported(recording: dict[str, Any]) -> dict[str, Any] | None:
    """Usage of a request that made a model work, in tokens or seconds."""
    body = recording["response"]["body"]
    request = recording["request"]
    path = urlsplit(request["url"]).path
    if request["method"] != "POST" or not isinstance(body, dict):
        return None
    if path.rstrip("/").rpartition("/")[2] in ("cancel", "input_tokens") or "/batches" in path:
        return None
    usage = body.get("usage")
    if not isinstance(usage, dict) or not {"input_tokens", "seconds"} & usage.keys():
        return None
    return usage


def _stream_usage(body: bytes) -> dict[str, Any] | None:
    found = None
    for line in body.decode().splitlines():
        if not line.startswith("data:") or line.endswith("[DONE]"):
            continue
        event = json.loads(line[5:])
        usage = (event.get("response") or event).get("usage")
        if isinstance(usage, dict) and "input_tokens" in usage:
            found = usage
    return found

"""Recorded OpenAI-shaped chats, the whole way: request in and out, answer, usage to the token.

The recorded request stands for the client's as well: between the same forms nothing may change but what the
gateway must add to get usage on a stream.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import client_request, events, open_exchange, proxy
from recordings_support import load_recording, recorded
from untraced import untraced

from kong_ai_proxy.exchange.exchange import Attempt, Exchange

PROVIDERS: dict[str, dict[str, Any]] = {
    "openai": {},
    "azure": {"azure_instance": "unit", "azure_deployment_id": "d"},
    "cerebras": {},
    "deepseek": {},
    "xai": {},
    "vllm": {"upstream_url": "http://vllm.example/v1/chat/completions"},
}
PLAIN = [f"{provider}/{kind}/" for provider in PROVIDERS for kind in ("chat", "chat-tools", "chat-vision")]
STREAMED = [f"{prefix[:-1]}-stream/" for prefix in PLAIN]
SAME_BYTES = ("openai/", "azure/")
"""Where client and provider speak the very same form."""


def usable(recording: dict[str, Any]) -> None:
    body = recording["request"]["body"]
    if recording["response"]["status"] != 200 or not isinstance(body, dict) or not body.get("messages"):
        pytest.skip("no answered chat")
    if recording["fidelity"].startswith("decoded"):
        pytest.skip("recorded above HTTP: no framing of its own")


def begun(recording: dict[str, Any]) -> tuple[Exchange, Attempt, Any]:
    provider = recording["id"].partition("/")[0]
    instance = proxy(provider, None, options=PROVIDERS[provider])
    body = {"model": recording["model"] or "m", **recording["request"]["body"]}
    exchange = open_exchange(instance, client_request(body))
    attempt = exchange.next_attempt()
    assert attempt is not None
    attempt.call.created = 1700000000
    upstream = attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    return exchange, attempt, (body, json.loads(upstream.body))


def counted(exchange: Exchange) -> tuple[int, int, int]:
    record = exchange.record()
    assert record is not None
    assert "source" not in record["usage"], "reported, not estimated"
    usage = record["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]


def told(usage: dict[str, Any]) -> tuple[int, int, int]:
    return usage["prompt_tokens"], usage.get("completion_tokens") or 0, usage["total_tokens"]


@recorded(*PLAIN)
def test_whole_answers(recording_id: str) -> None:
    recording = load_recording(recording_id)
    usable(recording)
    exchange, attempt, (asked, sent) = begun(recording)
    if recording_id.startswith(SAME_BYTES):
        assert sent == {name: value for name, value in asked.items() if value is not None}
    answer = recording["response"]["body"]
    raw = json.dumps(answer).encode()
    response = attempt.translation.response(200, recording["response"]["headers"], raw)
    attempt.ended()
    if "error" in answer:
        assert response.status >= 400
        return
    assert response.status == 200
    got = json.loads(response.body)
    assert [choice["message"].get("content") for choice in got["choices"]] == [
        choice["message"].get("content") for choice in answer["choices"]
    ]
    if "usage" in answer:
        assert counted(exchange) == told(answer["usage"]) == told(got["usage"])


@recorded(*STREAMED)
def test_streams(recording_id: str) -> None:
    recording = load_recording(recording_id)
    usable(recording)
    raw = recording["response"]["body"].encode()
    if recording["stream"] != "sse":
        pytest.skip("answered without a stream")
    whole = _streamed(recording, [raw])
    assert _streamed(recording, [raw[at : at + 1000] for at in range(0, len(raw), 1000)]) == whole
    with untraced():
        _however_split(recording, raw, whole)


def _however_split(recording: dict[str, Any], raw: bytes, whole: Any) -> None:
    for size in (1, 7):
        if size == 1 and len(raw) > 60_000:
            continue
        assert _streamed(recording, [raw[at : at + size] for at in range(0, len(raw), size)]) == whole
    step = max(1, len(raw) // 40)
    for at in range(1, len(raw), step):
        assert _streamed(recording, [raw[:at], raw[at:]]) == whole


def _streamed(recording: dict[str, Any], pieces: list[bytes]) -> tuple[bytes, Any]:
    exchange, attempt, (asked, sent) = begun(recording)
    assert sent["stream"] is True
    headers = recording["response"]["headers"]
    stream = attempt.translation.stream(200, headers)
    assert stream is not None
    out = b"".join(map(stream.feed, pieces)) + stream.finish()
    attempt.ended()
    assert stream.failed is None
    assert out.endswith(b"data: [DONE]\n\n")
    wants_usage = (asked.get("stream_options") or {}).get("include_usage") is True
    seen = [event for event in events(_normal(out)) if isinstance(event, dict)]
    assert wants_usage or not any(event.get("usage") for event in seen), "nobody asked for usage"
    reported = [
        chunk["usage"]
        for line in recording["response"]["body"].splitlines()
        if line.startswith("data:") and line[5:].strip().startswith("{")
        if isinstance((chunk := json.loads(line[5:])).get("usage"), dict)
    ]
    record = exchange.record()
    assert record is not None
    if reported:
        assert counted(exchange) == told(reported[-1])
    else:
        assert record["usage"]["source"] == "estimated"
    return out, {name: value for name, value in record["usage"].items() if "time" not in name}


def _normal(stream: bytes) -> bytes:
    """Only data lines, in one way of writing them."""
    lines = [line for line in stream.replace(b"\r\n", b"\n").split(b"\n") if line.startswith(b"data:")]
    return b"".join(b"data: %b\n\n" % line[5:].strip() for line in lines)

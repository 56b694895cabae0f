"""Recorded traffic of what has no route type of its own, behind `route_type: preserve`: DashScope's
native API, stored chats, moderations, vector stores, other vendors' responses and rerank APIs, …

The request goes out as it came, to the configured address; the answer comes back byte for byte.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

from exchange_support import open_exchange, proxy
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.exchange.exchange import Attempt, Exchange

PRESERVED = (
    "azure/realtime-sessions/",
    "bedrock/models/",
    "bedrock/responses",
    "bedrock/retrieve-and-generate/002-",
    "cerebras/models/",
    "cohere/audio-transcriptions/",
    "cohere/models/",
    "dashscope/embeddings-native/",
    "dashscope/models/",
    "dashscope/native-",
    "dashscope/rerank/",
    "deepseek/models/",
    "deepseek/responses",
    "gemini/file-search-stores/",
    "gemini/interactions",
    "huggingface/models/",
    "llama2/audio-transcriptions/",
    "llama2/models/",
    "llama2/rerank/",
    "llama2/responses/",
    "mistral/audio-",
    "mistral/batches/",
    "mistral/files/",
    "mistral/models/",
    "mistral/ocr/",
    "ollama/models/",
    "openai/chat-store/",
    "openai/completions/007-",
    "openai/containers/",
    "openai/conversations/",
    "openai/embeddings/005-",
    "openai/fine-tuning/",
    "openai/image-variations/",
    "openai/models/",
    "openai/moderations/",
    "openai/realtime-sessions/",
    "openai/uploads/",
    "openai/vector-stores/",
    "xai/audio-",
)
OPTIONS: dict[str, dict[str, Any]] = {
    "azure": {"azure_instance": "i", "azure_deployment_id": "d"},
    "bedrock": {"bedrock": {"aws_region": "us-east-1"}},
    "llama2": {"llama2_format": "openai"},
    "mistral": {"mistral_format": "openai"},
}
TYPES = {"sse": "text/event-stream", "ndjson": "application/x-ndjson"}


def _bytes(message: dict[str, Any]) -> bytes:
    if message.get("body_b64"):
        return base64.b64decode(message["body_b64"])
    body = message["body"]
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _started(recording: dict[str, Any]) -> tuple[Exchange, Attempt]:
    asked = recording["request"]
    address = asked["url"].replace("<AWS_REGION>", "us-east-1")
    url = urlsplit(address)
    provider = recording["provider"]
    options = {**OPTIONS.get(provider, {}), "upstream_url": address.partition("?")[0]}
    body = _bytes(asked)
    headers = {}
    if body:
        kind = "application/json" if isinstance(asked["body"], dict) else "application/octet-stream"
        headers["content-type"] = kind
    request = ClientRequest(asked["method"], f"/gw{url.path}", url.query, headers, body)
    instance = proxy(provider, None, route_type="preserve", options=options)
    exchange = open_exchange(instance, request)
    attempt = exchange.next_attempt()
    assert attempt is not None
    sent = attempt.translation.request()
    assert sent.method == asked["method"]
    assert (sent.url.host, sent.url.path) == (url.hostname, url.path)
    credentials = {"key"}
    own = [pair for pair in url.query.split("&") if pair and pair.partition("=")[0] not in credentials]
    assert [pair for pair in sent.url.query.split("&") if pair and "api-version" not in pair] == own
    assert sent.body == body
    attempt.connected("192.0.2.1", 0.001)
    return exchange, attempt


@recorded(*PRESERVED)
def test_passes_as_it_is(recording_id: str) -> None:
    recording = load_recording(recording_id)
    exchange, attempt = _started(recording)
    answer = recording["response"]
    status = answer["status"]
    body = _bytes(answer)
    headers = {"content-type": TYPES.get(recording["stream"], "application/json"), **answer["headers"]}
    stream = attempt.translation.stream(status, headers)
    if stream is not None:
        step = max(len(body) // 3, 1)
        out = b"".join(stream.feed(body[at : at + step]) for at in range(0, len(body), step))
        out += stream.finish()
        assert stream.failed is None
        assert out == body
    else:
        got = attempt.translation.response(status, headers, body)
        if status == 307:
            assert (got.status, b"redirect" in got.body) == (502, True)  # nobody is sent elsewhere
        else:
            assert got.status == status
            assert got.body == body or status >= 400
    attempt.ended()
    if status == 200 and "usage" in _last(recording):
        reported = _last(recording)["usage"]
        record = exchange.record()
        assert record is not None
        counts = [name for name in ("input_tokens", "prompt_tokens") if isinstance(reported.get(name), int)]
        if counts:
            assert attempt.call.usage.source is UsageSource.REPORTED
            assert attempt.call.usage.prompt_tokens == reported[counts[0]]


def _last(recording: dict[str, Any]) -> dict[str, Any]:
    """The answer, or the last event of its stream that tells a usage."""
    body = recording["response"]["body"]
    if recording["request"]["method"] != "POST":
        return {}
    if isinstance(body, dict):
        return body if isinstance(body.get("usage"), dict) else {}
    found: dict[str, Any] = {}
    for line in body.splitlines() if isinstance(body, str) and recording["stream"] == "sse" else ():
        if line.startswith("data:") and not line.endswith("[DONE]"):
            event = json.loads(line[5:])
            event = event.get("response") or event if isinstance(event, dict) else {}
            if isinstance(event, dict) and isinstance(event.get("usage"), dict):
                found = event
    return found

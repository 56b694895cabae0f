"""Recorded answers of chat providers, given to clients of the Responses API."""

from __future__ import annotations

import base64
import json

import pytest
from exchange_support import answered, first_attempt, proxy
from openai.types.responses import Response
from recordings_support import load_recording, recorded
from responses_support import check_events, read_events

from kong_ai_proxy.core.http import ClientRequest

PROVIDERS = {
    "anthropic": {},
    "gemini": {},
    "bedrock": {"options": {"bedrock": {"aws_region": "us-east-1"}}},
    "mistral": {},
    "deepseek": {},
}


def ask(recording_id: str, *, stream: bool) -> tuple[object, ClientRequest]:
    provider = recording_id.partition("/")[0]
    instance = proxy(provider, "claude-sonnet-4", route_type="llm/v1/responses", **PROVIDERS[provider])
    body = json.dumps({"input": "hi", "stream": stream}).encode()
    return instance, ClientRequest("POST", "/responses", "", {"content-type": "application/json"}, body)


@recorded(
    "anthropic/native-messages-stream/",
    "anthropic/native-messages-tools-stream/",
    "gemini/native-generate-stream/",
    "gemini/native-generate-tools-stream/",
    "bedrock/converse-stream/",
    "bedrock/converse-tools-stream/",
    "mistral/chat-tools-stream/",
    "deepseek/chat-stream/",
)
def test_streams(recording_id: str) -> None:
    recording = load_recording(recording_id)
    response = recording["response"]
    if response["status"] != 200 or recording["stream"] not in ("sse", "aws-eventstream"):
        pytest.skip("no stream")
    instance, request = ask(recording_id, stream=True)
    _, attempt = first_attempt(instance, request)  # type: ignore[arg-type]
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    stream = attempt.translation.stream(200, response["headers"])
    assert stream is not None
    raw = base64.b64decode(response["body_b64"]) if response.get("body_b64") else response["body"].encode()
    out = b"".join(stream.feed(raw[at : at + 1000]) for at in range(0, len(raw), 1000)) + stream.finish()
    attempt.ended()
    final = check_events(read_events(out))
    if stream.failed is None:
        assert final["status"] in ("completed", "incomplete")
        assert final["usage"]["input_tokens"] == attempt.call.usage.prompt_tokens
    else:
        assert final["status"] == "failed"


@recorded(
    "anthropic/native-messages/",
    "anthropic/native-messages-tools/",
    "gemini/native-generate/",
    "gemini/native-generate-tools/",
    "bedrock/converse/",
    "bedrock/converse-tools/",
)
def test_whole_answers(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or not isinstance(recording["response"]["body"], dict):
        pytest.skip("no answer")
    instance, request = ask(recording_id, stream=False)
    done = answered(instance, recording["response"]["body"], request)  # type: ignore[arg-type]
    if done.response.status != 200:
        assert "error" in done.json
        return
    Response.model_validate(done.json)
    assert done.json["status"] in ("completed", "incomplete")

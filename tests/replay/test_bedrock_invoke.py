"""Recorded InvokeModel traffic: embeddings, and Claude's Messages in AWS frames."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from recordings_support import load_recording, recorded, recordings

from kong_ai_proxy.config.models import Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.bedrock.embeddings import EmbeddingsAdapter
from kong_ai_proxy.formats.bedrock.invoke import InvokeMessagesAdapter, InvokeMessagesObserver
from kong_ai_proxy.wire.eventstream import EventStreamDecoder

ADAPTER = InvokeMessagesAdapter()


def call(model: str, operation: str = "chat", body: bytes = b"") -> Call:
    target = Target(model=Model(provider="bedrock", name=model), route_type="llm/v1/chat")
    request = ClientRequest("POST", "/", "", {}, body)
    return Call(target, Options(), model, operation, request, client_format="anthropic")


def model_of(url: str) -> str:
    return url.split("/model/")[1].rsplit("/", 1)[0].replace("%3A", ":")


# What the recorded clients set that OpenAI's form has no field for.
_OWN = {"truncate": "NONE"}


@recorded("bedrock/embeddings-invoke/")
def test_recorded_embeddings(recording_id: str) -> None:
    recording = load_recording(recording_id)
    native, response = recording["request"]["body"], recording["response"]
    made = call(model_of(recording["request"]["url"]), "embeddings")
    body: dict[str, Any]
    if "texts" in native:
        body = {"input": native["texts"], "dimensions": native["output_dimension"]}
        body["input_type"] = native["input_type"]
    elif "inputText" in native:
        body = {"input": native["inputText"], "dimensions": native["dimensions"]}
        body["normalize"] = native["normalize"]
    else:
        params = native["singleEmbeddingParams"]
        body = {"input": params["text"]["value"], "dimensions": params["embeddingDimension"]}
        body["input_type"] = params["embeddingPurpose"]
        params["text"]["truncationMode"] = "NONE"
    ours = EmbeddingsAdapter().request(body, made)
    assert {**_OWN, **ours} == {**_OWN, **native}
    assert made.dropped == []
    made.answer_headers = response["headers"]
    answer = EmbeddingsAdapter().response(response["body"], made)
    (vector,) = answer["data"]
    assert len(vector["embedding"]) == body["dimensions"]
    assert json.dumps(vector["embedding"])[1:-1] in json.dumps(response["body"])
    assert made.usage.prompt_tokens == int(response["headers"]["x-amzn-bedrock-input-token-count"])
    assert made.usage.source is UsageSource.REPORTED


def claude_streams() -> list[str]:
    return [
        found
        for found in recordings("bedrock/invoke-stream/")
        if "anthropic.claude" in load_recording(found)["request"]["url"]
    ]


def events(data: bytes) -> list[Any]:
    found = []
    for frame in EventStreamDecoder().feed(data):
        found.append(json.loads(base64.b64decode(json.loads(frame.payload)["bytes"])))
    return found


@pytest.mark.parametrize("recording_id", claude_streams() or [pytest.param("", marks=pytest.mark.skip)])
def test_recorded_messages_streams(recording_id: str) -> None:
    recording = load_recording(recording_id)
    response = recording["response"]
    model = model_of(recording["request"]["url"])
    made = call(model)
    if response["status"] != 200:
        body = json.dumps(response["body"]).encode()
        assert ADAPTER.error(response["status"], {}, body, made).message == response["body"]["message"]
        return
    data = base64.b64decode(response["body_b64"])
    native = events(data)
    decoder = ADAPTER.stream(made)
    items = [*decoder.feed(data), *decoder.finish()]
    assert not any(isinstance(item, ApiError) for item in items)
    said = [item["choices"][0]["delta"] for item in items if item["choices"]]
    texts = "".join(
        event["delta"].get("text", "") for event in native if event["type"] == "content_block_delta"
    )
    assert "".join(delta.get("content", "") for delta in said) == texts
    partial = "".join(
        event["delta"].get("partial_json", "") for event in native if event["type"] == "content_block_delta"
    )
    arguments = "".join(c["function"]["arguments"] for delta in said for c in delta.get("tool_calls", []))
    assert arguments == partial
    start = next(e["message"]["usage"] for e in native if e["type"] == "message_start")
    end = next(e["usage"] for e in native if e["type"] == "message_delta")
    usage = {**start, **end}
    assert made.usage.completion_tokens == usage["output_tokens"]
    assert made.usage.prompt_tokens == usage["input_tokens"] + sum(
        usage.get(name) or 0 for name in ("cache_read_input_tokens", "cache_creation_input_tokens")
    )
    # The same for a client that speaks Messages: every event, in order, unchanged.
    twin = call(model)
    observer = InvokeMessagesObserver().stream(twin)
    out = b"".join(observer.feed(data[i : i + 100]) for i in range(0, len(data), 100)) + observer.finish()
    passed = [json.loads(part.split("\ndata: ")[1]) for part in out.decode().split("\n\n") if part]
    assert passed == native
    assert observer.complete
    assert twin.usage == made.usage


@recorded("bedrock/invoke/")
def test_recorded_messages_answers(recording_id: str) -> None:
    recording = load_recording(recording_id)
    body = recording["request"]["body"]
    if not isinstance(body, dict) or "anthropic_version" not in body:
        pytest.skip("not Messages")
    response = recording["response"]
    made = call(model_of(recording["request"]["url"]))
    if response["status"] != 200:
        raw = json.dumps(response["body"]).encode()
        assert ADAPTER.error(response["status"], {}, raw, made).status == response["status"]
        return
    assert InvokeMessagesObserver().request(b"raw", body, made) == b"raw"
    answer = ADAPTER.response(response["body"], made)
    text = "".join(block.get("text", "") for block in response["body"]["content"])
    assert (answer["choices"][0]["message"]["content"] or "") == text
    usage = response["body"]["usage"]
    cached = sum(usage.get(n) or 0 for n in ("cache_read_input_tokens", "cache_creation_input_tokens"))
    assert made.usage.prompt_tokens == usage["input_tokens"] + cached
    assert made.usage.completion_tokens == usage["output_tokens"]

"""Recorded Messages answers and streams, through OpenAI's form and back to a client that speaks Messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic import TypeAdapter
from recordings_support import load_recording, recorded

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.client import CLIENT
from kong_ai_proxy.formats.anthropic.observer import MessagesObserver
from kong_ai_proxy.formats.anthropic.usage import read_usage

ADAPTER = MessagesAdapter()
WHOLE = tuple(
    f"{who}/native-messages{kind}/"
    for who in ("anthropic", "azure", "vertex")
    for kind in ("", "-tools", "-vision")
)
STREAMED = tuple(prefix[:-1] + "-stream/" for prefix in WHOLE)
COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens", "cache_write_by_ttl")
EVENT: TypeAdapter[Any] = TypeAdapter(BetaRawMessageStreamEvent)


def call() -> Call:
    target = Target(model=Model(provider="anthropic", name="claude"), route_type="llm/v1/chat")
    request = ClientRequest("POST", "/v1/messages", "", {})
    return Call(target, target.model.options, "claude", "chat", request, client_format="anthropic")


def grouped(content: list[dict[str, Any]]) -> dict[str, Any]:
    """The content as OpenAI's form keeps it: texts joined, the rest in order, kind by kind."""
    kept: dict[str, Any] = {"text": "", "thinking": [], "tool_use": [], "others": []}
    for block in content:
        if block.get("caller", {}).get("type") == "direct":
            block = {name: value for name, value in block.items() if name != "caller"}
        if block["type"] == "text":
            kept["text"] += block["text"]
        elif block["type"] == "redacted_thinking":
            kept["thinking"].append(block)
        else:
            kept.get(block["type"], kept["others"]).append(block)
    return kept


def check(ours: dict[str, Any], native: dict[str, Any]) -> None:
    assert grouped(ours["content"]) == grouped(native["content"])
    for name in ("id", "model", "role", "stop_reason", "stop_sequence"):
        assert ours[name] == native[name], name
    mine, theirs = read_usage(ours["usage"]), read_usage(native["usage"])
    for name in COUNTS:
        assert (getattr(mine, name) or 0) == (getattr(theirs, name) or 0), name


@recorded(*WHOLE)
def test_recorded_answer_comes_back_as_it_was(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    made = call()
    if response["status"] != 200:
        error = ADAPTER.error(response["status"], {}, json.dumps(response["body"]).encode(), made)
        assert CLIENT.error(error)["error"] == response["body"]["error"]
        return
    ours = CLIENT.response(ADAPTER.response(response["body"], made), made)
    BetaMessage.model_validate(ours)
    check(ours, response["body"])


def events(data: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in data.decode().split("\n\n"):
        if frame:
            name, line = frame.split("\n")
            event = json.loads(line.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            found.append(event)
    return found


def message_of(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the events add up to; checks their order on the way."""
    assert [event["type"] for event in found[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in found[-2:]] == ["message_delta", "message_stop"]
    message = found[0]["message"]
    open_index, partial = None, ""
    for event in found[1:]:
        kind = event["type"]
        if kind == "content_block_start":
            assert open_index is None
            open_index = event["index"]
            assert open_index == len(message["content"])
            message["content"].append(dict(event["content_block"]))
            partial = ""
        elif kind == "content_block_delta":
            assert event["index"] == open_index
            block, delta = message["content"][-1], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            elif delta["type"] == "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
            else:
                partial += delta["partial_json"]
        elif kind == "content_block_stop":
            assert event["index"] == open_index
            open_index = None
            if partial:
                message["content"][-1]["input"] = json.loads(partial)
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"] = event["usage"]
    assert open_index is None
    return message


@recorded(*STREAMED)
def test_recorded_stream_comes_back_as_it_was(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        pytest.skip("an error, not a stream")
    made = call()
    decoder, encoder = ADAPTER.stream(made), CLIENT.stream(made)
    out = b""
    for item in [*decoder.feed(response["body"].encode()), *decoder.finish()]:
        assert not isinstance(item, ApiError)
        out += encoder.encode(item)
    found = events(out + encoder.finish())
    for event in found:
        if event["type"] != "ping":
            EVENT.validate_python(event)
    twin = call()
    observer = MessagesObserver().stream(twin)
    assert observer.feed(response["body"].encode()) + observer.finish() == response["body"].encode()
    assert observer.complete
    assert twin.usage == made.usage
    assert twin.finish_reasons == made.finish_reasons
    assert (twin.response_id, twin.response_model) == (made.response_id, made.response_model)
    native = events_of_recording(response["body"])
    check(message_of(found), native)
    lines = [json.loads(line[5:]) for line in response["body"].splitlines() if line.startswith("data:")]
    quoted = [line["delta"]["citation"] for line in lines if "citation" in line.get("delta", {})]
    cited = {citation["url"] for citation in quoted if "url" in citation}  # not those of documents
    told = [event["delta"]["citation"]["url"] for event in found if "citation" in event.get("delta", {})]
    assert set(told) == cited


def events_of_recording(body: str) -> dict[str, Any]:
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for line in body.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            message["content"].append(event["content_block"])
        elif kind == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            for name in ("text", "thinking"):
                if name in delta:
                    block[name] += delta[name]
            if "signature" in delta:
                block["signature"] = delta["signature"]
            if "partial_json" in delta:
                partial[event["index"]] = partial.get(event["index"], "") + delta["partial_json"]
        elif kind == "content_block_stop" and partial.get(event["index"]):
            message["content"][event["index"]]["input"] = json.loads(partial[event["index"]])
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"].update({k: v for k, v in event["usage"].items() if v is not None})
    return message

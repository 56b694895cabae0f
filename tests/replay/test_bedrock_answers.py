"""Recorded Converse and InvokeModel answers against an independent, naive reader."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from recordings_support import load_recording, recorded

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter

ADAPTER = ConverseAdapter()
WHOLE = ("bedrock/converse/", "bedrock/converse-tools/", "bedrock/converse-vision/")
STREAMED = ("bedrock/converse-stream/", "bedrock/converse-tools-stream/", "bedrock/converse-vision-stream/")
REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
}


def call() -> Call:
    target = Target(model=Model(provider="bedrock", name="m"), route_type="llm/v1/chat")
    return Call(target, target.model.options, "m", "chat", ClientRequest("POST", "/", "", {}), created=1)


def naive(content: list[dict[str, Any]], stop: str, usage: dict[str, Any]) -> dict[str, Any]:
    text, thinking, tools, citations = "", [], [], []
    for block in content:
        if "text" in block:
            text += block["text"]
        elif "toolUse" in block:
            use = block["toolUse"]
            tools.append((use["toolUseId"], use["name"], use["input"]))
        elif "citationsContent" in block:
            text += "".join(part["text"] for part in block["citationsContent"]["content"])
            citations += block["citationsContent"]["citations"]
        elif "redactedContent" in block["reasoningContent"]:
            data = block["reasoningContent"]["redactedContent"]
            thinking.append({"type": "redacted_thinking", "data": base64.b64decode(data).decode()})
        else:
            said = block["reasoningContent"]["reasoningText"]
            kept = {"type": "thinking", "thinking": said["text"]}
            if said.get("signature"):
                kept["signature"] = said["signature"]
            thinking.append(kept)
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    return {
        "text": text,
        "thinking": thinking,
        "tools": tools,
        "citations": citations,
        "finish": REASONS[stop],
        "usage": (
            usage["inputTokens"] + read + written,
            usage["outputTokens"],
            read,
            written,
            usage["totalTokens"],
        ),
    }


def raw_frames(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Frames, read with nothing but struct."""
    frames = []
    while data:
        size, head = struct.unpack(">II", data[:8])
        headers, rest = {}, data[12 : 12 + head]
        while rest:
            name = rest[1 : 1 + rest[0]]
            rest = rest[1 + rest[0] :]
            assert rest[0] == 7
            (length,) = struct.unpack(">H", rest[1:3])
            headers[name.decode()] = rest[3 : 3 + length].decode()
            rest = rest[3 + length :]
        frames.append((headers[":event-type"], json.loads(data[12 + head : size - 4])))
        data = data[size:]
    return frames


def naive_stream(data: bytes) -> dict[str, Any]:
    blocks: dict[int, dict[str, Any]] = {}
    stop, usage = "", {}
    for name, event in raw_frames(data):
        if name == "contentBlockStart":
            blocks[event["contentBlockIndex"]] = {"toolUse": {**event["start"]["toolUse"], "input": ""}}
        elif name == "contentBlockDelta":
            delta = event["delta"]
            block = blocks.setdefault(event["contentBlockIndex"], {})
            if "text" in delta:
                block["text"] = block.get("text", "") + delta["text"]
            elif "toolUse" in delta:
                block["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "citation" in delta:
                block.setdefault("citations", []).append(delta["citation"])
            else:
                assert list(delta["reasoningContent"]) == ["redactedContent"]
                block["reasoningContent"] = delta["reasoningContent"]
        elif name == "messageStop":
            stop = event["stopReason"]
        elif name == "metadata":
            usage = event["usage"]
    content = []
    for _, block in sorted(blocks.items()):
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"] or "{}")
        if "citations" in block:
            cited = {"content": [{"text": block["text"]}], "citations": block["citations"]}
            block = {"citationsContent": cited}
        if block:
            content.append(block)
    return naive(content, stop, usage)


def check(message: dict[str, Any], finish: str, made: Call, expected: dict[str, Any]) -> None:
    assert (message.get("content") or "") == expected["text"]
    assert message.get("thinking_blocks", []) == expected["thinking"]
    tools = [
        (t["id"], t["function"]["name"], json.loads(t["function"]["arguments"]))
        for t in message.get("tool_calls", [])
    ]
    assert tools == expected["tools"]
    assert message.get("provider_specific_fields", {}).get("citations", []) == expected["citations"]
    assert finish == expected["finish"]
    usage = made.usage
    assert usage.source is UsageSource.REPORTED
    counts = (
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens or 0,
        usage.cache_write_tokens or 0,
        usage.total,
    )
    assert counts == expected["usage"]
    assert usage.total == usage.prompt_tokens + usage.completion_tokens
    assert made.finish_reasons == [expected["finish"]]
    assert made.response_model == "m"


@recorded(*WHOLE)
def test_recorded_converse_answer_becomes_a_chat_completion(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    made = call()
    if response["status"] != 200:
        error = ADAPTER.error(
            response["status"], response["headers"], json.dumps(response["body"]).encode(), made
        )
        assert (error.status, error.message) == (response["status"], response["body"]["message"])
        kind = response["headers"].get("x-amzn-errortype")
        assert error.code == (kind.split(":")[0] if kind else None)
        return
    body = response["body"]
    answer = ADAPTER.response(body, made)
    ChatCompletion.model_validate(answer, strict=True)
    CompletionUsage.model_validate(answer["usage"])
    choice = answer["choices"][0]
    expected = naive(body["output"]["message"]["content"], body["stopReason"], body["usage"])
    check(choice["message"], choice["finish_reason"], made, expected)


def decode(data: bytes, cuts: list[int], made: Call) -> list[Any]:
    decoder = ADAPTER.stream(made)
    items: list[Any] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        items += decoder.feed(data[start:end])
    return items + decoder.finish()


def shown(items: list[Any]) -> list[Any]:
    return [
        (item.status, item.message) if isinstance(item, ApiError) else {**item, "id": ""} for item in items
    ]


def fold(items: list[Any]) -> tuple[dict[str, Any], str]:
    message: dict[str, Any] = {}
    finish = ""
    tools: list[dict[str, Any]] = []
    for item in items:
        assert not isinstance(item, ApiError), item
        ChatCompletionChunk.model_validate(item)
        if not item["choices"]:
            assert item is items[-1]
            continue
        assert not finish
        delta = item["choices"][0]["delta"]
        finish = item["choices"][0]["finish_reason"] or ""
        message["content"] = message.get("content", "") + delta.get("content", "")
        message.setdefault("thinking_blocks", []).extend(delta.get("thinking_blocks", []))
        for name, value in delta.get("provider_specific_fields", {}).items():
            own = message.setdefault("provider_specific_fields", {})
            own[name] = own.get(name, []) + value if isinstance(value, list) else value
        for part in delta.get("tool_calls", []):
            if part["index"] == len(tools):
                assert part["function"]["arguments"] == ""
                tools.append({"id": part["id"], "function": dict(part["function"])})
            tools[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    message["tool_calls"] = tools
    return message, finish


@recorded(*STREAMED)
def test_recorded_converse_stream_adds_up(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        body = json.dumps(response["body"]).encode()
        assert ADAPTER.error(response["status"], {}, body, call()).message == response["body"]["message"]
        return
    data = base64.b64decode(response["body_b64"])
    made = call()
    items = decode(data, [], made)
    message, finish = fold(items)
    check(message, finish, made, naive_stream(data))
    assert items[-1]["usage"] == made.usage.to_openai()


@recorded(*STREAMED)
def test_recorded_converse_stream_is_the_same_however_it_is_split(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        pytest.skip("an error, not a stream")
    data = base64.b64decode(response["body_b64"])
    whole = shown(decode(data, [], call()))
    assert shown(decode(data, list(range(1, len(data))), call())) == whole
    for cut in range(1, len(data), max(1, len(data) // 60)):
        assert shown(decode(data, [cut], call())) == whole


@recorded(*STREAMED)
def test_recorded_converse_stream_cut_short_is_an_error(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        pytest.skip("an error, not a stream")
    data = base64.b64decode(response["body_b64"])
    end = data.index(b"messageStop")
    for cut in (end, end // 2, 20, 0):
        items = decode(data[:cut], [], call())
        assert isinstance(items[-1], ApiError)
        assert items[-1].code == "upstream_stream_truncated"

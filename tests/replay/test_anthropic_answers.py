"""Recorded answers of the Messages API (Anthropic, Azure, Vertex) against an independent, naive reader."""

from __future__ import annotations

import json
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
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter

ADAPTER = MessagesAdapter()
WHOLE = ("anthropic/native-messages/", "anthropic/native-messages-tools/",
         "anthropic/native-messages-vision/", "azure/native-messages/", "azure/native-messages-tools/",
         "vertex/native-messages/", "vertex/native-messages-tools/")  # fmt: skip
STREAMED = ("anthropic/native-messages-stream/", "anthropic/native-messages-tools-stream/",
            "anthropic/native-messages-vision-stream/", "azure/native-messages-stream/",
            "azure/native-messages-tools-stream/", "vertex/native-messages-stream/",
            "vertex/native-messages-tools-stream/")  # fmt: skip

REASONS = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}


def call(**more: Any) -> Call:
    target = Target(model=Model(provider="anthropic", name="claude"), route_type="llm/v1/chat")
    request = ClientRequest("POST", "/chat", "", {}, b"")
    made = Call(target, target.model.options, "claude", "chat", request, created=1_700_000_000)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def naive(message: dict[str, Any]) -> dict[str, Any]:
    """What a whole native message says, read without any of the code under test."""
    usage = message["usage"]
    rounds = [u for u in usage.get("iterations") or [usage] if u.get("type") != "advisor_message"]
    return {
        "text": "".join(b["text"] for b in message["content"] if b["type"] == "text"),
        "thinking": [b for b in message["content"] if b["type"] in ("thinking", "redacted_thinking")],
        "tools": [(b["id"], b["name"], b["input"]) for b in message["content"] if b["type"] == "tool_use"],
        "others": [
            b
            for b in message["content"]
            if b["type"] not in ("text", "thinking", "redacted_thinking", "tool_use")
        ],
        "finish": REASONS[message["stop_reason"]],
        "prompt": sum(
            (u.get(name) or 0)
            for u in rounds
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        ),
        "completion": sum(u["output_tokens"] for u in rounds),
        # No recording has compaction, which the top level leaves out.
        "top": (
            sum(
                (usage.get(name) or 0)
                for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
            ),
            usage["output_tokens"],
        ),
        "advisors": [
            (u["model"], u["input_tokens"])
            for u in usage.get("iterations") or []
            if u["type"] == "advisor_message"
        ],
        "cached": sum(u.get("cache_read_input_tokens") or 0 for u in rounds),
        "written": sum(u.get("cache_creation_input_tokens") or 0 for u in rounds),
        "model": message["model"],
        "id": message["id"],
    }


def naive_stream(text: str) -> dict[str, Any]:
    """The message that a recorded stream adds up to."""
    message: dict[str, Any] = {}
    partial: dict[int, str] = {}
    for line in text.splitlines():
        if not line.startswith("data:"):
            continue
        event = json.loads(line[5:])
        kind = event["type"]
        if kind == "message_start":
            message = event["message"]
        elif kind == "content_block_start":
            message["content"].append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            elif delta["type"] == "input_json_delta":
                partial[event["index"]] = partial.get(event["index"], "") + delta["partial_json"]
            elif delta["type"] == "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
            else:
                raise AssertionError(delta)
        elif kind == "content_block_stop" and partial.get(event["index"]):
            message["content"][event["index"]]["input"] = json.loads(partial[event["index"]])
        elif kind == "message_delta":
            message.update(event["delta"])
            message["usage"].update({k: v for k, v in event["usage"].items() if v is not None})
    return message


def check_message(message: dict[str, Any], finish: str, expected: dict[str, Any]) -> None:
    assert (message.get("content") or "") == expected["text"]
    assert message.get("thinking_blocks", []) == expected["thinking"]
    assert message.get("reasoning_content", "") == "".join(
        b.get("thinking", "") for b in expected["thinking"]
    )
    tools = [
        (t["id"], t["function"]["name"], json.loads(t["function"]["arguments"]))
        for t in message.get("tool_calls", [])
    ]
    assert tools == expected["tools"]
    assert message.get("provider_specific_fields", {}).get("content_blocks", []) == expected["others"]
    assert finish == expected["finish"]


def check_usage(made: Call, expected: dict[str, Any]) -> None:
    usage = made.usage
    assert usage.source is UsageSource.REPORTED
    assert (usage.prompt_tokens, usage.completion_tokens) == (expected["prompt"], expected["completion"])
    assert usage.total == expected["prompt"] + expected["completion"]
    assert (usage.cached_tokens or 0, usage.cache_write_tokens or 0) == (
        expected["cached"],
        expected["written"],
    )
    assert (usage.prompt_tokens, usage.completion_tokens) == expected["top"]
    assert [(other.model, other.prompt_tokens) for other in usage.other_models] == expected["advisors"]
    assert made.response_model == expected["model"]
    assert made.response_id == expected["id"]
    assert made.finish_reasons == [expected["finish"]]


@recorded(*WHOLE)
def test_recorded_answer_becomes_a_chat_completion(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    made = call()
    if response["status"] != 200:
        body = json.dumps(response["body"]).encode()
        error = ADAPTER.error(response["status"], response["headers"], body, made)
        assert error.status == response["status"]
        assert error.message == response["body"]["error"]["message"]
        assert error.type == response["body"]["error"]["type"]
        return
    answer = ADAPTER.response(response["body"], made)
    expected = naive(response["body"])
    ChatCompletion.model_validate(answer, strict=True)
    choice = answer["choices"][0]
    check_message(choice["message"], choice["finish_reason"], expected)
    check_usage(made, expected)
    assert answer["usage"]["total_tokens"] == made.usage.total
    CompletionUsage.model_validate(answer["usage"])


def fold(items: list[Any]) -> tuple[dict[str, Any], str]:
    """Chunks, added up as the OpenAI SDK's users do; checks ids, indexes and order on the way."""
    message: dict[str, Any] = {}
    finish = ""
    tools: list[dict[str, Any]] = []
    for item in items:
        assert not isinstance(item, ApiError), item
        ChatCompletionChunk.model_validate(item)
        assert item["id"] == items[0]["id"]
        assert item["model"] == items[0]["model"]
        if not item["choices"]:
            assert item is items[-1]
            continue
        assert not finish
        delta = item["choices"][0]["delta"]
        finish = item["choices"][0]["finish_reason"] or ""
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for name in ("thinking_blocks", "annotations"):
            message.setdefault(name, []).extend(delta.get(name, []))
        for name, value in delta.get("provider_specific_fields", {}).items():
            own = message.setdefault("provider_specific_fields", {})
            own[name] = own.get(name, []) + value if isinstance(value, list) else value
        for part in delta.get("tool_calls", []):
            if part["index"] == len(tools):
                tools.append({"id": part["id"], "function": {**part["function"], "arguments": ""}})
            tools[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    message["tool_calls"] = tools
    assert items[0]["choices"][0]["delta"]["role"] == "assistant"
    return message, finish


def decode(data: bytes, cuts: list[int], made: Call) -> list[Any]:
    decoder = ADAPTER.stream(made)
    items: list[Any] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        items += decoder.feed(data[start:end])
    return items + decoder.finish()


def shown(items: list[Any]) -> list[Any]:
    return [
        (item.status, item.message, item.code) if isinstance(item, ApiError) else {**item, "id": ""}
        for item in items
    ]


@recorded(*STREAMED)
def test_recorded_stream_adds_up_to_its_message(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    made = call()
    if response["status"] != 200:
        body = json.dumps(response["body"]).encode()
        error = ADAPTER.error(response["status"], {}, body, made)
        assert error.message == response["body"]["error"]["message"]
        return
    native = naive_stream(response["body"])
    data = response["body"].encode()
    whole = decode(data, [], made)
    message, finish = fold(whole)
    expected = naive(native)
    check_message(message, finish, expected)
    check_usage(made, expected)
    assert whole[-1]["choices"] == []
    assert whole[-1]["usage"] == made.usage.to_openai()
    # The twin: the same message as a whole answer.
    twin = call()
    answer = ADAPTER.response(native, twin)["choices"][0]
    assert twin.usage == made.usage
    assert answer["finish_reason"] == finish
    assert answer["message"].get("annotations", []) == message.get("annotations", [])
    own = answer["message"].get("provider_specific_fields", {})
    assert own == message.get("provider_specific_fields", {})


@recorded(*STREAMED)
def test_recorded_stream_is_the_same_however_it_is_split(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        pytest.skip("an error, not a stream")
    data = response["body"].encode()
    whole = shown(decode(data, [], call()))
    assert shown(decode(data, list(range(1, len(data))), call())) == whole
    step = max(1, len(data) // 60)
    for cut in range(1, len(data), step):
        assert shown(decode(data, [cut], call())) == whole


@recorded(*STREAMED)
def test_recorded_stream_cut_short_is_an_error(recording_id: str) -> None:
    response = load_recording(recording_id)["response"]
    if response["status"] != 200:
        pytest.skip("an error, not a stream")
    data = response["body"].encode()
    end = data.rindex(b"event: message_stop")
    # Behind the stop reason there is nothing to come: the answer is whole without its last event.
    assert not any(isinstance(item, ApiError) for item in decode(data[:end], [], call()))
    for cut in (data.rindex(b"event: message_delta"), end // 2, 10, 0):
        made = call()
        items = decode(data[:cut], [], made)
        assert isinstance(items[-1], ApiError)
        assert items[-1].status == 502
        assert made.usage.source in (UsageSource.PARTIAL, UsageSource.NONE)
        assert not any(isinstance(item, ApiError) for item in items[:-1])

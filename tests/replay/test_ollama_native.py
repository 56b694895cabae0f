"""Recorded answers of Ollama against a reader of its own; recorded requests against what we would send."""

from __future__ import annotations

import json
from typing import Any

from native_support import (
    assemble,
    check_completion,
    check_embeddings,
    flat,
    make_call,
    normalised,
    read_stream,
    recorded_streams,
    two_way_splits,
    wire_bytes,
)
from openai.types import Completion
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.ollama import CHAT, EMBED, GENERATE

STREAMS = ("ollama/native-chat-stream", "ollama/native-chat-tools-stream", "ollama/native-generate-stream")


def lines(recording: dict[str, Any]) -> list[dict[str, Any]]:
    body = recording["response"]["body"]
    return [json.loads(line) for line in body.splitlines()] if isinstance(body, str) else [body]


def call_of(recording: dict[str, Any], operation: str = "chat") -> Any:
    return make_call("ollama", recording["model"] or "", operation, stream=bool(recording["stream"]))


def check_usage(usage: dict[str, Any], last: dict[str, Any]) -> None:
    assert usage["prompt_tokens"] == last.get("prompt_eval_count", 0)
    assert usage["completion_tokens"] == last["eval_count"]
    assert usage["total_tokens"] == last.get("prompt_eval_count", 0) + last["eval_count"]


@recorded("ollama/native-chat")
def test_recorded_chat(recording_id: str) -> None:
    recording = load_recording(recording_id)
    call, response = call_of(recording), recording["response"]
    if response["status"] != 200:
        error = CHAT.error(response["status"], response["headers"], wire_bytes(recording), call)
        assert (error.status, error.message) == (response["status"], response["body"]["error"])
        return
    if recording["stream"]:
        answer = assemble(read_stream(CHAT, call, [wire_bytes(recording)]))
    else:
        answer = flat(CHAT.response(response["body"], call))
    found = lines(recording)
    choice = answer["choices"][0]
    assert choice["content"] == "".join(line["message"].get("content", "") for line in found)
    assert choice["reasoning_content"] == "".join(line["message"].get("thinking", "") for line in found)
    expected = [one for line in found for one in line["message"].get("tool_calls", [])]
    calls = [(one["name"], json.loads(one["arguments"])) for one in choice["tool_calls"]]
    assert calls == [(one["function"]["name"], one["function"]["arguments"]) for one in expected]
    assert [one["id"] for one in choice["tool_calls"]] == [one["id"] for one in expected if "id" in one]
    reason = found[-1]["done_reason"]
    assert choice["finish_reason"] == ("tool_calls" if expected and reason == "stop" else reason)
    check_usage(answer["usage"], found[-1])
    assert answer["model"] == found[-1]["model"] == call.response_model


@recorded("ollama/native-generate")
def test_recorded_generation(recording_id: str) -> None:
    recording = load_recording(recording_id)
    call = call_of(recording, "completions")
    found = lines(recording)
    if recording["stream"]:
        items = read_stream(GENERATE, call, [wire_bytes(recording)])
        for item in items:
            # The SDK's type has no null, though OpenAI sends one on every chunk but the last.
            choices = [{**one, "finish_reason": one["finish_reason"] or "stop"} for one in item["choices"]]
            Completion.model_validate({**item, "choices": choices})
        said = "".join(choice["text"] for item in items for choice in item["choices"])
        reasons = [choice["finish_reason"] for item in items for choice in item["choices"]]
        assert [reason for reason in reasons if reason] == [found[-1]["done_reason"]]
        usage = items[-1]["usage"]
    else:
        answer = GENERATE.response(recording["response"]["body"], call)
        check_completion(answer)
        said, usage = answer["choices"][0]["text"], answer["usage"]
        assert answer["choices"][0]["finish_reason"] == found[-1]["done_reason"]
    assert said == "".join(line["response"] for line in found)
    check_usage(usage, found[-1])


@recorded_streams(*STREAMS)
def test_recorded_stream_however_split(recording_id: str) -> None:
    recording = load_recording(recording_id)
    generate = "generate" in recording_id
    adapter: Any = GENERATE if generate else CHAT
    operation = "completions" if generate else "chat"
    data = wire_bytes(recording)
    whole = normalised(read_stream(adapter, call_of(recording, operation), [data]))
    step = 1 if len(data) < 60_000 else 7
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert normalised(read_stream(adapter, call_of(recording, operation), pieces)) == whole
    for two in two_way_splits(data, 15):
        assert normalised(read_stream(adapter, call_of(recording, operation), two)) == whole
    cut = read_stream(adapter, call_of(recording, operation), [data[: data.rfind(b'{"model"')]])
    assert isinstance(cut[-1], ApiError)
    assert cut[-1].code == "upstream_stream_truncated"


@recorded("ollama/embeddings-native")
def test_recorded_embeddings(recording_id: str) -> None:
    recording = load_recording(recording_id)
    asked, body = recording["request"]["body"], recording["response"]["body"]
    call = call_of(recording, "embeddings")
    assert EMBED.request({"input": asked["input"]}, call) == {
        "model": asked["model"],
        "input": asked["input"],
    }
    answer = EMBED.response(body, call)
    check_embeddings(answer)
    assert [one["embedding"] for one in answer["data"]] == body["embeddings"]
    assert answer["usage"]["prompt_tokens"] == body["prompt_eval_count"]


def to_openai(asked: dict[str, Any]) -> dict[str, Any]:
    """A recorded request as an OpenAI client would have put it."""
    body: dict[str, Any] = {
        key: value for key, value in asked.items() if key not in ("options", "format", "messages")
    }
    for own, value in (asked.get("options") or {}).items():
        body[{"num_predict": "max_tokens"}.get(own, own)] = value
    if isinstance(asked.get("format"), dict):
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": asked["format"]},
        }
    elif asked.get("format"):
        body["response_format"] = {"type": "json_object"}
    messages, pending = [], []
    for number, message in enumerate(asked["messages"]):
        made = {key: value for key, value in message.items() if key in ("role", "content")}
        if message.get("thinking"):
            made["reasoning_content"] = message["thinking"]
        if message.get("tool_calls"):
            made["tool_calls"] = []
            for place, one in enumerate(message["tool_calls"]):
                function = one["function"]
                pending.append((function["name"], f"call_{number}_{place}"))
                arguments = json.dumps(function["arguments"])
                made["tool_calls"].append(
                    {
                        "id": pending[-1][1],
                        "type": "function",
                        "function": {"name": function["name"], "arguments": arguments},
                    }
                )
        if message.get("tool_name"):
            match = next(one for one in pending if one[0] == message["tool_name"])
            made["tool_call_id"] = match[1]
        messages.append(made)
    return {**body, "messages": messages}


def meaning(request: dict[str, Any]) -> dict[str, Any]:
    messages = []
    for message in request["messages"]:
        kept = {key: value for key, value in message.items() if value and key != "tool_call_id"}
        if "tool_calls" in kept:
            kept["tool_calls"] = [one["function"] for one in kept["tool_calls"]]
        messages.append(kept)
    kept = {key: value for key, value in request.items() if value not in (None, "", {}, [])}
    return {**kept, "messages": messages, "stream": bool(request.get("stream"))}


@recorded("ollama/native-chat")
def test_recorded_request(recording_id: str) -> None:
    recording = load_recording(recording_id)
    asked = recording["request"]["body"]
    call = make_call("ollama", asked["model"], stream=bool(asked.get("stream")))
    sent = CHAT.request(to_openai(asked), call)
    assert isinstance(sent, dict)
    expected = meaning(asked)
    if "temperature" in expected:
        # One recorded client put it at the top level, where Ollama does not look for it.
        expected["options"] = {**expected["options"], "temperature": expected.pop("temperature")}
    assert meaning(sent) == expected
    assert not call.dropped

"""Recorded answers of Cohere against a reader of its own; recorded requests against what we would send."""

from __future__ import annotations

import json
from typing import Any

import pytest
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
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2, EMBED_V1, EMBED_V2, GENERATE

FINISH = {"COMPLETE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls", "STOP_SEQUENCE": "stop"}
CHATS = ("cohere/native-chat-v1", "cohere/native-chat-v2")


def naive_v2(recording: dict[str, Any]) -> dict[str, Any]:
    body = recording["response"]["body"]
    if isinstance(body, dict):
        message = body["message"]
        parts = message.get("content") or []
        return {
            "text": "".join(part.get("text", "") for part in parts),
            "thoughts": "".join(part.get("thinking", "") for part in parts) or message.get("tool_plan", ""),
            "calls": [
                (call["id"], call["function"]["name"], call["function"]["arguments"])
                for call in message.get("tool_calls") or []
            ],
            "citations": message.get("citations") or [],
            "reason": body["finish_reason"],
            "billed": body["usage"]["billed_units"],
            "id": body["id"],
        }
    found: dict[str, Any] = {
        "text": "",
        "thoughts": "",
        "calls": [],
        "citations": [],
        "reason": None,
        "billed": {},
    }
    for line in body.splitlines():
        if not line.startswith("data:") or line == "data: [DONE]":
            continue
        event = json.loads(line[5:])
        message = (event.get("delta") or {}).get("message") or {}
        if event["type"] == "message-start":
            found["id"] = event["id"]
        elif event["type"] in ("content-start", "content-delta"):
            found["text"] += message["content"].get("text", "")
            found["thoughts"] += message["content"].get("thinking", "")
        elif event["type"] == "tool-plan-delta":
            found["thoughts"] += message["tool_plan"]
        elif event["type"] == "tool-call-start":
            call = message["tool_calls"]
            found["calls"].append([call["id"], call["function"]["name"], call["function"]["arguments"]])
        elif event["type"] == "tool-call-delta":
            found["calls"][-1][2] += message["tool_calls"]["function"]["arguments"]
        elif event["type"] == "citation-start":
            found["citations"].append(message["citations"])
        elif event["type"] == "message-end":
            found["reason"] = event["delta"]["finish_reason"]
            found["billed"] = event["delta"]["usage"]["billed_units"]
    # Without parameters nothing is streamed; as a whole it is "{}".
    found["calls"] = [(id_, name, said or "{}") for id_, name, said in found["calls"]]
    return found


def naive_v1(recording: dict[str, Any]) -> dict[str, Any]:
    body = recording["response"]["body"]
    said = None
    if isinstance(body, str):
        events = [json.loads(line) for line in body.splitlines()]
        said = "".join(event["text"] for event in events if event["event_type"] == "text-generation")
        body = {**events[-1]["response"], "id": events[0]["generation_id"]}
    return {
        "text": body["text"] if said is None else said,
        "thoughts": "",
        "calls": [],
        "citations": body.get("citations") or [],
        "reason": body["finish_reason"],
        "billed": body["meta"]["billed_units"],
        "id": body.get("id") or body["response_id"],
    }


def is_v1(recording_id: str) -> bool:
    return "chat-v1" in recording_id


def call_of(recording: dict[str, Any]) -> Any:
    return make_call("cohere", recording["model"] or "command", stream=bool(recording["stream"]))


@recorded(*CHATS)
def test_recorded_answer(recording_id: str) -> None:
    recording = load_recording(recording_id)
    adapter: Any = CHAT_V1 if is_v1(recording_id) else CHAT_V2
    call, response = call_of(recording), recording["response"]
    if response["status"] != 200:
        error = adapter.error(response["status"], response["headers"], wire_bytes(recording), call)
        assert (error.status, error.message) == (response["status"], response["body"]["message"])
        assert error.code == response["body"].get("error_type")
        return
    expected = naive_v1(recording) if is_v1(recording_id) else naive_v2(recording)
    if recording["stream"]:
        answer = assemble(read_stream(adapter, call, [wire_bytes(recording)]))
    else:
        answer = flat(adapter.response(response["body"], call))
    choice = answer["choices"][0]
    assert answer["id"] == expected["id"]
    assert choice["content"] == expected["text"]
    assert choice["reasoning_content"] == expected["thoughts"]
    calls = [(one["id"], one["name"], one["arguments"]) for one in choice["tool_calls"]]
    assert calls == expected["calls"]
    assert choice["finish_reason"] == FINISH[expected["reason"]]
    assert answer["usage"]["prompt_tokens"] == expected["billed"]["input_tokens"]
    assert answer["usage"]["completion_tokens"] == expected["billed"]["output_tokens"]
    assert answer["usage"]["total_tokens"] == sum(
        expected["billed"][name] for name in ("input_tokens", "output_tokens")
    )
    assert call.usage.to_openai() == answer["usage"]
    if expected["citations"]:
        assert choice["extra"]["provider_specific_fields"]["citations"] == expected["citations"]


@recorded_streams(*CHATS)
def test_recorded_stream_however_split(recording_id: str) -> None:
    recording = load_recording(recording_id)
    adapter: Any = CHAT_V1 if is_v1(recording_id) else CHAT_V2
    data = wire_bytes(recording)
    whole = normalised(read_stream(adapter, call_of(recording), [data]))
    single = [data[at : at + 1] for at in range(len(data))]
    assert normalised(read_stream(adapter, call_of(recording), single)) == whole
    for pieces in two_way_splits(data, 25):
        assert normalised(read_stream(adapter, call_of(recording), pieces)) == whole
    end = data.rfind(b"stream-end" if is_v1(recording_id) else b"message-end")
    cut = read_stream(adapter, call_of(recording), [data[: end - 60]])
    assert isinstance(cut[-1], ApiError)
    assert cut[-1].code == "upstream_stream_truncated"
    assert not any(choice["finish_reason"] for item in cut[:-1] for choice in item["choices"])


@recorded("cohere/native-generate")
def test_recorded_generation(recording_id: str) -> None:
    recording = load_recording(recording_id)
    call = call_of(recording)
    body = recording["response"]["body"]
    answer = GENERATE.response(body, call)
    check_completion(answer)
    assert answer["choices"][0]["text"] == body["generations"][0]["text"]
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == body["meta"]["billed_units"]["output_tokens"]
    sent = GENERATE.request({"prompt": recording["request"]["body"]["prompt"]}, call)
    assert isinstance(sent, dict)
    assert sent["prompt"] == recording["request"]["body"]["prompt"]


@recorded("cohere/embeddings-native")
def test_recorded_embeddings(recording_id: str) -> None:
    recording = load_recording(recording_id)
    asked, response = recording["request"]["body"], recording["response"]
    adapter = EMBED_V1 if "/v1/" in recording["request"]["url"] else EMBED_V2
    call = make_call(
        "cohere",
        asked["model"],
        "embeddings",
        options={"cohere": {"embedding_input_type": asked["input_type"]}},
    )
    inputs = asked.get("texts") or asked["images"]
    body = {"input": inputs, "dimensions": asked.get("output_dimension")}
    sent = adapter.request({**body, "embedding_types": asked.get("embedding_types")}, call)
    expected = {key: value for key, value in asked.items() if value is not None}
    assert sent == {"embedding_types": ["float"], **expected}
    if response["status"] != 200:
        error = adapter.error(response["status"], response["headers"], wire_bytes(recording), call)
        assert (error.status, error.message) == (404, response["body"]["message"])
        return
    answer = adapter.response(response["body"], call)
    check_embeddings(answer)
    vectors = response["body"]["embeddings"]
    if isinstance(vectors, dict):
        vectors = next(iter(vectors.values()))
    assert [one["embedding"] for one in answer["data"]] == vectors
    billed = response["body"]["meta"]["billed_units"]
    assert answer["usage"]["prompt_tokens"] == billed.get("input_tokens", 0)


def to_openai(asked: dict[str, Any]) -> dict[str, Any] | None:
    """A recorded v2 request as an OpenAI client would have put it; None where it could not."""
    body = {
        key: value
        for key, value in asked.items()
        if key not in ("k", "p", "stop_sequences", "response_format")
    }
    for own, name in (("k", "top_k"), ("p", "top_p"), ("stop_sequences", "stop")):
        if own in asked:
            body[name] = asked[own]
    if "tool_choice" in asked:
        body["tool_choice"] = asked["tool_choice"].lower()
    wanted = asked.get("response_format")
    if wanted:
        schema = wanted.get("json_schema")
        body["response_format"] = (
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}} if schema else wanted
        )
    messages = []
    for message in asked["messages"]:
        if isinstance(message.get("content"), list):
            thoughts = [part for part in message["content"] if part["type"] == "thinking"]
            if thoughts:
                rest = [part for part in message["content"] if part["type"] != "thinking"]
                message = {**message, "content": rest, "reasoning_content": thoughts[0]["thinking"]}
        messages.append(message)
    return {**body, "messages": messages}


def meaning(request: dict[str, Any]) -> dict[str, Any]:
    """A request with everything said in one way: text content as text, nothing empty."""
    messages = []
    for message in request["messages"]:
        content = message.get("content") or ""
        if isinstance(content, list) and all(part["type"] == "text" for part in content):
            content = "".join(part["text"] for part in content)
        kept = {key: value for key, value in message.items() if value and key != "content"}
        messages.append({**kept, "content": content})
    kept = {
        key: value for key, value in request.items() if value not in (None, [], False) and key != "messages"
    }
    return {**kept, "messages": messages}


@recorded("cohere/native-chat-v2")
def test_recorded_request(recording_id: str) -> None:
    """What the recorded client sent is what we send for the same intent in OpenAI's words."""
    asked = load_recording(recording_id)["request"]["body"]
    body = to_openai(asked)
    call = make_call("cohere", asked["model"], stream=bool(asked.get("stream")))
    sent = CHAT_V2.request(body, call)
    assert isinstance(sent, dict)
    assert meaning(sent) == meaning(asked)
    assert not call.dropped


@pytest.mark.parametrize("adapter", [CHAT_V1, CHAT_V2])
def test_not_an_answer(adapter: Any) -> None:
    with pytest.raises(ApiError) as caught:
        adapter.response({"hello": 1}, make_call("cohere", "command"))
    assert caught.value.status == 502

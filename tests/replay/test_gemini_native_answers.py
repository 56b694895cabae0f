"""Recorded answers of Gemini and Vertex against a reader of its own, written from the reference alone."""

from __future__ import annotations

import json
from typing import Any

from native_support import (
    assemble,
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
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT, VERTEX_CHAT

FINISH = {
    "STOP": "stop", 1: "stop", "MAX_TOKENS": "length", 2: "length", "SAFETY": "content_filter",
    "MODEL_ARMOR": "content_filter", "UNEXPECTED_TOOL_CALL": "stop",
}  # fmt: skip


def elements(recording: dict[str, Any]) -> list[dict[str, Any]]:
    body = recording["response"]["body"]
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        return [body]
    return [json.loads(line[5:]) for line in body.splitlines() if line.startswith("data:")]


def naive(recording: dict[str, Any]) -> dict[str, Any]:
    """Text, calls, finish reason and usage, read the simplest way."""
    seen: dict[int, dict[str, Any]] = {}
    usage: dict[str, int] = {}
    blocked = False
    for element in elements(recording):
        blocked = blocked or ("promptFeedback" in element and "blockReason" in element["promptFeedback"])
        for key, value in (element.get("usageMetadata") or {}).items():
            if key.endswith("Count"):
                usage[key] = value
        for candidate in element.get("candidates") or []:
            known = seen.setdefault(
                candidate.get("index", 0),
                {"text": "", "thoughts": "", "calls": [], "reason": None, "signatures": []},
            )
            for part in (candidate.get("content") or {}).get("parts") or []:
                if "functionCall" in part:
                    call = part["functionCall"]
                    known["calls"].append(
                        (call["name"], call.get("args") or {}, part.get("thoughtSignature"))
                    )
                elif "text" in part:
                    known["thoughts" if part.get("thought") else "text"] += part["text"]
                    if part.get("thoughtSignature"):
                        known["signatures"].append(part["thoughtSignature"])
            known["reason"] = candidate.get("finishReason", known["reason"])
    return {"candidates": seen, "usage": usage, "blocked": blocked}


def adapter_of(recording_id: str) -> Any:
    return VERTEX_CHAT if recording_id.startswith("vertex/") else PUBLIC_CHAT


def call_of(recording: dict[str, Any]) -> Any:
    stream = recording["stream"] is not None
    return make_call("gemini", recording["model"] or "", stream=stream, include_usage=stream)


def check(answer: dict[str, Any], recording: dict[str, Any]) -> None:
    expected = naive(recording)
    if not expected["candidates"]:
        assert expected["blocked"]
        assert answer["choices"][0]["finish_reason"] == "content_filter"
    for index, candidate in expected["candidates"].items():
        choice = answer["choices"][index]
        assert choice["content"] == candidate["text"]
        assert choice["reasoning_content"] == candidate["thoughts"]
        calls = [(call["name"], json.loads(call["arguments"])) for call in choice["tool_calls"]]
        assert calls == [(name, arguments) for name, arguments, _ in candidate["calls"]]
        for call, (_, _, signature) in zip(choice["tool_calls"], candidate["calls"], strict=True):
            found = call.get("extra_content", {}).get("google", {}).get("thought_signature")
            assert found == signature
        if candidate["signatures"]:
            signature = choice["extra"]["extra_content"]["google"]["thought_signature"]
            assert signature == candidate["signatures"][-1]
        reason = FINISH[candidate["reason"]]
        assert choice["finish_reason"] == (
            "tool_calls" if candidate["calls"] and reason == "stop" else reason
        )
    usage = expected["usage"]
    if usage:
        assert answer["usage"]["prompt_tokens"] == usage["promptTokenCount"] + usage.get(
            "toolUsePromptTokenCount", 0
        )
        assert answer["usage"]["completion_tokens"] == usage.get("candidatesTokenCount", 0) + usage.get(
            "thoughtsTokenCount", 0
        )
        assert answer["usage"]["total_tokens"] == usage["totalTokenCount"]
        details = answer["usage"].get("prompt_tokens_details", {})
        assert details.get("cached_tokens") == usage.get("cachedContentTokenCount")
        details = answer["usage"].get("completion_tokens_details", {})
        assert details.get("reasoning_tokens") == usage.get("thoughtsTokenCount")
        parts = answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
        assert parts == usage["totalTokenCount"], "every token in exactly one class"


@recorded("gemini/native-generate", "vertex/native-generate")
def test_recorded_answer(recording_id: str) -> None:
    recording = load_recording(recording_id)
    adapter, call, status = adapter_of(recording_id), call_of(recording), recording["response"]["status"]
    if status != 200:
        body = recording["response"]["body"]
        error = adapter.error(status, recording["response"]["headers"], wire_bytes(recording), call)
        body = body[0] if isinstance(body, list) else body
        assert error.status == status
        assert error.message == body["error"]["message"]
        assert error.code
        return
    if recording["stream"] is None:
        answer = flat(adapter.response(recording["response"]["body"], call))
    else:
        answer = assemble(read_stream(adapter, call, [wire_bytes(recording)]))
    check(answer, recording)
    assert answer["model"] == elements(recording)[0]["modelVersion"] == call.response_model
    assert answer["id"] == elements(recording)[0].get("responseId", answer["id"])
    assert call.finish_reasons == [choice["finish_reason"] for choice in answer["choices"].values()]
    if answer["usage"]:
        assert call.usage.to_openai() == answer["usage"]


@recorded_streams("gemini/native-generate", "vertex/native-generate")
def test_recorded_stream_however_split(recording_id: str) -> None:
    recording = load_recording(recording_id)
    adapter, data = adapter_of(recording_id), wire_bytes(recording)
    whole = normalised(read_stream(adapter, call_of(recording), [data]))
    single = [data[at : at + 1] for at in range(len(data))]
    assert normalised(read_stream(adapter, call_of(recording), single)) == whole
    for pieces in two_way_splits(data, 40):
        assert normalised(read_stream(adapter, call_of(recording), pieces)) == whole


@recorded_streams("gemini/native-generate", "vertex/native-generate")
def test_recorded_stream_cut_off(recording_id: str) -> None:
    """A stream that ends before its finish reason must not look complete."""
    recording = load_recording(recording_id)
    adapter, data = adapter_of(recording_id), wire_bytes(recording)
    last = data.rfind(b'"finishReason"')
    items = read_stream(adapter, call_of(recording), [data[:last]])
    assert isinstance(items[-1], ApiError)
    assert items[-1].code == "upstream_stream_truncated"
    assert not any(choice["finish_reason"] for item in items[:-1] for choice in item["choices"]), (
        "nothing may say that the answer is finished"
    )


@recorded("gemini/native-generate", "vertex/native-generate")
def test_recorded_answer_goes_back_as_it_came(recording_id: str) -> None:
    """The next request's model turn: calls with arguments and signatures, text, parts of Google's own."""
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or not elements(recording)[0].get("candidates"):
        return
    adapter, call = adapter_of(recording_id), call_of(recording)
    if recording["stream"] is None:
        message = adapter.response(recording["response"]["body"], call)["choices"][0]["message"]
    else:
        choice = assemble(read_stream(adapter, call, [wire_bytes(recording)]))["choices"][0]
        calls = [
            {
                "id": one["id"],
                "type": "function",
                "function": {"name": one["name"], "arguments": one["arguments"]},
                **({"extra_content": one["extra_content"]} if "extra_content" in one else {}),
            }
            for one in choice["tool_calls"]
        ]
        message = {"role": "assistant", "content": choice["content"], "tool_calls": calls, **choice["extra"]}
    sent = adapter.request({"messages": [{"role": "user", "content": "x"}, message]}, call)
    parts = sent["contents"][1]["parts"] if len(sent["contents"]) > 1 else []
    came = [
        part
        for element in elements(recording)
        for candidate in element.get("candidates") or []
        for part in (candidate.get("content") or {}).get("parts") or []
        if not part.get("thought")
    ]
    for kind in ("executableCode", "codeExecutionResult"):
        assert [part for part in parts if kind in part] == [part for part in came if kind in part]
    expected = [_call(part) for part in came if "functionCall" in part]
    assert [_call(part) for part in parts if "functionCall" in part] == expected
    assert "".join(part.get("text", "") for part in parts) == "".join(part.get("text", "") for part in came)
    signed = [part["thoughtSignature"] for part in came if "text" in part and part.get("thoughtSignature")]
    assert [
        part["thoughtSignature"] for part in parts if "text" in part and "thoughtSignature" in part
    ] == signed


def _call(part: dict[str, Any]) -> Any:
    call = part["functionCall"]
    return call["name"], call.get("args") or {}, part.get("thoughtSignature")

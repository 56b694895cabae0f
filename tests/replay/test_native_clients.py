"""Gemini's and Bedrock's forms towards clients, against recorded traffic.

A recorded request, taken into OpenAI's form and back into the provider's own, must say the same, or report
what is missing; a recorded answer must come out as it went in.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest
from native_support import make_call
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps_text, loads
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.bedrock.client import CLIENT as CONVERSE_CLIENT
from kong_ai_proxy.formats.gemini import PUBLIC_CHAT
from kong_ai_proxy.formats.gemini.client import CLIENT as GEMINI_CLIENT
from kong_ai_proxy.mockllm.recorded import recorded_body
from kong_ai_proxy.wire.eventstream import EventStreamDecoder
from kong_ai_proxy.wire.sse import SSEDecoder

CONVERSE = ConverseAdapter()


def marks(value: Any, found: set[str]) -> set[str]:
    """Every text of some length in a body, wherever it stands."""
    if isinstance(value, str):
        if len(value) > 3:
            found.add(value)
    elif isinstance(value, list):
        for one in value:
            marks(one, found)
    elif isinstance(value, dict):
        for name, one in value.items():
            if name not in ("type", "role", "format", "status", "toolUseId"):
                marks(one, found)
    return found


def call_of(recording: Any, provider: str) -> Call:
    return make_call(provider, recording["model"] or "m")


@recorded("gemini/native-generate", "vertex/native-generate")
def test_gemini_requests(recording_id: str) -> None:
    recording = load_recording(recording_id)
    body = recording["request"]["body"]
    if not isinstance(body, dict) or not body.get("contents"):
        pytest.skip("no body")
    call = call_of(recording, "gemini")
    before = repr(body)
    try:
        pivot = GEMINI_CLIENT.request(body, call)
    except ApiError as error:
        assert error.status == recording["response"]["status"] == 400
        return
    assert repr(body) == before
    made = PUBLIC_CHAT.request(pivot, call)
    assert isinstance(made, dict)
    assert made["contents"]
    reported = " ".join(call.dropped).lower()
    for member in ("tools", "toolConfig", "systemInstruction"):
        given = body.get(member)
        if marks(given, set()) and member not in made:
            assert member.lower() in reported, member
    texts = {part["text"] for content in body["contents"] for part in _parts(content) if "text" in part}
    sent = {part["text"] for content in made["contents"] for part in content["parts"] if "text" in part}
    system = "".join(part["text"] for part in made.get("systemInstruction", {}).get("parts", []))
    everything = "".join(sent) + system
    for words in texts:
        assert words in everything or "thought" in str(body) or "reasoning" in reported
    calls = _named(body["contents"], "functionCall")
    assert _named(made["contents"], "functionCall") == calls
    assert len(_named(made["contents"], "functionResponse")) == len(
        _named(body["contents"], "functionResponse")
    )


def _parts(content: Any) -> list[Any]:
    parts = content.get("parts") or []
    return parts if isinstance(parts, list) else [parts]


def _named(contents: Any, name: str) -> list[Any]:
    snake = {"functionCall": "function_call", "functionResponse": "function_response"}[name]
    found = [part.get(name) or part.get(snake) or {} for content in contents for part in _parts(content)]
    return [(one.get("name"), one.get("args") or {}) for one in found if one]


@recorded("bedrock/converse")
def test_converse_requests(recording_id: str) -> None:
    recording = load_recording(recording_id)
    body = recording["request"]["body"]
    if not isinstance(body, dict) or not body.get("messages"):
        pytest.skip("no body")
    call = call_of(recording, "bedrock")
    before = repr(body)
    try:
        made = CONVERSE.request(CONVERSE_CLIENT.request(body, call), call)
    except ApiError as error:
        assert error.status == 400
        return
    assert repr(body) == before
    assert isinstance(made, dict)
    reported = " ".join(call.dropped)
    given = marks({"system": body.get("system"), "messages": body["messages"]}, set())
    sent = "\n".join(marks(made, set()))
    # What a tool answers as JSON goes on as text.
    lost = {one for one in given if not any(form in sent for form in _forms(one))}
    assert not lost or reported
    for name in ("maxTokens", "temperature", "topP"):
        given = (body.get("inferenceConfig") or {}).get(name)
        if given is not None and name not in reported and "temperature" not in reported:
            assert (made.get("inferenceConfig") or {}).get(name) == given
    assert [tool["toolSpec"]["name"] for tool in _tools(made)][: len(_tools(body))] == [
        tool["toolSpec"]["name"] for tool in _tools(body)
    ]


def _forms(words: str) -> list[str]:
    """How a text may stand in a body: as it is, inside JSON, as a document's bytes."""
    return [words.strip(), dumps_text(words)[1:-1], base64.b64encode(words.encode()).decode()]


def _tools(body: Any) -> list[Any]:
    return [tool for tool in (body.get("toolConfig") or {}).get("tools") or [] if "toolSpec" in tool]


@recorded("gemini/native-generate", "vertex/native-generate")
def test_gemini_answers(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or recording["stream"]:
        pytest.skip("no whole answer")
    body = recording["response"]["body"]
    call = call_of(recording, "gemini")
    made = GEMINI_CLIENT.response(PUBLIC_CHAT.response(body, call), call)
    given = body.get("candidates") or []
    if not given:
        assert made["candidates"]
        return
    for before, after in zip(given, made["candidates"], strict=True):
        parts, again = _parts(before.get("content") or {}), after["content"]["parts"]
        for thought in (True, False):
            assert _words(parts, thought) == _words(again, thought)
        assert _named([before.get("content") or {}], "functionCall") == _named(
            [after["content"]], "functionCall"
        )
        if isinstance(before.get("finishReason"), str):
            assert after["finishReason"] == before["finishReason"]
        signatures = {part["thoughtSignature"] for part in parts if "thoughtSignature" in part}
        kept = {part["thoughtSignature"] for part in again if "thoughtSignature" in part}
        assert kept <= signatures
        assert bool(kept) == bool(signatures)
    usage = body.get("usageMetadata") or {}
    if usage.get("totalTokenCount"):
        assert made["usageMetadata"]["totalTokenCount"] == usage["totalTokenCount"]


def _words(parts: list[Any], thought: bool) -> str:
    return "".join(part.get("text") or "" for part in parts if bool(part.get("thought")) is thought)


@recorded(
    "gemini/native-generate-stream", "gemini/native-generate-tools-stream", "vertex/native-generate-stream"
)
def test_gemini_streams(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or recording["stream"] != "sse":
        pytest.skip("no stream")
    data = recorded_body(recording["response"])
    call = call_of(recording, "gemini")
    decoder, encoder = PUBLIC_CHAT.stream(call), GEMINI_CLIENT.stream(call)
    items = [*decoder.feed(data), *decoder.finish()]
    if any(isinstance(item, ApiError) for item in items):
        pytest.skip("a stream that failed")
    again = (
        b"".join(encoder.encode(item) for item in items if not isinstance(item, ApiError)) + encoder.finish()
    )
    before, after = _stream_parts(data), _stream_parts(again)
    for thought in (True, False):
        assert _words(before, thought) == _words(after, thought)
    assert _named([{"parts": before}], "functionCall") == _named([{"parts": after}], "functionCall")


def _stream_parts(data: bytes) -> list[Any]:
    decoder = SSEDecoder()
    events = [*decoder.feed(data), *decoder.finish()]
    answers = [loads(event.data) for event in events]
    return [
        part
        for answer in answers
        for candidate in answer.get("candidates") or []
        for part in _parts(candidate.get("content") or {})
    ]


@recorded("bedrock/converse")
def test_converse_answers(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or recording["stream"]:
        pytest.skip("no whole answer")
    body = recording["response"]["body"]
    call = call_of(recording, "bedrock")
    made = CONVERSE_CLIENT.response(CONVERSE.response(body, call), call)
    blocks = body["output"]["message"]["content"]
    plain = [block for block in blocks if block.keys() & {"reasoningContent", "toolUse"} or block.get("text")]
    again = made["output"]["message"]["content"]
    for block in plain:
        block.get("toolUse", {}).pop("type", None)
    for kind in ("reasoningContent", "text", "toolUse"):
        assert [b[kind] for b in again if kind in b] == _joined(kind, plain), kind
    assert made["stopReason"] == body["stopReason"]
    for name in ("inputTokens", "outputTokens", "totalTokens"):
        assert made["usage"][name] == body["usage"][name]


def _joined(kind: str, blocks: list[Any]) -> list[Any]:
    found = [block[kind] for block in blocks if kind in block]
    return ["".join(found)] if kind == "text" and found else found


@recorded("bedrock/converse-stream", "bedrock/converse-tools-stream")
def test_converse_streams(recording_id: str) -> None:
    recording = load_recording(recording_id)
    if recording["response"]["status"] != 200 or recording["stream"] != "aws-eventstream":
        pytest.skip("no stream")
    data = recorded_body(recording["response"])
    call = call_of(recording, "bedrock")
    decoder, encoder = CONVERSE.stream(call), CONVERSE_CLIENT.stream(call)
    items = [*decoder.feed(data), *decoder.finish()]
    if any(isinstance(item, ApiError) for item in items):
        pytest.skip("a stream that failed")
    again = (
        b"".join(encoder.encode(item) for item in items if not isinstance(item, ApiError)) + encoder.finish()
    )
    before, after = _gathered(data), _gathered(again)
    assert after == before


def _gathered(data: bytes) -> dict[str, Any]:
    text, reasoning, signature, tools, stop, usage = "", "", "", {}, "", {}
    current: list[Any] = []
    for frame in EventStreamDecoder().feed(data):
        event = loads(frame.payload)
        if frame.name == "contentBlockStart" and "toolUse" in event["start"]:
            use = event["start"]["toolUse"]
            current = [use["name"], ""]
            tools[use["toolUseId"]] = current
        elif frame.name == "contentBlockDelta":
            delta = event["delta"]
            text += delta.get("text", "")
            reasoning += (delta.get("reasoningContent") or {}).get("text") or ""
            signature += (delta.get("reasoningContent") or {}).get("signature") or ""
            if "toolUse" in delta:
                current[1] += delta["toolUse"]["input"]
        elif frame.name == "messageStop":
            stop = event["stopReason"]
        elif frame.name == "metadata":
            usage = event["usage"]
    return {
        "text": text,
        "reasoning": reasoning,
        "signature": signature,
        "tools": {key: (name, loads(given or "{}")) for key, (name, given) in tools.items()},
        "stop": stop,
        "usage": {name: usage.get(name) for name in ("inputTokens", "outputTokens", "totalTokens")},
    }

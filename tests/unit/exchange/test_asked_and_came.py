"""What was asked for, whole or a stream, and what came, whatever it is labelled: the client gets what it
asked for, from Anthropic, Bedrock and Gemini alike."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from exchange_support import client_request, events, first_attempt, proxy

from kong_ai_proxy.wire.eventstream import encode_frame

Json = dict[str, Any]


def sse(*said: Json) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\r\n\r\n" for one in said)


def frame(name: str, event: Json) -> bytes:
    headers = {":event-type": name, ":message-type": "event"}
    return encode_frame(headers, json.dumps(event).encode())


USED: Final = {"input_tokens": 5, "output_tokens": 7}
CALL: Final = {"type": "tool_use", "id": "call_1", "name": "look", "input": {}}
MESSAGE: Final = {"id": "msg_1", "type": "message", "model": "m", "usage": USED, "content": []}
CLAUDE: Final = (
    {**MESSAGE, "content": [{"type": "text", "text": "Hello é"}, CALL], "stop_reason": "tool_use"},
    sse(
        {"type": "message_start", "message": MESSAGE},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "Hello é"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": CALL},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": USED},
        {"type": "message_stop"},
    ),
)
USE: Final = {"toolUseId": "call_1", "name": "look"}
COUNTS: Final = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}
CONVERSE: Final = (
    {
        "output": {"message": {"content": [{"text": "Hello é"}, {"toolUse": {**USE, "input": {}}}]}},
        "stopReason": "tool_use",
        "usage": COUNTS,
    },
    b"".join(
        [
            frame("messageStart", {"role": "assistant"}),
            frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello é"}}),
            frame("contentBlockStop", {"contentBlockIndex": 0}),
            frame("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": USE}}),
            frame("contentBlockStop", {"contentBlockIndex": 1}),
            frame("messageStop", {"stopReason": "tool_use"}),
            frame("metadata", {"usage": COUNTS}),
        ]
    ),
)
SAID: Final = {"content": {"parts": [{"text": "Hello é"}]}}
CALLS: Final = {
    "content": {"parts": [{"functionCall": {"id": "call_1", "name": "look", "args": {}}}]},
    "finishReason": "STOP",
}
META: Final = {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}}
BOTH: Final = [{"candidates": [SAID]}, {"candidates": [CALLS], **META}]
WHOLE: Final = {
    "candidates": [{**CALLS, "content": {"parts": SAID["content"]["parts"] + CALLS["content"]["parts"]}}],
    **META,
}
CAME: Final[dict[str, tuple[str, Json, bytes, str]]] = {
    "anthropic": ("anthropic", *CLAUDE, "text/event-stream"),
    "bedrock": ("bedrock", *CONVERSE, "application/vnd.amazon.eventstream"),
    "gemini": ("gemini", WHOLE, sse(*BOTH), "text/event-stream"),
    "gemini's array": ("gemini", WHOLE, json.dumps(BOTH, indent=1).encode(), "application/json"),
}  # fmt: skip


@pytest.mark.parametrize("label", ["its own", "application/json", "text/plain", ""])
@pytest.mark.parametrize("came_whole", [True, False])
@pytest.mark.parametrize("asked_whole", [True, False])
@pytest.mark.parametrize("name", CAME)
def test_the_client_gets_what_it_asked_for(
    name: str, asked_whole: bool, came_whole: bool, label: str
) -> None:
    provider, whole, stream, own = CAME[name]
    if label == "its own":
        label = "application/json" if came_whole else own
    instance = proxy(provider, "m", options={"bedrock": {"aws_region": "us-east-1"}})
    tools = [{"type": "function", "function": {"name": "look"}}]
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": tools, "stream": not asked_whole}
    _, attempt = first_attempt(instance, client_request(body))
    carried = attempt.translation
    carried.request()
    raw = json.dumps(whole).encode() if came_whole else stream
    running = carried.stream(200, {"content-type": label})
    if asked_whole:
        assert running is None
        answer = json.loads(carried.response(200, {"content-type": label}, raw).body)
        message, finish = answer["choices"][0]["message"], answer["choices"][0]["finish_reason"]
    else:
        assert running is not None
        out = running.feed(raw[:50]) + running.feed(raw[50:]) + running.finish()
        assert running.failed is None
        *chunks, end = events(out)
        assert end == "[DONE]"
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        message = {"content": "".join(c["delta"].get("content") or "" for c in choices), "tool_calls": [{}]}
        (call,) = message["tool_calls"]
        for choice in choices:
            for piece in choice["delta"].get("tool_calls", ()):
                function = call.setdefault("function", {"arguments": ""})
                function["arguments"] += piece["function"].pop("arguments", "")
                function.update(piece["function"])
                call.update(id=piece.get("id", call.get("id")))
        finish = choices[-1]["finish_reason"]
    assert (message["content"], finish) == ("Hello é", "tool_calls")
    (made,) = message["tool_calls"]
    assert (made["id"], made["function"]) == ("call_1", {"name": "look", "arguments": "{}"})
    used = attempt.call.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (5, 7, 12)

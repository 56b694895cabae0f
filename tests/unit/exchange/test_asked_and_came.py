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


def lines(*said: Json) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in said)


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
LOOK: Final = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SPENT: Final = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
CHUNK: Final = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
MADE: Final = {"role": "assistant", "content": "Hello é", "tool_calls": [LOOK]}
OPENAI: Final = (
    {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": MADE, "finish_reason": "tool_calls"}], "usage": SPENT,
    },
    sse(
        {**CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hello é"}}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **LOOK}]}}]},
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]},
        {**CHUNK, "choices": [], "usage": SPENT},
    ).replace(b"\r", b"") + b"data: [DONE]\n\n",
)  # fmt: skip
BILLED: Final = {"tokens": {"input_tokens": 5, "output_tokens": 7}}
TOLD: Final = {"role": "assistant", "tool_calls": [LOOK]}
COHERE: Final = (
    {
        "id": "c", "finish_reason": "TOOL_CALL", "usage": BILLED,
        "message": {**TOLD, "content": [{"type": "text", "text": "Hello é"}]},
    },
    sse(
        {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
        {"type": "content-start", "index": 0,
         "delta": {"message": {"content": {"type": "text", "text": "Hello é"}}}},
        {"type": "content-end", "index": 0},
        {"type": "tool-call-start", "index": 0, "delta": {"message": {"tool_calls": LOOK}}},
        {"type": "tool-call-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": BILLED}},
    ),
)  # fmt: skip
FIRST: Final = {
    "text": "Hello é", "generation_id": "c", "finish_reason": "COMPLETE", "meta": BILLED,
    "tool_calls": [{"name": "look", "parameters": {}}],
}  # fmt: skip
COHERE_V1: Final = (
    FIRST,
    lines(
        {"event_type": "stream-start", "generation_id": "c"},
        {"event_type": "text-generation", "text": "Hello é"},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": FIRST},
    ),
)
SAYS: Final = {"role": "assistant", "content": "Hello é"}
ASKS: Final = {"id": "call_1", "function": {"name": "look", "arguments": {}}}
LOOKS: Final = {"role": "assistant", "tool_calls": [ASKS]}
OVER: Final = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}
OLLAMA: Final = (
    {"model": "m", "message": {**SAYS, **LOOKS}, **OVER},
    lines(
        {"model": "m", "message": SAYS, "done": False},
        {"model": "m", "message": LOOKS, "done": False},
        {"model": "m", "message": {"role": "assistant", "content": ""}, **OVER},
    ),
)
LINES: Final = "application/x-ndjson"
CAME: Final[dict[str, tuple[str, Json, bytes, str]]] = {
    "anthropic": ("anthropic", *CLAUDE, "text/event-stream"),
    "bedrock": ("bedrock", *CONVERSE, "application/vnd.amazon.eventstream"),
    "gemini": ("gemini", WHOLE, sse(*BOTH), "text/event-stream"),
    "gemini's array": ("gemini", WHOLE, json.dumps(BOTH, indent=1).encode(), "application/json"),
    "openai": ("openai", *OPENAI, "text/event-stream"),
    "mistral": ("mistral", *OPENAI, "text/event-stream"),
    "cohere": ("cohere", *COHERE, "text/event-stream"),
    "cohere v1": ("cohere", *COHERE_V1, "application/stream+json"),
    "ollama": ("ollama", *OLLAMA, LINES),
}  # fmt: skip
OPTIONS: Final = {
    "bedrock": {"bedrock": {"aws_region": "us-east-1"}},
    "cohere v1": {"upstream_url": "https://cohere.example/v1/chat"},
    "ollama": {"upstream_url": "http://ollama.example/api/chat"},
}
LABELS: Final = (
    "its own", "application/json; charset=utf-8", "text/plain", "", "text/event-stream", LINES,
    "application/vnd.amazon.eventstream", "application/octet-stream",
)  # fmt: skip


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("came_whole", [True, False])
@pytest.mark.parametrize("asked_whole", [True, False])
@pytest.mark.parametrize("name", CAME)
def test_the_client_gets_what_it_asked_for(
    name: str, asked_whole: bool, came_whole: bool, label: str
) -> None:
    provider, whole, stream, own = CAME[name]
    if label == "its own":
        label = "application/json" if came_whole else own
    instance = proxy(provider, "m", options=OPTIONS.get(name, {}))
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
    assert made["function"] == {"name": "look", "arguments": "{}"}
    assert made["id"] == "call_1" or (made["id"] and name == "cohere v1")  # whose calls have no ids
    used = attempt.call.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (5, 7, 12)


FAILED: Final[dict[str, Json]] = {
    "anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "Too many"}},
    "bedrock": {"message": "Too many"},
    "gemini": {"error": {"code": 429, "message": "Too many", "status": "RESOURCE_EXHAUSTED"}},
    "cohere": {"message": "Too many"},
    "mistral": {"object": "error", "message": "Too many"},
    "openai": {"error": {"message": "Too many", "type": "rate_limit_error"}},
}


@pytest.mark.parametrize("status", [200, 429])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("framed", ["%b", "data: %b\n\n", "\r\nevent: error\r\ndata:%b"])
@pytest.mark.parametrize("name", FAILED)
def test_an_error_is_told_however_it_came(name: str, framed: str, stream: bool, status: int) -> None:
    if status == 200 and name == "bedrock":
        pytest.skip("says an error by the status, or in a frame")
    error = FAILED[name]
    _, attempt = first_attempt(
        proxy(name, "m", options=OPTIONS.get(name, {})), client_request({**CHAT, "stream": stream})
    )
    carried = attempt.translation
    carried.request()
    raw = framed.encode() % json.dumps(error).encode()
    running = carried.stream(status, {"content-type": "text/event-stream"})
    if running is None:
        response = carried.response(status, {"content-type": "text/event-stream"}, raw)
        assert response.status == status or (status == 200 and response.status in (429, 502, 529))
        assert response.headers["content-type"] == "application/json"
        told = json.loads(response.body)["error"]
    else:
        out = running.feed(raw) + running.finish()
        assert running.failed is not None and b"[DONE]" not in out
        told = {"message": running.failed.message}
    assert told["message"] == "Too many" or (name == "cohere" and framed == "%b" and status == 200)


CHAT: Final = {"messages": [{"role": "user", "content": "hi"}]}
PARTS: Final = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
ASKED: Final[dict[str, tuple[Json, tuple[str, str]]]] = {
    "anthropic": ({**CHAT, "max_tokens": 9}, ("/v1/messages", "/v1/messages")),
    "bedrock": (
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
        ("/model/m/converse", "/model/m/converse-stream"),
    ),
    "gemini": (
        PARTS,
        ("/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent"),
    ),
    "openai": ({**CHAT, "stream_options": {"include_usage": True}}, ("/chat", "/chat")),
}


@pytest.mark.parametrize("label", LABELS[1:])
@pytest.mark.parametrize("came_whole", [True, False])
@pytest.mark.parametrize("asked_whole", [True, False])
@pytest.mark.parametrize("name", ASKED)
def test_providers_own_clients_get_what_they_asked_for(
    name: str, asked_whole: bool, came_whole: bool, label: str
) -> None:
    """Where bytes pass through: what is asked for passes as it is, anything else is made into it."""
    provider, whole, stream, _ = CAME[name]
    instance = proxy(provider, "m", llm_format=name, options=OPTIONS.get(name, {}))
    body, paths = ASKED[name]
    if paths[0] == paths[1]:
        body = {**body, "stream": not asked_whole}
    query = "alt=sse" if name == "gemini" else ""
    asked = client_request(body, path=paths[not asked_whole], query=query)
    _, attempt = first_attempt(instance, asked)
    carried = attempt.translation
    carried.request()
    raw = json.dumps(whole).encode() if came_whole else stream
    running = carried.stream(200, {"content-type": label})
    if asked_whole:
        assert running is None
        out = carried.response(200, {"content-type": label}, raw).body
    else:
        assert running is not None
        out = running.feed(raw[:50]) + running.feed(raw[50:]) + running.finish()
        assert running.failed is None
    if asked_whole is came_whole:
        assert out.replace(b"\r", b"") == raw.replace(b"\r", b"")
    elif asked_whole:
        told = json.loads(out)
        assert told.keys() >= {*whole} - {"id", "created", "type"}
    else:
        assert b"Hello \xc3\xa9" in out
        assert out[:1] != b"{"
    used = attempt.call.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (5, 7, 12)


@pytest.mark.parametrize(
    ("provider", "path", "whole"),
    [("cohere", "/v2/chat", COHERE[0]), ("cohere", "/v1/chat", FIRST)],
)
def test_a_whole_answer_passes_as_it_is_where_nothing_is_translated(
    provider: str, path: str, whole: Json
) -> None:
    body = {"message": "hi", "stream": True} if path == "/v1/chat" else {**CHAT, "stream": True}
    instance = proxy(provider, "m", llm_format=provider)
    for indent in (None, 1):
        _, attempt = first_attempt(instance, client_request(body, path=path))
        attempt.translation.request()
        running = attempt.translation.stream(200, {"content-type": "text/event-stream"})
        assert running is not None
        raw = json.dumps(whole, indent=indent).encode()
        assert running.feed(raw[:20]) + running.feed(raw[20:]) + running.finish() == raw
        assert running.failed is None
        used = attempt.call.usage
        assert (used.prompt_tokens, used.completion_tokens, str(used.source)) == (5, 7, "reported")

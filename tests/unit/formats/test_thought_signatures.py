"""Gemini's thought signatures with clients of other formats: out with the call, back with the history."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from exchange_support import answered, first_attempt, proxy

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.wire.eventstream import EventStreamDecoder

try:
    import httpx2 as httpx
except ImportError:  # older releases of the SDK
    import httpx  # type: ignore[no-redef]

SIGNED = "c2lnbmF0dXJlIGE="
PARTS = [
    {"functionCall": {"name": "look", "args": {"at": "x"}}, "thoughtSignature": SIGNED},
    {"functionCall": {"name": "look", "args": {"at": "y"}}},
]
THOUGHT = {"text": "Hm.", "thought": True}
USER: Any = {"role": "user", "content": "Look."}
TOOLS = [{"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}]


def gemini(parts: list[Any]) -> dict[str, Any]:
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 4, "totalTokenCount": 7}
    content = {"role": "model", "parts": parts}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": counts}


def request(stream: bool = False, messages: list[Any] | None = None) -> ClientRequest:
    body = {"max_tokens": 100, "messages": messages or [USER], "tools": TOOLS, "stream": stream}
    return ClientRequest(
        "POST", "/v1/messages", "", {"content-type": "application/json"}, json.dumps(body).encode()
    )


def target(provider: str = "gemini", model: str = "gemini-3-flash-preview") -> Any:
    return proxy(provider, model, llm_format="anthropic")


def streamed(parts: list[Any]) -> list[dict[str, Any]]:
    """The blocks that Anthropic's SDK puts together."""
    _, attempt = first_attempt(target(), request(stream=True))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    data = b"".join(b"data: %b\r\n\r\n" % json.dumps(gemini([part])).encode() for part in parts)
    out = stream.feed(data) + stream.finish()
    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=out)
    http = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    client = anthropic.Anthropic(api_key="k", base_url="http://gateway", http_client=http)
    with client.messages.stream(model="m", max_tokens=100, messages=[USER]) as events:
        message = events.get_final_message()
    return [block.to_dict() for block in message.content]


def whole(parts: list[Any]) -> list[dict[str, Any]]:
    return list(answered(target(), gemini(parts), request()).json["content"])


def without_ids(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in block.items() if name != "id"} for block in blocks]


@pytest.mark.parametrize(("before", "words"), [([], ""), ([THOUGHT], "Hm.")])
def test_out_and_back(before: list[Any], words: str) -> None:
    given = whole([*before, *PARTS])
    assert without_ids(given) == without_ids(streamed([*before, *PARTS]))
    assert given[0] == {"type": "thinking", "thinking": words, "signature": f"google:{SIGNED}"}
    assert [block["type"] for block in given] == ["thinking", "tool_use", "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": one["id"], "content": "ok"} for one in given[1:]]
    history = [USER, {"role": "assistant", "content": given}, {"role": "user", "content": results}]
    upstream = first_attempt(target(), request(messages=history))[1].translation.request()
    sent = json.loads(upstream.body)["contents"][1]["parts"]
    assert [part.get("thoughtSignature") for part in sent] == [SIGNED, None]
    assert [part["functionCall"]["args"] for part in sent] == [{"at": "x"}, {"at": "y"}]


def test_a_signature_after_a_text_has_a_block_of_its_own() -> None:
    parts = [THOUGHT, {"text": "I look."}, PARTS[0]]
    given = whole(parts)
    assert without_ids(given) == without_ids(streamed(parts))
    assert [(block["type"], block.get("signature")) for block in given] == [
        ("thinking", ""),
        ("text", None),
        ("thinking", f"google:{SIGNED}"),
        ("tool_use", None),
    ]


@pytest.mark.parametrize("signature", ["", f"google:{SIGNED}"])
def test_claude_gets_no_thinking_that_it_did_not_sign(signature: str) -> None:
    """It would refuse the request, as when a conversation moves on from Gemini to it."""
    foreign = {"type": "thinking", "thinking": "Hm.", "signature": signature}
    own = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    said = {"type": "text", "text": "I look."}
    history = [
        USER,
        {"role": "assistant", "content": [foreign, own, said]},
        USER,
        {"role": "assistant", "content": [foreign]},
        USER,
    ]
    for provider in ("anthropic", "bedrock"):
        model = "claude-sonnet-4-5" if provider == "anthropic" else "anthropic.claude-sonnet-4-5-v1:0"
        options = {"options": {"bedrock": {"aws_region": "us-east-1"}}} if provider == "bedrock" else {}
        instance = proxy(provider, model, llm_format="anthropic", **options)
        attempt = first_attempt(instance, request(messages=history))[1]
        sent = json.loads(attempt.translation.request().body)["messages"]
        assert sent == [USER, {"role": "assistant", "content": [own, said]}, USER, USER]
        assert attempt.call.dropped == ["messages.content.thinking"]


def test_what_claude_signed_passes_byte_for_byte() -> None:
    own = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    asked = request(messages=[USER, {"role": "assistant", "content": [own]}, USER])
    asked.body = asked.body.replace(b'"max_tokens"', b'"model":"claude-sonnet-4-5",  "max_tokens"')
    sent = first_attempt(target("anthropic", "claude-sonnet-4-5"), asked)[1].translation.request()
    assert sent.body == asked.body


@pytest.mark.parametrize("provider", ["openai", "mistral", "cohere"])
def test_others_are_told_nothing_of_it(provider: str) -> None:
    given = whole(PARTS)
    history = [USER, {"role": "assistant", "content": given}, USER]
    attempt = first_attempt(target(provider, "m"), request(messages=history))[1]
    assert SIGNED.encode() not in attempt.translation.request().body
    assert "messages.tool_calls.extra_content" in attempt.call.dropped


# ---- Converse

TOOL_CONFIG = {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]}
ASKED: Any = {"role": "user", "content": [{"text": "Look."}]}


def converse(messages: list[Any] | None = None, action: str = "converse") -> ClientRequest:
    body = {"messages": messages or [ASKED], "toolConfig": TOOL_CONFIG}
    return ClientRequest(
        "POST",
        f"/model/gemini-3-flash/{action}",
        "",
        {"content-type": "application/json"},
        json.dumps(body).encode(),
    )


def bedrock_client(provider: str = "gemini", **changes: Any) -> Any:
    return proxy(provider, "gemini-3-flash", llm_format="bedrock", **changes)


def gathered(parts: list[Any]) -> list[Any]:
    """The blocks of a ConverseStream, put together."""
    _, attempt = first_attempt(bedrock_client(), converse(action="converse-stream"))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    data = b"".join(b"data: %b\r\n\r\n" % json.dumps(gemini([part])).encode() for part in parts)
    blocks: dict[int, Any] = {}
    for frame in EventStreamDecoder().feed(stream.feed(data) + stream.finish()):
        event = json.loads(frame.payload)
        if "start" in event:
            blocks[event["contentBlockIndex"]] = {"toolUse": {**event["start"]["toolUse"], "input": ""}}
        elif delta := event.get("delta", {}):
            at = event["contentBlockIndex"]
            if "toolUse" in delta:
                blocks[at]["toolUse"]["input"] += delta["toolUse"]["input"]
            elif "text" in delta:
                blocks[at] = {"text": blocks.get(at, {"text": ""})["text"] + delta["text"]}
            else:
                said = blocks.setdefault(at, {"reasoningContent": {"reasoningText": {}}})
                inner = said["reasoningContent"]["reasoningText"]
                for name, words in delta["reasoningContent"].items():
                    inner[name] = inner.get(name, "") + words
    return [blocks[at] for at in sorted(blocks)]


def comparable(blocks: list[Any]) -> list[Any]:
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    inputs = [json.loads(use["input"]) if isinstance(use["input"], str) else use["input"] for use in uses]
    return [[block for block in blocks if "toolUse" not in block], inputs, [next(iter(b)) for b in blocks]]


@pytest.mark.parametrize("before", [[], [THOUGHT], [THOUGHT, {"text": "I look."}]])
def test_out_and_back_by_converse(before: list[Any]) -> None:
    parts = [*before, *PARTS]
    given = answered(bedrock_client(), gemini(parts), converse()).json["output"]["message"]["content"]
    assert comparable(given) == comparable(gathered(parts))
    signed = [block for block in given if "signature" in str(block)]
    words = "Hm." if len(before) == 1 else ""
    assert signed == [
        {"reasoningContent": {"reasoningText": {"text": words, "signature": f"google:{SIGNED}"}}}
    ]
    uses = [block["toolUse"]["toolUseId"] for block in given if "toolUse" in block]
    results = [{"toolResult": {"toolUseId": use, "content": [{"text": "ok"}]}} for use in uses]
    history = [ASKED, {"role": "assistant", "content": given}, {"role": "user", "content": results}]
    attempt = first_attempt(bedrock_client(), converse(history))[1]
    sent = json.loads(attempt.translation.request().body)["contents"][1]["parts"]
    calls = [part for part in sent if "functionCall" in part]
    assert [part.get("thoughtSignature") for part in calls] == [SIGNED, None]


def test_bedrock_gets_no_reasoning_that_gemini_signed() -> None:
    googles = {"reasoningContent": {"reasoningText": {"text": "", "signature": f"google:{SIGNED}"}}}
    own = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "EqQB"}}}
    said: Any = {"role": "assistant", "content": [googles, own, {"text": "I look."}]}
    history = [ASKED, said, ASKED, {"role": "assistant", "content": [googles]}, ASKED]
    instance = bedrock_client("bedrock", options={"bedrock": {"aws_region": "us-east-1"}})
    sent = json.loads(first_attempt(instance, converse(history))[1].translation.request().body)
    assert sent["messages"] == [ASKED, {**said, "content": said["content"][1:]}, ASKED, ASKED]
    assert sent["toolConfig"] == TOOL_CONFIG
    asked = converse([ASKED, {**said, "content": [own]}, ASKED])
    assert first_attempt(instance, asked)[1].translation.request().body == asked.body

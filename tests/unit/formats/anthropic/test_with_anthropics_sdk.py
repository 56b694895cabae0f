"""Anthropic's own SDK, without a network, against OpenAI, Nova on Bedrock and Claude: a tool loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from kong_ai_proxy.config.models import BedrockOptions, Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.carry import Carrier
from kong_ai_proxy.wire.eventstream import encode_frame

try:
    import httpx2 as httpx
except ImportError:  # older releases of the SDK
    import httpx  # type: ignore[no-redef]

TOOLS: Any = [
    {"name": "weather", "description": "d", "input_schema": {"type": "object", "required": []}},
    {"name": "now", "input_schema": {"type": "object", "properties": {}}},
]
ASK: Any = [{"role": "user", "content": "Weather and time?"}]
SAID = "Let me see."
ANSWER = "Sunny ☀ at noon."


def sse(events: list[Any], end: str = "") -> bytes:
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events).encode() + end.encode()


def of_openai(body: Any) -> tuple[str, bytes]:
    second = any(message["role"] == "tool" for message in body["messages"])
    calls = [("call_a", "weather", '{"city": "Oslo"}'), ("call_b", "now", "{}")]
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}}
    if not body.get("stream"):
        message: Any = {"role": "assistant", "content": ANSWER if second else SAID}
        if not second:
            message["tool_calls"] = [
                {"id": i, "type": "function", "function": {"name": n, "arguments": a}} for i, n, a in calls
            ]
        reason = "stop" if second else "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        whole = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "choices": [choice]}
        return "application/json", json.dumps({**whole, "usage": usage}).encode()
    deltas: list[Any] = [{"content": part} for part in (ANSWER if second else SAID)]
    if not second:
        for index, (identity, name, arguments) in enumerate(calls):
            function = {"name": name, "arguments": ""}
            deltas.append({"tool_calls": [{"index": index, "id": identity, "function": function}]})
            deltas += [{"tool_calls": [{"index": index, "function": {"arguments": c}}]} for c in arguments]
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5"}
    chunks = [{**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    reason = "stop" if second else "tool_calls"
    chunks.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    chunks.append({**base, "choices": [], "usage": usage})
    return "text/event-stream", sse(chunks, "data: [DONE]\n\n")


def of_nova(body: Any) -> tuple[str, bytes]:
    second = any("toolResult" in block for turn in body["messages"] for block in turn["content"])
    uses = [("tool_a", "weather", {"city": "Oslo"}), ("tool_b", "now", {})]
    usage = {"inputTokens": 12, "outputTokens": 5, "totalTokens": 25, "cacheReadInputTokens": 8}
    content: list[Any] = [{"text": ANSWER if second else SAID}]
    if not second:
        content += [{"toolUse": {"toolUseId": i, "name": n, "input": x}} for i, n, x in uses]
    reason = "end_turn" if second else "tool_use"
    if not body["_stream"]:
        message = {"role": "assistant", "content": content}
        whole = {"output": {"message": message}, "stopReason": reason, "usage": usage}
        return "application/json", json.dumps(whole).encode()
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    for index, block in enumerate(content):
        if "text" in block:
            deltas = [{"text": part} for part in block["text"]]
        else:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            events.append(("contentBlockStart", {"contentBlockIndex": index, "start": start}))
            deltas = [{"toolUse": {"input": part}} for part in json.dumps(use["input"])]
        events += [("contentBlockDelta", {"contentBlockIndex": index, "delta": delta}) for delta in deltas]
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    events += [("messageStop", {"stopReason": reason}), ("metadata", {"usage": usage})]
    frames = [
        encode_frame({":message-type": "event", ":event-type": name}, json.dumps(event).encode())
        for name, event in events
    ]
    return "application/vnd.amazon.eventstream", b"".join(frames)


def of_anthropic(body: Any) -> tuple[str, bytes]:
    last = body["messages"][-1]["content"]
    second = isinstance(last, list) and any(block["type"] == "tool_result" for block in last)
    content: list[Any] = [{"type": "text", "text": ANSWER if second else SAID}]
    if not second:
        content.append({"type": "tool_use", "id": "toolu_a", "name": "weather", "input": {"city": "Oslo"}})
        content.append({"type": "tool_use", "id": "toolu_b", "name": "now", "input": {}})
    usage = {"input_tokens": 12, "cache_read_input_tokens": 8, "output_tokens": 5}
    reason = "end_turn" if second else "tool_use"
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "content": content}
    message = {**message, "stop_reason": reason, "stop_sequence": None, "usage": usage}
    if not body.get("stream"):
        return "application/json", json.dumps(message).encode()
    events: list[Any] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    ]
    for index, block in enumerate(content):
        empty = {**block, "text": ""} if block["type"] == "text" else {**block, "input": {}}
        delta: Any = {"type": "text_delta", "text": block.get("text", "")}
        if block["type"] == "tool_use":
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events.append({"type": "content_block_delta", "index": index, "delta": delta})
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": reason, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 5}})
    events.append({"type": "message_stop"})
    named = [f"event: {event['type']}\n".encode() + sse([event]) for event in events]
    return "text/event-stream", b"".join(named)


TARGETS: dict[str, tuple[Any, str, Callable[[Any], tuple[str, bytes]]]] = {
    "openai": ("openai", "gpt-5", of_openai),
    "nova": ("bedrock", "us.amazon.nova-pro-v1:0", of_nova),
    "anthropic": ("anthropic", "claude-sonnet-4-5", of_anthropic),
}


def sdk(target: str, calls: list[Call]) -> anthropic.Anthropic:
    """The SDK, its requests carried as the gateway would carry them."""
    provider, model, answer = TARGETS[target]

    def handle(request: Any) -> Any:
        body = json.loads(request.content)
        options = Options(bedrock=BedrockOptions(aws_region="us-east-1"))
        configured = Target(model=Model(provider=provider, name=model), route_type="llm/v1/chat")
        client = ClientRequest("POST", "/v1/messages", "", {}, request.content)
        call = Call(
            configured,
            options,
            model,
            "chat",
            client,
            client_format="anthropic",
            stream=bool(body.get("stream")),
        )
        calls.append(call)
        carrier = Carrier(call, body, as_sent=True, model_header=True)
        sent = json.loads(carrier.request().body)
        kind, data = answer({**sent, "_stream": call.stream} if target == "nova" else sent)
        if not call.stream:
            whole = carrier.response(200, {"content-type": kind}, data)
            return httpx.Response(whole.status, headers=whole.headers, content=whole.body)
        running = carrier.stream(200, {"content-type": kind})
        assert running is not None
        out = b"".join(running.feed(data[i : i + 50]) for i in range(0, len(data), 50)) + running.finish()
        assert running.failed is None
        return httpx.Response(200, headers={"content-type": running.content_type}, content=out)

    http = httpx.Client(transport=httpx.MockTransport(handle))
    return anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("target", TARGETS)
def test_a_tool_loop(target: str, streamed: bool) -> None:
    calls: list[Call] = []
    client = sdk(target, calls)

    def ask(messages: Any) -> Any:
        asked: Any = {"model": "alias", "max_tokens": 50, "messages": messages, "tools": TOOLS}
        if not streamed:
            return client.messages.create(**asked)
        with client.messages.stream(**asked) as stream:
            return stream.get_final_message()

    with client:
        first = ask(ASK)
        assert first.stop_reason == "tool_use"
        assert [block.type for block in first.content] == ["text", "tool_use", "tool_use"]
        assert first.content[0].text == SAID
        assert [(block.name, block.input) for block in first.content[1:]] == [
            ("weather", {"city": "Oslo"}),
            ("now", {}),
        ]
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": block.name}
            for block in first.content[1:]
        ]
        said = [block.model_dump(exclude_none=True, exclude={"parsed_output"}) for block in first.content]
        turns = [*ASK, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        second = ask(turns)
    assert second.stop_reason == "end_turn"
    assert second.content[0].text == ANSWER
    usage = second.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (12, 8, 5)
    for call in calls:
        assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (20, 5)
        assert call.dropped == []

"""A tool call whose name comes in pieces, as OpenAI's form allows, with every client's format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import USAGE_CHUNK, chunk, first_attempt, proxy, sse
from responses_support import check_events, read_events

from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.wire.eventstream import EventStreamDecoder


def piece(**function: str) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": 0, "function": function}]})


BEGUN = chunk({"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "get_"}}]})
STREAM = sse(
    BEGUN, piece(name="weat"), piece(name="her"), piece(arguments='{"at"'), piece(arguments=': "x"}'),
    chunk({}, "tool_calls"), USAGE_CHUNK, "[DONE]",
)  # fmt: skip
BARE = sse(BEGUN, piece(name="weather"), chunk({}, "tool_calls"), USAGE_CHUNK, "[DONE]")
SAID = {"role": "user", "content": "hi"}
CLIENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai": ("llm/v1/chat", "/chat", {"messages": [SAID], "stream": True}),
    "responses": ("llm/v1/responses", "/responses", {"input": "hi", "stream": True}),
    "anthropic": ("llm/v1/chat", "/v1/messages", {"max_tokens": 9, "messages": [SAID], "stream": True}),
    "gemini": (
        "llm/v1/chat",
        "/v1beta/models/m:streamGenerateContent",
        {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
    ),
    "bedrock": (
        "llm/v1/chat",
        "/model/m/converse-stream",
        {"messages": [{"role": "user", "content": [{"text": "hi"}]}]},
    ),
}


def streamed(client: str, raw: bytes) -> bytes:
    route, path, body = CLIENTS[client]
    instance = proxy(
        "mistral", "m", route_type=route, llm_format=client if client != "responses" else "openai"
    )
    query = "alt=sse" if client == "gemini" else ""
    asked = ClientRequest(
        "POST", path, query, {"content-type": "application/json"}, json.dumps(body).encode()
    )
    _, attempt = first_attempt(instance, asked)
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.001)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    return stream.feed(raw) + stream.finish()


def told(client: str, out: bytes) -> tuple[str, str]:
    """Name and arguments as each client puts them together."""
    if client == "bedrock":
        events = [json.loads(frame.payload) for frame in EventStreamDecoder().feed(out)]
        starts = [event["start"]["toolUse"] for event in events if "start" in event]
        return starts[0]["name"], "".join(e["delta"]["toolUse"]["input"] for e in events if "delta" in e)
    if client == "responses":
        (item,) = check_events(read_events(out))["output"]
        return item["name"], item["arguments"]
    lines = [line.removeprefix("data: ") for line in out.decode().splitlines() if line.startswith("data: {")]
    events = [json.loads(line) for line in lines]
    if client == "gemini":
        parts = [part for event in events for part in event["candidates"][0]["content"]["parts"]]
        (call,) = [part["functionCall"] for part in parts]
        return call["name"], json.dumps(call["args"])
    if client == "anthropic":
        (start,) = [event["content_block"] for event in events if event["type"] == "content_block_start"]
        deltas = [
            event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"
        ]
        return start["name"], "".join(deltas)
    found = [call for event in events for choice in event["choices"] for call in calls_of(choice)]
    return tuple("".join(call.get(name) or "" for call in found) for name in ("name", "arguments"))  # type: ignore[return-value]


def calls_of(choice: dict[str, Any]) -> list[dict[str, Any]]:
    return [call["function"] for call in choice["delta"].get("tool_calls") or []]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("raw", "arguments"), [(STREAM, {"at": "x"}), (BARE, {})])
def test_it_is_told_whole(client: str, raw: bytes, arguments: dict[str, Any]) -> None:
    name, given = told(client, streamed(client, raw))
    assert (name, json.loads(given)) == ("get_weather", arguments)

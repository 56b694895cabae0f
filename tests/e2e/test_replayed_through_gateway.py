"""Recorded provider answers, sent by the mock byte for byte, through the whole gateway to a client.

What the adapters make of every recording is tested elsewhere; here a sample of every provider goes the
whole way, and what the client reads equals what the translation gives on its own, and the record's usage
what was recorded.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway_support import Gateway
from http_support import call
from recordings_support import index, load_recording

CHAT: Any = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}

ROUTES = {
    "openai": "openai", "azure": "azure", "anthropic": "anthropic", "cohere": "cohere", "bedrock": "bedrock",
    "gemini": "gemini", "vertex": "gemini", "ollama": "ollama", "mistral": "mistral", "cerebras": "cerebras",
    "deepseek": "deepseek", "xai": "xai", "vllm": "vllm", "llama2": "llama2", "dashscope": "dashscope",
    "databricks": "databricks", "huggingface": "huggingface",
}  # fmt: skip
_CAPABILITIES = {
    "anthropic": "native-messages", "cohere": "native-chat-v2", "bedrock": "converse",
    "gemini": "native-generate",
    "vertex": "native-generate", "ollama": "native-chat",
}  # fmt: skip
PER_KIND = 3


def sample(stream: bool) -> list[Any]:
    """Some recordings of every provider's chat, with and without tools."""
    found: list[Any] = []
    for provider in ROUTES:
        capability = _CAPABILITIES.get(provider, "chat")
        for tools in ("", "-tools"):
            prefix = f"{provider}/{capability}{tools}{'-stream' if stream else ''}/"
            good = [e["id"] for e in index() if e["id"].startswith(prefix) and _fits(e, stream)]
            found += [pytest.param(i, id=i) for i in good[:PER_KIND]]
    return found or [pytest.param("", marks=pytest.mark.skip(reason="no recordings here"))]


def _fits(entry: Any, stream: bool) -> bool:
    if entry["status"] != 200:
        return False
    return entry["stream"] in ("sse", "aws-eventstream", "ndjson") if stream else entry["stream"] is None


def contents(body: Any) -> str:
    """All text of a recorded plain answer that a client must see, whatever the format."""
    texts: list[str] = []

    def collect(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            if value.get("thought") is True or value.get("type") in ("thinking", "reasoning"):
                return
            for name, item in value.items():
                collect(item, name)
        elif isinstance(value, list):
            for item in value:
                collect(item, key)
        elif key in ("text", "content") and isinstance(value, str):
            texts.append(value)

    for part in ("choices", "content", "message", "output", "candidates"):
        if part in body:
            collect(body[part], part)
            break
    return "".join(texts)


@pytest.mark.parametrize("recording_id", sample(stream=False))
def test_plain_answer(gateway: Gateway, recording_id: str) -> None:
    recording = load_recording(recording_id)
    gateway.mock.serve_recording(recording)
    answer = call(gateway.url, f"/{ROUTES[recording_id.split('/')[0]]}", CHAT)
    assert answer.status == 200, answer.body
    body = answer.json
    assert body["object"] == "chat.completion"
    text = "".join(choice["message"].get("content") or "" for choice in body["choices"][:1])
    recorded = recording["response"]["body"]
    if len(recorded.get("choices") or recorded.get("candidates") or [1]) == 1:
        assert _squeezed(text) in _squeezed(contents(recorded)), text
        assert bool(text.strip()) == bool(contents(recorded).strip()) or "<think" in contents(recorded)
    usage = gateway.log.wait(1)[0]["ai"]["proxy"]["usage"]
    assert usage["prompt_tokens"] == (body["usage"]["prompt_tokens"] if body.get("usage") else 0)
    given = recorded.get("usage")
    if isinstance(given, dict) and "prompt_tokens" in given:
        assert usage["prompt_tokens"] == given["prompt_tokens"]
        assert usage["completion_tokens"] == given["completion_tokens"]


def _squeezed(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("pieces", [1, 7])
@pytest.mark.parametrize("recording_id", sample(stream=True))
def test_stream(gateway: Gateway, recording_id: str, pieces: int) -> None:
    route = ROUTES[recording_id.split("/")[0]].replace("gemini", "gemini-stream")
    whole = _streamed(gateway, route, recording_id, 0)
    split = _streamed(gateway, route, recording_id, pieces)
    assert whole["done"], "no [DONE]"
    assert split == whole
    first, second = gateway.log.wait(2)
    assert first["ai"]["proxy"]["usage"]["total_tokens"] == second["ai"]["proxy"]["usage"]["total_tokens"]
    assert first["ai"]["proxy"]["usage"]["total_tokens"] > 0
    assert first["ai"]["proxy"]["meta"]["request_mode"] == "stream"


def _streamed(gateway: Gateway, route: str, recording_id: str, pieces: int) -> Any:
    """What an OpenAI client makes of the stream."""
    gateway.mock.serve_recording(load_recording(recording_id), pieces=pieces)
    answer = call(gateway.url, f"/{route}", {**CHAT, "stream": True})
    assert answer.status == 200, answer.body
    assert b"kong-ai-usage" not in answer.body
    events = [e[6:] for e in answer.body.decode().split("\n\n") if e.startswith("data: ")]
    made: dict[str, Any] = {"text": "", "tools": {}, "finish": None, "done": events[-1:] == ["[DONE]"]}
    for event in events:
        if event == "[DONE]":
            continue
        chunk = json.loads(event)
        assert "error" not in chunk, chunk
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            made["text"] += delta.get("content") or ""
            made["finish"] = choice.get("finish_reason") or made["finish"]
            for tool in delta.get("tool_calls") or []:
                function = tool.get("function") or {}
                known = made["tools"].setdefault(tool["index"], ["", ""])
                known[0] += function.get("name") or ""
                known[1] += function.get("arguments") or ""
    return made

"""Recorded Messages requests, through OpenAI's form and back: the same in meaning.

The recorded request goes through the Messages client format, which gives the OpenAI request that means the
same, and that through the provider's adapter. What may differ, and is levelled before comparing (`meaning`):

- text given as a string or as one text block; a system prompt or a turn likewise
- consecutive turns of one role, which the API joins; blank texts, which it refuses
- members that say what holds anyway: `stream: false`, `disable_parallel_tool_use: false`, what is empty
- a text that follows a tool call in its turn: OpenAI's form has texts first
- `output_format`, the old name of `output_config.format`; JSON schemas closed as structured outputs demand
"""

from __future__ import annotations

from typing import Any

import pytest
from recordings_support import load_recording, recorded

from kong_ai_proxy.config.models import Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.client import CLIENT
from kong_ai_proxy.formats.anthropic.flavor import VERTEX
from kong_ai_proxy.formats.anthropic.models import traits
from kong_ai_proxy.formats.anthropic.observer import MessagesObserver
from kong_ai_proxy.formats.anthropic.schema import closed_schema
from kong_ai_proxy.formats.defaults import with_defaults

KINDS = ("", "-stream", "-tools", "-tools-stream", "-vision", "-vision-stream")
IDS = tuple(f"{who}/native-messages{kind}/" for who in ("anthropic", "azure", "vertex") for kind in KINDS)

BY_HAND = {
    # System messages in mid-conversation, one of them with a tool_addition block: OpenAI's form has them too,
    # but the adapter gathers all of them in the system prompt.
    "anthropic/native-messages-tools/011-tool-availability-portability-matrix-r4-t1-tool-addition",
    "anthropic/native-messages/025-messages-preserve-system-role-after-server-tool-result",
}


def call(recording_id: str, body: dict[str, Any], url: str) -> Call:
    vertex = recording_id.startswith("vertex/")
    model = body.get("model") or url.rpartition("/")[2].partition(":")[0]
    target = Target(
        model=Model(provider="gemini" if vertex else "anthropic", name=model), route_type="llm/v1/chat"
    )
    request = ClientRequest("POST", "/v1/messages", "", {}, b"")
    stream = bool(body.get("stream"))
    return Call(target, Options(), model, "chat", request, client_format="anthropic", stream=stream)


def blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    kept = []
    for block in content:
        block = {name: value for name, value in block.items() if value is not None}
        if block.get("type") == "text" and not block["text"].strip():
            continue
        if block.get("type") == "tool_result" and "content" in block:
            block["content"] = blocks(block["content"])
            if not block["content"]:
                del block["content"]
        if block.get("caller") == {"type": "direct"}:
            del block["caller"]
        if block.get("is_error") is False:
            del block["is_error"]
        kept.append(block)
    return kept


def turns(messages: list[Any]) -> list[tuple[str, list[Any]]]:
    joined: list[tuple[str, list[Any]]] = []
    for message in messages:
        content = blocks(message["content"])
        if joined and joined[-1][0] == message["role"]:
            joined[-1][1].extend(content)
        elif content:
            joined.append((message["role"], content))
    return [(role, sorted(content, key=lambda one: one["type"] == "tool_use")) for role, content in joined]


def meaning(body: dict[str, Any]) -> dict[str, Any]:
    out = {name: value for name, value in body.items() if value not in (None, [], "")}
    out["messages"] = turns(out["messages"])
    if "system" in out:
        out["system"] = blocks(out["system"])
    if out.get("stream") is False:
        del out["stream"]
    if "output_format" in out:
        out["output_config"] = {"format": out.pop("output_format")}
    if "format" in out.get("output_config", {}):
        form = out["output_config"]["format"]
        closed = {**form, "schema": closed_schema(form["schema"])}
        out["output_config"] = {**out["output_config"], "format": closed}
    choice = dict(out.get("tool_choice", {}))
    if choice.get("disable_parallel_tool_use") is False:
        del choice["disable_parallel_tool_use"]
        out["tool_choice"] = choice
    tools = []
    for tool in out.get("tools", []):
        tool = {name: value for name, value in tool.items() if value is not None}
        if tool.get("strict"):
            tool["input_schema"] = closed_schema(tool["input_schema"])
        elif tool.get("strict") is False:
            del tool["strict"]
        if tool.get("description") == "":
            del tool["description"]
        if tool.get("type") == "custom":
            del tool["type"]
        tools.append(tool)
    if tools:
        out["tools"] = tools
    return out


@recorded(*IDS)
def test_recorded_request_means_the_same(recording_id: str) -> None:
    if recording_id in BY_HAND:
        pytest.skip("tested by hand below")
    recording = load_recording(recording_id)["request"]
    body = recording["body"]
    made = call(recording_id, body, recording["url"])
    adapter = MessagesAdapter(VERTEX) if recording_id.startswith("vertex/") else MessagesAdapter()
    pivot = with_defaults(CLIENT.request(body, made), made)
    ours = meaning(adapter.request(pivot, made))
    theirs = meaning(body)
    model = traits(made.model)
    if "temperature" in theirs and "top_p" in theirs and not model.temperature_and_top_p:
        del theirs["top_p"]
    assert ours == theirs
    assert made.dropped == []


@recorded("anthropic/native-messages-tools/011-")
def test_system_messages_in_mid_conversation_join_the_system_prompt(recording_id: str) -> None:
    recording = load_recording(recording_id)["request"]
    body = recording["body"]
    made = call(recording_id, body, recording["url"])
    ours = MessagesAdapter().request(with_defaults(CLIENT.request(body, made), made), made)
    assert [turn["role"] for turn in ours["messages"]] == [
        turn["role"] for turn in body["messages"] if turn["role"] != "system"
    ]


@recorded(*IDS)
def test_recorded_request_passes_through_unchanged(recording_id: str) -> None:
    recording = load_recording(recording_id)["request"]
    body = recording["body"]
    made = call(recording_id, body, recording["url"])
    raw = b"exactly what the client sent"
    if recording_id.startswith("vertex/"):
        assert MessagesObserver(VERTEX).request(raw, body, made) == raw
    else:
        assert MessagesObserver().request(raw, body, made) == raw

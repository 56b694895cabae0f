"""Reads Responses streams as OpenAI's SDK does, and checks what the SDK does not."""

from __future__ import annotations

import json
from typing import Any

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response
from openai.types.responses.response_stream_event import ResponseStreamEvent
from pydantic import TypeAdapter

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def read_events(stream: bytes) -> list[dict[str, Any]]:
    found = []
    for frame in stream.decode().split("\n\n"):
        if not frame:
            continue
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def check_events(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The final response. Every event is the SDK's by its strict model; numbers have no gap; items that were
    added are done, and are those of the final response."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    state: Any = ResponseStreamState(input_tools=[], text_format=omit)
    added: dict[int, Any] = {}
    done: dict[int, Any] = {}
    for event in events:
        parsed = EVENT.validate_python(event)
        if event["type"] == "error":
            continue
        state.handle_event(parsed)
        if event["type"] == "response.output_item.added":
            added[event["output_index"]] = event["item"]
        elif event["type"] == "response.output_item.done":
            done[event["output_index"]] = event["item"]
    final = events[-1]["response"]
    Response.model_validate(final)
    if final["status"] != "failed":
        assert added.keys() == done.keys() == set(range(len(added)))
        assert [done[index] for index in sorted(done)] == final["output"]
    assert all(added[index]["id"] == done[index]["id"] for index in done)
    return dict(final)


def output_text(response: dict[str, Any]) -> str:
    return "".join(
        part.get("text", "")
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )

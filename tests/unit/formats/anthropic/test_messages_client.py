"""Messages from clients to any provider, and any provider's answer as Messages."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.formats.anthropic.client import CLIENT

ASK = [{"role": "user", "content": "Hi"}]


def call(provider: Any = "openai", model: str = "gpt-5-mini") -> Call:
    target = Target(model=Model(provider=provider, name=model), route_type="llm/v1/chat")
    request = ClientRequest("POST", "/v1/messages", "", {})
    return Call(target, target.model.options, model, "chat", request, client_format="anthropic")


def read(body: dict[str, Any], made: Call | None = None) -> tuple[dict[str, Any], list[str]]:
    made = made or call()
    return CLIENT.request({"max_tokens": 9, "messages": ASK, **body}, made), made.dropped


def test_a_conversation_of_a_coding_agent_for_openai() -> None:
    mark = {"type": "ephemeral"}
    out, dropped = read(
        {
            "system": [
                {"type": "text", "text": "You are terse."},
                {"type": "text", "text": "Long rules.", "cache_control": mark},
            ],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Fix it.", "cache_control": mark}]},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Read first.", "signature": "c2ln"},
                        {"type": "text", "text": "Reading."},
                        {"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a"}},
                        {"type": "tool_use", "id": "t2", "name": "Shot", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t1", "content": "text", "is_error": True},
                        {
                            "type": "tool_result",
                            "tool_use_id": "t2",
                            "content": [
                                {"type": "text", "text": "shot"},
                                {
                                    "type": "image",
                                    "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"},
                                },
                            ],
                        },
                        {"type": "text", "text": "Go on."},
                    ],
                },
            ],
            "tools": [
                {"name": "Read", "description": "d", "input_schema": {"type": "object", "required": []}},
                {"type": "web_search_20250305", "name": "web_search"},
            ],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
            "thinking": {"type": "enabled", "budget_tokens": 10_000},
            "metadata": {"user_id": "u"},
            "stop_sequences": ["X"],
            "top_k": 3,
            "context_management": {"edits": []},
        }
    )
    assert [message["role"] for message in out["messages"]] == [
        "system", "user", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    system, user, assistant, first, second, rest = out["messages"]
    assert [part["text"] for part in system["content"]] == ["You are terse.", "Long rules."]
    assert system["content"][1]["cache_control"] == mark
    assert user["content"] == [{"type": "text", "text": "Fix it.", "cache_control": mark}]
    assert assistant["content"] == "Reading."
    assert assistant["reasoning_content"] == "Read first."
    assert "thinking_blocks" not in assistant
    assert [c["function"] for c in assistant["tool_calls"]] == [
        {"name": "Read", "arguments": '{"path":"a"}'},
        {"name": "Shot", "arguments": "{}"},
    ]
    assert first == {"role": "tool", "tool_call_id": "t1", "content": "text"}
    assert second == {"role": "tool", "tool_call_id": "t2", "content": "shot"}
    # OpenAI takes pictures from users only.
    assert rest["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
        {"type": "text", "text": "Go on."},
    ]
    assert out["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "Read",
                "description": "d",
                "parameters": {"type": "object", "required": []},
            },
        }
    ]
    assert (out["tool_choice"], out["parallel_tool_calls"]) == ("required", False)
    assert out["reasoning_effort"] == "medium"
    assert (out["user"], out["stop"], out["max_tokens"]) == ("u", ["X"], 9)
    assert "thinking" not in out
    assert sorted(dropped) == [
        "context_management", "messages.content.is_error", "messages.content.thinking.signature",
        "tools[1]", "top_k",
    ]  # fmt: skip


def test_for_a_claude_everything_rides_along() -> None:
    made = call("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")
    thinking = [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "x"},
    ]
    search = {"type": "web_search_20250305", "name": "web_search"}
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "is_error": True,
        "content": [{"type": "text", "text": "a"}],
    }
    out, dropped = read(
        {
            "messages": [
                *ASK,
                {"role": "assistant", "content": thinking},
                {"role": "user", "content": [result]},
            ],
            "tools": [search],
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "max", "task_budget": {"total": 1}},
            "context_management": {"edits": []},
        },
        made,
    )
    assert out["messages"][1]["thinking_blocks"] == thinking
    assert out["messages"][2] == {"role": "tool", "tool_call_id": "t", "content": "a", "is_error": True}
    assert out["tools"] == [search]
    assert out["thinking"] == {"type": "adaptive"}
    assert out["output_config"] == {"effort": "max", "task_budget": {"total": 1}}
    assert out["context_management"] == {"edits": []}
    assert dropped == []


def test_structured_output() -> None:
    schema = {"type": "object", "title": "Person", "additionalProperties": False}
    for body in (
        {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        {"output_format": {"type": "json_schema", "schema": schema}},
    ):
        out, dropped = read(body)
        assert out["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "Person", "schema": schema, "strict": True},
        }
        assert dropped == []


def test_documents() -> None:
    def ask(source: Any, **more: Any) -> Any:
        block = {"type": "document", "source": source, **more}
        return read({"messages": [{"role": "user", "content": [block]}]})

    out, dropped = ask({"type": "base64", "media_type": "application/pdf", "data": "JV"}, title="a.pdf")
    assert out["messages"][0]["content"] == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,JV", "filename": "a.pdf"}}
    ]
    assert dropped == []
    out, dropped = ask(
        {"type": "content", "content": [{"type": "text", "text": "in"}]}, citations={"enabled": True}
    )
    assert out["messages"][0]["content"] == [{"type": "text", "text": "in"}]
    with pytest.raises(BadRequest):
        ask({"type": "file", "file_id": "f"})


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": None},
        {"messages": ["x"]},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": "wizard", "content": "x"}]},
        {"tools": ["x"]},
        {"tools": [{"description": "nameless"}]},
        {"tools": [{"name": "f"}], "tool_choice": {"type": "odd"}},
    ],
)
def test_nonsense_is_a_400(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    error = CLIENT.error(caught.value)
    assert error["type"] == "error"
    assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, None, "authentication_error"),
        (413, None, "request_too_large"),
        (429, None, "rate_limit_error"),
        (529, "overloaded_error", "overloaded_error"),
        (500, None, "api_error"),
        (503, None, "api_error"),
        (422, None, "invalid_request_error"),
    ],
)
def test_errors(status: int, kind: str | None, expected: str) -> None:
    error = CLIENT.error(ApiError(status, "m", type=kind))
    assert error == {"type": "error", "error": {"type": expected, "message": "m"}}


def answer(**message: Any) -> dict[str, Any]:
    finish = message.pop("finish", "stop")
    return {
        "id": "chatcmpl-1",
        "model": "gpt-5",
        "choices": [{"message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 4,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }


def test_an_answer() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
        {"id": "c3", "type": "function", "function": {"name": "h", "arguments": "{oops"}},
    ]
    given = answer(content="Hi", reasoning_content="hm", tool_calls=calls)
    message = CLIENT.response(given, call())
    Message.model_validate(message)
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
        {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        {"type": "tool_use", "id": "c3", "name": "h", "input": {"arguments": "{oops"}},
    ]
    assert message["stop_reason"] == "tool_use"  # though the provider said "stop"
    usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (7, 3, 4)


@pytest.mark.parametrize(
    ("finish", "own", "expected"),
    [
        ("stop", {}, "end_turn"),
        ("length", {}, "max_tokens"),
        ("content_filter", {}, "refusal"),
        ("new", {}, "end_turn"),
        (None, {}, "end_turn"),
        ("stop", {"stop_sequence": "END"}, "stop_sequence"),
        ("stop", {"stop_reason": "pause_turn"}, "pause_turn"),
        ("length", {"stop_reason": "model_context_window_exceeded"}, "model_context_window_exceeded"),
        ("stop", {"stop_reason": "malformed_tool_use"}, "end_turn"),
    ],
)
def test_stop_reasons(finish: Any, own: Any, expected: str) -> None:
    given = answer(content="x", finish=finish, provider_specific_fields=own)
    assert CLIENT.response(given, call())["stop_reason"] == expected


@pytest.mark.parametrize(
    "given", [{}, {"choices": None}, {"choices": [None]}, {"choices": [{"message": None}]}]
)
def test_odd_answers(given: Any) -> None:
    Message.model_validate(CLIENT.response(given, call()))


def chunk(delta: Any = None, finish: Any = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return {"id": "chatcmpl-1", "model": "gpt-5", "choices": choices, **more}


def tool(index: int, arguments: str, identity: str | None = None, name: str | None = None) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": arguments}
    if name:
        function["name"] = name
    return {"tool_calls": [{"index": index, "id": identity, "function": function}]}


def stream(*chunks: Any, made: Call | None = None) -> list[Any]:
    encoder = CLIENT.stream(made or call())
    out = b"".join(map(encoder.encode, chunks)) + encoder.finish()
    return [json.loads(frame.split("data: ")[1]) for frame in out.decode().split("\n\n") if frame]


def test_a_stream_has_its_events_in_order() -> None:
    made = call()
    made.usage = Usage(prompt_tokens=9, completion_tokens=4, cached_tokens=2, source=UsageSource.REPORTED)
    events = stream(
        chunk({"role": "assistant", "content": ""}),
        chunk({"reasoning_content": "h"}),
        chunk({"reasoning_content": "m"}),
        chunk({"content": "Hi"}),
        chunk({"content": " you"}),
        chunk(tool(0, "", "a", "f")),
        chunk(tool(0, '{"x":')),
        chunk(tool(0, "1}")),
        chunk(tool(1, "", "b", "g")),
        chunk(tool(1, "{}")),
        chunk({}, "tool_calls"),
        chunk(usage={"prompt_tokens": 1}),
        made=made,
    )
    assert [event["type"] for event in events] == [
        "message_start", "ping",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0]["message"]["usage"]["output_tokens"] == 0
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in starts] == ["thinking", "text", "tool_use", "tool_use"]
    assert [block.get("id") for block in starts[2:]] == ["a", "b"]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["input_tokens"] == 7
    assert events[-2]["usage"]["output_tokens"] == 4


def inputs(events: list[Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for event in events:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            found.append((event["content_block"]["name"], ""))
        elif event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            found[-1] = (found[-1][0], found[-1][1] + event["delta"]["partial_json"])
    return found


def test_interleaved_and_odd_tool_fragments() -> None:
    events = stream(
        chunk(tool(0, "", "a", "f")),
        chunk(tool(1, "", "b", "g")),
        chunk(tool(0, '{"x"')),
        chunk(tool(1, '{"y":2}')),
        chunk(tool(0, ":1}")),
        chunk({}, "tool_calls"),
    )
    assert inputs(events) == [("f", '{"x":1}'), ("g", '{"y":2}')]
    # A whole call in one chunk, a later fragment with empty id and name (DashScope), arguments as an object.
    whole = {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}
    late = {"tool_calls": [{"index": 1, "id": "", "function": {"name": "", "arguments": "{}"}}]}
    events = stream(chunk(whole), chunk(tool(1, "", "b", "g")), chunk(late), chunk({}, "stop"))
    assert inputs(events) == [("f", '{"x":1}'), ("g", "{}")]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


def test_text_after_tools_closes_them_first() -> None:
    events = stream(chunk(tool(0, "{}", "a", "f")), chunk({"content": "x"}), chunk({}, "stop"))
    kinds = [event["content_block"]["type"] for event in events if event["type"] == "content_block_start"]
    assert kinds == ["tool_use", "text"]


def test_an_empty_stream_and_a_broken_one() -> None:
    assert [event["type"] for event in stream()] == ["message_start", "ping", "message_delta", "message_stop"]
    broken = CLIENT.stream(call()).error(ApiError(502, "cut", code="upstream_stream_truncated"))
    assert broken.startswith(b"event: error\ndata: ")
    assert json.loads(broken.split(b"data: ")[1]) == {
        "type": "error",
        "error": {"type": "api_error", "message": "cut"},
    }


def test_signed_thinking_of_a_stream() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    hidden = {"type": "redacted_thinking", "data": "x"}
    events = stream(
        chunk({"reasoning_content": "hm"}),
        chunk({"thinking_blocks": [block]}),
        chunk({"thinking_blocks": [hidden, block]}),
        chunk({"content": "Hi"}, "stop"),
    )
    signatures = [
        event["delta"]["signature"]
        for event in events
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "signature_delta"
    ]
    assert signatures == ["c2ln", "c2ln"]
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [start["type"] for start in starts] == ["thinking", "redacted_thinking", "thinking", "text"]
    assert starts[1] == hidden


def test_texts_are_joined_for_providers_that_want_one() -> None:
    body = {
        "system": [
            {"type": "text", "text": "A", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "B"},
        ],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "C"}, {"type": "text", "text": "D"}]}
        ],
    }
    out, dropped = read(body, call("deepseek", "deepseek-chat"))
    assert [message["content"] for message in out["messages"]] == ["A\n\nB", "C\n\nD"]
    assert dropped == ["messages.content.cache_control"]
    out, dropped = read(body, call("databricks", "claude"))
    assert out["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    assert dropped == []


def test_thinking_that_nobody_signed_has_an_empty_signature() -> None:
    hidden = {"type": "redacted_thinking", "data": "eA=="}
    blocks = [{"type": "thinking", "thinking": "Hm."}, hidden]
    made = call("bedrock", "openai.gpt-oss-20b")
    said = CLIENT.response(answer(content="Hi", thinking_blocks=blocks), made)
    assert said["content"][:2] == [{"type": "thinking", "thinking": "Hm.", "signature": ""}, hidden]
    assert "signature" not in blocks[0]

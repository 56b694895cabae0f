"""Cohere beyond what is recorded. Sources: https://docs.cohere.com/reference/chat and …/v1/reference/chat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from native_support import assemble, flat, make_call, read_stream

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.cohere import CHAT_V1, CHAT_V2, EMBED_V2, GENERATE
from kong_ai_proxy.formats.cohere.common import FINISH_REASONS, read_usage
from kong_ai_proxy.formats.cohere.observer import CohereReader

HELLO = [{"role": "user", "content": "Hello"}]


def function(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}, **more}}


def send(
    body: dict[str, Any], adapter: Any = CHAT_V2, model: str = "command-a"
) -> tuple[dict[str, Any], Call]:
    call = make_call("cohere", model)
    return adapter.request({"messages": HELLO, **body}, call), call


LOOP: list[dict[str, Any]] = [
    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
    {
        "role": "assistant",
        "content": None,
        "reasoning_content": "I shall look.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "w", "arguments": ""}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'},
]


def test_fields() -> None:
    sent, call = send(
        {
            "max_completion_tokens": 5, "top_p": 0.5, "top_k": 3, "stop": ["x"], "seed": 1, "n": 1,
            "logprobs": True, "safety_mode": "NONE", "documents": [{"id": "1", "data": {}}], "stream_options":
            {"include_usage": True}, "extra_body": {"citation_options": {"mode": "FAST"}},
        }
    )  # fmt: skip
    assert sent == {
        "model": "command-a", "messages": HELLO, "max_tokens": 5, "p": 0.5, "k": 3, "stop_sequences": ["x"],
        "seed": 1, "logprobs": True, "safety_mode": "NONE", "documents": [{"id": "1", "data": {}}],
        "citation_options": {"mode": "FAST"},
    }  # fmt: skip
    assert call.dropped == []


def test_what_cannot_be_carried_is_reported() -> None:
    body = {"n": 2, "user": "u", "top_logprobs": 2, "parallel_tool_calls": False, "reasoning_effort": "low"}
    _, call = send({**body, "messages": [{"role": "user", "name": "ann", "content": "x"}]})
    assert set(call.dropped) == {*body, "messages.name"}


@pytest.mark.parametrize(
    ("choice", "mode", "names"),
    [
        ("auto", None, ["a", "b"]),
        ("none", "NONE", ["a", "b"]),
        ("required", "REQUIRED", ["a", "b"]),
        ({"type": "function", "function": {"name": "b"}}, "REQUIRED", ["b"]),
    ],
)
def test_tool_choice(choice: Any, mode: str | None, names: list[str]) -> None:
    """Cohere cannot be told which tool, so it is given that one only. Kong's bug 3.9: tools came back empty.
    """
    sent, _ = send({"tools": [function("a"), function("b")], "tool_choice": choice})
    assert sent.get("tool_choice") == mode
    assert [tool["function"]["name"] for tool in sent["tools"]] == names


def test_tool_choice_of_an_unknown_function() -> None:
    with pytest.raises(ApiError) as caught:
        send({"tools": [function("a")], "tool_choice": {"type": "function", "function": {"name": "z"}}})
    assert caught.value.status == 400


def test_strict_tools() -> None:
    sent, call = send({"tools": [function("a", strict=True)]})
    assert sent["strict_tools"] is True
    assert sent["tools"][0]["function"] == {"name": "a", "parameters": {"type": "object"}}
    sent, call = send({"tools": [function("a", strict=True), function("b")]})
    assert "strict_tools" not in sent
    assert call.dropped == ["tools.function.strict"]


@pytest.mark.parametrize(
    ("model", "key", "value"),
    [
        ("command-a-03-2025", "tool_plan", "I shall look."),
        ("command-a-reasoning-08-2025", "content", [{"type": "thinking", "thinking": "I shall look."}]),
    ],
)
def test_tool_loop(model: str, key: str, value: Any) -> None:
    sent, call = send({"messages": LOOP}, model=model)
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "assistant", "tool"]
    assert sent["messages"][0]["content"] == "Be brief."
    assistant = sent["messages"][2]
    assert assistant[key] == value
    assert assistant["tool_calls"][0]["function"]["arguments"] == "{}"
    assert sent["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": '{"sky": "blue"}'}
    assert call.dropped == []


def test_tool_plan_survives_the_loop() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "First w.",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
    }
    body = {"id": "1", "message": message, "finish_reason": "TOOL_CALL"}
    call = make_call("cohere", "command-a")
    answer = CHAT_V2.response(body, call)
    flat(answer)
    sent, _ = send({"messages": [*HELLO, answer["choices"][0]["message"]]})
    assert sent["messages"][1] == message


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"reasoning_effort": "none"}, {"type": "disabled"}),
        ({"reasoning_effort": "medium"}, {"type": "enabled"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, {"type": "enabled", "token_budget": 9}),
        ({"thinking": {"type": "enabled", "token_budget": 9}}, {"type": "enabled", "token_budget": 9}),
        ({"thinking": {"type": "disabled", "budget_tokens": 9}}, {"type": "disabled"}),
    ],
)
def test_thinking(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert send(body, model="command-a-reasoning-08-2025")[0]["thinking"] == expected


def test_parts_cohere_does_not_take() -> None:
    for part in ({"type": "input_audio", "input_audio": {}}, {"type": "file", "file": {}}):
        with pytest.raises(ApiError) as caught:
            send({"messages": [{"role": "user", "content": [part]}]})
        assert caught.value.param == "messages.0.content.0.type"
    image = {"type": "image_url", "image_url": {"url": "https://e.test/a.png"}}
    sent, _ = send({"messages": [{"role": "user", "content": [image]}]})
    assert sent["messages"][0]["content"] == [image], "Cohere reads URLs itself"


@pytest.mark.parametrize(("reason", "expected"), [*FINISH_REASONS.items(), ("NEW", "stop"), (None, "stop")])
def test_finish_reasons(reason: Any, expected: str) -> None:
    body = {"id": "1", "message": {"content": [{"type": "text", "text": "a"}]}, "finish_reason": reason}
    call = make_call("cohere", "command-a")
    assert flat(CHAT_V2.response(body, call))["choices"][0]["finish_reason"] == expected


def test_usage_is_what_is_billed() -> None:
    usage = read_usage(
        {
            "billed_units": {"input_tokens": 10, "output_tokens": 5.0},
            "tokens": {"input_tokens": 500, "output_tokens": 30, "reasoning_tokens": 12},
            "cached_tokens": 400,
        }
    )
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total) == (10, 5, 15)
    assert usage.cached_tokens is None, "cached tokens are a part of `tokens`, not of what is billed"
    assert usage.reasoning_tokens == 5, "never more than the output it is a part of"
    usage = read_usage({"tokens": {"input_tokens": 500, "output_tokens": 30}, "cached_tokens": 400})
    assert (usage.prompt_tokens, usage.cached_tokens) == (500, 400)
    for nothing in (None, {}, {"billed_units": None}, {"tokens": []}, 3):
        assert read_usage(nothing).source == "none"


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events)


def call_event(kind: str, index: int, **call: Any) -> dict[str, Any]:
    return {"type": f"tool-call-{kind}", "index": index, "delta": {"message": {"tool_calls": call}}}


END = {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": {}}}


def test_parallel_calls_get_dense_indexes() -> None:
    data = sse(
        call_event("start", 3, id="a", function={"name": "f", "arguments": ""}),
        call_event("delta", 3, function={"arguments": '{"x":'}),
        call_event("start", 7, id="b", function={"name": "g", "arguments": ""}),
        call_event("delta", 3, function={"arguments": "1}"}),
        call_event("delta", 7, function={"arguments": "{}"}),
        call_event("delta", 9, function={"arguments": "lost"}),
        END,
    )
    call = make_call("cohere", "command-a", stream=True)
    choice = assemble(read_stream(CHAT_V2, call, [data]))["choices"][0]
    assert [(one["id"], one["arguments"]) for one in choice["tool_calls"]] == [("a", '{"x":1}'), ("b", "{}")]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "It broke."}}, "It broke."),
        ({"message": "too many tokens", "type": None}, "too many tokens"),
        ({"message": "no more", "type": "error"}, "no more"),
    ],
)
def test_error_in_a_stream(event: dict[str, Any], message: str) -> None:
    call = make_call("cohere", "command-a", stream=True)
    items = read_stream(CHAT_V2, call, [sse(event, END)])
    assert isinstance(items[-1], ApiError)
    assert (len(items), items[-1].message) == (1, message)


def test_whole_and_streamed_answers_say_the_same() -> None:
    """Thinking, a plan, log probabilities, a fragment without index (cohere 7.3: V2ChatStreamResponse)."""
    pieces = {"text": "a", "token_ids": [1], "logprobs": [-0.5]}
    citation = {"start": 0, "end": 1, "text": "a", "sources": [], "type": "PLAN"}
    called = {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    usage = {"billed_units": {"input_tokens": 3, "output_tokens": 2}}

    def content(kind: str, **said: str) -> dict[str, Any]:
        return {"type": f"content-{kind}", "index": 0, "delta": {"message": {"content": said}}}

    plan = {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "Plan."}}}
    cited = {"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation}}}
    data = sse(
        {"type": "message-start", "id": "m"},
        content("start", type="thinking", thinking="Hm"),
        content("delta", thinking="m. "),
        {"type": "content-end", "index": 0},
        {"type": "never-heard-of", "index": 0, "delta": {"message": {"content": {"text": "?"}}}},
        plan,
        {**content("delta", text="a"), "logprobs": pieces},
        call_event("start", 0, id="x", function={"name": "f", "arguments": ""}),
        {**call_event("delta", 0, function={"arguments": '{"a":1}'}), "index": None},
        call_event("end", 0),
        cited,
        {"type": "citation-end", "index": 0},
        {"type": "debug", "prompt": "p"},
        {"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage": usage}},
    )
    parts = [{"type": "thinking", "thinking": "Hmm. "}, {"type": "text", "text": "a"}, {"type": "new"}]
    message = {
        "role": "assistant",
        "content": parts,
        "tool_plan": "Plan.",
        "tool_calls": [called],
        "citations": [citation],
    }
    body = {"id": "m", "finish_reason": "TOOL_CALL", "message": message, "usage": usage, "logprobs": [pieces]}
    whole = flat(CHAT_V2.response(body, make_call("cohere", "command-a-reasoning")))
    call = make_call("cohere", "command-a-reasoning", stream=True)
    assert assemble(read_stream(CHAT_V2, call, [data])) == whole
    choice = whole["choices"][0]
    assert (choice["reasoning_content"], choice["content"]) == ("Hmm. Plan.", "a")
    assert choice["extra"]["provider_specific_fields"] == {
        "citations": [citation],
        "tool_plan": "Plan.",
        "logprobs": [pieces],
    }


def test_thinking_and_plan_go_back_each_in_its_place() -> None:
    message = {
        **LOOP[2],
        "reasoning_content": "Hmm. Plan.",
        "provider_specific_fields": {"tool_plan": "Plan."},
    }
    request, _ = send({"messages": [message]}, model="command-a-reasoning-08-2025")
    assert request["messages"][0]["content"] == [{"type": "thinking", "thinking": "Hmm. "}]
    assert request["messages"][0]["tool_plan"] == "Plan."


def test_clients_of_coheres_own_form_hear_of_errors_too() -> None:
    """An error that passed through is the target's failure."""
    for event in (
        {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "no"}},
        {"event_type": "stream-error", "err": "no", "finish_reason": "ERROR", "is_finished": True},
        {"message": "no"},
    ):
        reader = CohereReader(make_call("cohere", "m", stream=True))
        reader.event({"type": "content-start", "delta": {"message": {"content": {"thinking": "Hm"}}}})
        reader.event({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "P"}}})
        reader.event(event)
        assert reader.failed is not None
        assert (reader.failed.message, reader.call.output_bytes) == ("no", 3)


def test_done_without_an_end_is_truncation() -> None:
    items = read_stream(CHAT_V2, make_call("cohere", "m", stream=True), [b"data: [DONE]\n\n"])
    assert [item.code for item in items] == ["upstream_stream_truncated"]


# v1.


def test_v1_request() -> None:
    tools = [
        {
            "type": "function",
            "function": {
                "name": "w",
                "description": "Weather",
                "parameters": {
                    "type": "object",
                    "properties": {
                        "city": {"type": "string", "description": "Where"},
                        "days": {"type": "integer"},
                    },
                    "required": ["city"],
                },
            },
        }
    ]
    sent, call = send(
        {"messages": LOOP, "tools": tools, "tool_choice": "required", "stop": "x"}, CHAT_V1, "command-r"
    )
    assert sent == {
        "model": "command-r",
        "message": "",
        "tool_results": [{"call": {"name": "w", "parameters": {}}, "outputs": [{"sky": "blue"}]}],
        "chat_history": [
            {"role": "SYSTEM", "message": "Be brief."},
            {"role": "USER", "message": "Weather?"},
            {"role": "CHATBOT", "message": "", "tool_calls": [{"name": "w", "parameters": {}}]},
        ],
        "stop_sequences": ["x"],
        "tools": [
            {
                "name": "w",
                "description": "Weather",
                "parameter_definitions": {
                    "city": {"type": "str", "required": True, "description": "Where"},
                    "days": {"type": "int", "required": False},
                },
            }
        ],
    }
    assert call.dropped == ["messages.reasoning_content", "tool_choice"]
    later = [*LOOP, {"role": "assistant", "content": "Blue."}, {"role": "user", "content": "Thanks"}]
    sent, _ = send({"messages": later}, CHAT_V1)
    assert sent["message"] == "Thanks"
    assert sent["chat_history"][3]["role"] == "TOOL"


def test_v1_tools_in_an_answer() -> None:
    calls = [{"name": "w", "parameters": {"city": "Bern"}}, {"name": "w", "parameters": None}]
    body = {"text": "", "generation_id": "g", "finish_reason": "COMPLETE", "tool_calls": calls, "meta": {}}
    found = flat(CHAT_V1.response(body, make_call("cohere", "command-r")))["choices"][0]
    assert [one["arguments"] for one in found["tool_calls"]] == ['{"city":"Bern"}', "{}"]
    assert found["finish_reason"] == "tool_calls"
    lines = [
        {"event_type": "stream-start", "generation_id": "g"},
        {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "w"}},
        {"event_type": "tool-calls-generation", "tool_calls": calls},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": body},
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    choice = assemble(read_stream(CHAT_V1, make_call("cohere", "m", stream=True), [data]))["choices"][0]
    assert [one["arguments"] for one in choice["tool_calls"]] == ['{"city":"Bern"}', "{}"]
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    "told",
    [
        [{"event_type": "tool-calls-chunk", "tool_call_delta": {"text": one}} for one in ("I ", "look.")],
        [{"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0}, "text": "I "}],
        [{"event_type": "text-generation", "text": "I look."}],
        [],
    ],
)  # fmt: skip
def test_v1_what_is_said_before_a_call(told: list[dict[str, Any]]) -> None:
    """cohere 7.3: ToolCallDelta.text, ChatToolCallsGenerationEvent.text."""
    calls = [{"name": "w", "parameters": {}}]
    body = {"text": "I look.", "finish_reason": "COMPLETE", "tool_calls": calls}
    lines = [
        *told,
        {"event_type": "tool-calls-generation", "text": "I look.", "tool_calls": calls},
        {"event_type": "search-results", "documents": []},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": body},
    ]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    choice = assemble(read_stream(CHAT_V1, make_call("cohere", "m", stream=True), [data]))["choices"][0]
    whole = flat(CHAT_V1.response(body, make_call("cohere", "m")))["choices"][0]
    assert choice["content"] == whole["content"] == "I look."


def test_v1_error_in_a_stream() -> None:
    data = b'{"event_type":"text-generation","text":"a"}\n{"message":"boom"}\n'
    items = read_stream(CHAT_V1, make_call("cohere", "m", stream=True), [data])
    assert isinstance(items[-1], ApiError)
    assert items[-1].message == "boom"


# generate and embed.


def test_generate() -> None:
    call = make_call("cohere", "command", "completions")
    sent = GENERATE.request(
        {"prompt": ["Hi"], "n": 2, "top_k": 1, "stop": "x", "user": "u", "max_tokens": 3}, call
    )
    assert sent == {
        "model": "command", "prompt": "Hi", "num_generations": 2, "k": 1, "end_sequences": ["x"],
        "max_tokens": 3,
    }  # fmt: skip
    assert call.dropped == ["user"]
    data = (
        b'{"is_finished":false,"event_type":"text-generation","text":"Hel"}\n'
        b'{"is_finished":false,"event_type":"text-generation","text":"lo"}\n'
        b'{"is_finished":true,"event_type":"stream-end","finish_reason":"MAX_TOKENS","response":{"id":"i",'
        b'"generations":[{"id":"g","text":"Hello","finish_reason":"MAX_TOKENS"}],'
        b'"meta":{"billed_units":{"input_tokens":1,"output_tokens":2}}}}\n'
    )
    items = read_stream(GENERATE, make_call("cohere", "command", "completions", stream=True), [data])
    assert "".join(choice["text"] for item in items for choice in item["choices"]) == "Hello"
    assert items[-2]["choices"][0]["finish_reason"] == "length"
    assert items[-1]["usage"]["total_tokens"] == 3


def test_embed() -> None:
    body = {"input": "a", "dimensions": 256, "encoding_format": "base64"}
    call = make_call("cohere", "embed-v4.0", "embeddings", body=body)
    assert EMBED_V2.request(body, call) == {
        "model": "embed-v4.0", "texts": ["a"], "input_type": "classification", "embedding_types": ["float"],
        "output_dimension": 256,
    }  # fmt: skip
    answer = EMBED_V2.response({"embeddings": {"float": [[1.0, 0.5]]}}, call)
    assert answer["data"][0]["embedding"] == "AACAPwAAAD8="
    for wrong in ([[1, 2]], [1], None, {}, []):
        with pytest.raises(ApiError) as caught:
            EMBED_V2.request({"input": wrong}, call)
        assert caught.value.status == 400

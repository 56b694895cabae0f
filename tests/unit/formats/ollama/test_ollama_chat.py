"""Ollama beyond what is recorded. Source: https://github.com/ollama/ollama/blob/main/docs/api.md."""

from __future__ import annotations

import json
from typing import Any

import pytest
from native_support import assemble, flat, make_call, read_stream

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.ollama import CHAT, EMBED, GENERATE

HELLO = [{"role": "user", "content": "Hello"}]


def send(body: dict[str, Any], stream: bool = False) -> tuple[dict[str, Any], Call]:
    call = make_call("ollama", "llama3.2", stream=stream)
    sent: Any = CHAT.request({"messages": HELLO, **body}, call)
    return sent, call


def test_fields() -> None:
    body = {
        "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 1, "max_tokens": 9, "stop": "x",
        "presence_penalty": 1, "frequency_penalty": 2, "num_ctx": 4096, "options": {"seed": 2, "mirostat": 1},
        "keep_alive": "5m", "n": 1, "stream": True, "stream_options": {"include_usage": True}, "logprobs":
        True, "top_logprobs": 2,
    }  # fmt: skip
    sent, call = send(body, stream=True)
    assert sent == {
        "model": "llama3.2", "messages": HELLO, "stream": True, "keep_alive": "5m", "logprobs": True,
        "top_logprobs": 2, "options": { "temperature": 0, "top_p": 0.5, "top_k": 3, "seed": 2, "num_predict":
        9, "stop": ["x"], "presence_penalty": 1, "frequency_penalty": 2, "num_ctx": 4096, "mirostat": 1, },
    }  # fmt: skip
    assert call.dropped == []
    assert send({})[0]["stream"] is False, "Ollama streams unless it is told not to"


def test_what_cannot_be_carried_is_reported() -> None:
    body = {"n": 2, "user": "u", "logit_bias": {}, "metadata": {}, "parallel_tool_calls": False}
    _, call = send({**body, "tools": [{"type": "custom", "custom": {}}], "tool_choice": "required"})
    assert set(call.dropped) == {*body, "tools.custom", "tool_choice"}


def test_content_arrays_are_flattened() -> None:
    """Kong's bug 3.15.0.4: Ollama rejected content arrays."""
    parts = [
        {"type": "text", "text": "What"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
        {"type": "text", "text": "is it?"},
    ]
    sent, _ = send({"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": None}]})
    assert sent["messages"] == [
        {"role": "user", "content": "What\nis it?", "images": ["QUJD"]},
        {"role": "assistant", "content": ""},
    ]


@pytest.mark.parametrize("url", ["https://e.test/a.png", "data:image/png,raw", "", "gs://b/c"])
def test_no_image_is_fetched(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        send({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]})
    assert caught.value.status == 400
    assert "base64" in caught.value.message


def test_tool_loop() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        *HELLO,
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
    ]
    tools = [{"type": "function", "function": {"name": name, "strict": True}} for name in "fgh"]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": tools[:2]}}
    sent, call = send({"messages": messages, "tools": tools, "tool_choice": choice})
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assistant = sent["messages"][2]
    assert assistant["thinking"] == "Hm."
    assert [one["function"] for one in assistant["tool_calls"]] == [
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": {}},
    ]
    assert [message.get("tool_name") for message in sent["messages"][3:]] == ["g", "f"]
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["f", "g"]
    assert sent["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert call.dropped == ["tools.function.strict"]
    assert "tools" not in send({"tools": tools, "tool_choice": "none"})[0]


@pytest.mark.parametrize(
    ("body", "key", "value"),
    [
        ({"response_format": {"type": "json_object"}}, "format", "json"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            "format",
            {"a": 1},
        ),
        ({"response_format": {"type": "text"}}, "format", None),
        ({"format": "json"}, "format", "json"),
        ({"reasoning_effort": "none"}, "think", False),
        ({"reasoning_effort": "minimal"}, "think", "low"),
        ({"reasoning_effort": "xhigh"}, "think", "max"),
        ({"reasoning_effort": "max"}, "think", "max"),
        ({"thinking": {"type": "enabled", "budget_tokens": 3}}, "think", True),
        ({"thinking": {"type": "disabled"}}, "think", False),
        ({"think": True, "reasoning_effort": "none"}, "think", True),
    ],
)
def test_format_and_thinking(body: dict[str, Any], key: str, value: Any) -> None:
    assert send(body)[0].get(key) == value


def test_an_effort_nobody_knows_is_reported() -> None:
    sent, call = send({"reasoning_effort": "some"})
    assert "think" not in sent
    assert call.dropped == ["reasoning_effort"]


def ndjson(*lines: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def one_call(name: str) -> dict[str, Any]:
    return {
        "message": {"tool_calls": [{"function": {"index": 0, "name": name, "arguments": {}}}]},
        "done": False,
    }


def test_calls_of_several_messages_get_dense_indexes() -> None:
    data = ndjson(
        one_call("f"), one_call("g"), {"message": {"content": ""}, "done": True, "done_reason": "stop"}
    )
    call = make_call("ollama", "m", stream=True)
    choice = assemble(read_stream(CHAT, call, [data]))["choices"][0]
    assert [one["name"] for one in choice["tool_calls"]] == ["f", "g"]
    assert len({one["id"] for one in choice["tool_calls"]}) == 2
    assert choice["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("stop", "stop"), ("length", "length"), ("load", "stop"), (None, "stop"), ("new", "stop")],
)
def test_finish_reasons(reason: Any, expected: str) -> None:
    body = {"message": {"content": "a"}, "done": True, "done_reason": reason, "eval_count": 1}
    call = make_call("ollama", "m")
    assert flat(CHAT.response(body, call))["choices"][0]["finish_reason"] == expected


def test_error_in_a_stream() -> None:
    data = ndjson({"message": {"content": "a"}, "done": False}, {"error": "an error was encountered"})
    items = read_stream(CHAT, make_call("ollama", "m", stream=True), [data])
    assert isinstance(items[-1], ApiError)
    assert items[-1].message == "an error was encountered"


def test_generate() -> None:
    call = make_call("ollama", "m", "completions")
    sent = GENERATE.request({"prompt": "Hi", "suffix": "!", "raw": True, "logprobs": 3, "echo": True}, call)
    assert sent == {"model": "m", "prompt": "Hi", "suffix": "!", "raw": True, "stream": False}
    assert set(call.dropped) == {"logprobs", "echo"}
    for prompt in (["a", "b"], [1, 2], None, ""):
        if prompt == "":
            GENERATE.request({"prompt": prompt}, call)
            continue
        with pytest.raises(ApiError):
            GENERATE.request({"prompt": prompt}, call)


def test_embed() -> None:
    call = make_call("ollama", "m", "embeddings", options={"embeddings_dimensions": 64})
    assert EMBED.request({"input": ["a"], "truncate": False, "user": "u"}, call) == {
        "model": "m", "input": ["a"], "dimensions": 64, "truncate": False,
    }  # fmt: skip
    assert call.dropped == ["user"]

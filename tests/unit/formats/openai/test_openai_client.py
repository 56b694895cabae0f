"""OpenAI's form towards clients: what is refused, how streams and errors look, the former `functions`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from openai_support import make_call

from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import loads
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.openai.client import CLIENT

HELLO = [{"role": "user", "content": "Hello"}]


def test_it_is_registered() -> None:
    assert client_format("openai") is CLIENT


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        ("chat", {}, "messages"),
        ("chat", {"messages": None}, "messages"),
        ("chat", {"messages": []}, "messages"),
        ("chat", {"messages": "hello"}, "messages"),
        ("chat", {"messages": {"role": "user"}}, "messages"),
        ("chat", {"messages": [*HELLO, "hello"]}, "messages[1]"),
        ("chat", {"messages": [{"content": "hello"}]}, "messages[0]"),
        ("chat", {"messages": [{"role": 1, "content": "hello"}]}, "messages[0]"),
        ("chat", {"messages": HELLO, "tools": {"type": "function"}}, "tools"),
        ("chat", {"messages": HELLO, "tools": ["get_time"]}, "tools"),
        ("completions", {"prompt": {"text": "hello"}}, "prompt"),
        ("embeddings", {}, "input"),
        ("embeddings", {"input": None}, "input"),
    ],
)
def test_a_request_it_cannot_be(operation: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        CLIENT.request(body, make_call(operation=operation))
    assert caught.value.status == 400
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("chat", {"messages": HELLO, "tools": None, "stop": None}),
        ("chat", {"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}),
        ("completions", {"prompt": "Once"}),
        ("completions", {"prompt": ["Once", "Twice"]}),
        ("completions", {"prompt": [1, 2, 3]}),
        ("completions", {}),
        ("embeddings", {"input": "a"}),
        ("embeddings", {"input": ["a", "b"]}),
        ("embeddings", {"input": [[1, 2]]}),
    ],
)
def test_a_request_that_is_fine_stays_what_it_is(operation: str, body: dict[str, Any]) -> None:
    assert CLIENT.request(body, make_call(operation=operation)) is body


def test_a_literal_extra_body_is_merged() -> None:
    body = {"messages": HELLO, "extra_body": {"top_k": 5}, "top_p": 1}
    assert CLIENT.request(body, make_call()) == {"messages": HELLO, "top_k": 5, "top_p": 1}
    assert "extra_body" in body


def test_cache_breakpoints_of_parts_are_openais_own() -> None:
    part = {"type": "text", "text": "hi", "prompt_cache_breakpoint": {"mode": "explicit"}}
    body = {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": [part, "x"]}]}
    request = ClientRequest("POST", "/", "", {}, json.dumps(body).encode())
    call = make_call("mistral", request=request)
    made = CLIENT.request(body, call)
    assert made["messages"][0] is body["messages"][0]
    assert made["messages"][1] == {"role": "user", "content": [{"type": "text", "text": "hi"}, "x"]}
    assert call.dropped == ["messages.content.prompt_cache_breakpoint"]


class TestStream:
    CHUNK: ClassVar[dict[str, Any]] = {"id": "c", "choices": [{"index": 0, "delta": {"content": "ż"}}]}
    USAGE: ClassVar[dict[str, Any]] = {"id": "c", "choices": [], "usage": {"total_tokens": 3}}

    def test_the_form(self) -> None:
        encoder = CLIENT.stream(make_call(stream=True))
        assert encoder.content_type == "text/event-stream"
        sent = encoder.encode(self.CHUNK)
        assert sent == 'data: {"id":"c","choices":[{"index":0,"delta":{"content":"ż"}}]}\n\n'.encode()
        assert encoder.finish() == b"data: [DONE]\n\n"

    def test_usage_is_shown_to_who_asks(self) -> None:
        asked = CLIENT.stream(make_call(stream=True, include_usage=True))
        assert json.loads(asked.encode(self.USAGE)[6:]) == self.USAGE
        assert CLIENT.stream(make_call(stream=True)).encode(self.USAGE) == b""

    def test_usage_on_a_chunk_with_choices_is_taken_out(self) -> None:
        both = {**self.CHUNK, "usage": {"total_tokens": 3}}
        assert json.loads(CLIENT.stream(make_call(stream=True)).encode(both)[6:]) == self.CHUNK
        assert "usage" in both

    def test_an_error_is_an_event(self) -> None:
        sent = CLIENT.stream(make_call(stream=True)).error(ApiError(502, "line one\nline two", code="broken"))
        assert sent.startswith(b"data: {") and sent.endswith(b"}\n\n") and sent.count(b"\n") == 2
        assert json.loads(sent[6:])["error"]["code"] == "broken"


def test_an_error_object() -> None:
    error = ApiError(429, "slow down", type="requests", code="rate_limit_exceeded", param="model")
    assert CLIENT.error(error) == {
        "error": {
            "message": "slow down",
            "type": "requests",
            "param": "model",
            "code": "rate_limit_exceeded",
        }
    }


class TestFunctions:
    """Clients that still speak `functions`: https://platform.openai.com/docs/api-reference/chat/create."""

    ASKED: ClassVar[dict[str, Any]] = {
        "messages": [
            {"role": "user", "content": "Time?"},
            {"role": "assistant", "content": None, "function_call": {"name": "get_time", "arguments": "{}"}},
            {"role": "function", "name": "get_time", "content": "12:00"},
        ],
        "functions": [{"name": "get_time", "parameters": {"type": "object"}}],
        "function_call": {"name": "get_time"},
    }

    def test_they_become_tools(self) -> None:
        call = make_call()
        made = CLIENT.request(self.ASKED, call)
        assert call.legacy_functions
        assert made["tools"] == [
            {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}
        ]
        assert made["tool_choice"] == {"type": "function", "function": {"name": "get_time"}}
        assert "functions" not in made
        assert "function_call" not in made
        spoken, answered = made["messages"][1:]
        assert spoken["tool_calls"][0]["function"] == {"name": "get_time", "arguments": "{}"}
        assert answered["role"] == "tool"
        assert answered["tool_call_id"] == spoken["tool_calls"][0]["id"]

    @pytest.mark.parametrize("choice", ["auto", "none"])
    def test_the_choice_in_a_word(self, choice: str) -> None:
        assert CLIENT.request({**self.ASKED, "function_call": choice}, make_call())["tool_choice"] == choice

    def test_the_answer_is_a_function_call(self) -> None:
        call = make_call()
        CLIENT.request(self.ASKED, call)
        function = {"name": "get_time", "arguments": "{}"}
        message = {"role": "assistant", "content": None, "tool_calls": [{"id": "x", "function": function}]}
        answer = CLIENT.response({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, call)
        assert answer["choices"] == [
            {
                "message": {"role": "assistant", "content": None, "function_call": function},
                "finish_reason": "function_call",
            }
        ]

    def test_the_stream_is_one_too(self) -> None:
        call = make_call(stream=True)
        CLIENT.request(self.ASKED, call)
        encoder = CLIENT.stream(call)
        first = {"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}
        second = {"index": 0, "function": {"arguments": "{}"}}
        other = {"index": 1, "id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}}
        sent = [
            loads(encoder.encode({"choices": [{"index": 0, "delta": {"tool_calls": [one]}}]})[6:])
            for one in (first, second, other)
        ]
        assert [one["choices"][0]["delta"] for one in sent] == [
            {"function_call": {"name": "f", "arguments": ""}},
            {"function_call": {"arguments": "{}"}},
            {},
        ]

    def test_others_keep_their_tools(self) -> None:
        call = make_call()
        CLIENT.request({"messages": HELLO}, call)
        answer = {"choices": [{"message": {"tool_calls": [{"id": "x"}]}}]}
        assert CLIENT.response(answer, call) is answer

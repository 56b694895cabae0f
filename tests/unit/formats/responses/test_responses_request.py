"""Responses requests as chat requests."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import proxy, sent
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy.config.models import Options
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.responses.client import CLIENT

WEATHER = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}, "strict": True}


def a_call(provider: str = "anthropic") -> Call:
    target = proxy(provider, "m", route_type="llm/v1/responses").targets[0]
    return Call(target, Options(), "m", "chat", ClientRequest("POST", "/", "", {}))


def chat(provider: str = "anthropic", **body: Any) -> dict[str, Any]:
    return CLIENT.request({"input": "hi", **body}, a_call(provider))


def messages(*items: Any, **body: Any) -> list[dict[str, Any]]:
    return chat(input=list(items), **body)["messages"]


def test_text_and_instructions() -> None:
    assert chat(instructions="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_one_answer_of_several_items_is_one_message() -> None:
    made = messages(
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "think"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "c1", "name": "get_weather", "arguments": '{"city":"Rome"}'},
        {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
        {"role": "user", "content": "Thanks"},
    )
    assert [message["role"] for message in made] == ["user", "assistant", "tool", "tool", "user"]
    answer = made[1]
    assert (answer["content"], answer["reasoning_content"]) == ("Let me see.", "think")
    assert [call["id"] for call in answer["tool_calls"]] == ["c1", "c2"]
    assert made[2] == {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    assert made[3]["content"] == "rain"


def test_thinking_comes_back_byte_for_byte() -> None:
    blocks = [{"type": "thinking", "thinking": "hm", "signature": "abc=="}]
    answer = {
        "choices": [{"message": {"content": "x", "thinking_blocks": blocks}, "finish_reason": "stop"}],
    }
    call = a_call()
    output = CLIENT.response(answer, call)["output"]
    made = messages({"role": "user", "content": "q"}, *output)
    assert made[1]["thinking_blocks"] == blocks
    call = a_call()
    CLIENT.request({"input": [{"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"}]}, call)
    assert call.dropped == ["input[0].encrypted_content"]


def test_signatures_of_calls_and_texts_come_back() -> None:
    extra = {"google": {"thought_signature": "sig"}}
    call_made = {"id": "c", "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}
    answer = {"choices": [{"message": {"content": "x", "extra_content": extra, "tool_calls": [call_made]}}]}
    made = messages(*CLIENT.response(answer, a_call())["output"])[0]
    assert made["extra_content"] == extra
    assert made["tool_calls"][0]["extra_content"] == extra


def test_images_files_and_sound() -> None:
    made = messages(
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            ],
        }
    )
    assert [part["type"] for part in made[0]["content"]] == ["image_url", "file", "input_audio"]
    assert made[0]["content"][0]["image_url"] == {"url": "data:image/png;base64,AA==", "detail": "low"}


def test_tools_and_choice() -> None:
    body = chat(tools=[WEATHER], tool_choice={"type": "function", "name": "get_weather"})
    assert body["tools"][0]["function"]["name"] == "get_weather"
    assert body["tool_choice"] == {"type": "function", "function": {"name": "get_weather"}}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}
    made = chat(tools=[WEATHER], tool_choice=allowed)["tool_choice"]["allowed_tools"]
    assert made == {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}


def test_custom_tools_are_functions_with_a_text() -> None:
    tool = {
        "type": "custom",
        "name": "patch",
        "format": {"type": "grammar", "syntax": "lark", "definition": "G"},
    }
    function = chat(tools=[tool])["tools"][0]["function"]
    assert "lark" in function["description"]
    assert list(function["parameters"]["properties"]) == ["input"]
    made = messages({"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": "a\n"})
    assert json.loads(made[0]["tool_calls"][0]["function"]["arguments"]) == {"input": "a\n"}


SPACE = {
    "type": "namespace",
    "name": "files",
    "description": "d",
    "tools": [{"type": "function", "name": "read"}, {"type": "custom", "name": "patch"}],
}


def test_tools_of_a_namespace_are_tools_among_others() -> None:
    call = a_call("mistral")
    other = {"type": "function", "name": "f"}
    made = CLIENT.request({"input": "x", "tools": [other, SPACE]}, call)
    assert [tool["function"]["name"] for tool in made["tools"]] == ["f", "read", "patch"]
    names = ("f", "read", "patch")
    calls = [{"id": name, "function": {"name": name, "arguments": '{"input": "t"}'}} for name in names]
    answer = {"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    output = CLIENT.response(answer, call)["output"]
    assert [(item["type"], item.get("namespace")) for item in output] == [
        ("function_call", None),
        ("function_call", "files"),
        ("custom_tool_call", "files"),
    ]


@pytest.mark.parametrize(
    "tools",
    [
        [SPACE, {"type": "function", "name": "read"}],
        [{"type": "namespace", "name": "n", "tools": [{"type": "shell"}]}],
        [{"type": "namespace", "name": "n", "tools": [5]}],
    ],
)
def test_namespaces_that_cannot_be(tools: list[Any]) -> None:
    with pytest.raises(BadRequest):
        chat(tools=tools)


def test_what_has_no_place_is_reported() -> None:
    call = a_call("mistral")
    tool = {"type": "function", "name": "f", "defer_loading": True, "output_schema": {}, "strict": None}
    reasoning = {"effort": "low", "mode": "pro", "context": "auto", "summary": "auto"}
    CLIENT.request({"input": "x", "tools": [tool], "reasoning": reasoning}, call)
    assert set(call.dropped) == {
        "tools.defer_loading", "tools.output_schema", "reasoning.mode", "reasoning.context",
    }  # fmt: skip


def test_parameters() -> None:
    body = chat(
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        include=["message.output_text.logprobs"],
    )
    assert (body["max_completion_tokens"], body["reasoning_effort"], body["logprobs"]) == (9, "low", True)
    assert body["response_format"]["json_schema"] == {
        "name": "n", "schema": {"type": "object"}, "strict": True
    }  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"input": None},
        {"input": []},
        {"input": 5},
        {"input": [{"type": "item_reference", "id": "x"}]},
        {"input": [{"type": "what"}]},
        {"input": [{"role": "robot", "content": "x"}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
        {"tools": [{"type": "file_search"}]},
        {"tools": [{"type": "computer_use_preview"}]},
        {"tools": [{"type": "function"}]},
        {"text": {"format": {"type": "xml"}}},
    ],
)
def test_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        chat(**body)
    assert caught.value.status == 400


def test_web_search_where_chat_has_it() -> None:
    assert chat("gemini", tools=[{"type": "web_search"}])["web_search_options"] == {}


def test_what_cannot_be_carried_is_named() -> None:
    call = a_call()
    CLIENT.request({"input": "x", "store": True, "truncation": "auto", "max_tool_calls": 3}, call)
    assert sorted(call.dropped) == ["max_tool_calls", "store", "truncation"]


@pytest.mark.parametrize("provider", ["anthropic", "cohere", "mistral", "deepseek", "ollama"])
def test_providers_get_their_own_chat(provider: str) -> None:
    options = {"upstream_url": "http://own.test/x"} if provider == "ollama" else {}
    made = sent(
        proxy(provider, "m", route_type="llm/v1/responses", options=options),
        ClientRequest("POST", "/responses", "", {"content-type": "application/json"}, b'{"input":"hello"}'),
    )
    assert b"hello" in made.body and b'"messages"' in made.body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "summary", "output", "name", "input", "tools"]
            ),
            inner
            | st.sampled_from(["message", "function_call", "reasoning", "user", "assistant", "input_text"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(["input", "tools", "text", "reasoning", "include", "instructions", "tool_choice"]),
        JSON,
    )
)
def test_any_body_is_translated_or_refused(body: dict[str, Any]) -> None:
    try:
        CLIENT.request(body, a_call())
    except ApiError as error:
        assert error.status == 400

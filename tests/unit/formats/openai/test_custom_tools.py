"""Custom tools at providers that know functions alone: out as functions, back as custom calls."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from exchange_support import answered, client_request, events, first_attempt, proxy, sent_body, sse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.openai.custom_tools import CustomCalls, custom_input, with_custom_calls

Json = dict[str, Any]

GRAMMAR: Final = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /[a-z]+/"}}
PATCH: Final = {"type": "custom", "custom": {"name": "patch", "description": "Applies.", "format": GRAMMAR}}
PLAIN: Final = {"type": "custom", "custom": {"name": "note", "format": {"type": "text"}}}
LOOK: Final = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
TEXT: Final = '*** "Begin"\n+ é \\'
CALLED: Final = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": TEXT}}
ASKED: Final = {
    "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [CALLED]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ],
    "tools": [PATCH, LOOK, PLAIN],
}  # fmt: skip
WRAPPED: Final = json.dumps({"input": TEXT}, ensure_ascii=False)
OPTIONS: Final = {
    "vllm": {"upstream_url": "http://vllm.example/"},
    "ollama": {"upstream_url": "http://ollama.example/v1/chat/completions"},
    "databricks": {"databricks": {"workspace_instance_id": "dbc-1"}},
    "bedrock": {"bedrock": {"aws_region": "us-east-1"}},
    "llama2": {"upstream_url": "http://llama.example/", "llama2_format": "openai"},
    "azure": {"azure_instance": "unit", "azure_deployment_id": "d"},
}
COMPATIBLE: Final = (
    "mistral", "databricks", "ollama", "vllm", "xai", "cerebras", "deepseek", "dashscope", "huggingface",
    "llama2",
)  # fmt: skip


def instance(provider: str) -> Any:
    name = "owner/m" if provider == "huggingface" else "m"
    return proxy(provider, name, options=OPTIONS.get(provider, {}))


@pytest.mark.parametrize("provider", COMPATIBLE)
def test_they_go_out_as_functions(provider: str) -> None:
    body = sent_body(
        instance(provider), {**ASKED, "tool_choice": {"type": "custom", "custom": {"name": "note"}}}
    )
    assert b"custom" not in json.dumps(body).encode()
    patch, look, note = body["tools"]
    assert look["function"]["name"] == "look"
    assert note["function"]["name"] == "note" and "description" not in note["function"]
    assert patch["function"]["description"] == (
        "Applies.\n\nThe input must match this lark grammar:\nstart: /[a-z]+/"
    )
    assert patch["function"]["parameters"]["required"] == ["input"]
    (call,) = body["messages"][1]["tool_calls"]
    assert call["function"]["name"] == "patch"
    assert json.loads(call["function"]["arguments"]) == {"input": TEXT}
    assert body["tool_choice"] == {"type": "function", "function": {"name": "note"}}


@pytest.mark.parametrize("provider", ["openai", "azure"])
def test_who_knows_them_gets_them(provider: str) -> None:
    body = sent_body(instance(provider), ASKED)
    assert body["tools"] == ASKED["tools"] and body["messages"] == ASKED["messages"]


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "gemini", "cohere"])
def test_other_formats_get_functions_too(provider: str) -> None:
    told = json.dumps(sent_body(instance(provider), ASKED))
    assert "start: /[a-z]+/" in told and told.count('"note"') == 1 and '"custom"' not in told


def test_a_grammar_is_reported_as_told_only() -> None:
    _, attempt = first_attempt(instance("mistral"), client_request(ASKED))
    attempt.translation.request()
    assert attempt.call.dropped == ["tools.custom.format"]
    _, attempt = first_attempt(instance("mistral"), client_request({**ASKED, "tools": [PLAIN]}))
    attempt.translation.request()
    assert attempt.call.dropped == []


def test_only_allowed_tools() -> None:
    allowed = [
        {"type": "custom", "custom": {"name": "note"}},
        {"type": "function", "function": {"name": "look"}},
    ]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": allowed}}
    body = sent_body(instance("mistral"), {**ASKED, "tool_choice": choice})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look", "note"]
    choice["allowed_tools"] = {"mode": "auto", "tools": allowed[1:]}
    body = sent_body(instance("mistral"), {**ASKED, "tool_choice": choice})
    assert [tool["function"]["name"] for tool in body["tools"]] == ["look"]


@pytest.mark.parametrize("tool", [{"type": "custom"}, {"type": "custom", "custom": {"name": 5}}])
def test_one_without_a_name_is_refused(tool: Json) -> None:
    with pytest.raises(ApiError) as caught:
        sent_body(instance("mistral"), {**ASKED, "tools": [LOOK, tool]})
    assert (caught.value.status, caught.value.param) == (400, "tools[1].custom.name")


def test_a_whole_answer() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "patch", "arguments": WRAPPED}},
        {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        {"id": "c", "function": {"name": "note", "arguments": {"input": "x"}}},
    ]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    said = {"index": 1, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}, said]}
    told = answered(instance("mistral"), answer, client_request(ASKED)).json
    ChatCompletion.model_validate(told, strict=True)
    patch, look, note = told["choices"][0]["message"]["tool_calls"]
    assert patch == {"id": "a", "type": "custom", "custom": {"name": "patch", "input": TEXT}}
    assert look == calls[1]
    assert note["custom"] == {"name": "note", "input": "x"}
    assert told["choices"][1]["message"]["content"] == "x"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (WRAPPED, TEXT), ('{"input":""}', ""), ("", ""), ("x", "x"), ('"x"', '"x"'), ("[1]", "[1]"),
        ('{"input":{"a":1}}', '{"input":{"a":1}}'), ('{"other":"x"}', '{"other":"x"}'),
    ],
)  # fmt: skip
def test_what_a_model_made_of_the_one_text(arguments: str, told: str) -> None:
    assert custom_input(arguments) == told


def fragment(index: int, arguments: str, **begun: str) -> Json:
    function: Json = {"arguments": arguments}
    made: Json = {"index": index, "function": function}
    if begun:
        function["name"] = begun["name"]
        made |= {"id": begun["id"], "type": "function"}
    return made


def chunk(at: int, delta: Json, finish: str | None = None, **more: Any) -> Json:
    choice = {"index": at, "delta": delta, "finish_reason": finish}
    return {
        "id": "x",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("usage", [True, False])
def test_a_stream(size: int, usage: bool) -> None:
    used = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    raw = sse(
        chunk(0, {"role": "assistant", "content": "I patch."}),
        chunk(0, {"tool_calls": [fragment(0, WRAPPED[:5], id="a", name="patch")]}),
        chunk(0, {"tool_calls": [fragment(0, WRAPPED[5:12])]}),
        chunk(0, {"tool_calls": [fragment(1, "{", id="b", name="look"), fragment(0, WRAPPED[12:])]}),
        chunk(0, {"tool_calls": [fragment(1, "}")]}),
        chunk(1, {"role": "assistant", "tool_calls": [fragment(0, '{"input":"n"}', id="c", name="note")]}),
        chunk(1, {}, "tool_calls"),
        chunk(
            0, {"tool_calls": [fragment(2, '{"input":"o"}', id="d", name="note")]}, "tool_calls", usage=used
        ),
        "[DONE]",
    )
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": usage}}
    _, attempt = first_attempt(instance("mistral"), client_request(asked))
    attempt.translation.request()
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    out = b"".join(stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)) + stream.finish()
    *chunks, end = events(out)
    assert end == "[DONE]" and stream.failed is None
    calls: dict[tuple[int, int], Json] = {}
    finished: set[int] = set()
    for one in chunks:
        for choice in one["choices"]:
            if not any("custom" in part for part in choice["delta"].get("tool_calls", [])):
                ChatCompletionChunk.model_validate(one)  # which has no custom calls
            assert choice["index"] not in finished
            if choice["finish_reason"]:
                finished.add(choice["index"])
            for part in choice["delta"].get("tool_calls", []):
                call = calls.setdefault((choice["index"], part["index"]), {})
                for key in ("custom", "function"):
                    for name, value in part.get(key, {}).items():
                        told = call.setdefault(key, {})
                        told[name] = told.get(name, "") + value
                call.update({key: part[key] for key in ("id", "type") if key in part})
    assert finished == {0, 1}
    assert calls == {
        (0, 0): {"id": "a", "type": "custom", "custom": {"name": "patch", "input": TEXT}},
        (0, 1): {"id": "b", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        (0, 2): {"id": "d", "type": "custom", "custom": {"name": "note", "input": "o"}},
        (1, 0): {"id": "c", "type": "custom", "custom": {"name": "note", "input": "n"}},
    }
    assert (chunks[-1].get("usage") == used) is usage
    assert sum("usage" in one and one["usage"] is not None for one in chunks) == usage


def test_an_empty_member_makes_no_custom_call() -> None:
    """https://github.com/earendil-works/pi/issues/8504."""
    made = [{**fragment(0, "{", id="a", name="look"), "custom": {}}, {**fragment(0, "}"), "custom": None}]
    raw = sse(*(chunk(0, {"tool_calls": [one]}) for one in made), chunk(0, {}, "tool_calls"), "[DONE]")
    _, attempt = first_attempt(
        instance("mistral"), client_request({**ASKED, "stream": True, "tools": [LOOK]})
    )
    attempt.translation.request()
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    *chunks, _ = events(stream.feed(raw) + stream.finish())
    parts = [part for one in chunks for part in one["choices"][0]["delta"].get("tool_calls", [])]
    assert [part["function"]["arguments"] for part in parts] == ["{", "}"]
    assert parts[0]["type"] == "function" and not any("custom" in part for part in parts)


@pytest.mark.parametrize("odd", [None, [], {}, [1], {"a": 1}, 5, True])
def test_odd_names_and_numbers_of_a_provider(odd: Any) -> None:
    names = frozenset({"patch"})
    one = {"id": "c", "type": "function", "index": odd, "function": {"name": odd, "arguments": odd}}
    whole = {"choices": [{"index": odd, "message": {"role": "assistant", "tool_calls": [one]}}]}
    assert with_custom_calls(whole, names) == whole
    begun = {**one, "function": {"name": "patch", "arguments": odd}}
    calls = CustomCalls(names)
    for fragments, finish in (([one], None), ([begun], None), ([one], None), ([], "tool_calls")):
        delta = {"tool_calls": fragments} if fragments else {}
        calls.restored({"choices": [{"index": odd, "delta": delta, "finish_reason": finish}]})


def test_two_custom_calls_in_each_of_two_choices() -> None:
    calls = CustomCalls(frozenset({"patch"}))
    chunks: list[Json] = []
    for at in (0, 1):
        for index in (0, 1):
            begun = {
                "id": f"c{at}{index}", "index": index, "type": "function",
                "function": {"name": "patch", "arguments": '{"input":'},
            }  # fmt: skip
            delta = {"tool_calls": [begun]}
            chunks.append({"choices": [{"index": at, "delta": delta, "finish_reason": None}]})
    for at in (1, 0):
        rest = [{"index": index, "function": {"arguments": f'"{at}{index}"}}'}} for index in (1, 0)]
        chunks.append({"choices": [{"index": at, "delta": {"tool_calls": rest}, "finish_reason": None}]})
        chunks.append({"choices": [{"index": at, "delta": {}, "finish_reason": "tool_calls"}]})
    told: dict[tuple[int, int], str] = {}
    for one in (made for chunk in chunks for made in calls.restored(chunk)):
        for choice in one["choices"]:
            for call in choice["delta"].get("tool_calls", []):
                key = (choice["index"], call["index"])
                told[key] = told.get(key, "") + call["custom"]["input"]
    assert told == {(at, index): f"{at}{index}" for at in (0, 1) for index in (0, 1)}


@pytest.mark.parametrize("beside", [{}, {"tools": [LOOK]}])
def test_earlier_calls_where_the_tools_are_not_told_again(beside: Json) -> None:
    body = sent_body(instance("mistral"), {"messages": ASKED["messages"], **beside})
    (call,) = body["messages"][1]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == "patch"
    assert json.loads(call["function"]["arguments"]) == {"input": TEXT}
    assert body.get("tools") == beside.get("tools")

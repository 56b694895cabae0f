"""OpenAI chat requests as Messages requests. Source of the fields: the `anthropic` SDK's types."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from exchange_support import client_request, first_attempt, proxy

from kong_ai_proxy.config.models import Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.flavor import ANTHROPIC, BEDROCK, VERTEX, Flavor, takes_sampling
from kong_ai_proxy.formats.anthropic.models import UNKNOWN, traits
from kong_ai_proxy.formats.json_mode import JSON_TOOL

ASK = [{"role": "user", "content": "Hi"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": []},
    },
}
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}, "required": ["age"]}


def call(model: str = "claude-sonnet-4-5", headers: dict[str, str] | None = None, **options: Any) -> Call:
    target = Target(model=Model(provider="anthropic", name=model), route_type="llm/v1/chat")
    return Call(target, Options(**options), model, "chat", ClientRequest("POST", "/", "", headers or {}))


def translate(
    body: dict[str, Any], made: Call | None = None, flavor: Flavor = ANTHROPIC
) -> tuple[dict[str, Any], list[str]]:
    made = made or call()
    body = {"messages": ASK, **body}
    before = copy.deepcopy(body)
    out = MessagesAdapter(flavor).request(body, made)
    assert body == before, "the client's body must not be changed in place"
    assert isinstance(out, dict)
    return out, made.dropped


# ---- messages


def test_all_system_and_developer_messages_become_the_system_prompt() -> None:
    # Kong 3.14.0.5: only the last system message was preserved; 3.14.0.10: developer is system.
    out, _ = translate(
        {
            "messages": [
                {"role": "system", "content": "One."},
                {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
                *ASK,
                {"role": "system", "content": "Three."},
            ]
        }
    )
    assert [block["text"] for block in out["system"]] == ["One.", "Two.", "Three."]
    assert out["messages"] == ASK


def test_cache_control_stays_where_it_stands() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    out, dropped = translate(
        {
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Long.", "cache_control": mark}]},
                {"role": "user", "content": [{"type": "text", "text": "Part."}], "cache_control": mark},
            ],
            "tools": [{**WEATHER, "cache_control": mark}],
        }
    )
    assert out["system"] == [{"type": "text", "text": "Long.", "cache_control": mark}]
    assert out["messages"][0]["content"][-1]["cache_control"] == mark
    assert out["tools"][0]["cache_control"] == mark
    assert dropped == []


def test_content_parts() -> None:
    pdf = "data:application/pdf;base64,JVBERg=="
    out, dropped = translate(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Look:"},
                        {"type": "text", "text": "  "},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}},
                        {"type": "image_url", "image_url": {"url": "https://x.test/a.jpg", "detail": "high"}},
                        {"type": "file", "file": {"file_data": pdf, "filename": "a.pdf"}},
                        {"type": "file", "file": {"file_data": "data:text/plain;base64,SGkgw7w="}},
                        {"type": "file", "file": {"file_id": "file_1"}},
                        {"type": "document", "source": {"type": "url", "url": "https://x.test/b.pdf"}},
                    ],
                }
            ]
        }
    )
    assert out["messages"][0]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}},
        {"type": "image", "source": {"type": "url", "url": "https://x.test/a.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "a.pdf",
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi ü"}},
        {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "url", "url": "https://x.test/b.pdf"}},
    ]
    assert dropped == ["messages.content.image_url.detail"]


def test_a_document_under_the_name_of_an_image() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:{kind};base64,SGk="}}
        for kind in ("application/pdf", "text/plain", "image/JPG")
    ]
    out, _ = translate({"messages": [{"role": "user", "content": parts}]})
    assert out["messages"][0]["content"] == [
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "SGk="},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hi"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "SGk="}},
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "https://x.test/v.mp4"}},
        {"type": "image_url", "image_url": {"url": "ftp://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}},
        {"type": "image_url", "image_url": {}},
        {"type": "image_url"},
        {"type": "file"},
        {"type": "file", "file": {}},
        {"type": "file", "file": {"file_data": "data:text/plain;base64,/w=="}},
        {"type": "hologram"},
        {"no": "type"},
        7,
    ],
)
def test_content_that_claude_cannot_take_is_refused(part: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        translate({"messages": [{"role": "user", "content": [part]}]})
    assert caught.value.status == 400


def test_a_tool_loop() -> None:
    out, dropped = translate(
        {
            "messages": [
                *ASK,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call.1:0",
                            "type": "function",
                            "function": {"name": "a", "arguments": '{"x":1}'},
                        },
                        {"id": "call2", "type": "function", "function": {"name": "b", "arguments": ""}},
                        {"id": "call3", "type": "function", "function": {"name": "c", "arguments": "{oops"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "call.1:0", "content": "sunny"},
                {
                    "role": "tool",
                    "tool_call_id": "call2",
                    "content": [
                        {"type": "text", "text": "see"},
                        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "call3", "content": None, "is_error": True},
                {"role": "user", "content": "And?"},
            ],
            "tools": [WEATHER],
        }
    )
    assert out["messages"][1] == {
        "role": "assistant",
        "content": [
            # Ids in the characters that the API allows.
            {"type": "tool_use", "id": "call_1_0", "name": "a", "input": {"x": 1}},
            {"type": "tool_use", "id": "call2", "name": "b", "input": {}},
            # What a model wrote as broken JSON is kept.
            {"type": "tool_use", "id": "call3", "name": "c", "input": {"arguments": "{oops"}},
        ],
    }
    # Results of one turn must come in one user turn.
    assert out["messages"][2]["role"] == "user"
    assert out["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1_0", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "call2",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
            ],
        },
        {"type": "tool_result", "tool_use_id": "call3", "is_error": True},
    ]
    assert out["messages"][3] == {"role": "user", "content": "And?"}
    assert dropped == []


def test_thinking_comes_back_byte_for_byte() -> None:
    # Kong 3.15.0.4: signed thinking with omitted text must be kept, empty unsigned thinking filtered.
    blocks = [
        {"type": "thinking", "thinking": "Let me … see\n", "signature": "c2ln+/=="},
        {"type": "thinking", "thinking": "", "signature": "b21pdHRlZA=="},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
    ]
    unsigned = [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "redacted_thinking"}]
    made = call()
    out, dropped = translate(
        {
            "messages": [
                *ASK,
                {
                    "role": "assistant",
                    "content": "Ok",
                    "reasoning_content": "Let me … see\n",
                    "thinking_blocks": blocks + unsigned,
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "c", "content": "1"},
            ]
        },
        made,
    )
    assert out["messages"][1]["content"][:3] == blocks
    assert [block["type"] for block in out["messages"][1]["content"][3:]] == ["text", "tool_use"]
    assert dropped == []


def test_unsigned_thinking_of_others_is_left_out_and_reported() -> None:
    out, dropped = translate(
        {"messages": [*ASK, {"role": "assistant", "content": "Ok", "reasoning_content": "hm"}, *ASK]}
    )
    assert out["messages"][1]["content"] == [{"type": "text", "text": "Ok"}]
    assert dropped == ["messages.reasoning_content"]


def test_blocks_of_server_tools_come_back() -> None:
    own = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []},
        {"type": "text", "text": "not a server block"},
        "odd",
    ]
    message = {"role": "assistant", "content": "Found.", "provider_specific_fields": {"content_blocks": own}}
    out, _ = translate({"messages": [*ASK, message, *ASK]})
    assert out["messages"][1]["content"] == [*own[:2], {"type": "text", "text": "Found."}]


def test_a_prefilled_answer_must_not_end_in_white_space() -> None:
    out, _ = translate({"messages": [*ASK, {"role": "assistant", "content": "Sure: \n"}]})
    assert out["messages"][-1]["content"] == "Sure:"


def test_empty_turns_are_left_out_and_nothing_at_all_is_refused() -> None:
    out, _ = translate(
        {"messages": [{"role": "user", "content": ""}, *ASK, {"role": "assistant", "content": ""}]}
    )
    assert out["messages"] == ASK
    for messages in ([], None, [{"role": "user", "content": " "}], "x", [3], [{"role": "emperor"}]):
        with pytest.raises(BadRequest):
            translate({"messages": messages})


def test_a_lone_system_prompt_is_what_is_asked() -> None:
    out, _ = translate({"messages": [{"role": "system", "content": "Say hi."}]})
    assert out["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]
    assert "system" not in out


# ---- tools


def test_tools_keep_empty_arrays_and_get_an_object_schema() -> None:
    # Kong 3.15.0.4: tools with an empty `required` array.
    bare = {"type": "function", "function": {"name": "now"}}
    out, _ = translate({"tools": [WEATHER, bare]})
    assert out["tools"] == [
        {
            "name": "weather",
            "description": "Weather of a city",
            "input_schema": WEATHER["function"]["parameters"],  # type: ignore[index]
        },
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
        ({"type": "tool", "name": "weather"}, {"type": "tool", "name": "weather"}),
    ],
)
def test_tool_choice(choice: Any, expected: Any) -> None:
    # Kong 3.12.0.0: tool_choice was not converted.
    out, _ = translate({"tools": [WEATHER], "tool_choice": choice})
    assert out["tool_choice"] == expected


def test_allowed_tools_leave_the_others_out() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    choice = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]},
    }
    out, _ = translate({"tools": [WEATHER, other], "tool_choice": choice})
    assert [tool["name"] for tool in out["tools"]] == ["other"]
    assert out["tool_choice"] == {"type": "any"}


def test_parallel_tool_calls() -> None:
    out, _ = translate({"tools": [WEATHER], "parallel_tool_calls": False})
    assert out["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    out, _ = translate({"tools": [WEATHER], "parallel_tool_calls": False, "tool_choice": "none"})
    assert out["tool_choice"] == {"type": "none"}
    out, _ = translate({"tools": [WEATHER], "parallel_tool_calls": True})
    assert "tool_choice" not in out


def test_a_tool_choice_without_tools_is_left_out() -> None:
    out, dropped = translate({"tools": [], "tool_choice": "required"})
    assert "tools" not in out
    assert "tool_choice" not in out
    assert dropped == ["tool_choice"]


def test_server_tools_pass_and_free_form_tools_are_reported() -> None:
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    out, dropped = translate({"tools": [search, {"type": "custom", "custom": {"name": "grammar"}}]})
    assert out["tools"] == [search]
    assert dropped == ["tools[1]"]


def test_legacy_functions() -> None:
    out, dropped = translate(
        {
            "messages": [
                *ASK,
                {
                    "role": "assistant",
                    "content": None,
                    "function_call": {"name": "weather", "arguments": "{}"},
                },
                {"role": "function", "name": "weather", "content": "sunny"},
            ],
            "functions": [WEATHER["function"]],
            "function_call": {"name": "weather"},
        }
    )
    assert out["tool_choice"] == {"type": "tool", "name": "weather"}
    use, result = out["messages"][1]["content"][0], out["messages"][2]["content"][0]
    assert use["id"] == result["tool_use_id"]
    assert dropped == []


@pytest.mark.parametrize(
    "body",
    [
        {"tools": "x"},
        {"tools": [3]},
        {"tools": [{"type": "function", "function": {"description": "nameless"}}]},
        {"tools": [WEATHER], "tool_choice": "sometimes"},
        {"tools": [WEATHER], "tool_choice": {"type": "odd"}},
        {"messages": [*ASK, {"role": "tool", "content": "no id"}]},
        {"messages": [*ASK, {"role": "assistant", "tool_calls": [{"function": {}}]}]},
        {"messages": [*ASK, {"role": "assistant", "tool_calls": [5]}]},
        {"messages": [{"role": "user", "content": 5}]},
        {"stop": 5},
        {"reasoning_effort": "herculean"},
        {"reasoning_effort": []},
    ],
)
def test_nonsense_is_a_400(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        translate(body)
    assert caught.value.status == 400


# ---- structured output


def test_json_schema_where_the_model_has_it() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}}
    out, dropped = translate({"response_format": form})
    assert out["output_config"] == {
        "format": {
            "type": "json_schema",
            "schema": {
                "type": "object",
                "properties": {"age": {"type": "integer", "description": "(minimum: 0)"}},
                "required": ["age"],
                "additionalProperties": False,
            },
        }
    }
    assert dropped == []


@pytest.mark.parametrize(
    ("model", "flavor"), [("claude-3-7-sonnet-20250219", ANTHROPIC), ("claude-sonnet-4-5", VERTEX)]
)
def test_json_schema_is_emulated_by_a_tool_elsewhere(model: str, flavor: Flavor) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
    out, dropped = translate({"response_format": form}, call(model), flavor)
    assert out["tools"][0]["input_schema"] == SCHEMA
    assert out["tool_choice"] == {"type": "tool", "name": JSON_TOOL}
    assert "output_config" not in out
    out, _ = translate({"response_format": form, "tools": [WEATHER]}, call(model), flavor)
    assert [tool["name"] for tool in out["tools"]] == ["weather", JSON_TOOL]
    assert out["tool_choice"] == {"type": "any"}
    out, _ = translate(
        {"response_format": form, "tools": [WEATHER], "tool_choice": "none"}, call(model), flavor
    )
    assert out["tool_choice"] == {"type": "tool", "name": JSON_TOOL}
    assert dropped == []


def test_json_mode_without_a_schema_is_said_in_words() -> None:
    for form in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {}}):
        out, dropped = translate({"response_format": form})
        assert "JSON object" in out["system"]
        assert dropped == []
    out, _ = translate({"response_format": {"type": "text"}})
    assert "system" not in out


def test_strict_tools_get_a_closed_schema() -> None:
    strict = {"type": "function", "function": {"name": "f", "strict": True, "parameters": SCHEMA}}
    out, _ = translate({"tools": [strict]})
    assert out["tools"][0]["strict"] is True
    assert out["tools"][0]["input_schema"]["additionalProperties"] is False
    out, dropped = translate({"tools": [strict]}, call("claude-3-haiku-20240307"))
    assert "strict" not in out["tools"][0]
    assert dropped == ["tools[0].function.strict"]


# ---- limits, sampling, thinking


def test_max_tokens_is_always_there() -> None:
    assert translate({})[0]["max_tokens"] == 32_000
    assert translate({}, call("claude-3-haiku-20240307"))[0]["max_tokens"] == 4096
    assert translate({"max_tokens": 5})[0]["max_tokens"] == 5
    assert translate({"max_tokens": 5, "max_completion_tokens": 6})[0]["max_tokens"] == 6
    assert translate({"max_tokens": 0})[0]["max_tokens"] == 0  # fills the prompt cache


def test_sampling_and_stop() -> None:
    # Kong 3.14.0.7: top_p, top_k and stop were dropped.
    body = {"temperature": 1.7, "top_k": 5, "stop": "END"}
    out, dropped = translate({**body, "top_p": 0.5}, call("claude-sonnet-4-20250514"))
    assert (out["temperature"], out["top_p"], out["top_k"]) == (1, 0.5, 5)
    assert out["stop_sequences"] == ["END"]
    assert dropped == []
    out, dropped = translate({"temperature": 0.5, "top_p": 0.5})
    assert "top_p" not in out
    assert dropped == ["top_p"]
    out, dropped = translate({"stop": ["END", " \n"]})
    assert out["stop_sequences"] == ["END"]
    assert dropped == ["stop"]


@pytest.mark.parametrize(
    "model", ["claude-opus-4-7", "claude-opus-4-8", "claude-fable-5", "claude-sonnet-5", "claude-opus-5-5"]
)
def test_models_that_refuse_sampling_get_none(model: str) -> None:
    # Kong 3.14.0.7: temperature, top_p, top_k left out for Opus 4.7, 4.8, Fable.
    out, dropped = translate({"temperature": 0.5, "top_p": 0.5, "top_k": 5}, call(model))
    assert not {"temperature", "top_p", "top_k"} & out.keys()
    assert dropped == ["temperature", "top_p", "top_k"]


@pytest.mark.parametrize(
    ("model", "effort", "expected"),
    [
        ("claude-sonnet-4-5", "low", ({"type": "enabled", "budget_tokens": 2048}, None)),
        ("claude-3-7-sonnet-20250219", "high", ({"type": "enabled", "budget_tokens": 16_000}, None)),
        ("claude-opus-4-6", "medium", ({"type": "adaptive"}, "medium")),
        ("claude-opus-4-6", "xhigh", ({"type": "adaptive"}, "max")),
        ("claude-opus-4-7", "xhigh", ({"type": "adaptive"}, "xhigh")),
        ("claude-sonnet-5", "minimal", (None, "low")),
        ("claude-sonnet-5", "none", ({"type": "disabled"}, None)),
        ("claude-opus-5-5", "none", (None, "low")),
        ("claude-sonnet-5-5", "none", ({"type": "between_tools"}, None)),
        ("claude-sonnet-4-5", "none", (None, None)),
    ],
)
def test_reasoning_effort(model: str, effort: str, expected: Any) -> None:
    # Kong 3.14.0.3: reasoning requests mapped consistently.
    out, dropped = translate({"reasoning_effort": effort}, call(model))
    assert (out.get("thinking"), out.get("output_config", {}).get("effort")) == expected
    assert dropped == []
    if out.get("thinking", {}).get("budget_tokens"):
        assert out["max_tokens"] > out["thinking"]["budget_tokens"]


def test_a_budget_stays_below_the_limit() -> None:
    out, _ = translate({"reasoning_effort": "high", "max_tokens": 4000})
    assert out["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    out, dropped = translate({"reasoning_effort": "high", "max_tokens": 1500})
    assert "thinking" not in out
    assert dropped == ["reasoning_effort"]


def test_no_thinking_where_the_api_refuses_it() -> None:
    forced = {"tools": [WEATHER], "tool_choice": "required", "reasoning_effort": "low"}
    assert translate(forced)[1] == ["reasoning_effort"]
    assert translate(forced, call("claude-opus-4-6"))[1] == ["reasoning_effort"]
    assert translate({"reasoning_effort": "low"}, call("claude-3-5-haiku-20241022"))[1] == [
        "reasoning_effort"
    ]
    # A tool loop that began without thinking cannot go on with it.
    loop = [
        *ASK,
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    out, dropped = translate({"messages": loop, "reasoning_effort": "low"})
    assert "thinking" not in out
    assert dropped == ["reasoning_effort"]


def test_thinking_excludes_sampling() -> None:
    body = {"reasoning_effort": "low", "temperature": 0.2, "top_p": 0.97, "top_k": 3}
    out, dropped = translate(body, call("claude-sonnet-4-20250514"))
    assert out["top_p"] == 0.97
    assert "temperature" not in out
    assert dropped == ["temperature", "top_k"]


@pytest.mark.parametrize(
    ("model", "given", "expected", "noted"),
    [
        ("claude-opus-4-7", {"type": "enabled", "budget_tokens": 2000}, {"type": "adaptive"},
         ["thinking.budget_tokens"]),
        ("claude-sonnet-4-5", {"type": "adaptive"}, {"type": "enabled", "budget_tokens": 8192}, []),
        ("claude-3-5-haiku-20241022", {"type": "enabled", "budget_tokens": 2000}, None, ["thinking"]),
        ("claude-opus-5-5", {"type": "disabled"}, None, ["thinking"]),
        ("claude-sonnet-4-5", {"type": "enabled", "budget_tokens": 40_000},
         {"type": "enabled", "budget_tokens": 40_000}, []),
    ],
)  # fmt: skip
def test_explicit_thinking(model: str, given: Any, expected: Any, noted: list[str]) -> None:
    out, dropped = translate({"thinking": given}, call(model))
    assert out.get("thinking") == expected
    assert dropped == noted
    if expected and "budget_tokens" in expected:
        assert out["max_tokens"] > expected["budget_tokens"]


def test_models_that_refuse_forced_tools() -> None:
    out, dropped = translate({"tools": [WEATHER], "tool_choice": "required"}, call("claude-opus-5-5"))
    assert out["tool_choice"] == {"type": "auto"}
    assert dropped == ["tool_choice"]


# ---- the rest


def test_every_other_field_is_passed_translated_or_reported() -> None:
    out, dropped = translate(
        {
            "user": "u1",
            "metadata": {"team": "x"},
            "service_tier": "default",
            "n": 1,
            "stream_options": {"include_usage": True},
            "frequency_penalty": 0,
            "presence_penalty": 0.5,
            "seed": 7,
            "logprobs": True,
            "logit_bias": {},
            "context_management": {"edits": []},
            "extra_body": {"container": "c1", "made_up": 1},
        }
    )
    assert out["metadata"] == {"user_id": "u1"}
    assert out["service_tier"] == "standard_only"
    assert out["context_management"] == {"edits": []}
    assert out["container"] == "c1"
    assert sorted(dropped) == ["logprobs", "made_up", "metadata", "presence_penalty", "seed"]


def test_null_members_are_not_there() -> None:
    names = (
        "temperature",
        "tools",
        "tool_choice",
        "stop",
        "response_format",
        "user",
        "metadata",
        "n",
        "thinking",
    )
    out, dropped = translate(dict.fromkeys(names))
    assert out.keys() == {"model", "max_tokens", "messages"}
    assert dropped == []


def test_vertex_and_bedrock_differ_in_the_envelope() -> None:
    made = call()
    made.stream = True
    out, _ = translate({"reasoning_effort": "low"}, made, VERTEX)
    assert out["anthropic_version"] == "vertex-2023-10-16"
    assert out["stream"] is True
    assert "model" not in out
    # Kong 3.15.0.0: `output_config` is rejected by Vertex.
    made = call("claude-opus-4-7")
    out, dropped = translate({"output_config": {"effort": "low"}}, made, VERTEX)
    assert "output_config" not in out
    assert dropped == ["output_config"]
    # Kong 3.15.0.4: the beta flag for context_management must reach Bedrock.
    flags = "context-management-2025-06-27, claude-code-20250219,advanced-tool-use-2025-11-20"
    made = call(headers={"anthropic-beta": flags})
    made.stream = True
    out, dropped = translate({"context_management": {}, "service_tier": "auto"}, made, BEDROCK)
    assert out["anthropic_beta"] == ["context-management-2025-06-27", "tool-search-tool-2025-10-19"]
    assert out["anthropic_version"] == "bedrock-2023-05-31"
    assert not {"stream", "model", "service_tier"} & out.keys()
    assert sorted(dropped) == ["anthropic-beta.claude-code-20250219", "service_tier"]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "claude-haiku-4-5"),
        ("claude-opus-4-1@20250805", "claude-opus-4-1"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("anthropic.claude-v2:1", "claude-2.1"),
        ("claude-opus-9", "claude-opus-5-5"),
    ],
)
def test_models_are_known_by_any_spelling(name: str, same: str) -> None:
    assert traits(name) is traits(same)
    assert traits(name) is not UNKNOWN
    assert traits("my-deployment") is UNKNOWN


class TestVersions:
    """2026-10-21 has no sampling parameters: https://platform.claude.com/docs/en/api/versioning."""

    @pytest.mark.parametrize(
        ("version", "taken"),
        [(None, True), ("2023-06-01", True), ("2026-10-21", False), ("2027-01-01", False),
         ("vertex-2023-10-16", True), ("bedrock-2023-05-31", True)],
    )  # fmt: skip
    def test_which_take_sampling(self, version: str | None, taken: bool) -> None:
        assert takes_sampling(version) is taken

    @pytest.mark.parametrize(("version", "sent"), [("2023-06-01", {"temperature": 0.5}), ("2026-10-21", {})])
    def test_of_a_configured_version(self, version: str, sent: dict[str, Any]) -> None:
        instance = proxy("anthropic", "claude-sonnet-4-5", options={"anthropic_version": version})
        body = {"messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
        _, attempt = first_attempt(instance, client_request(body))
        upstream = attempt.translation.request()
        made = json.loads(upstream.body)
        assert upstream.headers["anthropic-version"] == version
        assert {name: made[name] for name in ("temperature",) if name in made} == sent
        assert ("temperature" in attempt.call.dropped) is not bool(sent)

    @pytest.mark.parametrize("said", ["2023-06-01", "2026-10-21"])
    def test_a_configured_temperature_is_for_clients_that_may_send_one(self, said: str) -> None:
        instance = proxy(
            "anthropic", "claude-sonnet-4-5", llm_format="anthropic",
            options={"temperature": 0.5, "anthropic_version": "2023-06-01"},
        )  # fmt: skip
        request = client_request(MESSAGES, headers={"anthropic-version": said}, path="/v1/messages")
        upstream = first_attempt(instance, request)[1].translation.request()
        assert ("temperature" in json.loads(upstream.body)) is (said == "2023-06-01")

    @pytest.mark.parametrize(
        ("said", "vertex", "bedrock"),
        [
            (None, "vertex-2023-10-16", "bedrock-2023-05-31"),
            ("vertex-2099-01-01", "vertex-2099-01-01", "bedrock-2023-05-31"),
            ("2026-10-21", "2026-10-21", "bedrock-2023-05-31"),
            ("bedrock-2099-01-01", "vertex-2023-10-16", "bedrock-2099-01-01"),
            (["odd"], "vertex-2023-10-16", "bedrock-2023-05-31"),
        ],
    )
    def test_in_the_body(self, said: Any, vertex: str, bedrock: str) -> None:
        assert VERTEX.body_version(said, None) == vertex
        assert BEDROCK.body_version(said, None) == bedrock
        assert VERTEX.body_version(None, "configured") == "configured"
        assert ANTHROPIC.body_version(said, None) is None


MESSAGES = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 5,
    "messages": [{"role": "user", "content": "hi"}],
}

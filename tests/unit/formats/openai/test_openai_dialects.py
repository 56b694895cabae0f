"""What each dialect makes of a request, and the shapes its errors come in."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from openai_support import adapter_for, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.openai.adapter import openai_adapter
from kong_ai_proxy.formats.openai.dialect import OPENAI

HELLO = [{"role": "user", "content": "Hello"}]
FAMILY = [
    "openai",
    "azure",
    "cerebras",
    "dashscope",
    "databricks",
    "deepseek",
    "huggingface",
    "mistral",
    "vllm",
    "xai",
]


def made(name: str, body: dict[str, Any], **given: Any) -> tuple[dict[str, Any], Any]:
    """What goes out; the body itself must stay as it was, for the next attempt."""
    call = make_call(name, **given)
    full = {"model": "test-model", "messages": HELLO, **body}
    before = copy.deepcopy(full)
    out = adapter_for(call).request(full, call)
    assert full == before
    json.dumps(out)
    return out, call


@pytest.mark.parametrize("name", FAMILY)
class TestEverybody:
    def test_null_means_not_set(self, name: str) -> None:
        """Kong 3.8: null parameters of an SDK broke the plugin."""
        out, call = made(name, {"temperature": None, "stop": None, "tools": None, "seed": None})
        assert out == {"model": "test-model", "messages": HELLO}
        assert not call.dropped

    def test_a_literal_extra_body_is_merged(self, name: str) -> None:
        out, _ = made(name, {"extra_body": {"guided_json": {"required": []}}})
        assert out["guided_json"] == {"required": []}
        assert "extra_body" not in out

    def test_empty_lists_and_objects_stay_what_they_are(self, name: str) -> None:
        """Kong 3.12: an empty array was encoded as an empty object in structured output."""
        schema = {"type": "object", "properties": {}, "required": []}
        tools = [{"type": "function", "function": {"name": "f", "parameters": schema}}]
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
        out, _ = made(name, {"tools": tools, "response_format": form})
        assert out["tools"] == tools
        assert out["response_format"] == form

    def test_a_stream_is_asked_for_with_usage_where_that_is_taken(self, name: str) -> None:
        """Kong 3.14: `stream_options` gave Databricks a 400."""
        out, _ = made(name, {"stream": True, "stream_options": {"include_usage": False}}, stream=True)
        assert out["stream"] is True
        if name in ("databricks", "mistral"):
            assert "stream_options" not in out
        else:
            assert out["stream_options"] == {"include_usage": True}

    def test_no_stream_no_stream_options(self, name: str) -> None:
        out, _ = made(name, {"stream": True, "stream_options": {"include_usage": True}})
        assert not out.get("stream")
        assert "stream_options" not in out

    def test_one_limit_of_output(self, name: str) -> None:
        one = name not in ("openai", "azure", "cerebras", "vllm", "xai")
        out, _ = made(name, {"max_completion_tokens": 9})
        assert out["max_tokens" if one else "max_completion_tokens"] == 9
        assert len(out) == 3
        out, _ = made(name, {"max_tokens": 9})
        assert out["max_tokens"] == 9
        assert len(out) == 3

    def test_several_system_messages_and_the_developer(self, name: str) -> None:
        messages = [
            {"role": "system", "content": "a"},
            {"role": "developer", "content": "b"},
            {"role": "system", "content": "c"},
        ]
        out, _ = made(name, {"messages": messages})
        assert [message["content"] for message in out["messages"]] == ["a", "b", "c"]
        developer = "developer" if name in ("openai", "azure", "vllm", "xai") else "system"
        assert [message["role"] for message in out["messages"]] == ["system", developer, "system"]

    def test_parts_of_messages_stay(self, name: str) -> None:
        parts = [
            {"type": "text", "text": "What?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        ]
        out, _ = made(name, {"messages": [{"role": "user", "content": parts}]})
        assert out["messages"] == [{"role": "user", "content": parts}]

    def test_signed_thinking_is_for_others(self, name: str) -> None:
        message = {
            "role": "assistant",
            "content": "a",
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}],
            "provider_specific_fields": {"citations": []},
        }
        out, call = made(name, {"messages": [*HELLO, message]})
        assert out["messages"][1] == {"role": "assistant", "content": "a"}
        assert set(call.dropped) == {"messages.thinking_blocks", "messages.provider_specific_fields"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("openai", {}),
        ("azure", {}),
        ("databricks", {}),
        ("huggingface", {}),
        ("cerebras", {"reasoning": "Hm"}),
        ("dashscope", {"reasoning_content": "Hm"}),
        ("deepseek", {"reasoning_content": "Hm"}),
        ("vllm", {"reasoning_content": "Hm"}),
        ("ollama", {"reasoning": "Hm"}),
        ("llama2", {"reasoning_content": "Hm"}),
        ("xai", {"reasoning_content": "Hm"}),
        ("mistral", {"content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "a"},
        ]}),
    ],
)  # fmt: skip
def test_earlier_reasoning_goes_back_as_the_provider_takes_it(name: str, expected: dict[str, Any]) -> None:
    message = {"role": "assistant", "content": "a", "reasoning_content": "Hm"}
    options = {
        "ollama": {"upstream_url": "http://ollama.test:11434/v1/chat/completions"},
        "llama2": {"upstream_url": "http://llama.test/v1/chat/completions", "llama2_format": "openai"},
    }
    out, call = made(name, {"messages": [*HELLO, message]}, options=options.get(name))
    assert out["messages"][1] == {"role": "assistant", "content": "a", **expected}
    assert call.dropped == ([] if expected else ["messages.reasoning_content"])


@pytest.mark.parametrize("name", FAMILY)
def test_cache_breakpoints_go_to_who_reads_them(name: str) -> None:
    breakpoint_ = {"cache_control": {"type": "ephemeral"}}
    messages = [
        {"role": "system", "content": "a", **breakpoint_},
        {"role": "user", "content": [{"type": "text", "text": "b", **breakpoint_}]},
    ]
    tools = [{"type": "function", "function": {"name": "f"}, **breakpoint_}]
    out, call = made(name, {"messages": messages, "tools": tools})
    if name == "databricks":
        claude, _ = made(name, {"messages": messages, "tools": tools}, model="databricks-claude-sonnet-4")
        assert (claude["messages"], claude["tools"]) == (messages, tools)
    if name == "dashscope":
        assert (out["messages"], out["tools"]) == (messages, tools)
        assert not call.dropped
    else:
        assert "cache_control" not in json.dumps(out)
        assert set(call.dropped) == {
            "messages.cache_control",
            "messages.content.cache_control",
            "tools.cache_control",
        }


def test_signed_reasoning_goes_back_to_claude_at_databricks() -> None:
    """https://github.com/BerriAI/litellm/issues/36931: as a part; members of their own get a 400."""
    hidden = {"type": "redacted_thinking", "data": "x"}
    blocks = [{"type": "thinking", "thinking": "Hm", "signature": "c2ln"}, hidden]
    message = {"role": "assistant", "content": "a", "reasoning_content": "Hm"}
    part = {
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Hm", "signature": "c2ln"}],
    }
    for model, signed, expected, dropped in (
        ("databricks-claude-opus-5", blocks, [part, {"type": "text", "text": "a"}], []),
        ("databricks-claude-opus-5", [{"thinking": "Hm"}, 5], "a", ["reasoning_content", "thinking_blocks"]),
        ("databricks-gpt-oss-120b", blocks, "a", ["reasoning_content", "thinking_blocks"]),
    ):
        call = make_call("databricks", model=model)
        sent = adapter_for(call).request({"messages": [{**message, "thinking_blocks": signed}]}, call)
        assert sent["messages"] == [{"role": "assistant", "content": expected}]
        assert call.dropped == [f"messages.{name}" for name in dropped]


def test_mistral_refuses_what_it_does_not_know() -> None:
    """422 "Extra inputs are not permitted"; Kong 3.12: "Unsupported field: seed"."""
    out, call = made("mistral", {"seed": 4, "user": "ann", "store": False, "temperature": 1, "top_k": 4})
    taken = {"random_seed": 4, "temperature": 1, "top_k": 4}
    assert out == {"model": "test-model", "messages": HELLO, **taken}
    assert set(call.dropped) == {"user", "store"}


@pytest.mark.parametrize(
    ("name", "field", "given", "meant"),
    [
        ("mistral", "service_tier", "auto", "auto"),
        ("mistral", "service_tier", "default", "standard_only"),
        ("mistral", "service_tier", "standard_only", "standard_only"),
        ("mistral", "service_tier", "flex", None),
        ("mistral", "reasoning_effort", "xhigh", "xhigh"),
        ("cerebras", "reasoning_effort", "minimal", "low"),
        ("cerebras", "reasoning_effort", "xhigh", "high"),
        ("cerebras", "reasoning_effort", "none", "none"),
        ("cerebras", "reasoning_effort", 4, 4),
        ("openai", "service_tier", "flex", "flex"),
    ],
)
def test_values_that_others_have_other_words_for(name: str, field: str, given: Any, meant: Any) -> None:
    """The values that mistralai 3.7 and cerebras_cloud_sdk 1.91 know."""
    out, call = made(name, {field: given})
    assert out.get(field) == meant
    assert call.dropped == ([field] if meant is None else [])


@pytest.mark.parametrize("name", ["mistral", "cerebras", "deepseek", "vllm", "xai"])
def test_allowed_tools_are_the_only_ones_where_there_is_no_such_choice(name: str) -> None:
    tools = [{"type": "function", "function": {"name": one, "parameters": {}}} for one in "abc"]
    allowed = {"mode": "required", "tools": [tools[0], tools[2]]}
    asked = {"tools": [*tools, 5], "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}
    out, _ = made(name, asked)
    assert (out["tools"], out["tool_choice"]) == ([tools[0], tools[2]], "required")
    assert made("openai", asked)[0]["tool_choice"] == asked["tool_choice"]
    out, _ = made(name, {"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}})
    assert (out["tools"], out["tool_choice"]) == (tools, "auto")


def test_mistral_refuses_members_of_messages() -> None:
    spoken = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "name": "bo",
    }
    messages = [
        {"role": "user", "content": "a", "name": "ann"},
        spoken,
        {"role": "assistant", "prefix": True},
    ]
    out, call = made("mistral", {"messages": messages})
    assert out["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "a"},
        {"role": "assistant", "prefix": True},
    ]
    assert call.dropped == ["messages.name"]


def test_mistrals_tool_calls_have_short_ids() -> None:
    """400 "Tool call id was call_… but must be a-z, A-Z, 0-9, with a length of 9"."""
    history = [
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "call_PTLP8xhu3uwZk4l3nlnrrJha", "type": "function", "function": {"name": "f"}},
                {"id": "abcDEF123", "type": "function", "function": {"name": "g"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_PTLP8xhu3uwZk4l3nlnrrJha", "content": "1"},
        {"role": "tool", "tool_call_id": "abcDEF123", "content": "2"},
    ]
    first, _ = made("mistral", {"messages": history})
    ids = [one["id"] for one in first["messages"][0]["tool_calls"]]
    assert all(re.fullmatch("[A-Za-z0-9]{9}", one) for one in ids)
    assert ids[1] == "abcDEF123"
    assert [message["tool_call_id"] for message in first["messages"][1:]] == ids
    assert made("mistral", {"messages": history})[0] == first


@pytest.mark.parametrize("name", [one for one in FAMILY if one not in ("openai", "azure")])
def test_members_of_openais_answers_do_not_come_back(name: str) -> None:
    """An SDK's answer, appended to the history as it is."""
    spoken = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    out, call = made(name, {"messages": [*HELLO, spoken]})
    assert out["messages"][1] == {"role": "assistant", "content": "a"}
    assert not call.dropped
    out, call = made(
        name, {"messages": [{**spoken, "content": None, "refusal": "No.", "audio": {"id": "x"}}]}
    )
    assert out["messages"] == [{"role": "assistant", "content": "No."}]
    assert call.dropped == ["messages.audio"]


@pytest.mark.parametrize(
    ("model", "fixed"),
    [
        ("o1", True),
        ("o3-mini", True),
        ("gpt-5", True),
        ("gpt-5-mini-2025-08-07", True),
        ("gpt-5-chat-latest", False),
        ("gpt-5.1", False),
        ("gpt-4o", False),
    ],
)
def test_models_with_fixed_sampling(model: str, fixed: bool) -> None:
    """https://platform.openai.com/docs/guides/latest-model: other values raise an error."""
    sampling = {
        "temperature": 0.5,
        "presence_penalty": 1,
        "top_p": 1,
        "frequency_penalty": 0,
        "logprobs": True,
    }
    out, call = made("openai", {"model": model, **sampling}, model=model)
    left = {"top_p": 1, "frequency_penalty": 0} if fixed else sampling
    assert out == {"model": model, "messages": HELLO, **left}
    assert set(call.dropped) == sampling.keys() - left.keys()


@pytest.mark.parametrize(
    ("model", "dropped"),
    [
        ("grok-4", {"stop", "presence_penalty", "reasoning_effort"}),
        ("grok-4-fast-reasoning", {"stop", "presence_penalty", "reasoning_effort"}),
        ("grok-4-fast-non-reasoning", {"reasoning_effort"}),
        ("grok-code-fast-1", {"stop", "presence_penalty", "reasoning_effort"}),
        ("grok-3-mini", {"stop", "presence_penalty"}),
        ("grok-3", {"reasoning_effort"}),
        ("grok-4.3", {"stop", "presence_penalty"}),
        ("grok-2-1212", set()),
    ],
)
def test_what_grok_models_refuse(model: str, dropped: set[str]) -> None:
    """https://docs.x.ai/docs/guides/reasoning."""
    fields = {"stop": ["x"], "presence_penalty": 1, "reasoning_effort": "low", "temperature": 0.5}
    out, call = made("xai", {"model": model, **fields}, model=model)
    assert fields.keys() - out.keys() == set(call.dropped) == dropped


def test_openai_itself_has_no_top_k() -> None:
    out, call = made("openai", {"top_k": 4})
    assert "top_k" not in out
    assert call.dropped == ["top_k"]
    out, call = made(
        "openai", {"top_k": 4}, options={"upstream_url": "https://compatible.example/v1/chat/completions"}
    )
    assert out["top_k"] == 4
    assert not call.dropped


def test_mistrals_own_seed_wins() -> None:
    assert made("mistral", {"seed": 4, "random_seed": 5})[0]["random_seed"] == 5


def test_cerebras_answers_what_it_does_not_know_with_an_error() -> None:
    known = {"frequency_penalty": 1, "presence_penalty": 1, "logit_bias": {"1": 1}, "seed": 4}
    foreign = {"store": True, "verbosity": "low", "top_k": 4, "metadata": {"a": "b"}, "moderation": {}}
    out, call = made("cerebras", {**known, **foreign})
    assert out == {"model": "test-model", "messages": HELLO, **known}
    assert set(call.dropped) == foreign.keys()


@pytest.mark.parametrize(
    ("model", "taken"),
    [("o3", False), ("o3-2025-04-16", False), ("o4-mini", False), ("o1-mini", False), ("o3-mini", True),
     ("gpt-5", True)],
)  # fmt: skip
def test_models_that_take_no_stop(model: str, taken: bool) -> None:
    out, call = made("openai", {"model": model, "stop": ["x"]}, model=model)
    assert ("stop" in out) is taken
    assert ("stop" in call.dropped) is not taken


def test_reasoning_effort_stays_on_top() -> None:
    """Kong 3.14: the xAI driver nested it under `reasoning.effort`."""
    assert made("xai", {"reasoning_effort": "low"})[0]["reasoning_effort"] == "low"


@pytest.mark.parametrize("prompt", ["Once", ["Once", "Twice"], [1, 2], [[1], [2]]])
def test_prompts_of_all_kinds(prompt: Any) -> None:
    """Kong 3.15.0.2: prompts that are arrays of strings."""
    call = make_call("vllm", "completions", options={"upstream_url": "http://vllm.example"})
    out = adapter_for(call).request({"prompt": prompt, "max_tokens": 5, "suffix": "."}, call)
    assert out == {"prompt": prompt, "max_tokens": 5, "suffix": ".", "model": "test-model"}


class TestEmbeddings:
    def test_the_size_is_configured(self) -> None:
        call = make_call("openai", "embeddings", options={"embeddings_dimensions": 64})
        out = adapter_for(call).request({"input": ["a", "b"], "encoding_format": "float"}, call)
        assert out == {
            "input": ["a", "b"],
            "encoding_format": "float",
            "dimensions": 64,
            "model": "test-model",
        }

    def test_the_clients_size_wins(self) -> None:
        call = make_call("openai", "embeddings", options={"embeddings_dimensions": 64})
        assert adapter_for(call).request({"input": "a", "dimensions": 32}, call)["dimensions"] == 32

    def test_mistral_calls_it_otherwise(self) -> None:
        call = make_call("mistral", "embeddings", options={"embeddings_dimensions": 64})
        assert adapter_for(call).request({"input": "a"}, call) == {
            "input": "a",
            "output_dimension": 64,
            "model": "test-model",
        }

    def test_an_answer_with_holes(self) -> None:
        call = make_call("openai", "embeddings")
        answer = openai_adapter("embeddings", OPENAI).response({"data": [{"embedding": [0.5]}, None]}, call)
        assert answer == {
            "object": "list",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
            "model": "test-model",
            "usage": {"prompt_tokens": 0, "total_tokens": 0},
        }


class TestAnswers:
    @pytest.mark.parametrize("body", [{}, {"data": []}, {"object": "list"}, {"choice": []}])
    def test_what_is_no_answer(self, body: dict[str, Any]) -> None:
        with pytest.raises(ApiError) as caught:
            openai_adapter("chat", OPENAI).response(body, make_call())
        assert caught.value.status == 502

    def test_choices_null(self) -> None:
        """Kong 3.14: crash on `choices: null`."""
        assert openai_adapter("chat", OPENAI).response({"choices": None}, make_call())["choices"] == []

    def test_everything_that_can_be_missing(self) -> None:
        call = make_call(created=5)
        odd = {
            "id": "",
            "model": None,
            "choices": [
                {
                    "message": {
                        "content": None,
                        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
                    }
                }
            ],
            "usage": {"prompt_tokens": 4, "completion_tokens": None, "total_tokens": None},
        }
        answer = openai_adapter("chat", OPENAI).response(odd, call)
        called = answer["choices"][0]["message"]["tool_calls"][0]
        assert called.pop("id").startswith("call_")
        assert answer.pop("id") == call.response_id
        assert answer == {
            "object": "chat.completion",
            "created": 5,
            "model": "test-model",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {"type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
                        ],
                    },
                    "finish_reason": "tool_calls",
                    "logprobs": None,
                }
            ],
            "usage": {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4},
        }

    def test_content_in_parts(self) -> None:
        signed = {"type": "summary_text", "text": "Hm", "signature": "c2ln"}
        content = [
            {"type": "reasoning", "summary": [signed]},
            {"type": "text", "text": "a"},
            "b",
            {"type": "refusal", "refusal": "no"},
            {"type": "document_url", "document_url": "https://example.com"},
        ]
        message = {"content": content, "provider_specific_fields": {"x": 1}}
        body = {"choices": [{"message": message}]}
        answer = adapter_for(call := make_call("databricks")).response(body, call)
        assert answer["choices"][0]["message"] == {
            "role": "assistant",
            "content": "ab",
            "refusal": "no",
            "reasoning_content": "Hm",
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "c2ln"}],
            "provider_specific_fields": {"x": 1, "content_blocks": [content[-1]]},
        }

    @pytest.mark.parametrize(
        "choice",
        [
            {"messages": [{"role": "assistant", "content": "a"}, {"role": "tool", "content": "42"},
                          {"content": [{"type": "text", "text": "b"}]}]},
            {"delta": {"content": "ab"}},
            {"text": "ab"},
            {"message": {"content": "ab"}, "messages": None},
        ],
    )  # fmt: skip
    def test_a_message_in_another_place(self, choice: dict[str, Any]) -> None:
        """Several messages: mistralai 3.7, ChatCompletionChoice."""
        answer = adapter_for(call := make_call("mistral")).response({"choices": [choice]}, call)
        assert answer["choices"][0]["message"] == {"role": "assistant", "content": "ab"}
        assert answer["choices"][0]["finish_reason"] == "stop"

    def test_one_tool_call_in_the_place_of_the_list(self) -> None:
        """TGI's ids were numbers (v2.0, router/src/lib.rs)."""
        one = {"id": 0, "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
        for given, expected in ((0, "0"), ("null", None)):
            body = {"choices": [{"message": {"tool_calls": {**one, "id": given}}, "finish_reason": "null"}]}
            answer = adapter_for(call := make_call("huggingface")).response(body, call)
            choice = answer["choices"][0]
            called = choice["message"]["tool_calls"][0]
            assert called["function"] == {"name": "f", "arguments": '{"a":1}'}
            assert called["id"] == expected or (expected is None and called["id"].startswith("call_"))
            assert choice["finish_reason"] == "tool_calls"

    def test_a_call_in_the_form_before_tools_is_one_for_clients_of_other_formats(self) -> None:
        message = {"content": None, "function_call": {"name": "f", "arguments": "{}"}}
        body = {"choices": [{"message": message, "finish_reason": "function_call"}]}
        answer = adapter_for(call := make_call(client_format="gemini")).response(body, call)
        choice = answer["choices"][0]
        assert choice["message"]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
        assert (choice["finish_reason"], "function_call" in choice["message"]) == ("tool_calls", False)
        kept = adapter_for(call := make_call()).response(body, call)["choices"][0]
        assert (kept["message"]["function_call"], kept["finish_reason"]) == (
            message["function_call"],
            "function_call",
        )

    def test_an_error_instead_of_an_answer(self) -> None:
        with pytest.raises(ApiError) as caught:
            adapter_for(make_call("dashscope")).response({"code": "Throttling", "message": "no"}, make_call())
        assert (caught.value.message, caught.value.code) == ("no", "Throttling")

    @pytest.mark.parametrize(
        ("reported", "written", "by_ttl"),
        [
            ({"cache_creation_input_tokens": 5}, 5, {}),
            ({"prompt_tokens_details": {"cache_creation_input_tokens": 5, "cached_tokens": 0,
                                        "cache_creation": {"ephemeral_5m_input_tokens": 5}}}, 5, {"5m": 5}),
            ({"prompt_tokens_details": {"cache_write_tokens": 5}}, 5, {}),
            ({"input_tokens_details": {"cache_write_tokens": 5, "cache_write_tokens_details": {
                "ttl_30m_tokens": 2, "ttl_12h_tokens": 3, "ttl_x": 1, "other": 1}}}, 5, {"30m": 2, "12h": 3}),
        ],
    )  # fmt: skip
    def test_tokens_written_to_a_cache(self, reported: dict[str, Any], written: int, by_ttl: Any) -> None:
        """Databricks, DashScope, OpenRouter, OpenAI (openai 3.54, ResponseUsage)."""
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, **reported}
        answer = adapter_for(call := make_call()).response({"choices": [], "usage": usage}, call)
        assert (call.usage.cache_write_tokens, call.usage.cache_write_by_ttl) == (written, by_ttl)
        if "input_tokens_details" not in reported:
            assert answer["usage"]["prompt_tokens_details"]["cache_write_tokens"] == written

    def test_reasoning_and_the_tier_at_the_top_of_usage(self) -> None:
        """Perplexity's and Mistral's."""
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13, "reasoning_tokens": 3}
        adapter_for(call := make_call("mistral")).response(
            {"choices": [], "usage": {**usage, "service_tier": "priority"}}, call
        )
        assert (call.usage.reasoning_tokens, call.usage.service_tier) == (3, "priority")

    def test_grok_counts_reasoning_beside_the_answer_anywhere(self) -> None:
        """Recorded at xAI (331 + 11 + 332 = 674); Grok is also at Azure."""
        usage = {
            "prompt_tokens": 331,
            "completion_tokens": 11,
            "total_tokens": 674,
            "completion_tokens_details": {"reasoning_tokens": 332},
        }
        call = make_call("azure")
        answer = adapter_for(call).response({"choices": [], "usage": usage}, call)
        assert answer["usage"] == usage
        assert call.usage.reasoning_is_extra
        assert call.usage.total == 674

    @pytest.mark.parametrize(("total", "extra"), [(30, True), (25, False), (None, True)])
    def test_xais_total_says_where_reasoning_is(self, total: int | None, extra: bool) -> None:
        details = {"completion_tokens_details": {"reasoning_tokens": 5}}
        usage = {"prompt_tokens": 10, "completion_tokens": 15, "total_tokens": total, **details}
        call = make_call("xai")
        adapter_for(call).response({"choices": [], "usage": usage}, call)
        assert (call.usage.reasoning_is_extra, call.usage.total) == (extra, total or 30)

    def test_others_count_it_within(self) -> None:
        usage = {
            "prompt_tokens": 10,
            "completion_tokens": 40,
            "total_tokens": 50,
            "completion_tokens_details": {"reasoning_tokens": 30},
        }
        call = make_call("openai")
        adapter_for(call).response({"choices": [], "usage": usage}, call)
        assert not call.usage.reasoning_is_extra

    @pytest.mark.parametrize(
        "name", ["prompt_cache_hit_tokens", "num_cached_tokens", "cached_tokens", "cache_read_input_tokens"]
    )
    def test_cached_tokens_have_one_name(self, name: str) -> None:
        call = make_call()
        usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, name: 6}
        answer = adapter_for(call).response({"choices": [], "usage": usage}, call)
        assert answer["usage"] == {**usage, "prompt_tokens_details": {"cached_tokens": 6}}
        assert call.usage.cached_tokens == 6


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "body", "message", "kind", "code"),
        [
            (400, '{"error":{"message":"no","type":"t","code":"c","param":"p"}}', "no", "t", "c"),
            (429, '{"error":{"message":"no"}}', "no", "rate_limit_error", None),
            (400, '{"error":"no","code":"bad"}', "no", "invalid_request_error", "bad"),
            (424, '{"error":"no","error_type":"generation"}', "no", "generation", None),
            (404, '{"error":"no","message":"longer"}', "longer", "not_found_error", None),
            (
                400,
                '{"object":"error","message":"no","type":"invalid_model","code":"1500"}',
                "no",
                "invalid_model",
                "1500",
            ),
            (401, '{"message":"no","request_id":"r"}', "no", "authentication_error", None),
            (401, '{"detail":"no"}', "no", "authentication_error", None),
            (
                422,
                '{"detail":[{"loc":["body","seed"],"msg":"extra"},{"msg":"bad"}]}',
                "body.seed: extra; bad",
                "invalid_request_error",
                None,
            ),
            (
                400,
                '[{"error":{"code":400,"message":"no","status":"INVALID_ARGUMENT"}}]',
                "no",
                "invalid_request_error",
                "400",
            ),
            (400, '"no"', "no", "invalid_request_error", None),
            (503, "no", "no", "server_error", None),
            (
                400,
                '{"error":{"message":"no","code":"data_inspection_failed"}}',
                "no",
                "invalid_request_error",
                "content_filter",
            ),
            (
                400,
                '{"error":{"message":"no","code":"x","innererror":{"code":"ResponsibleAIPolicyViolation"}}}',
                "no",
                "invalid_request_error",
                "content_filter",
            ),
        ],
    )
    def test_shapes(self, status: int, body: str, message: str, kind: str, code: str | None) -> None:
        error = openai_adapter("chat", OPENAI).error(status, {}, body.encode(), make_call())
        assert (error.status, error.message, error.type, error.code) == (status, message, kind, code)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"<html><body>502</body></html>",
            b"{}",
            b"null",
            b"[]",
            b'{"error":{}}',
            b'{"error":null}',
            b"\xff\xfe",
            b"7",
        ],
    )
    def test_without_words(self, body: bytes) -> None:
        error = openai_adapter("chat", OPENAI).error(502, {}, body, make_call())
        assert error.status == 502
        assert error.message
        assert "<" not in error.message

    def test_rate_limit_headers_stay(self) -> None:
        headers = {
            "retry-after": "3",
            "x-ratelimit-remaining-tokens": "0",
            "set-cookie": "a=b",
            "x-request-id": "r",
        }
        error = openai_adapter("chat", OPENAI).error(429, headers, b"{}", make_call())
        assert error.headers == {"retry-after": "3", "x-ratelimit-remaining-tokens": "0", "x-request-id": "r"}

    def test_a_key_that_the_provider_quotes_is_not_shown(self) -> None:
        call = make_call()
        call.target.auth.header_name = "Authorization"
        call.target.auth.header_value = "Bearer planted-secret-123"
        body = b'{"error":{"message":"Incorrect API key: planted-secret-123."}}'
        error = openai_adapter("chat", OPENAI).error(401, {}, body, call)
        assert error.message == "Incorrect API key: ***."


@pytest.mark.parametrize("name", FAMILY)
def test_other_providers_own_fields_are_dropped_and_reported(name: str) -> None:
    """A chat written for Gemini or Bedrock goes to their stand-in too: Mistral answers them with a 422."""
    foreign = {
        "generationConfig": {"topK": 1},
        "safetySettings": [],
        "cachedContent": "c",
        "guardrailConfig": {},
        "cache_control": {"type": "ephemeral"},
    }
    out, call = made(name, {"extra_body": {"guided_json": {}}, **foreign})
    assert not foreign.keys() & out.keys()
    assert set(call.dropped) == set(foreign)
    assert out["guided_json"] == {}

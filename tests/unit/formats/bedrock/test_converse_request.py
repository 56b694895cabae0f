"""OpenAI chat requests as Converse requests, validated against botocore's own service model."""

from __future__ import annotations

import base64
import copy
import json
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from kong_ai_proxy.config.models import BedrockOptions, Model, Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.bedrock.models import family, is_claude
from kong_ai_proxy.formats.json_mode import JSON_TOOL

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama3-3-70b-instruct-v1:0"
ASK = [{"role": "user", "content": "Hi"}]
ASKED = [{"role": "user", "content": [{"text": "Hi"}]}]
SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
FORM = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}
BLOBS = frozenset({"bytes", "redactedContent"})


@cache
def shape() -> Any:
    service = botocore.session.Session().get_service_model("bedrock-runtime")
    return service.operation_model("ConverseStream").input_shape


def undo_base64(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: base64.b64decode(one) if name in BLOBS and isinstance(one, str) else undo_base64(one)
            for name, one in value.items()
        }
    return [undo_base64(one) for one in value] if isinstance(value, list) else value


def call(model: str = CLAUDE, **options: Any) -> Call:
    target = Target(model=Model(provider="bedrock", name=model), route_type="llm/v1/chat")
    return Call(target, Options(**options), model, "chat", ClientRequest("POST", "/", "", {}))


def translate(body: dict[str, Any], made: Call | None = None) -> tuple[dict[str, Any], list[str]]:
    made = made or call()
    body = {"messages": ASK, **body}
    before = copy.deepcopy(body)
    out = ConverseAdapter().request(body, made)
    assert body == before, "the client's body must not be changed in place"
    assert isinstance(out, dict)
    report = ParamValidator().validate({**undo_base64(out), "modelId": "m"}, shape())
    assert not report.has_errors(), report.generate_report()
    return out, made.dropped


def test_system_developer_and_content_parts() -> None:
    # Kong 3.14.0.9/10: content parts in system, user, assistant messages; developer is system.
    out, dropped = translate(
        {
            "messages": [
                {"role": "system", "content": "One."},
                {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": " "}, "b"],
                },
                {"role": "user", "content": "c"},
                {"role": "assistant", "content": [{"type": "text", "text": "d"}]},
            ]
        }
    )
    assert out["system"] == [{"text": "One."}, {"text": "Two."}]
    # Turns must alternate.
    assert out["messages"] == [
        {"role": "user", "content": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "assistant", "content": [{"text": "d"}]},
    ]
    assert dropped == []


def test_media() -> None:
    def url(media: str) -> str:
        return f"data:{media};base64,QUJD"

    parts = [
        {"type": "image_url", "image_url": {"url": url("image/jpeg")}},
        {"type": "image_url", "image_url": {"url": "s3://bucket/a.png"}},
        {"type": "file", "file": {"file_data": url("application/pdf"), "filename": "My file_1.pdf"}},
        {"type": "file", "file": {"file_data": url("text/markdown"), "filename": "My file_1.md"}},
        {"type": "file", "file": {"file_data": url("video/mp4")}},
        {"type": "file", "file": {"file_data": "QUJD"}},
        {"type": "video_url", "video_url": {"url": "s3://bucket/a.mov"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
        {"guardContent": {"text": {"text": "guard"}}},
    ]
    out, _ = translate({"messages": [{"role": "user", "content": parts}]})
    content = out["messages"][0]["content"]
    assert content[0] == {"image": {"format": "jpeg", "source": {"bytes": "QUJD"}}}
    assert content[1] == {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}}
    # Names: allowed characters only, none twice.
    assert [block["document"]["name"] for block in content if "document" in block] == [
        "My file 1", "My file 1 2", "document",
    ]  # fmt: skip
    assert content[3]["document"]["format"] == "md"
    assert content[4] == {"video": {"format": "mp4", "source": {"bytes": "QUJD"}}}
    assert content[7]["audio"]["format"] == "wav"
    assert content[8] == {"guardContent": {"text": {"text": "guard"}}}


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}},
        {"type": "image_url"},
        {"type": "file", "file": {"file_id": "f"}},
        {"type": "file"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "tape"}},
        {"type": "hologram"},
        3,
    ],
)
def test_content_that_bedrock_cannot_take_is_refused(part: Any) -> None:
    with pytest.raises(BadRequest):
        translate({"messages": [{"role": "user", "content": [part]}]})


def test_a_tool_loop_with_thinking() -> None:
    thinking = [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "RtkECg=="},
        {"type": "redacted_thinking", "data": "/w==", "encoding": "base64"},
        {"type": "thinking", "thinking": ""},
    ]
    out, dropped = translate(
        {
            "messages": [
                *ASK,
                {
                    "role": "assistant",
                    "content": None,
                    "thinking_blocks": thinking,
                    "tool_calls": [
                        {"id": "a!", "function": {"name": "f", "arguments": '{"x":1}'}},
                        {"id": "x" * 80, "function": {"name": "g", "arguments": ""}},
                    ],
                },
                {"role": "tool", "tool_call_id": "a!", "content": [{"type": "text", "text": "1"}]},
                {"role": "tool", "tool_call_id": "x" * 80, "content": "", "is_error": True},
                {"role": "user", "content": "And?"},
            ],
            "tools": [WEATHER],
        }
    )
    _, assistant, user = out["messages"]
    assert assistant["content"][:3] == [
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"RtkECg==").decode()}},
        {"reasoningContent": {"redactedContent": "/w=="}},
    ]
    uses = [block["toolUse"] for block in assistant["content"] if "toolUse" in block]
    results = [block["toolResult"] for block in user["content"] if "toolResult" in block]
    assert [use["toolUseId"] for use in uses] == [result["toolUseId"] for result in results]
    assert (uses[0]["toolUseId"], uses[0]["input"]) == ("a_", {"x": 1})
    assert results[0]["content"] == [{"text": "1"}]
    assert results[1]["status"] == "error"
    assert user["content"][-1] == {"text": "And?"}
    assert dropped == []


def test_tools_of_earlier_turns_are_declared() -> None:
    loop = [
        *ASK,
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]
    out, _ = translate({"messages": loop})
    assert [tool["toolSpec"]["name"] for tool in out["toolConfig"]["tools"]] == ["f"]
    out, dropped = translate({"messages": loop, "tools": [WEATHER], "tool_choice": "none"})
    assert "toolChoice" not in out["toolConfig"]
    assert dropped == ["tool_choice"]


@pytest.mark.parametrize(
    ("choice", "model", "expected"),
    [
        ("auto", CLAUDE, {"auto": {}}),
        ("required", CLAUDE, {"any": {}}),
        ({"type": "function", "function": {"name": "weather"}}, CLAUDE, {"tool": {"name": "weather"}}),
        ("required", NOVA, {"any": {}}),
        ("required", "mistral.mistral-large-2402-v1:0", {"any": {}}),
        ("required", LLAMA, None),
        ({"type": "function", "function": {"name": "weather"}}, "mistral.mistral-large-2402-v1:0", None),
    ],
)
def test_tool_choice(choice: Any, model: str, expected: Any) -> None:
    out, dropped = translate({"tools": [WEATHER], "tool_choice": choice}, call(model))
    assert out["toolConfig"].get("toolChoice") == expected
    assert dropped == ([] if expected else ["tool_choice"])


def test_no_tools_where_none_may_be_called() -> None:
    out, dropped = translate({"tools": [WEATHER], "tool_choice": "none"})
    assert "toolConfig" not in out
    assert dropped == []


def test_cache_points() -> None:
    mark = {"type": "ephemeral", "ttl": "1h"}
    body = {
        "messages": [
            {"role": "system", "content": "S", "cache_control": {"type": "ephemeral"}},
            {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
        ],
        "tools": [{**WEATHER, "cache_control": mark}],
    }
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    # Kong 3.14.0.8: cache_control lost with ARN model ids.
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abcdef123456"
    for model in (CLAUDE, arn):
        out, dropped = translate(body, call(model))
        assert out["system"] == [{"text": "S"}, {"cachePoint": {"type": "default"}}]
        assert out["messages"][0]["content"] == [{"text": "a"}, point]
        assert out["toolConfig"]["tools"][-1] == point
        assert dropped == []
    out, dropped = translate(body, call(LLAMA))
    assert out["messages"][0]["content"] == [{"text": "a"}]
    assert dropped == ["cache_control"]


def test_inference_configuration() -> None:
    body = {"max_tokens": 9, "temperature": 1.5, "top_p": 0.5, "stop": ["END", ""], "top_k": 7}
    out, dropped = translate(body, call(NOVA))
    assert out["inferenceConfig"] == {
        "maxTokens": 9, "temperature": 1, "topP": 0.5, "stopSequences": ["END"],
    }  # fmt: skip
    assert out["additionalModelRequestFields"] == {"inferenceConfig": {"topK": 7}}
    assert dropped == ["stop"]
    out, dropped = translate({"top_k": 7}, call("cohere.command-r-v1:0"))
    assert out["additionalModelRequestFields"] == {"k": 7}
    assert translate({"top_k": 7}, call(LLAMA))[1] == ["top_k"]
    assert translate({"temperature": 0.1, "top_k": 7}, call("anthropic.claude-opus-4-7"))[1] == [
        "temperature", "top_k",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "effort", "extra", "output", "noted"),
    [
        (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}, None, []),
        ("anthropic.claude-opus-4-6-v1", "medium", {"thinking": {"type": "adaptive"}}, "medium", []),
        ("openai.gpt-oss-120b-1:0", "minimal", {"reasoning_effort": "low"}, None, []),
        ("openai.gpt-oss-120b-1:0", "max", {"reasoning_effort": "high"}, None, []),
        ("us.amazon.nova-2-lite-v1:0", "medium",
         {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}, None, []),
        (LLAMA, "high", {}, None, ["reasoning_effort"]),
    ],
)  # fmt: skip
def test_reasoning_effort(model: str, effort: str, extra: Any, output: Any, noted: list[str]) -> None:
    out, dropped = translate({"reasoning_effort": effort}, call(model))
    assert out.get("additionalModelRequestFields", {}) == extra
    assert out.get("outputConfig", {}).get("effort") == output
    assert dropped == noted


def test_nova_at_high_effort_takes_no_limits() -> None:
    body = {"reasoning_effort": "high", "max_tokens": 5, "temperature": 0.1}
    out, dropped = translate(body, call("us.amazon.nova-2-lite-v1:0"))
    assert "inferenceConfig" not in out
    assert dropped == ["max_tokens", "temperature"]


def test_json_schema() -> None:
    out, dropped = translate({"response_format": FORM})
    form = out["outputConfig"]["textFormat"]
    assert form["type"] == "json_schema"
    definition = form["structure"]["jsonSchema"]
    assert definition["name"] == "person"
    assert json.loads(definition["schema"]) == {**SCHEMA, "additionalProperties": False}
    assert dropped == []


def test_json_schema_is_emulated_elsewhere() -> None:
    out, _ = translate({"response_format": FORM}, call(NOVA))
    assert out["toolConfig"]["toolChoice"] == {"tool": {"name": JSON_TOOL}}
    assert out["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"] == {"json": SCHEMA}
    out, _ = translate({"response_format": FORM, "tools": [WEATHER]}, call(NOVA))
    assert out["toolConfig"]["toolChoice"] == {"any": {}}
    out, _ = translate({"response_format": FORM}, call(LLAMA))
    assert '"age"' in out["system"][0]["text"]
    out, _ = translate({"response_format": {"type": "json_object"}}, call(LLAMA))
    assert "JSON object" in out["system"][0]["text"]


def test_converses_own_fields_pass() -> None:
    # Kong 3.9: guardrailConfig was ignored.
    guardrail = {"guardrailIdentifier": "abc", "guardrailVersion": "1", "trace": "enabled"}
    out, dropped = translate(
        {
            "guardrailConfig": guardrail,
            "performanceConfig": {"latency": "standard"},
            "extra_body": {"additionalModelRequestFields": {"x": 1}},
            "metadata": {"team": "a b", "bad": "ü"},
            "service_tier": "flex",
            "seed": 3,
            "user": "u",
        }
    )
    assert out["guardrailConfig"] == guardrail
    assert out["performanceConfig"] == {"latency": "standard"}
    assert out["additionalModelRequestFields"] == {"x": 1}
    assert out["requestMetadata"] == {"team": "a b"}
    assert out["serviceTier"] == {"type": "flex"}
    assert sorted(dropped) == ["metadata", "seed", "user"]
    made = call(bedrock=BedrockOptions(performance_config_latency="optimized"))
    out, _ = translate({"performanceConfig": {"latency": "standard"}}, made)
    assert out["performanceConfig"] == {"latency": "optimized"}


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": 4}]},
        {"messages": [{"role": "judge"}]},
        {"messages": ["x"]},
        {"messages": [*ASK, {"role": "tool", "content": "x"}]},
        {"messages": [*ASK, {"role": "assistant", "tool_calls": [{}]}]},
        {"messages": [{"role": "system", "content": [{"type": "image_url"}]}]},
        {"tools": "x"},
        {"tools": [4]},
        {"tools": [{"type": "function", "function": {}}]},
        {"tools": [WEATHER], "tool_choice": "odd"},
        {"stop": 4},
    ],
)
def test_nonsense_is_a_400(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        translate(body)
    assert caught.value.status == 400


def test_a_lone_system_prompt_is_what_is_asked() -> None:
    out, _ = translate({"messages": [{"role": "system", "content": "Hi"}]})
    assert out["messages"] == ASKED
    assert "system" not in out


def test_families() -> None:
    assert family("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2").vendor == "anthropic"
    assert family("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-lite-v1:0").vendor == "amazon"
    assert family("apac.meta.llama4-scout").vendor == "meta"
    assert family("my-imported-model").vendor == ""
    assert is_claude(CLAUDE)
    assert not is_claude(NOVA)
    assert not is_claude("arn:aws:bedrock:us-east-1:1:application-inference-profile/abc")


def test_claudes_thinking_is_not_shown_to_other_families() -> None:
    said = {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "thinking", "signature": "s"}]}
    out, dropped = translate({"messages": [*ASK, said, *ASK]}, call(LLAMA))
    assert out["messages"][1]["content"] == [{"text": "x"}]
    assert dropped == ["messages.thinking_blocks"]


def test_legacy_functions_and_allowed_tools() -> None:
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
    use, result = out["messages"][1]["content"][0], out["messages"][2]["content"][0]
    assert use["toolUse"]["toolUseId"] == result["toolResult"]["toolUseId"]
    assert out["toolConfig"]["toolChoice"] == {"tool": {"name": "weather"}}
    assert dropped == []
    other = {"type": "function", "function": {"name": "other"}}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "other"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    out, _ = translate({"tools": [WEATHER, other], "tool_choice": choice})
    assert [tool["toolSpec"]["name"] for tool in out["toolConfig"]["tools"]] == ["other"]
    assert out["toolConfig"]["toolChoice"] == {"any": {}}


def test_tools_that_have_no_counterpart() -> None:
    native = {"toolSpec": {"name": "n", "inputSchema": {"json": {"type": "object"}}}}
    strict = {"type": "function", "function": {"name": "s", "strict": True, "parameters": SCHEMA}}
    bare = {"type": "function", "function": {"name": "b"}, "cache_control": {"type": "ephemeral"}}
    out, dropped = translate({"tools": [native, {"type": "web_search"}, strict, bare]}, call(LLAMA))
    specs = [tool["toolSpec"] for tool in out["toolConfig"]["tools"]]
    assert [spec["name"] for spec in specs] == ["n", "s", "b"]
    assert "strict" not in specs[1]
    assert dropped == ["tools[1]", "tools[2].function.strict", "cache_control"]
    out, dropped = translate({"tools": [strict], "parallel_tool_calls": False})
    assert out["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
    assert dropped == ["parallel_tool_calls"]
    assert translate({"tool_choice": "required"})[1] == ["tool_choice"]


def test_thinking_for_claude_and_others() -> None:
    enabled = {"type": "enabled", "budget_tokens": 2000}
    out, dropped = translate({"thinking": enabled, "temperature": 0.5})
    assert out["additionalModelRequestFields"] == {"thinking": enabled}
    assert dropped == ["temperature"]
    assert translate({"thinking": enabled}, call(LLAMA))[1] == ["thinking"]
    out, _ = translate({"thinking": enabled}, call("my-imported-model"))
    assert out["additionalModelRequestFields"] == {"thinking": enabled}
    out, _ = translate({"reasoning_effort": "none"}, call("us.amazon.nova-2-lite-v1:0"))
    assert out["additionalModelRequestFields"] == {"reasoningConfig": {"type": "disabled"}}
    # A tool loop that began without thinking cannot go on with a budget.
    loop = [
        *ASK,
        {"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
    ]
    assert translate({"messages": loop, "reasoning_effort": "low"})[1] == ["reasoning_effort"]


def test_every_unknown_member_of_a_message_is_reported() -> None:
    messages = [
        {"role": "system", "content": "S", "name": "n"},
        {"role": "user", "content": "Hi", "mood": "good"},
        {"role": "assistant", "content": "x", "annotations": [{}], "audio": None, "refusal": None},
        *ASK,
    ]
    _, dropped = translate({"messages": messages})
    assert dropped == ["messages.name", "messages.mood", "messages.annotations"]

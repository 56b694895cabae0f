"""Clients that speak generateContent, towards other providers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from native_support import make_call

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import loads
from kong_ai_proxy.core.native import NativeApi, NativeCall
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.formats.gemini.client import CLIENT


def asked(body: Any, provider: str = "openai", model: str = "m") -> tuple[Any, Call]:
    call = make_call(provider, model)
    return CLIENT.request(body, call), call


def user(*parts: Any) -> Any:
    return {"role": "user", "parts": list(parts)}


def test_sampling_and_system() -> None:
    made, call = asked(
        {
            "systemInstruction": {"parts": [{"text": "Be short."}, {"text": "Be kind."}]},
            "contents": [user({"text": "Hi"})],
            "generationConfig": {
                "temperature": 0.5, "topP": 0.9, "topK": 5, "maxOutputTokens": 9, "stopSequences": ["X"],
                "candidateCount": 2, "seed": 7, "presencePenalty": 1, "frequencyPenalty": 2,
                "mediaResolution": "LOW",
            },
            "safetySettings": [{"category": "x", "threshold": "y"}],
        },
        "mistral",
    )  # fmt: skip
    assert made == {
        "messages": [
            {"role": "system", "content": "Be short.\nBe kind."},
            {"role": "user", "content": "Hi"},
        ],
        "temperature": 0.5, "top_p": 0.9, "top_k": 5, "max_tokens": 9, "stop": ["X"], "n": 2, "seed": 7,
        "presence_penalty": 1, "frequency_penalty": 2,
    }  # fmt: skip
    assert call.dropped == ["generationConfig.mediaResolution", "safetySettings"]


def test_snake_case_is_read_too() -> None:
    """Google's SDK mixes both (google-genai: `parameters_json_schema`, `thinking_budget`)."""
    made, _ = asked(
        {
            "system_instruction": {"parts": [{"text": "S"}]},
            "contents": [user({"inline_data": {"mime_type": "image/png", "data": "QQ=="}})],
            "generation_config": {"max_output_tokens": 5, "thinking_config": {"thinking_budget": 100}},
            "tools": [
                {"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}
            ],
            "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["f"]}},
        }
    )
    assert made["messages"][0] == {"role": "system", "content": "S"}
    assert made["messages"][1]["content"][0]["image_url"]["url"] == "data:image/png;base64,QQ=="
    assert (made["max_tokens"], made["reasoning_effort"]) == (5, "low")
    assert made["tools"][0]["function"] == {"name": "f", "parameters": {"type": "object"}}
    assert made["tool_choice"] == {"type": "function", "function": {"name": "f"}}


def test_calls_and_results_meet_by_name_and_order() -> None:
    made, call = asked(
        {
            "contents": [
                user({"text": "Go"}),
                {
                    "role": "model",
                    "parts": [
                        {"text": "I think", "thought": True},
                        {"text": "Both."},
                        {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "c2ln"},
                        {"functionCall": {"name": "f", "args": {"a": 2}}},
                        {"functionCall": {"name": "g", "args": {}, "id": "own"}},
                    ],
                },
                user(
                    {"functionResponse": {"name": "f", "response": {"output": "one"}}},
                    {"functionResponse": {"name": "f", "response": {"x": 2}}},
                    {"functionResponse": {"name": "g", "id": "own", "response": {"result": 3}}},
                    {"text": "And?"},
                ),
            ]
        }
    )
    assistant = made["messages"][1]
    assert assistant["content"] == "Both."
    assert assistant["reasoning_content"] == "I think"
    ids = [one["id"] for one in assistant["tool_calls"]]
    assert len(set(ids)) == 3
    assert [one["function"]["arguments"] for one in assistant["tool_calls"]] == ['{"a":1}', '{"a":2}', "{}"]
    results = made["messages"][2:5]
    assert [one["tool_call_id"] for one in results] == ids
    assert [one["content"] for one in results] == ["one", '{"x":2}', "3"]
    assert made["messages"][5] == {"role": "user", "content": "And?"}
    assert call.dropped == ["contents.parts.thoughtSignature"]


def test_signatures_stay_for_a_gemini() -> None:
    part = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}
    made, call = asked({"contents": [user({"text": "x"}), {"role": "model", "parts": [part]}]}, "gemini")
    signed = made["messages"][1]["tool_calls"][0]["extra_content"]
    assert signed == {"google": {"thought_signature": "c2ln"}}
    assert call.dropped == []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "thinking", "thinking": "Hm, é.", "signature": "Ev+/=="},
        {"type": "redacted_thinking", "data": "secret+/=="},
    ],
)
def test_claudes_thinking_survives_the_round_trip(block: Any) -> None:
    """Whatever Claude signed comes back byte for byte, in the signature of a Gemini thought."""
    message = {"thinking_blocks": [block], "reasoning_content": block.get("thinking"), "content": "Hi"}
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    made = CLIENT.response(answer, make_call("anthropic", "claude"))
    parts = made["candidates"][0]["content"]["parts"]
    assert parts[0]["thought"] is True
    # SDKs decode and encode the bytes again, some with the URL-safe alphabet.
    raw = base64.b64decode(parts[0]["thoughtSignature"])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        parts[0]["thoughtSignature"] = encode(raw).decode()
        again, _ = asked({"contents": [user({"text": "x"}), made["candidates"][0]["content"]]}, "anthropic")
        assert again["messages"][1]["thinking_blocks"] == [block]
        assert again["messages"][1].get("reasoning_content") == block.get("thinking")


def test_structured_output() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "n": {"type": "INTEGER", "nullable": True},
            "l": {
                "type": "ARRAY",
                "items": {"type": "STRING", "format": "enum", "enum": ["a"]},
                "maxItems": "3",
            },
        },
        "propertyOrdering": ["n"],
        "required": ["n"],
    }
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    made, _ = asked({"contents": [user({"text": "x"})], "generationConfig": config})
    assert made["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "properties": {
            "n": {"type": ["integer", "null"]},
            "l": {"type": "array", "items": {"type": "string", "enum": ["a"]}, "maxItems": 3},
        },
        "required": ["n"],
    }
    del config["responseSchema"]
    made, _ = asked({"contents": [user({"text": "x"})], "generationConfig": config})
    assert made["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("config", "effort"),
    [
        ({"thinkingBudget": 0}, "none"), ({"thinkingBudget": 1024}, "low"),
        ({"thinkingBudget": 8000}, "medium"),
        ({"thinkingBudget": 20000}, "high"), ({"thinkingBudget": -1}, None),
        ({"thinkingLevel": "LOW"}, "low"),
        ({"includeThoughts": True}, None),
    ],
)  # fmt: skip
def test_thinking(config: Any, effort: str | None) -> None:
    made, _ = asked({"contents": [user({"text": "x"})], "generationConfig": {"thinkingConfig": config}})
    assert made.get("reasoning_effort") == effort


def test_builtin_tools_are_reported() -> None:
    made, call = asked(
        {"contents": [user({"text": "x"})], "tools": [{"googleSearch": {}}, {"codeExecution": {}}]}
    )
    assert "tools" not in made
    assert call.dropped == ["tools.googleSearch", "tools.codeExecution"]


@pytest.mark.parametrize("contents", [None, [], "text", [7], [{"role": "robot", "parts": []}]])
def test_refused(contents: Any) -> None:
    with pytest.raises(ApiError) as caught:
        asked({"contents": contents})
    assert caught.value.status == 400


# -- answers


def test_answer() -> None:
    call = make_call("openai", "m")
    call.usage = Usage(
        prompt_tokens=10,
        completion_tokens=8,
        reasoning_tokens=3,
        cached_tokens=4,
        source=UsageSource.REPORTED,
    )
    tool = {"id": "c1", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = {"content": "Hi", "reasoning_content": "Hm", "tool_calls": [tool]}
    answer = {"id": "r", "model": "gpt", "choices": [{"message": message, "finish_reason": "tool_calls"}]}
    assert CLIENT.response(answer, call) == {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hm", "thought": True},
                        {"text": "Hi"},
                        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}},
                    ],
                    "role": "model",
                },
                "index": 0,
                "finishReason": "STOP",
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 18,
            "cachedContentTokenCount": 4, "thoughtsTokenCount": 3,
        },
        "modelVersion": "gpt",
        "responseId": "r",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "expected"),
    [("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("stop", "STOP"), (None, "STOP")],
)
def test_finish_reasons(finish: Any, expected: str) -> None:
    made = CLIENT.response({"choices": [{"message": {}, "finish_reason": finish}]}, make_call("openai", "m"))
    assert made["candidates"][0]["finishReason"] == expected


def chunk(delta: Any, finish: str | None = None, **more: Any) -> Any:
    return {
        "id": "r",
        "model": "gpt",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **more,
    }


CHUNKS = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "Hm"}),
    chunk({"content": "Hi"}),
    chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]}),
    chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
]


def stream_call(array: bool) -> Call:
    call = make_call("openai", "m", stream=True)
    call.native = NativeCall(NativeApi("streamGenerateContent", "chat", stream=True), "m", json_array=array)
    return call


def test_stream_gathers_calls_and_ends_with_usage() -> None:
    encoder = CLIENT.stream(stream_call(array=False))
    out = [encoder.encode(one) for one in CHUNKS] + [encoder.finish()]
    assert encoder.content_type == "text/event-stream"
    events = [loads(piece[6:-4]) for piece in out if piece]
    assert all(piece.endswith(b"\r\n\r\n") for piece in out if piece)
    parts = [event["candidates"][0]["content"]["parts"] for event in events]
    assert parts == [
        [{"text": "Hm", "thought": True}],
        [{"text": "Hi"}],
        [
            {"functionCall": {"name": "f", "args": {"x": 1}, "id": "a"}},
            {"functionCall": {"name": "g", "args": {}, "id": "b"}},
        ],
    ]
    assert "finishReason" not in events[0]["candidates"][0]
    assert events[-1]["candidates"][0]["finishReason"] == "STOP"
    assert events[-1]["usageMetadata"]["totalTokenCount"] == 7


def test_stream_as_array() -> None:
    encoder = CLIENT.stream(stream_call(array=True))
    out = b"".join(map(encoder.encode, CHUNKS)) + encoder.finish()
    assert encoder.content_type == "application/json"
    assert len(loads(out)) == 3


def test_errors() -> None:
    error = ApiError(429, "slow down")
    body = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
    assert CLIENT.error(error) == body
    assert loads(CLIENT.stream(stream_call(array=True)).error(error)) == [body]
    assert CLIENT.error(ApiError(418, "x"))["error"]["status"] == "INVALID_ARGUMENT"
    assert CLIENT.error(ApiError(599, "x"))["error"]["status"] == "INTERNAL"


def test_one_alone_stands_for_a_list_of_one() -> None:
    """As Google takes it; and roles in capitals, as its examples have them."""
    out, call = asked(
        {
            "contents": {"role": "USER", "parts": {"text": "hi"}},
            "systemInstruction": {"parts": {"text": "S"}},
            "tools": {"functionDeclarations": {"name": "f"}},
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": "f"}},
            "generationConfig": {"responseModalities": "TEXT", "stopSequences": "X"},
        }
    )
    assert out["messages"] == [{"role": "system", "content": "S"}, {"role": "user", "content": "hi"}]
    assert out["tools"][0]["function"]["name"] == "f"
    assert out["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert out["stop"] == "X"
    assert call.dropped == []
    out, _ = asked({"contents": [user({"text": "a"}), {"role": "MODEL", "parts": {"text": "b"}}]})
    assert [message["role"] for message in out["messages"]] == ["user", "assistant"]


def test_a_word_without_quotes_is_not_to_be_had() -> None:
    config = {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a", "b"]}}
    out, call = asked({"contents": [user({"text": "hi"})], "generationConfig": config})
    assert out["response_format"]["json_schema"]["schema"] == {"type": "string", "enum": ["a", "b"]}
    assert call.dropped == ["generationConfig.responseMimeType"]

"""Clients that speak Converse, towards other providers."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from native_support import make_call

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import loads
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.formats.bedrock.client import CLIENT


def asked(body: Any, provider: str = "openai", model: str = "m") -> tuple[Any, Call]:
    call = make_call(provider, model)
    return CLIENT.request(body, call), call


def user(*blocks: Any) -> Any:
    return {"role": "user", "content": list(blocks)}


def test_parameters() -> None:
    made, call = asked(
        {
            "messages": [user({"text": "Hi"})],
            "system": [{"text": "Be short."}, {"cachePoint": {"type": "default"}}],
            "inferenceConfig": {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["X"]},
            "toolConfig": {
                "tools": [
                    {
                        "toolSpec": {
                            "name": "f",
                            "description": "d",
                            "inputSchema": {"json": {"type": "object"}},
                        }
                    }
                ],
                "toolChoice": {"any": {}},
            },
            "additionalModelRequestFields": {"top_k": 4, "odd": 1},
            "guardrailConfig": {"guardrailIdentifier": "g"},
            "requestMetadata": {"team": "a"},
            "serviceTier": {"type": "priority"},
        },
        "mistral",
    )
    assert made == {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["X"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object"}},
            }
        ],
        "tool_choice": "required",
        "top_k": 4,
        "metadata": {"team": "a"},
        "service_tier": "priority",
    }
    assert call.dropped == ["cachePoint", "additionalModelRequestFields.odd", "guardrailConfig"]


def test_cache_points_become_breakpoints_for_claude() -> None:
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    tool = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
    made, call = asked(
        {
            "messages": [user({"text": "Hi"}, point)],
            "system": [{"text": "S"}, point],
            "toolConfig": {"tools": [tool, point]},
        },
        "anthropic",
        "claude-sonnet-4-5",
    )
    mark = {"type": "ephemeral", "ttl": "1h"}
    assert made["messages"][0]["content"][0]["cache_control"] == mark
    assert made["messages"][1]["content"][0]["cache_control"] == mark
    assert made["tools"][0]["cache_control"] == mark
    assert call.dropped == []


def test_tool_loop() -> None:
    body = {
        "messages": [
            user({"text": "Go"}),
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}},
                    {"text": "Both."},
                    {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
                    {"toolUse": {"toolUseId": "t2", "name": "g", "input": {}}},
                ],
            },
            user(
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"x": 1}}]}},
                {
                    "toolResult": {
                        "toolUseId": "t2",
                        "status": "error",
                        "content": [
                            {"text": "no"},
                            {"image": {"format": "png", "source": {"bytes": "QQ=="}}},
                        ],
                    }
                },
            ),
        ]
    }
    made, call = asked(body)
    assert made["messages"][1] == {
        "role": "assistant",
        "content": "Both.",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
            {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
        "reasoning_content": "Hm",
    }
    assert made["messages"][2:4] == [
        {"role": "tool", "tool_call_id": "t1", "content": '{"x":1}'},
        {"role": "tool", "tool_call_id": "t2", "content": "no"},
    ]
    assert made["messages"][4]["content"][0]["image_url"]["url"] == "data:image/png;base64,QQ=="
    assert call.dropped == [
        "messages.content.reasoningContent.reasoningText.signature",
        "messages.content.toolResult.status",
    ]
    made, call = asked(body, "anthropic", "claude")
    assert made["messages"][1]["thinking_blocks"] == [
        {"type": "thinking", "thinking": "Hm", "signature": "sig"}
    ]
    assert made["messages"][3]["is_error"] is True
    assert call.dropped == []


def test_media() -> None:
    made, _ = asked(
        {
            "messages": [
                user(
                    {"document": {"format": "pdf", "name": "doc", "source": {"bytes": "QQ=="}}},
                    {"audio": {"format": "wav", "source": {"bytes": "QQ=="}}},
                    {"video": {"format": "mp4", "source": {"bytes": "QQ=="}}},
                )
            ]
        }
    )
    assert made["messages"][0]["content"] == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ==", "filename": "doc.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,QQ=="}},
    ]
    with pytest.raises(ApiError) as caught:
        asked({"messages": [user({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://x"}}}})]})
    assert caught.value.status == 400


def test_thinking_and_schema() -> None:
    extra = {"thinking": {"type": "enabled", "budget_tokens": 3000}}
    output = {
        "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": '{"type":"object"}'}}}
    }
    body = {
        "messages": [user({"text": "x"})], "additionalModelRequestFields": extra, "outputConfig": output,
    }  # fmt: skip
    made, _ = asked(body)
    assert made["reasoning_effort"] == "low"
    assert made["response_format"]["json_schema"]["schema"] == {"type": "object"}
    made, _ = asked(body, "anthropic", "claude")
    assert made["thinking"] == extra["thinking"]


@pytest.mark.parametrize("messages", [None, [], "x", [{"role": "system", "content": []}], [7]])
def test_refused(messages: Any) -> None:
    with pytest.raises(ApiError) as caught:
        asked({"messages": messages})
    assert caught.value.status == 400


# -- answers


def test_answer() -> None:
    call = make_call("openai", "m")
    call.usage = Usage(
        prompt_tokens=10,
        completion_tokens=8,
        cached_tokens=4,
        cache_write_tokens=1,
        source=UsageSource.REPORTED,
    )
    message = {
        "content": "Hi",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm", "signature": "sig"},
            {"type": "redacted_thinking", "data": "abc"},
        ],
        "reasoning_content": "Hm",
        "tool_calls": [{"id": "t1", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    }
    made = CLIENT.response({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, call)
    assert made["output"]["message"] == {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "YWJj"}},
            {"text": "Hi"},
            {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}},
        ],
    }
    assert made["stopReason"] == "tool_use"
    assert made["usage"] == {
        "inputTokens": 5, "outputTokens": 8, "totalTokens": 18, "cacheReadInputTokens": 4,
        "cacheWriteInputTokens": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("finish", "own", "expected"),
    [
        ("stop", {}, "end_turn"), ("length", {}, "max_tokens"), ("content_filter", {}, "content_filtered"),
        (None, {}, "end_turn"), ("stop", {"stop_sequence": "X"}, "stop_sequence"),
        ("content_filter", {"stop_reason": "guardrail_intervened"}, "guardrail_intervened"),
        ("content_filter", {"stop_reason": "refusal"}, "content_filtered"),
    ],
)  # fmt: skip
def test_stop_reasons(finish: Any, own: Any, expected: str) -> None:
    message = {"content": "", "provider_specific_fields": own}
    answer = {"choices": [{"message": message, "finish_reason": finish}]}
    assert CLIENT.response(answer, make_call("openai", "m"))["stopReason"] == expected


def chunk(delta: Any, finish: str | None = None) -> Any:
    return {"id": "r", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def frames(data: bytes) -> list[tuple[str, Any]]:
    """As botocore reads them, checksums and all."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    found = []
    for message in buffer:
        name = message.headers.get(":event-type") or message.headers[":exception-type"]
        assert message.headers[":content-type"] == "application/json"
        found.append((name, loads(message.payload)))
    return found


def test_stream() -> None:
    encoder = CLIENT.stream(make_call("openai", "m", stream=True))
    chunks = [
        chunk({"reasoning_content": "Hm"}),
        chunk({"thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "sig"}]}),
        chunk({"content": "Hi"}),
        chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}}]}),
        chunk({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}),
        chunk({}, "tool_calls"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}},
    ]
    out = b"".join(map(encoder.encode, chunks)) + encoder.finish()
    found = frames(out)
    assert encoder.content_type == "application/vnd.amazon.eventstream"
    assert [(name, event.get("contentBlockIndex")) for name, event in found] == [
        ("messageStart", None),
        ("contentBlockDelta", 0), ("contentBlockDelta", 0), ("contentBlockStop", 0),
        ("contentBlockDelta", 1), ("contentBlockStop", 1),
        ("contentBlockStart", 2), ("contentBlockDelta", 2), ("contentBlockDelta", 2), ("contentBlockStop", 2),
        ("contentBlockStart", 3), ("contentBlockDelta", 3), ("contentBlockStop", 3),
        ("messageStop", None), ("metadata", None),
    ]  # fmt: skip
    events = dict(found)
    assert events["messageStop"] == {"stopReason": "tool_use"}
    assert events["metadata"]["usage"] == {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
    assert found[2][1]["delta"] == {"reasoningContent": {"signature": "sig"}}


@pytest.mark.parametrize(
    ("status", "name", "exception"),
    [
        (429, "ThrottlingException", "throttlingException"),
        (400, "ValidationException", "validationException"),
        (503, "ServiceUnavailableException", "serviceUnavailableException"),
        (502, "ModelErrorException", "modelStreamErrorException"),
        (418, "ValidationException", "validationException"),
    ],
)
def test_errors(status: int, name: str, exception: str) -> None:
    error = ApiError(status, "no")
    assert CLIENT.error(error) == {"__type": name, "message": "no"}
    ((found, body),) = frames(CLIENT.stream(make_call("openai", "m")).error(error))
    assert found == exception
    assert body["message"] == "no"

"""InvokeModel's answers in the forms of all model families, for clients that speak them: read, never changed.

Forms: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html, each family's page.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import pytest
from native_support import make_call

from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.bedrock.observer import INVOKE_OBSERVER
from kong_ai_proxy.wire.eventstream import encode_frame

Json = dict[str, Any]

OPENAIS: Final = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
WHOLE: Final[dict[str, tuple[Json, str]]] = {
    "nova": (
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "abc"}]}},
            "stopReason": "max_tokens",
            "usage": {"inputTokens": 3, "outputTokens": 7, "cacheReadInputTokenCount": 2},
        },
        "length",
    ),
    "claude": (
        {
            "type": "message",
            "content": [{"type": "text", "text": "abc"}],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 5, "output_tokens": 7},
        },
        "stop",
    ),
    "claude's completions": (
        {"completion": "abc", "stop_reason": "stop_sequence", "stop": "\n\nHuman:"},
        "stop",
    ),
    "llama": (
        {"generation": "abc", "prompt_token_count": 5, "generation_token_count": 7, "stop_reason": "length"},
        "length",
    ),
    "titan": (
        {
            "inputTextTokenCount": 5,
            "results": [{"tokenCount": 7, "outputText": "abc", "completionReason": "CONTENT_FILTERED"}],
        },
        "content_filter",
    ),
    "mistral": ({"outputs": [{"text": "abc", "stop_reason": "length"}]}, "length"),
    "mistral's chat": (
        {"choices": [{"message": {"content": "abc"}, "stop_reason": "tool_calls"}], "usage": OPENAIS},
        "tool_calls",
    ),
    "cohere": ({"generations": [{"finish_reason": "MAX_TOKENS", "text": "abc"}]}, "length"),
    "cohere's chat": ({"text": "abc", "finish_reason": "ERROR_TOXIC"}, "content_filter"),
    "jamba, gpt-oss, qwen": (
        {"choices": [{"message": {"content": "abc"}, "finish_reason": "stop"}], "usage": OPENAIS},
        "stop",
    ),
    "deepseek": ({"choices": [{"text": "abc", "stop_reason": "length"}]}, "length"),
}
HEADERS: Final = {"x-amzn-bedrock-input-token-count": "5", "x-amzn-bedrock-output-token-count": "7"}


@pytest.mark.parametrize("family", WHOLE)
def test_whole_answers(family: str) -> None:
    answer, reason = WHOLE[family]
    call = make_call("bedrock", family)
    call.answer_headers = HEADERS
    body = json.dumps(answer).encode()
    assert INVOKE_OBSERVER.response(body, call) == body
    assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (5, 7)
    assert call.usage.source is UsageSource.REPORTED
    assert call.finish_reasons == [reason]
    if family != "deepseek":
        assert call.output_bytes == 3


METRICS: Final = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 5, "outputTokenCount": 7}}
STREAMS: Final[dict[str, tuple[list[Json], str]]] = {
    "nova": (
        [
            {"messageStart": {"role": "assistant"}},
            {"contentBlockDelta": {"delta": {"text": "abc"}, "contentBlockIndex": 0}},
            {"messageStop": {"stopReason": "end_turn"}},
            {"metadata": {"usage": {"inputTokens": 5, "outputTokens": 7}}, **METRICS},
        ],
        "stop",
    ),
    "llama": (
        [
            {"generation": "ab", "prompt_token_count": 5, "generation_token_count": 1, "stop_reason": None},
            {"generation": "c", "generation_token_count": 7, "stop_reason": "length", **METRICS},
        ],
        "length",
    ),
    "titan": (
        [
            {"outputText": "ab", "index": 0, "completionReason": None},
            {"outputText": "c", "index": 0, "completionReason": "FINISH", **METRICS},
        ],
        "stop",
    ),
    "mistral": (
        [{"outputs": [{"text": "ab"}]}, {"outputs": [{"text": "c", "stop_reason": "length"}], **METRICS}],
        "length",
    ),
    "cohere": (
        [
            {"text": "abc", "is_finished": False},
            {"finish_reason": "MAX_TOKENS", "is_finished": True, **METRICS},
        ],
        "length",
    ),
    "openai's form": (
        [
            {"choices": [{"delta": {"content": "abc"}}]},
            {"choices": [{"delta": {}, "finish_reason": "content_filter"}]},
            {"choices": [], "usage": OPENAIS},
        ],
        "content_filter",
    ),
}


@pytest.mark.parametrize("family", STREAMS)
def test_streams(family: str) -> None:
    events, reason = STREAMS[family]
    chunks = [{"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "ab"} for event in events]
    headers = {":event-type": "chunk", ":message-type": "event"}
    data = b"".join(encode_frame(headers, json.dumps(chunk).encode()) for chunk in chunks)
    call = make_call("bedrock", family, stream=True)
    observer = INVOKE_OBSERVER.stream(call)
    passed = observer.feed(data[:70]) + observer.feed(data[70:]) + observer.finish()
    assert passed == data
    assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (5, 7)
    assert call.finish_reasons == [reason]
    assert call.output_bytes == 3

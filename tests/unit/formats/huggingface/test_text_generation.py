"""Text generation beyond what is recorded. Source: https://huggingface.github.io/text-generation-inference."""

from __future__ import annotations

import json
from typing import Any

import pytest
from native_support import flat, make_call, read_stream

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.huggingface import FEATURE_EXTRACTION, TEXT_CHAT, TEXT_COMPLETIONS
from kong_ai_proxy.formats.huggingface.generation import FINISH_REASONS


def send(body: dict[str, Any], adapter: Any = TEXT_COMPLETIONS, **options: Any) -> tuple[dict[str, Any], Any]:
    call = make_call("huggingface", "gpt2", "completions", options=options)
    return adapter.request({"prompt": "Hi", **body}, call), call


def test_parameters() -> None:
    body = {
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
        "seed": 1,
        "repetition_penalty": 1.1,
    }
    sent, call = send({**body, "user": "u"})
    assert sent == {
        "inputs": "Hi",
        "parameters": {
            "max_new_tokens": 9, "temperature": 0.5, "top_p": 0.9, "stop": ["x"], "seed": 1,
            "repetition_penalty": 1.1, "return_full_text": False, "details": True,
        },
    }  # fmt: skip
    assert call.dropped == ["user"]


def test_values_the_server_refuses() -> None:
    """`temperature` must be above 0 and `top_p` below 1 there (router/src/validation.rs)."""
    sent, _ = send({"temperature": 0, "top_p": 1.0})
    assert sent["parameters"] == {"do_sample": False, "return_full_text": False, "details": True}


def test_options_only_where_configured() -> None:
    """Kong's bug 3.13: extra inputs were not permitted."""
    assert "options" not in send({})[0]
    sent, _ = send({}, huggingface={"use_cache": False, "wait_for_model": True})
    assert sent["options"] == {"use_cache": False, "wait_for_model": True}


def test_json_schema_becomes_a_grammar() -> None:
    sent, _ = send(
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}}
    )
    assert sent["parameters"]["grammar"] == {"type": "json", "value": {"type": "object"}}
    _, call = send({"response_format": {"type": "json_object"}})
    assert call.dropped == ["response_format"]


def test_chat_has_a_prompt_and_its_end() -> None:
    call = make_call("huggingface", "meta-llama/Llama-3.1-8B")
    sent: Any = TEXT_CHAT.request({"messages": [{"role": "user", "content": "Hi"}], "stop": "x"}, call)
    assert sent["inputs"].endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert sent["parameters"]["stop"] == ["x", "<|eot_id|>"]


@pytest.mark.parametrize(("reason", "expected"), [*FINISH_REASONS.items(), (None, "stop"), ("new", "stop")])
def test_finish_reasons(reason: Any, expected: str) -> None:
    """Kong's bug 3.13: the finish reason was lost."""
    body = [{"generated_text": "a", "details": {"finish_reason": reason, "generated_tokens": 2}}]
    assert (
        flat(TEXT_CHAT.response(body, make_call("huggingface", "m")))["choices"][0]["finish_reason"]
        == expected
    )


def test_usage_is_not_made_up() -> None:
    call = make_call("huggingface", "m", "completions")
    TEXT_COMPLETIONS.response([{"generated_text": "a", "details": {"generated_tokens": 2}}], call)
    assert (call.usage.source, call.usage.completion_tokens) == (UsageSource.NONE, 2)
    details = {"generated_tokens": 2, "prefill": [{"id": 1}, {"id": 2}, {"id": 3}]}
    TEXT_COMPLETIONS.response([{"generated_text": "a", "details": details}], call)
    assert (call.usage.source, call.usage.prompt_tokens) == (UsageSource.REPORTED, 3)


@pytest.mark.parametrize(
    ("kind", "status"),
    [("validation", 422), ("overloaded", 429), ("generation", 424), ("new", 502), (None, 502)],
)
def test_errors_in_streams(kind: Any, status: int) -> None:
    data = f"data:{json.dumps({'error': 'No.', 'error_type': kind})}\n\n".encode()
    items = read_stream(TEXT_CHAT, make_call("huggingface", "m", stream=True), [data])
    assert [(item.status, item.message) for item in items] == [(status, "No.")]


def test_loading_model() -> None:
    body = b'{"error":"Model gpt2 is currently loading","estimated_time":20.2}'
    error = TEXT_CHAT.error(503, {}, body, make_call("huggingface", "m"))
    assert (error.status, error.headers) == (503, {"retry-after": "21"})


def test_server_that_does_not_stream_for_real() -> None:
    data = b'data:{"generated_text":"Hello","details":{"finish_reason":"length"}}\n\n'
    items = read_stream(TEXT_CHAT, make_call("huggingface", "m", stream=True), [data])
    assert items[0]["choices"][0]["delta"]["content"] == "Hello"
    assert items[1]["choices"][0]["finish_reason"] == "length"


def test_error_in_a_200() -> None:
    with pytest.raises(ApiError) as caught:
        TEXT_CHAT.response({"error": "Out of memory"}, make_call("huggingface", "m"))
    assert caught.value.message == "Out of memory"


def test_feature_extraction_request() -> None:
    call = make_call("huggingface", "m", "embeddings")
    assert FEATURE_EXTRACTION.request({"input": "a", "normalize": True, "user": "u"}, call) == {
        "inputs": ["a"],
        "normalize": True,
    }
    assert call.dropped == ["user"]

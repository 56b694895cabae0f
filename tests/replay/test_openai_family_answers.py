"""Every recorded plain answer and error of the OpenAI-shaped APIs."""

from __future__ import annotations

import array
import base64
import copy
import json
from typing import Any

import pytest
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion
from openai_support import (
    adapter_for,
    call_for,
    family,
    operation_of,
    read_answer,
    replayed,
    same_tools,
    shown,
)
from recordings_support import load_recording

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps, loads
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.openai.client import CLIENT
from kong_ai_proxy.providers import provider

_TYPES = {"chat": ChatCompletion, "completions": Completion, "embeddings": CreateEmbeddingResponse}

# Azure answers a filtered prompt with an error under status 200.
FILTERED = "azure/chat/009-prompt-content-filtering"
ANSWERS = [found for found in family(stream=False) if found != FILTERED]
ERRORS = family(stream=False, ok=False)

pytestmark = pytest.mark.skipif(not ANSWERS, reason="no recordings here")


@pytest.mark.parametrize("recording_id", ANSWERS)
def test_an_answer_says_what_was_recorded(recording_id: str) -> None:
    recording, call = replayed(recording_id)
    body = recording["response"]["body"]
    before = copy.deepcopy(body)
    answer = adapter_for(call).response(body, call)
    assert body == before, "the provider's answer was changed in place"
    answer = loads(dumps(CLIENT.response(answer, call)))
    operation = operation_of(recording_id)
    _TYPES[operation].model_validate(_decoded(answer) if operation == "embeddings" else answer, strict=True)

    assert answer["model"] == call.response_model == before["model"]
    if operation == "embeddings":
        assert [item["embedding"] for item in answer["data"]] == [
            item["embedding"] for item in before["data"]
        ]
        assert [item["index"] for item in answer["data"]] == list(range(len(before["data"])))
    else:
        _compare(answer, before, call)
    usage = before.get("usage")
    assert shown(answer.get("usage"), usage)
    _noted(call, usage)


def _decoded(answer: dict[str, Any]) -> dict[str, Any]:
    """Vectors in base64 unpacked, as the SDK does before it makes its objects."""
    data = []
    for item in answer["data"]:
        vector = item["embedding"]
        if isinstance(vector, str):
            vector = list(array.array("f", base64.b64decode(vector)))
        data.append({**item, "embedding": vector})
    return {**answer, "data": data}


def _compare(answer: dict[str, Any], before: dict[str, Any], call: Call) -> None:
    ours, recorded = read_answer(answer), read_answer(before)
    assert ours.content == recorded.content
    assert ours.reasoning == recorded.reasoning
    assert ours.refusal == recorded.refusal
    assert ours.finish == recorded.finish
    assert call.finish_reasons == list(recorded.finish.values())
    assert ours.tools.keys() == recorded.tools.keys()
    for at, tools in recorded.tools.items():
        assert same_tools(ours.tools[at], tools)
    if before["id"]:
        assert answer["id"] == before["id"]
    assert answer["id"] == call.response_id
    texts = [*recorded.content.values(), *recorded.reasoning.values(), *recorded.refusal.values()]
    said = sum(len(text.encode()) for text in texts)
    said += sum(
        len((tool["arguments"] or "{}").encode()) for tools in recorded.tools.values() for tool in tools
    )
    assert call.output_bytes == said


def _noted(call: Call, usage: dict[str, Any] | None) -> None:
    """What accounting will read, to the token."""
    if not usage:
        assert call.usage.source is UsageSource.NONE
        return
    assert call.usage.source is UsageSource.REPORTED
    assert call.usage.prompt_tokens == usage["prompt_tokens"]
    assert call.usage.completion_tokens == usage.get("completion_tokens", 0)
    assert call.usage.total == usage["total_tokens"]
    inside = usage.get("completion_tokens_details") or {}
    assert (call.usage.reasoning_tokens or 0) == (inside.get("reasoning_tokens") or 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is None:
        cached = usage.get(
            "prompt_cache_hit_tokens", usage.get("num_cached_tokens", usage.get("cached_tokens"))
        )
    assert (call.usage.cached_tokens or 0) == (cached or 0)
    reasoning = inside.get("reasoning_tokens") or 0
    beside = (
        reasoning and usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] + reasoning
    )
    if beside:
        assert call.usage.reasoning_is_extra


@pytest.mark.parametrize(
    "recording_id", [found for found in ANSWERS if found.startswith(("openai/", "azure/"))]
)
def test_an_answer_passes_through_untouched(recording_id: str) -> None:
    recording, call = replayed(recording_id)
    body = json.dumps(recording["response"]["body"]).encode()
    observer = provider(call.provider).observer(call)
    passed = observer.response(body, call)
    translated = call_for(recording)
    adapter_for(translated).response(recording["response"]["body"], translated)
    assert call.usage == translated.usage
    assert call.finish_reasons == translated.finish_reasons
    assert call.response_model == translated.response_model
    if b'"tool_call"' in body:
        assert loads(passed) != loads(body)
    else:
        assert passed is body


def test_a_filtered_prompt_is_an_error_though_its_status_is_200() -> None:
    recording, call = replayed(FILTERED)
    with pytest.raises(ApiError) as caught:
        adapter_for(call).response(recording["response"]["body"], call)
    assert caught.value.status == 400
    assert caught.value.code == "content_filter"


@pytest.mark.parametrize("recording_id", ERRORS)
def test_an_error_keeps_its_status_and_words(recording_id: str) -> None:
    recording = load_recording(recording_id)
    call = call_for(recording)
    response = recording["response"]
    body = response["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = adapter_for(call).error(response["status"], response["headers"], raw, call)
    assert error.status == response["status"]
    assert error.message and error.message in _texts(body)
    shape = CLIENT.error(error)["error"]
    assert set(shape) == {"message", "type", "param", "code"}
    assert isinstance(shape["type"], str)
    inside = body.get("error") if isinstance(body, dict) else None
    if isinstance(inside, dict):
        assert shape["type"] == (inside.get("type") or shape["type"])
        assert shape["code"] == (str(inside["code"]) if inside.get("code") is not None else None)
        assert shape["param"] == inside.get("param")
    for name, value in response["headers"].items():
        if name in ("retry-after", "x-request-id") or name.startswith("x-ratelimit-"):
            assert error.headers[name] == value


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []

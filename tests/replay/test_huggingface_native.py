"""Recorded text generation and feature extraction of Hugging Face, read by a reader of its own as well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from native_support import (
    assemble,
    check_completion,
    check_embeddings,
    flat,
    make_call,
    normalised,
    read_stream,
    recorded_streams,
    two_way_splits,
    wire_bytes,
)
from recordings_support import load_recording, recorded

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.formats.huggingface import FEATURE_EXTRACTION, TEXT_CHAT, TEXT_COMPLETIONS

NATIVE = "huggingface/native-inference"


def call_of(recording: dict[str, Any], operation: str = "completions") -> Any:
    return make_call("huggingface", recording["model"] or "", operation, stream=bool(recording["stream"]))


def is_generation(body: Any) -> bool:
    one = body[0] if isinstance(body, list) and body else body
    return isinstance(one, dict) and isinstance(one.get("generated_text"), str)


@recorded(f"{NATIVE}/")
def test_recorded_answer(recording_id: str) -> None:
    recording = load_recording(recording_id)
    status, body = recording["response"]["status"], recording["response"]["body"]
    call = call_of(recording)
    if status != 200:
        error = TEXT_COMPLETIONS.error(status, recording["response"]["headers"], wire_bytes(recording), call)
        assert error.status == status
        found = body["error"] if isinstance(body, dict) else body
        assert error.message == ("; ".join(found) if isinstance(found, list) else found.strip())
        return
    if not is_generation(body):
        # Another task's answer: no text was generated, and none must be made up.
        with pytest.raises(ApiError) as caught:
            TEXT_COMPLETIONS.response(body, call)
        assert caught.value.status == 502
        return
    one = body[0] if isinstance(body, list) else body
    answer = TEXT_COMPLETIONS.response(body, call)
    check_completion(answer)
    assert answer["choices"][0]["text"] == one["generated_text"]
    reason = (one.get("details") or {}).get("finish_reason")
    assert answer["choices"][0]["finish_reason"] == {"eos_token": "stop", None: "stop"}[reason]
    assert call.usage.completion_tokens == (one.get("details") or {}).get("generated_tokens", 0)
    flat(TEXT_CHAT.response(body, call_of(recording, "chat")))


@recorded(f"{NATIVE}/")
def test_recorded_request(recording_id: str) -> None:
    """Recorded text generation requests, in OpenAI's words and back."""
    recording = load_recording(recording_id)
    asked = recording["request"]["body"]
    if not isinstance(asked, dict) or not isinstance(asked.get("inputs"), str):
        pytest.skip("not a text generation request")
    parameters = {
        key: value for key, value in (asked.get("parameters") or {}).items() if value not in (None, [])
    }
    parameters.pop("decoder_input_details", None)
    parameters.pop("candidate_labels", None)
    parameters.pop("max_length", None)
    body = {"prompt": asked["inputs"], **parameters}
    if "max_new_tokens" in body:
        body["max_tokens"] = body.pop("max_new_tokens")
    sent = TEXT_COMPLETIONS.request(body, call_of(recording))
    assert isinstance(sent, dict)
    assert sent["inputs"] == asked["inputs"]
    ours = {"details": True, "return_full_text": False}
    assert sent["parameters"] == {**parameters, **ours}


@recorded_streams(f"{NATIVE}-stream")
def test_recorded_stream(recording_id: str) -> None:
    recording = load_recording(recording_id)
    data = wire_bytes(recording)
    events = [json.loads(line[5:]) for line in data.decode().splitlines() if line.startswith("data:")]
    whole = read_stream(TEXT_CHAT, call_of(recording, "chat"), [data])
    for pieces in [[data[at : at + 1] for at in range(len(data))], *two_way_splits(data, 60)]:
        assert normalised(read_stream(TEXT_CHAT, call_of(recording, "chat"), pieces)) == normalised(whole)
    if "error" in events[0]:
        assert isinstance(whole[0], ApiError)
        assert (whole[0].status, whole[0].code) == (422, "validation")
        assert whole[0].message == events[0]["error"]
        return
    answer = assemble(whole)
    said = "".join(event["token"]["text"] for event in events if not event["token"]["special"])
    assert answer["choices"][0]["content"] == said.lstrip()
    assert answer["choices"][0]["finish_reason"] == "stop"
    cut = read_stream(TEXT_CHAT, call_of(recording, "chat"), [data[: data.rfind(b"data:")]])
    assert isinstance(cut[-1], ApiError)


def test_feature_extraction_shapes() -> None:
    """One vector an input; one a token is averaged."""
    for body, expected in (
        ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]),
        ([1.0, 2.0], [[1.0, 2.0]]),
        ([[[1.0, 2.0], [3.0, 4.0]]], [[2.0, 3.0]]),
        ([[[[1.0, 2.0], [3.0, 6.0]]]], [[2.0, 4.0]]),
    ):
        answer = FEATURE_EXTRACTION.response(body, make_call("huggingface", "m", "embeddings"))
        check_embeddings(answer)
        assert [one["embedding"] for one in answer["data"]] == expected
    for body in ({"error": "x"}, [], [1.0, "a"], "text", None):
        with pytest.raises(ApiError):
            FEATURE_EXTRACTION.response(body, make_call("huggingface", "m", "embeddings"))

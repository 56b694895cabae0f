"""Every recorded stream of the OpenAI-shaped APIs: whole, byte by byte, and split in two."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from openai._streaming import SSEDecoder as SdkDecoder
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai_support import (
    Read,
    adapter_for,
    call_for,
    encode_all,
    family,
    operation_of,
    read_stream,
    same_tools,
    shown,
    stream_bytes,
)
from recordings_support import load_recording
from untraced import untraced

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.openai.dialect import OPENAI
from kong_ai_proxy.formats.openai.observer import openai_observer

STREAMS = family(stream=True)

pytestmark = pytest.mark.skipif(not STREAMS, reason="no recordings here")

# The recording has no finish reason: a spoken answer, ended by `[DONE]` alone.
UNFINISHED = "openai/chat-audio-stream/001-chatwithbasicaudiooutputasync"


@pytest.fixture(autouse=True)
def counted_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Generated ids that are the same in every run of one stream."""

    def new_id(call: Call, prefix: str = "chatcmpl-") -> str:
        call_number = next(_COUNTERS.setdefault(id(call), itertools.count()))
        return f"{prefix}{call_number}"

    _COUNTERS.clear()
    monkeypatch.setattr(Call, "new_id", new_id)


_COUNTERS: dict[int, Any] = {}


def _small(raw: bytes) -> list[bytes]:
    """Byte by byte; what is long in pieces of seven, which meet every place in an event as well."""
    size = 1 if len(raw) <= 20_000 else 7
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _decode(recording: dict[str, Any], parts: list[bytes]) -> tuple[list[Any], Call]:
    call = call_for(recording, include_usage=True, created=1)
    _COUNTERS.pop(id(call), None)
    decoder = adapter_for(call).stream(call)
    items = [item for part in parts for item in decoder.feed(part)]
    return items + decoder.finish(), call


@pytest.mark.parametrize("recording_id", STREAMS)
def test_a_stream_says_what_was_recorded(recording_id: str) -> None:
    recording = load_recording(recording_id)
    raw = stream_bytes(recording)
    items, call = _decode(recording, [raw])
    assert not any(isinstance(item, ApiError) for item in items)
    sent = encode_all(items, call)
    recorded, ours = read_stream(raw), read_stream(sent)

    assert ours.content == recorded.content
    assert ours.reasoning == recorded.reasoning
    assert ours.refusal == recorded.refusal
    assert ours.finish == recorded.finish
    assert sorted(call.finish_reasons) == sorted(recorded.finish.values())
    assert bool(recorded.finish) or recording_id == UNFINISHED
    assert ours.tools.keys() == recorded.tools.keys()
    for at, tools in recorded.tools.items():
        assert same_tools(ours.tools[at], tools)
        assert [tool["index"] for tool in ours.tools[at]] == list(range(len(tools)))
    assert shown(ours.usage, recorded.usage)
    assert call.response_model == recorded.model
    if recorded.usage:
        assert call.usage.source is UsageSource.REPORTED
        assert call.usage.prompt_tokens == recorded.usage["prompt_tokens"]
        assert call.usage.completion_tokens == recorded.usage["completion_tokens"]
        assert call.usage.total == recorded.usage["total_tokens"]
    else:
        assert call.usage.source is UsageSource.NONE
    _form(sent, recorded)
    _sdk(sent, ours, operation_of(recording_id))


def _form(sent: bytes, recorded: Read) -> None:
    """What OpenAI's streams have in common, and their readers count on."""
    assert sent.endswith(b"data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in sent.split(b"\n\n") if line and line != b"data: [DONE]"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["id"]
    assert all(chunk["model"] and chunk["created"] and chunk["object"] for chunk in chunks)
    with_usage = [chunk for chunk in chunks if "usage" in chunk]
    assert len(with_usage) == (1 if recorded.usage else 0)
    if with_usage:
        assert chunks[-1] is with_usage[0]
        assert chunks[-1]["choices"] == []
    assert all(chunk["choices"] for chunk in chunks[: len(chunks) - len(with_usage)])
    finished: set[int] = set()
    roles: set[int] = set()
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        at = choice["index"]
        assert not (choice["finish_reason"] and at in finished)
        if choice["finish_reason"]:
            finished.add(at)
        delta = choice.get("delta", {})
        assert None not in delta.values()
        assert ("role" in delta) is (at not in roles and "delta" in choice)
        roles.add(at)


def _sdk(sent: bytes, ours: Read, operation: str) -> None:
    """The stream read by OpenAI's own SDK: its event parser, its types, its accumulator."""
    chunks = [
        json.loads(event.data) for event in SdkDecoder().iter_bytes(iter([sent])) if event.data != "[DONE]"
    ]
    if operation == "completions":
        for chunk in chunks:
            # The SDK's type has no null finish reason, though OpenAI's own streams have it.
            for choice in chunk["choices"]:
                choice["finish_reason"] = choice["finish_reason"] or "stop"
            Completion.model_validate(chunk, strict=True)
        return
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    answer = state.current_completion_snapshot
    for choice in answer.choices:
        assert (choice.message.content or "") == ours.content.get(choice.index, "")
        assert choice.message.role == "assistant"
        assert choice.finish_reason == ours.finish.get(choice.index)
        calls = [
            {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for call in choice.message.tool_calls or []
        ]
        assert same_tools(calls, ours.tools.get(choice.index, []))
        assert getattr(choice.message, "reasoning_content", "") == ours.reasoning.get(choice.index, "")
    if ours.usage:
        assert answer.usage is not None
        assert answer.usage.total_tokens == ours.usage["total_tokens"]


@pytest.mark.parametrize("recording_id", STREAMS)
def test_a_stream_is_the_same_however_it_is_split(recording_id: str) -> None:
    recording = load_recording(recording_id)
    raw = stream_bytes(recording)
    whole, call = _decode(recording, [raw])
    cuts = range(1, len(raw)) if len(raw) < 60 else random.Random(recording_id).sample(range(1, len(raw)), 26)
    assert _decode(recording, [raw[: cuts[0]], raw[cuts[0] :]])[0] == whole
    with untraced():
        assert _decode(recording, _small(raw)) == (whole, call)
        for cut in cuts[1:]:
            assert _decode(recording, [raw[:cut], raw[cut:]])[0] == whole


@pytest.mark.parametrize("recording_id", STREAMS)
def test_a_stream_that_breaks_off_is_not_complete(recording_id: str) -> None:
    """Cut before the first finish reason, wherever: an error at the end, never a terminator."""
    recording = load_recording(recording_id)
    raw = stream_bytes(recording)
    first = (_finish_offsets(raw) or [raw.index(b"[DONE]")])[0]
    for cut in random.Random(recording_id).sample(range(first), min(8, first)):
        items, call = _decode(recording, [raw[:cut]])
        assert isinstance(items[-1], ApiError)
        assert items[-1].code == "upstream_stream_truncated"
        observer = openai_observer(OPENAI).stream(call)
        passed = observer.feed(raw[:cut]) + observer.finish()
        assert not observer.complete
        assert b"[DONE]" not in passed


def _finish_offsets(raw: bytes) -> list[int]:
    """Where events end that carry a finish reason: before their last byte the answer has no end."""
    offsets, at = [], 0
    for frame in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        if frame.startswith(b"data:") and b"[DONE]" not in frame:
            chunk = json.loads(frame[5:])
            if any(choice.get("finish_reason") for choice in chunk.get("choices") or []):
                offsets.append(at)
        at += len(frame) + 2
    return offsets


def _same_but_mended(passed: bytes, raw: bytes) -> None:
    """Byte for byte, but for events without OpenAI's members (Azure's first, OpenAI's audio)."""
    if passed in (raw, raw + b"data: [DONE]\n\n"):
        return
    events = [frame for frame in passed.split(b"\n\n") if frame.strip()]
    given = [frame for frame in raw.split(b"\n\n") if frame.strip()]
    if not given[-1].endswith(b"[DONE]"):
        given.append(b"data: [DONE]")
    assert len(events) == len(given)
    for ours, theirs in zip(events, given, strict=True):
        if ours == theirs:
            continue
        chunk, before = json.loads(ours[5:]), json.loads(theirs[5:])
        ChatCompletionChunk.model_validate(chunk)
        assert not before.get("object") or "choices" not in before
        assert {**before, "object": chunk["object"], "choices": before.get("choices", [])} == chunk


@pytest.mark.parametrize("recording_id", STREAMS)
@pytest.mark.parametrize("asked", [True, False])
def test_a_stream_passes_through(recording_id: str, asked: bool) -> None:
    recording = load_recording(recording_id)
    raw = stream_bytes(recording)
    recorded = read_stream(raw)

    def observe(parts: list[bytes]) -> tuple[bytes, Call]:
        call = call_for(recording, include_usage=asked, created=1)
        observer = openai_observer(adapter_for(call).dialect).stream(call)
        passed = b"".join(observer.feed(part) for part in parts) + observer.finish()
        assert observer.complete
        assert observer.failed is None
        return passed, call

    passed, call = observe([raw])
    with untraced():
        assert observe(_small(raw)) == (passed, call)
    ours = read_stream(passed)
    assert (ours.content, ours.reasoning, ours.tools) == (
        recorded.content,
        recorded.reasoning,
        recorded.tools,
    )
    assert passed.rstrip().endswith(b"[DONE]")
    if asked and b'"tool_call"' not in raw and b'"eos_token"' not in raw:
        _same_but_mended(passed, raw)
    if not asked:
        assert b'"usage":' not in passed.replace(b'"x_groq"', b"").replace(b" ", b"") or b"x_groq" in raw
        assert ours.usage is None

    translated = _decode(recording, [raw])[1]
    assert (call.usage, call.finish_reasons, call.output_bytes) == (
        translated.usage,
        translated.finish_reasons,
        translated.output_bytes,
    )

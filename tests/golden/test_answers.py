"""What a client reads of one rich answer, whole and streamed, from each provider.

The provider's side is written by hand in `native/`, one answer in each wire format: thinking, text, two
parallel tool
calls, usage with a cache. Read `<target>/answer.json` and `<target>/stream.json`; both say the same.
"""

from __future__ import annotations

import itertools
import json
import uuid
from typing import Any

import pytest
from golden_support import HERE, TARGETS, Made, check, make, pretty
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from kong_ai_proxy.exchange.carry import Carrier
from kong_ai_proxy.wire.eventstream import encode_frame

NATIVE = HERE / "native"

CONTENT_TYPES = {
    "bedrock": "application/vnd.amazon.eventstream",
    "ollama": "application/x-ndjson",
}
REQUEST = {
    "messages": [{"role": "user", "content": "Weather in Paris? And the time?"}],
    "tools": [
        {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
        for name in ("get_weather", "now")
    ],
}
WITH_TOOLS = [target for target in TARGETS if target != "llama2-raw"]
"""The raw prompt format has neither tools nor reasoning; it has tests of its own."""


@pytest.fixture(autouse=True)
def same_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids made here are numbered, so that goldens are the same at every run."""
    numbers = itertools.count(1)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=next(numbers)))


def ask(target: str, *, stream: bool) -> tuple[Made, Carrier, str]:
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    made = make(target, {**REQUEST, **options})
    assert made.upstream is not None, made.error
    carrier = made.attempt.translation
    assert isinstance(carrier, Carrier)
    assert carrier._adapter is not None
    return made, carrier, carrier._adapter.format


def native_stream(form: str, *, halves: bool = False) -> bytes:
    """`halves`: with an emoji of which two events have a half each."""
    if form == "bedrock":
        text = (NATIVE / "bedrock.events.json").read_text()
        events = json.loads(in_halves(text) if halves else text)
        return b"".join(
            encode_frame(
                {":event-type": name, ":content-type": "application/json", ":message-type": "event"},
                json.dumps(payload).encode(),
            )
            for name, payload in events
        )
    text = (NATIVE / ("ollama.ndjson" if form == "ollama" else f"{form}.sse")).read_text()
    return (in_halves(text) if halves else text).encode()


def in_halves(text: str) -> str:
    return text.replace("Both are wet", r"Both are wet \ud83e").replace(" — I", r"\udd8d I")


def whole(target: str) -> dict[str, Any]:
    _, carrier, form = ask(target, stream=False)
    body = (NATIVE / f"{form}.json").read_bytes()
    answer = carrier.response(200, {"content-type": "application/json"}, body)
    assert answer.status == 200, answer.body
    parsed: dict[str, Any] = json.loads(answer.body)
    return parsed


def streamed(target: str) -> tuple[list[dict[str, Any]], bytes]:
    _, carrier, form = ask(target, stream=True)
    running = carrier.stream(200, {"content-type": CONTENT_TYPES.get(form, "text/event-stream")})
    assert running is not None
    sent = running.feed(native_stream(form)) + running.finish()
    assert running.failed is None, running.failed
    lines = [line[6:] for line in sent.decode().split("\n") if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines], sent


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_answer(target: str) -> None:
    answer = whole(target)
    ChatCompletion.model_validate(answer)
    check(f"{target}/answer.json", pretty(answer))


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_stream(target: str) -> None:
    chunks, _ = streamed(target)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    check(f"{target}/stream.json", "".join(json.dumps(chunk, ensure_ascii=False) + "\n" for chunk in chunks))


@pytest.mark.parametrize("target", WITH_TOOLS)
def test_stream_says_what_the_answer_says(target: str) -> None:
    answer = whole(target)
    chunks, _ = streamed(target)
    message = answer["choices"][0]["message"]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == (message["content"] or "")
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == (
        message.get("reasoning_content") or ""
    )
    calls: dict[int, list[str]] = {}
    for delta in deltas:
        for call in delta.get("tool_calls") or ():
            function = call.get("function", {})
            known = calls.setdefault(call["index"], ["", ""])
            known[0] += function.get("name") or ""
            known[1] += function.get("arguments") or ""
    assert list(calls) == list(range(len(calls)))
    assert [(name, json.loads(arguments)) for name, arguments in calls.values()] == [
        (call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in message["tool_calls"]
    ]
    finishes = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert [reason for reason in finishes if reason] == ["tool_calls"]
    usages = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
    assert usages == [answer["usage"]]


SPLIT = [target for target in WITH_TOOLS if target != "cohere"]  # its answer of `native/` has no text


@pytest.mark.parametrize("target", SPLIT)
def test_a_character_split_over_two_events(target: str) -> None:
    """Servers that cut by tokens escape each half of an emoji in an event of its own."""
    _, carrier, form = ask(target, stream=True)
    running = carrier.stream(200, {"content-type": CONTENT_TYPES.get(form, "text/event-stream")})
    assert running is not None
    sent = running.feed(native_stream(form, halves=True)) + running.finish()
    assert running.failed is None, running.failed
    chunks = [json.loads(line[6:]) for line in sent.decode().split("\n") if line.startswith("data: {")]
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert "".join(delta.get("content") or "" for delta in deltas) == "Both are wet 🦍 I look. ☔"

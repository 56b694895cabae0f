"""At every provider, in every form of it: any valid chat is translated; any answer, however broken, becomes
a valid answer or a clean error.

Valid chats are made after OpenAI's reference (https://platform.openai.com/docs/api-reference/chat/create).
Broken answers are the golden ones with members taken out, set to null or to another type; streams also with
bytes lost.
"""

from __future__ import annotations

import copy
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from auth_support import logged
from fuzz_support import examples
from hypothesis import HealthCheck, given, note
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))

from golden_support import HERE, TARGETS, make

from kong_ai_proxy.exchange.carry import NOT_TRANSLATED, Carrier
from kong_ai_proxy.wire.eventstream import encode_frame

QUICK = examples(
    60,  # each at every target: making one takes much longer than trying it
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PNG = "data:image/png;base64,iVBORw0KGgo="
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_-]{0,20}", fullmatch=True)
IDS = st.from_regex(r"call_[a-zA-Z0-9]{1,12}", fullmatch=True)
WORDS = st.text(max_size=20)
SAID = st.text(min_size=1, max_size=20)
CACHE = st.just({"type": "ephemeral"})


@pytest.fixture(autouse=True)
def _no_guard_had_to_help() -> Iterator[None]:
    """The exchange turns what an adapter did not expect into an error, and logs it: here that is a bug."""
    with logged() as lines:
        yield
        assert "could not be translated" not in lines.getvalue(), lines.getvalue()[:3000]


# Valid chats.

SCHEMAS = st.recursive(
    st.sampled_from([
        {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "number"}, {"type": "boolean"},
        {"type": ["string", "null"]}, {"enum": ["a", "b"]}, {"const": 1}, {}, {"$ref": "#/$defs/x"},
        {"type": "string", "format": "date-time", "pattern": "^a"},
    ]),
    lambda inner: st.one_of(
        st.builds(lambda item: {"type": "array", "items": item}, inner),
        st.builds(lambda items: {"anyOf": items}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda members, closed: {
                "type": "object", "properties": members, "required": list(members)[:1],
                **({"additionalProperties": False} if closed else {}),
            },
            st.dictionaries(NAMES, inner, max_size=3), st.booleans(),
        ),
    ),
    max_leaves=6,
)  # fmt: skip
OBJECTS = st.builds(
    lambda members: {
        "type": "object",
        "properties": members,
        "required": sorted(members),
        "additionalProperties": False,
        "$defs": {"x": {"type": "string"}},
    },
    st.dictionaries(NAMES, SCHEMAS, max_size=3),
)
TOOLS = st.lists(
    st.builds(
        lambda name, rest: {"type": "function", "function": {"name": name, **rest}},
        NAMES,
        st.fixed_dictionaries({}, optional={
            "description": WORDS, "parameters": OBJECTS, "strict": st.sampled_from([True, False, None]),
        }),
    ),
    min_size=1, max_size=3, unique_by=lambda tool: tool["function"]["name"],
)  # fmt: skip
TEXT_PARTS = st.builds(lambda text: {"type": "text", "text": text}, SAID)
CACHED_PARTS = st.builds(lambda text, c: {"type": "text", "text": text, "cache_control": c}, SAID, CACHE)
PARTS = st.one_of(
    TEXT_PARTS,
    CACHED_PARTS,
    st.builds(
        lambda url, detail: {"type": "image_url", "image_url": {"url": url, "detail": detail}},
        st.sampled_from([PNG, "https://images.example/a.png"]),
        st.sampled_from(["auto", "low", "high"]),
    ),
    st.just({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
    st.just(
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}}
    ),
)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns in an order that OpenAI takes: every tool call is answered by a tool message."""
    messages: list[dict[str, Any]] = []
    for role in draw(st.lists(st.sampled_from(["system", "developer"]), max_size=2)):
        messages.append(
            {"role": role, "content": draw(st.one_of(SAID, st.lists(TEXT_PARTS, min_size=1, max_size=2)))}
        )
    for _ in range(draw(st.integers(1, 3))):
        user: dict[str, Any] = {
            "role": "user",
            "content": draw(st.one_of(SAID, st.lists(PARTS, min_size=1, max_size=3))),
        }
        if draw(st.booleans()):
            user["name"] = draw(NAMES)
        messages.append(user)
        kind = draw(st.sampled_from(["none", "text", "refusal", "tools", "reasoning"]))
        if kind == "none":
            continue
        answer: dict[str, Any] = {
            "role": "assistant",
            "content": draw(st.one_of(SAID, st.lists(TEXT_PARTS, min_size=1))),
        }
        if kind == "refusal":
            answer = {"role": "assistant", "content": None, "refusal": draw(SAID)}
        if kind == "reasoning":
            answer["reasoning_content"] = draw(SAID)
            answer["thinking_blocks"] = [{"type": "thinking", "thinking": draw(SAID), "signature": "c2ln"}]
        if kind == "tools":
            ids = draw(st.lists(IDS, min_size=1, max_size=3, unique=True))
            answer["content"] = draw(st.one_of(st.none(), SAID, st.just("")))
            answer["tool_calls"] = [
                {
                    "id": each,
                    "type": "function",
                    "function": {
                        "name": draw(NAMES),
                        "arguments": draw(st.sampled_from(["{}", '{"a": 1}', '{"a": {"b": []}}', ""])),
                    },
                }
                for each in ids
            ]
        messages.append(answer)
        if kind == "tools":
            for each in draw(st.permutations(ids)):
                result = draw(st.one_of(WORDS, st.lists(TEXT_PARTS, min_size=1, max_size=2)))
                messages.append({"role": "tool", "tool_call_id": each, "content": result})
    return messages


FORMATS = st.one_of(
    st.just({"type": "text"}),
    st.just({"type": "json_object"}),
    st.builds(
        lambda name, schema: {
            "type": "json_schema",
            "json_schema": {"name": name, "strict": True, "schema": schema},
        },
        NAMES,
        OBJECTS,
    ),
)
CHATS = st.builds(
    lambda messages, rest, tools: {"messages": messages, **rest, **tools},
    conversations(),
    st.fixed_dictionaries({}, optional={
        "temperature": st.floats(0, 2), "top_p": st.floats(0, 1), "n": st.integers(1, 3),
        "stop": st.one_of(SAID, st.lists(SAID, min_size=1, max_size=4), st.none()),
        "max_tokens": st.integers(1, 9000), "max_completion_tokens": st.integers(1, 9000),
        "presence_penalty": st.floats(-2, 2), "frequency_penalty": st.floats(-2, 2),
        "logit_bias": st.dictionaries(st.sampled_from(["5", "50256"]), st.integers(-100, 100)),
        "logprobs": st.booleans(), "top_logprobs": st.integers(0, 20), "seed": st.integers(), "user": WORDS,
        "metadata": st.dictionaries(NAMES, WORDS, max_size=3), "store": st.booleans(),
        "service_tier": st.sampled_from(["auto", "default", "flex", "priority"]),
        "reasoning_effort": st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh"]),
        "response_format": FORMATS, "stream": st.booleans(),
        "stream_options": st.just({"include_usage": True}), "prompt_cache_key": WORDS,
        "verbosity": st.sampled_from(["low", "high"]), "modalities": st.just(["text"]),
        "safety_identifier": WORDS, "prediction": st.just({"type": "content", "content": "a"}),
        "web_search_options": st.just({}), "extra_body": st.just({"top_k": 5}),
    }),
    st.one_of(st.just({}), st.builds(
        lambda tools, choice, parallel: {
            "tools": tools,
            "tool_choice": choice if isinstance(choice, str) else {
                "type": "function", "function": {"name": tools[0]["function"]["name"]},
            },
            "parallel_tool_calls": parallel,
        },
        TOOLS, st.sampled_from(["auto", "none", "required", 1]), st.booleans(),
    )),
)  # fmt: skip


@given(body=CHATS)
@QUICK
def test_any_valid_chat_is_translated(body: dict[str, Any]) -> None:
    for target in TARGETS:
        note(target)
        _translated(target, body)


def _translated(target: str, body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    made = make(target, body)
    assert body == before
    if made.error is not None:
        # Only for what a provider lacks altogether: a content part, or tools in a raw prompt.
        assert made.error.status == 400, made.error
        assert made.error.code != NOT_TRANSLATED, made.error
        assert re.search(r"takes no .* content|content part|raw prompt|fetche[sd]", made.error.message)
        return
    assert made.upstream is not None
    json.loads(made.upstream.body)
    assert all(isinstance(name, str) for name in made.dropped)


# Broken answers.

CHAT = {"messages": [{"role": "user", "content": "Weather in Paris? And the time?"}]}
VALUES = st.sampled_from([None, True, 0, -1, 1.5, 2**70, "", "x", [], {}, [None], [1], {"a": None}, "\ud83d"])
OPERATIONS = st.lists(st.tuples(st.floats(0, 1), st.one_of(st.just(...), VALUES)), min_size=1, max_size=4)
NATIVE = HERE / "native"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every member and item: its container and its key."""
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found += _places(item)
    return found


def broken(value: Any, operations: list[tuple[float, Any]]) -> Any:
    """`value` with members removed (`...`) or replaced."""
    value = copy.deepcopy(value)
    for where, put in operations:
        places = _places(value)
        if not places:
            break
        container, key = places[int(where * (len(places) - 1))]
        if put is ...:
            del container[key]
        else:
            container[key] = copy.deepcopy(put)
    return value


def _carrier(target: str, *, stream: bool) -> tuple[Carrier, str]:
    made = make(target, {**CHAT, **({"stream": True} if stream else {})})
    assert made.upstream is not None, made.error
    carrier = made.attempt.translation
    assert isinstance(carrier, Carrier) and carrier._adapter is not None
    return carrier, carrier._adapter.format


def _form(target: str, form: str) -> str:
    return "llama2-raw" if target == "llama2-raw" else form


RAW_ANSWER = [
    {"generated_text": "It rains.", "details": {"finish_reason": "eos_token", "generated_tokens": 3}}
]
RAW_EVENTS = [
    {"index": 1, "token": {"id": 1, "text": "It ", "special": False}, "generated_text": None},
    {"index": 2, "token": {"id": 2, "text": "rains", "special": False}, "generated_text": "It rains",
     "details": {"finish_reason": "eos_token", "generated_tokens": 2}},
]  # fmt: skip


def _answer(form: str) -> Any:
    if form == "llama2-raw":
        return RAW_ANSWER
    return json.loads((NATIVE / f"{form}.json").read_text())


@pytest.mark.parametrize("target", TARGETS)
@given(operations=OPERATIONS, status=st.sampled_from([200, 200, 200, 400, 401, 429, 500, 503]))
@QUICK
def test_any_broken_answer(target: str, operations: list[tuple[float, Any]], status: int) -> None:
    carrier, form = _carrier(target, stream=False)
    body = json.dumps(broken(_answer(_form(target, form)), operations)).encode()
    reply = carrier.response(status, {"content-type": "application/json", "retry-after": "7"}, body)
    said = json.loads(reply.body)
    if reply.status < 300:
        assert status == 200
        if carrier._observer is None:  # else the provider's own bytes: what is broken stays the provider's
            ChatCompletion.model_validate(said)
        return
    assert reply.status >= 400
    if status != 200:
        assert reply.status == status
        assert reply.headers["retry-after"] == "7"
    assert isinstance(said["error"]["message"], str) and said["error"]["message"]
    assert isinstance(said["error"]["type"], str)
    assert said["error"]["code"] != NOT_TRANSLATED


def _events(form: str) -> list[Any]:
    if form == "llama2-raw":
        return RAW_EVENTS
    if form == "bedrock":
        loaded: list[Any] = json.loads((NATIVE / "bedrock.events.json").read_text())
        return loaded
    if form == "ollama":
        return [json.loads(line) for line in (NATIVE / "ollama.ndjson").read_text().splitlines() if line]
    lines = (NATIVE / f"{form}.sse").read_text().splitlines()
    return [json.loads(line[5:]) for line in lines if line.startswith("data:") and "[DONE]" not in line]


def _written(form: str, events: list[Any]) -> tuple[bytes, str]:
    if form == "bedrock":
        frames = [
            encode_frame(
                {":event-type": str(event[0]), ":content-type": "application/json", ":message-type": "event"},
                json.dumps(event[1]).encode(),
            )
            for event in events
            if isinstance(event, list) and len(event) == 2 and str(event[0]).isascii()
        ]
        return b"".join(frames), "application/vnd.amazon.eventstream"
    if form == "ollama":
        return b"".join(json.dumps(event).encode() + b"\n" for event in events), "application/x-ndjson"
    named = form in ("anthropic", "cohere")
    out = b""
    for event in events:
        kind = event.get("type") if named and isinstance(event, dict) else None
        out += b"event: %b\n" % str(kind).encode("ascii", "ignore") if kind else b""
        out += b"data: %b\n\n" % json.dumps(event).encode()
    return out + (b"data: [DONE]\n\n" if form == "openai" else b""), "text/event-stream"


@pytest.mark.parametrize("target", TARGETS)
@given(operations=OPERATIONS, cut=st.one_of(st.none(), st.floats(0, 1)), split=st.floats(0, 1))
@QUICK
def test_any_broken_stream(
    target: str, operations: list[tuple[float, Any]], cut: float | None, split: float
) -> None:
    carrier, adapter_form = _carrier(target, stream=True)
    form = _form(target, adapter_form)
    data, content_type = _written(form, broken(_events(form), operations))
    if cut is not None:
        data = data[: int(cut * len(data))]
    running = carrier.stream(200, {"content-type": content_type})
    assert running is not None
    at = int(split * len(data))
    out = running.feed(data[:at]) + running.feed(data[at:]) + running.finish()
    lines = [line[6:] for line in out.decode().split("\n") if line.startswith("data: ")]
    if running.failed is not None:
        assert lines[-1] != "[DONE]"
        said = json.loads(lines.pop())
        assert isinstance(said["error"]["message"], str) and said["error"]["code"] != NOT_TRANSLATED
    else:
        assert lines and lines.pop() == "[DONE]"
    if carrier._observer is not None:
        return
    for line in lines:
        ChatCompletionChunk.model_validate_json(line)

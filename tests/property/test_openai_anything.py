"""Any chat request goes through every OpenAI-compatible provider; any answer is one, or a clean error."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai_support import OWN, adapter_for, make_call

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps, loads
from kong_ai_proxy.formats.openai.client import CLIENT
from kong_ai_proxy.formats.openai.dialect import FINISH_REASONS, OPENAI
from kong_ai_proxy.formats.openai.observer import openai_observer
from kong_ai_proxy.formats.openai.stream import OpenAIStream

words = st.text(max_size=12)
names = st.text("abcdefgh_", min_size=1, max_size=8)
numbers = st.integers(-5, 10**18) | st.floats(allow_nan=False, allow_infinity=False)
junk = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)

# Requests.

text_part = st.fixed_dictionaries(
    {"type": st.just("text"), "text": words}, optional={"cache_control": st.just({"type": "ephemeral"})}
)
image_part = st.fixed_dictionaries(
    {
        "type": st.just("image_url"),
        "image_url": st.fixed_dictionaries({"url": st.just("data:image/png;base64,AAAA")}),
    }
)
tool_calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": names,
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": names, "arguments": st.just("{}") | words}),
        },
        optional={"extra_content": junk},
    ),
    max_size=2,
)
messages = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "developer"]), "content": words | st.lists(text_part)}
    ),
    st.fixed_dictionaries(
        {"role": st.just("user"), "content": words | st.lists(text_part | image_part, max_size=3)}
    ),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": words | st.none() | st.lists(text_part, max_size=2)},
        optional={
            "tool_calls": tool_calls,
            "reasoning_content": words,
            "reasoning": words,
            "thinking_blocks": st.lists(junk, max_size=2),
            "refusal": words | st.none(),
            "function_call": st.fixed_dictionaries({"name": names, "arguments": words}),
        },
    ),
    st.fixed_dictionaries(
        {"role": st.just("tool"), "tool_call_id": names, "content": words | st.lists(text_part)}
    ),
    st.fixed_dictionaries({"role": st.just("function"), "name": names, "content": words}),
)
requests = st.fixed_dictionaries(
    {"messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        "temperature": st.floats(0, 2) | st.none(),
        "max_tokens": st.integers(1, 9) | st.none(),
        "max_completion_tokens": st.integers(1, 9) | st.none(),
        "stop": words | st.lists(words, max_size=2) | st.none(),
        "seed": st.integers(0, 9) | st.none(),
        "user": words,
        "stream": st.booleans() | st.none(),
        "stream_options": st.none() | st.fixed_dictionaries({"include_usage": st.booleans()}),
        "tools": st.lists(
            st.fixed_dictionaries(
                {"type": st.just("function"), "function": st.fixed_dictionaries({"name": names})},
                optional={"cache_control": junk},
            ),
            max_size=2,
        ),
        "functions": st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
        "function_call": st.sampled_from(["auto", "none"]) | st.fixed_dictionaries({"name": names}),
        "response_format": junk,
        "extra_body": st.none() | st.dictionaries(names, junk, max_size=2),
        "logit_bias": st.dictionaries(names, st.integers(-9, 9), max_size=2),
    },
)


@pytest.mark.parametrize("name", OWN)
@given(body=requests, stream=st.booleans())
@examples(25)
def test_any_request_goes_through(name: str, body: dict[str, Any], stream: bool) -> None:
    before = copy.deepcopy(body)
    call = make_call(name, stream=stream)
    made = loads(dumps(adapter_for(call).request(CLIENT.request(body, call), call)))
    assert body == before
    assert made["model"] == "test-model"
    assert None not in made.values()
    assert len(made["messages"]) == len(body["messages"])
    assert bool(made.get("stream")) is stream
    assert "thinking_blocks" not in json.dumps([list(message) for message in made["messages"]])
    raw = dumps(body)
    passed = openai_observer(OPENAI).request(raw, loads(raw), make_call(stream=stream))
    assert bool(loads(passed).get("stream")) is stream


@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "tools", "functions", "model", "extra_body", "stop"]), junk
    )
)
@examples(60)
def test_any_nonsense_is_a_request_or_refused(body: dict[str, Any]) -> None:
    call = make_call("mistral")
    try:
        dumps(adapter_for(call).request(CLIENT.request(body, call), call))
    except ApiError as error:
        assert error.status == 400


# Answers.

ANSWER: dict[str, Any] = {
    "id": "c1",
    "object": "chat.completion",
    "created": 7,
    "model": "m1",
    "system_fingerprint": "f",
    "service_tier": "default",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "refusal": None,
                "reasoning_content": "Hm",
                "tool_calls": [
                    {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "y", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [at]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _paths(inner, (*at, key))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            found += _paths(inner, (*at, position))
    return found


def _mutated(original: Any, changes: list[tuple[tuple[Any, ...], Any, bool]]) -> Any:
    """The original with members replaced or removed, where they still are."""
    value = copy.deepcopy(original)
    for path, new, remove in changes:
        if not path:
            continue
        place = value
        try:
            for step in path[:-1]:
                place = place[step]
            if remove:
                del place[path[-1]]
            else:
                place[path[-1]] = new
        except (KeyError, IndexError, TypeError):
            continue
    return json.loads(json.dumps(value))


def changes_of(original: Any) -> st.SearchStrategy[list[tuple[tuple[Any, ...], Any, bool]]]:
    return st.lists(st.tuples(st.sampled_from(_paths(original)), junk, st.booleans()), min_size=1, max_size=4)


@given(changes=changes_of(ANSWER))
@examples(120)
def test_any_answer_is_valid_or_a_clean_error(changes: list[Any]) -> None:
    body = _mutated(ANSWER, changes)
    before = copy.deepcopy(body)
    call = make_call("vllm")
    try:
        answer = adapter_for(call).response(body, call)
    except ApiError as error:
        assert 400 <= error.status < 600
        return
    assert body == before
    ChatCompletion.model_validate(loads(dumps(answer)))
    openai_observer(OPENAI).response(dumps(body), make_call())


STREAM: list[dict[str, Any]] = [
    {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m1",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a", "reasoning": "Hm"}}],
    },
    {
        "id": "c1",
        "model": "m1",
        "choices": [
            {
                "index": 0,
                "delta": {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "x",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{"},
                        },
                        {
                            "index": 1,
                            "id": "y",
                            "type": "function",
                            "function": {"name": "g", "arguments": "{"},
                        },
                    ]
                },
            }
        ],
    },
    {
        "choices": [
            {
                "index": 0,
                "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
                "finish_reason": None,
            }
        ]
    },
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": None},
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}},
]


def _check_items(items: list[Any]) -> None:
    for position, item in enumerate(items):
        if isinstance(item, ApiError):
            assert position == len(items) - 1
            assert 400 <= item.status < 600
            continue
        chunk = loads(dumps(item))
        assert (
            isinstance(chunk["id"], str)
            and isinstance(chunk["model"], str)
            and isinstance(chunk["created"], int)
        )
        for choice in chunk["choices"]:
            assert isinstance(choice["index"], int)
            assert choice["finish_reason"] is None or choice["finish_reason"] in FINISH_REASONS.values()
            delta = choice["delta"]
            assert isinstance(delta.get("content", ""), str)
            assert isinstance(delta.get("reasoning_content", ""), str)
            for fragment in delta.get("tool_calls", []):
                assert isinstance(fragment["index"], int)
        if "usage" in chunk:
            assert not chunk["choices"]
            assert all(isinstance(chunk["usage"][name], int) for name in ("prompt_tokens", "total_tokens"))


@given(changes=changes_of(STREAM), cut=st.none() | st.integers(0, 1200), split=st.integers(0, 1200))
@examples(120)
def test_any_stream_is_chunks_and_at_most_one_error(changes: list[Any], cut: int | None, split: int) -> None:
    mutated = _mutated(STREAM, changes)
    raw = b"".join(b"data: %b\n\n" % dumps(chunk) for chunk in mutated)[:cut]
    call = make_call(stream=True)
    stream = OpenAIStream(call, OPENAI)
    items = stream.feed(raw[:split]) + stream.feed(raw[split:]) + stream.finish()
    _check_items(items)
    encoder = CLIENT.stream(call)
    for item in items:
        if not isinstance(item, ApiError):
            encoder.encode(item)
    observer = openai_observer(OPENAI).stream(make_call(stream=True))
    observer.feed(raw[:split]) + observer.feed(raw[split:]) + observer.finish()
    assert isinstance(observer.complete, bool)


@given(
    raw=st.binary(max_size=200) | st.text(max_size=60).map(lambda text: b"data: " + text.encode() + b"\n\n")
)
@examples(80)
def test_any_bytes_are_chunks_or_an_error(raw: bytes) -> None:
    call = make_call(stream=True)
    stream = OpenAIStream(call, OPENAI)
    items = stream.feed(raw) + stream.finish()
    _check_items(items)
    assert b"[DONE]" in raw or isinstance(items[-1], ApiError)
    observer = openai_observer(OPENAI).stream(make_call(stream=True))
    observer.feed(raw) + observer.finish()
    openai_observer(OPENAI).response(raw, make_call())
    error = adapter_for(call).error(500, {}, raw, call)
    assert error.status == 500
    assert isinstance(error.message, str)

"""One answer in many framings and with odd members: the client reads the same each time, and the numbers are
the same. The oddities were all seen on the wire, of one provider or another."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import pytest
from exchange_support import client_request, events, first_attempt, proxy

Json = dict[str, Any]

HEAD: Final = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
USED: Final = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def delta(delta: Json, finish: str | None = None) -> Json:
    return {**HEAD, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(index: int, arguments: str, **begun: str) -> Json:
    made: Json = {"index": index, "function": {"arguments": arguments}}
    if begun:
        made["function"]["name"] = begun["name"]
        made |= {"id": begun["id"], "type": "function"}
    return delta({"tool_calls": [made]})


CHAT: Final = [
    delta({"role": "assistant", "content": "", "reasoning_content": "Hm."}),
    delta({"content": "Hello é😀 "}), delta({"content": 'data: "x"\n\n'}),
    call(0, "", id="a", name="look"), call(0, '{"q":'), call(0, '"é"}'), call(1, "{}", id="b", name="see"),
    delta({}, "tool_calls"), {**HEAD, "choices": [], "usage": USED},
]  # fmt: skip
COUNTS: Final = {"input_tokens": 5, "output_tokens": 7}


def block(index: int, start: Json, *pieces: Json) -> list[Json]:
    deltas = [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
    begin = {"type": "content_block_start", "index": index, "content_block": start}
    return [begin, *deltas, {"type": "content_block_stop", "index": index}]


CLAUDE: Final = [
    {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": COUNTS}},
    *block(0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "Hm."}),
    *block(
        1, {"type": "text", "text": ""},
        {"type": "text_delta", "text": "Hello é😀 "}, {"type": "text_delta", "text": 'data: "x"\n\n'},
    ),
    *block(
        2, {"type": "tool_use", "id": "a", "name": "look", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"q":'},
        {"type": "input_json_delta", "partial_json": '"é"}'},
    ),
    *block(3, {"type": "tool_use", "id": "b", "name": "see", "input": {}}),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": COUNTS},
    {"type": "message_stop"},
]  # fmt: skip


def candidate(*parts: Json, **more: Any) -> Json:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **more}]}


GEMINI: Final = [
    candidate({"text": "Hm.", "thought": True}), candidate({"text": "Hello é😀 "}),
    candidate({"text": 'data: "x"\n\n'}),
    candidate({"functionCall": {"id": "a", "name": "look", "args": {"q": "é"}}}),
    {
        **candidate({"functionCall": {"id": "b", "name": "see", "args": {}}}, finishReason="STOP"),
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12},
    },
]  # fmt: skip
STREAMS: Final[dict[str, list[Json]]] = {
    "mistral": CHAT,
    "deepseek": CHAT,
    "anthropic": CLAUDE,
    "gemini": GEMINI,
}
DONE: Final = {"mistral": b"data: [DONE]\n\n", "deepseek": b"data: [DONE]\n\n"}


def framed(said: list[Json], done: bytes = b"") -> bytes:
    lines = [json.dumps(one, ensure_ascii=False).encode() for one in said]
    return b"".join(b"data: " + line + b"\n\n" for line in lines) + done


# ---- framings


FRAMINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "as it is": lambda raw: raw,
    "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "CR": lambda raw: raw.replace(b"\n", b"\r"),
    "a byte order mark": lambda raw: b"\xef\xbb\xbf" + raw,
    "no last empty line": lambda raw: raw.rstrip(b"\n"),
    "blank lines": lambda raw: b"\n\n" + raw.replace(b"\n\n", b"\n\n\n\n\n"),
    "comments": lambda raw: b": hi\n\n" + raw.replace(b"\n\n", b"\n\n:ping\n\n"),
    "pings": lambda raw: raw.replace(b"\n\n", b"\n\nevent: ping\n\n"),
    "no space": lambda raw: raw.replace(b"data: {", b"data:{"),
    "ids": lambda raw: raw.replace(b"data: {", b"id: 5\nretry: 9\n:HTTP_STATUS/200\ndata: {"),
    "data in lines": lambda raw: re.sub(rb"data: \{", b"data: {\ndata:", raw),
    "no [DONE]": lambda raw: raw.replace(b"data: [DONE]\n\n", b""),
    "twice [DONE]": lambda raw: raw + b"data: [DONE]\n\n" * 2,
    "more after it": lambda raw: raw + b": bye\n\n",
}


# ---- members


def turned(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: turned(inner) for name, inner in reversed(value.items())}
    return [turned(inner) for inner in value] if isinstance(value, list) else value


def calls_of(chunk: Json) -> list[Json]:
    return [one for choice in chunk["choices"] for one in choice["delta"].get("tool_calls", [])]


def without(member: str) -> Callable[[list[Json]], list[Json]]:
    def changed(said: list[Json]) -> list[Json]:
        for chunk in said:
            for one in calls_of(chunk):
                one.pop(member, None)
        return said

    return changed


def with_empty_members(said: list[Json]) -> list[Json]:
    for one in (one for chunk in said for one in calls_of(chunk)):
        one.setdefault("id", "")
        one.setdefault("type", None)
        one["function"].setdefault("name", "")
        one["custom"] = {}
    return said


def with_nulls(said: list[Json]) -> list[Json]:
    for chunk in said:
        chunk |= {"usage": chunk.get("usage"), "service_tier": None, "obfuscation": "abc"}
        for choice in chunk["choices"]:
            names = ("content", "role", "tool_calls", "refusal", "reasoning_content", "function_call")
            choice["delta"] = dict.fromkeys(names) | choice["delta"]
            choice["logprobs"] = None
    return said


def with_usage_earlier(said: list[Json]) -> list[Json]:
    return [*said[:-2], {**said[-2], "usage": USED}]


def with_usage_on_all(said: list[Json]) -> list[Json]:
    running = {"prompt_tokens": 5, "completion_tokens": None, "total_tokens": 5}
    return [{**chunk, "usage": running} for chunk in said[:-2]] + said[-2:]


def with_empty_chunks(said: list[Json]) -> list[Json]:
    return [each for chunk in said for each in ({**HEAD, "choices": []}, chunk, delta({}))][:-1]


def with_end_twice(said: list[Json]) -> list[Json]:
    return [*said[:-1], delta({}, "stop"), said[-1]]


def without_the_index(said: list[Json]) -> list[Json]:
    for choice in (choice for chunk in said for choice in chunk["choices"]):
        del choice["index"]
    return said


def with_one_index(said: list[Json]) -> list[Json]:
    for one in (one for chunk in said for one in calls_of(chunk)):
        one["index"] = 0
    return said


MEMBERS: Final[dict[str, Callable[[list[Json]], list[Json]]]] = {
    "tool calls without an index": without("index"),
    "tool calls without a type": without("type"),
    "all tool calls at index 0": with_one_index,
    "empty members": with_empty_members,
    "nulls": with_nulls,
    "usage with the finish reason": with_usage_earlier,
    "running usage": with_usage_on_all,
    "empty chunks": with_empty_chunks,
    "two ends": with_end_twice,
    "choices without an index": without_the_index,
}


def read(provider: str, raw: bytes, pieces: int = 1, *, whole: bool = False) -> tuple[Any, ...]:
    options = {"stream_options": {"include_usage": True}}
    asked = {
        "messages": [{"role": "user", "content": "hi"}],
        "stream": not whole,
        **({} if whole else options),
    }
    _, attempt = first_attempt(proxy(provider, "m"), client_request(asked))
    carried = attempt.translation
    carried.request()
    if whole:
        answer = json.loads(carried.response(200, {"content-type": "text/event-stream"}, raw).body)
        (choice,) = answer["choices"]
        message = choice["message"]
        calls = [
            (one["id"], one["function"]["name"], one["function"]["arguments"])
            for one in message["tool_calls"]
        ]
        told = message["content"], message["reasoning_content"], calls, choice["finish_reason"]
    else:
        stream = carried.stream(200, {"content-type": "text/event-stream"})
        assert stream is not None
        size = -(-len(raw) // pieces)
        out = b"".join(stream.feed(raw[at : at + size]) for at in range(0, len(raw), size)) + stream.finish()
        assert stream.failed is None
        told = folded(events(out))
    used = attempt.call.usage
    return (*told, used.prompt_tokens, used.completion_tokens, used.total, str(used.source))


def folded(chunks: list[Any]) -> tuple[Any, ...]:
    *chunks, end = chunks
    assert end == "[DONE]"
    text, thought, finish = "", "", []
    calls: dict[int, list[str]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        assert choice["index"] == 0
        text += choice["delta"].get("content") or ""
        thought += choice["delta"].get("reasoning_content") or ""
        finish += [choice["finish_reason"]] if choice["finish_reason"] else []
        for one in choice["delta"].get("tool_calls") or ():
            known = calls.setdefault(one["index"], ["", "", ""])
            function = one["function"]
            for at, piece in enumerate((one.get("id"), function.get("name"), function.get("arguments"))):
                known[at] += piece or ""
    (reason,) = finish
    assert chunks[-1]["usage"]["total_tokens"] == 12
    return text, thought, [tuple(calls[index]) for index in sorted(calls)], reason


SAME: Final = (
    'Hello é😀 data: "x"\n\n', "Hm.", [("a", "look", '{"q":"é"}'), ("b", "see", "{}")], "tool_calls",
    5, 7, 12, "reported",
)  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("provider", STREAMS)
def test_framings(provider: str, framing: str, whole: bool) -> None:
    raw = FRAMINGS[framing](framed(STREAMS[provider], DONE.get(provider, b"")))
    if whole:
        assert read(provider, raw, whole=True) == SAME
        return
    for pieces in (1, 2, 7, len(raw)):
        assert read(provider, raw, pieces) == SAME


@pytest.mark.parametrize("provider", STREAMS)
def test_members_in_another_order(provider: str) -> None:
    assert read(provider, framed([turned(one) for one in STREAMS[provider]], DONE.get(provider, b""))) == SAME


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("change", MEMBERS)
@pytest.mark.parametrize("provider", ["mistral", "deepseek"])
def test_odd_members(provider: str, change: str, whole: bool) -> None:
    raw = framed(MEMBERS[change](deepcopy(CHAT)), DONE[provider])
    assert read(provider, raw, whole=whole) == SAME

"""Converse: each member, block, event and value that AWS's own model of the API has in answers has its
treatment here, and is treated so, whole and as a stream.

A newer botocore that brings new ones fails `test_nothing_is_unheard_of`: look at what reads such an answer,
then enter it here.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import botocore.session
import pytest
from native_support import assemble, flat, make_call, read_stream, two_way_splits

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.bedrock.adapter import ConverseAdapter
from kong_ai_proxy.formats.bedrock.blocks import FINISH_REASONS
from kong_ai_proxy.formats.bedrock.errors import _STATUS
from kong_ai_proxy.formats.bedrock.invoke import InvokeMessagesAdapter, InvokeMessagesObserver
from kong_ai_proxy.formats.bedrock.observer import CONVERSE_OBSERVER
from kong_ai_proxy.wire.eventstream import encode_frame

Json = dict[str, Any]
ADAPTER: Final = ConverseAdapter()
RUNTIME: Final = botocore.session.get_session().get_service_model("bedrock-runtime")

KEPT: Final = (
    "document", "video", "toolResult", "guardContent", "cachePoint", "searchResult", "toolAddition",
    "toolRemoval",
)  # fmt: skip
MEMBERS: Final[dict[str, dict[str, str]]] = {
    "ConverseResponse": {
        "output": "message",
        "stopReason": "finish_reason",
        "usage": "usage",
        "metrics": "-",
        "additionalModelResponseFields": "own",
        "trace": "own: guardrail; promptRouter is the model",
        "performanceConfig": "own",
        "serviceTier": "tier",
    },
    "ContentBlock": {
        "text": "content",
        "toolUse": "call; kept where it is a server's",
        "reasoningContent": "reasoning",
        "citationsContent": "content; annotations, citations",
        "image": "images",
        "audio": "audio",
        **dict.fromkeys(KEPT, "kept"),
    },
    "ToolUseBlock": {
        "toolUseId": "id", "name": "name", "input": "arguments", "type": "kept if server_tool_use",
    },
    "ReasoningContentBlock": {"reasoningText": "reasoning", "redactedContent": "redacted thinking"},
    "ReasoningTextBlock": {"text": "reasoning", "signature": "thinking block"},
    "CitationsContentBlock": {"content": "content", "citations": "annotations, citations"},
    "CitationGeneratedContent": {"text": "content"},
    "CitationLocation": {
        "web": "annotations",
        **dict.fromkeys(
            ("documentChar", "documentPage", "documentChunk", "searchResultLocation"), "citations"
        ),
    },
    "ImageBlock": {"format": "images", "source": "images", "error": "kept"},
    "AudioBlock": {"format": "-", "source": "audio", "error": "kept"},
    "TokenUsage": {
        "inputTokens": "prompt",
        "outputTokens": "completion",
        "totalTokens": "total",
        "cacheReadInputTokens": "prompt, cached",
        "cacheWriteInputTokens": "prompt, written",
        "cacheDetails": "written by time to live",
    },
    "ConverseTrace": {"guardrail": "own", "promptRouter": "model"},
    "ConverseStreamTrace": {"guardrail": "own", "promptRouter": "model"},
    "ConverseStreamOutput": {
        "messageStart": "the beginning",
        "contentBlockStart": "a block",
        "contentBlockDelta": "a piece of one",
        "contentBlockStop": "its end",
        "messageStop": "finish_reason",
        "metadata": "usage",
        **dict.fromkeys(
            (
                "internalServerException", "modelStreamErrorException", "validationException",
                "throttlingException", "serviceUnavailableException",
            ),
            "error",
        ),
    },
    "ContentBlockStart": {"toolUse": "call", "toolResult": "kept", "image": "images"},
    "ContentBlockDelta": {
        "text": "content",
        "toolUse": "arguments",
        "toolResult": "kept",
        "reasoningContent": "reasoning",
        "citation": "annotations, citations",
        "image": "images",
    },
    "ToolUseBlockStart": {"toolUseId": "id", "name": "name", "type": "kept if server_tool_use"},
    "ToolUseBlockDelta": {"input": "arguments"},
    "ReasoningContentBlockDelta": {
        "text": "reasoning", "redactedContent": "redacted thinking", "signature": "thinking block",
    },
    "MessageStopEvent": {"stopReason": "finish_reason", "additionalModelResponseFields": "own"},
    "ConverseStreamMetadataEvent": {
        "usage": "usage", "metrics": "-", "trace": "own", "performanceConfig": "own", "serviceTier": "tier",
    },
    "ResponseStream": {
        "chunk": "an event of the model's own stream",
        **dict.fromkeys(
            (
                "internalServerException", "modelStreamErrorException", "validationException",
                "throttlingException", "modelTimeoutException", "serviceUnavailableException",
            ),
            "error",
        ),
    },
}  # fmt: skip


def test_nothing_is_unheard_of() -> None:
    for name, members in MEMBERS.items():
        if name in RUNTIME.shape_names:  # older releases know of less
            assert RUNTIME.shape_for(name).members.keys() <= members.keys(), name
    for name, known in (
        ("StopReason", FINISH_REASONS.keys()),
        ("ToolUseType", {"server_tool_use"}),
        ("CacheTTL", {"5m", "1h"}),
    ):
        if name in RUNTIME.shape_names:
            assert set(RUNTIME.shape_for(name).enum) <= set(known), name
    errors = {name for members in MEMBERS.values() for name, how in members.items() if how == "error"}
    assert errors == _STATUS.keys()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


CITED: Final = [
    {"title": "t", "location": {"web": {"url": "https://example.com", "domain": "example.com"}}},
    {"title": "d", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}},
]
BLOCKS: Final[dict[str, Json]] = {
    "text": {"text": "Said é🙂."},
    "toolUse": {"toolUse": {"toolUseId": "id_call", "name": "look", "input": {"q": "é", "n": [1, None]}}},
    "server's toolUse": {
        "toolUse": {"toolUseId": "id_own", "name": "grounding", "input": {"q": 1}, "type": "server_tool_use"}
    },
    "reasoningContent": {"reasoningContent": {"reasoningText": {"text": "Hm é.", "signature": "c2ln"}}},
    "redacted": {"reasoningContent": {"redactedContent": b64(b"secret-thought")}},
    "citationsContent": {"citationsContent": {"content": [{"text": "Said "}, {"text": "cited."}],
                                              "citations": CITED}},
    "image": {"image": {"format": "png", "source": {"bytes": b64(b"pixels and more")}}},
    "failed image": {"image": {"format": "png", "error": {"message": "no"}}},
    "toolResult": {"toolResult": {"toolUseId": "id_own", "type": "x", "status": "success",
                                  "content": [{"text": "found é"}, {"json": {"a": 1}}]}},
}  # fmt: skip
SAID: Final = {"text": "Said é🙂.", "citationsContent": "Said cited."}
ONLY_WHOLE: Final[dict[str, Json]] = {
    "audio": {"audio": {"format": "mp3", "source": {"bytes": b64(b"sound")}}},
    "failed audio": {"audio": {"format": "mp3", "error": {"message": "no"}}},
    "image in S3": {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}},
    "unknown reasoning": {"reasoningContent": {"news": 1}},
    "unknown": {"news": {"x": 1}},
    **{name: {name: {"x": 1}} for name in KEPT if name != "toolResult"},
}
"""What no event of a stream can say."""
USED: Final = {
    "inputTokens": 5,
    "outputTokens": 13,
    "totalTokens": 36,
    "cacheReadInputTokens": 11,
    "cacheWriteInputTokens": 7,
    "cacheDetails": [{"ttl": "5m", "inputTokens": 3}, {"ttl": "1h", "inputTokens": 4}],
}


def answer_of(*blocks: Json, reason: str = "end_turn", **more: Any) -> Json:
    message = {"role": "assistant", "content": list(blocks)}
    return {
        "output": {"message": message},
        "stopReason": reason,
        "usage": USED,
        "metrics": {"latencyMs": 1},
        **more,
    }


def frame(name: str, payload: Any, kind: str = "event") -> bytes:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return encode_frame({f":{kind}-type": name, ":message-type": kind}, data)


def frames_of(answer: Json) -> list[bytes]:
    """The answer's stream, by the members of ConverseStreamOutput."""
    frames = [frame("messageStart", {"role": "assistant", "p": "abc"})]
    for index, block in enumerate(answer["output"]["message"]["content"]):
        start, deltas = _pieces(block)
        if start is not None:
            frames.append(frame("contentBlockStart", {"contentBlockIndex": index, "start": start}))
        frames += [frame("contentBlockDelta", {"contentBlockIndex": index, "delta": one}) for one in deltas]
        frames.append(frame("contentBlockStop", {"contentBlockIndex": index}))
    stop = {name: answer[name] for name in MEMBERS["MessageStopEvent"] if name in answer}
    known = {name: answer[name] for name in MEMBERS["ConverseStreamMetadataEvent"] if name in answer}
    return [*frames, frame("messageStop", stop), frame("metadata", known)]


def _pieces(block: Json) -> tuple[Json | None, list[Json]]:
    ((name, value),) = block.items()
    if name == "text":
        return None, [{"text": one} for one in value]
    if name == "toolUse":
        given = json.dumps(value["input"], ensure_ascii=False, separators=(",", ":"))
        start = {key: one for key, one in value.items() if key != "input"}
        return {name: start}, [{name: {"input": one}} for one in (given[:3], "", given[3:])]
    if name == "reasoningContent":
        if "redactedContent" in value:
            raw = base64.b64decode(value["redactedContent"])
            return None, [{name: {"redactedContent": b64(one)}} for one in (raw[:4], raw[4:])]
        said = value["reasoningText"]
        return None, [
            *({name: {"text": one}} for one in said["text"]),
            {name: {"signature": said["signature"]}},
        ]
    if name == "citationsContent":
        words = [{"text": one["text"]} for one in value["content"]]
        return None, [words[0], *({"citation": one} for one in value["citations"]), words[1]]
    if name == "image":
        if "error" in value:
            return {name: {"format": value["format"]}}, [{name: {"error": value["error"]}}]
        raw = base64.b64decode(value["source"]["bytes"])
        pieces = [{name: {"source": {"bytes": b64(one)}}} for one in (raw[:4], raw[4:])]
        return {name: {"format": value["format"]}}, pieces
    start = {key: one for key, one in value.items() if key != "content"}
    return {name: start}, [{name: [{"text": "found "}]}, {name: [{"text": "é"}, {"json": {"a": 1}}]}]


def call() -> Any:
    return make_call("bedrock", "nova", stream=True, include_usage=True)


def merged(items: list[Any]) -> Json:
    added = assemble(items)
    deltas = [choice["delta"] for item in items for choice in item["choices"]]
    return added | {
        "id": "",
        "thinking": [one for delta in deltas for one in delta.get("thinking_blocks", ())],
    }


@pytest.mark.parametrize("name", [*BLOCKS, *ONLY_WHOLE])
def test_blocks(name: str) -> None:
    block = (BLOCKS | ONLY_WHOLE)[name]
    called = name == "toolUse"
    answer = answer_of(
        {"text": "Before. "}, block, {"text": " After."}, reason="tool_use" if called else "end_turn"
    )
    made = call()
    whole = ADAPTER.response(json.loads(json.dumps(answer)), made)
    said = whole["choices"][0]["message"]
    assert said["content"] == f"Before. {SAID.get(name, '')} After."
    assert whole["choices"][0]["finish_reason"] == ("tool_calls" if called else "stop")
    assert bool(said.get("tool_calls")) is called
    assert bool(said.get("thinking_blocks")) is (name in ("reasoningContent", "redacted"))
    assert bool(said.get("images")) is (name == "image")
    assert bool(said.get("audio")) is (name == "audio")
    known = ("text", "toolUse", "reasoningContent", "redacted", "citationsContent", "image", "audio")
    kept = said.get("provider_specific_fields", {}).get("content_blocks", [])
    assert kept == ([] if name in known else [block])
    used = made.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (23, 13, 36)
    assert (used.cached_tokens, used.cache_write_tokens) == (11, 7)
    assert used.cache_write_by_ttl == {"5m": 3, "1h": 4}
    if name in ONLY_WHOLE:
        return
    data = b"".join(frames_of(answer))
    expected = flat(whole) | {"id": "", "thinking": said.get("thinking_blocks", [])}
    for split in two_way_splits(data, most=12):
        twin = call()
        assert merged(read_stream(ADAPTER, twin, split)) == expected
        assert (twin.usage, twin.finish_reasons) == (made.usage, made.finish_reasons)
    passed = call()
    observer = CONVERSE_OBSERVER.stream(passed)
    assert observer.feed(data) + observer.finish() == data
    assert observer.complete
    assert (passed.usage, passed.finish_reasons) == (made.usage, made.finish_reasons)


EVERYTHING: Final = answer_of(
    *BLOCKS.values(),
    reason="tool_use",
    additionalModelResponseFields={"x": 1},
    trace={"guardrail": {"actionReason": "a"}, "promptRouter": {"invokedModelId": "routed"}},
    performanceConfig={"latency": "optimized"},
    serviceTier={"type": "flex"},
)


@pytest.mark.parametrize("name", ["openai", "responses", "anthropic", "bedrock", "gemini"])
def test_every_client_format_has_all_that_it_can_say(name: str) -> None:
    client, made = client_format(name), call()
    whole = json.dumps(client.response(ADAPTER.response(EVERYTHING, made), made), ensure_ascii=False)
    twin = call()
    encoder = client.stream(twin)
    items = read_stream(ADAPTER, twin, frames_of(EVERYTHING))
    out = b"".join(encoder.encode(item) for item in items) + encoder.finish()
    for words in ("Said é🙂.Said cited.", "Hm é.", "id_call", "look"):
        assert words in whole
    assert b"id_call" in out and b"look" in out
    if name in ("openai", "bedrock", "gemini"):
        pixels = BLOCKS["image"]["image"]["source"]["bytes"]
        assert pixels in whole and pixels.encode() in out
    if name == "anthropic":
        assert "toolResult" not in whole and b"toolResult" not in out  # no block of Messages


def test_usage_comes_out_as_it_went_in() -> None:
    made = call()
    answer = client_format("bedrock").response(ADAPTER.response(EVERYTHING, made), made)
    assert answer["usage"] == USED


def test_members_without_a_place_go_along() -> None:
    made, twin = call(), call()
    whole = ADAPTER.response(EVERYTHING, made)
    own = whole["choices"][0]["message"]["provider_specific_fields"]
    names = ("additionalModelResponseFields", "performanceConfig")
    assert {name: own[name] for name in names} == {name: EVERYTHING[name] for name in names}
    assert own["trace"] == EVERYTHING["trace"]["guardrail"]
    last = read_stream(ADAPTER, twin, frames_of(EVERYTHING))[-2]["choices"][0]
    assert last["delta"]["provider_specific_fields"].items() <= own.items()
    assert twin.usage == made.usage
    assert twin.usage.service_tier == "flex"
    assert (whole["model"], made.response_model, twin.response_model) == ("routed", "routed", "routed")


@pytest.mark.parametrize("reason", FINISH_REASONS)
def test_stop_reasons(reason: str) -> None:
    expected = "stop" if reason == "tool_use" else FINISH_REASONS[reason]  # there is no call
    answer = answer_of({"text": "a"}, reason=reason)
    assert ADAPTER.response(answer, call())["choices"][0]["finish_reason"] == expected
    assert (
        assemble(read_stream(ADAPTER, call(), frames_of(answer)))["choices"][0]["finish_reason"] == expected
    )


@pytest.mark.parametrize("name", _STATUS)
def test_exceptions(name: str) -> None:
    data = [*frames_of(answer_of({"text": "a"}))[:2], frame(name, {"message": "no"}, "exception")]
    items = read_stream(ADAPTER, call(), data)
    assert isinstance(items[-1], ApiError)
    assert (items[-1].status, items[-1].message) == (_STATUS[name], "no")


PLAIN: Final = frames_of(EVERYTHING)
STOPS: Final = [index for index, one in enumerate(PLAIN) if b"contentBlockStop" in one]
ORDERS: Final = {
    "metadata first": [PLAIN[0], PLAIN[-1], *PLAIN[1:-1]],
    "metadata before messageStop": [*PLAIN[:-2], PLAIN[-1], PLAIN[-2]],
    "no block stops": [one for index, one in enumerate(PLAIN) if index not in STOPS],
    "unknown events": [new for one in PLAIN for new in (one, frame("news", {"contentBlockIndex": 0}))],
    "initial-response": [frame("initial-response", b""), *PLAIN],
    "twice": [*PLAIN, *PLAIN[-2:]],
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name: str) -> None:
    made, twin = call(), call()
    expected = merged(read_stream(ADAPTER, made, PLAIN))
    items = read_stream(ADAPTER, twin, ORDERS[name])
    assert [bool(item.get("usage")) for item in items].index(True) == len(items) - 1
    found = merged(items)
    if name == "no block stops":  # all blocks end together: what has no place of its own comes later
        expected["choices"][0].pop("extra"), found["choices"][0].pop("extra")
    assert found == expected | {"model": found["model"]}
    assert twin.usage == made.usage


def test_without_metadata() -> None:
    made = call()
    items = read_stream(ADAPTER, made, PLAIN[:-1])
    assert assemble(items)["choices"][0]["finish_reason"] == "tool_calls"
    assert made.usage.source is UsageSource.NONE


def test_blocks_and_deltas_of_the_future() -> None:
    start = frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"news": {"a": 1}}})
    pieces = [{"news": {"b": 2}}, {"more": "c"}]
    deltas = [frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": one}) for one in pieces]
    end = frame("contentBlockStop", {"contentBlockIndex": 0})
    again = [start, deltas[0], start]  # begins before the other has ended
    for data, expected in (
        ([start, *deltas, end], [{"news": {"a": 1, "b": 2}, "more": "c"}]),
        ([*deltas, end], [{"news": {"b": 2}, "more": "c"}]),
        ([*again, end], [{"news": {"a": 1, "b": 2}}, {"news": {"a": 1}}]),
    ):
        items = read_stream(ADAPTER, call(), [*data, *frames_of(answer_of({"text": "a"}))])
        assert assemble(items)["choices"][0]["content"] == "a"
        own = [c["delta"].get("provider_specific_fields", {}) for item in items for c in item["choices"]]
        assert [block for one in own for block in one.get("content_blocks", ())] == expected


# ---- Messages in AWS's frames


def wrapped(event: Json) -> bytes:
    return frame("chunk", {"bytes": b64(json.dumps(event).encode()), "p": "abcd"})


def test_messages_behind_invoke_in_odd_frames() -> None:
    message = {
        "id": "msg_1",
        "model": "claude-x",
        "content": [],
        "usage": {"input_tokens": 5, "output_tokens": 1},
    }
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "a"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 7}},
        {"type": "message_stop"},
    ]
    frames = [frame("initial-response", b""), *map(wrapped, events), frame("news", b"?")]
    for data in (frames, frames[:-2]):
        made, passed = call(), call()
        items = read_stream(InvokeMessagesAdapter(), made, data)
        assert assemble(items)["choices"][0]["content"] == "a"
        observer = InvokeMessagesObserver().stream(passed)
        out = b"".join(map(observer.feed, data)) + observer.finish()
        assert out.count(b"event: message_stop") == 1
        assert observer.complete
        for used in (made.usage, passed.usage):
            assert (used.prompt_tokens, used.completion_tokens) == (5, 7)
            assert used.source is UsageSource.REPORTED
    failed = InvokeMessagesObserver().stream(call())
    data = b"".join([*frames[:5], frame("throttlingException", {"message": "no"}, "exception")])
    assert b"message_stop" not in failed.feed(data) + failed.finish()

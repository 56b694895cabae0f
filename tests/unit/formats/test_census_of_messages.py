"""Messages: each member, block, delta, event and value that Anthropic's SDK knows of in answers has its
treatment here, and is treated so, whole and as a stream.

An upgrade of the SDK that brings new ones fails `test_nothing_is_unheard_of`: look at what reads such an
answer, then enter it here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.beta import (
    BetaContentBlock,
    BetaMessage,
    BetaMessageDeltaUsage,
    BetaRawContentBlockDelta,
    BetaRawMessageStreamEvent,
    BetaUsage,
)
from anthropic.types.beta.beta_content_block_param import BetaContentBlockParam
from anthropic.types.beta.beta_tool_param import BetaToolParam
from anthropic.types.beta.message_create_params import MessageCreateParamsBase
from anthropic.types.shared.error_object import ErrorObject
from census_support import example, examples, fields, kinds, literals, names, unlisted
from native_support import assemble, flat, make_call, read_stream, two_way_splits

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.json import dumps_text
from kong_ai_proxy.core.usage import OtherModel, UsageSource
from kong_ai_proxy.exchange.chunks import chunks_of
from kong_ai_proxy.formats import client_format
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.blocks import ANSWER_BLOCKS, FINISH_REASONS
from kong_ai_proxy.formats.anthropic.observer import MessagesObserver
from kong_ai_proxy.formats.anthropic.request import _HANDLED as HANDLED
from kong_ai_proxy.formats.anthropic.request import _TOOL_EXTRAS as TOOL_EXTRAS
from kong_ai_proxy.wire.sse import SSEDecoder

Json = dict[str, Any]
ADAPTER: Final = MessagesAdapter()
CLIENTS: Final = ("openai", "responses", "anthropic", "bedrock", "gemini")

BLOCKS: Final = {
    "text": "content",
    "thinking": "reasoning",
    "redacted_thinking": "reasoning",
    "tool_use": "call",
    **dict.fromkeys(sorted(ANSWER_BLOCKS), "kept"),
}
DELTAS: Final = {
    "text_delta": "content",
    "thinking_delta": "reasoning_content; estimated_tokens are for a progress bar",
    "signature_delta": "the thinking block's",
    "input_json_delta": "arguments",
    "citations_delta": "annotations, or citations among what the provider said",
    "compaction_delta": "the block's",
}
EVENTS: Final = {
    "message_start": "id, model, input tokens",
    "content_block_start": "a block",
    "content_block_delta": "a piece of one",
    "content_block_stop": "its end",
    "message_delta": "stop reason, usage",
    "message_stop": "the end",
}
MESSAGE: Final = {
    "id": "id",
    "type": "-",
    "role": "-",
    "model": "model",
    "content": "blocks",
    "stop_reason": "finish_reason",
    "usage": "usage",
    **dict.fromkeys(
        (
            "stop_sequence", "stop_details", "container", "context_management", "diagnostics",
            "input_transformations",
        ),
        "own",
    ),
}  # fmt: skip
USAGE: Final = {
    "input_tokens": "prompt",
    "cache_creation_input_tokens": "prompt, written",
    "cache_read_input_tokens": "prompt, cached",
    "cache_creation": "written by time to live",
    "output_tokens": "completion",
    "output_tokens_details": "reasoning",
    "iterations": "summed by model",
    "service_tier": "tier",
    "speed": "tier: fast",
    "server_tool_use": "not counted: searches have a price of their own",
    "inference_geo": "not counted",
    "fallback_credit": "not counted",
}
ITERATIONS: Final = frozenset({"message", "compaction", "advisor_message", "fallback_message"})
ERRORS: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
INSIDE: Final = {
    # Blocks that are translated member by member. All others go on whole.
    "TextBlock.*": "content; citations",
    "ThinkingBlock.*": "whole",
    "RedactedThinkingBlock.*": "whole",
    "ToolUseBlock.id": "id",
    "ToolUseBlock.type": "-",
    "ToolUseBlock.input": "arguments",
    "ToolUseBlock.name": "name",
    "ToolUseBlock.caller": "extra_content",
    "ToolUseBlock.toolset_name": "extra_content",
}
CITATIONS: Final = {
    "char_location": "citations",
    "page_location": "citations",
    "content_block_location": "citations",
    "search_result_location": "citations",
    "web_search_result_location": "annotations",
}


def test_nothing_is_unheard_of() -> None:
    events = kinds(BetaRawMessageStreamEvent)
    # Older releases know of less.
    assert kinds(BetaContentBlock).keys() <= BLOCKS.keys()
    assert kinds(BetaRawContentBlockDelta).keys() <= DELTAS.keys()
    assert events.keys() <= EVENTS.keys()
    assert kinds(RawMessageStreamEvent).keys() <= events.keys()
    assert fields(Message).keys() <= fields(BetaMessage).keys() <= MESSAGE.keys()
    reasons = {value for value in literals(fields(BetaMessage)["stop_reason"]) if value}
    assert reasons <= FINISH_REASONS.keys()
    delta = fields(fields(events["message_delta"])["delta"])
    assert {*delta, *fields(events["message_delta"])} <= {*MESSAGE, "delta", "type", "usage"}
    assert fields(BetaMessageDeltaUsage).keys() | fields(BetaUsage).keys() <= USAGE.keys()
    assert kinds(fields(BetaUsage)["iterations"]).keys() <= ITERATIONS
    assert kinds(ErrorObject).keys() <= ERRORS.keys()
    blocks = kinds(BetaContentBlock)
    translated = [name for name, how in BLOCKS.items() if how != "kept"]
    found = {f"{name}.{one}" for kind in translated for name, one in _members(blocks[kind])}
    assert not unlisted(found, INSIDE)
    citations = kinds(fields(blocks["text"])["citations"])
    assert citations.keys() <= CITATIONS.keys()
    for kind, cls in citations.items():
        assert ("url" in fields(cls)) is (CITATIONS[kind] == "annotations")
    assert names(BetaUsage) >= {"BetaCacheCreation.ephemeral_5m_input_tokens"}


def _members(cls: Any) -> list[tuple[str, str]]:
    return [(cls.__name__.removeprefix("Beta"), name) for name in fields(cls)]


# ---- examples of all of them


def block_of(kind: str) -> Json:
    block = example(kinds(BetaContentBlock)[kind], 9)
    if kind == "text":
        citations = kinds(fields(kinds(BetaContentBlock)["text"])["citations"])
        block |= {"text": "Said é🙂.", "citations": [example(citations[one]) for one in CITATIONS]}
    elif kind == "thinking":
        block |= {"thinking": "Hm é.", "signature": "c2ln"}
    elif "input" in block:
        block |= {"id": f"id_{kind}", "name": "look", "input": {"q": "é", "n": [1, None]}}
    return {**block, "type": kind}


USED: Final = {
    "input_tokens": 5,
    "cache_creation_input_tokens": 7,
    "cache_read_input_tokens": 11,
    "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
    "output_tokens": 13,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "priority",
    "inference_geo": "eu",
    "speed": None,
}


def message_of(*blocks: Json, reason: str = "end_turn", **more: Any) -> Json:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x"}
    return {**head, "content": list(blocks), "stop_reason": reason, "usage": dict(USED), **more}


def events_of(message: Json) -> list[Json]:
    """The message's stream, by what the SDK does with each event (anthropic, lib/streaming)."""
    own = {name: message[name] for name, how in MESSAGE.items() if how == "own" and name in message}
    at_start = {name: own.pop(name) for name in ("diagnostics", "input_transformations") if name in own}
    edits = {name: own.pop(name) for name in ("context_management",) if name in own}
    begun = {**message, **dict.fromkeys(own), **at_start, "content": [], "stop_reason": None}
    begun["usage"] = {**message["usage"], "output_tokens": 1}
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        start, deltas = _pieces(block)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": one} for one in deltas]
        events.append({"type": "content_block_stop", "index": index})
    usage = {name: value for name, value in message["usage"].items() if name in fields(BetaMessageDeltaUsage)}
    end = {"stop_reason": message["stop_reason"], **own}
    events.append({"type": "message_delta", "delta": end, "usage": usage, **edits})
    return [*events, {"type": "message_stop"}]


def _pieces(block: Json) -> tuple[Json, list[Json]]:
    kind = block["type"]
    if kind == "text":
        said = [{"type": "text_delta", "text": letter} for letter in block["text"]]
        cited = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or []]
        return {**block, "text": "", "citations": []}, said + cited
    if kind == "thinking":
        said = [
            {"type": "thinking_delta", "thinking": one, "estimated_tokens": 1}
            for one in ("", *block["thinking"])
        ]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*said, signed]
    if "input" in block:
        given = dumps_text(block["input"])
        halves = (given[:7], "", given[7:])
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": one} for one in halves]
    if kind == "compaction":
        members = {name: block.pop(name) for name in ("content", "encrypted_content")}
        return {**block, **dict.fromkeys(members)}, [{"type": "compaction_delta", **members}]
    return block, []


def sse(events: list[Json]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


def call() -> Any:
    return make_call("anthropic", "claude-x", stream=True, include_usage=True)


def merged(items: list[Any]) -> Json:
    """What an OpenAI client reads, with lists of several chunks put together."""
    added = assemble(items)
    for choice in added["choices"].values():
        for name in ("annotations", "provider_specific_fields"):
            choice["extra"].pop(name, None)
    deltas = [choice["delta"] for item in items for choice in item["choices"]]
    extra = added["choices"][0]["extra"]
    for delta in deltas:
        if "annotations" in delta:
            extra["annotations"] = extra.get("annotations", []) + delta["annotations"]
        for name, value in delta.get("provider_specific_fields", {}).items():
            own = extra.setdefault("provider_specific_fields", {})
            own[name] = own[name] + value if isinstance(own.get(name), list) else value
    blocks = [block for delta in deltas for block in delta.get("thinking_blocks", ())]
    return added | {"thinking": blocks}


@pytest.mark.parametrize("kind", sorted(BLOCKS))
def test_blocks(kind: str) -> None:
    block = block_of(kind)
    before, after = {"type": "text", "text": "Before. "}, {"type": "text", "text": " After."}
    message = message_of(before, block, after, reason="tool_use" if kind == "tool_use" else "end_turn")
    made = call()
    whole = ADAPTER.response(json.loads(json.dumps(message)), made)
    said = whole["choices"][0]["message"]
    treatment = BLOCKS[kind]
    assert said["content"] == f"Before. {block['text'] if kind == 'text' else ''} After."
    assert bool(said.get("thinking_blocks")) is (treatment == "reasoning")
    assert bool(said.get("tool_calls")) is (treatment == "call")
    kept = said.get("provider_specific_fields", {}).get("content_blocks", [])
    assert kept == ([block] if treatment == "kept" else [])
    if treatment == "call":
        (tool,) = said["tool_calls"]
        assert (tool["id"], tool["function"]["name"]) == (block["id"], block["name"])
        assert json.loads(tool["function"]["arguments"]) == block["input"]
    assert whole["choices"][0]["finish_reason"] == ("tool_calls" if treatment == "call" else "stop")
    streamed = sse(events_of(json.loads(json.dumps(message))))
    expected = flat(whole) | {"thinking": said.get("thinking_blocks", [])}
    if kind == "fallback":
        expected["model"] = block["to"]["model"]  # a whole message names it itself
    for split in two_way_splits(streamed, most=12):
        twin = call()
        assert merged(read_stream(ADAPTER, twin, split)) == expected
        assert twin.usage == made.usage
        assert twin.finish_reasons == made.finish_reasons
    passed = call()
    observer = MessagesObserver().stream(passed)
    assert observer.feed(streamed) + observer.finish() == streamed
    assert observer.complete
    assert (passed.usage, passed.finish_reasons) == (made.usage, made.finish_reasons)


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_format_has_all_that_it_can_say(name: str) -> None:
    message = message_of(*(block_of(kind) for kind in BLOCKS), reason="tool_use", **own_members())
    client, made = client_format(name), call()
    whole = json.dumps(client.response(ADAPTER.response(message, made), made), ensure_ascii=False)
    for words in ("Said é🙂.", "Hm é.", "id_tool_use", "look"):
        assert words in whole
    twin = call()
    encoder = client.stream(twin)
    items = read_stream(ADAPTER, twin, [sse(events_of(message))])
    out = b"".join(encoder.encode(item) for item in items) + encoder.finish()
    assert b"id_tool_use" in out and b"look" in out
    if name == "anthropic":
        for kind in ANSWER_BLOCKS:
            assert f'"type": "{kind}"' in whole
        events = [json.loads(event.data) for event in SSEDecoder().feed(out)]
        started = [e["content_block"]["type"] for e in events if e["type"] == "content_block_start"]
        assert set(started) == BLOCKS.keys()


def own_members() -> Json:
    members = {name: example(fields(BetaMessage)[name]) for name, how in MESSAGE.items() if how == "own"}
    return json.loads(json.dumps(members))


def test_members_without_a_place_go_along() -> None:
    own = own_members()
    message = message_of(block_of("text"), reason="refusal", **own)
    choice = ADAPTER.response(message, call())["choices"][0]
    kept = choice["message"]["provider_specific_fields"]
    assert {name: kept[name] for name in own} == own
    assert kept["stop_reason"] == "refusal"
    assert choice["message"]["refusal"] == own["stop_details"]["explanation"]
    items = read_stream(ADAPTER, call(), [sse(events_of(message))])
    streamed = merged(items)["choices"][0]["extra"]
    assert streamed["provider_specific_fields"] == kept
    assert streamed["refusal"] == choice["message"]["refusal"]


@pytest.mark.parametrize("reason", FINISH_REASONS)
def test_stop_reasons(reason: str) -> None:
    message = message_of({"type": "text", "text": "a"}, reason=reason)
    expected = "stop" if reason == "tool_use" else FINISH_REASONS[reason]  # there is no call
    assert ADAPTER.response(message, call())["choices"][0]["finish_reason"] == expected
    items = read_stream(ADAPTER, call(), [sse(events_of(message))])
    assert assemble(items)["choices"][0]["finish_reason"] == expected


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_in_a_stream_and_with_status_200(kind: str) -> None:
    details = {"error_code": "more_exactly"}
    error = {"type": "error", "error": {"type": kind, "message": "no", "details": details}, "request_id": "r"}
    items = read_stream(ADAPTER, call(), [sse([*events_of(message_of())[:1], error])])
    assert isinstance(items[-1], ApiError) and (items[-1].status, items[-1].message) == (ERRORS[kind], "no")
    with pytest.raises(ApiError) as raised:
        ADAPTER.response(error, call())
    found = raised.value
    assert (found.status, found.message, found.code) == (ERRORS[kind], "no", "more_exactly")
    # Without its type and its event's name.
    bare = b"data: " + json.dumps({"error": error["error"]}).encode() + b"\n\n"
    (item,) = ADAPTER.stream(call()).feed(bare)
    assert isinstance(item, ApiError) and item.status == ERRORS[kind]
    observer = MessagesObserver().stream(call())
    assert observer.feed(bare) == bare and observer.failed is not None


# ---- what clients may send of it, in OpenAI's form


def test_requests_members() -> None:
    elsewhere = {
        "system": "a message",
        "betas": "the header anthropic-beta",
        "workspace_id": "a header, and whoever configures the gateway chooses the workspace",
    }
    assert get_type_hints(MessageCreateParamsBase).keys() - HANDLED == elsewhere.keys()
    own = {"name", "description", "input_schema", "strict", "type"}
    assert get_type_hints(BetaToolParam).keys() == {*own, *TOOL_EXTRAS}


def kinds_of_params(union: Any) -> set[str]:
    """Types of the blocks of a union of TypedDicts and models."""
    if get_origin(union) is Annotated:
        return kinds_of_params(get_args(union)[0])
    if get_origin(union) is Union:
        return {kind for one in get_args(union) for kind in kinds_of_params(one)}
    members = fields(union) if hasattr(union, "model_fields") else get_type_hints(union)
    return {str(value) for value in literals(members["type"])}


def test_blocks_in_messages_are_taken() -> None:
    found = kinds_of_params(BetaContentBlockParam)
    assert found > BLOCKS.keys()
    for kind in found - {"redacted_thinking", "thinking", "text"}:
        block = {"type": kind, "x": 1}
        for role in ("user", "assistant"):
            sent = ADAPTER.request({"messages": [{"role": role, "content": [block]}]}, call())
            assert block in [one for turn in sent["messages"] for one in turn["content"]]
    said = message_of(*(block_of(kind) for kind in BLOCKS))
    message = ADAPTER.response(said, call())["choices"][0]["message"]
    tool = {"role": "tool", "tool_call_id": "id_tool_use", "content": "ok"}
    sent = ADAPTER.request({"messages": [{"role": "user", "content": "a"}, message, tool]}, call())
    back = sent["messages"][1]["content"]
    for kind in BLOCKS.keys() - {"text"}:
        expected = block_of(kind)
        if kind == "tool_use":
            del expected["caller"]  # called directly, which goes without saying
        assert expected in back


# ---- usage


def test_usage_members() -> None:
    made = call()
    ADAPTER.response(message_of(), made)
    used = made.usage
    assert (used.prompt_tokens, used.completion_tokens, used.total) == (23, 13, 36)
    assert (used.cached_tokens, used.cache_write_tokens) == (11, 7)
    assert used.cache_write_by_ttl == {"5m": 3, "1h": 4}
    assert (used.reasoning_tokens, used.service_tier) == (2, "priority")
    assert used.source is UsageSource.REPORTED
    ADAPTER.response(message_of(usage={**USED, "speed": "fast"}), made)
    assert made.usage.service_tier == "fast"


def test_iterations_of_all_kinds_are_summed_but_the_advisors() -> None:
    part = {name: USED[name] for name in list(USED)[:5] if name != "cache_creation"}
    parts = [{**part, "type": kind} for kind in sorted(ITERATIONS, reverse=True)]
    made = call()
    message = message_of(usage={**USED, "iterations": parts})
    ADAPTER.response(message, made)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (23 * 3, 13 * 3)
    assert made.usage.other_models == (OtherModel("", 23, 13),)
    assert made.usage.cache_write_by_ttl == {}  # told of one of them only
    twin = call()
    read_stream(ADAPTER, twin, [sse(events_of(message))])
    assert twin.usage == made.usage
    ADAPTER.response(message_of(usage={**USED, "iterations": parts[:1]}), made)
    assert made.usage.cache_write_by_ttl == {"5m": 3, "1h": 4}


@pytest.mark.parametrize("at", ["first", "last", "twice", "null"])
def test_usage_wherever_it_stands(at: str) -> None:
    events = events_of(message_of({"type": "text", "text": "a"}))
    start, end = events[0]["message"], events[-2]
    if at == "last":
        start["usage"] = None
        end["usage"] = dict(USED)
    elif at == "first":
        end["usage"] = {"output_tokens": 13}
    elif at == "null":
        end["usage"] = dict.fromkeys(USED) | {"output_tokens": 13}
    else:
        more = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 9}}
        events.insert(-2, more)
    for read in (True, False):
        made = call()
        if read:
            read_stream(ADAPTER, made, [sse(events)])
        else:
            observer = MessagesObserver().stream(made)
            observer.feed(sse(events))
            observer.finish()
        assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (23, 13)
        assert made.usage.source is UsageSource.REPORTED


# ---- framing, and what is odd


EVERYTHING: Final = [block_of("thinking"), block_of("text"), block_of("tool_use")]
PLAIN: Final = events_of(message_of(*EVERYTHING, reason="tool_use"))


EMPTY_END: Final = {"type": "message_delta", "delta": {"stop_reason": None}, "usage": None}


def reversed_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: reversed_keys(value[name]) for name in reversed(value)}
    return [reversed_keys(one) for one in value] if isinstance(value, list) else value


FRAMINGS: Final = {
    "crlf": sse(PLAIN).replace(b"\n", b"\r\n"),
    "cr": sse(PLAIN).replace(b"\n", b"\r"),
    "bom": b"\xef\xbb\xbf" + sse(PLAIN),
    "comments": b": hello\n\n" + sse(PLAIN).replace(b"\n\n", b"\n\n:\n\n: x\n"),
    "no space": sse(PLAIN).replace(b"data: ", b"data:").replace(b"event: ", b"event:"),
    "no names": b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in PLAIN),
    "several lines": sse(PLAIN).replace(b', "', b',\ndata: "'),
    "pings": sse(PLAIN).replace(b"\n\n", b'\n\nevent: ping\ndata: {"type": "ping"}\n\n'),
    "empty pings": sse(PLAIN).replace(b"\n\n", b"\n\nevent: ping\n\nevent: ping\ndata:\n\n"),
    "no last line": sse(PLAIN).rstrip(b"\n"),
    "done": sse(PLAIN[:-1]) + b"data: [DONE]\n\n" + sse(PLAIN[-1:]),
    "no message_stop": sse(PLAIN[:-1]),
    "no message_stop nor last line": sse(PLAIN[:-1]).rstrip(b"\n"),
    "no block stops": sse([event for event in PLAIN if event["type"] != "content_block_stop"]),
    "ids and retries": sse(PLAIN).replace(b"event: ", b"id: 7\nretry: 10\nevent: "),
    "unknown events": sse([one for e in PLAIN for one in (e, {"type": "news", "index": 0, "delta": {}})]),
    "keys reversed": sse([reversed_keys(event) for event in PLAIN]),
    "nulls": sse([{**event, "news": None, "usage": event.get("usage")} for event in PLAIN]),
    "two message_deltas": sse([*PLAIN[:-1], EMPTY_END, *PLAIN[-1:]]),
    "gaps": sse([{**one, "index": one["index"] * 3 + 2} if "index" in one else one for one in PLAIN]),
}  # fmt: skip


@pytest.mark.parametrize("name", FRAMINGS)
def test_framings(name: str) -> None:
    data, made = FRAMINGS[name], call()
    expected = merged(read_stream(ADAPTER, made, [sse(PLAIN)]))
    assert expected["thinking"] == [EVERYTHING[0]]
    for split in [(data,), *two_way_splits(data, most=25)]:
        twin = call()
        assert merged(read_stream(ADAPTER, twin, split)) == expected
        assert twin.usage == made.usage
    twin = call()
    observer = MessagesObserver().stream(twin)
    passed = observer.feed(data[:99]) + observer.feed(data[99:]) + observer.finish()
    assert observer.complete
    assert twin.usage == made.usage
    assert merged(read_stream(ADAPTER, call(), [passed])) == expected


def test_blocks_that_are_interleaved() -> None:
    start, end = PLAIN[:1], PLAIN[-2:]
    blocks = [[event for event in PLAIN if event.get("index") == index] for index in range(3)]
    mixed = [event for row in zip(*(b + [None] * 20 for b in blocks), strict=False) for event in row if event]
    expected = merged(read_stream(ADAPTER, call(), [sse(PLAIN)]))
    found = merged(read_stream(ADAPTER, call(), [sse([*start, *mixed, *end])]))
    for name in ("content", "reasoning_content", "tool_calls", "finish_reason"):
        assert found["choices"][0][name] == expected["choices"][0][name]
    assert found["thinking"] == expected["thinking"]


@pytest.mark.parametrize(
    ("start", "pieces", "arguments"),
    [
        ({"x": 1}, [], '{"x":1}'),
        ({}, [], "{}"),
        (None, [""], "{}"),
        ({}, ['{"x": tru'], '{"x": tru'),
        ({"old": 1}, ['{"x":', "1}"], '{"x":1}'),
    ],
)
def test_arguments(start: Any, pieces: list[str], arguments: str) -> None:
    tool = {"type": "tool_use", "id": "a", "name": "f", "input": start}
    events: list[Json] = [{"type": "content_block_start", "index": 0, "content_block": tool}]
    for piece in pieces:
        delta = {"type": "input_json_delta", "partial_json": piece}
        events.append({"type": "content_block_delta", "index": 0, "delta": delta})
    for stop in ([{"type": "content_block_stop", "index": 0}], []):
        items = read_stream(ADAPTER, call(), [sse([PLAIN[0], *events, *stop, *PLAIN[-2:]])])
        (made,) = assemble(items)["choices"][0]["tool_calls"]
        assert made == {"id": "a", "name": "f", "arguments": arguments}


def test_blocks_and_deltas_of_the_future() -> None:
    news = {"type": "news", "words": "a", "list": [1], "one": {"x": 1}}
    pieces = [
        {"type": "news_delta", "words": "b", "list": [2], "one": {"x": 2}, "more": "c", "none": None},
        {"type": "text_delta", "text": "no answer"},
        {"type": "citations_delta", "citation": {"type": "x"}},
        {"type": "input_json_delta", "partial_json": '{"q":'},
        {"type": "input_json_delta", "partial_json": "1}"},
    ]
    whole = {**news, "words": "ab", "list": [1, 2], "one": {"x": 2}, "more": "c", "text": "no answer",
             "citations": [{"type": "x"}], "input": {"q": 1}}  # fmt: skip
    events = [
        {"type": "content_block_start", "index": 7, "content_block": news},
        *({"type": "content_block_delta", "index": 7, "delta": one} for one in pieces),
        {"type": "content_block_delta", "index": 1, "delta": {"type": "news_delta"}},
        {"type": "content_block_stop", "index": 7},
    ]
    items = read_stream(ADAPTER, call(), [sse([*PLAIN[:-2], *events, *PLAIN[-2:]])])
    expected = merged(read_stream(ADAPTER, call(), [sse(PLAIN)]))
    found = merged(items)
    assert found["choices"][0]["extra"]["provider_specific_fields"]["content_blocks"] == [whole]
    del found["choices"][0]["extra"]["provider_specific_fields"]["content_blocks"]
    assert found == expected


def test_thinking_whose_start_is_missing() -> None:
    said = {"type": "thinking_delta", "thinking": "Hm."}
    signed = {"type": "signature_delta", "signature": "s"}
    events = [{"type": "content_block_delta", "index": 4, "delta": one} for one in (signed, said, signed)]
    found = merged(read_stream(ADAPTER, call(), [sse([*events, *PLAIN[-2:]])]))
    assert found["choices"][0]["reasoning_content"] == "Hm."
    assert found["thinking"] == [{"type": "thinking", "thinking": "Hm.", "signature": "s"}]


def test_what_is_said_under_another_blocks_number_is_said() -> None:
    at = {"type": "content_block_delta", "index": 0}
    words = [{**at, "delta": {"type": "text_delta", "text": " More."}}]
    words.append({**at, "delta": {"type": "thinking_delta", "thinking": " Ah."}})
    start = {"type": "content_block_start", "index": 0}
    for kind in ("text", "thinking", "tool_use"):
        block = {**block_of(kind), "input": {"x": 1}, "thinking": "", "text": "", "citations": None}
        events = [PLAIN[0], {**start, "content_block": block}, *words, *PLAIN[-2:]]
        choice = merged(read_stream(ADAPTER, call(), [sse(events)]))["choices"][0]
        assert (choice["content"], choice["reasoning_content"]) == (" More.", " Ah.")
        assert [one["arguments"] for one in choice["tool_calls"]] == ['{"x":1}'] * (kind == "tool_use")


def test_the_last_stop_reason_holds() -> None:
    first = {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "no"}}
    event = {"type": "message_delta", "delta": first, "usage": {"output_tokens": 1}}
    items = read_stream(ADAPTER, call(), [sse([*PLAIN[:-2], event, *PLAIN[-2:]])])
    choice = merged(items)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert "refusal" not in choice["extra"]
    assert "stop_reason" not in choice["extra"]["provider_specific_fields"]


def test_a_block_that_begins_again_ends_the_one_before() -> None:
    thinking = [event for event in PLAIN if event.get("index") == 0 and event["type"] != "content_block_stop"]
    found = merged(read_stream(ADAPTER, call(), [sse([PLAIN[0], *thinking, *thinking, *PLAIN[-2:]])]))
    assert found["thinking"] == [EVERYTHING[0]] * 2


@pytest.mark.parametrize("name", ["anthropic", "bedrock", "gemini", "responses"])
def test_several_thoughts_of_a_whole_answer_that_is_to_be_a_stream(name: str) -> None:
    blocks = [{"type": "thinking", "thinking": words, "signature": words[0]} for words in ("First.", "Then.")]
    made = call()
    encoder = client_format(name).stream(made)
    chunks = chunks_of(ADAPTER.response(message_of(*blocks, {"type": "text", "text": "a"}), made))
    out = b"".join(map(encoder.encode, chunks)) + encoder.finish()
    repeats = 5 if name == "responses" else 1  # its later events have again what was said
    assert 1 <= out.count(b"First.") == out.count(b"Then.") <= repeats


def test_other_formats_blocks_are_none_of_messages() -> None:
    compacted = {"type": "compaction", "content": "x"}
    own = {"content_blocks": [{"toolResult": {}}, {"type": "document_url"}, compacted]}
    answer = {"choices": [{"message": {"content": "a", "provider_specific_fields": own}}]}
    content = client_format("anthropic").response(answer, call())["content"]
    assert content == [compacted, {"type": "text", "text": "a"}]


def test_examples_of_all_blocks_are_the_sdks() -> None:
    for kind, made in examples(BetaContentBlock).items():
        assert kinds(BetaContentBlock)[kind].model_validate(made).type == kind

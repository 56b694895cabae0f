"""Messages streams and answers of our own making: odd shapes, errors, the JSON answer, server tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import OtherModel, UsageSource
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.blocks import FINISH_REASONS
from kong_ai_proxy.formats.anthropic.observer import MessagesObserver
from kong_ai_proxy.formats.anthropic.usage import read_usage
from kong_ai_proxy.formats.json_mode import JSON_TOOL

ADAPTER = MessagesAdapter()


def call() -> Call:
    target = Target(model=Model(provider="anthropic", name="claude"), route_type="llm/v1/chat")
    return Call(target, target.model.options, "claude", "chat", ClientRequest("POST", "/", "", {}))


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "usage": {
            "input_tokens": 10,
            "cache_read_input_tokens": 5,
            "output_tokens": 99,
            "service_tier": "priority",
        },
    },
}
STOP = {"type": "message_stop"}


def block(index: int, start: Any, *deltas: Any) -> list[Any]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ends(reason: Any, output: int = 7, **more: Any) -> dict[str, Any]:
    return {
        "type": "message_delta",
        "delta": {"stop_reason": reason, **more},
        "usage": {"output_tokens": output},
    }


def run(*events: Any, made: Call | None = None) -> list[Any]:
    decoder = ADAPTER.stream(made or call())
    return [*decoder.feed(sse(*events)), *decoder.finish()]


def deltas(items: list[Any]) -> list[Any]:
    return [item["choices"][0]["delta"] for item in items if item["choices"]]


def test_usage_of_a_stream() -> None:
    # Kong 3.15.0.4: provisional output in message_start counted, cumulative message_delta summed.
    made = call()
    first = ends(None, 3)
    run(START, *block(0, {"type": "text", "text": ""}), first, ends("end_turn", 7), STOP, made=made)
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (15, 7)
    assert made.usage.cached_tokens == 5
    assert made.usage.service_tier == "priority"
    assert made.usage.source is UsageSource.REPORTED


def test_usage_of_a_stream_that_broke_off_is_partial() -> None:
    made = call()
    decoder = ADAPTER.stream(made)
    decoder.feed(sse(START))
    assert made.usage.source is UsageSource.PARTIAL
    assert made.usage.prompt_tokens == 15
    assert made.usage.completion_tokens == 0
    (error,) = decoder.finish()
    assert isinstance(error, ApiError)
    assert (error.status, error.code) == (502, "upstream_stream_truncated")
    assert decoder.finish() == []
    assert decoder.feed(sse(STOP)) == []


@pytest.mark.parametrize(
    ("kind", "status", "ours"),
    [
        ("overloaded_error", 529, "overloaded_error"),
        ("rate_limit_error", 429, "rate_limit_error"),
        ("api_error", 500, "server_error"),
        ("something_new", 502, "something_new"),
    ],
)
def test_an_error_event_ends_the_stream(kind: str, status: int, ours: str) -> None:
    items = run(START, {"type": "error", "error": {"type": kind, "message": "no"}}, STOP)
    error = items[-1]
    assert isinstance(error, ApiError)
    assert (error.status, error.type, error.message) == (status, ours, "no")
    assert not any(isinstance(item, ApiError) for item in items[:-1])


def test_data_that_is_no_json_ends_the_stream() -> None:
    decoder = ADAPTER.stream(call())
    (error,) = decoder.feed(b"data: {oops\n\n" + sse(START))
    assert isinstance(error, ApiError)
    assert error.code == "upstream_invalid_stream"


def test_tool_indexes_count_the_clients_calls_only() -> None:
    items = run(
        START,
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Let me see."}),
        *block(
            1,
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": '{"query":'},
            {"type": "input_json_delta", "partial_json": '"q"}'},
        ),
        *block(2, {"type": "web_search_tool_result", "tool_use_id": "srv", "content": [{"url": "u"}]}),
        *block(3, {"type": "tool_use", "id": "a", "name": "now", "input": {}}),
        *block(4, {"type": "tool_use", "id": "b", "name": "then", "input": {"given": 1}}),
        *block(
            5,
            {"type": "tool_use", "id": "c", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"x":1}'},
        ),
        ends("tool_use"),
        STOP,
    )
    calls: dict[int, Any] = {}
    own = []
    for delta in deltas(items):
        own += delta.get("provider_specific_fields", {}).get("content_blocks", [])
        for part in delta.get("tool_calls", []):
            known = calls.setdefault(part["index"], {"arguments": ""})
            known.update({key: part[key] for key in ("id",) if key in part})
            known["arguments"] += part["function"]["arguments"]
    assert [(calls[i]["id"], calls[i]["arguments"]) for i in sorted(calls)] == [
        ("a", "{}"),
        ("b", '{"given":1}'),
        ("c", '{"x":1}'),
    ]
    assert own == [
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "srv", "content": [{"url": "u"}]},
    ]
    assert items[-2]["choices"][0]["finish_reason"] == "tool_calls"


def test_the_json_answer_is_text_streamed_and_whole() -> None:
    use = {"type": "tool_use", "id": "t", "name": JSON_TOOL, "input": {}}
    parts = (
        {"type": "input_json_delta", "partial_json": '{"age"'},
        {"type": "input_json_delta", "partial_json": ":3}"},
    )
    items = run(START, *block(0, use, *parts), ends("tool_use"), STOP)
    assert "".join(delta.get("content", "") for delta in deltas(items)) == '{"age":3}'
    assert not any("tool_calls" in delta for delta in deltas(items))
    assert items[-2]["choices"][0]["finish_reason"] == "stop"
    whole = {"content": [{**use, "input": {"age": 3}}], "stop_reason": "tool_use", "usage": {}}
    choice = ADAPTER.response(whole, call())["choices"][0]
    assert choice["message"]["content"] == '{"age":3}'
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "stop"


def test_thinking_is_readable_at_once_and_signed_at_its_end() -> None:
    items = run(
        START,
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "a"},
            {"type": "thinking_delta", "thinking": "b"},
            {"type": "signature_delta", "signature": "c2ln"},
        ),
        *block(1, {"type": "thinking", "thinking": "", "signature": "b21pdA=="}),
        *block(2, {"type": "redacted_thinking", "data": "ZA=="}),
        *block(3, {"type": "text", "text": "Hi"}),
        ends("end_turn"),
        STOP,
    )
    found = deltas(items)
    assert [delta["reasoning_content"] for delta in found if "reasoning_content" in delta] == ["a", "b"]
    assert [b for delta in found for b in delta.get("thinking_blocks", [])] == [
        {"type": "thinking", "thinking": "ab", "signature": "c2ln"},
        {"type": "thinking", "thinking": "", "signature": "b21pdA=="},
        {"type": "redacted_thinking", "data": "ZA=="},
    ]
    assert "".join(delta.get("content", "") for delta in found) == "Hi"


def test_citations_with_a_url_become_annotations() -> None:
    web = {"type": "web_search_result_location", "url": "https://x.test", "title": "X", "cited_text": "c"}
    page = {"type": "page_location", "document_index": 0, "cited_text": "p"}
    events = [
        *block(0, {"type": "text", "text": "Before "}),
        *block(
            1,
            {"type": "text", "text": "", "citations": []},
            {"type": "text_delta", "text": "cited"},
            {"type": "citations_delta", "citation": web},
            {"type": "citations_delta", "citation": page},
            {"type": "citations_delta", "citation": None},
        ),
    ]
    items = run(START, *events, ends("end_turn"), STOP)
    (delta,) = (one for one in deltas(items) if "annotations" in one)
    whole = {
        "content": [
            {"type": "text", "text": "Before "},
            {"type": "text", "text": "cited", "citations": [web, page, None]},
        ],
        "stop_reason": "end_turn",
    }
    message = ADAPTER.response(whole, call())["choices"][0]["message"]
    assert delta["annotations"] == message["annotations"]
    assert message["annotations"][0]["url_citation"] == {
        "url": "https://x.test",
        "title": "X",
        "start_index": 7,
        "end_index": 12,
    }
    assert message["provider_specific_fields"] == delta["provider_specific_fields"] == {"citations": [page]}


@pytest.mark.parametrize(("reason", "ours"), sorted(FINISH_REASONS.items()))
def test_stop_reasons_streamed_and_whole(reason: str, ours: str) -> None:
    # Kong 3.12: wrong stop_reason; 3.14.0.7: not mapped on streams.
    if reason == "tool_use":
        content = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    else:
        content = [{"type": "text", "text": "x"}]
    answer = ADAPTER.response({"content": content, "stop_reason": reason}, call())
    assert answer["choices"][0]["finish_reason"] == ours
    items = run(START, *block(0, content[0]), ends(reason), STOP)
    assert [i["choices"][0]["finish_reason"] for i in items if i["choices"]][-1] == ours
    own = answer["choices"][0]["message"].get("provider_specific_fields", {})
    said = reason in ("end_turn", "stop_sequence", "max_tokens", "tool_use")
    assert own.get("stop_reason") == (None if said else reason)


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    body = {"content": [], "stop_reason": "refusal", "stop_details": details}
    choice = ADAPTER.response(body, call())["choices"][0]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["refusal"] == "Not this."
    items = run(START, ends("refusal", stop_details=details), STOP)
    assert deltas(items)[-1]["refusal"] == "Not this."


def test_iterations_are_summed() -> None:
    # Kong 3.15.0.4: the top level leaves compaction out.
    usage = read_usage(
        {
            "input_tokens": 10,
            "output_tokens": 2,
            "iterations": [
                {"type": "compaction", "input_tokens": 1000, "output_tokens": 50,
                 "cache_read_input_tokens": 7},
                {"type": "message", "input_tokens": 10, "output_tokens": 2,
                 "cache_creation": {"ephemeral_1h_input_tokens": 4}, "cache_creation_input_tokens": 4},
                None,
            ],
        }
    )  # fmt: skip
    assert (usage.prompt_tokens, usage.completion_tokens) == (1021, 52)
    assert (usage.cached_tokens, usage.cache_write_tokens) == (7, 4)
    assert usage.cache_write_by_ttl == {"1h": 4}
    assert usage.other_models == ()


ADVISED = [
    {"type": "message", "input_tokens": 100, "output_tokens": 9},
    {"type": "advisor_message", "model": "wise", "input_tokens": 200, "cache_read_input_tokens": 30,
     "cache_creation_input_tokens": 5, "output_tokens": 40},
    {"type": "message", "input_tokens": 120, "output_tokens": 8},
    {"type": "advisor_message", "model": "wise", "input_tokens": 1, "output_tokens": 2},
    {"type": "advisor_message", "input_tokens": 3, "output_tokens": None},
]  # fmt: skip
DECLINED = [
    {"type": "compaction", "input_tokens": 50, "output_tokens": 5},
    {"type": "message", "model": "strict", "input_tokens": 70, "output_tokens": 6},
    {"type": "fallback_message", "model": "lax", "input_tokens": 80, "output_tokens": 7},
    {"type": "message", "model": "lax", "input_tokens": 90, "output_tokens": 8},
]


@pytest.mark.parametrize(
    ("iterations", "prompt", "completion", "others"),
    [
        (ADVISED, 220, 17, (OtherModel("wise", 236, 42), OtherModel("", 3, 0))),
        (DECLINED, 220, 20, (OtherModel("strict", 70, 6),)),
        (DECLINED[:2], 120, 11, ()),
        (ADVISED[1:2], 11, 3, (OtherModel("wise", 235, 40),)),  # an answer of its own is not told apart
        ([{**DECLINED[2], "model": None}, DECLINED[1]], 150, 13, ()),
    ],
)
def test_other_models_tokens_are_told_apart(
    iterations: list[Any], prompt: int, completion: int, others: tuple[OtherModel, ...]
) -> None:
    told = {"input_tokens": 11, "output_tokens": 3, "iterations": iterations}
    usage = read_usage(told)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total) == (
        prompt,
        completion,
        prompt + completion,
    )
    assert usage.other_models == others
    made = call()
    decoder = ADAPTER.stream(made)
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 11, "output_tokens": 1}}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told}
    decoder.feed(sse(start, end))
    decoder.finish()
    assert made.usage == usage


@pytest.mark.parametrize(
    "body",
    [
        {"content": None, "stop_reason": None, "usage": None},
        {"content": [None, 3, {}, {"type": None}, {"type": "text"}, {"type": "text", "text": None}]},
        {
            "content": [{"type": "tool_use"}],
            "stop_reason": 7,
            "usage": {"input_tokens": "x", "iterations": 5},
        },
        {"content": [{"type": "thinking"}, {"type": "tool_use", "input": None, "name": 4}], "usage": []},
        {"content": "plain", "id": 4, "model": None},
        {"content": [{"type": "text", "text": "a", "citations": {"odd": 1}}], "stop_details": 4},
    ],
)
def test_odd_answers_are_answers(body: Any) -> None:
    answer = ADAPTER.response(body, call())
    assert answer["choices"][0]["finish_reason"] in ("stop", "tool_calls")
    assert isinstance(answer["id"], str)


@pytest.mark.parametrize("body", [{}, {"message": "hello"}, {"choices": []}])
def test_what_is_no_answer_is_a_502(body: Any) -> None:
    with pytest.raises(ApiError) as caught:
        ADAPTER.response(body, call())
    assert caught.value.status == 502


def test_odd_events_are_ignored() -> None:
    odd = [
        {"type": "ping"},
        {"type": "brand_new", "x": 1},
        {},
        {
            "type": "content_block_delta",
            "index": 9,
            "delta": {"type": "input_json_delta", "partial_json": "{}"},
        },
        {"type": "content_block_delta", "index": 0, "delta": None},
        {"type": "content_block_start", "index": 0, "content_block": None},
        {"type": "content_block_stop", "index": 4},
        {"type": "message_delta", "delta": None, "usage": None},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    ]
    items = run(START, *odd, ends("end_turn"), STOP)
    assert "".join(delta.get("content", "") for delta in deltas(items)) == "hi"
    # Even a stream that lacks its start, or says the end twice, is read.
    items = run(*block(0, {"type": "text", "text": "hi"}), ends("end_turn"), ends("end_turn"), STOP, STOP)
    assert items[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [i["choices"][0]["finish_reason"] for i in items if i["choices"]].count("stop") == 1


@pytest.mark.parametrize(
    ("status", "body", "message", "kind"),
    [
        (
            429,
            b'{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}',
            "slow",
            "rate_limit_error",
        ),
        (
            529,
            b'{"type":"error","error":{"type":"overloaded_error","message":"full"}}',
            "full",
            "overloaded_error",
        ),
        (500, b'{"type":"error","error":{"type":"api_error","message":"oh"}}', "oh", "server_error"),
        (400, b'{"error":"text"}', "text", "invalid_request_error"),
        (404, b'[{"error":{"message":"in a list"}}]', "in a list", "not_found_error"),
        (403, b'{"message":"from the front"}', "from the front", "permission_error"),
        (502, b"upstream connect error", "upstream connect error", "server_error"),
        (503, b"<html>busy</html>", "anthropic answered with status 503", "server_error"),
        (500, b"", "anthropic answered with status 500", "server_error"),
        (500, b'{"error":null}', "anthropic answered with status 500", "server_error"),
    ],
)
def test_errors_keep_status_message_and_type(status: int, body: bytes, message: str, kind: str) -> None:
    headers = {"retry-after": "3", "anthropic-ratelimit-requests-remaining": "0", "set-cookie": "secret"}
    error = ADAPTER.error(status, headers, body, call())
    assert (error.status, error.message, error.type) == (status, message, kind)
    assert error.headers == {"retry-after": "3", "anthropic-ratelimit-requests-remaining": "0"}


def test_the_observer_lets_bytes_through_and_reads_them() -> None:
    data = sse(
        START,
        *block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hé"}),
        ends("end_turn"),
        STOP,
    )
    for cut in range(len(data)):
        made = call()
        observer = MessagesObserver().stream(made)
        out = observer.feed(data[:cut]) + observer.feed(data[cut:]) + observer.finish()
        assert out == data
        assert observer.complete
        assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (15, 7)
        assert made.finish_reasons == ["stop"]
        assert made.output_bytes == 3


def test_the_observer_gives_no_half_event_out() -> None:
    made = call()
    observer = MessagesObserver().stream(made)
    data = sse(START)
    assert observer.feed(data + b'data: {"type":"message_del') == data
    assert observer.finish() == b""
    assert not observer.complete
    assert made.usage.source is UsageSource.PARTIAL


def test_the_observer_notes_an_error() -> None:
    observer = MessagesObserver().stream(call())
    data = sse(START, {"type": "error", "error": {"type": "overloaded_error", "message": "full"}})
    assert observer.feed(data) == data
    assert observer.failed is not None
    assert observer.failed.status == 529
    assert observer.feed(sse(STOP)) == b""
    assert not observer.complete


def test_the_observer_changes_model_and_adds_configured_options() -> None:
    made = call()
    made.options = made.options.model_copy(update={"temperature": 0.3, "max_tokens": 9})
    parsed = {"model": "alias", "max_tokens": 5, "messages": []}
    out = json.loads(MessagesObserver().request(b"{}", parsed, made))
    assert out == {"model": "claude", "max_tokens": 5, "messages": [], "temperature": 0.3}
    body = (
        b'{"content":[{"type":"text","text":"hi"}],"model":"claude-x","id":"msg","usage":{"output_tokens":4}}'
    )
    assert MessagesObserver().response(body, made) == body
    assert made.usage.completion_tokens == 4
    assert MessagesObserver().response(b"not json", made) == b"not json"


def test_streamed_thinking_survives_a_tool_loop_byte_for_byte() -> None:
    signature = "RXErCkYIB/+é=="  # whatever it is, it is not ours to touch
    items = run(
        START,
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "Line\n"},
            {"type": "thinking_delta", "thinking": "  two ☂"},
            {"type": "signature_delta", "signature": signature},
        ),
        *block(1, {"type": "redacted_thinking", "data": "ZGF0YQ=="}),
        *block(2, {"type": "tool_use", "id": "t", "name": "f", "input": {}}),
        ends("tool_use"),
        STOP,
    )
    # What an OpenAI client puts into its history: deltas, added up.
    message: dict[str, Any] = {"role": "assistant", "content": None, "thinking_blocks": [], "tool_calls": []}
    for delta in deltas(items):
        message["thinking_blocks"] += delta.get("thinking_blocks", [])
        for part in delta.get("tool_calls", []):
            if "id" in part:
                message["tool_calls"].append(part)
            else:
                message["tool_calls"][-1]["function"]["arguments"] += part["function"]["arguments"]
    ask = {"role": "user", "content": "Hi"}
    result = {"role": "tool", "tool_call_id": "t", "content": "1"}
    sent = ADAPTER.request({"messages": [ask, message, result]}, call())
    assert isinstance(sent, dict)
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Line\n  two ☂", "signature": signature},
        {"type": "redacted_thinking", "data": "ZGF0YQ=="},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]


def test_a_multitude_of_other_models_stays_a_few_names() -> None:
    advice = [
        {"type": "advisor_message", "model": f"claude-{number}", "input_tokens": 2, "output_tokens": 1}
        for number in range(500)
    ]
    usage = read_usage({"input_tokens": 5, "output_tokens": 7, "iterations": advice})
    assert len(usage.other_models) == 9
    assert usage.other_models[-1] == OtherModel("", 2 * 492, 492)

"""Chat answers, whole and streamed, as the Responses API has them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import chunk, proxy
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.responses import Response
from responses_support import check_events, output_text, read_events

from kong_ai_proxy.config.models import Options
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.chunks import chunks_of
from kong_ai_proxy.formats.responses.client import CLIENT

PATCH = {"type": "custom", "name": "patch"}
USAGE = {
    "prompt_tokens": 3,
    "completion_tokens": 4,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def a_call(**body: Any) -> Call:
    target = proxy("anthropic", "m", route_type="llm/v1/responses").targets[0]
    call = Call(target, Options(), "m", "chat", ClientRequest("POST", "/", "", {}), stream=True)
    CLIENT.request({"input": "x", **body}, call)
    return call


def streamed(*chunks: dict[str, Any], **body: Any) -> list[dict[str, Any]]:
    encoder = CLIENT.stream(a_call(**body))
    return read_events(b"".join(map(encoder.encode, chunks)) + encoder.finish())


def tool(
    index: int, *, id: str | None = None, name: str | None = None, arguments: str = ""
) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{"index": index, "function": function, **({"id": id} if id else {})}]})


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_text() -> None:
    events = streamed(chunk({"content": "Hel"}), chunk({"content": "lo"}), chunk(finish="stop", usage=USAGE))
    assert types(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    final = check_events(events)
    assert output_text(final) == "Hello"
    assert final["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7,
    }


def test_reasoning_text_and_calls_that_interleave() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    events = streamed(
        chunk({"reasoning_content": "h"}),
        chunk({"reasoning_content": "m", "thinking_blocks": [block]}),
        chunk({"content": "Let me see."}),
        tool(0, id="c1", name="a", arguments='{"x"'),
        tool(1, id="c2", name="b"),
        tool(0, arguments=":1}"),
        tool(1, arguments="{}"),
        chunk(finish="tool_calls"),
        tools=[{"type": "function", "name": "a"}, {"type": "function", "name": "b"}],
    )
    final = check_events(events)
    kinds = [item["type"] for item in final["output"]]
    assert kinds == ["reasoning", "message", "function_call", "function_call"]
    assert final["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert final["output"][0]["encrypted_content"]
    assert [(item["call_id"], item["arguments"]) for item in final["output"][2:]] == [
        ("c1", '{"x":1}'),
        ("c2", "{}"),
    ]
    assert final["tools"][0]["name"] == "a"


def test_one_choice_is_told() -> None:
    second = {"index": 1, "delta": {"content": "B"}, "finish_reason": "length"}
    first = {"index": 0, "delta": {"content": "A"}, "finish_reason": "stop"}
    events = streamed({"choices": [second]}, {"choices": [first, second]})
    assert events[-1]["type"] == "response.completed"
    assert output_text(events[-1]["response"]) == "A"


def test_call_without_arguments_and_name_that_comes_late() -> None:
    events = streamed(tool(0, id="c", arguments=""), tool(0, name="f"), chunk(finish="tool_calls"))
    final = check_events(events)
    assert final["output"][0]["name"] == "f"
    assert final["output"][0]["arguments"] == "{}"


def test_custom_tool() -> None:
    arguments = json.dumps({"input": "*** Begin\n"})
    pieces = [tool(0, id="c", name="patch"), *(tool(0, arguments=letter) for letter in arguments)]
    events = streamed(*pieces, chunk(finish="tool_calls"), tools=[PATCH])
    item = check_events(events)["output"][0]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", "*** Begin\n")
    assert "custom_tool_call_input.delta" in types(events)


@pytest.mark.parametrize(
    ("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_incomplete(reason: str, why: str) -> None:
    events = streamed(chunk({"content": "Hel"}), chunk(finish=reason))
    final = check_events(events)
    assert events[-1]["type"] == "response.incomplete"
    assert (final["status"], final["incomplete_details"]) == ("incomplete", {"reason": why})
    assert final["output"][-1]["status"] == "incomplete"


def test_refusal() -> None:
    final = check_events(streamed(chunk({"refusal": "No"}), chunk({"refusal": "."}), chunk(finish="stop")))
    assert final["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_annotations() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1},
    }
    events = streamed(chunk({"content": "a"}), chunk({"annotations": [note]}), chunk(finish="stop"))
    part = check_events(events)["output"][0]["content"][0]
    assert part["annotations"] == [{"type": "url_citation", **note["url_citation"]}]


def test_broken_stream() -> None:
    encoder = CLIENT.stream(a_call())
    out = encoder.encode(chunk({"content": "Hel"}))
    events = read_events(out + encoder.error(ApiError(502, "gone", code="upstream_stream_truncated")))
    assert types(events)[-2:] == ["error", "failed"]
    assert check_events(events)["error"] == {"code": "server_error", "message": "gone"}


def test_empty_answer() -> None:
    assert check_events(streamed(chunk(finish="stop")))["output"] == []
    assert check_events(streamed())["output"] == []


def test_whole_answer_says_what_its_stream_says() -> None:
    answer = {
        "id": "x",
        "created": 5,
        "model": "m",
        "choices": [
            {
                "message": {
                    "content": "hi",
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ],
                },
                "finish_reason": "tool_calls",
            }
        ],
        "usage": USAGE,
    }
    call = a_call(temperature=0.5, metadata={"a": "b"})
    whole = CLIENT.response(answer, call)
    Response.model_validate(whole)
    final = check_events(streamed(*chunks_of(answer), temperature=0.5, metadata={"a": "b"}))
    for response in (whole, final):
        for item in response["output"]:
            del item["id"]
    assert whole == final
    assert (whole["temperature"], whole["metadata"], whole["store"]) == (0.5, {"a": "b"}, False)


DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.text(max_size=4),
        "reasoning_content": st.text(max_size=4),
        "refusal": st.text(max_size=4),
        "tool_calls": st.lists(
            st.fixed_dictionaries(
                {"index": st.integers(0, 2)},
                optional={
                    "id": st.text(max_size=3),
                    "function": st.fixed_dictionaries(
                        {"name": st.text(max_size=3)}, optional={"arguments": st.text(max_size=4)}
                    ),
                },
            ),
            max_size=2,
        ),
    },
)


def test_two_calls_with_one_id_are_told_apart() -> None:
    twice = [
        {"id": "0", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": i}
        for i in (0, 1)
    ]
    final = check_events(
        streamed(*(chunk({"tool_calls": [one]}) for one in twice), chunk(finish="tool_calls"))
    )
    message = {"role": "assistant", "tool_calls": twice}
    whole = CLIENT.response({"choices": [{"message": message, "finish_reason": "tool_calls"}]}, a_call())
    for response in (whole, final):
        first, second = (item["call_id"] for item in response["output"])
        assert first == "0"
        assert second not in ("", "0")


@given(st.lists(DELTAS, max_size=8))
@example([{"tool_calls": [{"index": 0, "id": "0"}]}, {"tool_calls": [{"index": 1, "id": "0"}]}])
def test_any_deltas_make_a_stream_that_the_sdk_reads(deltas: list[dict[str, Any]]) -> None:
    final = check_events(streamed(*map(chunk, deltas), chunk(finish="stop")))
    assert output_text(final) == "".join(delta.get("content", "") for delta in deltas)

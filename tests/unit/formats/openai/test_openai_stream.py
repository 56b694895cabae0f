"""The dialects' streams: each oddity that providers have been seen with, and what a client reads instead."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from openai_support import make_call

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.openai.dialect import OPENAI
from kong_ai_proxy.formats.openai.stream import OpenAIStream


def sse(*chunks: Any) -> bytes:
    lines = [chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks]
    return b"".join(b"data: %b\n\n" % line.encode() for line in lines)


def chunk(delta: Any = None, finish: Any = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta if delta is not None else {}, "finish_reason": finish}
    return {
        "id": "c1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m1",
        "choices": [choice],
        **members,
    }


def decode(raw: bytes, call: Call | None = None) -> list[Any]:
    stream = OpenAIStream(call or make_call(stream=True), OPENAI)
    return stream.feed(raw) + stream.finish()


def deltas(items: list[Any]) -> list[dict[str, Any]]:
    return [choice["delta"] for item in items for choice in item["choices"]]


def tools(items: list[Any]) -> list[dict[str, Any]]:
    """Tool calls put together as clients do: by index, the id and name from the first fragment."""
    calls: dict[int, dict[str, Any]] = {}
    for delta in deltas(items):
        for fragment in delta.get("tool_calls", []):
            known = calls.setdefault(fragment["index"], {"id": "", "name": "", "arguments": ""})
            known["id"] += fragment.get("id", "")
            known["name"] += fragment["function"].get("name", "")
            known["arguments"] += fragment["function"]["arguments"]
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


def fragment(arguments: Any = "", **members: Any) -> dict[str, Any]:
    function = {"arguments": arguments}
    if "name" in members:
        function["name"] = members.pop("name")
    return {"function": function, **members}


def test_a_clean_stream_stays_as_it_is() -> None:
    first = chunk({"role": "assistant", "content": ""})
    raw = sse(first, chunk({"content": "Hi"}), chunk({}, "stop"), "[DONE]")
    assert decode(raw) == [first, chunk({"content": "Hi"}), chunk({}, "stop")]


@pytest.mark.parametrize("choices", [None, [], "none", {}])
def test_a_chunk_without_choices_crashes_nothing(choices: Any) -> None:
    items = decode(sse({**chunk(), "choices": choices}, chunk({"content": "a"}, "stop"), "[DONE]"))
    assert [delta.get("content") for delta in deltas(items)] == ["a"]


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [None]},
        {"choices": [[]]},
        {"choices": [{"index": None, "delta": None, "finish_reason": 5}]},
        {"choices": [{"index": "0", "delta": {"content": 7, "tool_calls": {"a": 1}, "role": None}}]},
        {"choices": [{"delta": {"content": [None, 1, {"type": "thinking", "thinking": 3}, {"text": None}]}}]},
        {
            "choices": [
                {
                    "delta": {
                        "tool_calls": [None, {"function": None}, {"index": -1.5, "id": 9, "function": []}]
                    }
                }
            ]
        },
        {"choices": [{"delta": {"reasoning": {"a": 1}, "reasoning_content": [1]}}]},
        {"id": 4, "model": {}, "created": "now", "choices": [{}], "usage": []},
        {"usage": {"prompt_tokens": None, "completion_tokens": "x", "prompt_tokens_details": 4}},
        {"choices": [{"delta": {}}], "error": None},
    ],
)
def test_wrong_types_crash_nothing(odd: dict[str, Any]) -> None:
    items = decode(sse(odd, chunk({"content": "a"}, "stop"), "[DONE]"))
    assert not any(isinstance(item, ApiError) for item in items)
    assert "a" in [delta.get("content") for delta in deltas(items)]


def test_identity_is_always_there() -> None:
    """DashScope and TGI leave `id` empty, Azure's first chunk all of it."""
    call = make_call(stream=True, model="asked", created=99)
    raw = sse(
        {"choices": [{"delta": {"content": "a"}}]}, {"id": "", "model": "", "created": 0, **_end()}, "[DONE]"
    )
    items = decode(raw, call)
    assert {item["id"] for item in items} == {call.response_id}
    assert call.response_id and call.response_id.startswith("chatcmpl-")
    assert [(item["model"], item["created"], item["object"]) for item in items] == [
        ("asked", 99, "chat.completion.chunk")
    ] * 2
    assert [choice["index"] for item in items for choice in item["choices"]] == [0, 0]


def test_one_answer_has_one_id() -> None:
    call = make_call(stream=True)
    items = decode(sse(*({**chunk({"content": "a"}), "id": f"c{at}"} for at in (1, 2)), "[DONE]"), call)
    assert [item["id"] for item in items] == ["c1", "c1"]
    assert call.response_id == "c1"


def _end() -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def test_the_filter_results_before_the_first_chunk_ride_on_it() -> None:
    """Azure: https://learn.microsoft.com/azure/ai-services/openai/concepts/content-streaming."""
    filtered = [{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}]
    opening = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": filtered,
    }
    items = decode(sse(opening, chunk({"content": "a"}), chunk({}, "stop"), "[DONE]"))
    assert items[0]["prompt_filter_results"] == filtered
    assert items[0]["id"] == "c1"
    assert "prompt_filter_results" not in items[1]


class TestRoles:
    def test_the_role_comes_once(self) -> None:
        raw = sse(chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"}))
        items = decode(raw + sse(chunk({"role": None}, "stop"), "[DONE]"))
        assert deltas(items) == [{"role": "assistant", "content": "a"}, {"content": "b"}, {}]

    def test_a_missing_role_is_added(self) -> None:
        items = decode(sse(chunk({"content": "a"}), chunk({}, "stop"), "[DONE]"))
        assert deltas(items)[0] == {"content": "a", "role": "assistant"}

    def test_nulls_go(self) -> None:
        nulls = {
            "content": None,
            "tool_calls": None,
            "function_call": None,
            "refusal": None,
            "reasoning": None,
        }
        items = decode(
            sse(chunk({"role": "assistant", **nulls}), chunk({**nulls, "content": "a"}, "stop"), "[DONE]")
        )
        assert deltas(items) == [{"role": "assistant"}, {"content": "a"}]


class TestReasoning:
    @pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
    def test_it_has_one_name(self, name: str) -> None:
        call = make_call(stream=True)
        items = decode(sse(chunk({name: "Hm żółw"}), chunk({"content": "a"}, "stop"), "[DONE]"), call)
        assert deltas(items)[0] == {"reasoning_content": "Hm żółw", "role": "assistant"}
        assert call.output_bytes == len("Hm żółwa".encode())

    def test_given_under_both_names_it_is_told_once(self) -> None:
        items = decode(
            sse(chunk({"reasoning": "Hm", "reasoning_content": "Hm"}), chunk({}, "stop"), "[DONE]")
        )
        assert deltas(items)[0] == {"reasoning_content": "Hm", "role": "assistant"}

    def test_parts_of_the_content_are_told_apart(self) -> None:
        """Mistral's `thinking` parts, Databricks' `reasoning` parts."""
        thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}]
        summary = [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "So"}]}]
        spoken = [{"type": "text", "text": "Hi"}]
        raw = sse(
            chunk({"content": thinking}), chunk({"content": summary}), chunk({"content": spoken}, "stop")
        )
        assert deltas(decode(raw)) == [
            {"reasoning_content": "Hm", "role": "assistant"},
            {"reasoning_content": "So"},
            {"content": "Hi"},
        ]

    def test_signed_reasoning_comes_back_whole(self) -> None:
        """Databricks: the signature follows the last piece of what it is for."""

        def piece(text: str, **signed: str) -> dict[str, Any]:
            summary = [{"type": "summary_text", "text": text, **signed}]
            return chunk({"content": [{"type": "reasoning", "summary": summary}]})

        hidden = chunk({"content": [{"type": "reasoning", "summary": [{"type": "x", "data": "aGk="}]}]})
        shown = [piece("H", signature=""), piece("m"), piece("", signature="c2ln")]
        found = deltas(decode(sse(*shown, hidden, chunk({}, "stop"))))
        assert [one.get("reasoning_content") for one in found] == ["H", "m", None, None, None]
        assert [one.get("thinking_blocks") for one in found] == [
            None,
            None,
            [{"type": "thinking", "thinking": "Hm", "signature": "c2ln"}],
            [{"type": "redacted_thinking", "data": "aGk="}],
            None,
        ]
        assert not any("content" in one for one in found)

    def test_parts_of_other_kinds_are_kept_beside_the_known_rest(self) -> None:
        reference = {"type": "reference", "reference_ids": [1]}
        parts = [{"type": "text", "text": "a"}, reference, {"type": "refusal", "refusal": "no"}, {"type": 5}]
        found = deltas(decode(sse(chunk({"content": parts}, "stop"))))[0]
        assert (found["content"], found["refusal"]) == ("a", "no")
        assert found["provider_specific_fields"] == {"content_blocks": [reference, {"type": 5}]}

    def test_references_within_thinking_are_no_reasoning(self) -> None:
        cited = {"type": "tool_reference", "tool": "web_search", "title": "t", "url": "https://example.com"}
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}, cited, "!"]}
        found = deltas(decode(sse(chunk({"content": [thinking]}, "stop"))))[0]
        assert found["reasoning_content"] == "Hm!"
        assert found["provider_specific_fields"] == {"content_blocks": [cited]}

    @pytest.mark.parametrize(
        "delta",
        [
            {"reasoning": "Hm", "reasoning_details": [{"type": "reasoning.text", "text": "Hm", "index": 0}]},
            {"reasoning_details": [{"type": "reasoning.summary", "summary": "Hm"}]},
            {"reasoning_details": [{"type": "reasoning.text", "text": "Hm", "signature": None}]},
            {"reasoning_content": [{"type": "text", "text": "Hm"}]},
            {"reasoning": {"content": "Hm"}},
            {"reasoning_content": "", "reasoning": "Hm"},
        ],
    )
    def test_the_places_that_others_have_for_it(self, delta: dict[str, Any]) -> None:
        found = deltas(decode(sse(chunk(delta, "stop"))))[0]
        assert found["reasoning_content"] == "Hm"
        assert "reasoning" not in found
        assert found.get("reasoning_details") == delta.get("reasoning_details")

    @pytest.mark.parametrize("nothing", [{}, 5, [], [{"type": "reasoning.encrypted", "data": "x"}]])
    def test_what_is_no_text_is_no_reasoning(self, nothing: Any) -> None:
        found = deltas(decode(sse(chunk({"content": "a", "reasoning_details": nothing}, "stop"))))[0]
        assert "reasoning_content" not in found

    def test_what_a_tool_said_is_not_the_answer(self) -> None:
        """Mistral's connectors run at Mistral: deltas of the role "tool" (mistralai 3.7, DeltaMessage)."""
        tool = chunk({"role": "tool", "content": "42", "tool_call_id": "x"})
        found = deltas(decode(sse(tool, chunk({"role": "assistant", "content": "a"}, "stop"))))
        assert "".join(one.get("content", "") for one in found) == "a"


class TestTools:
    def test_parallel_calls_with_one_whole_call_a_chunk(self) -> None:
        """xAI, Mistral, Ollama, Cerebras."""
        one = fragment('{"a":1}', index=0, id="x", type="function", name="f")
        two = fragment('{"b":2}', index=1, id="y", type="function", name="g")
        items = decode(
            sse(chunk({"tool_calls": [one]}), chunk({"tool_calls": [two]}, "tool_calls"), "[DONE]")
        )
        assert tools(items) == [
            {"id": "x", "name": "f", "arguments": '{"a":1}'},
            {"id": "y", "name": "g", "arguments": '{"b":2}'},
        ]

    def test_empty_ids_and_names_on_later_fragments(self) -> None:
        """DashScope repeats `id: ""`, `name: ""` and `type`; vLLM null for all three."""
        first = fragment("", index=0, id="x", type="function", name="f")
        later = [
            fragment('{"a"', index=0, id="", type="function", name=""),
            fragment(":1}", index=0, id=None, type=None),
        ]
        items = decode(
            sse(*(chunk({"tool_calls": [one]}) for one in [first, *later]), chunk({}, "tool_calls"))
        )
        assert tools(items) == [{"id": "x", "name": "f", "arguments": '{"a":1}'}]
        rest = [delta["tool_calls"][0] for delta in deltas(items)[1:3]]
        assert rest == [
            {"index": 0, "function": {"arguments": '{"a"'}},
            {"index": 0, "function": {"arguments": ":1}"}},
        ]

    def test_id_and_name_repeated_on_every_fragment(self) -> None:
        parts = [fragment(part, index=0, id="x", type="function", name="f") for part in ("{", '"a":1', "}")]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert tools(items) == [{"id": "x", "name": "f", "arguments": '{"a":1}'}]

    def test_without_index_ids_tell_the_calls_apart(self) -> None:
        parts = [
            fragment('{"a":', id="x", name="f"),
            fragment("1}"),
            fragment("{", id="y", name="g"),
            fragment("}", id="y"),
        ]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert tools(items) == [
            {"id": "x", "name": "f", "arguments": '{"a":1}'},
            {"id": "y", "name": "g", "arguments": "{}"},
        ]

    def test_without_index_and_id_names_tell_whole_calls_apart(self) -> None:
        both = [fragment('{"a":1}', name="f"), fragment('{"a":2}', name="f")]
        items = decode(sse(chunk({"tool_calls": both}), chunk({}, "tool_calls")))
        found = tools(items)
        assert [(call["name"], call["arguments"]) for call in found] == [("f", '{"a":1}'), ("f", '{"a":2}')]
        assert found[0]["id"].startswith("call_")
        assert found[0]["id"] != found[1]["id"]

    def test_one_index_for_several_calls(self) -> None:
        parts = [
            fragment('{"a":1}', index=0, id="x", name="f"),
            fragment('{"b":2}', index=0, id="y", name="g"),
        ]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert [call["id"] for call in tools(items)] == ["x", "y"]

    def test_indexes_become_dense(self) -> None:
        """A gateway before us that counts content blocks gives 1 and 3."""
        parts = [fragment("{}", index=1, id="x", name="f"), fragment("{}", index=3, id="y", name="g")]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert [call["id"] for call in tools(items)] == ["x", "y"]

    def test_a_name_in_pieces(self) -> None:
        parts = [
            fragment("", index=0, id="x", name="get_"),
            fragment("", index=0, name="time"),
            fragment("{}", index=0),
        ]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert tools(items) == [{"id": "x", "name": "get_time", "arguments": "{}"}]

    def test_an_id_made_up_for_each_fragment(self) -> None:
        """vLLM 0.8 and forks of it, with and without an index."""
        for index in ({"index": 0}, {}):
            parts = [
                fragment("", **index, id="x1", type="function", name="f"),
                fragment('{"a"', **index, id="x2", type="function"),
                fragment(":1}", **index, id="x3", type="function"),
            ]
            items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
            assert tools(items) == [{"id": "x1", "name": "f", "arguments": '{"a":1}'}]

    def test_one_call_in_the_place_of_the_list(self) -> None:
        """TGI 2.0 to 3.0 (router/src/lib.rs: ToolCallDelta)."""
        parts = [fragment(part, index=0, id="", type="function", name="f") for part in ('{"a"', ":1}")]
        items = decode(sse(*(chunk({"tool_calls": part}) for part in parts), chunk({}, "eos_token")))
        assert [(one["name"], one["arguments"]) for one in tools(items)] == [("f", '{"a":1}')]

    def test_whole_calls_of_one_function_without_ids(self) -> None:
        """The index is 0 for each, the id null (the word, at Mistral)."""
        for nothing in (None, "", "null"):
            parts = [fragment(f'{{"a":{at}}}', index=0, id=nothing, name="f") for at in (1, 2)]
            raws = [
                sse(chunk({"tool_calls": parts}), chunk({}, "tool_calls")),
                sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")),
            ]
            for raw in raws:
                found = tools(decode(raw))
                assert [one["arguments"] for one in found] == ['{"a":1}', '{"a":2}']
                assert len({one["id"] for one in found}) == 2

    def test_a_call_in_the_form_before_tools_is_one_for_clients_of_other_formats(self) -> None:
        parts = [{"name": "f", "arguments": ""}, {"arguments": '{"a"'}, {"arguments": ":1}"}]
        raw = sse(*(chunk({"function_call": part}) for part in parts), chunk({}, "function_call"), "[DONE]")
        call = make_call(stream=True, client_format="anthropic")
        items = decode(raw, call)
        assert [(one["name"], one["arguments"]) for one in tools(items)] == [("f", '{"a":1}')]
        assert call.finish_reasons == ["tool_calls"]
        kept = decode(raw, call := make_call(stream=True))
        assert [delta["function_call"] for delta in deltas(kept)[:3]] == parts
        assert call.finish_reasons == ["function_call"]

    def test_an_id_that_is_a_number(self) -> None:
        items = decode(sse(chunk({"tool_calls": [fragment("{}", index=0, id=7, name="f")]}, "tool_calls")))
        assert tools(items) == [{"id": "7", "name": "f", "arguments": "{}"}]

    def test_fragments_mixed_under_one_index_go_by_their_ids(self) -> None:
        parts = [
            fragment("", index=0, id="x", name="f"),
            fragment("", index=0, id="y", name="g"),
            fragment('{"a":1}', index=0, id="x"),
            fragment('{"b":2}', index=0, id="y"),
        ]
        items = decode(sse(*(chunk({"tool_calls": [part]}) for part in parts), chunk({}, "tool_calls")))
        assert [one["arguments"] for one in tools(items)] == ['{"a":1}', '{"b":2}']

    def test_arguments_as_an_object(self) -> None:
        items = decode(
            sse(chunk({"tool_calls": [fragment({"a": [1]}, index=0, id="x", name="f")]}), chunk({}, "stop"))
        )
        assert tools(items) == [{"id": "x", "name": "f", "arguments": '{"a":[1]}'}]

    @pytest.mark.parametrize("empty", ["", None])
    def test_a_call_without_arguments_has_the_empty_object(self, empty: str | None) -> None:
        """Empty `arguments` are recorded from DeepSeek and Mistral; a client parses what it put together."""
        raw = sse(
            chunk({"tool_calls": [fragment(empty, index=0, id="x", name="f")]}), chunk({}, "tool_calls")
        )
        assert tools(decode(raw)) == [{"id": "x", "name": "f", "arguments": "{}"}]

    def test_a_signature_of_a_call_stays(self) -> None:
        signed = fragment(
            "{}", index=0, id="x", name="f", extra_content={"google": {"thought_signature": "c2ln"}}
        )
        items = decode(sse(chunk({"tool_calls": [signed]}, "tool_calls")))
        assert deltas(items)[0]["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}

    def test_a_custom_tool_stays_what_it_is(self) -> None:
        custom = {"index": 0, "id": "x", "type": "custom", "custom": {"name": "f", "input": "abc"}}
        items = decode(sse(chunk({"tool_calls": [custom]}), chunk({}, "tool_calls")))
        assert deltas(items)[0]["tool_calls"] == [custom]
        assert "tool_calls" not in deltas(items)[1]

    def test_choices_have_their_own_calls(self) -> None:
        def choice(index: int, id: str, arguments: str) -> dict[str, Any]:
            return {"index": index, "delta": {"tool_calls": [fragment(arguments, index=0, id=id, name="f")]}}

        raw = sse({**chunk(), "choices": [choice(0, "x", "{}"), choice(1, "y", "[]")]})
        by_choice = {
            one["index"]: one["delta"]["tool_calls"][0]["id"]
            for item in decode(raw)[:-1]
            for one in item["choices"]
        }
        assert by_choice == {0: "x", 1: "y"}


class TestFinish:
    @pytest.mark.parametrize(
        ("native", "openai"),
        [
            ("tool_call", "tool_calls"),
            ("eos_token", "stop"),
            ("stop_sequence", "stop"),
            ("model_length", "length"),
            ("insufficient_system_resource", "length"),
            ("eos", "stop"),
            ("abort", "length"),
            ("MAX_TOKENS", "length"),
            ("TOOL_CALLS", "tool_calls"),
            ("SAFETY", "content_filter"),
            ("never heard of", "stop"),
        ],
    )
    def test_words_of_others(self, native: str, openai: str) -> None:
        call = make_call(stream=True)
        items = decode(sse(chunk({"content": "a"}, native)), call)
        assert items[0]["choices"][0]["finish_reason"] == openai
        assert items[0]["choices"][0]["native_finish_reason"] == native
        assert call.finish_reasons == [openai]

    @pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter", "function_call"])
    def test_openais_own_words_stay(self, reason: str) -> None:
        assert decode(sse(chunk({"content": "a"}, reason)))[0]["choices"][0] == {
            "index": 0,
            "delta": {"role": "assistant", "content": "a"},
            "finish_reason": reason,
        }

    def test_a_second_one_is_not_told(self) -> None:
        """Recorded from DeepSeek at Azure."""
        call = make_call(stream=True)
        items = decode(
            sse(chunk({"content": "a"}, "length"), chunk({}, "length"), chunk({"content": "b"}, "stop")), call
        )
        assert [item["choices"][0]["finish_reason"] for item in items] == ["length", None]
        assert deltas(items) == [{"role": "assistant", "content": "a"}, {"content": "b"}]
        assert call.finish_reasons == ["length"]

    @pytest.mark.parametrize("none", ["", "null", 0])
    def test_an_empty_one_is_none(self, none: Any) -> None:
        items = decode(sse(chunk({"content": "a"}, none), chunk({}, "stop")))
        assert [item["choices"][0]["finish_reason"] for item in items] == [None, "stop"]

    def test_without_done_the_finish_reason_ends_it(self) -> None:
        """Cerebras, TGI."""
        assert not any(isinstance(item, ApiError) for item in decode(sse(chunk({"content": "a"}, "stop"))))

    def test_without_finish_reason_done_ends_it(self) -> None:
        assert not any(isinstance(item, ApiError) for item in decode(sse(chunk({"content": "a"}), "[DONE]")))

    def test_one_of_two_choices_does_not_end_it(self) -> None:
        other = {**chunk(), "choices": [{"index": 1, "delta": {"content": "b"}}]}
        assert isinstance(decode(sse(other, chunk({"content": "a"}, "stop")))[-1], ApiError)

    @pytest.mark.parametrize("rest", [b"", b'data: {"id":', b"data: [DO", b": ping\n\n"])
    def test_cut_off_is_an_error(self, rest: bytes) -> None:
        last = decode(sse(chunk({"content": "a"})) + rest)[-1]
        assert isinstance(last, ApiError)
        assert (last.status, last.code) == (502, "upstream_stream_truncated")

    def test_nothing_at_all_is_an_error(self) -> None:
        assert isinstance(decode(b"")[-1], ApiError)

    @pytest.mark.parametrize("end", ["", "\n"])
    def test_the_last_event_may_lack_its_empty_line(self, end: str) -> None:
        items = decode(
            sse(chunk({"content": "a"})) + b"data: " + json.dumps(chunk({}, "stop")).encode() + end.encode()
        )
        assert items[-1]["choices"][0]["finish_reason"] == "stop"

    def test_nothing_comes_after_done(self) -> None:
        raw = sse(chunk({"content": "a"}, "stop"), "[DONE]", chunk({"content": "b"}))
        assert [delta.get("content") for delta in deltas(decode(raw))] == ["a"]

    def test_a_late_chunk_of_text_in_a_completion(self) -> None:
        call = make_call(operation="completions", stream=True)
        stream = OpenAIStream(call, OPENAI, "text_completion")
        raw = sse(
            {"choices": [{"text": "a", "finish_reason": "length"}]},
            {"choices": [{"text": "", "finish_reason": "stop"}]},
        )
        items = stream.feed(raw) + stream.finish()
        assert [(one["object"], one["choices"][0]["text"]) for one in items] == [("text_completion", "a")]
        assert items[0]["id"].startswith("cmpl-")


class TestUsage:
    USAGE: ClassVar[dict[str, int]] = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}

    def test_on_a_chunk_with_choices_it_moves_to_the_last(self) -> None:
        """Mistral, DeepSeek, Cerebras, Databricks."""
        call = make_call(stream=True)
        items = decode(sse(chunk({"content": "a"}), chunk({}, "stop", usage=self.USAGE)), call)
        assert [item.get("usage") for item in items] == [None, None, self.USAGE]
        assert items[-1]["choices"] == []
        assert items[-1]["id"] == "c1"
        assert call.usage.source is UsageSource.REPORTED

    def test_on_every_chunk_the_last_counts(self) -> None:
        """Databricks: running totals, `completion_tokens: null` until the end."""
        running = {"prompt_tokens": 3, "completion_tokens": None, "total_tokens": None}
        call = make_call(stream=True)
        items = decode(sse(chunk({"content": "a"}, usage=running), chunk({}, "stop", usage=self.USAGE)), call)
        assert items[-1]["usage"] == self.USAGE
        assert (call.usage.prompt_tokens, call.usage.completion_tokens, call.usage.total) == (3, 2, 5)

    def test_twice_is_counted_once(self) -> None:
        """Groq behind Hugging Face's router: on the finishing chunk, and on a last one."""
        call = make_call(stream=True)
        last = {**chunk(), "choices": [], "usage": self.USAGE}
        items = decode(sse(chunk({"content": "a"}, "stop", usage=self.USAGE), last, "[DONE]"), call)
        assert sum("usage" in item for item in items) == 1
        assert call.usage.total == 5

    def test_in_the_places_that_others_have_for_it(self) -> None:
        groqs = chunk({}, "stop", x_groq={"id": "r", "usage": self.USAGE})
        moonshots = chunk({}, "stop")
        moonshots["choices"][0]["usage"] = self.USAGE
        for last in (groqs, moonshots):
            call = make_call(stream=True)
            items = decode(sse(chunk({"content": "a"}), last, "[DONE]"), call)
            assert items[-1]["usage"] == self.USAGE
            assert call.usage.total == 5

    def test_at_the_top_it_counts_before_other_places(self) -> None:
        groqs = chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        last = {**chunk(), "choices": [], "usage": self.USAGE}
        for chunks in ([groqs, last], [last, groqs]):
            assert decode(sse(chunk({"content": "a"}), *chunks, "[DONE]"))[-1]["usage"] == self.USAGE

    def test_null_in_between_is_nothing(self) -> None:
        items = decode(sse(chunk({"content": "a"}, usage=None), chunk({}, "stop", usage=None), "[DONE]"))
        assert not any("usage" in item for item in items)

    def test_the_other_members_of_the_last_chunk_stay(self) -> None:
        last = {**chunk(), "choices": [], "usage": self.USAGE, "time_info": {"total_time": 0.5}}
        items = decode(sse(chunk({"content": "a"}, "stop"), last, "[DONE]"))
        assert items[-1]["time_info"] == {"total_time": 0.5}

    def test_of_a_broken_stream_it_is_kept_for_the_record(self) -> None:
        call = make_call(stream=True)
        items = decode(
            sse(chunk({"content": "a"}, usage=self.USAGE), {"error": {"message": "no", "code": 500}}), call
        )
        assert isinstance(items[-1], ApiError)
        assert call.usage.total == 5

    def test_of_a_stream_cut_off_it_is_kept_too(self) -> None:
        """Running totals of a provider that broke off, or of a client that left."""
        call = make_call(stream=True)
        items = decode(sse(chunk({"content": "a"}, usage=self.USAGE)), call)
        assert isinstance(items[-1], ApiError)
        assert call.usage.total == 5

    def test_a_tier_that_is_not_openais_is_set_apart(self) -> None:
        call = make_call(stream=True)
        items = decode(sse(chunk({"content": "a"}, "stop", service_tier="on_demand"), "[DONE]"), call)
        assert "service_tier" not in items[0]
        assert items[0]["native_service_tier"] == call.usage.service_tier == "on_demand"


class TestErrors:
    @pytest.mark.parametrize(
        ("event", "status", "message", "kind", "code"),
        [
            (
                'data: {"error":{"message":"no","type":"server_error","code":503}}',
                503,
                "no",
                "server_error",
                "503",
            ),
            ('data:{"error":"no","error_type":"overloaded"}', 502, "no", "overloaded", None),
            ('data: {"object":"error","message":"no","code":400}', 400, "no", "invalid_request_error", "400"),
            (
                'event: error\ndata: {"message":"no","code":"rate_limited"}',
                502,
                "no",
                "server_error",
                "rate_limited",
            ),
            (
                'event: error\ndata: {"error":{"message":"no","status":429}}',
                429,
                "no",
                "rate_limit_error",
                None,
            ),
            (
                'data: {"code":"InternalError","message":"no","request_id":"r"}',
                502,
                "no",
                "server_error",
                "InternalError",
            ),
            (
                'data: {"error":{"message":"no","code":null},"status_code":429}',
                429,
                "no",
                "rate_limit_error",
                None,
            ),
            (
                'data: {"id":"c1","choices":[{"index":0,"delta":{}}],"x_groq":{"error":"no"}}',
                502,
                "no",
                "server_error",
                None,
            ),
            (
                'data: {"error":{"message":"no","code":"content_filter"}}',
                502,
                "no",
                "server_error",
                "content_filter",
            ),
        ],
    )
    def test_in_mid_stream(self, event: str, status: int, message: str, kind: str, code: str | None) -> None:
        """TGI's form is recorded; the others are those of vLLM, Groq and OpenAI."""
        raw = (
            sse(chunk({"content": "a"}))
            + event.encode()
            + b"\n\n"
            + sse(chunk({"content": "b"}, "stop"), "[DONE]")
        )
        items = decode(raw)
        assert len(items) == 2
        error = items[-1]
        assert isinstance(error, ApiError)
        assert (error.status, error.message, error.type, error.code) == (status, message, kind, code)

    @pytest.mark.parametrize(
        "bad", [b"data: {oops\n\n", b"data: 5\n\n", b'data: "text"\n\n', b"data: [1]\n\n"]
    )
    def test_an_event_nobody_can_read(self, bad: bytes) -> None:
        items = decode(sse(chunk({"content": "a"})) + bad + sse(chunk({"content": "b"}, "stop")))
        assert isinstance(items[-1], ApiError)
        assert (items[-1].status, items[-1].code) == (502, "upstream_invalid_event")
        assert len(items) == 2

    def test_empty_events_and_comments_are_passed_over(self) -> None:
        raw = b": OPEN\n\ndata:\n\nevent: ping\n\ndata: \n\n" + sse(chunk({"content": "a"}, "stop"), "[DONE]")
        assert len(decode(raw)) == 1

    def test_an_endless_event(self) -> None:
        call = make_call(stream=True)
        stream = OpenAIStream(call, OPENAI)
        items = stream.feed(sse(chunk({"content": "a"})) + b"data: ")
        for _ in range(20):
            items += stream.feed(b"x" * 1_000_000)
        items += stream.finish()
        assert len(items) == 2
        assert isinstance(items[1], ApiError)
        assert items[1].code == "upstream_event_too_large"

    def test_halves_of_an_emoji_and_numbers_that_are_none(self) -> None:
        raw = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83e"},"logprobs":{"x":-Infinity}}]}\n\n'
        items = decode(raw + sse(chunk({}, "stop")))
        assert items[0]["choices"][0]["delta"]["content"] == ""  # the other half never came
        assert items[0]["choices"][0]["logprobs"] == {"x": None}


def test_a_usage_chunk_of_ours_keeps_the_fingerprint() -> None:
    """DeepSeek and Cerebras put usage on the last choice; OpenAI's SDK takes the last chunk's fingerprint."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    said = decode(
        sse(
            chunk({"content": "a"}, system_fingerprint="fp_1"),
            chunk({}, "stop", system_fingerprint="fp_1", usage=usage),
            "[DONE]",
        )
    )
    assert [one["system_fingerprint"] for one in said] == ["fp_1"] * 3
    assert said[-1]["choices"] == []
    bare = decode(sse(chunk({"content": "a"}), chunk({}, "stop", usage=usage), "[DONE]"))
    assert not any("system_fingerprint" in one for one in bare)


def test_calls_beside_a_finish_reason_are_told_before_it() -> None:
    """OpenAI's SDK tells of a call that is done when the next chunk comes."""
    last = chunk({"content": "a", "tool_calls": [fragment("{}", id="c1", name="f")]}, "tool_call", prompt=1)
    last["choices"][0]["stop_reason"] = 7
    last["choices"].append({"index": 1, "delta": {"content": "b"}, "finish_reason": None})
    said, end, *_ = decode(sse(last, "[DONE]"))
    first, other = said["choices"]
    assert (first["delta"]["content"], first["finish_reason"], other["delta"]["content"]) == ("a", None, "b")
    assert tools([said]) == [{"id": "c1", "name": "f", "arguments": "{}"}]
    assert "stop_reason" not in first
    assert end["choices"] == [
        {
            "index": 0,
            "delta": {},
            "finish_reason": "tool_calls",
            "native_finish_reason": "tool_call",
            "stop_reason": 7,
        }
    ]
    assert {name: end[name] for name in ("id", "model", "prompt")} == {"id": "c1", "model": "m1", "prompt": 1}
    told = decode(sse(chunk({"content": "a"}, "stop"), "[DONE]"))
    assert len(told) == 1, "a text may stand beside it"

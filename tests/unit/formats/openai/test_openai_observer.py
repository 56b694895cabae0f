"""OpenAI's form on both sides: what of the bytes changes, and what is learnt from them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai_support import make_call

from kong_ai_proxy.core.usage import UsageSource
from kong_ai_proxy.formats.openai.dialect import OPENAI
from kong_ai_proxy.formats.openai.observer import openai_observer
from kong_ai_proxy.formats.openai.stream import OpenAIStream

OBSERVER = openai_observer(OPENAI)
HELLO = [{"role": "user", "content": "Hello"}]
USAGE = b'{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}'


def passed(body: dict[str, Any], **given: Any) -> tuple[bytes, bytes, Any]:
    raw = json.dumps(body, indent=2).encode()
    call = make_call(**given)
    return raw, OBSERVER.request(raw, json.loads(raw), call), call


class TestRequest:
    def test_nothing_to_change(self) -> None:
        raw, made, _ = passed({"model": "test-model", "messages": HELLO, "x_new": [1.50]})
        assert made is raw

    def test_the_model(self) -> None:
        raw, made, _ = passed({"model": "an-alias", "messages": HELLO})
        assert json.loads(made) == {**json.loads(raw), "model": "test-model"}

    def test_usage_is_asked_for_on_a_stream(self) -> None:
        body = {
            "model": "test-model",
            "messages": HELLO,
            "stream": True,
            "stream_options": {"include_obfuscation": False},
        }
        _, made, _ = passed(body, stream=True)
        assert json.loads(made)["stream_options"] == {"include_obfuscation": False, "include_usage": True}
        raw, made, _ = passed({**body, "stream_options": {"include_usage": True}}, stream=True)
        assert made is raw

    def test_a_stream_that_policy_forbids_is_not_asked_for(self) -> None:
        body = {
            "model": "test-model",
            "messages": HELLO,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        made = json.loads(passed(body)[1])
        assert not made["stream"]
        assert "stream_options" not in made

    def test_a_stream_that_policy_wants_is(self) -> None:
        made = json.loads(passed({"model": "test-model", "messages": HELLO}, stream=True)[1])
        assert made["stream"] is True

    def test_configured_defaults_fill_what_the_client_left_open(self) -> None:
        options = {"temperature": 0.1, "top_p": 0.2, "max_tokens": 7, "top_k": 3}
        body = {"model": "test-model", "messages": HELLO, "temperature": 0, "top_p": None}
        made = json.loads(passed(body, options=options)[1])
        assert made == {
            "model": "test-model",
            "messages": HELLO,
            "temperature": 0,
            "top_p": 0.2,
            "max_tokens": 7,
        }

    def test_no_default_that_the_model_answers_with_an_error(self) -> None:
        options = {"temperature": 0.1, "top_p": 0.2, "max_tokens": 7}
        made = json.loads(passed({"model": "o3", "messages": HELLO}, model="o3", options=options)[1])
        assert made == {"model": "o3", "messages": HELLO, "max_completion_tokens": 7}

    def test_what_the_client_says_itself_is_the_providers_to_judge(self) -> None:
        raw, made, call = passed(
            {"model": "o3", "messages": HELLO, "temperature": 0.1, "top_k": 4}, model="o3"
        )
        assert made is raw
        assert not call.dropped

    def test_a_configured_limit_does_not_join_the_clients(self) -> None:
        body = {"model": "test-model", "messages": HELLO, "max_completion_tokens": 9}
        raw, made, _ = passed(body, options={"max_tokens": 7})
        assert made is raw

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("o1", "max_completion_tokens"),
            ("o3-mini", "max_completion_tokens"),
            ("o4-mini-2025-04-16", "max_completion_tokens"),
            ("gpt-5", "max_completion_tokens"),
            ("gpt-5.1", "max_completion_tokens"),
            ("gpt-5-nano", "max_completion_tokens"),
            ("ft:o4-mini-2025-04-16:org::id", "max_completion_tokens"),
            ("gpt-4o", "max_tokens"),
            ("gpt-4.1-mini", "max_tokens"),
            ("o200", "max_tokens"),
            ("gpt-50", "max_tokens"),
        ],
    )
    def test_reasoning_models_have_another_name_for_the_limit(self, model: str, name: str) -> None:
        """Kong 3.13: "max_completion_tokens … not being set correctly for o1, o3, o4, gpt-5"."""
        _, made, _ = passed({"model": model, "messages": HELLO, "max_tokens": 9}, model=model)
        assert {key: value for key, value in json.loads(made).items() if key.startswith("max")} == {name: 9}

    def test_what_other_providers_left_in_the_history_goes_and_is_reported(self) -> None:
        """After a failover the history may hold another provider's reasoning and cache breakpoints."""
        message = {
            "role": "assistant",
            "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "thinking_blocks": [{"type": "thinking", "thinking": "Hm", "signature": "s"}],
            "reasoning_content": "Hm",
            "tool_calls": [{"id": "x", "type": "function", "function": {}, "extra_content": {"google": {}}}],
        }
        _, made, call = passed({"model": "test-model", "messages": [*HELLO, message]})
        assert json.loads(made)["messages"] == [
            *HELLO,
            {
                "role": "assistant",
                "content": [{"type": "text", "text": "a"}],
                "tool_calls": [{"id": "x", "type": "function", "function": {}}],
            },
        ]
        assert set(call.dropped) == {
            "messages.thinking_blocks",
            "messages.reasoning_content",
            "messages.content.cache_control",
            "messages.tool_calls.extra_content",
        }


class TestAnswer:
    def test_it_is_read_and_left_alone(self) -> None:
        body = (
            b'{ "id": "c1", "model": "m-1", "choices": [ {"finish_reason": "stop"} ], "usage": %b }' % USAGE
        )
        call = make_call()
        assert OBSERVER.response(body, call) is body
        assert (call.response_id, call.response_model, call.finish_reasons) == ("c1", "m-1", ["stop"])
        assert (call.usage.total, call.usage.source) == (5, UsageSource.REPORTED)

    @pytest.mark.parametrize(
        "body", [b"", b"[]", b"not json", b'{"choices":null,"usage":null}', b'{"choices":[null,{}]}']
    )
    def test_anything_else_goes_through(self, body: bytes) -> None:
        call = make_call()
        assert OBSERVER.response(body, call) is body
        assert call.usage.source is UsageSource.NONE

    def test_a_finish_reason_that_is_none_is_left_alone(self) -> None:
        body = b'{"choices":[{"finish_reason":""},{"finish_reason":"null"}]}'
        assert OBSERVER.response(body, call := make_call()) is body
        assert call.finish_reasons == []

    def test_a_finish_reason_nobody_knows_is_mended(self) -> None:
        body = b'{"choices":[{"finish_reason":"tool_call"}]}'
        choice = json.loads(OBSERVER.response(body, make_call()))["choices"][0]
        assert choice == {"finish_reason": "tool_calls", "native_finish_reason": "tool_call"}


def event(content: str = "a", usage: bytes | None = None, finish: str = "null") -> bytes:
    tail = b"" if usage is None else b', "usage": %b' % usage
    choice = b'{"index":0, "delta":{"content":"%b"}, "finish_reason":%b}' % (
        content.encode(),
        finish.encode(),
    )
    return b'data: {"id":"c1", "model":"m1", "choices": [%b]%b}\n\n' % (choice, tail)


LAST = b'data: {"id":"c1","model":"m1","choices":[],"usage":%b}\n\n' % USAGE
DONE = b"data: [DONE]\n\n"


def observe(raw: bytes, *, asked: bool) -> tuple[bytes, Any, Any]:
    call = make_call(stream=True, include_usage=asked)
    observer = OBSERVER.stream(call)
    return observer.feed(raw) + observer.finish(), observer, call


class TestStream:
    RAW = event(usage=b"null") + b": ping\n\n" + event("b", b"null", '"stop"') + LAST + DONE

    def test_asked_for_usage_every_byte_is_the_providers(self) -> None:
        out, observer, call = observe(self.RAW, asked=True)
        assert out == self.RAW
        assert observer.complete
        assert (call.usage.total, call.output_bytes, call.finish_reasons) == (5, 2, ["stop"])

    def test_not_asked_for_usage_is_taken_out(self) -> None:
        out, observer, call = observe(self.RAW, asked=False)
        assert b"usage" not in out
        assert out.count(b"data: ") == 3
        assert b": ping\n\n" in out
        assert out.endswith(DONE)
        assert observer.complete
        assert call.usage.total == 5

    def test_without_usage_in_them_events_stay_untouched(self) -> None:
        raw = event() + event("b", finish='"stop"') + LAST + DONE
        assert observe(raw, asked=False)[0] == raw.replace(LAST, b"")

    def test_each_event_goes_on_at_once(self) -> None:
        observer = OBSERVER.stream(make_call(stream=True, include_usage=True))
        assert observer.feed(event("a") + event("b")[:20]) == event("a")
        assert observer.feed(event("b")[20:]) == event("b")

    def test_a_missing_done_is_added(self) -> None:
        out, observer, _ = observe(event(finish='"stop"'), asked=True)
        assert out == event(finish='"stop"') + DONE
        assert observer.complete

    def test_an_end_without_empty_line_counts(self) -> None:
        out, observer, _ = observe(event() + event("b", finish='"stop"').rstrip(), asked=True)
        assert observer.complete
        assert out == event() + event("b", finish='"stop"') + DONE

    @pytest.mark.parametrize(
        "raw", [b"", event(), event() + event("b", finish='"stop"')[:40], event() + b"data: [DO"]
    )
    def test_cut_off_is_not_complete(self, raw: bytes) -> None:
        out, observer, _ = observe(raw, asked=True)
        assert not observer.complete
        assert DONE not in out
        assert out in (b"", event())

    def test_one_of_two_choices_does_not_end_it(self) -> None:
        other = event("b").replace(b'"index":0', b'"index":1')
        assert not observe(other + event(finish='"stop"'), asked=True)[1].complete
        ended = other + event(finish='"stop"') + other.replace(b":null}", b':"stop"}')
        assert observe(ended, asked=True)[1].complete

    def test_an_error_passes_and_is_known(self) -> None:
        error = b'data: {"error":{"message":"no","type":"server_error","code":"x"}}\n\n'
        out, observer, _ = observe(event() + error, asked=True)
        assert out == event() + error
        assert not observer.complete
        assert observer.failed is not None
        assert (observer.failed.message, observer.failed.code) == ("no", "x")

    @pytest.mark.parametrize(
        "error",
        [
            b'data: {"code":"Throttling","message":"no"}\n\n',
            b'data: {"id":"c1","choices":[],"x_groq":{"error":"no"}}\n\n',
        ],
    )
    def test_other_forms_of_errors_pass_and_are_known(self, error: bytes) -> None:
        out, observer, _ = observe(event() + error, asked=True)
        assert out == event() + error
        assert observer.failed is not None
        assert observer.failed.message == "no"

    @pytest.mark.parametrize("asked", [True, False])
    def test_usage_in_the_places_that_others_have_for_it(self, asked: bool) -> None:
        groqs = b'data: {"id":"c1","choices":[{"delta":{},"finish_reason":"stop"}],"x_groq":{"usage":%b}}\n\n'
        moonshots = b'data: {"id":"c1","choices":[{"delta":{},"finish_reason":"stop","usage":%b}]}\n\n'
        for last in (groqs % USAGE, moonshots % USAGE):
            out, _, call = observe(event() + last + DONE, asked=asked)
            assert out == event() + last + DONE
            assert call.usage.total == 5

    def test_azures_asynchronous_filter_passes(self) -> None:
        """Chunks of filter results alone, without a delta, and some after the end
        (https://learn.microsoft.com/azure/ai-services/openai/concepts/content-streaming)."""
        first = b'data: {"id":"","object":"","model":"","choices":[],"prompt_filter_results":[]}\n\n'
        results = (
            b'data: {"id":"","object":"","created":0,"model":"","choices":[{"index":0,"finish_reason":null,'
            b'"content_filter_results":{},"content_filter_offsets":{"check_offset":44}}]}\n\n'
        )
        raw = first + event() + results + event("b", finish='"stop"') + results + DONE
        out, observer, call = observe(raw, asked=True)
        assert json.loads(out[6 : out.index(b"\n")])["object"] == "chat.completion.chunk"
        assert out.count(b'"content_filter_offsets":{"check_offset":44},"delta":{}') == 2
        assert observer.complete
        assert (call.output_bytes, call.finish_reasons, call.response_id) == (2, ["stop"], "c1")
        items = OpenAIStream(make_call("azure", stream=True), OPENAI).feed(raw)
        assert "".join(i["choices"][0]["delta"].get("content", "") for i in items if i["choices"]) == "ab"

    def test_content_in_parts_and_one_tool_call_are_counted(self) -> None:
        parts = b'[{"type":"thinking","thinking":[{"type":"text","text":"Hm"}]},{"type":"text","text":"a"}]'
        one = b'{"index":0,"function":{"arguments":"{}"}}'
        raw = b'data: {"choices":[{"delta":{"content":%b,"tool_calls":%b}}]}\n\n' % (parts, one)
        out, _, call = observe(raw, asked=True)
        assert out == raw
        assert call.output_bytes == len("Hma{}")

    def test_an_endless_event_is_an_error(self) -> None:
        observer = OBSERVER.stream(make_call(stream=True))
        out = b"".join(observer.feed(b"data: " + b"x" * 2_000_000) for _ in range(12)) + observer.finish()
        assert json.loads(out[6:])["error"]["code"] == "upstream_event_too_large"
        assert observer.failed is not None
        assert not observer.complete

    def test_what_cannot_be_read_goes_through(self) -> None:
        odd = b'data: {oops\n\ndata: 5\n\ndata: {"choices":[null,{"delta":null}],"usage":4}\n\n'
        assert observe(odd, asked=True)[0] == odd

    def test_line_ends_of_another_kind(self) -> None:
        raw = self.RAW.replace(b"\n", b"\r\n")
        assert observe(raw, asked=True)[0] == raw
        assert b"usage" not in observe(raw, asked=False)[0]


def test_what_came_before_an_event_that_is_too_large_goes_on() -> None:
    call = make_call(stream=True, include_usage=True)
    call.max_frame = 400
    observer = openai_observer(OPENAI).stream(call)
    first = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    out = observer.feed(first + b"data: " + b"x" * 500)
    assert out.startswith(first)
    assert observer.failed is not None and observer.failed.code == "upstream_event_too_large"
    assert out.count(b"data: ") == 2
    assert observer.finish() == b""


@pytest.mark.parametrize("asked", [True, False])
def test_an_empty_usage_says_nothing_of_the_one_before(asked: bool) -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 7, "model": "m1"}
    ended = {**head, "choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}
    chunks = [ended, {**head, "choices": [], "usage": counts}, {**head, "choices": [], "usage": {}}]
    raw = b"".join(b"data: %b\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
    _, _, call = observe(raw, asked=asked)
    assert (call.usage.prompt_tokens, call.usage.completion_tokens) == (3, 4)
    assert call.usage.source is UsageSource.REPORTED

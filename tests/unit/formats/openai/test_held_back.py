"""A stream whose members of the gateway's own come in several pieces, read by OpenAI's SDK."""

from __future__ import annotations

import copy
from typing import Any

from exchange_support import USAGE_CHUNK, chunk, events
from native_support import make_call
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from kong_ai_proxy.formats.openai.client import CLIENT


def told(*chunks: dict[str, Any]) -> list[dict[str, Any]]:
    encoder = CLIENT.stream(make_call("anthropic", "m", stream=True, include_usage=True))
    before = copy.deepcopy(chunks)
    sent = b"".join(encoder.encode(one) for one in chunks) + encoder.finish()
    assert chunks == before, "what is given is left as it was"
    return events(sent)[:-1]


def read(sent: list[dict[str, Any]]) -> Any:
    state: Any = ChatCompletionStreamState()
    for one in sent:
        state.handle_chunk(ChatCompletionChunk.model_validate(one))
    return state.current_completion_snapshot


def thinking(words: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": f"s-{words}"}


def test_several_blocks_of_thinking_and_citations() -> None:
    sent = told(
        chunk({"role": "assistant", "content": ""}),
        chunk({"thinking_blocks": [thinking("a")]}),
        chunk({"content": "x", "annotations": [{"type": "url_citation"}]}),
        chunk({"provider_specific_fields": {"content_blocks": [{"type": "one"}], "stop_sequence": "END"}}),
        chunk({"thinking_blocks": [thinking("b")]}),
        chunk({"content": "y", "annotations": [{"type": "file_citation"}]}),
        chunk(
            {"provider_specific_fields": {"content_blocks": [{"type": "two"}], "stop_sequence": "END"}},
            "stop",
        ),
        USAGE_CHUNK,
    )
    message = read(sent).choices[0].message
    assert message.content == "xy"
    assert message.thinking_blocks == [thinking("a"), thinking("b")]
    assert [one["type"] for one in message.to_dict()["annotations"]] == ["url_citation", "file_citation"]
    assert message.provider_specific_fields == {
        "content_blocks": [{"type": "one"}, {"type": "two"}], "stop_sequence": "END"
    }  # fmt: skip
    assert [one["choices"][0]["delta"].get("content") for one in sent[:-2]] == ["", "x", "y"]
    assert sent[-2]["choices"][0]["finish_reason"] == "stop"
    assert sent[-1]["choices"] == []


def test_each_choice_has_its_own() -> None:
    def of(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {"index": index, "delta": delta, "finish_reason": finish}

    sent = told(
        chunk(choices=[of(0, {"content": "a"}), of(1, {"thinking_blocks": [thinking("1")]})]),
        chunk(choices=[of(1, {"thinking_blocks": [thinking("2")]}), of(0, {}, "stop")]),
        chunk(choices=[of(1, {"content": "b"}, "length")]),
    )
    assert [[one["index"] for one in given["choices"]] for given in sent] == [[0], [0], [1]]
    assert "thinking_blocks" not in sent[1]["choices"][0]["delta"]
    last = sent[2]["choices"][0]
    assert last["delta"] == {"content": "b", "thinking_blocks": [thinking("1"), thinking("2")]}


def test_log_probabilities_do_not_wait() -> None:
    piece = chunk({"annotations": [{"type": "url_citation"}]})
    piece["choices"][0]["logprobs"] = {"content": []}
    sent = told(piece, chunk({}, "stop"))
    assert sent[0]["choices"][0]["logprobs"] == {"content": []}
    assert sent[0]["choices"][0]["delta"] == {}
    assert sent[1]["choices"][0]["delta"] == {"annotations": [{"type": "url_citation"}]}

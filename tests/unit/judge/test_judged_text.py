"""What a judge gets to read, whatever form client and provider speak."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import openai_answer, sse
from judge_support import court
from relay_support import Peer

from kong_ai_proxy.config.models import Judge, Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.judge import said
from kong_ai_proxy.providers import provider

ANTHROPIC: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "four."}],
    "usage": {"input_tokens": 3, "output_tokens": 4},
}  # fmt: skip
GEMINI: Json = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "It is four."}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
}
CONVERSE: Json = {
    "output": {"message": {"role": "assistant", "content": [{"text": "It is four."}]}},
    "stopReason": "end_turn", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
}  # fmt: skip
COHERE: Json = {
    "id": "c", "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "It is four."}]},
    "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}},
}  # fmt: skip
AWS: Json = {"auth": {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"},
             "options": {"bedrock": {"aws_region": "us-east-1"}}}  # fmt: skip

GENERATE = "/v1beta/models/m:generateContent"
ASK: Json = {"messages": [{"role": "user", "content": "Two and two?"}], "max_tokens": 9}
ASK_GEMINI: Json = {"contents": [{"role": "user", "parts": [{"text": "Two and two?"}]}]}
ASK_CONVERSE: Json = {"messages": [{"role": "user", "content": [{"text": "Two and two?"}]}]}
JUDGED: Json = {"request": [{"role": "user", "content": "Two and two?"}], "response": "It is four."}


@pytest.mark.parametrize(
    ("form", "target", "answer", "path", "body"),
    [
        ("openai", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC, "/chat", ASK),
        ("openai", {"provider": "gemini", "path": "/v1beta/models/m:generateContent"}, GEMINI, "/chat", ASK),
        ("openai", {"provider": "bedrock", "path": "", **AWS}, CONVERSE, "/chat", ASK),
        ("openai", {"provider": "cohere", "path": "/v2/chat"}, COHERE, "/chat", ASK),
        ("anthropic", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC, "/v1/messages",
         {**ASK, "model": "m"}),
        ("anthropic", {}, openai_answer("It is four."), "/v1/messages", {**ASK, "model": "m"}),
        ("gemini", {"provider": "gemini", "path": ""}, GEMINI, GENERATE, ASK_GEMINI),
        ("gemini", {}, openai_answer("It is four."), GENERATE, ASK_GEMINI),
        ("bedrock", {"provider": "bedrock", "path": "", **AWS}, CONVERSE, "/model/m/converse", ASK_CONVERSE),
        ("cohere", {"provider": "cohere", "path": ""}, COHERE, "/v2/chat", {**ASK, "model": "m"}),
        ("cohere", {"provider": "cohere", "path": ""},
         {"text": "It is four.", "finish_reason": "COMPLETE", "generation_id": "g"}, "/v1/chat",
         {"model": "m", "message": "Two and two?", "preamble": "Be brief.",
          "chat_history": [{"role": "CHATBOT", "message": "Hello"}]}),
        ("cohere", {"provider": "cohere", "path": ""}, {"id": "g", "generations": [{"text": "It is four."}]},
         "/v1/generate", {"model": "m", "prompt": "Two and two?"}),
        ("huggingface", {"provider": "huggingface", "path": ""}, [{"generated_text": "It is four."}],
         "/generate", {"inputs": "Two and two?"}),
        ("anthropic", {"provider": "anthropic", "path": ""},
         {"id": "c", "type": "completion", "completion": "It is four.", "stop_reason": "stop_sequence"},
         "/v1/complete", {"model": "m", "prompt": "Two and two?", "max_tokens_to_sample": 9}),
    ],
)  # fmt: skip
def test_whole_answers(form: str, target: Json, answer: Any, path: str, body: Json) -> None:
    with court(answer, target=target, llm_format=form) as it:
        reply = it.ask(body, path)
        assert reply.status == 200, reply.body
        assert it.settled() == {"scored": 1}, it.said()
        assert it.bench.material == JUDGED


def events(*data: Json) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in data
    )


ANTHROPIC_STREAM = events(
    {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "It is"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " four."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)
COHERE_STREAM = events(
    {"type": "message-start", "id": "c", "delta": {"message": {"role": "assistant"}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "It is four."}}}},
    {
        "type": "message-end",
        "delta": {"finish_reason": "COMPLETE", "usage": {"tokens": {"output_tokens": 4}}},
    },
)
HUGGINGFACE_STREAM = sse(
    {"token": {"text": "It is", "special": False}, "generated_text": None},
    {"token": {"text": " four.", "special": False}, "generated_text": "It is four.",
     "details": {"finish_reason": "eos_token", "generated_tokens": 2}},
)  # fmt: skip
LINES = b"".join(
    json.dumps({"model": "m", "message": {"role": "assistant", "content": part}, "done": not part}).encode()
    + b"\n"
    for part in ("It is", " four.", "")
)


@pytest.mark.parametrize(
    ("form", "target", "stream", "kind", "path", "body"),
    [
        ("openai", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC_STREAM, "text/event-stream",
         "/chat", ASK),
        ("anthropic", {"provider": "anthropic", "path": ""}, ANTHROPIC_STREAM, "text/event-stream",
         "/v1/messages", {**ASK, "model": "m"}),
        ("gemini", {"provider": "gemini", "path": ""}, sse(GEMINI), "text/event-stream",
         GENERATE.replace(":g", ":streamG") + "?alt=sse", ASK_GEMINI),
        ("cohere", {"provider": "cohere", "path": ""}, COHERE_STREAM, "text/event-stream", "/v2/chat",
         {**ASK, "model": "m"}),
        ("huggingface", {"provider": "huggingface", "path": ""}, HUGGINGFACE_STREAM, "text/event-stream",
         "/generate_stream", {"inputs": "Two and two?"}),
        ("openai", {"provider": "ollama", "path": ""}, LINES, "application/x-ndjson", "/chat", ASK),
        ("openai", {"provider": "ollama", "path": ""}, LINES, "application/json", "/chat", ASK),
        ("openai", {}, json.dumps(openai_answer("It is four.")).encode(), "application/json", "/chat", ASK),
    ],
)  # fmt: skip
def test_streams(form: str, target: Json, stream: bytes, kind: str, path: str, body: Json) -> None:
    def answer(peer: Peer, head: bytes, sent: bytes) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        for start in range(0, len(stream), 50):
            peer.chunk(stream[start : start + 50])
        peer.end()

    if "inputs" not in body and "contents" not in body:
        body = {**body, "stream": True}
    with court(answer, target=target, llm_format=form) as it:
        reply = it.ask(body, path)
        assert reply.status == 200 and reply.complete, reply.body
        assert it.settled() == {"scored": 1}, it.said()
        assert it.bench.material == JUDGED


def test_completions_are_judged() -> None:
    answer = {
        "id": "c",
        "object": "text_completion",
        "choices": [{"index": 0, "text": "It is four.", "finish_reason": "stop"}],
    }
    target = {"route_type": "llm/v1/completions", "path": "/v1/completions"}
    with court(answer, target=target) as it:
        assert it.ask({"prompt": "Two and two?"}).status == 200
        assert it.settled() == {"scored": 1}
        assert it.bench.material == JUDGED


def test_other_operations_are_not_judged() -> None:
    answer: Json = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [1.0]}],
        "usage": {},
    }
    with court(answer, target={"route_type": "llm/v1/embeddings", "path": "/v1/embeddings"}) as it:
        assert it.ask({"input": "Two and two?"}, "/embeddings").status == 200
        assert it.outcomes() == {} and it.bench.seen == []


@pytest.mark.parametrize("name", ["anthropic", "gemini", "bedrock", "cohere", "mistral"])
def test_any_provider_judges(name: str) -> None:
    replies = {
        "anthropic": ("/v1/messages", {**ANTHROPIC, "content": [{"type": "text", "text": "64"}]}),
        "gemini": ("/v1beta/models/m:generateContent",
                   {"candidates": [{"content": {"parts": [{"text": "64"}]}, "finishReason": "STOP"}]}),
        "bedrock": ("", {**CONVERSE, "output": {"message": {"content": [{"text": "64"}]}}}),
        "cohere": ("/v2/chat", {**COHERE, "message": {"content": [{"type": "text", "text": "64"}]}}),
        "mistral": ("/v1/chat/completions", openai_answer("64")),
    }  # fmt: skip
    path, reply = replies[name]
    from judge_support import Bench

    bench = Bench(("200 OK", "", json.dumps(reply)))
    with court(openai_answer("It is four."), bench) as it:
        assert it.world.instance is not None and it.world.instance.judge is not None
        llm = it.world.instance.judge.llm
        llm.model.provider = name  # type: ignore[assignment]
        assert llm.model.options.upstream_url is not None
        llm.model.options.upstream_url = llm.model.options.upstream_url.replace("/v1/chat/completions", path)
        llm.model.options.max_tokens = 5
        if name == "bedrock":
            from kong_ai_proxy.config.models import Auth, BedrockOptions

            llm.model.options.bedrock = BedrockOptions(aws_region="us-east-1")
            llm.auth = Auth(aws_access_key_id="AKIAEXAMPLE", aws_secret_access_key="secret")
        it.ask(ASK)
        assert it.settled() == {"scored": 1}, it.said()
        assert it.accuracy() == (1, 64)
        assert "5" in json.dumps(bench.seen[0]), "the judge's own options"


# -- which messages

TALK: Json = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": [{"type": "text", "text": "What is this?"},
                                     {"type": "image_url", "image_url": {"url": "data:image/png;,A"}}]},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "a cat"},
    ]
}  # fmt: skip


TARGET = Target(model=Model(provider="openai", name="j"), route_type="llm/v1/chat")


def asked(body: Json, **judge: Any) -> list[tuple[str, str]]:
    call = Call(TARGET, TARGET.model.options, "m", "chat", ClientRequest("POST", "/", "", {}))
    found = said.asked(body, call, Judge(llm=TARGET, **judge)).messages
    return [(each["role"], each["content"]) for each in found]


def test_by_default_the_last_user_message_is_judged() -> None:
    assert asked(TALK) == [("user", "What is this?\n[image_url]")]


@pytest.mark.parametrize(
    ("judge", "roles"),
    [
        ({"message_countback": 9}, ["user", "user"]),
        ({"message_countback": 9, "ignore_system_prompts": False}, ["system", "user", "user"]),
        ({"message_countback": 9, "ignore_assistant_prompts": False}, ["user", "assistant", "user"]),
        ({"message_countback": 2, "ignore_tool_prompts": False}, ["user", "tool"]),
    ],
)  # fmt: skip
def test_those_that_are_not_left_out_count(judge: Json, roles: list[str]) -> None:
    assert [role for role, _ in asked(TALK, **judge)] == roles


@pytest.mark.parametrize("content", [None, 3, [], [None, 3, {}, {"type": 3}], {"text": "x"}])
def test_odd_contents_are_no_text(content: Any) -> None:
    assert said._text(content) == ""


def test_refusals_and_texts_among_parts() -> None:
    assert (
        said._text(["a", {"type": "refusal", "refusal": "no"}, {"type": "input_audio"}])
        == "a\nno\n[input_audio]"
    )


@pytest.mark.parametrize(
    "answer", [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": [None]}]
)
def test_answers_without_text(answer: Json) -> None:
    assert not said._first(answer)
    assert not any(map(said._native, ([], None, [3])))


def test_a_stream_that_nobody_reads_is_no_text() -> None:
    stream = events(
        {"type": "completion", "completion": "It is four.", "stop_reason": None},
        {"type": "completion", "completion": "", "stop_reason": "stop_sequence"},
    )

    def answer(peer: Peer, head: bytes, sent: bytes) -> None:
        peer.stream_head()
        peer.chunk(stream)
        peer.end()

    with court(answer, target={"provider": "anthropic", "path": ""}, llm_format="anthropic") as it:
        body = {"model": "m", "prompt": "Two and two?", "max_tokens_to_sample": 9, "stream": True}
        assert it.ask(body, "/v1/complete").complete
        assert it.settled() == {"no_text": 1}


def test_an_answer_that_is_no_json_or_broken_is_an_error() -> None:
    call = Call(TARGET, TARGET.model.options, "m", "chat", ClientRequest("POST", "/", "", {}))
    adapter = provider("openai").adapter(call)
    with pytest.raises(ValueError, match="Expecting value"):
        said.answered(said.Answer(b"<html>", call, adapter, whole=True, stream=False))
    broken = sse({"error": {"message": "no"}})
    with pytest.raises(ApiError):
        said.answered(said.Answer(broken, call, adapter, whole=False, stream=True))

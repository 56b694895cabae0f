"""Calls of tools, and the Responses API, as a judge gets to see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import chunk, openai_answer, sse
from judge_support import court
from relay_support import Peer

from kong_ai_proxy.core.json import Json
from kong_ai_proxy.judge import calls, responses, said

AWS: Json = {"auth": {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret"},
             "options": {"bedrock": {"aws_region": "us-east-1"}}}  # fmt: skip
ARGUMENTS = {"sum": "2+2"}
SCHEMA: Json = {"type": "object", "properties": {"sum": {"type": "string"}}}
TOOLS: Json = [
    {"type": "function", "function": {"name": "add", "description": "Adds numbers.", "parameters": SCHEMA}}
]
ASK: Json = {"messages": [{"role": "user", "content": "Two and two?"}], "max_tokens": 9, "tools": TOOLS}
ANTHROPIC_TOOLS: Json = [{"name": "add", "description": "Adds numbers.", "input_schema": SCHEMA}]
ASK_ANTHROPIC: Json = {**ASK, "model": "m", "tools": ANTHROPIC_TOOLS}
ASK_GEMINI: Json = {
    "contents": [{"role": "user", "parts": [{"text": "Two and two?"}]}],
    "tools": [{"functionDeclarations": [
        {"name": "add", "description": "Adds numbers.", "parameters": SCHEMA}
    ]}],
}  # fmt: skip
ASK_CONVERSE: Json = {
    "messages": [{"role": "user", "content": [{"text": "Two and two?"}]}],
    "toolConfig": {"tools": [
        {"toolSpec": {"name": "add", "description": "Adds numbers.", "inputSchema": {"json": SCHEMA}}}
    ]},
}  # fmt: skip
ASK_RESPONSES: Json = {"model": "m", "input": "Two and two?", "tools": [
    {"type": "function", "name": "add", "description": "Adds numbers.", "parameters": SCHEMA}
]}  # fmt: skip


def chat_call(arguments: str = json.dumps(ARGUMENTS)) -> Json:
    return {"id": "c", "type": "function", "function": {"name": "add", "arguments": arguments}}


def chat(content: str | None = None) -> Json:
    message = {"role": "assistant", "content": content, "tool_calls": [chat_call()]}
    return openai_answer(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])


ANTHROPIC: Json = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
    "content": [{"type": "tool_use", "id": "toolu_1", "name": "add", "input": ARGUMENTS}],
    "usage": {"input_tokens": 3, "output_tokens": 4},
}  # fmt: skip
GEMINI: Json = {
    "candidates": [{"content": {"role": "model", "parts": [{"functionCall": {"name": "add",
                    "args": ARGUMENTS}}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 4},
}  # fmt: skip
CONVERSE: Json = {
    "output": {"message": {"role": "assistant", "content": [
        {"toolUse": {"toolUseId": "t", "name": "add", "input": ARGUMENTS}}]}},
    "stopReason": "tool_use", "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7},
}  # fmt: skip
COHERE: Json = {
    "id": "c", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_calls": [chat_call()]},
    "usage": {"tokens": {"input_tokens": 3, "output_tokens": 4}},
}  # fmt: skip
CALL_ITEM: Json = {
    "type": "function_call", "id": "fc", "call_id": "c", "name": "add", "status": "completed",
    "arguments": json.dumps(ARGUMENTS),
}  # fmt: skip
MESSAGE_ITEM: Json = {
    "type": "message", "id": "m", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "It is four.", "annotations": []}],
}  # fmt: skip


def response(*output: Json, **members: Any) -> Json:
    return {
        "id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": list(output),
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}, **members,
    }  # fmt: skip


NATIVE: Json = {"route_type": "llm/v1/responses", "path": "/v1/responses"}
OVER_CHAT: Json = {"route_type": "llm/v1/responses", "provider": "anthropic", "path": "/v1/messages"}


def judged(material: Json) -> Json:
    """What a judge was shown, the arguments read."""
    for call in material["tool_calls"]:
        call["arguments"] = json.loads(call["arguments"])
    return material


CALLED: Json = {
    "request": [{"role": "user", "content": "Two and two?"}],
    "response": "",
    "tools": [{"name": "add", "description": "Adds numbers."}],
    "tool_calls": [{"name": "add", "arguments": ARGUMENTS}],
}


@pytest.mark.parametrize(
    ("form", "target", "answer", "path", "body"),
    [
        ("openai", {}, chat(), "/chat", ASK),
        ("openai", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC, "/chat", ASK),
        ("anthropic", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC, "/v1/messages",
         ASK_ANTHROPIC),
        ("anthropic", {}, chat(), "/v1/messages", ASK_ANTHROPIC),
        ("gemini", {"provider": "gemini", "path": ""}, GEMINI, "/v1beta/models/m:generateContent",
         ASK_GEMINI),
        ("bedrock", {"provider": "bedrock", "path": "", **AWS}, CONVERSE, "/model/m/converse", ASK_CONVERSE),
        ("cohere", {"provider": "cohere", "path": ""}, COHERE, "/v2/chat", {**ASK, "model": "m"}),
        ("openai", NATIVE, response(CALL_ITEM), "/responses", ASK_RESPONSES),
        ("openai", OVER_CHAT, ANTHROPIC, "/responses", ASK_RESPONSES),
    ],
)  # fmt: skip
def test_whole_answers_that_are_calls_alone(
    form: str, target: Json, answer: Json, path: str, body: Json
) -> None:
    with court(answer, target=target, llm_format=form) as it:
        reply = it.ask(body, path)
        assert reply.status == 200, reply.body
        assert it.settled() == {"scored": 1}, it.said()
        assert judged(it.bench.material) == CALLED
        assert "2+2" not in json.dumps(it.said())


def events(*data: Json) -> bytes:
    return b"".join(
        b"event: %b\ndata: %b\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in data
    )


CHAT_STREAM = sse(
    chunk({"role": "assistant", "tool_calls": [{"index": 0, **chat_call("")}]}),
    *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
      for part in ('{"sum":', '"2+2"}')),
    chunk({}, "tool_calls"), "[DONE]",
)  # fmt: skip
ANTHROPIC_STREAM = events(
    {"type": "message_start", "message": {**ANTHROPIC, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0,
     "content_block": {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {}}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": part}}
      for part in ('{"sum":', '"2+2"}')),
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
    {"type": "message_stop"},
)  # fmt: skip
RESPONSES_STREAM = events(
    {"type": "response.created", "response": response(status="in_progress")},
    {"type": "response.output_item.added", "output_index": 0, "item": {**CALL_ITEM, "arguments": ""}},
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"sum":"2+2"}'},
    {"type": "response.output_item.done", "output_index": 0, "item": CALL_ITEM},
    {"type": "response.completed", "response": response(CALL_ITEM)},
)  # fmt: skip


@pytest.mark.parametrize(
    ("form", "target", "stream", "path", "body"),
    [
        ("openai", {}, CHAT_STREAM, "/chat", ASK),
        ("openai", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC_STREAM, "/chat", ASK),
        ("anthropic", {"provider": "anthropic", "path": "/v1/messages"}, ANTHROPIC_STREAM, "/v1/messages",
         ASK_ANTHROPIC),
        ("gemini", {"provider": "gemini", "path": ""}, sse(GEMINI),
         "/v1beta/models/m:streamGenerateContent?alt=sse", ASK_GEMINI),
        ("openai", NATIVE, RESPONSES_STREAM, "/responses", ASK_RESPONSES),
        ("openai", NATIVE, RESPONSES_STREAM.removesuffix(b"\n"), "/responses", ASK_RESPONSES),
        ("openai", OVER_CHAT, ANTHROPIC_STREAM, "/responses", ASK_RESPONSES),
    ],
)  # fmt: skip
def test_streams_that_are_calls_alone(form: str, target: Json, stream: bytes, path: str, body: Json) -> None:
    def answer(peer: Peer, head: bytes, sent: bytes) -> None:
        peer.stream_head()
        for start in range(0, len(stream), 100):
            peer.chunk(stream[start : start + 100])
        peer.end()

    if "contents" not in body:
        body = {**body, "stream": True}
    with court(answer, target=target, llm_format=form) as it:
        reply = it.ask(body, path)
        assert reply.status == 200 and reply.complete, reply.body
        assert it.settled() == {"scored": 1}, it.said()
        assert judged(it.bench.material) == CALLED


def test_text_and_calls_of_one_answer_are_both_shown() -> None:
    with court(chat("I add.")) as it:
        it.ask(ASK)
        it.settled()
        assert judged(it.bench.material) == {**CALLED, "response": "I add."}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("target", [NATIVE, OVER_CHAT])
def test_the_responses_api(target: Json, stream: bool) -> None:
    anthropic = {**ANTHROPIC, "content": [{"type": "text", "text": "It is four."}], "stop_reason": "end_turn"}
    streams = {
        "native": events(
            {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE_ITEM},
            {"type": "response.completed", "response": response()},
        ),
        "chat": events(
            {"type": "message_start", "message": {**anthropic, "content": [], "stop_reason": None}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0,
             "delta": {"type": "text_delta", "text": "It is four."}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ),
    }  # fmt: skip

    def streamed(peer: Peer, head: bytes, sent: bytes) -> None:
        peer.stream_head()
        peer.chunk(streams["native" if target is NATIVE else "chat"])
        peer.end()

    whole = response(MESSAGE_ITEM) if target is NATIVE else anthropic
    body = {
        "model": "m", "stream": stream, "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": "Hello"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi!"}]},
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "a cat"},
            {"role": "user", "content": [{"type": "input_text", "text": "Two and two?"}]},
        ],
    }  # fmt: skip
    everything = {
        "message_countback": 9, "ignore_system_prompts": False, "ignore_assistant_prompts": False,
        "ignore_tool_prompts": False,
    }  # fmt: skip
    with court(streamed if stream else whole, target=target, judge=everything) as it:
        reply = it.ask(body, "/responses")
        assert reply.status == 200 and reply.complete, reply.body
        assert it.settled() == {"scored": 1}, it.said()
        assert it.bench.material == {
            "request": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": "Hi!"},
                {"role": "tool", "content": "a cat"},
                {"role": "user", "content": "Two and two?"},
            ],
            "response": "It is four.",
        }
        assert it.accuracy() == (1, 80)


def test_other_requests_to_the_responses_api_are_not_judged() -> None:
    with court(response(MESSAGE_ITEM), target=NATIVE) as it:
        assert it.ask({"model": "m", "input": "x"}, "/responses/input_tokens").status == 200
        assert it.ask({}, "/responses/resp_1/cancel").status == 200
        assert it.outcomes() == {} and it.bench.seen == []


@pytest.mark.parametrize("status", ["queued", "failed"])
def test_a_response_without_an_answer_is_no_text(status: str) -> None:
    with court(response(status=status), target=NATIVE) as it:
        assert it.ask({"input": "Two and two?"}, "/responses").status == 200
        assert it.settled() == {"no_text": 1}


def test_what_a_call_asks_for_is_shown_and_what_the_provider_did_is_not() -> None:
    found = responses.answer(
        response(
            {"type": "reasoning", "summary": [{"text": "hm"}]},
            {"type": "web_search_call", "action": {"query": "four"}},
            {"type": "mcp_call", "name": "x", "arguments": "{}"},
            {"type": "custom_tool_call", "name": "run", "input": "2+2"},
            {"type": "computer_call", "actions": [{"type": "wait"}]},
            {"type": "local_shell_call", "action": {"command": ["ls"]}},
            {"type": "shell_call", "action": {"commands": ["ls"]}},
            {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "a"}},
            MESSAGE_ITEM,
        ),
        said._text,
    )
    assert found.text == "It is four."
    assert [(call["name"], call["arguments"]) for call in found.calls] == [
        ("run", "2+2"),
        ("computer", '[{"type":"wait"}]'),
        ("local_shell", '{"command":["ls"]}'),
        ("shell", '{"commands":["ls"]}'),
        ("apply_patch", '{"type":"delete_file","path":"a"}'),
    ]


def test_custom_and_old_calls_of_chat() -> None:
    custom = {"type": "custom", "custom": {"name": "run", "input": "2+2"}}
    old = {"name": "add", "arguments": "{}"}
    both = [{"name": "run", "arguments": "2+2"}, {"name": "add", "arguments": "{}"}]
    assert calls.chat_calls({"tool_calls": [custom], "function_call": old}) == both
    pieces = calls.Pieces()
    pieces.take({"tool_calls": [{"index": 0, "custom": {"name": "run", "input": "2"}}]})
    pieces.take({"tool_calls": [{"index": 0, "custom": {"input": "+2"}}]})
    pieces.take({"function_call": {"name": "add", "arguments": "{"}})
    pieces.take({"function_call": {"arguments": "}"}})
    assert pieces.calls() == both


def test_what_is_shown_is_bounded() -> None:
    long = {"function": {"name": "n" * 500, "arguments": "a" * 5000}}
    found = calls.chat_calls({"tool_calls": [long] * 20})
    assert len(found) == calls.CALLS_MOST + 1 and found[-1] == {"more": 4}
    assert found[0] == {"name": "n" * 200 + "…", "arguments": "a" * calls.ARGUMENTS_MOST + "…"}
    pieces = calls.Pieces()
    for index in range(20):
        pieces.take({"tool_calls": [{"index": index, **long}]})
    assert pieces.calls() == found
    tools = calls.tools_of({"tools": [{"function": {"name": "t", "description": "d" * 300}}] * 100})
    assert len(tools) == calls.TOOLS_MOST and tools[0] == {"name": "t", "description": "d" * 200 + "…"}


@pytest.mark.parametrize("odd", [None, 3, "x", [], [None, 3, "x", {}], {"a": 1}])
def test_odd_members_raise_nothing(odd: Any) -> None:
    assert calls.chat_calls({"tool_calls": odd, "function_call": odd}) is not None
    pieces = calls.Pieces()
    pieces.take({"tool_calls": odd, "function_call": odd})
    pieces.take({"tool_calls": [{"index": odd, "function": odd, "custom": odd}]})
    assert len(pieces.calls()) >= 1
    assert calls.tools_of({"tools": odd, "functions": odd}) in ([], [{"name": "x"}])
    assert calls.tools_of({"functions": [{"name": "f", "description": odd}]})[0]["name"] == "f"
    assert not responses.answer(odd, said._text) and not responses.answer({"output": odd}, said._text)
    item = {"type": "message", "role": odd, "content": odd}
    for body in ({"input": odd, "instructions": odd}, {"input": [item]}):
        assert list(responses.messages(body, said._text))
    assert not responses.streamed(events({"type": "response.completed", "response": odd}), said._text, list)
    done = {"type": "response.output_item.done", "item": odd}
    assert not responses.streamed(events(done) + b"data: \"output\"\n\n", said._text, list)
    assert responses.answer(response({"type": "shell_call", "action": odd}), said._text)

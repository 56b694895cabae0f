"""Claude's own search of the web, asked for in chat's and in the Responses API's words.

Sources: https://platform.claude.com/docs/en/agents-and-tools/tool-use/web-search-tool,
https://platform.openai.com/docs/guides/tools-web-search. The answers are our own writing in the forms of
those pages.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import client_request, proxy, sent
from openai.types.responses import Response
from responses_support import check_events, output_text, read_events

from kong_ai_proxy.config.models import Options
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.formats.anthropic.adapter import MessagesAdapter
from kong_ai_proxy.formats.anthropic.flavor import BEDROCK, VERTEX
from kong_ai_proxy.formats.responses.client import CLIENT

TOOL = {"type": "web_search_20250305", "name": "web_search"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
USE = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "the moon"}}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {"type": "web_search_result", "url": "https://a.test/", "title": "A", "encrypted_content": "E"},
    ],
}  # fmt: skip
CITED = {
    "type": "web_search_result_location", "url": "https://a.test/", "title": "A", "cited_text": "far",
    "encrypted_index": "I",
}  # fmt: skip
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
    "content": [
        {"type": "text", "text": "Let me look."}, USE, FOUND,
        {"type": "text", "text": "It is far.", "citations": [CITED]},
    ],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 5, "output_tokens": 6, "server_tool_use": {"web_search_requests": 1}},
}  # fmt: skip


def a_call(provider: str = "anthropic", stream: bool = False) -> Call:
    options = {"upstream_url": "https://r.test/anthropic/v1/messages"} if provider == "azure" else {}
    target = proxy(provider, "claude-sonnet-4-5", options=options).targets[0]
    return Call(
        target, Options(), "claude-sonnet-4-5", "chat", ClientRequest("POST", "/", "", {}), stream=stream
    )


def asked(options: Any, tools: list[Any] | None = None, **body: Any) -> tuple[dict[str, Any], list[str]]:
    call = a_call()
    whole = {"messages": [{"role": "user", "content": "Hi"}], "web_search_options": options, **body}
    if tools is not None:
        whole["tools"] = tools
    out = MessagesAdapter().request(whole, call)
    assert isinstance(out, dict)
    return out, call.dropped


def responses(**body: Any) -> tuple[dict[str, Any], list[str]]:
    call = a_call()
    out = MessagesAdapter().request(CLIENT.request({"input": "Hi", **body}, call), call)
    assert isinstance(out, dict)
    return out, call.dropped


def test_options_of_chat() -> None:
    place = {"city": "Minneapolis", "country": "US", "region": "Minnesota", "timezone": "America/Chicago"}
    options = {
        "search_context_size": "high",
        "user_location": {"type": "approximate", "approximate": place},
    }
    out, dropped = asked(options, tool_choice="auto")
    assert out["tools"] == [{**TOOL, "user_location": {"type": "approximate", **place}}]
    assert "tool_choice" not in out
    assert dropped == ["web_search_options.search_context_size"]


def test_it_stands_beside_the_clients_tools() -> None:
    function = {"type": "function", "function": {"name": "f"}}
    out, dropped = asked({}, [function], tool_choice="required", parallel_tool_calls=False)
    assert [tool["name"] for tool in out["tools"]] == ["f", "web_search"]
    assert out["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
    assert dropped == []


@pytest.mark.parametrize(
    "own", [{**TOOL, "max_uses": 2}, {"type": "web_search_20260209", "name": "web_search"}]
)
def test_the_clients_own_server_tool_is_the_one_that_counts(own: dict[str, Any]) -> None:
    out, dropped = asked({}, [own])
    assert (out["tools"], dropped) == ([own], [])
    out, dropped = asked({"search_context_size": "low"}, [own])
    assert (out["tools"], dropped) == ([own], ["web_search_options"])


def test_a_function_of_that_name_leaves_it_no_place() -> None:
    out, dropped = asked({}, [{"type": "function", "function": {"name": "web_search"}}])
    assert len(out["tools"]) == 1 and "type" not in out["tools"][0]
    assert dropped == ["web_search_options"]


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        ("yes", ["web_search_options"]),
        ({"user_location": None, "filters": None, "search_context_size": None}, []),
        ({"user_location": "here"}, ["web_search_options.user_location"]),
        ({"user_location": {"type": "exact", "lat": 1}}, ["web_search_options.user_location"]),
        ({"user_location": {"type": "approximate"}}, []),
        ({"user_location": {"type": "approximate", "approximate": {"city": 5}}}, []),
        ({"filters": "x"}, ["web_search_options.filters"]),
        ({"filters": {"language": "de", "odd": None}}, ["web_search_options.filters.language"]),
        ({"filters": {"allowed_domains": [None, 5, ""]}}, []),
    ],
)
def test_odd_options(options: Any, dropped: list[str]) -> None:
    out, noted = asked(options)
    assert out.get("tools", [TOOL]) == [TOOL]
    assert noted == dropped


def test_tool_of_the_responses_api() -> None:
    tool = {
        "type": "web_search", "search_context_size": "low", "external_web_access": False,
        "user_location": {"type": "approximate", "country": "DE", "city": None},
        "filters": {"allowed_domains": ["a.test"], "blocked_domains": ["b.test"]},
    }  # fmt: skip
    out, dropped = responses(tools=[FUNCTION, tool], include=["web_search_call.action.sources"])
    assert out["tools"][1] == {
        **TOOL,
        "user_location": {"type": "approximate", "country": "DE"},
        "allowed_domains": ["a.test"],
    }
    assert sorted(dropped) == [
        "tools[1].external_web_access",
        "web_search_options.filters.blocked_domains",
        "web_search_options.search_context_size",
    ]
    assert responses(tools=[{"type": "web_search", "external_web_access": True}])[1] == []


@pytest.mark.parametrize(
    ("choice", "tools", "searches", "dropped"),
    [
        ("auto", [], True, []),
        ("none", [FUNCTION], False, []),
        ("none", [], False, []),
        ("required", [], True, ["tool_choice"]),
        ({"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}, [FUNCTION], False, []),
        (
            {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]},
            [FUNCTION], True, [],
        ),
        (
            {"type": "allowed_tools", "tools": [{"type": "web_search"}]}, [FUNCTION], True,
            ["tool_choice.tools"],
        ),
    ],
)  # fmt: skip
def test_what_chooses_among_tools(choice: Any, tools: list[Any], searches: bool, dropped: list[str]) -> None:
    out, noted = responses(tools=[*tools, {"type": "web_search"}], tool_choice=choice)
    assert (TOOL in out.get("tools", [])) is searches
    assert noted == dropped


def test_hosts() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "web_search_options": {}}
    call = a_call()
    assert MessagesAdapter(VERTEX).request(body, call)["tools"] == [TOOL]
    assert call.betas == ["web-search-2025-03-05"]
    call = a_call()
    assert "tools" not in MessagesAdapter(BEDROCK).request(body, call)
    assert call.dropped == ["web_search_options"]


def test_vertex_is_told_the_beta() -> None:
    # https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/web-search
    options = {"gemini": {"location_id": "us-east5", "project_id": "p", "api_endpoint": "vertex.test"}}
    deployed = proxy("gemini", "claude-sonnet-4-5", options=options)
    for wish, beta in (({"web_search_options": {}}, "web-search-2025-03-05"), ({}, None)):
        body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], **wish}).encode()
        request = client_request(body)
        assert sent(deployed, request).headers.get("anthropic-beta") == beta


def test_foundry_has_it_too() -> None:
    # https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry
    call = a_call("azure")
    assert CLIENT.request({"input": "x", "tools": [{"type": "web_search"}]}, call)["web_search_options"] == {}
    deployed = proxy(
        "azure", "claude-sonnet-4-5", route_type="llm/v1/responses",
        options={"upstream_url": "https://r.test/anthropic/v1/messages"},
    )  # fmt: skip
    asked = {"input": "Hi", "tools": [{"type": "web_search"}]}
    made = sent(deployed, client_request(asked, path="/responses"))
    assert made.url.path == "/anthropic/v1/messages"
    body = json.loads(made.body)
    assert (body["tools"], body["messages"]) == ([TOOL], [{"role": "user", "content": "Hi"}])
    with pytest.raises(BadRequest, match="web_search"):
        CLIENT.request({"input": "x", "tools": [{"type": "web_search"}]}, a_call("bedrock"))


# ---- answers


def test_a_whole_answer_in_chat_and_the_turn_after_it() -> None:
    answer = MessagesAdapter().response(MESSAGE, a_call())
    message = answer["choices"][0]["message"]
    assert message["content"] == "Let me look.It is far."
    (note,) = message["annotations"]
    place = note["url_citation"]
    assert message["content"][place["start_index"] : place["end_index"]] == "It is far."
    out, _ = asked({}, messages=[
        {"role": "user", "content": "Hi"}, message, {"role": "user", "content": "And the sun?"},
    ])  # fmt: skip
    turn = out["messages"][1]["content"]
    assert turn[:2] == [USE, FOUND]
    assert turn[2]["text"] == message["content"]


def test_a_whole_answer_in_responses_and_the_turn_after_it() -> None:
    call = a_call()
    answer = CLIENT.response(MessagesAdapter().response(MESSAGE, call), call)
    Response.model_validate(answer)
    search, said = answer["output"]
    assert search["id"].startswith("ws_")
    assert search == {
        "id": search["id"], "type": "web_search_call", "status": "completed",
        "action": {
            "type": "search", "query": "the moon", "queries": ["the moon"],
            "sources": [{"type": "url", "url": "https://a.test/"}],
        },
    }  # fmt: skip
    (note,) = said["content"][0]["annotations"]
    assert note["url"] == "https://a.test/"
    assert said["content"][0]["text"][note["start_index"] : note["end_index"]] == "It is far."
    out, dropped = responses(
        input=[{"role": "user", "content": "Hi"}, *answer["output"], {"role": "user", "content": "And now?"}]
    )
    assert [turn["role"] for turn in out["messages"]] == ["user", "assistant", "user"]
    assert dropped == ["input[1].web_search_call"]


def event(kind: str, **members: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + json.dumps({"type": kind, **members}).encode() + b"\n\n"


def stream_of(blocks: list[dict[str, Any]], stop: str = "end_turn") -> bytes:
    out = event("message_start", message={**MESSAGE, "content": [], "stop_reason": None})
    for index, block in enumerate(blocks):
        empty: dict[str, Any] = dict(block)
        deltas: list[dict[str, Any]] = []
        if block["type"] == "text":
            empty = {"type": "text", "text": ""}
            deltas += [{"type": "citations_delta", "citation": cited} for cited in block.get("citations", [])]
            deltas += [{"type": "text_delta", "text": block["text"]}]
        elif "input" in block:
            empty["input"] = {}
            deltas += [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
        out += event("content_block_start", index=index, content_block=empty)
        for delta in deltas:
            out += event("content_block_delta", index=index, delta=delta)
        out += event("content_block_stop", index=index)
    out += event("message_delta", delta={"stop_reason": stop}, usage={"output_tokens": 6})
    return out + event("message_stop")


def streamed(blocks: list[dict[str, Any]], stop: str = "end_turn") -> list[dict[str, Any]]:
    call = a_call(stream=True)
    decoder, encoder = MessagesAdapter().stream(call), CLIENT.stream(call)
    out = b""
    for chunk in [*decoder.feed(stream_of(blocks, stop)), *decoder.finish()]:
        assert isinstance(chunk, dict)
        out += encoder.encode(chunk)
    return read_events(out + encoder.finish())


def test_a_stream_in_responses() -> None:
    events = streamed(MESSAGE["content"])  # type: ignore[arg-type]
    final = check_events(events)
    assert [item["type"] for item in final["output"]] == ["message", "web_search_call", "message"]
    told = [one["type"] for one in events if "web_search_call" in one["type"]]
    assert told == [f"response.web_search_call.{step}" for step in ("in_progress", "searching", "completed")]
    assert final["output"][1]["action"]["query"] == "the moon"
    assert output_text(final) == "Let me look.It is far."
    part = final["output"][2]["content"][0]
    (note,) = part["annotations"]
    assert part["text"][note["start_index"] : note["end_index"]] == "It is far."
    (added,) = [one for one in events if one["type"] == "response.output_text.annotation.added"]
    assert added["annotation"] == note


@pytest.mark.parametrize(
    ("blocks", "statuses"),
    [
        ([USE], ["failed"]),
        ([USE, USE], ["failed", "failed"]),
        ([FOUND], []),
        (
            [USE, {**FOUND, "content": {"type": "web_search_tool_result_error", "error_code": "x"}}],
            ["failed"],
        ),
        ([USE, {**FOUND, "content": [None, {"url": 5}]}], ["completed"]),
        ([{**USE, "id": None, "input": None}, {**FOUND, "tool_use_id": None}], ["completed"]),
        ([{**USE, "name": "code_execution"}, FOUND], []),
    ],
)
def test_searches_that_end_oddly(blocks: list[dict[str, Any]], statuses: list[str]) -> None:
    final = check_events(streamed(blocks, "max_tokens"))
    assert [item["status"] for item in final["output"]] == statuses
    call = a_call()
    answer = {**MESSAGE, "content": blocks, "stop_reason": "max_tokens"}
    whole = CLIENT.response(MessagesAdapter().response(answer, call), call)
    Response.model_validate(whole)
    if blocks != [USE, USE]:
        assert [item["status"] for item in whole["output"]] == statuses

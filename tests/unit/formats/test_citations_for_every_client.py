"""Web pages that an answer cites: clients of every format are told, whole or in a stream."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest
from anthropic.types import Message
from exchange_support import client_request, first_attempt, proxy, sse

from kong_ai_proxy.formats.cohere import CHAT_V1
from kong_ai_proxy.wire.eventstream import EventStreamDecoder

Json = dict[str, Any]

SAID: Final = "Ja, é so. Nein."
HERE: Final = {"url": "https://a.example/1?x=1", "title": "One", "start_index": 4, "end_index": 9}
THERE: Final = {
    "url": "https://b.example/",
    "title": "",
    "start_index": 10,
    "end_index": 15,
    "content": "Quote",
}
NOTES: Final = [{"type": "url_citation", "url_citation": each} for each in (HERE, THERE, HERE)]
ODD: Final = [
    None,
    {"type": "file_citation", "file": {}},
    {"type": "url_citation", "url_citation": {"url": 5}},
]
BESIDE: Final = {
    "citations": ["https://b.example/", "https://c.example/c", None, {"url": "https://d.example"}],
    "search_results": [{"title": "See", "url": "https://c.example/c", "snippet": "Seen"}, {"url": None}],
}
USED: Final = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
HEAD: Final = {"id": "c", "created": 1, "model": "m"}
CALL: Final = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CLIENTS: Final[dict[str, tuple[Json, str, str]]] = {
    "openai": ({}, "/chat", "/chat"),
    "anthropic": ({"max_tokens": 9}, "/v1/messages", "/v1/messages"),
    "bedrock": ({}, "/model/m/converse", "/model/m/converse-stream"),
    "gemini": ({}, "/v1beta/models/m:generateContent", "/v1beta/models/m:streamGenerateContent"),
}


def answer_of(notes: list[Any], beside: Json) -> Json:
    message = {"role": "assistant", "content": SAID, "annotations": notes}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USED, **beside}


def stream_of(notes: list[Any], beside: Json, *, first: bool = False) -> bytes:
    head = {**HEAD, "object": "chat.completion.chunk"}

    def chunk(delta: Json, finish: str | None = None, **more: Any) -> Json:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}

    pieces = [chunk({"role": "assistant", "content": SAID[:6]}), chunk({"content": SAID[6:]})]
    told = [chunk({"annotations": [note]}, **beside) for note in notes] or [chunk({}, **beside)]
    end = [chunk({}, "stop", **beside), {**head, "choices": [], "usage": USED}, "[DONE]"]
    return sse(*([*told, *pieces] if first else [*pieces, *told]), *end)


def asked(client: str, stream: bool) -> Any:
    more, whole_path, stream_path = CLIENTS[client]
    if client == "gemini":
        body: Json = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    else:
        content = [{"text": "hi"}] if client == "bedrock" else "hi"
        body = {"messages": [{"role": "user", "content": content}], **more}
        if client != "bedrock":
            body["stream"] = stream
    query = "alt=sse" if client == "gemini" else ""
    path = stream_path if stream else whole_path
    _, attempt = first_attempt(
        proxy("mistral", "m", llm_format=client), client_request(body, path=path, query=query)
    )
    attempt.translation.request()
    return attempt.translation


def whole(client: str, answer: Json) -> Json:
    made = asked(client, False).response(
        200, {"content-type": "application/json"}, json.dumps(answer).encode()
    )
    assert made.status == 200
    found = json.loads(made.body)
    assert isinstance(found, dict)
    return found


def streamed(client: str, raw: bytes) -> list[Json]:
    running = asked(client, True).stream(200, {"content-type": "text/event-stream"})
    out = running.feed(raw) + running.finish()
    assert running.failed is None
    if client == "bedrock":
        frames = EventStreamDecoder(1 << 20).feed(out)
        return [{"kind": frame.headers[":event-type"], **json.loads(frame.payload)} for frame in frames]
    lines = [line[5:].strip() for line in out.splitlines() if line.startswith(b"data:")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


def cited_whole(client: str, found: Json) -> Any:
    if client == "anthropic":
        Message.model_validate(found)
        return next(block.get("citations", []) for block in found["content"] if block["type"] == "text")
    if client == "bedrock":
        blocks = found["output"]["message"]["content"]
        assert blocks[0] == {"text": SAID}
        return [one for block in blocks[1:] for one in block["citationsContent"]["citations"]]
    if client == "gemini":
        return found["candidates"][0].get("groundingMetadata")
    return found["choices"][0]["message"]["annotations"]


def cited_streamed(client: str, events: list[Json]) -> Any:
    if client == "anthropic":
        deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        assert {delta["type"] for delta in deltas[2:]} <= {"citations_delta"}
        return [delta["citation"] for delta in deltas[2:]]
    if client == "bedrock":
        deltas = [event["delta"] for event in events if event["kind"] == "contentBlockDelta"]
        return [delta["citation"] for delta in deltas if "citation" in delta]
    if client == "gemini":
        assert not any("groundingMetadata" in event["candidates"][0] for event in events[:-1])
        return events[-1]["candidates"][0].get("groundingMetadata")
    choices = [choice for event in events for choice in event["choices"]]
    return [note for choice in choices for note in choice["delta"].get("annotations", [])]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("notes", [[], NOTES, NOTES + ODD])
@pytest.mark.parametrize("beside", [{}, BESIDE])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_stream_cites_what_the_whole_answer_cites(
    client: str, beside: Json, notes: list[Any], first: bool
) -> None:
    ours = cited_whole(client, whole(client, answer_of(notes, beside)))
    assert cited_streamed(client, streamed(client, stream_of(notes, beside, first=first))) == ours
    assert bool(ours) is bool(notes or (beside and client != "openai"))


def test_how_each_format_cites() -> None:
    found = {client: cited_whole(client, whole(client, answer_of(NOTES, BESIDE))) for client in CLIENTS}
    assert found["openai"] == NOTES
    assert found["anthropic"][1] == {
        "type": "web_search_result_location", "url": "https://b.example/", "title": None,
        "cited_text": "Quote", "encrypted_index": "",
    }  # fmt: skip
    assert [one["url"] for one in found["anthropic"]] == [
        "https://a.example/1?x=1", "https://b.example/", "https://c.example/c", "https://d.example",
    ]  # fmt: skip
    assert found["bedrock"][0] == {
        "location": {"web": {"url": "https://a.example/1?x=1", "domain": "a.example"}}, "title": "One",
    }  # fmt: skip
    assert found["bedrock"][2]["sourceContent"] == [{"text": "Seen"}]
    grounding = found["gemini"]
    assert grounding["groundingChunks"][1] == {
        "web": {"uri": "https://b.example/", "title": "https://b.example/"}
    }
    assert [support["segment"] for support in grounding["groundingSupports"]] == [
        # Bytes, not characters.
        {"startIndex": 4, "endIndex": 10, "text": "é so."},
        {"startIndex": 11, "endIndex": 16, "text": "Nein."},
    ]
    assert [support["groundingChunkIndices"] for support in grounding["groundingSupports"]] == [[0], [1]]


@pytest.mark.parametrize("provider", ["anthropic", "openai", "mistral"])
def test_made_citations_of_the_history_go_to_nobody(provider: str) -> None:
    made = whole("anthropic", answer_of(NOTES, {}))["content"]
    own = {"type": "web_search_result_location", "url": "u", "cited_text": "c", "encrypted_index": "Eo8"}
    made.append({"type": "text", "text": "Own.", "citations": [own]})
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": made}]
    body = {"max_tokens": 9, "messages": [*turns, {"role": "user", "content": "go on"}]}
    _, attempt = first_attempt(proxy(provider, "m", llm_format="anthropic"), client_request(body))
    sent = attempt.translation.request().body
    assert b'"encrypted_index":""' not in sent and b"a.example" not in sent
    assert (b"Eo8" in sent) is (provider == "anthropic")
    assert SAID.encode() in sent


def test_what_follows_a_text_is_not_cited_in_it() -> None:
    """Where a call came between, no block is open that could tell."""
    delta = [{"content": SAID}, {"tool_calls": [{"index": 0, **CALL}]}, {"annotations": NOTES}]
    chunks = [{**HEAD, "choices": [{"index": 0, "delta": one}]} for one in delta]
    end = {**HEAD, "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    events = streamed("anthropic", sse(*chunks, end, "[DONE]"))
    assert not any(event.get("delta", {}).get("type") == "citations_delta" for event in events)
    assert len(cited_streamed("bedrock", streamed("bedrock", sse(*chunks, end, "[DONE]")))) == 2


def test_documents_of_cohere_v1_with_a_url() -> None:
    answer = {
        "text": "Tall birds.", "generation_id": "g", "finish_reason": "COMPLETE",
        "citations": [
            {"start": 0, "end": 4, "text": "Tall", "document_ids": ["web_1", "own", "gone", 5]}, None,
            {"start": None, "end": 10, "document_ids": ["web_2"]},
        ],
        "documents": [
            {"id": "web_1", "url": "https://a.example/", "title": "Birds"}, {"id": "own", "snippet": "-"},
            {"id": "web_2", "url": "https://b.example/"},
        ],
    }  # fmt: skip
    lines = [
        {"event_type": "text-generation", "text": "Tall birds."},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer},
    ]
    instance = proxy("cohere", "m", options={"upstream_url": "https://cohere.example/v1/chat"})
    _, attempt = first_attempt(instance)
    told = json.loads(attempt.translation.response(200, {}, json.dumps(answer).encode()).body)
    notes = told["choices"][0]["message"]["annotations"]
    assert [note["url_citation"] for note in notes] == [
        {"url": "https://a.example/", "title": "Birds", "start_index": 0, "end_index": 4},
        {"url": "https://b.example/", "title": "https://b.example/", "start_index": 0, "end_index": 10},
    ]
    decoder = CHAT_V1.stream(attempt.call)
    raw = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    deltas = [choice["delta"] for chunk in decoder.feed(raw) for choice in chunk["choices"]]
    assert [delta["annotations"] for delta in deltas if "annotations" in delta] == [notes]

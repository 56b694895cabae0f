"""Cohere's chat (v2), embeddings, and text generation (v1).

Wire format: https://docs.cohere.com/v2/reference/chat, https://docs.cohere.com/v2/reference/chat-stream,
https://docs.cohere.com/v2/reference/embed, and the recordings `cohere/native-chat-v2*`,
`cohere/embeddings-native`.
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, Tool, split_words, think
from ..received import Received
from .openai import content_text, vector

_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}


def error(status: int, message: str) -> Answer:
    """An error as Cohere words it."""
    headers = {"retry-after": "2"} if status == 429 else None
    return Answer.json({"id": "mock", "message": message}, status, headers)


def respond(received: Received) -> Answer:
    """The answer to `/v2/chat`, `/v2/embed` and `/v1/generate`."""
    if not received.headers.get("authorization", "").lower().startswith("bearer "):
        return error(401, "no api key supplied")
    body = received.json
    model = str(body.get("model") or "")
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    if not model:
        return error(400, "model is required")
    if received.path.endswith("/embed"):
        return knobs.apply(_embed(body))
    if received.path.endswith("/generate"):
        return knobs.apply(_generate(body, model))
    if not body.get("messages"):
        return error(400, "invalid request: messages cannot be empty")
    reply = think(read_chat(body, model))
    if body.get("stream"):
        return knobs.apply(Answer.stream(_events(reply), "text/event-stream"))
    return knobs.apply(Answer.json(_whole(reply)))


def read_chat(body: Json, model: str) -> Ask:
    """The question in a v2 chat request."""
    messages = body["messages"]
    last = messages[-1]
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, _document_text(message.get("content")))
    wanted = body.get("response_format") or {}
    schema = wanted.get("json_schema") or ({} if wanted.get("type") == "json_object" else None)
    return Ask(
        model=model,
        texts=[text for message in messages if (text := _document_text(message.get("content")))],
        last_user=content_text(last.get("content")) if last.get("role") == "user" else "",
        tools=[
            Tool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
        ],
        tool_choice={"REQUIRED": "required", "NONE": "none"}.get(str(body.get("tool_choice")), "auto"),
        tool_results=results,
        schema=schema,
        max_tokens=body.get("max_tokens"),
        thinking=(body.get("thinking") or {}).get("type") == "enabled",
    )


def _document_text(content: Any) -> str:
    if isinstance(content, list):
        documents = [part["document"]["data"] for part in content if part.get("type") == "document"]
        if documents:
            return " ".join(
                data if isinstance(data, str) else str(next(iter(data.values()), "")) for data in documents
            )
    return content_text(content)


def _usage(reply: Reply) -> Json:
    counted = {"input_tokens": reply.prompt_tokens, "output_tokens": reply.completion_tokens}
    return {"billed_units": counted, "tokens": counted, "cached_tokens": 0}


def _whole(reply: Reply) -> Json:
    message: Json = {"role": "assistant"}
    content: list[Json] = [{"type": "thinking", "thinking": reply.thinking}] if reply.thinking else []
    content += [{"type": "text", "text": reply.text}] if reply.text else []
    if content:
        message["content"] = content
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in reply.calls
        ]
    return {
        "id": "mock-id",
        "message": message,
        "finish_reason": _FINISH[reply.finish],
        "usage": _usage(reply),
    }


def _event(kind: str, **value: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **value}))


def _delta(message: Json) -> Json:
    return {"message": message}


def _events(reply: Reply) -> list[Step]:
    empty: Json = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    steps: list[Step] = [_event("message-start", id="mock-id", delta=_delta(empty))]
    blocks = [("thinking", "thinking", reply.thinking_pieces), ("text", "text", reply.pieces)]
    for index, (kind, key, pieces) in enumerate(block for block in blocks if block[2]):
        start = _delta({"content": {"type": kind, key: ""}})
        steps.append(_event("content-start", index=index, delta=start))
        for piece in pieces:
            steps.append(_event("content-delta", index=index, delta=_delta({"content": {key: piece}})))
        steps.append(_event("content-end", index=index))
    for index, call in enumerate(reply.calls):
        function: Json = {"name": call.name, "arguments": ""}
        start = _delta({"tool_calls": {"id": call.id, "type": "function", "function": function}})
        steps.append(_event("tool-call-start", index=index, delta=start))
        for at in range(0, len(call.text), 8):
            part = {"function": {"arguments": call.text[at : at + 8]}}
            steps.append(_event("tool-call-delta", index=index, delta=_delta({"tool_calls": part})))
        steps.append(_event("tool-call-end", index=index))
    end = {"finish_reason": _FINISH[reply.finish], "usage": _usage(reply)}
    steps += [_event("message-end", delta=end), b"data: [DONE]\n\n"]
    return steps


def _generate(body: Json, model: str) -> Answer:
    """https://docs.cohere.com/v1/reference/generate; a stream is one JSON object a line."""
    if not isinstance(body.get("prompt"), str):
        return error(400, "invalid request: prompt is required")
    said = str(body["prompt"])
    reply = think(Ask(model=model, texts=[said], last_user=said, max_tokens=body.get("max_tokens")))
    meta = {"api_version": {"version": "1"}, "billed_units": _usage(reply)["billed_units"]}
    reason = _FINISH[reply.finish]
    whole: Json = {
        "id": "mock-id",
        "generations": [{"id": "mock-g", "text": reply.text, "finish_reason": reason}],
        "prompt": said,
        "meta": meta,
    }
    if not body.get("stream"):
        return Answer.json(whole)
    events: list[Json] = [
        {"event_type": "text-generation", "text": piece, "is_finished": False} for piece in reply.pieces
    ]
    events.append(
        {"event_type": "stream-end", "is_finished": True, "finish_reason": reason, "response": whole}
    )
    return Answer.stream([dumps(event) + b"\n" for event in events], "application/stream+json")


def _embed(body: Json) -> Answer:
    texts = [str(text) for text in body.get("texts") or []]
    if not texts or not body.get("input_type"):
        return error(400, "invalid request: texts and input_type are required")
    size = int(body.get("output_dimension") or 8)
    tokens = sum(len(split_words(text)) for text in texts)
    kinds = body.get("embedding_types") or ["float"]
    return Answer.json(
        {
            "id": "mock-id",
            "embeddings": {kind: [vector(text, size) for text in texts] for kind in kinds},
            "texts": texts,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}},
            "response_type": "embeddings_by_type",
        }
    )

"""Ollama's own chat, generate and embed: newline-delimited JSON.

Wire format: https://github.com/ollama/ollama/blob/main/docs/api.md and the recordings `ollama/native-*`.
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, Tool, split_words, think
from ..received import Received
from .openai import content_text, vector

_CREATED = "2026-01-01T00:00:00.000000Z"


def error(status: int, message: str) -> Answer:
    """An error as Ollama words it."""
    return Answer.json({"error": message}, status)


def respond(received: Received) -> Answer:
    """The answer to `/api/chat`, `/api/generate` and `/api/embed`."""
    body = received.json
    model = str(body.get("model") or "")
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    if not model:
        return error(400, "model is required")
    if received.path.endswith("/embed"):
        given = body.get("input")
        texts = [given] if isinstance(given, str) else list(given or [])
        count = sum(len(split_words(str(text))) for text in texts)
        values = [vector(str(text), int(body.get("dimensions") or 8)) for text in texts]
        return Answer.json(
            {
                "model": model,
                "embeddings": values,
                "total_duration": 1,
                "load_duration": 1,
                "prompt_eval_count": count,
            }
        )
    chat = received.path.endswith("/chat")
    reply = think(_read(body, model, chat))
    if body.get("stream", True) is False:
        return knobs.apply(Answer.json({**_piece(model, chat, reply.text, reply), **_end(reply)}))
    steps: list[Step] = [dumps(_piece(model, chat, piece, None)) + b"\n" for piece in reply.pieces]
    if reply.calls:
        steps.append(dumps({**_piece(model, chat, "", reply), "done": False}) + b"\n")
    steps.append(dumps({**_piece(model, chat, "", None), **_end(reply)}) + b"\n")
    return knobs.apply(Answer.stream(steps, "application/x-ndjson"))


def _read(body: Json, model: str, chat: bool) -> Ask:
    options = body.get("options") or {}
    wanted = body.get("format")
    schema = wanted if isinstance(wanted, dict) else ({} if wanted == "json" else None)
    most = options.get("num_predict")
    if not chat:
        said = str(body.get("prompt") or "")
        return Ask(model=model, texts=[said], last_user=said, schema=schema, max_tokens=most)
    messages = body.get("messages") or []
    last: Json = messages[-1] if messages else {}
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, content_text(message.get("content")))
    return Ask(
        model=model,
        texts=[text for message in messages if (text := content_text(message.get("content")))],
        last_user=content_text(last.get("content")) if last.get("role") == "user" else "",
        tools=[
            Tool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
        ],
        tool_results=results,
        schema=schema,
        max_tokens=most,
    )


def _piece(model: str, chat: bool, text: str, reply: Reply | None) -> Json:
    value: Json = {"model": model, "created_at": _CREATED, "done": False}
    if not chat:
        return {**value, "response": text}
    message: Json = {"role": "assistant", "content": text}
    if reply is not None and reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": call.arguments}}
            for index, call in enumerate(reply.calls)
        ]
    return {**value, "message": message}


def _end(reply: Reply) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": "length" if reply.finish == "length" else "stop",
        "total_duration": 1_000_000,
        "load_duration": 1000,
        "prompt_eval_count": reply.prompt_tokens,
        "prompt_eval_duration": 1000,
        "eval_count": reply.completion_tokens,
        "eval_duration": 1000,
    }

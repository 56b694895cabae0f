"""Anthropic's messages API.

Wire format: https://docs.anthropic.com/en/api/messages,
https://docs.anthropic.com/en/docs/build-with-claude/streaming, https://docs.anthropic.com/en/api/errors,
and the recordings `anthropic/native-messages*`.
"""

from __future__ import annotations

import re
from typing import Any

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, Tool, think
from ..received import Received

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404:
    "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529:
    "overloaded_error",
}  # fmt: skip
_SIGNATURE = "bW9jay1zaWduYXR1cmU="


def error(status: int, message: str) -> Answer:
    """An error as Anthropic words it."""
    body = {
        "type": "error",
        "error": {"type": _ERRORS.get(status, "api_error"), "message": message},
        "request_id": "req_mock",
    }
    headers = {"request-id": "req_mock"}
    if status == 429:
        headers["retry-after"] = "2"
    return Answer.json(body, status, headers)


def respond(received: Received) -> Answer:
    """The answer to `POST /v1/messages`."""
    headers = received.headers
    key = headers.get("x-api-key") or headers.get("authorization", "")
    if not key or "invalid" in key:
        return error(401, "invalid x-api-key" if key else "x-api-key header is required")
    if "anthropic-version" not in headers:
        return error(400, "anthropic-version: header is required")
    return _answer(received.json)


VERTEX_PATH = re.compile(
    r"/publishers/anthropic/models/(?P<model>[^/:]+):(?P<verb>rawPredict|streamRawPredict)$"
)


def respond_on_vertex(received: Received) -> Answer:
    """The answer of Claude on Vertex, whose model is in the path:
    https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude."""
    found = VERTEX_PATH.search(received.path)
    body = received.json
    if found is None or "model" in body:
        return error(400, "model: Extra inputs are not permitted")
    if body.pop("anthropic_version", "") not in ("vertex-2023-10-16", "2026-10-21"):
        return error(400, "anthropic_version: Field required")
    if (found["verb"] == "streamRawPredict") is not (body.get("stream") is True):
        return error(400, "stream: the method and the body must say the same")
    return _answer({**body, "model": found["model"]})


def _answer(body: Json) -> Answer:
    knobs = Knobs.of(str(body.get("model") or ""))
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    refused = _refusal(body)
    if refused:
        return error(400, refused)
    return knobs.apply(messages(body, str(body["model"])))


def _refusal(body: Json) -> str | None:
    """What the real API refuses, as far as translations get it wrong."""
    for name in ("model", "max_tokens", "messages"):
        if name not in body:
            return f"{name}: Field required"
    given = body["messages"]
    if not isinstance(given, list) or not given:
        return "messages: at least one message is required"
    for index, message in enumerate(given):
        if message.get("role") not in ("user", "assistant", "system"):
            return f'messages: Unexpected role "{message.get("role")}".'
        if message.get("content") in ("", []):
            return f"messages.{index}: all messages must have non-empty content"
    unknown = {
        "stop",
        "n",
        "frequency_penalty",
        "presence_penalty",
        "stream_options",
        "response_format",
    } & set(body)
    return f"{min(unknown)}: Extra inputs are not permitted" if unknown else None


def read_messages(body: Json, model: str) -> Ask:
    """The question in a messages request."""
    system = body.get("system")
    texts = [_text(system)] if system else []
    texts += [_text(message.get("content")) for message in body["messages"]]
    last = body["messages"][-1]
    content = last.get("content")
    results = [
        _text(block.get("content")) for block in content if block.get("type") == "tool_result"
    ] if isinstance(content, list) else []  # fmt: skip
    choice = body.get("tool_choice") or {}
    kinds = {"any": "required", "none": "none", "tool": str(choice.get("name"))}
    output = body.get("output_config") or {}
    wanted = output.get("format") or body.get("output_format") or {}
    return Ask(
        model=model,
        texts=texts,
        last_user=_text(content) if last.get("role") == "user" else "",
        tools=[Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or []],
        tool_choice=kinds.get(choice.get("type", ""), "auto"),
        tool_results=results,
        schema=wanted.get("schema") if wanted.get("type") == "json_schema" else None,
        max_tokens=body.get("max_tokens"),
        thinking=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(b["text"] for b in content if isinstance(b, dict) and b.get("type") == "text")
    return ""


def _counts(reply: Reply) -> Json:
    """All of the answer, as a stream's end tells them (recordings anthropic/native-messages-stream)."""
    return {
        "input_tokens": reply.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": reply.completion_tokens,
    }


def _usage(reply: Reply) -> Json:
    return {
        **_counts(reply),
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "service_tier": "standard",
    }


def messages(body: Json, model: str) -> Answer:
    """The answer to a valid messages request (also what Claude on other clouds speaks)."""
    reply = think(read_messages(body, model))
    headers = {"request-id": "req_mock", "anthropic-ratelimit-requests-remaining": "99"}
    if body.get("stream"):
        return Answer.stream(events(model, reply), headers=headers)
    content: list[Json] = []
    if reply.thinking:
        content.append({"type": "thinking", "thinking": reply.thinking, "signature": _SIGNATURE})
    if reply.text:
        content.append({"type": "text", "text": reply.text})
    content += [_tool_use(call.id, call.name, call.arguments) for call in reply.calls]
    return Answer.json(
        {**_message(model), "content": content, **_end(reply), "usage": _usage(reply)}, headers=headers
    )


def _message(model: str) -> Json:
    return {"id": "msg_mock", "type": "message", "role": "assistant", "model": model}


def _end(reply: Reply) -> Json:
    return {"stop_reason": _STOP_REASONS[reply.finish], "stop_sequence": None}


def _tool_use(id_: str, name: str, arguments: Json) -> Json:
    return {"type": "tool_use", "id": id_.replace("call_", "toolu_"), "name": name, "input": arguments}


def event(kind: str, **value: Any) -> bytes:
    """One named SSE event, as Anthropic frames it."""
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps({"type": kind, **value}))


def events(model: str, reply: Reply) -> list[Step]:
    """The stream of a whole answer."""
    start = {**_message(model), "content": [], "stop_reason": None, "stop_sequence": None}
    start["usage"] = {**_usage(reply), "output_tokens": 1}
    steps: list[Step] = [event("message_start", message=start), event("ping")]
    index = 0

    def block(empty: Json, deltas: list[Json]) -> None:
        nonlocal index
        steps.append(event("content_block_start", index=index, content_block=empty))
        steps.extend(event("content_block_delta", index=index, delta=delta) for delta in deltas)
        steps.append(event("content_block_stop", index=index))
        index += 1

    if reply.thinking:
        deltas: list[Json] = [{"type": "thinking_delta", "thinking": p} for p in reply.thinking_pieces]
        deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
        block({"type": "thinking", "thinking": "", "signature": ""}, deltas)
    if reply.text:
        block({"type": "text", "text": ""}, [{"type": "text_delta", "text": p} for p in reply.pieces])
    for call in reply.calls:
        parts = ["", *(call.text[i : i + 8] for i in range(0, len(call.text), 8))]
        block(
            _tool_use(call.id, call.name, {}),
            [{"type": "input_json_delta", "partial_json": part} for part in parts],
        )
    steps.append(event("message_delta", delta=_end(reply), usage=_counts(reply)))
    steps.append(event("message_stop"))
    return steps

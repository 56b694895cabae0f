"""OpenAI's chat completions, completions and embeddings; Azure OpenAI's paths; every OpenAI-compatible API.

Wire format: https://platform.openai.com/docs/api-reference/chat/object, .../chat/streaming, .../embeddings,
https://learn.microsoft.com/azure/ai-services/openai/reference, and the recordings `openai/chat*`,
`azure/chat*`.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from typing import Any

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, Tool, split_words, think
from ..received import Received

CREATED = 1_760_000_000
_FINGERPRINT = "fp_mock"
_TYPES = {
    400: "invalid_request_error",
    401: "invalid_request_error",
    404: "invalid_request_error",
    429: "requests",
}
_UNASKED_USAGE = ("/mistral/", "/databricks/")
"""Path prefixes of providers that report a stream's usage on its last choice, asked or not (recordings
`mistral/chat-stream`, `databricks/chat-stream`)."""
_AZURE_PATH = re.compile(r"^/openai/(?:deployments/(?P<deployment>[^/]+)/)?(?:v1/)?")


def error(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Answer:
    """An error as OpenAI words it (recordings `openai/chat` with status >= 400)."""
    headers = {"x-request-id": "req_mock_error"}
    if status == 429:
        headers["retry-after"] = "2"
    body = {
        "error": {
            "message": message,
            "type": _TYPES.get(status, "server_error"),
            "param": param,
            "code": code,
        }
    }
    return Answer.json(body, status, headers)


def respond(received: Received) -> Answer:
    """The answer to any path of OpenAI's or Azure's."""
    azure = _AZURE_PATH.match(received.path)
    refusal = _authorised(received, azure is not None)
    if refusal:
        return refusal
    body = received.json
    if not body:
        return error(400, "We could not parse the JSON body of your request.")
    model = str(body.get("model") or (azure and azure["deployment"]) or "")
    if not model:
        return error(400, "you must provide a model parameter")
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}", code="mock_error"))
    if received.path.endswith("/embeddings"):
        return knobs.apply(_embeddings(body, model))
    if received.path.endswith("/chat/completions"):
        unasked = received.path.startswith(_UNASKED_USAGE)
        return knobs.apply(_chat(body, model, azure is not None, unasked))
    if received.path.endswith("/completions"):
        return knobs.apply(_completions(body, model))
    return error(404, f"Invalid URL ({received.method} {received.path})")


def _authorised(received: Received, azure: bool) -> Answer | None:
    """Azure takes `api-key` or a bearer token; OpenAI a bearer token. Local servers (no /v1 key needed) are
    not checked."""
    headers = received.headers
    if azure:
        if "api-key" not in headers and "authorization" not in headers:
            return Answer.json(
                {"error": {"code": "401", "message": "Access denied due to invalid subscription key."}}, 401
            )
        if "/deployments/" in received.path and "api-version=" not in received.query:
            return Answer.json({"error": {"code": "404", "message": "Resource not found"}}, 404)
        return None
    key = headers.get("authorization", "")
    if not key.lower().startswith("bearer ") or "invalid" in key:
        return error(401, "Incorrect API key provided.", code="invalid_api_key")
    return None


def read_chat(body: Json, model: str) -> Ask:
    """The question in a chat completion request."""
    messages = [m for m in body.get("messages") or [] if isinstance(m, dict)]
    last = messages[-1] if messages else {}
    results: list[str] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            break
        results.insert(0, content_text(message.get("content")))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict):
        choice = (choice.get("function") or {}).get("name") or "required"
    return Ask(
        model=model,
        texts=[content_text(message.get("content")) for message in messages],
        last_user=content_text(last.get("content")) if last.get("role") == "user" else "",
        tools=[
            Tool(tool["function"]["name"], tool["function"].get("parameters") or {})
            for tool in body.get("tools") or []
            if tool.get("type") == "function"
        ],
        tool_choice=str(choice),
        tool_results=results,
        schema=_schema(body.get("response_format")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinking=bool(body.get("reasoning_effort")),
    )


def content_text(content: Any) -> str:
    """The text of a message's content: a string or parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text") or "") for part in content if isinstance(part, dict)).strip()
    return ""


def _schema(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_schema":
        return (wanted.get("json_schema") or {}).get("schema") or {}
    return {} if wanted.get("type") == "json_object" else None


def usage(reply: Reply) -> Json:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": reply.thinking_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _chat(body: Json, model: str, azure: bool, unasked: bool) -> Answer:
    if not isinstance(body.get("messages"), list):
        return error(
            400,
            "Missing required parameter: 'messages'.",
            code="missing_required_parameter",
            param="messages",
        )
    reply = think(read_chat(body, model))
    headers = {
        "x-request-id": "req_mock",
        "openai-processing-ms": "1",
        "x-ratelimit-remaining-requests": "99",
    }
    if body.get("stream"):
        return Answer.stream(_chat_stream(body, model, reply, azure, unasked), headers=headers)
    message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.text}}
            for call in reply.calls
        ]
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": reply.finish}
        for index in range(int(body.get("n") or 1))
    ]
    if azure:  # recordings azure/chat: content filter results stand in every answer
        for choice in choices:
            choice["content_filter_results"] = {"hate": {"filtered": False, "severity": "safe"}}
    answer = {
        "id": "chatcmpl-mock",
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": choices,
        "usage": usage(reply),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    return Answer.json(answer, headers=headers)


def event(value: Any) -> bytes:
    """One SSE event, as OpenAI frames it."""
    return b"data: %b\n\n" % dumps(value)


def _chat_stream(body: Json, model: str, reply: Reply, azure: bool, unasked: bool) -> list[Step]:
    wants_usage = not unasked and bool((body.get("stream_options") or {}).get("include_usage"))

    def chunk(delta: Json | None, finish: str | None = None, **more: Any) -> bytes:
        choices = [] if delta is None else [
            {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        ]  # fmt: skip
        value: Json = {
            "id": "chatcmpl-mock",
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
            "choices": choices,
        }
        if wants_usage:
            value["usage"] = None
        return event({**value, **more})

    steps: list[Step] = []
    if azure:  # recordings azure/chat-stream: the prompt's filter results come first, with no choice
        steps.append(chunk(None, prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}]))
    steps.append(chunk({"role": "assistant", "content": None if reply.calls else "", "refusal": None}))
    for index, call in enumerate(reply.calls):
        start = {"name": call.name, "arguments": ""}
        steps.append(
            chunk({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": start}]})
        )
        steps += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
            for part in _parts(call.text)
        ]
    steps += [chunk({"content": piece}) for piece in reply.pieces]
    steps.append(chunk({}, reply.finish, **({"usage": usage(reply)} if unasked else {})))
    if wants_usage:
        steps.append(chunk(None, usage=usage(reply)))
    steps.append(b"data: [DONE]\n\n")
    return steps


def _parts(text: str, size: int = 8) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def _completions(body: Json, model: str) -> Answer:
    prompt = body.get("prompt")
    said = prompt if isinstance(prompt, str) else " ".join(map(str, prompt or []))
    reply = think(Ask(model=model, texts=[said], last_user=said, max_tokens=body.get("max_tokens")))

    def value(text: str, finish: str | None) -> Json:
        return {
            "id": "cmpl-mock",
            "object": "text_completion",
            "created": CREATED,
            "model": model,
            "choices": [{"text": text, "index": 0, "logprobs": None, "finish_reason": finish}],
        }

    if body.get("stream"):
        steps: list[Step] = [event(value(piece, None)) for piece in reply.pieces]
        steps.append(event(value("", reply.finish)))
        if (body.get("stream_options") or {}).get("include_usage"):
            steps.append(event({**value("", None), "choices": [], "usage": usage(reply)}))
        return Answer.stream([*steps, b"data: [DONE]\n\n"])
    return Answer.json({**value(reply.text, reply.finish), "usage": usage(reply)})


def vector(text: str, size: int) -> list[float]:
    """One that counts words: texts with words in common point in similar directions."""
    counts = [0.0] * size
    for word in re.findall(r"\w+", text.lower()) or [""]:
        counts[zlib.crc32(word.encode()) % size] += 1.0
    return counts


def _embeddings(body: Json, model: str) -> Answer:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else list(given or [])
    size = int(body.get("dimensions") or 8)

    def encoded(text: Any) -> Any:
        values = vector(str(text), size)
        if body.get("encoding_format") == "base64":
            return base64.b64encode(struct.pack(f"<{size}f", *values)).decode()
        return values

    tokens = sum(len(split_words(str(text))) for text in texts)
    return Answer.json(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": i, "embedding": encoded(text)}
                for i, text in enumerate(texts)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )

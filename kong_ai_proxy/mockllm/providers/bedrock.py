"""Bedrock's Converse, whole and as an AWS event stream.

Wire format: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
API_runtime_ConverseStream.html, the frames of
https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html, and the recordings
`bedrock/converse*`.
"""

from __future__ import annotations

import re
import struct
from typing import Any
from zlib import crc32

from ...core.json import Json, dumps, loads
from ..answers import Answer, Step
from ..brain import Ask, Knobs, Reply, Tool, think
from ..received import Received

PATH = re.compile(r"^/model/(?P<model>.+)/(?P<verb>converse|converse-stream)$")
_STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_ERRORS = {
    400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
    408: "ModelTimeoutException", 424: "ModelErrorException", 429: "ThrottlingException",
    500: "InternalServerException", 503: "ServiceUnavailableException",
}  # fmt: skip


def error(status: int, message: str) -> Answer:
    """An error as Bedrock words it."""
    kind = _ERRORS.get(status, "UnknownException")
    return Answer.json(
        {"message": message},
        status,
        {"x-amzn-errortype": f"{kind}:http://internal/", "x-amzn-requestid": "mock"},
    )


def respond(received: Received) -> Answer:
    """The answer to `POST /model/{id}/converse[-stream]`."""
    found = PATH.match(received.path)
    if found is None:
        return error(404, "UnknownOperationException")
    signed = received.headers.get("authorization", "")
    if not signed.startswith(("AWS4-HMAC-SHA256 ", "Bearer ")):
        return error(403, "Missing Authentication Token")
    body, model = received.json, found["model"]
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    unknown = set(body) - _FIELDS
    if unknown or not isinstance(body.get("messages"), list):
        return error(400, f"The model returned the following errors: {sorted(unknown)}")
    reply = think(read_converse(body, model))
    headers = {"x-amzn-requestid": "mock-request"}
    if found["verb"] == "converse":
        return knobs.apply(Answer.json(whole(reply), headers=headers))
    return knobs.apply(Answer.stream(_events(reply), "application/vnd.amazon.eventstream", headers))


_FIELDS = {
    "messages", "system", "inferenceConfig", "toolConfig", "guardrailConfig", "outputConfig",
    "promptVariables", "additionalModelRequestFields", "additionalModelResponseFieldPaths",
    "requestMetadata", "performanceConfig", "serviceTier",
}  # fmt: skip


def read_converse(body: Json, model: str) -> Ask:
    """The question in a Converse request."""
    messages = body["messages"]
    last = messages[-1]
    config = body.get("toolConfig") or {}
    choice: Json = config.get("toolChoice") or {}
    tool_choice = "required" if "any" in choice else str((choice.get("tool") or {}).get("name") or "auto")
    extra = body.get("additionalModelRequestFields") or {}
    return Ask(
        model=model,
        texts=[
            text for text in (_text(body.get("system")), *(_text(m.get("content")) for m in messages)) if text
        ],
        last_user=_text(last.get("content")) if last.get("role") == "user" else "",
        tools=[
            Tool(tool["toolSpec"]["name"], (tool["toolSpec"].get("inputSchema") or {}).get("json") or {})
            for tool in config.get("tools") or []
            if "toolSpec" in tool
        ],
        tool_choice=tool_choice,
        tool_results=[
            _result(block["toolResult"].get("content")) for block in last["content"] if "toolResult" in block
        ],
        schema=_schema(body.get("outputConfig")),
        max_tokens=(body.get("inferenceConfig") or {}).get("maxTokens"),
        thinking="thinking" in extra or "reasoning_config" in extra,
    )


def _schema(output: Any) -> Json | None:
    text = ((output or {}).get("textFormat") or {}) if isinstance(output, dict) else {}
    schema = ((text.get("structure") or {}).get("jsonSchema") or {}).get("schema")
    if schema is None:
        return None
    parsed: Json = loads(schema)
    return parsed


def _text(blocks: Any) -> str:
    return " ".join(block["text"] for block in blocks or [] if block.get("text"))


def _result(content: Any) -> str:
    return " ".join(
        block["text"] if "text" in block else dumps(block.get("json")).decode() for block in content or []
    )


def _usage(reply: Reply) -> Json:
    return {
        "cacheReadInputTokenCount": 0,
        "cacheReadInputTokens": 0,
        "cacheWriteInputTokenCount": 0,
        "cacheWriteInputTokens": 0,
        "inputTokens": reply.prompt_tokens,
        "outputTokens": reply.completion_tokens,
        "serverToolUsage": {},
        "totalTokens": reply.prompt_tokens + reply.completion_tokens,
    }


def whole(reply: Reply) -> Json:
    """A whole answer of Converse."""
    content: list[Json] = []
    if reply.thinking:
        content.append(
            {"reasoningContent": {"reasoningText": {"text": reply.thinking, "signature": "bW9jaw=="}}}
        )
    if reply.text:
        content.append({"text": reply.text})
    content += [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}
        for call in reply.calls
    ]
    return {
        "metrics": {"latencyMs": 1},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": _STOP[reply.finish],
        "usage": _usage(reply),
    }


def _events(reply: Reply) -> list[Step]:
    steps: list[Step] = [event("messageStart", {"p": "abc", "role": "assistant"})]
    index = 0

    def block(start: Json | None, deltas: list[Json]) -> None:
        nonlocal index
        if start is not None:  # text and reasoning blocks begin with their first delta
            steps.append(event("contentBlockStart", {"contentBlockIndex": index, "p": "ab", "start": start}))
        steps.extend(
            event("contentBlockDelta", {"contentBlockIndex": index, "delta": delta, "p": "abcdef"})
            for delta in deltas
        )
        steps.append(event("contentBlockStop", {"contentBlockIndex": index, "p": "abcd"}))
        index += 1

    if reply.thinking:
        deltas: list[Json] = [{"reasoningContent": {"text": piece}} for piece in reply.thinking_pieces]
        block(None, [*deltas, {"reasoningContent": {"signature": "bW9jaw=="}}])
    if reply.text:
        block(None, [{"text": piece} for piece in reply.pieces])
    for call in reply.calls:
        parts = [call.text[i : i + 8] for i in range(0, len(call.text), 8)]
        block(
            {"toolUse": {"name": call.name, "toolUseId": call.id}},
            [{"toolUse": {"input": part}} for part in parts],
        )
    steps.append(event("messageStop", {"p": "abcdefgh", "stopReason": _STOP[reply.finish]}))
    steps.append(event("metadata", {"metrics": {"latencyMs": 1}, "p": "abc", "usage": _usage(reply)}))
    return steps


def event(kind: str, payload: Json) -> bytes:
    """One event as a frame."""
    return frame(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, dumps(payload)
    )


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an AWS event stream: prelude, prelude's CRC, headers, payload, CRC."""
    packed = b"".join(
        struct.pack(">B", len(name))
        + name.encode()
        + b"\x07"
        + struct.pack(">H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", len(packed) + len(payload) + 16, len(packed))
    message = prelude + struct.pack(">I", crc32(prelude)) + packed + payload
    return message + struct.pack(">I", crc32(message))

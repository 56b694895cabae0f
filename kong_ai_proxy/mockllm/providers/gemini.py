"""Gemini's and Vertex AI's generateContent, its stream in both framings, and embeddings.

Wire format: https://ai.google.dev/api/generate-content, https://ai.google.dev/api/embeddings, and the
recordings `gemini/native-generate*`, `vertex/native-generate*`, `gemini/embeddings-native`. With `alt=sse`
the stream is SSE with CRLF; without it, one JSON array that grows.
"""

from __future__ import annotations

import re
from typing import Any

from ...core.json import Json, dumps
from ..answers import Answer, Step
from ..brain import Ask, Call, Knobs, Reply, Tool, think
from ..received import Received
from . import images
from .openai import vector

PATH = re.compile(
    r"/models/(?P<model>[^:]+):"
    r"(?P<verb>generateContent|streamGenerateContent|embedContent|batchEmbedContents|predict)$"
)
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def error(status: int, message: str) -> Answer:
    """An error as Google words it."""
    body = {"error": {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}}
    headers = {"retry-after": "2"} if status == 429 else None
    return Answer.json(body, status, headers)


def respond(received: Received) -> Answer:
    """The answer to a model's method."""
    found = PATH.search(received.path)
    if found is None:
        return error(404, "Not Found")
    headers = received.headers
    if not (headers.get("x-goog-api-key") or headers.get("authorization") or "key=" in received.query):
        return error(403, "Method doesn't allow unregistered callers.")
    body, model, verb = received.json, found["model"], found["verb"]
    knobs = Knobs.of(model)
    if knobs.status != 200:
        return knobs.apply(error(knobs.status, f"mock error {knobs.status}"))
    if verb == "embedContent":
        return knobs.apply(Answer.json({"embedding": {"values": _embedding(body)}}))
    if verb == "predict":
        if "prompt" in (body.get("instances") or [{}])[0]:
            return knobs.apply(images.predict(body))
        return knobs.apply(_predict(body))
    if verb == "batchEmbedContents":
        values = [{"values": _embedding(request)} for request in body.get("requests") or []]
        return knobs.apply(Answer.json({"embeddings": values}))
    if not body.get("contents"):
        return error(400, "* GenerateContentRequest.contents: contents is not specified")
    unknown = {"messages", "model", "stream", "max_tokens", "temperature"} & set(body)
    if unknown:
        return error(400, f'Invalid JSON payload received. Unknown name "{min(unknown)}": Cannot find field.')
    if "IMAGE" in ((body.get("generationConfig") or {}).get("responseModalities") or []):
        return knobs.apply(images.generate_content(body, model))
    reply = think(read_generate(body, model))
    if verb == "generateContent":
        return knobs.apply(Answer.json(whole(model, reply), headers={"server-timing": "gfet4t7; dur=1"}))
    chunks = _chunks(model, reply)
    if "alt=sse" in received.query:
        steps: list[Step] = [b"data: %b\r\n\r\n" % dumps(chunk) for chunk in chunks]
        return knobs.apply(Answer.stream(steps, "text/event-stream"))
    array: list[Step] = [b"%b%b" % (b"[" if i == 0 else b",\r\n", dumps(c)) for i, c in enumerate(chunks)]
    return knobs.apply(Answer.stream([*array, b"]"], "application/json; charset=UTF-8"))


def _predict(body: Json) -> Answer:
    """Vertex's text embeddings:
    https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api."""
    size = int((body.get("parameters") or {}).get("outputDimensionality") or 8)
    predictions = []
    for instance in body.get("instances") or []:
        said = str(instance.get("content") or "")
        statistics = {"truncated": False, "token_count": len(said.split())}
        predictions.append({"embeddings": {"statistics": statistics, "values": vector(said, size)}})
    if not predictions:
        return error(400, "Invalid instances")
    return Answer.json({"predictions": predictions})


def read_generate(body: Json, model: str) -> Ask:
    """The question in a generateContent request."""
    contents = body["contents"]
    last = contents[-1]
    config = body.get("generationConfig") or {}
    functions = [
        function
        for tool in body.get("tools") or []
        for function in tool.get("functionDeclarations") or tool.get("function_declarations") or []
    ]
    calling = (body.get("toolConfig") or body.get("tool_config") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames") or []
    choice = {"NONE": "none", "ANY": allowed[0] if len(allowed) == 1 else "required"}
    system = body.get("systemInstruction") or body.get("system_instruction") or {}
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if schema is None and config.get("responseMimeType") == "application/json":
        schema = {}
    thinking = config.get("thinkingConfig") or {}
    return Ask(
        model=model,
        texts=[text for text in (_text(system), *(_text(content) for content in contents)) if text],
        last_user=_text(last) if last.get("role", "user") == "user" else "",
        tools=[
            Tool(
                function["name"],
                function.get("parametersJsonSchema")
                or function.get("parameters_json_schema")  # as Google's SDK has it
                or function.get("parameters")
                or {},
            )
            for function in functions
        ],
        tool_choice=choice.get(str(calling.get("mode", "")).upper(), "auto"),
        tool_results=[
            _result(part["functionResponse"].get("response"))
            for part in last.get("parts") or []
            if "functionResponse" in part
        ],
        schema=schema,
        max_tokens=config.get("maxOutputTokens"),
        thinking=bool(thinking.get("includeThoughts")),
    )


def _text(content: Json) -> str:
    return " ".join(part["text"] for part in content.get("parts") or [] if part.get("text"))


def _result(value: Any) -> str:
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    return value if isinstance(value, str) else dumps(value).decode()


def _usage(reply: Reply) -> Json:
    usage: Json = {
        "promptTokenCount": reply.prompt_tokens,
        "candidatesTokenCount": reply.completion_tokens - reply.thinking_tokens,
        "totalTokenCount": reply.prompt_tokens + reply.completion_tokens,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": reply.prompt_tokens}],
    }
    if reply.thinking_tokens:
        usage["thoughtsTokenCount"] = reply.thinking_tokens
    return usage


def _answer(model: str, reply: Reply, parts: list[Json], finish: str | None) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": _usage(reply),
        "modelVersion": model,
        "responseId": "mock-response",
    }


def _call(call: Call) -> Json:
    return {"functionCall": {"name": call.name, "args": call.arguments}, "thoughtSignature": "bW9jaw=="}


def whole(model: str, reply: Reply) -> Json:
    """A whole answer of generateContent."""
    parts: list[Json] = [{"text": reply.thinking, "thought": True}] if reply.thinking else []
    parts += [{"text": reply.text}] if reply.text else []
    parts += [_call(call) for call in reply.calls]
    return _answer(model, reply, parts, _FINISH[reply.finish])


def _chunks(model: str, reply: Reply) -> list[Json]:
    pieces: list[list[Json]] = [[{"text": piece, "thought": True}] for piece in reply.thinking_pieces]
    pieces += [[{"text": piece}] for piece in reply.pieces]
    pieces += [[_call(call)] for call in reply.calls]
    last = len(pieces) - 1
    return [
        _answer(model, reply, parts, _FINISH[reply.finish] if index == last else None)
        for index, parts in enumerate(pieces)
    ]


def _embedding(request: Json) -> list[float]:
    return vector(_text(request.get("content") or {}), int(request.get("outputDimensionality") or 8))

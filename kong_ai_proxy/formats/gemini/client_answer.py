"""OpenAI's answers and errors as generateContent has them.

Sources: https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse,
https://cloud.google.com/apis/design/errors.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..citations import Cited, citations_of
from ..pivot import arguments_object, content_text, data_url, integer, obj, objects, text, utf8_size
from .signatures import pack

_FINISH: Final = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}
"""OpenAI's finish reason → Gemini's; all others are STOP, tool calls too."""
_STATUS: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    405: "INVALID_ARGUMENT", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL",
    501: "UNIMPLEMENTED", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def generate_answer(answer: Json, call: Call) -> Json:
    """A whole answer."""
    made: Json = {
        "candidates": [
            candidate(
                integer(choice.get("index")) or 0,
                parts_of(obj(choice.get("message"))),
                finish_reason(choice.get("finish_reason"), obj(choice.get("message"))),
                grounding(citations_of(obj(choice.get("message")), answer), choice.get("message")),
            )
            for choice in objects(answer.get("choices"))
        ]
    }
    usage = call.usage
    if usage.source is UsageSource.NONE:
        usage = Usage.from_openai(answer.get("usage"))
    if usage.source is not UsageSource.NONE:
        made["usageMetadata"] = usage_metadata(usage)
    made.update(identity(answer, call))
    return made


def identity(answer: Json, call: Call) -> Json:
    """What names an answer."""
    return {
        "modelVersion": text(answer.get("model")) or call.model,
        "responseId": text(answer.get("id")) or call.new_id(""),
    }


def candidate(index: int, parts: list[Json], finish: str | None, grounding: Json | None = None) -> Json:
    """A candidate, whole or a piece of one."""
    made: Json = {"content": {"parts": parts, "role": "model"}, "index": index}
    if finish is not None:
        made["finishReason"] = finish
    if grounding:
        made["groundingMetadata"] = grounding
    return made


def grounding(cited: list[Cited], message: Any) -> Json | None:
    """`groundingMetadata`: the pages, and which bytes of the message's text each is for; None without any."""
    if not cited:
        return None
    said = content_text(obj(message).get("content"))
    pages: dict[str, int] = {}
    chunks: list[Json] = []
    supports: list[Json] = []
    for one in cited:
        at = pages.setdefault(one.url, len(pages))
        if at == len(chunks):
            chunks.append({"web": {"uri": one.url, "title": one.title or one.url}})
        if 0 <= one.start < one.end <= len(said):
            span = said[one.start : one.end]
            start = utf8_size(said[: one.start])
            segment = {"startIndex": start, "endIndex": start + utf8_size(span), "text": span}
            supports.append({"segment": segment, "groundingChunkIndices": [at]})
    return {"groundingChunks": chunks, **({"groundingSupports": supports} if supports else {})}


def parts_of(message: Json) -> list[Json]:
    """A message's parts: thoughts, text, images, calls."""
    blocks = objects(message.get("thinking_blocks"))
    parts = [pack(block) for block in blocks]
    reasoning = text(message.get("reasoning_content"))
    if reasoning and not blocks:
        parts.append({"text": reasoning, "thought": True})
    parts += objects(obj(message.get("provider_specific_fields")).get("parts"))
    signature = signature_of(message)
    words = content_text(message.get("content")) or text(message.get("refusal"))
    if words or signature:
        part: Json = {"text": words}
        if signature:
            part["thoughtSignature"] = signature
        parts.append(part)
    for image in objects(message.get("images")):
        found = data_url(text(obj(image.get("image_url")).get("url")))
        if found is not None:
            parts.append({"inlineData": {"mimeType": found[0], "data": found[1]}})
    return parts + [
        call_part(text(one.get("id")), obj(one.get("function")), signature_of(one))
        for one in objects(message.get("tool_calls"))
    ]


def call_part(identity: str, function: Json, signature: str) -> Json:
    """A function call."""
    made: Json = {"name": text(function.get("name")), "args": arguments_object(function.get("arguments"))}
    if identity:
        made["id"] = identity
    part: Json = {"functionCall": made}
    if signature:
        part["thoughtSignature"] = signature
    return part


def signature_of(holder: Json) -> str:
    """Gemini's signature on a message or call of OpenAI's form; "" without one."""
    return text(obj(obj(holder.get("extra_content")).get("google")).get("thought_signature"))


def finish_reason(finish: Any, message: Json) -> str:
    """Gemini's word; its own, where a Gemini said it."""
    own = text(obj(message.get("provider_specific_fields")).get("finishReason"))
    return own or (_FINISH.get(finish, "STOP") if isinstance(finish, str) else "STOP")


def usage_metadata(usage: Usage) -> Json:
    """Thoughts stand beside the candidates' tokens, cached tokens in the prompt's."""
    reasoning = usage.reasoning_tokens or 0
    said = usage.completion_tokens if usage.reasoning_is_extra else usage.completion_tokens - reasoning
    made: Json = {
        "promptTokenCount": usage.prompt_tokens,
        "candidatesTokenCount": max(said, 0),
        "totalTokenCount": usage.total,
    }
    if usage.cached_tokens is not None:
        made["cachedContentTokenCount"] = usage.cached_tokens
    if usage.reasoning_tokens is not None:
        made["thoughtsTokenCount"] = reasoning
    return made


def error_body(error: ApiError) -> Json:
    """Google's error object."""
    status = _STATUS.get(error.status) or ("INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": error.status, "message": error.message, "status": status}}

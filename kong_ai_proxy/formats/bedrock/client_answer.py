"""OpenAI's answers and errors as Converse has them.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html,
…/CommonErrors.html; AWS's SDKs read the error's name from `__type`
(https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization).
"""

from __future__ import annotations

import base64
import time
from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json
from ...core.usage import Usage, UsageSource
from ..citations import Cited, citations_of
from ..pivot import arguments_object, content_text, data_url, obj, objects, text
from ..thought_signatures import marked

_STOP: Final = {"length": "max_tokens", "content_filter": "content_filtered", "tool_calls": "tool_use",
                "function_call": "tool_use"}  # fmt: skip
"""OpenAI's finish reason → `stopReason`; all others are end_turn."""
_OWN: Final = frozenset(
    {
        "guardrail_intervened", "content_filtered", "malformed_model_output", "malformed_tool_use",
        "model_context_window_exceeded",
    }
)  # fmt: skip
"""Converse's stop reasons without a word of OpenAI's."""
_ERRORS: Final = {
    400: "ValidationException", 401: "UnrecognizedClientException", 403: "AccessDeniedException",
    404: "ResourceNotFoundException", 408: "ModelTimeoutException", 413: "ValidationException",
    422: "ValidationException", 424: "ModelErrorException", 429: "ThrottlingException",
    500: "InternalServerException", 502: "ModelErrorException", 503: "ServiceUnavailableException",
    504: "ModelTimeoutException", 529: "ServiceUnavailableException",
}  # fmt: skip


_TTLS: Final = ("5m", "1h")
"""CacheTTL: other providers' times to live have no word here."""


def converse_answer(answer: Json, call: Call) -> Json:
    """A whole answer."""
    choice = next(iter(objects(answer.get("choices"))), {})
    message = obj(choice.get("message"))
    own = obj(message.get("provider_specific_fields"))
    blocks = blocks_of(message, call)
    if cited := citations_of(message, answer):
        # A block of its own, behind the text: whoever reads text alone must find it where it always is.
        blocks.append({"citationsContent": {"citations": list(map(page_citation, cited))}})
    made: Json = {
        "output": {"message": {"role": "assistant", "content": blocks}},
        "stopReason": stop_reason(choice.get("finish_reason"), own),
        "usage": usage_of(call, answer.get("usage")),
        "metrics": metrics(call),
    }
    if own.get("additionalModelResponseFields"):
        made["additionalModelResponseFields"] = own["additionalModelResponseFields"]
    return made


def blocks_of(message: Json, call: Call) -> list[Json]:
    """A message's content blocks."""
    blocks = [reasoning_block(block) for block in objects(message.get("thinking_blocks"))]
    reasoning = text(message.get("reasoning_content"))
    if reasoning and not blocks:
        blocks.append({"reasoningContent": {"reasoningText": {"text": reasoning}}})
    if words := content_text(message.get("content")) or text(message.get("refusal")):
        blocks.append({"text": words})
    for image in objects(message.get("images")):
        if (block := image_block(image)) is not None:
            blocks.append(block)
    for one in objects(message.get("tool_calls")):
        function = obj(one.get("function"))
        if signature := marked(one.get("extra_content")):
            _sign(blocks, signature)
        blocks.append(
            {
                "toolUse": {
                    "toolUseId": text(one.get("id")) or call.new_id("tooluse_"),
                    "name": text(function.get("name")),
                    "input": arguments_object(function.get("arguments")),
                }
            }
        )
    return blocks


def _sign(blocks: list[Json], signature: str) -> None:
    """A Gemini's signature for the call that comes next, in the block of reasoning before it; in place."""
    said = obj(obj(blocks[-1].get("reasoningContent")).get("reasoningText")) if blocks else {}
    if not said or said.get("signature"):
        said = {"text": ""}
        blocks.append({"reasoningContent": {"reasoningText": said}})
    said["signature"] = signature


def page_citation(cited: Cited) -> Json:
    """A citation of a web page (API_runtime_Citation.html, API_runtime_WebLocation.html)."""
    made: Json = {"location": {"web": {"url": cited.url, "domain": _host(cited.url)}}}
    if cited.title:
        made["title"] = cited.title
    if cited.content:
        made["sourceContent"] = [{"text": cited.content}]
    return made


def image_block(image: Json) -> Json | None:
    """An image of an answer; None where its bytes are elsewhere."""
    found = data_url(text(obj(image.get("image_url")).get("url")))
    if found is None:
        return None
    return {"image": {"format": found[0].partition("/")[2], "source": {"bytes": found[1]}}}


def reasoning_block(block: Json) -> Json:
    """A thinking block of Anthropic's form."""
    if block.get("type") == "redacted_thinking":
        return {"reasoningContent": {"redactedContent": redacted(block)}}
    said: Json = {"text": text(block.get("thinking"))}
    if text(block.get("signature")):
        said["signature"] = block["signature"]
    return {"reasoningContent": {"reasoningText": said}}


def redacted(block: Json) -> str:
    """Bedrock wraps Anthropic's text in base64 once more (see `messages.redacted_block`)."""
    data = text(block.get("data"))
    return data if block.get("encoding") == "base64" else base64.b64encode(data.encode()).decode()


def stop_reason(finish: Any, own: Json) -> str:
    """Converse's word; its own, where a Bedrock model said it."""
    said = text(own.get("stop_reason"))
    if said in _OWN:
        return said
    if own.get("stop_sequence") is not None:
        return "stop_sequence"
    return _STOP.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"


def usage_of(call: Call, openai: Any) -> Json:
    """Token counts; `inputTokens` leaves out what went through the cache."""
    usage = call.usage
    if usage.source is UsageSource.NONE:
        usage = Usage.from_openai(openai)
    read, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
    extra = usage.reasoning_tokens or 0 if usage.reasoning_is_extra else 0
    made: Json = {
        "inputTokens": max(usage.prompt_tokens - read - written, 0),
        "outputTokens": usage.completion_tokens + extra,
        "totalTokens": usage.total,
    }
    if usage.cached_tokens is not None:
        made["cacheReadInputTokens"] = read
    if usage.cache_write_tokens is not None:
        made["cacheWriteInputTokens"] = written
    if details := [{"ttl": ttl, "inputTokens": usage.cache_write_by_ttl[ttl]} for ttl in _TTLS
                   if ttl in usage.cache_write_by_ttl]:  # fmt: skip
        made["cacheDetails"] = details
    return made


def metrics(call: Call) -> Json:
    """How long it took, in milliseconds; to the second, which is what a call knows."""
    return {"latencyMs": max(int(time.time()) - call.created, 0) * 1000}


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].partition("?")[0]


def exception_name(error: ApiError) -> str:
    """AWS's name for an error."""
    found = _ERRORS.get(error.status)
    return found or ("InternalServerException" if error.status >= 500 else "ValidationException")


def error_body(error: ApiError) -> Json:
    """An error's body, with the name that AWS's SDKs look for."""
    return {"__type": exception_name(error), "message": error.message}

"""A Messages answer as an OpenAI chat completion.

Sources: https://platform.claude.com/docs/en/api/messages/create (returns), recordings
anthropic/native-messages*.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json, dumps_text
from ..json_mode import JSON_TOOL
from ..pivot import not_an_answer, objects, text
from ..said import Message
from .blocks import (
    count_output,
    finish_reason,
    openai_tier,
    refusal,
    split_citations,
    stop_fields,
    tool_extras,
)
from .errors import read_stream_error
from .usage import read_usage


def read_answer(body: Any, call: Call) -> Json:
    """The chat completion. Raises ApiError (502) if `body` is no message."""
    if isinstance(body, dict) and body.get("type") == "error":
        raise read_stream_error(body)
    if not isinstance(body, dict) or not ("content" in body or "stop_reason" in body):
        raise not_an_answer(call.provider)
    message = _Message()
    content = body.get("content")
    if isinstance(content, str):  # never seen from Anthropic; a proxy in between may
        content = [{"type": "text", "text": content}]
    for block in objects(content):
        message.add(block)
    call.usage = read_usage(body.get("usage"))
    if model := text(body.get("model")):
        call.response_model = model
    call.response_id = text(body.get("id")) or call.new_id()
    reason = finish_reason(body.get("stop_reason"), bool(message.tool_calls))
    call.finish_reasons = [reason]
    count_output(call, message.counted())
    answer: Json = {
        "id": call.response_id,
        "object": "chat.completion",
        "created": call.created,
        "model": call.response_model or call.model,
        "choices": [
            {
                "index": 0,
                "message": message.openai(stop_fields(body), refusal(body)),
                "logprobs": None,
                "finish_reason": reason,
            }
        ],
        "usage": call.usage.to_openai(),
    }
    if tier := openai_tier(call.usage.service_tier):
        answer["service_tier"] = tier
    return answer


class _Message(Message):
    """The assistant's message, block by block."""

    def add(self, block: Json) -> None:
        kind = block.get("type")
        if kind == "text":
            self._text(text(block.get("text")), block.get("citations"))
        elif kind == "thinking":
            self.reasoning.append(text(block.get("thinking")))
            self.thinking.append(block)
        elif kind == "redacted_thinking":
            self.thinking.append(block)
        elif kind == "tool_use":
            arguments = _arguments(block.get("input"))
            if block.get("name") == JSON_TOOL:
                self._text(arguments, None)
                return
            self.tool_calls.append(
                {
                    "id": text(block.get("id")) or f"call_{len(self.tool_calls)}",
                    "type": "function",
                    "function": {"name": text(block.get("name")), "arguments": arguments},
                    **tool_extras(block),
                }
            )
        else:
            self.others.append(block)

    def _text(self, words: str, citations: Any) -> None:
        start = self.length
        self.say(words)
        if citations:
            annotations, others = split_citations(citations, start, self.length)
            self.annotations += annotations
            self.citations += others


def _arguments(given: Any) -> str:
    if isinstance(given, str):
        return given
    return dumps_text(given) if given is not None else "{}"

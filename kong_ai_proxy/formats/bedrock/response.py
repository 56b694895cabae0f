"""A Converse answer as an OpenAI chat completion.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html, recordings
bedrock/converse*.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.json import Json
from ..json_mode import JSON_TOOL
from ..pivot import completion, not_an_answer, obj, objects, text, tool_call, utf8_size
from ..said import Message
from .blocks import annotation, audio_extension, finish_reason, image_extension, stop_fields
from .messages import redacted_block
from .usage import read_usage


def read_answer(body: Any, call: Call) -> Json:
    """The chat completion. Raises ApiError (502) if `body` is no Converse answer."""
    if not isinstance(body, dict) or not ("output" in body or "stopReason" in body):
        raise not_an_answer(call.provider)
    said = _Message(call)
    for block in objects(obj(obj(body.get("output")).get("message")).get("content")):
        said.add(block)
    call.usage = read_usage(body.get("usage"), body.get("serviceTier"))
    call.output_bytes += utf8_size(said.counted())
    reason = finish_reason(body.get("stopReason"), bool(said.tool_calls))
    message = said.openai(stop_fields(body, body))
    message.update(said.media)
    router = obj(obj(body.get("trace")).get("promptRouter"))
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return completion(call, [choice], model=text(router.get("invokedModelId")))


class _Message(Message):
    """The assistant's message, block by block."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.media: Json = {}
        self._call = call

    def add(self, block: Json) -> None:
        if "text" in block:
            self.say(text(block["text"]))
        elif "toolUse" in block:
            self._tool_use(obj(block["toolUse"]), block)
        elif "reasoningContent" in block:
            self._reasoning(obj(block["reasoningContent"]), block)
        elif "citationsContent" in block:
            self._cited(obj(block["citationsContent"]))
        elif image := image_extension(block, len(self.media.get("images", ()))):
            self.media.setdefault("images", []).append(image)
        elif "audio" not in self.media and (audio := audio_extension(block, self._call)):
            self.media["audio"] = audio
        else:
            self.others.append(block)

    def _tool_use(self, use: Json, block: Json) -> None:
        if use.get("type") == "server_tool_use":
            self.others.append(block)
            return
        name = text(use.get("name"))
        given = use.get("input")
        call = tool_call(
            name,
            {} if given is None else given,
            text(use.get("toolUseId")) or f"call_{len(self.tool_calls)}",
        )
        if name == JSON_TOOL:
            self.say(call["function"]["arguments"])
        else:
            self.tool_calls.append(call)

    def _reasoning(self, reasoning: Json, block: Json) -> None:
        if isinstance(reasoning.get("redactedContent"), str):
            self.thinking.append(redacted_block(reasoning["redactedContent"]))
            return
        if "reasoningText" not in reasoning:
            self.others.append(block)
            return
        said = obj(reasoning.get("reasoningText"))
        words = text(said.get("text"))
        self.reasoning.append(words)
        self.thinking.append(thinking_block(words, text(said.get("signature"))))

    def _cited(self, cited: Json) -> None:
        start = self.length
        for part in objects(cited.get("content")):
            self.say(text(part.get("text")))
        for citation in objects(cited.get("citations")):
            found = annotation(citation, start, self.length)
            if found is None:
                self.citations.append(citation)
            else:
                self.annotations.append(found)


def thinking_block(words: str, signature: str) -> Json:
    """Anthropic's thinking block, which is the pivot's form of signed reasoning."""
    block: Json = {"type": "thinking", "thinking": words}
    if signature:
        block["signature"] = signature
    return block

"""OpenAI's messages as Converse's: system apart, turns that alternate, typed blocks."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from functools import lru_cache
from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import (
    arguments_object,
    is_word,
    items,
    modern_messages,
    obj,
    objects,
    plain_parts,
    plain_texts,
    text,
)
from .media import Documents, audio_block, media_block

_SYSTEM_ROLES = frozenset({"system", "developer"})
_KNOWN = frozenset({"role", "content", "cache_control", "tool_call_id", "is_error"})
"""Members of all other messages."""
_BAD_ID = re.compile(r"[^a-zA-Z0-9_.:-]")
_KNOWN_ASSISTANT = frozenset(
    {
        "role", "content", "tool_calls", "thinking_blocks", "reasoning_content", "cache_control", "refusal",
    }
)  # fmt: skip
_NATIVE_BLOCKS = frozenset(
    {
        "text", "image", "document", "video", "audio", "toolUse", "toolResult", "guardContent", "cachePoint",
        "reasoningContent", "citationsContent", "searchResult",
    }
)  # fmt: skip
"""Converse's own blocks (an object with one of these members and no `type`), taken as they are."""


_NO_OUTPUT: Json = {"text": "(no output)"}
"""What a tool said that said nothing: Converse refuses a blank text, in a tool's result too
(https://github.com/NousResearch/hermes-agent/issues/55092)."""


class Conversation:
    """One request's messages on their way into Converse's form."""

    def __init__(self, call: Call, *, cache_points: bool, signed_thinking: bool = True) -> None:
        self._call = call
        self._signed_thinking = signed_thinking
        self._cache_points = cache_points
        self._documents = Documents()
        self.system: list[Json] = []
        self.turns: list[Json] = []
        self.tool_names: dict[str, None] = {}
        """Names of tools that earlier turns called: Converse wants them declared."""
        self.has_tools = False
        """The turns hold tool calls or results."""
        self._at = 0
        """The place of the message that is being read."""

    def read(self, messages: Any) -> None:
        """Take all messages. Raises BadRequest for what cannot be told."""
        if not isinstance(messages, list) or not messages:
            raise BadRequest("messages must be a non-empty array", param="messages")
        given = modern_messages(messages, self._call)
        turns = self.turns
        speaker = None
        for index, said in enumerate(plain_texts(given, self._call)):
            message = given[index]
            if said is None:
                self._at = index
                self._add(message)
                speaker = turns[-1]["role"] if turns else None
            elif said and not said.isspace():
                if message["role"] == speaker:
                    turns[-1]["content"].append({"text": said})
                else:
                    speaker = message["role"]
                    turns.append({"role": speaker, "content": [{"text": said}]})
        if not self.turns and self.system:
            # Converse needs a user turn; a lone system prompt is what is asked for.
            self.turns.append({"role": "user", "content": self.system})
            self.system = []
        if not self.turns:
            raise BadRequest("messages holds no content", param="messages")

    @property
    def _where(self) -> str:
        return f"messages[{self._at}]"

    def _add(self, message: Json) -> None:
        role = message.get("role")
        known = _KNOWN_ASSISTANT if role == "assistant" else _KNOWN
        if not known.issuperset(message):
            for field in sorted(message.keys() - known):
                if message[field]:
                    self._call.drop(f"messages.{field}")
        if role == "tool":
            self._turn("user", self._tool_result(message))
        elif role == "assistant":
            self._turn("assistant", self._assistant(message))
        elif role == "user":
            self._turn("user", self._marked(self._blocks(message.get("content")), message))
        elif role in _SYSTEM_ROLES:
            self.system += self._system(message)
        else:
            raise BadRequest(f"{self._where} has an unknown role", param=f"{self._where}.role")

    def _turn(self, role: str, blocks: list[Json]) -> None:
        """Turns must alternate: what the same role says next joins its last turn."""
        if not blocks:
            return
        if self.turns and self.turns[-1]["role"] == role:
            self.turns[-1]["content"] += blocks
        else:
            self.turns.append({"role": role, "content": blocks})

    def _system(self, message: Json) -> list[Json]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [content]
        blocks: list[Json] = []
        for part in parts:
            if isinstance(part, dict) and ("guardContent" in part or "cachePoint" in part):
                blocks.append(part)
                continue
            words = part if isinstance(part, str) else text(obj(part).get("text"))
            if not words and part is not None and not isinstance(part, str) and "text" not in obj(part):
                where = self._where
                raise BadRequest(f"{where}: a system message can hold text only", param=f"{where}.content")
            if words.strip():
                blocks.append({"text": words})
                blocks += self._cache_point(obj(part))
        return self._marked(blocks, message)

    def _assistant(self, message: Json) -> list[Json]:
        blocks: list[Json] = []
        if "thinking_blocks" in message:
            for block in objects(message["thinking_blocks"]):
                blocks += self._reasoning(block)
        if "reasoning_content" in message and message["reasoning_content"] and not blocks:
            self._call.drop("messages.reasoning_content")
        content = message.get("content") or message.get("refusal")
        if content is not None:
            blocks += self._blocks(content)
        for position, item in enumerate(items(message.get("tool_calls"))):
            blocks.append(self._tool_use(item, position))
        return self._marked(blocks, message)

    def _reasoning(self, block: Json) -> list[Json]:
        """Thinking as it was given, byte for byte; unsigned thinking is refused and left out."""
        if not self._signed_thinking:
            self._call.drop("messages.thinking_blocks")
            return []
        if block.get("type") == "redacted_thinking" and isinstance(block.get("data"), str) and block["data"]:
            data = block["data"]
            if block.get("encoding") != "base64":
                data = base64.b64encode(data.encode()).decode()
            return [{"reasoningContent": {"redactedContent": data}}]
        if block.get("type") == "thinking" and text(block.get("signature")):
            said = {"text": text(block.get("thinking")), "signature": block["signature"]}
            return [{"reasoningContent": {"reasoningText": said}}]
        if block.get("thinking"):
            self._call.drop("messages.thinking_blocks")
        return []

    def _tool_use(self, item: Any, position: int) -> Json:
        item = obj(item)
        function = obj(item.get("function"))
        name = text(function.get("name"))
        if not name:
            where = f"{self._where}.tool_calls[{position}]"
            raise BadRequest(f"{where} has no function name", param=where)
        if item.get("extra_content"):
            self._call.drop("messages.tool_calls.extra_content")
        self.has_tools = True
        self.tool_names[name] = None
        return {
            "toolUse": {
                "toolUseId": tool_id(item.get("id")),
                "name": name,
                "input": arguments_object(function.get("arguments")),
            }
        }

    def _tool_result(self, message: Json) -> list[Json]:
        identity = message.get("tool_call_id")
        if not isinstance(identity, str) or not identity:
            where = self._where
            raise BadRequest(f"{where}: a tool message needs tool_call_id", param=f"{where}.tool_call_id")
        self.has_tools = True
        content = message.get("content")
        blocks = self._blocks(content)
        if isinstance(content, list):
            blocks = [block for block in blocks if "cachePoint" not in block]
        result: Json = {"toolUseId": tool_id(identity), "content": blocks or [_NO_OUTPUT]}
        if message.get("is_error") is True:
            result["status"] = "error"
        return self._marked([{"toolResult": result}], message)

    def _blocks(self, content: Any) -> list[Json]:
        if isinstance(content, str):
            return [{"text": content}] if content and not content.isspace() else []
        if content is None:
            return []
        if not isinstance(content, list):
            where = f"{self._where}.content"
            raise BadRequest(f"{where} must be text or an array", param=where)
        blocks: list[Json] = []
        for part, said in zip(content, plain_parts(content), strict=True):
            if said is None:
                if isinstance(part, str):
                    part = {"type": "text", "text": part}
                where = f"{self._where}.content"
                if not isinstance(part, dict):
                    raise BadRequest(f"{where} holds what is no object", param=where)
                blocks += self._part(part, where)
            elif said and not said.isspace():
                blocks.append({"text": said})
        return blocks

    def _part(self, part: Json, where: str) -> list[Json]:
        kind = part.get("type")
        if kind in ("text", "input_text", "output_text", "refusal"):
            words = text(part.get("refusal" if kind == "refusal" else "text"))
            return [*([{"text": words}] if words.strip() else []), *self._cache_point(part)]
        if kind == "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
                self._call.drop("messages.content.image_url.detail")
            return [media_block(text(url), "image", self._documents, where), *self._cache_point(part)]
        if kind == "video_url":
            video = part.get("video_url")
            url = video.get("url") if isinstance(video, dict) else video
            return [media_block(text(url), "video", self._documents, where), *self._cache_point(part)]
        if kind == "file":
            return [self._file(part, where), *self._cache_point(part)]
        if kind == "input_audio":
            return [audio_block(part, where)]
        if kind in ("thinking", "redacted_thinking"):
            return self._reasoning(part)
        if kind is None and part.keys() & _NATIVE_BLOCKS:
            return [part]
        raise BadRequest(
            f"{where}: provider bedrock takes no content part of type {kind!r}",
            param=where,
            code="unsupported_content",
        )

    def _file(self, part: Json, where: str) -> Json:
        file = obj(part.get("file"))
        data = text(file.get("file_data"))
        if not data:
            what = "by file_id" if file.get("file_id") else "without file_data"
            raise BadRequest(f"{where}: provider bedrock takes no file {what}", param=where)
        is_url = data[:5].lower() == "data:" or data.startswith("s3://")
        url = data if is_url else f"data:application/pdf;base64,{data}"
        block = media_block(url, text(file.get("filename")) or "document", self._documents, where)
        if "document" in block:
            if isinstance(part.get("citations"), dict):
                block["document"]["citations"] = part["citations"]
            if isinstance(part.get("context"), str):
                block["document"]["context"] = part["context"]
        return block

    def _cache_point(self, marked: Json) -> list[Json]:
        mark = marked.get("cache_control")
        if not isinstance(mark, dict):
            return []
        if not self._cache_points:
            self._call.drop("cache_control")
            return []
        return [cache_point(mark)]

    def _marked(self, blocks: list[Json], message: Json) -> list[Json]:
        """A breakpoint on the whole message follows its last block."""
        return blocks + self._cache_point(message) if blocks and "cache_control" in message else blocks


def cache_point(mark: Json) -> Json:
    """Anthropic's `cache_control` as Converse's `cachePoint`."""
    point: Json = {"type": "default"}
    if mark.get("ttl") in ("5m", "1h"):
        point["ttl"] = mark["ttl"]
    return {"cachePoint": point}


def tool_id(identity: Any) -> str:
    """A tool call's id in the characters and length Bedrock allows; the same for the call and its result."""
    if not isinstance(identity, str) or not identity:
        return "call_0"
    return identity if is_word(identity) and len(identity) <= 64 else _clean_id(identity)


@lru_cache(256)  # a call's id comes again with its result
def _clean_id(identity: str) -> str:
    clean = _BAD_ID.sub("_", identity)
    if len(clean) > 64:
        clean = f"call_{hashlib.sha256(clean.encode()).hexdigest()[:40]}"
    return clean


def redacted_block(data: str) -> Json:
    """Bedrock's `redactedContent` as Anthropic's redacted thinking, so that Anthropic takes it back too.

    Bedrock wraps Anthropic's text in base64 once more; what is no such text keeps Bedrock's own encoding.
    """
    try:
        inner = base64.b64decode(data, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        inner = ""
    if inner and inner.isprintable() and base64.b64encode(inner.encode()).decode() == data:
        return {"type": "redacted_thinking", "data": inner}
    return {"type": "redacted_thinking", "data": data, "encoding": "base64"}

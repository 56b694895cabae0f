"""OpenAI's messages as Anthropic's: the system prompt apart, typed blocks, tool results in user turns."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import arguments_object, data_url, is_word, items, obj, plain_parts, plain_texts
from .blocks import ANSWER_BLOCKS

_SYSTEM_ROLES = frozenset({"system", "developer"})
_THINKING = frozenset({"thinking", "redacted_thinking"})
_NATIVE_PARTS = frozenset(
    {
        "image", "document", "search_result", "tool_reference", "container_upload", "tool_use", "tool_result",
        "tool_addition", "tool_removal",
    }
)  # fmt: skip
"""Anthropic's own blocks, given inside OpenAI messages: taken as they are."""
_KNOWN_ASSISTANT = frozenset(
    {
        "role", "content", "tool_calls", "thinking_blocks", "reasoning_content", "provider_specific_fields",
        "cache_control", "refusal", "function_call",
    }
)  # fmt: skip
_KNOWN = frozenset({"role", "content", "cache_control", "tool_call_id", "is_error"})
"""Members of all other messages."""
_BAD_ID = re.compile(r"[^a-zA-Z0-9_-]")
_IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


def convert_messages(messages: Any, call: Call) -> tuple[list[Json], list[Json]]:
    """System blocks and turns. Raises BadRequest for what Claude cannot be told."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a non-empty array", param="messages")
    system: list[Json] = []
    turns: list[Json] = []
    results: list[Json] | None = None  # the open user turn of tool results
    legacy_calls = 0
    for index, said in enumerate(plain_texts(messages, call)):
        message = messages[index]
        if said is not None:
            results = None
            if said and not said.isspace():
                turns.append(message)
            continue
        if not isinstance(message, dict):
            raise BadRequest(f"messages[{index}] must be an object", param=f"messages[{index}]")
        role = message.get("role")
        known = _KNOWN_ASSISTANT if role == "assistant" else _KNOWN
        if not known.issuperset(message):
            for field in sorted(message.keys() - known):
                if message[field] and not (role == "function" and field == "name"):
                    call.drop(f"messages.{field}")
        if role in _SYSTEM_ROLES:
            system += _with_cache(_system_blocks(message, index), message)
            continue
        if role in ("tool", "function"):
            identity = message.get("tool_call_id")
            if role == "function" and not identity:
                identity = f"function_call_{legacy_calls}"
            block = _tool_result(message, identity, index, call)
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(block)
            continue
        results = None
        if role == "user":
            content = _user_content(message, index, call)
        elif role == "assistant":
            if message.get("function_call"):
                legacy_calls += 1
            content = _assistant_blocks(message, index, legacy_calls, call)
        else:
            raise BadRequest(f"messages[{index}] has an unknown role", param=f"messages[{index}].role")
        if content:
            turns.append({"role": role, "content": content})
    if not turns and system:
        # Anthropic answers user turns only; a lone system prompt is what is asked for.
        turns.append({"role": "user", "content": system})
        system = []
    if not turns:
        raise BadRequest("messages holds no content", param="messages")
    turns[-1] = _trimmed(turns[-1])
    return system, turns


def _system_blocks(message: Json, index: int) -> list[Json]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    blocks = []
    for part in content if isinstance(content, list) else []:
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
            raise _bad(index, "a system message can hold text only")
        blocks += _text(part)
    return blocks


def _user_content(message: Json, index: int, call: Call) -> str | list[Json]:
    content = message.get("content")
    if isinstance(content, str) and not message.get("cache_control"):
        return content if content.strip() else ""
    return _with_cache(_blocks(content, index, call), message)


def _assistant_blocks(message: Json, index: int, legacy_calls: int, call: Call) -> str | list[Json]:
    content = message.get("content")
    blocks = _thinking_blocks(message, call)
    own = message.get("provider_specific_fields")
    if isinstance(own, dict) and isinstance(own.get("content_blocks"), list):
        blocks += [block for block in own["content_blocks"] if _is_server_block(block)]
    if not content and isinstance(message.get("refusal"), str):
        content = message["refusal"]
    if content is not None:
        blocks += _blocks(content, index, call)
    for position, item in enumerate(items(message.get("tool_calls"))):
        blocks.append(_tool_use(item, index, position, call))
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        blocks.append(_tool_use({"id": f"function_call_{legacy_calls}", "function": legacy}, index, 0, call))
    return _with_cache(blocks, message)


def _thinking_blocks(message: Json, call: Call) -> list[Json]:
    """Thinking as it was given, byte for byte. Unsigned thinking is refused by the API and left out."""
    given = message.get("thinking_blocks")
    kept: list[Json] = []
    for block in given if isinstance(given, list) else []:
        if keeps_thinking(block):
            kept.append(block)
        elif isinstance(block, dict) and block.get("thinking"):
            call.drop("messages.thinking_blocks")
    if message.get("reasoning_content") and not kept:
        call.drop("messages.reasoning_content")
    return kept


def keeps_thinking(block: Any) -> bool:
    """Whether the API takes this block back: signed thinking (text may be empty) or redacted with data."""
    if not isinstance(block, dict):
        return False
    if block.get("type") == "thinking":
        return bool(block.get("signature")) and isinstance(block.get("thinking", ""), str)
    return block.get("type") == "redacted_thinking" and bool(block.get("data"))


def _is_server_block(block: Any) -> bool:
    """Whether it is of a tool that Anthropic runs itself; those come back in
    `provider_specific_fields.content_blocks`."""
    kind = str(block.get("type")) if isinstance(block, dict) else ""
    return kind in ANSWER_BLOCKS or kind.endswith("_tool_result")


def _tool_use(item: Any, index: int, position: int, call: Call) -> Json:
    if not isinstance(item, dict):
        raise _bad_call(index, position, "must be an object")
    function = item.get("function")
    if "custom" in item and isinstance(item["custom"], dict):
        function = {"name": item["custom"].get("name"), "arguments": {"input": item["custom"].get("input")}}
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _bad_call(index, position, "has no function name")
    block: Json = {
        "type": "tool_use",
        "id": tool_id(item.get("id")) or f"call_{index}_{position}",
        "name": function["name"],
        "input": arguments_object(function.get("arguments")),
    }
    if "extra_content" in item and (foreign := obj(item["extra_content"])):
        if foreign.keys() - {"anthropic"}:
            call.drop("messages.tool_calls.extra_content")
        own = obj(foreign.get("anthropic"))
        block.update({name: own[name] for name in ("caller", "toolset_name") if own.get(name) is not None})
    return _cached(block, item)


def _bad_call(index: int, position: int, what: str) -> BadRequest:
    where = f"messages[{index}].tool_calls[{position}]"
    return BadRequest(f"{where} {what}", param=where)


def tool_id(identity: Any) -> str:
    """A tool call's id in the characters the API allows, the same for call and result; "" for none."""
    if not isinstance(identity, str):
        return ""
    return identity if is_word(identity) else _BAD_ID.sub("_", identity)


def _tool_result(message: Json, identity: Any, index: int, call: Call) -> Json:
    if not isinstance(identity, str) or not identity:
        raise BadRequest(
            f"messages[{index}]: a tool message needs tool_call_id", param=f"messages[{index}].tool_call_id"
        )
    block: Json = {"type": "tool_result", "tool_use_id": tool_id(identity)}
    content = message.get("content")
    if isinstance(content, list):
        if blocks := _blocks(content, index, call):
            block["content"] = blocks
    elif isinstance(content, str):
        block["content"] = content
    if message.get("is_error") is True:
        block["is_error"] = True
    return _cached(block, message)


def _blocks(content: Any, index: int, call: Call) -> list[Json]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content.strip() else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise _bad(index, "content must be text or an array")
    blocks: list[Json] = []
    for part, said in zip(content, plain_parts(content), strict=True):
        if said is not None:
            if said and not said.isspace():
                blocks.append(part)
            continue
        if isinstance(part, str):
            part = {"type": "text", "text": part}
        if not isinstance(part, dict):
            raise _bad(index, "content holds what is no object")
        kind = part.get("type")
        if convert := _PARTS.get(str(kind)):
            blocks += convert(part, index, call)
        elif str(kind) in _THINKING:
            if keeps_thinking(part):
                blocks.append(part)
        elif str(kind) in _NATIVE_PARTS or _is_server_block(part):
            blocks.append(part)
        else:
            raise _bad(index, f"provider {call.provider} takes no content part of type {kind!r}")
    return blocks


def _text_part(part: Json, index: int, call: Call) -> list[Json]:
    return _text(part)


def _text(part: Json) -> list[Json]:
    text = part.get("text") if part.get("type") != "refusal" else part.get("refusal")
    if not isinstance(text, str) or not text.strip():
        return []  # the API refuses blank text blocks
    block: Json = {"type": "text", "text": text}
    if part.get("citations"):
        block["citations"] = part["citations"]
    return [_cached(block, part)]


def _image(part: Json, index: int, call: Call) -> list[Json]:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if isinstance(image, dict) and image.get("detail") not in (None, "auto"):
        call.drop("messages.content.image_url.detail")
    if not isinstance(url, str) or not url:
        raise _bad(index, "image_url has no url")
    source = _source(url, index)
    # A PDF or a text under this name is common with LiteLLM and Gemini.
    kind = "image" if source["type"] == "url" or source["media_type"] in _IMAGE_TYPES else "document"
    return [_cached({"type": kind, "source": source}, part)]


def _file(part: Json, index: int, call: Call) -> list[Json]:
    file = part.get("file")
    if not isinstance(file, dict):
        raise _bad(index, "file part has no file")
    data, identity, name = file.get("file_data"), file.get("file_id"), file.get("filename")
    if isinstance(data, str) and data:
        is_url = data[:5].lower() == "data:" or "://" in data[:16]
        source = _source(data if is_url else f"data:application/pdf;base64,{data}", index)
        kind = "image" if str(source.get("media_type")).startswith("image/") else "document"
    elif isinstance(identity, str) and identity:
        source, kind = {"type": "file", "file_id": identity}, "document"
    else:
        raise _bad(index, "file needs file_data or file_id")
    block: Json = {"type": kind, "source": source}
    if kind == "document":
        if isinstance(name, str) and name:
            block["title"] = name
        for field in ("citations", "context"):
            if part.get(field) is not None:
                block[field] = part[field]
    return [_cached(block, part)]


def _refuse(part: Json, index: int, call: Call) -> list[Json]:
    raise _bad(index, f"provider {call.provider} takes no {part.get('type')} content")


_PARTS: dict[str, Callable[[Json, int, Call], list[Json]]] = {
    "text": _text_part,
    "input_text": _text_part,
    "output_text": _text_part,
    "refusal": _text_part,
    "image_url": _image,
    "file": _file,
    "input_audio": _refuse,
    "video_url": _refuse,
}


def _source(url: str, index: int) -> Json:
    """The source of a data URL (media inside) or a web URL (Anthropic fetches it, never we)."""
    if url.startswith(("https://", "http://")):
        return {"type": "url", "url": url}
    found = data_url(url)
    if found is None:
        raise _bad(index, "only http(s) URLs and data URLs in base64 can be sent")
    media, data = found[0].lower(), found[1]
    if media.startswith("text/") or media == "application/json":
        try:
            text = base64.b64decode(data, validate=False).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise _bad(index, "the text file is not base64 of UTF-8") from error
        return {"type": "text", "media_type": "text/plain", "data": text}
    if media == "image/jpg":
        media = "image/jpeg"
    if media != "application/pdf" and media not in _IMAGE_TYPES:
        raise _bad(index, f"media type {media} is not supported")
    return {"type": "base64", "media_type": media, "data": data}


def _bad(index: int, what: str) -> BadRequest:
    return BadRequest(f"messages[{index}]: {what}", param=f"messages[{index}].content")


def _cached(block: Json, part: Json) -> Json:
    if "cache_control" in part and isinstance(part["cache_control"], dict):
        block["cache_control"] = part["cache_control"]
    return block


def _with_cache(blocks: list[Json], message: Json) -> list[Json]:
    """A breakpoint on the whole message stands on its last block that may carry one."""
    mark = message.get("cache_control")
    if isinstance(mark, dict):
        for position in range(len(blocks) - 1, -1, -1):
            if blocks[position].get("type") not in _THINKING:
                blocks[position] = {"cache_control": mark, **blocks[position]}
                break
    return blocks


def _trimmed(turn: Json) -> Json:
    """The API refuses a prefilled answer that ends in white space."""
    if turn["role"] != "assistant":
        return turn
    content = turn["content"]
    if isinstance(content, str):
        return {**turn, "content": content.rstrip()}
    last = content[-1]
    if last.get("type") != "text":
        return turn
    return {**turn, "content": [*content[:-1], {**last, "text": last["text"].rstrip()}]}

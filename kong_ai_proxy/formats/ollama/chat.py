"""Ollama's /api/chat. Source: https://github.com/ollama/ollama/blob/main/docs/api.md#generate-a-chat-completion."""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json, dumps_text
from ..base import StreamDecoder, StreamItem
from ..pivot import (
    arguments_object,
    chosen_functions,
    completion,
    data_url,
    items,
    merged_body,
    modern_messages,
    named,
    not_an_answer,
    note_tool_cache,
    note_unsaid,
    obj,
    objects,
    text,
    tool_call,
    tool_choice,
    unix_time,
    utf8_size,
)
from ..streams import NDJSONStream
from .common import HANDLED, common_request, finish_reason, read_error, read_logprobs, read_usage

_HANDLED = HANDLED | {"messages", "tools", "functions", "tool_choice", "function_call", "parallel_tool_calls"}

_MESSAGE_KEYS = frozenset(
    {
        "role", "content", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "annotations",
        "provider_specific_fields",
    }
)  # fmt: skip

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class OllamaChat:
    """The chat operation."""

    format = "ollama"
    lines = True
    """Its streams are lines of JSON."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        body = merged_body(body)
        request = common_request(body, call)
        request["messages"] = _messages(body, call)
        _set_tools(request, body, call)
        for key, value in body.items():
            if key not in _HANDLED and value is not None:
                call.drop(key)
        return request

    def response(self, body: Json, call: Call) -> Json:
        message = body.get("message") if isinstance(body, dict) else None
        if not isinstance(message, dict):
            raise not_an_answer("Ollama")
        call.usage = read_usage(body)
        said, thoughts = text(message.get("content")), text(message.get("thinking"))
        call.output_bytes += utf8_size(said) + utf8_size(thoughts)
        calls = _calls(message, call)
        made: Json = {"role": "assistant", "content": said if said or not calls else None, "refusal": None}
        if thoughts:
            made["reasoning_content"] = thoughts
        if calls:
            made["tool_calls"] = calls
        choice = {
            "index": 0,
            "message": made,
            "logprobs": read_logprobs(body.get("logprobs")),
            "finish_reason": finish_reason(body, len(calls)),
        }
        created = unix_time(body.get("created_at"))
        return completion(call, [choice], model=text(body.get("model")), created=created)

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


class _Stream(NDJSONStream):
    provider = "Ollama"

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._calls = 0

    def take(self, body: Json, made: list[StreamItem]) -> None:
        if body.get("error"):
            self.fail(ApiError(502, text(body["error"]) or "Ollama broke off", code="upstream_error"), made)
            return
        self.chunks.identify(model=text(body.get("model")), created=unix_time(body.get("created_at")))
        message = obj(body.get("message"))
        delta: Json = {}
        for name, key in (("thinking", "reasoning_content"), ("content", "content")):
            said = text(message.get(name))
            if said:
                self.call.output_bytes += utf8_size(said)
                delta[key] = said
        calls = _calls(message, self.call)
        if calls:
            # Ollama's own index starts anew in every message.
            delta["tool_calls"] = [{"index": self._calls + at, **one} for at, one in enumerate(calls)]
            self._calls += len(calls)
        if delta:
            chunk = self.chunks.delta(0, delta)
            logprobs = read_logprobs(body.get("logprobs"))
            if logprobs is not None:
                chunk["choices"][0]["logprobs"] = logprobs
            made.append(chunk)
        if body.get("done") is True:
            self.call.usage = read_usage(body)
            self.complete({}, finish_reason(body, self._calls), made)


def _calls(message: Json, call: Call) -> list[Json]:
    made = []
    for one in objects(message.get("tool_calls")):
        function = obj(one.get("function"))
        arguments = function.get("arguments")
        arguments = arguments if isinstance(arguments, str) else dumps_text(obj(arguments))
        call.output_bytes += utf8_size(arguments)
        identity = text(one.get("id")) or call.new_id("call_")
        made.append(tool_call(text(function.get("name")), arguments, identity))
    return made


def _messages(body: Json, call: Call) -> list[Json]:
    names: dict[str, str] = {}
    made = []
    for position, message in enumerate(modern_messages(body.get("messages"))):
        where = f"messages.{position}"
        role = message.get("role")
        own = _ROLES.get(role) if isinstance(role, str) else None
        if own is None:
            raise BadRequest("unknown role of a message", param=f"{where}.role")
        note_unsaid(message, _MESSAGE_KEYS, call)
        said, images = _content(message.get("content"), where, call)
        turn: Json = {"role": own, "content": said or text(message.get("refusal"))}
        if images:
            turn["images"] = images
        if own == "assistant":
            thoughts = text(message.get("reasoning_content"))
            if thoughts:
                turn["thinking"] = thoughts
            calls = _history_calls(message, names)
            if calls:
                turn["tool_calls"] = calls
        elif own == "tool":
            identity = text(message.get("tool_call_id"))
            if identity in names:
                turn["tool_name"] = names[identity]
            if identity:
                turn["tool_call_id"] = identity
        made.append(turn)
    return made


def _content(content: Any, where: str, call: Call) -> tuple[str, list[str]]:
    """Text and images: Ollama's content is one text; images stand beside it, as base64 only."""
    if isinstance(content, str):
        return content, []
    said: list[str] = []
    images: list[str] = []
    for index, part in enumerate(items(content)):
        path = f"{where}.content.{index}"
        kind = obj(part).get("type")
        if isinstance(part, str):
            said.append(part)
        elif kind in ("text", "input_text", "output_text"):
            said.append(text(part.get("text")))
        elif kind == "refusal":
            said.append(text(part.get("refusal")))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), path, call))
        elif kind == "input_audio":
            # Models that hear take audio where others take images, as in Ollama's own compatible API.
            images.append(text(obj(part.get("input_audio")).get("data")))
        else:
            raise BadRequest(f"Ollama has no content part of type {kind!r}", param=f"{path}.type")
    return "\n".join(said), images


def _image(image: Any, where: str, call: Call) -> str:
    url = image if isinstance(image, str) else text(obj(image).get("url"))
    found = data_url(url)
    if found is None:
        raise BadRequest("Ollama takes images as base64 data URLs only; none is fetched", param=where)
    if obj(image).get("detail") is not None:
        call.drop("messages.content.image_url.detail")
    return found[1]


def _history_calls(message: Json, names: dict[str, str]) -> list[Json]:
    made = []
    for one in objects(message.get("tool_calls")):
        function = obj(one.get("function"))
        name = text(function.get("name"))
        call: Json = {
            "type": "function",
            "function": {"name": name, "arguments": arguments_object(function.get("arguments"))},
        }
        identity = text(one.get("id"))
        if identity:
            names[identity] = name
            call["id"] = identity
        made.append(call)
    return made


def _set_tools(request: Json, body: Json, call: Call) -> None:
    mode, names = tool_choice(body)
    functions = chosen_functions(body)
    note_tool_cache(body, call)
    if mode == "none":
        return
    if names:
        functions = named(functions, names)
    if mode == "required":
        # Ollama leaves it to the model; a named function is at least the only one there is.
        call.drop("tool_choice")
    if body.get("parallel_tool_calls") is False:
        call.drop("parallel_tool_calls")
    for tool in objects(body.get("tools")):
        if "function" not in tool:
            call.drop(f"tools.{text(tool.get('type')) or 'unknown'}")
    if functions:
        request["tools"] = [{"type": "function", "function": _function(one, call)} for one in functions]


def _function(function: Json, call: Call) -> Json:
    if function.get("strict"):
        call.drop("tools.function.strict")
    made = {key: value for key, value in function.items() if key != "strict"}
    made.setdefault("parameters", {"type": "object", "properties": {}})
    return made


CHAT = OllamaChat()

"""OpenAI's form towards clients. It is the pivot itself, so there is little to translate and all to check."""

from __future__ import annotations

from typing import Final

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, dumps
from ...wire.sse import DONE, encode
from ..base import StreamEncoder
from ..pivot import merged_body, special_messages
from .custom_tools import CustomCalls, with_custom_calls, with_functions
from .functions import with_function_calls, with_tools
from .held import HeldBack
from .messages import without_member

_BREAKPOINT: Final = "prompt_cache_breakpoint"


class OpenAIClient:
    """See `formats.base.ClientFormat`."""

    name = "openai"

    def request(self, body: Json, call: Call) -> Json:
        body = merged_body(body)
        if call.operation == "chat":
            special = _check_messages(body, call)
            if special:
                body = _without_breakpoints(body, special, call)
            return with_tools(with_functions(body, special, call), special, call)
        if call.operation == "completions":
            _check_prompt(body)
        elif call.operation == "embeddings":
            _check_present(body, "input")
        return body

    def response(self, answer: Json, call: Call) -> Json:
        if call.custom_tools:
            answer = with_custom_calls(answer, call.custom_tools)
        return with_function_calls(answer) if call.legacy_functions else answer

    def stream(self, call: Call) -> StreamEncoder:
        return OpenAIEncoder(call)

    def error(self, error: ApiError) -> Json:
        return {
            "error": {
                "message": error.message,
                "type": error.type,
                "param": error.param,
                "code": error.code,
            }
        }


class OpenAIEncoder:
    """Chunks as server-sent events."""

    content_type = "text/event-stream"

    def __init__(self, call: Call) -> None:
        self._usage = call.include_usage
        self._legacy = call.legacy_functions
        self._custom = CustomCalls(call.custom_tools) if call.custom_tools else None
        self._pass_on = HeldBack().pass_on

    def encode(self, chunk: Json) -> bytes:
        if not self._usage and "usage" in chunk:
            # OpenAI sends no usage on a stream unless asked.
            if not chunk.get("choices"):
                return b""
            chunk = {name: value for name, value in chunk.items() if name != "usage"}
        told = self._pass_on(chunk)
        if told is None:
            return b""
        chunk = told
        if self._custom is not None:
            return b"".join(b"data: %b\n\n" % dumps(one) for one in self._custom.restored(chunk))
        if self._legacy:
            chunk = with_function_calls(chunk)
        return b"data: %b\n\n" % dumps(chunk)

    def finish(self) -> bytes:
        return DONE

    def error(self, error: ApiError) -> bytes:
        return encode(dumps(CLIENT.error(error)))


def _without_breakpoints(body: Json, special: list[Json], call: Call) -> Json:
    """Where a part's cache breakpoint stands is OpenAI's own business (openai 3.54:
    types/chat/chat_completion_content_part_text_param.py); it passes through to whoever has OpenAI's API."""
    parted = any(isinstance(one.get("content"), list) for one in special)
    if not parted or _BREAKPOINT.encode() not in call.request.body:
        return body
    messages = [
        {**one, "content": without_member(one["content"], _BREAKPOINT, "messages.content", call)}
        if isinstance(one.get("content"), list)
        else one
        for one in body["messages"]
    ]
    return {**body, "messages": messages}


def _check_messages(body: Json, call: Call) -> list[Json]:
    """Gives those that are more than a role and a text."""
    messages = _check_present(body, "messages")
    if not isinstance(messages, list):
        raise BadRequest("Invalid type for 'messages': expected an array of objects.", param="messages")
    if not messages:
        raise BadRequest(
            "Invalid 'messages': expected at least one message.", param="messages", code="empty_array"
        )
    special = special_messages(messages, call)
    for message in special:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            where = f"messages[{messages.index(message)}]"
            raise BadRequest(f"Invalid '{where}': expected an object with a role.", param=where)
    tools = body.get("tools")
    if tools is not None and (not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools)):
        raise BadRequest("Invalid type for 'tools': expected an array of objects.", param="tools")
    return special


def _check_prompt(body: Json) -> None:
    # An array of strings, tokens or token arrays is as good as a string; an absent prompt has a default.
    prompt = body.get("prompt")
    if prompt is not None and not isinstance(prompt, (str, list)):
        raise BadRequest("Invalid type for 'prompt': expected a string or an array.", param="prompt")


def _check_present(body: Json, name: str) -> object:
    value = body.get(name)
    if value is None:
        raise BadRequest(
            f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
        )
    return value


CLIENT: Final = OpenAIClient()

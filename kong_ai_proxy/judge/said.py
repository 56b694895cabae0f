"""What was asked and what was answered, as text: for a judge to read.

Pictures, sound and files are named and not shown; what a model thought is no answer. Calls of tools are shown
as `calls` bounds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ..config.models import Judge
from ..core.call import Call
from ..core.errors import ApiError
from ..core.json import Json, loads_lenient
from ..exchange.carry import Carrier
from ..formats import client_format
from ..formats.base import Adapter
from ..formats.cohere import CHAT_V1, CHAT_V2, GENERATE
from ..formats.huggingface import TEXT_COMPLETIONS
from ..formats.pivot import obj, objects, text
from . import responses
from .calls import Pieces, Said, chat_calls, tools_of

_ROLES: Final = {
    "assistant": "assistant", "chatbot": "assistant", "developer": "system", "function": "tool",
    "model": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip
"""Roles, in lower case, by what they are here; all others are a user's."""
_PIECE: Final = 16 * 1024
"""Bytes of a stream that are read at a time."""


# -- what was asked


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's messages, as `role` and `content`, and the tools that it offers."""

    messages: list[Json]
    tools: list[Json]

    @property
    def size(self) -> int:
        """Characters that are kept."""
        said = sum(len(message["content"]) for message in self.messages)
        return said + sum(len(part) for tool in self.tools for part in tool.values())


def asked(body: Json, call: Call, judge: Judge) -> Asked:
    """The last `message_countback` messages of a client's request that are not to be left out. `call` is one
    that may be noted on. Raises ApiError for what cannot be read."""
    ignored = {
        role
        for role, ignore in (
            ("assistant", judge.ignore_assistant_prompts),
            ("system", judge.ignore_system_prompts),
            ("tool", judge.ignore_tool_prompts),
        )
        if ignore
    }
    found = []
    if call.operation != "responses" and (call.native is None or call.native.api.translated):
        body = client_format(call.client_format).request(body, call)
    for role, content in _messages(body, call):
        if role not in ignored and content.strip():
            found.append({"role": role, "content": content})
    return Asked(found[-judge.message_countback :], tools_of(body))


def _messages(body: Json, call: Call) -> Iterator[tuple[str, str]]:
    if call.operation == "responses":
        for role, content in responses.messages(body, _text):
            yield _ROLES.get(role, "user"), content
    elif call.native is not None and not call.native.api.translated:
        yield from _native_messages(body)
    elif call.operation == "completions":
        yield "user", _text(body.get("prompt"))
    else:
        yield from _of(body.get("messages"))


def _of(messages: Any) -> Iterator[tuple[str, str]]:
    for message in objects(messages):
        role = _ROLES.get(text(message.get("role")).lower(), "user")
        yield role, _text(message.get("content", message.get("message")))


def _native_messages(body: Json) -> Iterator[tuple[str, str]]:
    """Of APIs that only their own provider serves. Cohere's chat: v2 has `messages`, v1 `preamble`,
    `chat_history` and `message` (https://docs.cohere.com/v1/reference/chat). Others have a text: `prompt`
    (Cohere's generate, Anthropic's complete), `inputs` (Hugging Face)."""
    yield "system", _text(body.get("preamble"))
    yield from _of(body.get("chat_history"))
    yield from _of(body.get("messages"))
    for name in ("message", "prompt", "inputs"):
        yield "user", _text(body.get(name))


def _text(content: Any) -> str:
    """A content's text; parts that are none by their type."""
    if isinstance(content, list):
        return "\n".join(filter(None, map(_part, content)))
    return text(content)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    part = obj(part)
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    kind = text(part.get("type"))
    return f"[{kind}]" if kind else ""


# -- what was answered


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came, and who reads it. Nothing of the exchange is held by it."""

    data: bytes
    call: Call
    adapter: Adapter | None
    """None of an API that only `_native` knows, and of the Responses API at its own provider."""
    whole: bool
    stream: bool
    """With `whole`, either: it was called JSON where a stream was asked for, and may be lines of it."""


def answer_of(carrier: Carrier, data: bytes) -> Answer:
    """The provider's bytes, with what it takes to read them when the exchange is over."""
    call = carrier.once_more()
    running = carrier.running
    whole = running is None or (running.sniffer is not None and running.sniffer.whole is True)
    return Answer(data, call, _adapter(carrier, call), whole, running is not None)


def answered(answer: Answer, give: Callable[[], None] = lambda: None) -> Said:
    """What an answer's first choice says and calls; empty where it does neither. Raises ApiError, or whatever
    a provider's odd data leads to. `give` is called now and then in a long one."""
    data, call, adapter = answer.data, answer.call, answer.adapter
    if answer.whole:
        try:
            body = loads_lenient(data)
        except ValueError:
            if not answer.stream:
                raise
        else:
            if _is_response(call):
                return responses.answer(body, _text)
            return _first(adapter.response(body, call)) if adapter is not None else _native(body)
    if _is_response(call):
        return responses.streamed(data, _text, give)
    if adapter is None:
        return Said()
    decoder = adapter.stream(call)
    said: list[str] = []
    calls = Pieces()
    for start in range(0, len(data), _PIECE):
        _hear(decoder.feed(data[start : start + _PIECE]), said, calls)
        give()
    _hear(decoder.finish(), said, calls)
    return Said("".join(said), calls.calls())


def _is_response(call: Call) -> bool:
    """Whether the provider answers in the Responses API's form."""
    return call.operation == "responses"


def _adapter(carrier: Carrier, call: Call) -> Adapter | None:
    native = call.native
    if _is_response(call):
        return None
    if native is None or native.api.translated:
        return carrier.adapter()
    if call.client_format == "cohere":
        if native.api.name == "generate":
            return GENERATE
        return CHAT_V1 if native.version == "v1" else CHAT_V2
    if call.client_format == "huggingface" and native.api.name.startswith("generate") and call.stream:
        return TEXT_COMPLETIONS
    return None


def _hear(items: list[Json | ApiError], said: list[str], calls: Pieces) -> None:
    for item in items:
        if isinstance(item, ApiError):
            raise item
        for choice in objects(item.get("choices")):
            if not choice.get("index"):
                delta = obj(choice.get("delta"))
                said += [text(delta.get("content")), text(delta.get("refusal")), text(choice.get("text"))]
                calls.take(delta)


def _first(answer: Json) -> Said:
    for choice in objects(answer.get("choices"))[:1]:
        message = obj(choice.get("message"))
        said = _text(message.get("content")) or text(message.get("refusal")) or text(choice.get("text"))
        return Said(said, chat_calls(message))
    return Said()


def _native(body: Any) -> Said:
    """Of a whole answer: Hugging Face's (a list of them, or OpenAI's form), or Anthropic's complete."""
    if isinstance(body, list):
        body = body[0] if body else None
    found = obj(body)
    said = text(found.get("generated_text")) or text(found.get("completion"))
    return Said(said) if said else _first(found)

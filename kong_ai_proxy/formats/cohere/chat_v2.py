"""Cohere's v2 chat. Sources: https://docs.cohere.com/reference/chat, …/reference/chat-stream."""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json
from ..base import StreamDecoder, StreamItem
from ..json_mode import drop_description
from ..pivot import (
    chosen_functions,
    completion,
    content_text,
    integer,
    items,
    merged_body,
    modern_messages,
    named,
    not_an_answer,
    note_tool_cache,
    note_unsaid,
    obj,
    objects,
    plain_parts,
    plain_texts,
    text,
    text_only,
    tool_call,
    tool_choice,
    utf8_size,
)
from ..streams import SSEStream
from .common import (
    drop_unknown,
    finish_reason,
    read_error,
    read_usage,
    sampling,
    stream_error,
    stream_failure,
    url_citations,
)

_SAME = ("temperature", "seed", "frequency_penalty", "presence_penalty", "logprobs", "stream")
_RENAMED = {"top_p": "p", "top_k": "k"}
_OWN = ("documents", "citation_options", "safety_mode", "strict_tools", "priority", "p", "k")
"""Cohere's own fields, kept where a client puts them at the top level."""
_HANDLED = frozenset(
    {
        *_SAME, *_RENAMED, *_OWN,
        "model", "messages", "tools", "functions", "tool_choice", "function_call", "max_tokens",
        "max_completion_tokens", "stop", "response_format", "reasoning_effort", "thinking", "stream_options",
        "parallel_tool_calls", "n",
    }
)  # fmt: skip

_MESSAGE_KEYS = frozenset(
    {
        "role", "content", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "tool_plan",
        "citations", "provider_specific_fields", "annotations",
    }
)  # fmt: skip

_THINKING_MODELS = ("command-a-reasoning", "command-a-plus")
"""Beginnings of the names of models that think (https://docs.cohere.com/docs/reasoning)."""


class ChatV2:
    """Chat by POST /v2/chat."""

    format = "cohere"

    def request(self, body: Json, call: Call) -> Json | bytes:
        return _request(merged_body(body), call)

    def response(self, body: Json, call: Call) -> Json:
        return _answer(body, call)

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


def _request(body: Json, call: Call) -> Json:
    request: Json = {"model": call.model, "messages": _messages(body, call)}
    request |= sampling(body, (*_SAME, *_OWN), _RENAMED, stops="stop_sequences")
    _set_format(request, body.get("response_format"), call)
    _set_tools(request, body, call)
    _set_thinking(request, body, call)
    if body.get("n") not in (None, 1):
        call.drop("n")
    if body.get("parallel_tool_calls") is False:
        call.drop("parallel_tool_calls")
    drop_unknown(body, _HANDLED, call)
    return request


def _set_format(request: Json, wanted: Any, call: Call) -> None:
    kind = obj(wanted).get("type")
    if kind == "json_schema":
        request["response_format"] = {"type": "json_object"}
        schema = obj(obj(wanted).get("json_schema")).get("schema")
        if isinstance(schema, dict):
            request["response_format"]["json_schema"] = schema
            drop_description(wanted, call)
    elif kind == "json_object":
        # Cohere's own form has the schema here.
        request["response_format"] = dict(wanted)
    elif kind not in (None, "text"):
        call.drop("response_format")


def _set_tools(request: Json, body: Json, call: Call) -> None:
    functions = chosen_functions(body)
    mode, names = tool_choice(body)
    note_tool_cache(body, call)
    for tool in objects(body.get("tools")):
        if "function" not in tool:
            call.drop(f"tools.{text(tool.get('type')) or 'unknown'}")
    if names:
        # Cohere cannot be told which tool: it is given no other.
        functions = named(functions, names)
        if not functions:
            raise BadRequest("tool_choice names a function that is not among the tools", param="tool_choice")
    if mode in ("required", "none"):
        request["tool_choice"] = mode.upper()
    if not functions:
        return
    request["tools"] = [{"type": "function", "function": _function(function)} for function in functions]
    strict = [function.get("strict") is True for function in functions]
    if all(strict):
        request.setdefault("strict_tools", True)
    elif any(strict):
        call.drop("tools.function.strict")


def _function(function: Json) -> Json:
    made = {key: function[key] for key in ("name", "description") if function.get(key) is not None}
    parameters = function.get("parameters")
    made["parameters"] = parameters if isinstance(parameters, dict) and parameters else _NO_PARAMETERS
    return made


_NO_PARAMETERS: Json = {"type": "object", "properties": {}}


def _set_thinking(request: Json, body: Json, call: Call) -> None:
    """From `thinking`, Anthropic's form or Cohere's own, or `reasoning_effort`: that becomes on or off, as in
    Cohere's own compatible API (https://docs.cohere.com/docs/compatibility-api).
    """
    thinking = body.get("thinking")
    if isinstance(thinking, dict):
        made: Json = {"type": "disabled" if thinking.get("type") == "disabled" else "enabled"}
        budget = thinking.get("token_budget", thinking.get("budget_tokens"))
        if budget is not None and made["type"] == "enabled":
            made["token_budget"] = budget
        request["thinking"] = made
        return
    effort = body.get("reasoning_effort")
    if effort is None:
        return
    if call.model.startswith(_THINKING_MODELS):
        request["thinking"] = {"type": "disabled" if effort in ("none", "minimal") else "enabled"}
    elif effort != "none":
        call.drop("reasoning_effort")


def _messages(body: Json, call: Call) -> list[Json]:
    made: list[Json] = []
    given = modern_messages(body.get("messages"), call)
    for position, said in enumerate(plain_texts(given, call)):
        message = given[position]
        if said is not None:
            made.append(message)
            continue
        role = message.get("role")
        note_unsaid(message, _MESSAGE_KEYS, call)
        if role == "tool":
            content = _tool_content(message.get("content"), position)
            made.append(
                {"role": "tool", "tool_call_id": text(message.get("tool_call_id")), "content": content}
            )
        elif role == "assistant":
            made.append(_assistant(message, call))
        elif role == "user":
            made.append({"role": "user", "content": _content(message.get("content"), position)})
        elif role in ("system", "developer"):
            made.append({"role": "system", "content": text_only(message.get("content"), call)})
        else:
            raise BadRequest("unknown role of a message", param=f"messages.{position}.role")
    return made


def _content(content: Any, position: int) -> Any:
    if isinstance(content, str):
        return content
    parts: list[Json] = []
    given = items(content)
    for index, said in enumerate(plain_parts(given)):
        part = given[index]
        if said is not None:
            parts.append(part)
            continue
        kind = obj(part).get("type")
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
        elif kind in ("text", "input_text"):
            parts.append({"type": "text", "text": text(part.get("text"))})
        elif kind == "image_url":
            image = part.get("image_url")
            image = {"url": image} if isinstance(image, str) else obj(image)
            kept = {key: image[key] for key in ("url", "detail") if image.get(key) is not None}
            parts.append({"type": "image_url", "image_url": kept})
        elif kind == "document":
            parts.append({"type": "document", "document": part.get("document")})
        else:
            raise BadRequest(
                f"Cohere has no content part of type {kind!r}",
                param=f"messages.{position}.content.{index}.type",
            )
    return parts


def _tool_content(content: Any, position: int) -> Any:
    """A text, or text and document blocks; no other kind fits into a tool's result."""
    if isinstance(content, str):
        return content
    parts = []
    for index, part in enumerate(items(content)):
        kind = obj(part).get("type")
        if isinstance(part, str) or kind in ("text", "input_text"):
            parts.append({"type": "text", "text": content_text([part])})
        elif kind == "document":
            parts.append({"type": "document", "document": part.get("document")})
        else:
            raise BadRequest(
                f"Cohere takes no part of type {kind!r} in a tool's result",
                param=f"messages.{position}.content.{index}.type",
            )
    return parts or ""


_THOUGHTS = frozenset({"reasoning_content", "tool_plan", "provider_specific_fields"})
"""Members of an earlier answer that say what the model thought."""


def _assistant(message: Json, call: Call) -> Json:
    made: Json = {"role": "assistant"}
    said = text_only(message.get("content"), call) or text(message.get("refusal"))
    calls = [_call(one) for one in objects(message.get("tool_calls"))]
    reasoning = plan = ""
    if not _THOUGHTS.isdisjoint(message):
        plan = text(message.get("tool_plan")) or text(
            obj(message.get("provider_specific_fields")).get("tool_plan")
        )
        reasoning = text(message.get("reasoning_content")).removesuffix(plan)
    if reasoning and not (plan and not call.model.startswith(_THINKING_MODELS)):
        if call.model.startswith(_THINKING_MODELS):
            content = [{"type": "thinking", "thinking": reasoning}]
            made["content"] = [*content, {"type": "text", "text": said}] if said else content
        elif calls:
            plan = reasoning
        else:
            call.drop("messages.reasoning_content")
    if "content" not in made and (said or not calls):
        made["content"] = said
    if calls:
        made["tool_calls"] = calls
        if plan:
            made["tool_plan"] = plan
    if items(message.get("citations")):
        made["citations"] = message["citations"]
    return made


def _call(call: Json) -> Json:
    function = obj(call.get("function"))
    # An empty text is no JSON.
    arguments = text(function.get("arguments")) or "{}"
    return tool_call(text(function.get("name")), arguments, text(call.get("id")))


def _answer(body: Json, call: Call) -> Json:
    message = body.get("message") if isinstance(body, dict) else None
    if not isinstance(message, dict):
        raise not_an_answer("Cohere")
    call.usage = read_usage(body.get("usage"))
    content = message.get("content")
    said = content if isinstance(content, str) else content_text(content)
    thoughts = "".join(text(part.get("thinking")) for part in objects(content))
    calls = [
        tool_call(
            text(obj(one.get("function")).get("name")),
            text(obj(one.get("function")).get("arguments")) or "{}",
            text(one.get("id")) or call.new_id("call_"),
        )
        for one in objects(message.get("tool_calls"))
    ]
    call.output_bytes += utf8_size(said) + utf8_size(thoughts)
    reason = finish_reason(body.get("finish_reason"), len(calls))
    made: Json = {"role": "assistant", "content": said if said or not calls else None, "refusal": None}
    plan = text(message.get("tool_plan"))
    if thoughts or plan:
        made["reasoning_content"] = thoughts + plan
    made.update(_extras(items(message.get("citations")), plan, body.get("logprobs")))
    if calls:
        made["tool_calls"] = calls
    choice = {"index": 0, "message": made, "logprobs": None, "finish_reason": reason}
    return completion(call, [choice], id=text(body.get("id")))


def _extras(citations: list[Any], plan: str, logprobs: Any = None) -> Json:
    """Citations and the tool plan, which must go back as one."""
    extras: Json = {}
    specific: Json = {}
    if citations:
        specific["citations"] = citations
        found = url_citations(citations)
        if found:
            extras["annotations"] = found
    if plan:
        specific["tool_plan"] = plan
    if logprobs:
        # By pieces of several tokens: OpenAI's form has no place for that.
        specific["logprobs"] = logprobs
    if specific:
        extras["provider_specific_fields"] = specific
    return extras


class _Stream(SSEStream):
    provider = "Cohere"

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._calls: dict[Any, int] = {}
        """Cohere's index of a tool call → ours."""
        self._bare: set[int] = set()
        """Calls whose arguments have not begun."""
        self._plan: list[str] = []
        self._citations: list[Any] = []
        self._logprobs: list[Any] = []

    def take(self, body: Json, made: list[StreamItem]) -> None:
        kind = body.get("type")
        handler = _EVENTS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            handler(self, body, made)
        elif text(body.get("message")) or body.get("error"):
            self.fail(stream_failure(body), made)

    def _begin(self, body: Json, made: list[StreamItem]) -> None:
        self.chunks.identify(id=text(body.get("id")))
        made.append(self.chunks.delta(0, {"content": ""}))

    def _text(self, body: Json, made: list[StreamItem]) -> None:
        delta = obj(body.get("delta"))
        content = obj(obj(delta.get("message")).get("content"))
        for logprobs in (body.get("logprobs"), delta.get("logprobs")):
            # Beside the delta in the SDK's types, within it in the reference's example.
            if isinstance(logprobs, dict):
                self._logprobs.append(logprobs)
        for name, key in (("thinking", "reasoning_content"), ("text", "content")):
            said = text(content.get(name))
            if said:
                self.call.output_bytes += utf8_size(said)
                made.append(self.chunks.delta(0, {key: said}))

    def _tool_plan(self, body: Json, made: list[StreamItem]) -> None:
        said = text(obj(obj(body.get("delta")).get("message")).get("tool_plan"))
        if said:
            self._plan.append(said)
            self.call.output_bytes += utf8_size(said)
            made.append(self.chunks.delta(0, {"reasoning_content": said}))

    def _tool_call(self, body: Json, made: list[StreamItem]) -> None:
        one = _first(obj(obj(body.get("delta")).get("message")).get("tool_calls"))
        function = obj(one.get("function"))
        at = integer(body.get("index"))
        index = self._calls[at] = len(self._calls)
        begun = tool_call(
            text(function.get("name")),
            text(function.get("arguments")),
            text(one.get("id")) or self.call.new_id("call_"),
        )
        if not begun["function"]["arguments"]:
            self._bare.add(index)
        made.append(self.chunks.delta(0, {"tool_calls": [{"index": index, **begun}]}))

    def _arguments(self, body: Json, made: list[StreamItem]) -> None:
        one = _first(obj(obj(body.get("delta")).get("message")).get("tool_calls"))
        arguments = text(obj(one.get("function")).get("arguments"))
        at = integer(body.get("index"))
        index = self._calls.get(at, len(self._calls) - 1 if at is None else -1)
        if arguments and index >= 0:
            self.call.output_bytes += utf8_size(arguments)
            self._argue(index, arguments, made)

    def _argue(self, index: int, arguments: str, made: list[StreamItem]) -> None:
        self._bare.discard(index)
        delta = {"index": index, "function": {"arguments": arguments}}
        made.append(self.chunks.delta(0, {"tool_calls": [delta]}))

    def _citation(self, body: Json, made: list[StreamItem]) -> None:
        citations = obj(obj(body.get("delta")).get("message")).get("citations")
        self._citations.extend(citations if isinstance(citations, list) else [citations])

    def _end(self, body: Json, made: list[StreamItem]) -> None:
        delta = obj(body.get("delta"))
        self.call.usage = read_usage(delta.get("usage"))
        if text(delta.get("error")):
            self.fail(stream_error(text(delta.get("error"))), made)
            return
        for index in sorted(self._bare):
            # Without parameters Cohere streams no arguments; a whole answer has "{}", which is JSON.
            self._argue(index, "{}", made)
        reason = finish_reason(delta.get("finish_reason"), len(self._calls))
        self.complete(_extras(self._citations, "".join(self._plan), self._logprobs), reason, made)


_EVENTS = {
    "message-start": _Stream._begin,
    "content-start": _Stream._text,
    "content-delta": _Stream._text,
    "tool-plan-delta": _Stream._tool_plan,
    "tool-call-start": _Stream._tool_call,
    "tool-call-delta": _Stream._arguments,
    "citation-start": _Stream._citation,
    "message-end": _Stream._end,
}
"""What is not here (the ends of blocks, debug) says nothing new."""


def _first(value: Any) -> Json:
    """Cohere writes one tool call as an object; a list is understood too."""
    return obj(value[0]) if isinstance(value, list) and value else obj(value)


CHAT_V2 = ChatV2()

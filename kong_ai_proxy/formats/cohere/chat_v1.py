"""Cohere's v1 chat, for an `upstream_url` that leads there. Source: https://docs.cohere.com/v1/reference/chat.

The last user message stands apart from the history; tools and their results have a form of their own, without
ids. The stream is NDJSON.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json, dumps_text
from ..base import StreamDecoder, StreamItem
from ..json_mode import drop_description
from ..pivot import (
    arguments_object,
    chosen_functions,
    completion,
    content_text,
    count,
    items,
    json_object,
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
    utf8_size,
)
from ..streams import NDJSONStream
from .common import drop_unknown, finish_reason, read_error, read_usage, sampling, stream_failure

_SAME = ("temperature", "seed", "frequency_penalty", "presence_penalty", "stream")
_RENAMED = {"top_p": "p", "top_k": "k"}
_OWN = (
    "preamble", "conversation_id", "prompt_truncation", "connectors", "search_queries_only", "documents",
    "citation_quality", "max_input_tokens", "raw_prompting", "force_single_step", "safety_mode", "p", "k",
)  # fmt: skip
_HANDLED = frozenset(
    {
        *_SAME, *_RENAMED, *_OWN,
        "model", "messages", "tools", "functions", "tool_choice", "function_call", "max_tokens",
        "max_completion_tokens", "stop", "response_format", "stream_options", "parallel_tool_calls", "n",
    }
)  # fmt: skip

_MESSAGE_KEYS = frozenset(
    {"role", "content", "tool_calls", "tool_call_id", "refusal", "annotations", "provider_specific_fields"}
)
_ROLES = {"system": "SYSTEM", "developer": "SYSTEM", "user": "USER", "assistant": "CHATBOT"}

_TYPES = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "array": "List",
    "object": "Dict",
}
"""JSON Schema's types → Python's, which v1's parameter definitions want."""


class ChatV1:
    """Chat by POST /v1/chat."""

    format = "cohere"
    lines = True
    """Its streams are lines of JSON."""

    def request(self, body: Json, call: Call) -> Json | bytes:
        return _request(merged_body(body), call)

    def response(self, body: Json, call: Call) -> Json:
        if not isinstance(body, dict) or not body.keys() & {"text", "tool_calls", "generation_id"}:
            raise not_an_answer("Cohere")
        call.usage = read_usage(body.get("meta"))
        calls = _calls(body.get("tool_calls"), call)
        said = text(body.get("text"))
        call.output_bytes += utf8_size(said)
        reason = finish_reason(body.get("finish_reason"), len(calls))
        message: Json = {"role": "assistant", "content": said if said or not calls else None, "refusal": None}
        message.update(_extras(body))
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return completion(call, [choice], id=text(body.get("response_id")) or text(body.get("generation_id")))

    def stream(self, call: Call) -> StreamDecoder:
        return _Stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        return read_error(status, headers, body)


def _request(body: Json, call: Call) -> Json:
    request: Json = {"model": call.model}
    _set_messages(request, list(modern_messages(body.get("messages"))), call)
    request |= sampling(body, (*_SAME, *_OWN), _RENAMED, stops="stop_sequences")
    wanted = obj(body.get("response_format"))
    if wanted.get("type") in ("json_object", "json_schema"):
        request["response_format"] = {"type": "json_object"}
        schema = wanted.get("schema") or obj(wanted.get("json_schema")).get("schema")
        if isinstance(schema, dict):
            request["response_format"]["schema"] = schema
            drop_description(wanted, call)
    _set_tools(request, body, call)
    if body.get("n") not in (None, 1):
        call.drop("n")
    if body.get("parallel_tool_calls") is False:
        call.drop("parallel_tool_calls")
    drop_unknown(body, _HANDLED, call)
    return request


def _set_messages(request: Json, messages: list[Json], call: Call) -> None:
    results: list[Json] = []
    while messages and messages[-1].get("role") == "tool":
        results.append(messages.pop())
    results.reverse()
    calls: dict[Any, Json] = {}
    history = [_turn(message, calls, position) for position, message in enumerate(messages)]
    if results:
        request["message"] = ""
        request["tool_results"] = [_result(message, calls) for message in results]
    elif messages and messages[-1].get("role") == "user":
        request["message"] = history.pop()["message"]
    else:
        request["message"] = ""
    if history:
        request["chat_history"] = history
    for message in [*messages, *results]:
        note_unsaid(message, _MESSAGE_KEYS, call)


def _turn(message: Json, calls: dict[Any, Json], position: int) -> Json:
    """`calls`: the functions of earlier messages' calls, by id; this one's are added."""
    role = message.get("role")
    if role == "tool":
        return {"role": "TOOL", "tool_results": [_result(message, calls)]}
    own = _ROLES.get(role) if isinstance(role, str) else None
    if own is None:
        raise BadRequest("unknown role of a message", param=f"messages.{position}.role")
    content = message.get("content")
    for index, part in enumerate(items(content)):
        kind = obj(part).get("type")
        if isinstance(part, dict) and kind not in ("text", "input_text", "refusal"):
            raise BadRequest(
                f"Cohere's v1 chat has no content part of type {kind!r}",
                param=f"messages.{position}.content.{index}.type",
            )
    turn: Json = {"role": own, "message": content_text(content)}
    said = [(one.get("id"), obj(one.get("function"))) for one in objects(message.get("tool_calls"))]
    # Of calls with one id the latest message's counts, and in it the first.
    calls.update((identity, function) for identity, function in reversed(said) if _is_id(identity))
    if made := [_called(function) for _, function in said if function]:
        turn["tool_calls"] = made
    return turn


def _is_id(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float))


def _called(function: Json) -> Json:
    return {"name": text(function.get("name")), "parameters": arguments_object(function.get("arguments"))}


def _result(message: Json, calls: dict[Any, Json]) -> Json:
    """A tool's result beside the call it answers: v1 has no ids."""
    identity = message.get("tool_call_id")
    function = calls.get(identity) if _is_id(identity) else None
    if function is None:
        raise BadRequest(
            f"tool_call_id {identity!r} is not the id of a tool call in an earlier message", param="messages"
        )
    said = content_text(message.get("content"))
    found = json_object(said)
    return {"call": _called(function), "outputs": [{"output": said} if found is None else found]}


def _set_tools(request: Json, body: Json, call: Call) -> None:
    mode, names = tool_choice(body)
    note_tool_cache(body, call)
    if mode == "none":
        return
    if mode == "required":
        # v1 leaves it to the model.
        call.drop("tool_choice")
    functions = chosen_functions(body)
    if names:
        functions = named(functions, names)
    if functions:
        request["tools"] = [_tool(function, call) for function in functions]


def _tool(function: Json, call: Call) -> Json:
    schema = obj(function.get("parameters"))
    required = items(schema.get("required"))
    definitions = {}
    for name, parameter in obj(schema.get("properties")).items():
        kind = obj(parameter).get("type")
        definition: Json = {"type": _TYPES.get(kind, "str") if isinstance(kind, str) else "str"}
        definition["required"] = name in required
        if text(obj(parameter).get("description")):
            definition["description"] = parameter["description"]
        for key in sorted(obj(parameter).keys() - {"type", "description", "title"}):
            call.drop(f"tools.function.parameters.{key}")
        definitions[name] = definition
    made: Json = {"name": text(function.get("name")), "description": text(function.get("description"))}
    made["parameter_definitions"] = definitions
    return made


def _calls(calls: Any, call: Call) -> list[Json]:
    return [
        tool_call(text(one.get("name")), dumps_text(obj(one.get("parameters"))), call.new_id("call_"))
        for one in objects(calls)
    ]


def _extras(body: Json) -> Json:
    specific = {
        key: body[key]
        for key in ("citations", "documents", "search_queries", "search_results")
        if body.get(key)
    }
    extras: Json = {"provider_specific_fields": specific} if specific else {}
    if found := _url_citations(body):
        extras["annotations"] = found
    return extras


def _url_citations(body: Json) -> list[Json]:
    """OpenAI's annotations for the citations of documents that have a URL, as those of its web search do."""
    documents = {text(one.get("id")): one for one in objects(body.get("documents"))}
    found = []
    for citation in objects(body.get("citations")):
        for name in items(citation.get("document_ids")):
            source = obj(documents.get(name) if isinstance(name, str) else None)
            if url := text(source.get("url")):
                place = {
                    "url": url,
                    "title": text(source.get("title")) or url,
                    "start_index": count(citation.get("start")) or 0,
                    "end_index": count(citation.get("end")) or 0,
                }
                found.append({"type": "url_citation", "url_citation": place})
    return found


class _Stream(NDJSONStream):
    provider = "Cohere"

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._calls = 0
        self._said = ""

    def take(self, body: Json, made: list[StreamItem]) -> None:
        kind = body.get("event_type")
        if kind == "stream-start":
            self.chunks.identify(id=text(body.get("generation_id")))
            made.append(self.chunks.delta(0, {"content": ""}))
        elif kind == "text-generation":
            self._say(text(body.get("text")), made)
        elif kind == "tool-calls-chunk":
            # Of these, what the model says before it calls; the calls come whole later, reliably.
            self._say(text(obj(body.get("tool_call_delta")).get("text")) or text(body.get("text")), made)
        elif kind == "tool-calls-generation":
            self._unsaid(body.get("text"), made)
            self._add_calls(body.get("tool_calls"), made)
        elif kind == "stream-end":
            self._end(body, made)
        elif kind is None and "text" in body:
            # A whole answer, from who does not stream.
            self.chunks.identify(id=text(body.get("generation_id")))
            self._end({"response": body}, made)
        elif kind == "stream-error" or (kind is None and ("message" in body or body.get("error"))):
            self.fail(stream_failure(body), made)

    def _say(self, said: str, made: list[StreamItem]) -> None:
        if said:
            self._said += said
            self.call.output_bytes += utf8_size(said)
            made.append(self.chunks.delta(0, {"content": said}))

    def _unsaid(self, whole: Any, made: list[StreamItem]) -> None:
        """What of a text that is told whole did not come in pieces."""
        if isinstance(whole, str) and whole.startswith(self._said):
            self._say(whole[len(self._said) :], made)

    def _add_calls(self, calls: Any, made: list[StreamItem]) -> None:
        found = _calls(calls, self.call)
        if found:
            delta = [{"index": self._calls + position, **one} for position, one in enumerate(found)]
            self._calls += len(found)
            made.append(self.chunks.delta(0, {"tool_calls": delta}))

    def _end(self, body: Json, made: list[StreamItem]) -> None:
        whole = obj(body.get("response"))
        self.call.usage = read_usage(whole.get("meta"))
        self._unsaid(whole.get("text"), made)
        if not self._calls:
            self._add_calls(whole.get("tool_calls"), made)
        reason = finish_reason(body.get("finish_reason") or whole.get("finish_reason"), self._calls)
        self.complete(_extras(whole), reason, made)


CHAT_V1 = ChatV1()

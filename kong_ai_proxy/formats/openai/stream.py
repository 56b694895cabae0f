"""A streamed answer of an OpenAI-compatible provider, brought to OpenAI's own form.

Sources: https://platform.openai.com/docs/api-reference/chat/streaming, recordings */chat-stream*.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONEvents, loads_lenient
from ...wire.sse import Event, FrameTooLarge, SSEDecoder
from ..base import StreamItem
from ..pivot import error_text, integer, items, json_object, text, truncated, utf8_size
from .answer import arguments_text, call_id, call_list, finish_reason
from .dialect import NO_REASONS, Dialect
from .errors import error_in
from .parts import Parts, take_reasoning
from .usage import note_tier, note_usage, shown_usage, usage_in

_END_MEMBERS: Final = ("index", "finish_reason", "native_finish_reason", "stop_reason")
INVALID: Final = "upstream_invalid_event"
"""The `code` of the error that ends a stream with an event nobody can read."""


@dataclass(slots=True)
class _ToolCall:
    """One tool call as far as it has come."""

    index: int
    id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    custom: bool = False
    """Its input is text, not JSON."""


@dataclass(slots=True)
class _Choice:
    """One choice as far as it has come."""

    begun: bool = False
    finished: bool = False
    calls: list[_ToolCall] = field(default_factory=list)
    by_index: dict[int, _ToolCall] = field(default_factory=dict)
    thought: list[str] = field(default_factory=list)
    """Reasoning parts that no signature has followed yet."""


class OpenAIStream:
    """See `formats.base.StreamDecoder`. For chat and, with `kind` "text_completion", for completions."""

    def __init__(self, call: Call, dialect: Dialect, kind: str = "chat.completion.chunk") -> None:
        self._call = call
        self._dialect = dialect
        self._kind = kind
        self._chat = kind == "chat.completion.chunk"
        self._sse = SSEDecoder(call.max_frame)
        self._choices: dict[int, _Choice] = {}
        self._id = ""
        self._model = ""
        self._created = 0
        self._carried: Json = {}
        self._usage: Json | None = None
        self._usage_chunk: Json | None = None
        self._fingerprint: Any = None
        self._called_at_last = False
        """The chunk at hand has calls of tools beside a finish reason."""
        self._done = False
        self._failed = False
        self._events = JSONEvents()

    def feed(self, data: bytes) -> list[StreamItem]:
        if self._done or self._failed:
            return []
        try:
            events = self._sse.feed(data)
        except FrameTooLarge as error:
            return self._after_too_large(error)
        return self._read(events) if events else []

    def finish(self) -> list[StreamItem]:
        if self._done or self._failed:
            return []
        out: list[StreamItem] = []
        for event in self._sse.finish():
            try:
                loads_lenient(event.data)
            except ValueError:
                if event.data.strip() != b"[DONE]":
                    continue  # cut off in the middle: the end is judged by what came before
            out += self._read([event])
        if not self._done and not self._failed:
            if self._complete():
                out += self._end()
            else:
                out.append(self._fail(truncated()))
        return out

    def _complete(self) -> bool:
        return bool(self._choices) and all(choice.finished for choice in self._choices.values())

    def _read(self, events: list[Event]) -> list[StreamItem]:
        out: list[StreamItem] = []
        for event in events:
            try:
                chunk = self._events.loads(event.data)
            except ValueError:
                if event.data.strip() == b"[DONE]":
                    out += self._end()
                    break
                if not event.data.strip():
                    continue
                chunk = None
            if isinstance(chunk, list) and len(chunk) == 1:
                chunk = chunk[0]  # Google's errors
            if not isinstance(chunk, dict):
                said = error_text(event.data) if event.event == "error" and chunk is None else ""
                error = ApiError(502, said or "the provider sent an event that cannot be read", code=INVALID)
                out.append(self._fail(error))
                break
            if "error" in chunk or "choices" not in chunk or "x_groq" in chunk or event.event == "error":
                named = event.event == "error" and "error" not in chunk
                broken = error_in({**chunk, "object": "error"} if named else chunk, self._call)
                if broken is not None:
                    out.append(self._fail(broken))
                    break
            found = self._chunk(chunk)
            if found is not None:
                out += _apart(found) if self._called_at_last else (found,)
        return out

    def _after_too_large(self, error: FrameTooLarge) -> list[StreamItem]:
        out = self._read(error.events)
        if not self._done and not self._failed:
            out.append(self._fail(ApiError(502, str(error), code="upstream_event_too_large")))
        return out

    def _fail(self, error: ApiError) -> ApiError:
        self._failed = True
        self._report()
        return error

    def _end(self) -> list[StreamItem]:
        """The answer is complete: what is left is the usage, and what nothing came to take along."""
        self._done = True
        self._report()
        if self._usage is None and not self._carried:
            return []
        chunk = self._usage_chunk or {}
        chunk.update(self._carried)
        self._identify(chunk)
        if self._fingerprint and not chunk.get("system_fingerprint"):
            # OpenAI's SDK believes the last chunk (openai 3.54: lib/streaming/chat/_completions.py).
            chunk["system_fingerprint"] = self._fingerprint
        chunk["choices"] = []
        if self._usage is not None:
            chunk["usage"] = shown_usage(self._usage)
        return [chunk]

    def _report(self) -> None:
        if self._usage is not None:
            note_usage(self._usage, self._call, self._dialect)

    def _chunk(self, chunk: Json) -> Json | None:
        """One chunk, in place. None where nothing in it is for the client, or not yet."""
        usage = chunk.pop("usage", None)
        if isinstance(usage, dict) and usage:
            self._usage = usage
        elif "x_groq" in chunk and self._usage is None:
            self._usage = usage_in(chunk)
        choices = items(chunk.get("choices"))
        if not choices:
            self._identify(chunk)
            del chunk["choices"]
            if isinstance(usage, dict):
                self._usage_chunk = chunk
            else:
                # Azure's first chunk: filter results, neither id nor model. They ride on the next chunk.
                self._carried.update(
                    (name, value)
                    for name, value in chunk.items()
                    if name not in ("id", "object", "created", "model", "choices")
                )
            return None
        self._called_at_last = False
        read = self._chat_choice if self._chat else self._text_choice
        chunk["choices"] = [
            choice
            for position, item in enumerate(choices)
            if isinstance(item, dict) and (choice := read(item, position)) is not None
        ]
        self._identify(chunk)
        if self._carried:
            chunk.update(self._carried)
            self._carried = {}
        return chunk if chunk["choices"] else None

    def _identify(self, chunk: Json) -> None:
        """id, object, created and model are always there: left out, they are what was said before."""
        call = self._call
        given = chunk.get("id")
        if isinstance(given, str) and given:
            if given != self._id:
                if self._id:
                    # One answer has one id; some gateways make up another for each chunk.
                    chunk["id"] = self._id
                else:
                    self._id = call.response_id = given
        elif chunk.get("choices"):
            chunk["id"] = self._id = self._id or call.new_id("chatcmpl-" if self._chat else "cmpl-")
            call.response_id = self._id
        else:
            chunk["id"] = self._id
        model = chunk.get("model")
        if isinstance(model, str) and model:
            if model != self._model:
                self._model = call.response_model = model
        else:
            chunk["model"] = self._model or call.model
        created = chunk.get("created")
        if type(created) is int and created:
            self._created = created
        else:
            chunk["created"] = self._created or integer(created) or call.created
        chunk["object"] = self._kind
        chunk.setdefault("choices", [])
        if "service_tier" in chunk:
            note_tier(chunk, call)
        if "system_fingerprint" in chunk:
            self._fingerprint = chunk["system_fingerprint"] or self._fingerprint

    def _state(self, item: Json, position: int) -> _Choice:
        index = item.get("index")
        if type(index) is not int:
            index = integer(index)
            index = item["index"] = position if index is None else index
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice()
        return state

    def _finish(self, item: Json, state: _Choice) -> bool:
        """Bring the finish reason to OpenAI's; True if this is the one that counts."""
        reason = item.get("finish_reason")
        if not isinstance(reason, str) or reason in NO_REASONS or state.finished:
            # Some gateways send a second one; a client must see one end.
            item["finish_reason"] = None
            return False
        state.finished = True
        if "usage" in item and self._usage is None:
            self._usage = usage_in({"choices": [item]})
        item["finish_reason"] = found = finish_reason(reason, item)
        if found == "function_call" and state.calls:
            item["finish_reason"] = found = "tool_calls"
        self._call.finish_reasons.append(found)
        return True

    def _text_choice(self, item: Json, position: int) -> Json | None:
        state = self._state(item, position)
        late = state.finished
        said = item["text"] = text(item.get("text"))
        self._call.output_bytes += utf8_size(said)
        self._finish(item, state)
        return None if late and not said else item

    def _chat_choice(self, item: Json, position: int) -> Json | None:
        state = self._state(item, position)
        late = state.finished
        delta = item.get("delta")
        if not isinstance(delta, dict):
            message = item.pop("message", None)
            delta = message if isinstance(message, dict) else {}
        if delta.get("role") == "tool":
            # What a tool answered that Mistral ran itself (mistralai 3.7: DeltaMessage), not the model.
            delta = {}
        elif None in delta.values():
            delta = {name: value for name, value in delta.items() if value is not None}
        item["delta"] = delta
        if state.begun:
            delta.pop("role", None)
        elif delta or item.get("finish_reason"):
            state.begun = True
            delta["role"] = "assistant"
        self._said(delta, state)
        if "function_call" in delta and self._call.client_format != "openai":
            # The form before tools, which no other format knows.
            delta.setdefault("tool_calls", []).append({"index": 0, "function": delta.pop("function_call")})
        if "tool_calls" in delta:
            self._tool_calls(delta, state)
        if self._finish(item, state) and state.calls:
            self._complete_arguments(delta, state)
            self._called_at_last = self._called_at_last or "tool_calls" in delta
        return None if late and not delta else item

    def _said(self, delta: Json, state: _Choice) -> None:
        """Text and reasoning."""
        call = self._call
        content = delta.get("content")
        if isinstance(content, str):
            call.output_bytes += utf8_size(content)
        elif content is not None:
            self._parts(delta, Parts(items(content)), state)
        if "reasoning" in delta or "reasoning_details" in delta or "reasoning_content" in delta:
            reasoning = delta.get("reasoning_content")
            if not reasoning or not isinstance(reasoning, str) or "reasoning" in delta:
                reasoning = take_reasoning(delta)
            if reasoning:
                delta["reasoning_content"] = reasoning
                call.output_bytes += utf8_size(reasoning)
        if "refusal" in delta:
            call.output_bytes += utf8_size(text(delta["refusal"]))

    def _parts(self, delta: Json, parts: Parts, state: _Choice) -> None:
        """Content that came as a list."""
        del delta["content"]
        if parts.text or not (parts.reasoning or parts.refusal or parts.thinking or parts.others):
            delta["content"] = parts.text
            self._call.output_bytes += utf8_size(parts.text)
        if parts.reasoning:
            delta.setdefault("reasoning_content", parts.reasoning)
            state.thought.append(parts.reasoning)
        if parts.refusal:
            delta.setdefault("refusal", parts.refusal)
        if parts.thinking:
            if len(parts.thinking) == 1 and "signature" in parts.thinking[0]:
                parts.thinking[0]["thinking"] = "".join(state.thought)
            state.thought.clear()
            delta["thinking_blocks"] = parts.thinking
        if parts.others:
            delta.setdefault("provider_specific_fields", {"content_blocks": parts.others})

    def _tool_calls(self, delta: Json, state: _Choice) -> None:
        found = [
            self._fragment(fragment, state)
            for fragment in call_list(delta["tool_calls"])
            if isinstance(fragment, dict)
        ]
        if found:
            delta["tool_calls"] = found
        else:
            del delta["tool_calls"]

    def _fragment(self, fragment: Json, state: _Choice) -> Json:
        """One fragment: dense index; id, type and name on a call's first fragment only."""
        function = fragment.get("function")
        if not isinstance(function, dict):
            function = {}
        name = text(function.get("name"))
        arguments = arguments_text(function.get("arguments"))
        index, id = fragment.get("index"), fragment.get("id")
        tool, new = None, False
        if type(index) is int and not id and not name:
            tool = state.by_index.get(index)
        if tool is None:
            given = _Fragment(integer(index), call_id(id), name, arguments[:1] == "{")
            tool, new = _find(state, given, self._call)
        if arguments:
            tool.arguments.append(arguments)
            self._call.output_bytes += utf8_size(arguments)
        if "custom" in fragment and not fragment["custom"]:
            # Some gateways have it, empty, beside the function.
            del fragment["custom"]
        custom = fragment.get("type") == "custom" or isinstance(fragment.get("custom"), dict)
        kind = "custom" if custom else "function"
        out = {**fragment, "index": tool.index}
        if custom:
            tool.custom = True
        else:
            out["function"] = {**function, "arguments": arguments}
            if not new and not name:
                out["function"].pop("name", None)
            elif not new:
                # The rest of a name, or the same name again.
                if name == tool.name:
                    out["function"].pop("name")
                else:
                    tool.name += name
            else:
                out["function"]["name"] = name
        if new:
            out["id"] = tool.id
            out["type"] = kind
        else:
            out.pop("id", None)
            out.pop("type", None)
        return out

    def _complete_arguments(self, delta: Json, state: _Choice) -> None:
        """A call without arguments has the empty object, so that what a client puts together is JSON."""
        bare = [tool for tool in state.calls if not tool.arguments and not tool.custom]
        if not bare:
            return
        fragments = items(delta.get("tool_calls"))
        for tool in bare:
            tool.arguments.append("{}")
            fragments.append({"index": tool.index, "function": {"arguments": "{}"}})
        delta["tool_calls"] = fragments


def _apart(chunk: Json) -> tuple[Json, Json]:
    """The calls, then the finish reason, as OpenAI tells them: its SDK tells of a call that is done when the
    next chunk comes (openai 3.54: lib/streaming/chat/_completions.py). Mistral and xAI put both into one
    (recordings mistral/chat-tools-stream, xai/chat-tools-stream/004)."""
    choices = chunk["choices"]
    said = [
        {name: value for name, value in choice.items() if name not in _END_MEMBERS[2:]}
        | {"finish_reason": None}
        for choice in choices
    ]
    ends = [
        {name: choice[name] for name in _END_MEMBERS if name in choice} | {"delta": {}}
        for choice in choices
        if choice.get("finish_reason") is not None
    ]
    return {**chunk, "choices": said}, {**chunk, "choices": ends}


class _Fragment(NamedTuple):
    """What of a fragment tells whose it is."""

    at: int | None
    """Its index."""
    id: str
    name: str
    opens: bool
    """Its arguments could be the beginning of an object."""


def _find(state: _Choice, given: _Fragment, call: Call) -> tuple[_ToolCall, bool]:
    """The call that a fragment belongs to, and whether it begins with it.

    Providers leave out the index, send the same index for several calls, repeat id and name, or make up an id
    for each fragment (vLLM 0.8: DeltaToolCall in entrypoints/openai/protocol.py): an id that is new begins a
    call where a name comes with it; so does, where there is no id to tell, a name after another call's
    arguments.
    """
    index, id, name, _ = given
    by_id = next((tool for tool in state.calls if tool.id == id), None) if id else None
    known = state.by_index.get(index) if index is not None else by_id
    if index is None and known is None and not (id and name):
        known = state.calls[-1] if state.calls else None
    if known is not None:
        other_id = bool(id and name) and id != known.id
        if not other_id and not (name and not id and _is_other(known, given)):
            return (by_id or known), False
        if other_id and by_id is not None:
            return by_id, False
    tool = _ToolCall(len(state.calls), id or call.new_id("call_"), name)
    state.calls.append(tool)
    if index is not None:
        state.by_index[index] = tool
    return tool, True


def _is_other(known: _ToolCall, given: _Fragment) -> bool:
    """Whether a name without an id is another call's than the one it would belong to."""
    if not known.arguments:
        return False
    if given.at is None or given.name != known.name:
        return True
    return given.opens and json_object("".join(known.arguments)) is not None

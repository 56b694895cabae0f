"""A Messages stream as OpenAI chunks.

Events: https://platform.claude.com/docs/en/build-with-claude/streaming. Unknown events are ignored, as that
page asks; unknown blocks are put together from whatever deltas they have. A stream that ends before its stop
reason is truncated.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONDecodeError, JSONEvents, dumps_text, loads
from ...core.usage import UsageSource
from ...wire.sse import Event, FrameTooLarge, SSEDecoder
from ..base import StreamItem
from ..json_mode import JSON_TOOL
from ..pivot import integer, obj, text, truncated
from .blocks import (
    count_output,
    finish_reason,
    openai_tier,
    refusal,
    serving_model,
    split_citations,
    stop_fields,
    tool_extras,
)
from .errors import read_stream_error
from .usage import StreamUsage

_SAID = frozenset({"text", "thinking", "tool_use"})
"""Blocks whose deltas are told as they come."""


class MessagesDecoder:
    """One stream of server-sent events. See `formats.base.StreamDecoder`."""

    def __init__(self, call: Call) -> None:
        self._sse = SSEDecoder(call.max_frame)
        self._json = JSONEvents()
        self._events = MessagesEvents(call)

    def feed(self, data: bytes) -> list[StreamItem]:
        if self._events.ended:
            return []
        try:
            events, failure = self._sse.feed(data), None
        except FrameTooLarge as error:
            events = error.events
            failure = ApiError(502, str(error), code="upstream_frame_too_large")
        items = self._read(events)
        if failure and not self._events.ended:
            items.append(self._events.fail(failure))
        return items

    def finish(self) -> list[StreamItem]:
        items = [] if self._events.ended else self._read(self._sse.finish())
        return items + self._events.finish()

    def _read(self, events: list[Event]) -> list[StreamItem]:
        items: list[StreamItem] = []
        for event in events:
            if self._events.ended:
                break
            if not event.data or event.data == b"[DONE]":
                continue  # `event: ping` may have no data; the other is what gateways in between add
            try:
                parsed = self._json.loads(event.data)
            except ValueError:
                what = "the provider's stream holds an event that is not JSON"
                items.append(self._events.fail(ApiError(502, what, code="upstream_invalid_stream")))
                break
            if isinstance(parsed, dict):
                items += self._events.event(parsed, event.event)
        return items


class MessagesEvents:
    """The events themselves, however they are framed (Bedrock frames them otherwise)."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage = StreamUsage()
        self._blocks: dict[int, _Block] = {}
        self._tools = 0
        self._text_length = 0
        self._started = False
        self._stop_reason: Any = None
        self._refusal: str | None = None
        self._own: Json = {}
        """What was said that OpenAI's form has no place for; told at the end."""
        self._stopped = False
        self._failed = False
        self._base: Json = {}

    @property
    def ended(self) -> bool:
        """Nothing more is read: the message is complete or the stream failed."""
        return self._stopped or self._failed

    def event(self, event: Json, name: str | None = None) -> list[StreamItem]:
        """The chunks of one event."""
        kind = event.get("type") or name
        if kind == "content_block_delta":
            return self._delta(event)
        if kind == "content_block_start":
            return self._block_start(event)
        if kind == "content_block_stop":
            block = self._blocks.pop(_index(event), None)
            return [] if block is None else self._block_stop(block)
        if kind == "message_start":
            return self._start(event)
        if kind == "message_delta":
            return self._message_delta(event)
        if kind == "message_stop":
            return self._stop()
        if kind == "error" or (kind is None and "error" in event):
            return [self.fail(read_stream_error(event))]
        return []

    def fail(self, error: ApiError) -> ApiError:
        """The stream is broken; usage is what is known by now."""
        self._failed = True
        self._call.usage = self._usage.usage(complete=False)
        return error

    def finish(self) -> list[StreamItem]:
        """The provider closed the stream."""
        if self.ended:
            return []
        return [self.fail(truncated())] if self._stop_reason is None else self._stop()

    def _start(self, event: Json) -> list[StreamItem]:
        message = obj(event.get("message"))
        call = self._call
        if model := text(message.get("model")):
            call.response_model = model
        call.response_id = text(message.get("id")) or call.new_id()
        self._usage.start(message.get("usage"))
        self._own.update(stop_fields(message))
        call.usage = self._usage.usage(complete=False)
        return [] if self._started else self._open()

    def _open(self) -> list[StreamItem]:
        call = self._call
        self._started = True
        self._base = {
            "id": call.response_id or call.new_id(),
            "object": "chat.completion.chunk",
            "created": call.created,
            "model": call.response_model or call.model,
        }
        call.response_id = self._base["id"]
        return [self._chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: Json) -> list[StreamItem]:
        given = event.get("content_block")
        if not isinstance(given, dict):
            return []
        items = [] if self._started else self._open()
        index = _index(event)
        if (unclosed := self._blocks.pop(index, None)) is not None:
            items += self._block_stop(unclosed)
        block = self._blocks[index] = _Block(given, self._text_length)
        kind = block.kind
        if kind == "text":
            if words := text(given.get("text")):
                items.append(self._text(words))
            if isinstance(given.get("citations"), list):
                block.citations += given["citations"]
        elif kind == "thinking":
            if words := text(given.get("thinking")):
                block.parts.append(words)
                items.append(self._reasoning(words))
        elif kind == "tool_use" and given.get("name") != JSON_TOOL:
            block.tool = self._tools
            self._tools += 1
            items.append(
                self._tool_chunk(
                    {
                        "index": block.tool,
                        "id": text(given.get("id")) or f"call_{block.tool}",
                        "type": "function",
                        "function": {"name": text(given.get("name")), "arguments": ""},
                        **tool_extras(given),
                    }
                )
            )
        elif model := serving_model(given):
            self._call.response_model = self._base["model"] = model
        return items

    def _delta(self, event: Json) -> list[StreamItem]:
        delta = event.get("delta")
        if not isinstance(delta, dict):
            return []
        kind = delta.get("type")
        block = self._blocks.get(_index(event))
        if kind == "text_delta" and (block is None or block.kind in _SAID):
            # Also where the number is another block's: nothing that is said may be lost.
            words = text(delta.get("text"))
            if not words:
                return []
            return [self._text(words)] if self._started else [*self._open(), self._text(words)]
        if block is None:
            if kind != "thinking_delta":
                return []
            # Its start is missing.
            block = self._blocks[_index(event)] = _Block({"type": "thinking"}, self._text_length)
        if kind == "input_json_delta":
            return self._input(block, text(delta.get("partial_json")))
        if kind == "citations_delta" and block.kind == "text":
            block.citations.append(delta.get("citation"))
        elif block.kind in _SAID:
            return self._thinking(block, delta)
        else:
            _grow(block, delta)
        return []

    def _thinking(self, block: _Block, delta: Json) -> list[StreamItem]:
        if signature := text(delta.get("signature")):
            block.signature = signature
        words = text(delta.get("thinking"))
        if not words:
            return []
        if block.kind == "thinking":
            block.parts.append(words)
        return [self._reasoning(words)] if self._started else [*self._open(), self._reasoning(words)]

    def _input(self, block: _Block, partial: str) -> list[StreamItem]:
        if not partial:
            return []
        block.has_input = True
        if block.tool is not None:
            count_output(self._call, partial)
            return [self._tool_chunk({"index": block.tool, "function": {"arguments": partial}})]
        if block.kind == "tool_use":
            return [self._text(partial)]  # the JSON answer
        block.parts.append(partial)
        return []

    def _block_stop(self, block: _Block) -> list[StreamItem]:
        kind = block.kind
        if kind == "text":
            return self._citations(block)
        if kind == "thinking":
            whole = {**block.given, "thinking": "".join(block.parts)}
            if block.signature:
                whole["signature"] = block.signature
            return [self._chunk({"thinking_blocks": [whole]})]
        if kind == "redacted_thinking":
            return [self._chunk({"thinking_blocks": [block.given]})]
        if kind == "tool_use":
            if block.has_input:
                return []
            # No delta came: the input stood in the start event, or the tool takes none.
            given = block.given.get("input")
            return self._input(block, dumps_text(given) if isinstance(given, (dict, list)) else "{}")
        whole = dict(block.given)
        if block.has_input:
            whole["input"] = _json_or_text("".join(block.parts))
        return [self._chunk({"provider_specific_fields": {"content_blocks": [whole]}})]

    def _citations(self, block: _Block) -> list[StreamItem]:
        if not block.citations:
            return []
        annotations, others = split_citations(block.citations, block.text_start, self._text_length)
        delta: Json = {}
        if annotations:
            delta["annotations"] = annotations
        if others:
            delta["provider_specific_fields"] = {"citations": others}
        return [self._chunk(delta)] if delta else []

    def _message_delta(self, event: Json) -> list[StreamItem]:
        """Usage, and the end. There may be several, each with what is known by then: the last one holds."""
        self._usage.delta(event.get("usage"))
        call = self._call
        call.usage = self._usage.usage(complete=False)
        delta = obj(event.get("delta"))
        if delta.get("stop_reason") is not None:
            self._own.pop("stop_reason", None)
        self._own.update(stop_fields(event))
        self._own.update(stop_fields(delta))
        if delta.get("stop_reason") is not None:
            self._stop_reason, self._refusal = delta["stop_reason"], refusal(delta)
            call.finish_reasons = [finish_reason(self._stop_reason, self._tools > 0)]
        return []

    def _stop(self) -> list[StreamItem]:
        call = self._call
        items = [] if self._started else self._open()
        self._stopped = True
        for index in sorted(self._blocks):
            items += self._block_stop(self._blocks[index])
        reason = finish_reason(self._stop_reason, self._tools > 0)
        call.finish_reasons = [reason]
        last: Json = {}
        if self._refusal:
            last["refusal"] = self._refusal
        if self._own:
            last["provider_specific_fields"] = self._own
        items.append(self._chunk(last, reason))
        call.usage = self._usage.usage(complete=True)
        if call.usage.source is not UsageSource.NONE:
            chunk: Json = {**self._base, "choices": [], "usage": call.usage.to_openai()}
            if tier := openai_tier(call.usage.service_tier):
                chunk["service_tier"] = tier
            items.append(chunk)
        return items

    def _text(self, words: str) -> Json:
        self._text_length += len(words)
        count_output(self._call, words)
        return self._chunk({"content": words})

    def _reasoning(self, words: str) -> Json:
        count_output(self._call, words)
        return self._chunk({"reasoning_content": words})

    def _tool_chunk(self, tool_call: Json) -> Json:
        return self._chunk({"tool_calls": [tool_call]})

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        return {**self._base, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


class _Block:
    """One content block on its way."""

    __slots__ = ("citations", "given", "has_input", "kind", "parts", "signature", "text_start", "tool")

    def __init__(self, given: Json, text_start: int) -> None:
        self.given = given
        self.kind = text(given.get("type"))
        self.text_start = text_start
        self.parts: list[str] = []
        self.signature = text(given.get("signature"))
        self.citations: list[Any] = []
        self.tool: int | None = None
        """The client's index of this tool call."""
        self.has_input = False


def _index(event: Json) -> int:
    return integer(event.get("index")) or 0


def _grow(block: _Block, delta: Json) -> None:
    """Add a delta to a block that goes on as it is: `compaction`, or one that is not known here."""
    given = dict(block.given)
    for name, value in delta.items():
        if name == "type" or value is None:
            continue
        if name == "citation":
            name, value = "citations", [value]
        known = given.get(name)
        joins = isinstance(known, (str, list)) and type(known) is type(value)
        given[name] = known + value if joins else value
    block.given = given


def _json_or_text(given: str) -> Any:
    try:
        return loads(given)
    except JSONDecodeError:
        return given

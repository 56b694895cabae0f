"""A Converse stream as OpenAI chunks.

Events: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html. A
stream that ends without `messageStop` is truncated; usage follows that event in `metadata`.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONEvents, dumps_text
from ...core.usage import UsageSource
from ...wire.eventstream import BadFrame, EventStreamDecoder, Frame
from ..anthropic.json_mode import JSON_TOOL
from ..base import StreamItem
from ..pivot import Chunks, decoded, integer, obj, text, truncated, utf8_size
from .blocks import annotation, finish_reason, stop_fields
from .errors import read_frame_error
from .messages import redacted_block
from .response import thinking_block
from .usage import read_usage


class ConverseDecoder:
    """One stream of event-stream frames. See `formats.base.StreamDecoder`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._frames = EventStreamDecoder(call.max_frame)
        self._chunks = Chunks(call)
        self._blocks: dict[int, _Block] = {}
        self._tools = 0
        self._length = 0
        self._stopped = False
        self._ending: tuple[str, Json] | None = None
        self._failed = False
        self._events = JSONEvents()

    def feed(self, data: bytes) -> list[StreamItem]:
        if self._failed:
            return []
        failure: ApiError | None = None
        try:
            frames = self._frames.feed(data)
        except BadFrame as error:
            frames, failure = error.frames, ApiError(502, str(error), code="upstream_invalid_stream")
        items: list[StreamItem] = []
        for frame in frames:
            items += self._frame(frame)
            if self._failed:
                return items
        if failure is not None:
            items.append(self._fail(failure))
        return items

    def finish(self) -> list[StreamItem]:
        if self._failed:
            return []
        return self._end({}) if self._stopped else [self._fail(truncated())]

    def _fail(self, error: ApiError) -> ApiError:
        self._failed = True
        if self._call.usage.source is not UsageSource.NONE:
            self._call.usage.source = UsageSource.PARTIAL
        return error

    def _frame(self, frame: Frame) -> list[StreamItem]:
        if frame.kind != "event":
            return [self._fail(read_frame_error(frame))]
        event = self._parsed(frame)
        if not isinstance(event, dict):
            what = "the provider's stream holds an event that is not JSON"
            return [self._fail(ApiError(502, what, code="upstream_invalid_stream"))]
        name = frame.name
        if name == "contentBlockDelta":
            return self._delta(_index(event), obj(event.get("delta")))
        if name == "contentBlockStart":
            return self._start(_index(event), obj(event.get("start")))
        if name == "contentBlockStop":
            block = self._blocks.pop(_index(event), None)
            return [] if block is None else self._stop_block(block)
        if name == "messageStart":
            return [self._chunks.delta(0, {"content": ""})]
        if name == "messageStop":
            return self._stop(event)
        if name == "metadata":
            return self._metadata(event)
        return []

    def _parsed(self, frame: Frame) -> Any:
        try:
            return self._events.loads(frame.payload)
        except ValueError:
            return None

    def _start(self, index: int, start: Json) -> list[StreamItem]:
        block = self._blocks[index] = _Block(self._length)
        if "toolUse" not in start:
            block.other = start or None
            return []
        use = obj(start["toolUse"])
        if use.get("type") == "server_tool_use":
            block.other = start
            return []
        block.is_tool = True
        if use.get("name") == JSON_TOOL:
            return []
        block.tool = self._tools
        self._tools += 1
        call = {
            "index": block.tool,
            "id": text(use.get("toolUseId")) or f"call_{block.tool}",
            "type": "function",
            "function": {"name": text(use.get("name")), "arguments": ""},
        }
        return [self._chunks.delta(0, {"tool_calls": [call]})]

    def _delta(self, index: int, delta: Json) -> list[StreamItem]:
        # Text and reasoning blocks have no start event.
        block = self._blocks.get(index)
        if block is None:
            block = self._blocks[index] = _Block(self._length)
        if "text" in delta:
            return self._text(text(delta["text"]))
        if "toolUse" in delta:
            return self._input(block, obj(delta["toolUse"]).get("input"))
        if "reasoningContent" in delta:
            return self._reasoning(block, obj(delta["reasoningContent"]))
        if "citation" in delta:
            block.citations.append(obj(delta["citation"]))
        elif delta and block.other is not None:
            block.parts.append(delta)
        return []

    def _input(self, block: _Block, given: Any) -> list[StreamItem]:
        partial = given if isinstance(given, str) else dumps_text(given) if given else ""
        if not partial:
            return []
        block.has_input = True
        if not block.is_tool:
            block.parts.append(partial)
            return []
        if block.tool is None:
            return self._text(partial)  # the JSON answer
        self._call.output_bytes += utf8_size(partial)
        call = {"index": block.tool, "function": {"arguments": partial}}
        return [self._chunks.delta(0, {"tool_calls": [call]})]

    def _reasoning(self, block: _Block, delta: Json) -> list[StreamItem]:
        if isinstance(delta.get("redactedContent"), str):
            block.redacted += delta["redactedContent"]
        if words := text(delta.get("signature")):
            block.signature += words
        words = text(delta.get("text"))
        if "text" in delta or block.signature:
            block.thinks = True
        if not words:
            return []
        block.parts.append(words)
        self._call.output_bytes += utf8_size(words)
        return [self._chunks.delta(0, {"reasoning_content": words})]

    def _stop_block(self, block: _Block) -> list[StreamItem]:
        if block.is_tool:
            return [] if block.has_input else self._input(block, "{}")
        delta: Json = {}
        if block.redacted:
            delta["thinking_blocks"] = [redacted_block(block.redacted)]
        elif block.thinks:
            delta["thinking_blocks"] = [thinking_block("".join(block.parts), block.signature)]
        elif block.other is not None:
            delta["provider_specific_fields"] = {"content_blocks": [_whole(block)]}
        if block.citations:
            found = [(annotation(c, block.text_start, self._length), c) for c in block.citations]
            if annotations := [a for a, _ in found if a is not None]:
                delta["annotations"] = annotations
            if others := [citation for a, citation in found if a is None]:
                delta.setdefault("provider_specific_fields", {})["citations"] = others
        return [self._chunks.delta(0, delta)] if delta else []

    def _text(self, words: str) -> list[StreamItem]:
        if not words:
            return []
        self._length += len(words)
        self._call.output_bytes += utf8_size(words)
        return [self._chunks.delta(0, {"content": words})]

    def _stop(self, event: Json) -> list[StreamItem]:
        if self._stopped:
            return []
        self._stopped = True
        reason = finish_reason(event.get("stopReason"), self._tools > 0)
        call = self._call
        call.finish_reasons = [reason]
        if call.response_model is None:
            call.response_model = call.model or None
        self._ending = (reason, event)
        return []

    def _end(self, trace: Json) -> list[StreamItem]:
        """The last chunk with a choice: it waits for `metadata`, where the guardrail says what it did."""
        if self._ending is None:
            return []
        reason, event = self._ending
        self._ending = None
        own = stop_fields(
            event.get("stopReason"), event.get("additionalModelResponseFields"), trace.get("guardrail")
        )
        return [self._chunks.delta(0, {"provider_specific_fields": own} if own else {}, reason)]

    def _metadata(self, event: Json) -> list[StreamItem]:
        trace = obj(event.get("trace"))
        if routed := text(obj(trace.get("promptRouter")).get("invokedModelId")):
            self._call.response_model = routed
        items = self._end(trace)
        usage = read_usage(event.get("usage"), event.get("serviceTier"))
        if usage.source is not UsageSource.NONE:
            self._call.usage = usage
            items.append(self._chunks.usage(usage))
        return items


class _Block:
    """One content block on its way."""

    __slots__ = (
        "citations", "has_input", "is_tool", "other", "parts", "redacted", "signature", "text_start",
        "thinks", "tool",
    )  # fmt: skip

    def __init__(self, text_start: int) -> None:
        self.text_start = text_start
        self.parts: list[Any] = []
        self.signature = ""
        self.redacted = ""
        self.thinks = False
        self.citations: list[Json] = []
        self.is_tool = False
        self.tool: int | None = None
        """The client's index of this tool call; None for the JSON answer."""
        self.has_input = False
        self.other: Json | None = None
        """The start of a block that has no place in OpenAI's form."""


def _whole(block: _Block) -> Json:
    whole = dict(block.other or {})
    if block.has_input and "toolUse" in whole:
        joined = "".join(part for part in block.parts if isinstance(part, str))
        parsed = decoded(joined.encode())
        whole["toolUse"] = {**obj(whole["toolUse"]), "input": joined if parsed is None else parsed}
    elif block.parts:
        whole["deltas"] = block.parts
    return whole


def _index(event: Json) -> int:
    return integer(event.get("contentBlockIndex")) or 0

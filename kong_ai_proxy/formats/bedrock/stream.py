"""A Converse stream as OpenAI chunks.

Events: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html. A
stream that ends without `messageStop` is truncated; usage follows that event in `metadata`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONEvents, dumps_text
from ...core.usage import UsageSource
from ...wire.eventstream import BadFrame, EventStreamDecoder, Frame
from ..base import StreamItem
from ..json_mode import JSON_TOOL
from ..pivot import Chunks, decoded, integer, joined_base64, obj, objects, text, truncated, utf8_size
from .blocks import annotation, finish_reason, image_extension, stop_fields
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
        self._images = 0
        self._ending: Json | None = None
        """`messageStop`, until it is told."""
        self._known: Json = {}
        """What the metadata said."""
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
        if not self._stopped:
            return [self._fail(truncated())]
        return self._end()

    def _fail(self, error: ApiError) -> ApiError:
        self._failed = True
        if self._call.usage.source is not UsageSource.NONE:
            self._call.usage.source = UsageSource.PARTIAL
        return error

    def _frame(self, frame: Frame) -> list[StreamItem]:
        if frame.kind != "event":
            return [self._fail(read_frame_error(frame))]
        take = _EVENTS.get(frame.name)
        if take is None:
            return []
        event = self._parsed(frame)
        if not isinstance(event, dict):
            what = "the provider's stream holds an event that is not JSON"
            return [self._fail(ApiError(502, what, code="upstream_invalid_stream"))]
        return take(self, event)

    def _parsed(self, frame: Frame) -> Any:
        try:
            return self._events.loads(frame.payload)
        except ValueError:
            return None

    def _begin(self, event: Json) -> list[StreamItem]:
        return [self._chunks.delta(0, {"content": ""})]

    def _start(self, event: Json) -> list[StreamItem]:
        index, start = _index(event), obj(event.get("start"))
        unclosed = self._blocks.get(index)
        before = [] if unclosed is None else self._stop_block(unclosed)
        block = self._blocks[index] = _Block(self._length)
        return before + self._start_block(block, start)

    def _start_block(self, block: _Block, start: Json) -> list[StreamItem]:
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

    def _delta(self, event: Json) -> list[StreamItem]:
        index, delta = _index(event), obj(event.get("delta"))
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
        elif delta:
            # An image, a result of a tool that runs at AWS, or what is not known here.
            block.other = {} if block.other is None else block.other
            block.deltas.append(delta)
        return []

    def _stop_one(self, event: Json) -> list[StreamItem]:
        block = self._blocks.pop(_index(event), None)
        return [] if block is None else self._stop_block(block)

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
            block.redacted.append(delta["redactedContent"])
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
            delta["thinking_blocks"] = [redacted_block(joined_base64(block.redacted))]
        elif block.thinks:
            delta["thinking_blocks"] = [thinking_block("".join(block.parts), block.signature)]
        if block.other is not None:
            whole = _whole(block)
            if image := image_extension(whole, self._images):
                self._images += 1
                delta["images"] = [image]
            else:
                delta["provider_specific_fields"] = {"content_blocks": [whole]}
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
        items: list[StreamItem] = []
        for index in sorted(self._blocks):
            items += self._stop_block(self._blocks[index])
        self._blocks.clear()
        call = self._call
        call.finish_reasons = [finish_reason(event.get("stopReason"), self._tools > 0)]
        if call.response_model is None:
            call.response_model = call.model or None
        self._ending = event
        return items + self._end() if self._known else items

    def _end(self) -> list[StreamItem]:
        """The last chunk with a choice, and usage. They wait for `metadata`, where the guardrail says what it
        did."""
        if self._ending is None:
            return []
        own = stop_fields(self._ending, self._known)
        self._ending = None
        last = {"provider_specific_fields": own} if own else {}
        items: list[StreamItem] = [self._chunks.delta(0, last, self._call.finish_reasons[0])]
        if self._call.usage.source is not UsageSource.NONE:
            items.append(self._chunks.usage(self._call.usage))
        return items

    def _metadata(self, event: Json) -> list[StreamItem]:
        self._known = event
        if routed := text(obj(obj(event.get("trace")).get("promptRouter")).get("invokedModelId")):
            self._call.response_model = routed
        usage = read_usage(event.get("usage"), event.get("serviceTier"))
        if usage.source is not UsageSource.NONE:
            self._call.usage = usage
        return self._end() if self._stopped else []


_EVENTS: dict[str, Callable[[ConverseDecoder, Json], list[StreamItem]]] = {
    "contentBlockDelta": ConverseDecoder._delta,
    "contentBlockStart": ConverseDecoder._start,
    "contentBlockStop": ConverseDecoder._stop_one,
    "messageStart": ConverseDecoder._begin,
    "messageStop": ConverseDecoder._stop,
    "metadata": ConverseDecoder._metadata,
}
"""All that are known; the others (a stream may begin with `initial-response`) are ignored."""


class _Block:
    """One content block on its way."""

    __slots__ = (
        "citations", "deltas", "has_input", "is_tool", "other", "parts", "redacted", "signature",
        "text_start", "thinks", "tool",
    )  # fmt: skip

    def __init__(self, text_start: int) -> None:
        self.text_start = text_start
        self.parts: list[str] = []
        self.deltas: list[Json] = []
        """Of a block that has no place in OpenAI's form."""
        self.signature = ""
        self.redacted: list[str] = []
        self.thinks = False
        self.citations: list[Json] = []
        self.is_tool = False
        self.tool: int | None = None
        """The client's index of this tool call; None for the JSON answer."""
        self.has_input = False
        self.other: Json | None = None
        """The start of a block that has no place in OpenAI's form."""


def _whole(block: _Block) -> Json:
    """A block without a place in OpenAI's form, as a whole answer has it."""
    whole = dict(block.other or {})
    if block.has_input and "toolUse" in whole:
        joined = "".join(block.parts)
        parsed = decoded(joined.encode())
        whole["toolUse"] = {**obj(whole["toolUse"]), "input": joined if parsed is None else parsed}
        return whole
    pieces: list[str] = []
    for delta in block.deltas:
        for name, value in delta.items():
            if name == "toolResult":
                whole[name] = {**obj(whole.get(name)), "content": _results(whole, value)}
            elif name == "image" and (data := text(obj(obj(value).get("source")).get("bytes"))):
                pieces.append(data)
            else:
                both = isinstance(value, dict) and isinstance(whole.get(name), dict)
                whole[name] = {**whole[name], **value} if both else value
    if pieces:
        whole["image"] = {**obj(whole.get("image")), "source": {"bytes": joined_base64(pieces)}}
    return whole


def _results(whole: Json, more: Any) -> list[Json]:
    """A tool's result so far with what a delta adds: pieces of text go together."""
    results = objects(obj(whole.get("toolResult")).get("content"))
    for one in objects(more):
        if results and "text" in one and "text" in results[-1]:
            results[-1] = {"text": text(results[-1]["text"]) + text(one["text"])}
        else:
            results.append(one)
    return results


def _index(event: Json) -> int:
    return integer(event.get("contentBlockIndex")) or 0

"""Chat chunks as the events of a Responses stream.

Order and members of the events: https://platform.openai.com/docs/api-reference/responses-streaming and the
recordings openai/responses-stream, openai/responses-tools-stream. Reasoning and text follow each other; tool
calls stay open beside each other until the end, for chat sends their fragments by index.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, dumps
from ...core.usage import Usage, UsageSource
from ...wire.sse import encode
from ..pivot import integer, obj, objects, text
from .answer import (
    annotation,
    call_item,
    custom_names,
    end,
    identity,
    message_item,
    reasoning_item,
    skeleton,
    text_part,
)
from .searches import Searches, search_blocks

_CUT: Final = frozenset({"length", "content_filter"})
"""Finish reasons of answers that are not whole."""


class ResponsesEncoder:
    """See `formats.base.StreamEncoder`."""

    content_type = "text/event-stream"

    def __init__(self, call: Call) -> None:
        self._call = call
        self._customs = custom_names(call)
        self._call_ids: set[str] = set()
        self._out: list[bytes] = []
        self._sequence = 0
        self._response: Json | None = None
        self._items: dict[int, Json] = {}
        """Finished items by output index."""
        self._next = 0
        self._open: _Reasoning | _Message | None = None
        self._tools: dict[int, _Tool] = {}
        self._searches = Searches(call, self._event, self._begin)
        self._said = 0
        """Characters of text so far, over all items."""
        self._finish = ""
        self._usage: Usage | None = None

    def encode(self, chunk: Json) -> bytes:
        response = self._response or self._start(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = Usage.from_openai(chunk["usage"])
        tier = chunk.get("service_tier")
        if isinstance(tier, str):
            response["service_tier"] = tier
        for choice in objects(chunk.get("choices")):
            if choice.get("index"):
                continue  # there is room for one answer
            self._delta(obj(choice.get("delta")), choice)
            if choice.get("finish_reason") is not None:
                self._finish = text(choice["finish_reason"])
        return self._taken()

    def finish(self) -> bytes:
        response = self._response or self._start({})
        self._close()
        self._searches.close()
        self._close_tools()
        usage = self._call.usage
        if usage.source is UsageSource.NONE:
            usage = self._usage or usage
        end(response, self._output(), self._finish, usage)
        self._event(f"response.{response['status']}", response=response)
        return self._taken()

    def error(self, error: ApiError) -> bytes:
        response = self._response or self._start({})
        self._event("error", code=error.code, message=error.message, param=error.param)
        response["status"] = "failed"
        # The two codes of https://platform.openai.com/docs/api-reference/responses/object that fit.
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        response["error"] = {"code": code, "message": error.message}
        response["output"] = self._output()
        self._event("response.failed", response=response)
        return self._taken()

    # ---- events

    def _event(self, kind: str, **members: Any) -> None:
        event = {"type": kind, **members, "sequence_number": self._sequence}
        self._sequence += 1
        self._out.append(encode(dumps(event), kind))

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _start(self, chunk: Json) -> Json:
        call = self._call
        response = self._response = skeleton(
            call,
            identity(text(chunk.get("id")), call),
            text(chunk.get("model")) or call.model,
            integer(chunk.get("created")) or call.created,
        )
        self._event("response.created", response=response)
        self._event("response.in_progress", response=response)
        return response

    def _output(self) -> list[Json]:
        finished = {**self._items, **self._searches.done}
        return [finished[index] for index in sorted(finished)]

    # ---- what a chunk says

    def _delta(self, delta: Json, choice: Json) -> None:
        if said := text(delta.get("reasoning_content")):
            self._reasoning().say(said)
        for block in objects(delta.get("thinking_blocks")):
            self._reasoning().keep(block)
        if "provider_specific_fields" in delta:
            for block in search_blocks(delta):
                self._close()
                self._searches.take(block)
        if said := text(delta.get("content")):
            self._message("output_text").say(said, objects(obj(choice.get("logprobs")).get("content")))
            self._said += len(said)
        if said := text(delta.get("refusal")):
            self._message("refusal").say(said, [])
        for note in objects(delta.get("annotations")):
            message = self._message("output_text")
            message.annotate(annotation(note, message.before))
        if delta.get("extra_content") is not None and isinstance(self._open, _Message):
            self._open.extra = delta["extra_content"]
        for fragment in objects(delta.get("tool_calls")):
            self._fragment(fragment)

    def _reasoning(self) -> _Reasoning:
        if not isinstance(self._open, _Reasoning):
            self._close()
            self._open = _Reasoning(self, self._begin(), self._call.new_id("rs_"))
        return self._open

    def _message(self, kind: str) -> _Message:
        if not isinstance(self._open, _Message):
            self._close()
            self._open = _Message(self, self._begin(), self._call.new_id("msg_"), self._said)
        self._open.part(kind)
        return self._open

    def _fragment(self, fragment: Json) -> None:
        index = integer(fragment.get("index"))
        if index is None:
            index = max(self._tools, default=-1) + (1 if fragment.get("id") else 0)
        tool = self._tools.get(max(index, 0))
        if tool is None:
            self._close()
            tool = self._tools[max(index, 0)] = _Tool(self)
        tool.take(fragment)

    def _begin(self) -> int:
        index = self._next
        self._next += 1
        return index

    def _close(self) -> None:
        if self._open is not None:
            self._items[self._open.index] = self._open.close(self._finish)
            self._open = None

    def _close_tools(self) -> None:
        for _, tool in sorted(self._tools.items()):
            cut = self._finish in _CUT and tool.index == self._next - 1
            item = tool.close("incomplete" if cut else "completed")
            self._items[tool.index] = item


class _Reasoning:
    """A reasoning item on its way: its text is its summary."""

    def __init__(self, encoder: ResponsesEncoder, index: int, id: str) -> None:
        self.index = index
        self._id = id
        self._encoder = encoder
        self._said: list[str] = []
        self._kept: list[Json] = []
        encoder._event("response.output_item.added", output_index=index, item=reasoning_item(id, "", []))

    def say(self, said: str) -> None:
        if not self._said:
            part = {"type": "summary_text", "text": ""}
            self._summary("part.added", part=part)
        self._said.append(said)
        self._summary("text.delta", delta=said)

    def keep(self, block: Json) -> None:
        """What must come back as it is."""
        self._kept.append(block)

    def close(self, finish: str) -> Json:
        said = "".join(self._said)
        if said:
            self._summary("text.done", text=said)
            self._summary("part.done", part={"type": "summary_text", "text": said})
        item = reasoning_item(self._id, said, self._kept)
        self._encoder._event("response.output_item.done", output_index=self.index, item=item)
        return item

    def _summary(self, kind: str, **members: Any) -> None:
        self._encoder._event(
            f"response.reasoning_summary_{kind}",
            item_id=self._id,
            output_index=self.index,
            summary_index=0,
            **members,
        )


class _Message:
    """A message on its way, with one part of text, of refusal, or both."""

    def __init__(self, encoder: ResponsesEncoder, index: int, id: str, before: int) -> None:
        self.index = index
        self.before = before
        """Characters of text that earlier messages have."""
        self.extra: Any = None
        self._id = id
        self._encoder = encoder
        self._parts: list[Json] = []
        self._kind = ""
        self._said: list[str] = []
        self._notes: list[Json] = []
        self._logprobs: list[Json] = []
        item = message_item(id, [], status="in_progress")
        encoder._event("response.output_item.added", output_index=index, item=item)

    def part(self, kind: str) -> None:
        """See that a part of this kind is open."""
        if kind == self._kind:
            return
        self._close_part()
        self._kind = kind
        empty = text_part("", [], []) if kind == "output_text" else {"type": "refusal", "refusal": ""}
        self._event("content_part.added", part=empty)

    def say(self, said: str, logprobs: list[Json]) -> None:
        self._said.append(said)
        if self._kind == "output_text":
            self._logprobs += logprobs
            self._event("output_text.delta", delta=said, logprobs=logprobs)
        else:
            self._event("refusal.delta", delta=said)

    def annotate(self, note: Json) -> None:
        self._event("output_text.annotation.added", annotation_index=len(self._notes), annotation=note)
        self._notes.append(note)

    def close(self, finish: str) -> Json:
        self._close_part()
        status = "incomplete" if finish in _CUT else "completed"
        item = message_item(self._id, self._parts, status=status, extra=self.extra)
        self._encoder._event("response.output_item.done", output_index=self.index, item=item)
        return item

    def _close_part(self) -> None:
        if not self._kind:
            return
        said = "".join(self._said)
        part: Json
        if self._kind == "output_text":
            part = text_part(said, self._notes, self._logprobs)
            self._event("output_text.done", text=said, logprobs=self._logprobs)
        else:
            part = {"type": "refusal", "refusal": said}
            self._event("refusal.done", refusal=said)
        self._event("content_part.done", part=part)
        self._parts.append(part)
        self._kind, self._said, self._notes, self._logprobs = "", [], [], []

    def _event(self, kind: str, **members: Any) -> None:
        self._encoder._event(
            f"response.{kind}",
            item_id=self._id,
            output_index=self.index,
            content_index=len(self._parts),
            **members,
        )


class _Tool:
    """One tool call on its way. Nothing of it is told before its name is known: when its arguments begin."""

    def __init__(self, encoder: ResponsesEncoder) -> None:
        self.index = encoder._begin()
        self._encoder = encoder
        self._call_id = ""
        self._name = ""
        self._extra: Any = None
        self._arguments: list[str] = []
        self._told = 0
        self._item: Json | None = None

    def take(self, fragment: Json) -> None:
        function = obj(fragment.get("function"))
        self._call_id = self._call_id or text(fragment.get("id"))
        self._name += text(function.get("name"))
        if fragment.get("extra_content") is not None:
            self._extra = fragment["extra_content"]
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            self._arguments.append(arguments)
        if self._name and self._arguments:
            self._tell()

    def close(self, status: str) -> Json:
        self._tell()
        item = self._made("".join(self._arguments), set())
        item["id"] = self._begun["id"]
        item["call_id"] = self._begun["call_id"]
        item["status"] = status
        if "input" in item:
            self._event("custom_tool_call_input.delta", delta=item["input"])
            self._event("custom_tool_call_input.done", input=item["input"])
        else:
            if not self._arguments:
                self._event("function_call_arguments.delta", delta=item["arguments"])
            self._event("function_call_arguments.done", arguments=item["arguments"], name=item["name"])
        self._encoder._event("response.output_item.done", output_index=self.index, item=item)
        return item

    @property
    def _begun(self) -> Json:
        if self._item is None:
            item = self._made("", self._encoder._call_ids)
            item["status"] = "in_progress"
            item["input" if "input" in item else "arguments"] = ""
            self._item = item
            self._encoder._event("response.output_item.added", output_index=self.index, item=item)
        return self._item

    def _tell(self) -> None:
        """The arguments that have come since; a custom tool's text is known only when they are whole."""
        custom = "input" in self._begun
        for piece in self._arguments[self._told :]:
            if not custom:
                self._event("function_call_arguments.delta", delta=piece)
        self._told = len(self._arguments)

    def _made(self, arguments: str, taken: set[str]) -> Json:
        one = {"id": self._call_id, "function": {"name": self._name, "arguments": arguments}}
        if self._extra is not None:
            one["extra_content"] = self._extra
        return call_item(one, self._encoder._call, self._encoder._customs, taken)

    def _event(self, kind: str, **members: Any) -> None:
        self._encoder._event(
            f"response.{kind}", item_id=self._begun["id"], output_index=self.index, **members
        )

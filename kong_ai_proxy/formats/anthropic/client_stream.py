"""OpenAI chunks as a Messages stream.

Order of events: https://platform.claude.com/docs/en/build-with-claude/streaming. Blocks come one after the
other: fragments of a second tool call that arrive before the first is whole wait for it.
"""

from __future__ import annotations

from typing import Any

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONDecodeError, dumps, loads
from ...core.usage import Usage, UsageSource
from ...wire.sse import encode
from ..pivot import integer, obj, objects, text
from .client_words import stop_reason, stop_sequence
from .errors import write_error
from .usage import write_usage


class MessagesEncoder:
    """See `formats.base.StreamEncoder`."""

    content_type = "text/event-stream"

    def __init__(self, call: Call) -> None:
        self._call = call
        self._out: list[bytes] = []
        self._started = False
        self._index = -1
        self._open = ""
        """What block is open: "text", "thinking", "tool" or none."""
        self._tools: dict[int, _Tool] = {}
        self._tool: _Tool | None = None
        self._finish: Any = None
        self._own: Json = {}
        self._usage: Usage | None = None

    def encode(self, chunk: Json) -> bytes:
        if not self._started:
            self._start(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = Usage.from_openai(chunk["usage"])
        for choice in objects(chunk.get("choices"))[:1]:
            self._delta(obj(choice.get("delta")))
            if choice.get("finish_reason") is not None:
                self._finish = choice["finish_reason"]
        return self._taken()

    def finish(self) -> bytes:
        if not self._started:
            self._start({})
        self._end_tools()
        self._close()
        usage = self._call.usage
        if usage.source is UsageSource.NONE:
            usage = self._usage or usage
        delta = {
            "stop_reason": stop_reason(self._finish, self._own, bool(self._tools)),
            "stop_sequence": stop_sequence(self._own),
        }
        self._event({"type": "message_delta", "delta": delta, "usage": write_usage(usage)})
        self._event({"type": "message_stop"})
        return self._taken()

    def error(self, error: ApiError) -> bytes:
        return encode(dumps(write_error(error)), "error")

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    def _event(self, event: Json) -> None:
        self._out.append(encode(dumps(event), event["type"]))

    def _start(self, chunk: Json) -> None:
        self._started = True
        identity = text(chunk.get("id"))
        if not identity.startswith("msg_"):
            identity = f"msg_{identity}" if identity else self._call.new_id("msg_")
        known = self._call.usage
        usage = write_usage(known if known.source is not UsageSource.NONE else Usage())
        self._event(
            {
                "type": "message_start",
                "message": {
                    "id": identity,
                    "type": "message",
                    "role": "assistant",
                    "model": text(chunk.get("model")) or self._call.model,
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": {**usage, "output_tokens": 0},
                },
            }
        )
        self._event({"type": "ping"})

    def _delta(self, delta: Json) -> None:
        if words := text(delta.get("reasoning_content")):
            self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._block_delta({"type": "thinking_delta", "thinking": words})
        for block in objects(delta.get("thinking_blocks")):
            self._thinking(block)
        own = obj(delta.get("provider_specific_fields"))
        for block in objects(own.get("content_blocks")):
            self._whole(block)
        self._own.update({name: value for name, value in own.items() if name != "content_blocks"})
        if words := text(delta.get("content")) or text(delta.get("refusal")):
            self._switch("text", {"type": "text", "text": ""})
            self._block_delta({"type": "text_delta", "text": words})
        for fragment in objects(delta.get("tool_calls")):
            self._fragment(fragment)

    def _thinking(self, block: Json) -> None:
        """A thinking block that is now complete: its text was streamed, its signature was not."""
        if block.get("type") != "thinking":
            self._whole(block)
            return
        if self._open != "thinking":
            self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            if words := text(block.get("thinking")):
                self._block_delta({"type": "thinking_delta", "thinking": words})
        if signature := text(block.get("signature")):
            self._block_delta({"type": "signature_delta", "signature": signature})
        self._close()

    def _whole(self, block: Json) -> None:
        """A block that comes in one piece."""
        self._end_tools()
        self._close()
        self._index += 1
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})
        self._event({"type": "content_block_stop", "index": self._index})

    def _fragment(self, fragment: Json) -> None:
        index = integer(fragment.get("index"))
        if index is None:
            index = max(self._tools, default=-1) + (1 if fragment.get("id") else 0)
        tool = self._tools.setdefault(max(index, 0), _Tool())
        function = obj(fragment.get("function"))
        tool.id = tool.id or text(fragment.get("id"))
        tool.name = tool.name or text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            tool.waiting.append(arguments)
        elif isinstance(arguments, dict):
            tool.waiting.append(dumps(arguments).decode())
        self._send_tools(ended=False)

    def _send_tools(self, *, ended: bool) -> None:
        """Stream the first unfinished tool call; move on to the next once its arguments are whole JSON."""
        for _, tool in sorted(self._tools.items()):
            if tool.closed:
                continue
            if self._tool is not tool:
                if self._tool is not None and not (ended or self._tool.whole()):
                    return
                if not (tool.name or ended):
                    return
                self._open_tool(tool)
            words = "".join(tool.waiting)
            tool.waiting.clear()
            if words:
                tool.sent.append(words)
                self._block_delta({"type": "input_json_delta", "partial_json": words})
            if ended:
                self._close()

    def _open_tool(self, tool: _Tool) -> None:
        self._close()
        self._index += 1
        self._open = "tool"
        self._tool = tool
        block = {
            "type": "tool_use",
            "id": tool.id or self._call.new_id("toolu_"),
            "name": tool.name,
            "input": {},
        }
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _end_tools(self) -> None:
        if self._tools:
            self._send_tools(ended=True)

    def _switch(self, kind: str, block: Json) -> None:
        if self._open == kind:
            return
        self._end_tools()
        self._close()
        self._open = kind
        self._index += 1
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _block_delta(self, delta: Json) -> None:
        self._event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> None:
        if not self._open:
            return
        if self._tool is not None:
            self._tool.closed = True
            self._tool = None
        self._open = ""
        self._event({"type": "content_block_stop", "index": self._index})


class _Tool:
    """One tool call on its way."""

    __slots__ = ("closed", "id", "name", "sent", "waiting")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.waiting: list[str] = []
        self.sent: list[str] = []
        self.closed = False

    def whole(self) -> bool:
        """Its arguments are complete JSON. One without any may still get some."""
        try:
            loads("".join(self.sent))
        except JSONDecodeError:
            return False
        return True

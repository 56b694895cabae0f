"""What Anthropic's and Bedrock's formats have in common: answers made of blocks, one after the other.

From them: `Message` gathers the blocks of a whole answer. Towards them: `BlockEncoder` writes one block after
the other, and brings the fragments of tool calls, which OpenAI's streams may mix, into turns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..core.call import Call
from ..core.json import Json, JSONDecodeError, dumps, loads
from .citations import Citations
from .pivot import integer, obj, objects, text


class Message:
    """The assistant's message in OpenAI's form. Subclasses read a format's blocks."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.length = 0
        self.reasoning: list[str] = []
        self.thinking: list[Json] = []
        self.tool_calls: list[Json] = []
        self.annotations: list[Json] = []
        self.citations: list[Json] = []
        """Those that have no place among OpenAI's annotations."""
        self.others: list[Json] = []
        """Blocks that OpenAI's form has no place for."""

    def say(self, words: str) -> None:
        self.texts.append(words)
        self.length += len(words)

    def counted(self) -> str:
        """All that the model wrote."""
        arguments = [call["function"]["arguments"] for call in self.tool_calls]
        return "".join([*self.texts, *self.reasoning, *arguments])

    def openai(self, own: Json, refusal: str | None = None) -> Json:
        """The message; `own`: what else the provider said, for `provider_specific_fields`."""
        message: Json = {
            "role": "assistant",
            "content": "".join(self.texts) if self.texts or not self.tool_calls else None,
            "refusal": refusal,
        }
        own = dict(own)
        if self.citations:
            own["citations"] = self.citations
        if self.others:
            own["content_blocks"] = self.others
        extensions = {
            "reasoning_content": "".join(self.reasoning),
            "thinking_blocks": self.thinking,
            "tool_calls": self.tool_calls,
            "annotations": self.annotations,
            "provider_specific_fields": own,
        }
        message.update({name: value for name, value in extensions.items() if value})
        return message


def thoughts(blocks: list[Json]) -> str:
    """The words of thinking blocks. Where a delta has both, it is an answer that came whole, and they are the
    same as its `reasoning_content`."""
    return "".join(text(block.get("thinking")) for block in blocks)


class BlockEncoder(ABC):
    """Streams blocks one after the other: fragments of a second tool call that arrive before the first is
    whole wait for it. A call begins with its arguments: then its name, which may come in pieces, is whole.
    See `formats.base.StreamEncoder`."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._out: list[bytes] = []
        self._started = False
        self._index = -1
        """Of the block that was begun last."""
        self._open = ""
        """What block is open: "text", "tool", …, or none."""
        self._tools: dict[int, ToolCall] = {}
        self._unclosed: dict[int, ToolCall] = {}
        """Those of `_tools` whose blocks are not closed: one or two, of what may be thousands."""
        self._tool: ToolCall | None = None
        """The call whose block is open."""
        self._finish: Any = None
        """OpenAI's finish reason."""
        self._own: Json = {}
        """What a provider said that OpenAI's form has no place for."""
        self._usage: Json | None = None
        """OpenAI's, where the stream tells one."""
        self._citations = Citations()

    def encode(self, chunk: Json) -> bytes:
        if not self._started:
            self._started = True
            self._start(chunk)
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        if "citations" in chunk or "search_results" in chunk:
            self._citations.beside(chunk)
        for choice in objects(chunk.get("choices")):
            if choice.get("index"):
                continue  # there is room for one answer
            delta = obj(choice.get("delta"))
            if "annotations" in delta:
                self._citations.said(delta)
            self._delta(delta)
            if choice.get("finish_reason") is not None:
                self._finish = choice["finish_reason"]
        return self._taken()

    def finish(self) -> bytes:
        if not self._started:
            self._started = True
            self._start({})
        self._send_tools(ended=True)
        self._close()
        self._end()
        return self._taken()

    def _taken(self) -> bytes:
        out = b"".join(self._out)
        self._out.clear()
        return out

    @abstractmethod
    def _start(self, chunk: Json) -> None:
        """What comes before all blocks; `chunk` is the first one, {} where none came."""

    @abstractmethod
    def _delta(self, delta: Json) -> None:
        """A chunk's delta."""

    @abstractmethod
    def _end(self) -> None:
        """What comes after all blocks."""

    @abstractmethod
    def _begin(self, tool: ToolCall) -> None:
        """Open the block of this call, having closed any other."""

    @abstractmethod
    def _arguments(self, words: str) -> None:
        """A piece of the open call's arguments."""

    @abstractmethod
    def _close(self) -> None:
        """Close the block that is open, if one is; a call's with `_tool_closed`."""

    def _fragment(self, fragment: Json) -> None:
        index = integer(fragment.get("index"))
        if index is None:
            index = max(self._tools, default=-1) + (1 if fragment.get("id") else 0)
        index = max(index, 0)
        tool = self._tools.get(index)
        if tool is None:
            tool = self._tools[index] = self._unclosed[index] = ToolCall()
        function = obj(fragment.get("function"))
        tool.id = tool.id or text(fragment.get("id"))
        tool.name += text(function.get("name"))
        if "extra_content" in fragment:
            tool.extra.update(obj(fragment["extra_content"]))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            tool.waiting.append(arguments)
        self._send_tools(ended=False)

    def _send_tools(self, *, ended: bool) -> None:
        """Stream the first unfinished call; go on to the next once its arguments are whole JSON. `ended`: no
        fragment will follow."""
        for index, tool in sorted(self._unclosed.items()):
            if tool.closed:
                del self._unclosed[index]
                continue
            if self._tool is not tool:
                waits = self._tool is not None and not self._tool.whole()
                if not ended and (waits or not tool.name or not tool.waiting):
                    return
                self._begin(tool)
                self._tool = tool
            if tool.waiting:
                words = "".join(tool.waiting)
                tool.waiting.clear()
                tool.sent.append(words)
                self._arguments(words)
            if ended:
                self._close()

    def _tool_closed(self) -> None:
        if self._tool is not None:
            self._tool.closed = True
            self._tool = None


class ToolCall:
    """One tool call on its way."""

    __slots__ = ("closed", "extra", "id", "name", "sent", "waiting")

    def __init__(self) -> None:
        self.id = ""
        self.name = ""
        self.extra: Json = {}
        """Its `extra_content`."""
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

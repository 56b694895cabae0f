"""What Anthropic's and Bedrock's formats have in common: answers made of blocks, one after the other.

From them: `Message` gathers the blocks of a whole answer. Towards them: `ToolTurns` brings the fragments of
tool calls, which OpenAI's streams may mix, into turns.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..core.json import Json, JSONDecodeError, dumps, loads
from .pivot import integer, obj, text


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


class ToolTurns(ABC):
    """Streams tool calls one after the other: fragments of a second call that arrive before the first is
    whole wait for it."""

    def __init__(self) -> None:
        self._tools: dict[int, ToolCall] = {}
        self._tool: ToolCall | None = None
        """The call whose block is open."""

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
        tool = self._tools.setdefault(max(index, 0), ToolCall())
        function = obj(fragment.get("function"))
        tool.id = tool.id or text(fragment.get("id"))
        tool.name = tool.name or text(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):
            arguments = dumps(arguments).decode()
        if isinstance(arguments, str) and arguments:
            tool.waiting.append(arguments)
        self._send_tools(ended=False)

    def _send_tools(self, *, ended: bool) -> None:
        """Stream the first unfinished call; go on to the next once its arguments are whole JSON. `ended`: no
        fragment will follow."""
        for _, tool in sorted(self._tools.items()):
            if tool.closed:
                continue
            if self._tool is not tool:
                waits = self._tool is not None and not self._tool.whole()
                if not ended and (waits or not tool.name):
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

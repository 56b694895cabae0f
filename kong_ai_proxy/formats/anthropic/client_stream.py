"""OpenAI chunks as a Messages stream.

Order of events: https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, dumps
from ...core.usage import Usage, UsageSource
from ...wire.sse import encode
from .. import thought_signatures
from ..citations import Cited
from ..pivot import obj, objects, text
from ..said import BlockEncoder, ToolCall, thoughts
from .client_words import own_blocks, page_citation, stop_reason, stop_sequence
from .errors import write_error
from .usage import write_usage


class MessagesEncoder(BlockEncoder):
    """See `formats.base.StreamEncoder`."""

    content_type = "text/event-stream"

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._cited: set[Cited] = set()
        """Those that were told."""

    def _end(self) -> None:
        usage = self._call.usage
        if usage.source is UsageSource.NONE:
            usage = Usage.from_openai(self._usage) if self._usage else usage
        delta = {
            "stop_reason": stop_reason(self._finish, self._own, bool(self._tools)),
            "stop_sequence": stop_sequence(self._own),
        }
        self._event({"type": "message_delta", "delta": delta, "usage": write_usage(usage)})
        self._event({"type": "message_stop"})

    def error(self, error: ApiError) -> bytes:
        return encode(dumps(write_error(error)), "error")

    def _event(self, event: Json) -> None:
        self._out.append(encode(dumps(event), event["type"]))

    def _start(self, chunk: Json) -> None:
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
        thinking = objects(delta.get("thinking_blocks"))
        words = text(delta.get("reasoning_content"))
        if words and (self._open == "thinking" or words != thoughts(thinking)):
            self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            self._block_delta({"type": "thinking_delta", "thinking": words})
        for block in thinking:
            self._thinking(block)
        own = obj(delta.get("provider_specific_fields"))
        for block in own_blocks(own):
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
        self._send_tools(ended=True)
        self._close()
        self._index += 1
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})
        self._event({"type": "content_block_stop", "index": self._index})

    def _begin(self, tool: ToolCall) -> None:
        if signature := thought_signatures.marked(tool.extra):
            self._sign(signature)
        self._close()
        self._index += 1
        self._open = "tool"
        block = {
            "type": "tool_use",
            "id": tool.id or self._call.new_id("toolu_"),
            "name": tool.name,
            "input": {},
            **obj(tool.extra.get("anthropic")),
        }
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _sign(self, signature: str) -> None:
        """As `thought_signatures.sign` does."""
        if self._open != "thinking":
            self._close()
            self._open = "thinking"
            self._index += 1
            block = {"type": "thinking", "thinking": "", "signature": ""}
            self._event({"type": "content_block_start", "index": self._index, "content_block": block})
        self._block_delta({"type": "signature_delta", "signature": signature})

    def _arguments(self, words: str) -> None:
        self._block_delta({"type": "input_json_delta", "partial_json": words})

    def _switch(self, kind: str, block: Json) -> None:
        if self._open == kind:
            return
        self._send_tools(ended=True)
        self._close()
        self._open = kind
        self._index += 1
        self._event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _block_delta(self, delta: Json) -> None:
        self._event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> None:
        if not self._open:
            return
        self._tool_closed()
        if self._open == "text":
            self._cite()
        self._open = ""
        self._event({"type": "content_block_stop", "index": self._index})

    def _cite(self) -> None:
        """What is cited belongs to a text. It is told when that ends: the last chunk may name it."""
        for cited in self._citations.all():
            if cited not in self._cited:
                self._cited.add(cited)
                self._block_delta({"type": "citations_delta", "citation": page_citation(cited)})

"""OpenAI chunks as a ConverseStream: AWS frames with their checksums.

Order of events: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html.
"""

from __future__ import annotations

from typing import Final

from ...core.errors import ApiError
from ...core.json import Json, dumps
from ...wire.eventstream import encode_frame
from ..pivot import obj, objects, text
from ..said import BlockEncoder, ToolCall, thoughts
from ..thought_signatures import marked
from .client_answer import (
    exception_name,
    image_block,
    metrics,
    page_citation,
    redacted,
    stop_reason,
    usage_of,
)

_IN_STREAMS: Final = frozenset(
    {
        "internalServerException", "modelStreamErrorException", "serviceUnavailableException",
        "throttlingException", "validationException",
    }
)  # fmt: skip
"""What a ConverseStream can end with; everything else is a modelStreamErrorException."""


class ConverseEncoder(BlockEncoder):
    """See `formats.base.StreamEncoder`."""

    content_type = "application/vnd.amazon.eventstream"

    def _end(self) -> None:
        if cited := self._citations.all():
            self._switch("citations")
            for one in cited:
                self._block_delta({"citation": page_citation(one)})
            self._close()
        stop: Json = {"stopReason": stop_reason(self._finish, self._own)}
        if self._own.get("additionalModelResponseFields"):
            stop["additionalModelResponseFields"] = self._own["additionalModelResponseFields"]
        self._event("messageStop", stop)
        usage = usage_of(self._call, self._usage)
        self._event("metadata", {"usage": usage, "metrics": metrics(self._call)})

    def error(self, error: ApiError) -> bytes:
        return exception_frame(error)

    def _event(self, name: str, event: Json) -> None:
        headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
        self._out.append(encode_frame(headers, dumps(event)))

    def _start(self, chunk: Json) -> None:
        self._event("messageStart", {"role": "assistant"})

    def _delta(self, delta: Json) -> None:
        thinking = objects(delta.get("thinking_blocks"))
        words = text(delta.get("reasoning_content"))
        if words and (self._open == "reasoning" or words != thoughts(thinking)):
            self._switch("reasoning")
            self._block_delta({"reasoningContent": {"text": words}})
        for block in thinking:
            self._thinking(block)
        self._own.update(obj(delta.get("provider_specific_fields")))
        if words := text(delta.get("content")) or text(delta.get("refusal")):
            self._switch("text")
            self._block_delta({"text": words})
        for image in objects(delta.get("images")):
            self._image(image)
        for fragment in objects(delta.get("tool_calls")):
            self._fragment(fragment)

    def _image(self, image: Json) -> None:
        block = image_block(image)
        if block is None:
            return
        self._switch("")
        self._index += 1
        start = {"image": {"format": block["image"]["format"]}}
        self._event("contentBlockStart", {"contentBlockIndex": self._index, "start": start})
        self._block_delta({"image": {"source": block["image"]["source"]}})
        self._event("contentBlockStop", {"contentBlockIndex": self._index})

    def _thinking(self, block: Json) -> None:
        """A thinking block that is now complete: its text was streamed, its signature was not."""
        signature = text(block.get("signature"))
        if block.get("type") == "redacted_thinking":
            self._close()
            self._switch("reasoning")
            self._block_delta({"reasoningContent": {"redactedContent": redacted(block)}})
        elif self._open != "reasoning":
            words = text(block.get("thinking"))
            if not (words or signature):
                return
            self._switch("reasoning")
            if words:
                self._block_delta({"reasoningContent": {"text": words}})
        if signature:
            self._block_delta({"reasoningContent": {"signature": signature}})
        self._close()

    def _switch(self, kind: str) -> None:
        """Text and reasoning blocks have no start event: their first delta begins them."""
        if self._open != kind:
            self._send_tools(ended=True)
            self._close()
            self._index += 1 if kind else 0
            self._open = kind

    def _block_delta(self, delta: Json) -> None:
        self._event("contentBlockDelta", {"contentBlockIndex": self._index, "delta": delta})

    def _close(self) -> None:
        if self._open:
            self._tool_closed()
            self._open = ""
            self._event("contentBlockStop", {"contentBlockIndex": self._index})

    # ---- tool calls

    def _begin(self, tool: ToolCall) -> None:
        if signature := marked(tool.extra):
            if self._open != "reasoning":
                self._close()
                self._index += 1
                self._open = "reasoning"
                self._block_delta({"reasoningContent": {"text": ""}})
            self._block_delta({"reasoningContent": {"signature": signature}})
        self._close()
        self._index += 1
        self._open = "tool"
        use = {"toolUseId": tool.id or self._call.new_id("tooluse_"), "name": tool.name}
        self._event("contentBlockStart", {"contentBlockIndex": self._index, "start": {"toolUse": use}})

    def _arguments(self, words: str) -> None:
        self._block_delta({"toolUse": {"input": words}})


def exception_frame(error: ApiError) -> bytes:
    """The frame that ends a stream with an error."""
    name = exception_name(error)
    name = name[0].lower() + name[1:]
    if name not in _IN_STREAMS:
        name = "modelStreamErrorException"
    body: Json = {"message": error.message}
    if name == "modelStreamErrorException":
        body["originalStatusCode"] = error.status
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return encode_frame(headers, dumps(body))

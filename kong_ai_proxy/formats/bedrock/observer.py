"""Bedrock's answers for clients that speak Bedrock themselves: read on the way, never changed.

Sources: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html,
…/API_runtime_InvokeModel.html (its token counts stand in `x-amzn-bedrock-…-token-count` headers; recordings
bedrock/invoke, bedrock/embeddings-invoke) and
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (bodies by model family).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from ...core.call import Call
from ...core.json import Json, dumps
from ...core.usage import Usage, UsageSource
from ...wire.eventstream import Frame
from ..anthropic.observer import MessagesReader, note_message
from ..base import StreamObserver
from ..passing import PassingObserver, Reader
from ..pivot import count, decoded, obj, objects, text, utf8_size
from ..thought_signatures import MARK, google_signature
from .blocks import finish_reason
from .errors import read_frame_error
from .usage import read_usage

_INPUT: Final = "x-amzn-bedrock-input-token-count"
_OUTPUT: Final = "x-amzn-bedrock-output-token-count"
_METRICS: Final = "amazon-bedrock-invocationMetrics"

_COUNTS: Final = (
    ("inputTokens", "outputTokens"),
    ("input_tokens", "output_tokens"),
    ("prompt_tokens", "completion_tokens"),
    ("prompt_token_count", "generation_token_count"),
    ("inputTextTokenCount", "totalOutputTextTokenCount"),
    ("inputTokenCount", "outputTokenCount"),
)
"""How the families call their counts: Nova; Anthropic; OpenAI-shaped (gpt-oss, Mistral, Qwen); Llama; Titan;
the invocation metrics of all."""


class BedrockReader(Reader):
    """What all of Bedrock's streams have: exceptions, and a frame that says so."""

    def frame(self, frame: Frame) -> None:
        if frame.kind != "event":
            self.failed = read_frame_error(frame)
            return
        self.named(frame.name, obj(decoded(frame.payload)))

    def named(self, name: str, event: Json) -> None:
        """An event by its name."""


class ConverseReader(BedrockReader):
    """Converse and ConverseStream."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._stopped = False
        self._has_tools = False

    @property
    def complete(self) -> bool:
        return self._stopped

    def whole(self, body: Any) -> None:
        body = obj(body)
        blocks = objects(obj(obj(body.get("output")).get("message")).get("content"))
        for block in blocks:
            self._delta(block)
            self._has_tools = self._has_tools or "toolUse" in block
        self._end(body)
        self._metadata(body)

    def named(self, name: str, event: Json) -> None:
        if name == "contentBlockDelta":
            self._delta(obj(event.get("delta")))
        elif name == "contentBlockStart":
            self._has_tools = self._has_tools or "toolUse" in obj(event.get("start"))
        elif name == "messageStop":
            self._stopped = True
            self._end(event)
        elif name == "metadata":
            self._metadata(event)

    def _delta(self, delta: Json) -> None:
        reasoning = obj(delta.get("reasoningContent"))
        given = obj(delta.get("toolUse")).get("input")
        self.call.output_bytes += sum(
            utf8_size(text(words))
            for words in (
                delta.get("text"),
                reasoning.get("text"),
                obj(reasoning.get("reasoningText")).get("text"),
                given if isinstance(given, str) else "",
            )
        )

    def _end(self, event: Json) -> None:
        call = self.call
        if "stopReason" in event:
            call.finish_reasons = [finish_reason(event.get("stopReason"), self._has_tools)]
        call.response_model = call.response_model or call.model or None

    def _metadata(self, event: Json) -> None:
        usage = read_usage(event.get("usage"), event.get("serviceTier"))
        if usage.source is not UsageSource.NONE:
            self.call.usage = usage


class InvokeReader(BedrockReader):
    """InvokeModel and its stream, whatever the model's family."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self._messages: MessagesReader | None = None

    def whole(self, body: Any) -> None:
        body, call = obj(body), self.call
        if body.get("type") == "message" and "content" in body:
            note_message(body, call)
        else:
            call.usage = _read_counts(obj(body.get("usage"))) or _titan(body) or _read_counts(body) or Usage()
            call.output_bytes += _words(body) or _nova_words(body)
            self._reasons(body)
        if call.usage.source is UsageSource.NONE:
            call.usage = _read_headers(call)
        call.response_model = call.response_model or call.model or None

    def named(self, name: str, event: Json) -> None:
        try:
            inner = obj(decoded(base64.b64decode(text(event.get("bytes")))))
        except (binascii.Error, ValueError):
            return
        call = self.call
        call.response_model = call.response_model or call.model or None
        if inner.get("type") == "message_start" or self._messages is not None:
            self._messages = self._messages or MessagesReader(call)
            self._messages.note(inner)
            self.failed = self._messages.failed
            return
        call.output_bytes += _words(inner) or _converse_words(inner)
        self._reasons(inner)
        found = (
            _read_counts(obj(obj(inner.get("metadata")).get("usage")))
            or _read_counts(obj(inner.get("usage")))
            or _read_counts(obj(inner.get(_METRICS)))
        )
        if found is not None:
            call.usage = found

    def end(self) -> None:
        if self._messages is not None:
            self._messages.end()

    def _reasons(self, body: Json) -> None:
        """Why the answer, or each of several, ended, if it says so."""
        said = [body, obj(body.get("messageStop"))]
        for name in ("choices", "results", "outputs", "generations"):
            said += objects(body.get(name))
        reasons = [text(one.get(name)) for one in said for name in _REASON_NAMES]
        if found := [_reason(reason) for reason in reasons if reason]:
            self.call.finish_reasons = found


class FrameReader(BedrockReader):
    """Streams that say nothing about tokens: retrieveAndGenerateStream."""

    def named(self, name: str, event: Json) -> None:
        self.call.output_bytes += utf8_size(text(event.get("text")))


class RagReader(Reader):
    """retrieveAndGenerate. It reports no tokens; the answer's text is counted."""

    def whole(self, body: Any) -> None:
        self.call.output_bytes += utf8_size(text(obj(obj(body).get("output")).get("text")))


class FramedObserver(PassingObserver):
    """Its streams are AWS event streams."""

    def stream(self, call: Call) -> StreamObserver:
        return self.frames(call)


class ConverseObserver(FramedObserver):
    """Converse's."""

    def request(self, body: bytes, parsed: Json, call: Call) -> bytes:
        if MARK.encode() not in body:
            return body
        turns = [_without_googles(turn) for turn in objects(parsed.get("messages"))]
        return dumps({**parsed, "messages": [turn for turn in turns if turn.get("content") != []]})


def _without_googles(turn: Json) -> Json:
    """A turn without reasoning that Gemini signed, which no model of Bedrock's takes back."""
    content = turn.get("content")
    if not isinstance(content, list):
        return turn
    return {**turn, "content": [block for block in content if not _is_googles(block)]}


def _is_googles(block: Any) -> bool:
    said = obj(obj(block).get("reasoningContent")).get("reasoningText")
    return bool(google_signature(obj(said)))


CONVERSE_OBSERVER: Final = ConverseObserver(ConverseReader)
INVOKE_OBSERVER: Final = FramedObserver(InvokeReader)
RAG_OBSERVER: Final = FramedObserver(RagReader)
RAG_STREAM_OBSERVER: Final = FramedObserver(FrameReader)

_REASONS: Final = {
    "FINISH": "stop", "COMPLETE": "stop", "FINISHED": "stop", "end_turn": "stop", "stop": "stop",
    "LENGTH": "length", "MAX_TOKENS": "length", "max_tokens": "length", "length": "length",
    "CONTENT_FILTERED": "content_filter", "ERROR_TOXIC": "content_filter",
    "content_filtered": "content_filter", "content_filter": "content_filter", "tool_use": "tool_calls",
    "tool_calls": "tool_calls",
}  # fmt: skip
"""Stop reasons of the families: Titan, Cohere, AI21, Nova, Llama."""


_REASON_NAMES: Final = ("stop_reason", "stopReason", "completionReason", "finish_reason")
"""What the families call them: Llama, Mistral, Claude; Nova; Titan; Cohere and those in OpenAI's form."""


def _reason(reason: str) -> str:
    return _REASONS.get(reason, "stop")


def _read_counts(found: Json) -> Usage | None:
    for prompt, answer in _COUNTS:
        given, made = count(found.get(prompt)), count(found.get(answer))
        if given is None and made is None:
            continue
        read = count(found.get("cacheReadInputTokenCount")) or 0
        written = count(found.get("cacheWriteInputTokenCount")) or 0
        return Usage(
            prompt_tokens=(given or 0) + read + written,
            completion_tokens=made or 0,
            cached_tokens=read or None,
            cache_write_tokens=written or None,
            source=UsageSource.REPORTED,
        )
    return None


def _titan(body: Json) -> Usage | None:
    """Titan's text answers count each result's tokens on its own."""
    counts = [count(result.get("tokenCount")) for result in objects(body.get("results"))]
    known = [count for count in counts if count is not None]
    if not known:
        return None
    given = count(body.get("inputTextTokenCount")) or 0
    return Usage(prompt_tokens=given, completion_tokens=sum(known), source=UsageSource.REPORTED)


def _read_headers(call: Call) -> Usage:
    counts = [_header(call, name) for name in (_INPUT, _OUTPUT)]
    if counts == [None, None]:
        return Usage()
    return Usage(prompt_tokens=counts[0] or 0, completion_tokens=counts[1] or 0, source=UsageSource.REPORTED)


def _header(call: Call, name: str) -> int | None:
    value = call.answer_headers.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 16 else None


def _words(body: Json) -> int:
    """Bytes of text in an answer or a piece of one: Llama, Titan, Mistral, Cohere, old Claudes, OpenAI's
    shape."""
    own = ("generation", "outputText", "text", "completion")
    size = next((utf8_size(body[name]) for name in own if text(body.get(name))), 0)
    for name in ("outputs", "results", "generations"):
        for one in objects(body.get(name)):
            size += utf8_size(text(one.get("text")) or text(one.get("outputText")))
    for choice in objects(body.get("choices")):
        said = obj(choice.get("delta")) or obj(choice.get("message"))
        size += utf8_size(text(said.get("content")))
    return size


def _nova_words(body: Json) -> int:
    """Nova's answer is Converse's."""
    blocks = objects(obj(obj(body.get("output")).get("message")).get("content"))
    return sum(utf8_size(text(block.get("text"))) for block in blocks)


def _converse_words(inner: Json) -> int:
    """Nova's stream has Converse's events, named by a member."""
    return utf8_size(text(obj(obj(inner.get("contentBlockDelta")).get("delta")).get("text")))

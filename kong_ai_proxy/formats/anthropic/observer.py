"""Messages on both sides: bytes pass through, read for usage and model, edited only where they must be.

Source: recordings anthropic/native-messages*, which pass byte for byte.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, dumps, loads_lenient
from ...core.usage import UsageSource
from ...wire.sse import AlignedBuffer, FrameTooLarge, encode, frames, parse_frame
from ..base import StreamObserver
from ..pivot import items, json_object, obj, objects, text, utf8_size
from ..thought_signatures import google_signature
from .blocks import finish_reason, serving_model
from .client_words import without_made_citations
from .errors import read_stream_error, write_error
from .flavor import ANTHROPIC, Flavor, takes_sampling
from .models import traits
from .request import betas
from .usage import StreamUsage, read_usage

_OPTIONS: Final = ("temperature", "max_tokens", "top_p", "top_k")
_SAMPLING: Final = frozenset({"temperature", "top_p", "top_k"})
STOP: Final = {"type": "message_stop"}
"""The event that ends a stream."""


class MessagesObserver:
    """See `formats.base.Observer`. `flavor` says what the host takes that is spoken to."""

    def __init__(self, flavor: Flavor = ANTHROPIC) -> None:
        self._flavor = flavor

    def request(self, body: bytes, parsed: Json, call: Call) -> bytes:
        wanted = passed_request(parsed, call, self._flavor)
        return body if wanted == parsed else dumps(wanted)

    def response(self, body: bytes, call: Call) -> bytes:
        try:
            message = obj(loads_lenient(body))
        except ValueError:
            return body
        note_message(message, call)
        return body

    def stream(self, call: Call) -> StreamObserver:
        return MessagesStreamObserver(call)


def passed_request(parsed: Json, call: Call, flavor: Flavor) -> Json:
    """A client's own Messages request as the host takes it: its model, configured options, none refused."""
    wanted = dict(parsed)
    if flavor.model_in_body:
        version = call.request.headers.get("anthropic-version") or call.options.anthropic_version
    else:
        version = flavor.body_version(parsed.get("anthropic_version"), call.options.anthropic_version)
    sampling = traits(call.model).sampling and takes_sampling(version)
    for name in _OPTIONS:
        value = getattr(call.options, name)
        if value is not None and wanted.get(name) is None and (sampling or name not in _SAMPLING):
            wanted[name] = value
    if flavor.model_in_body:
        if call.model:
            wanted["model"] = call.model
        # Of clients made for Claude at the clouds; Anthropic itself has a header for it.
        wanted.pop("anthropic_version", None)
    else:
        wanted.pop("model", None)
        wanted["anthropic_version"] = version
    if not flavor.stream_in_body:
        wanted.pop("stream", None)
    elif bool(wanted.get("stream")) != call.stream:
        wanted["stream"] = call.stream
    if flavor.betas_in_body and (flags := betas(call, flavor)):
        wanted["anthropic_beta"] = flags
    if b'"encrypted_index"' in call.request.body:
        wanted["messages"] = list(map(_taken_back, items(wanted.get("messages"))))
    if b'"signature"' in call.request.body:
        _leave_foreign_thinking(wanted, call)
    refused = flavor.refused if flavor.output_config else flavor.refused | {"output_config"}
    for name in refused & wanted.keys():
        del wanted[name]
        call.drop(name)
    return wanted


def _taken_back(message: Any) -> Any:
    """A message of the history without citations of another provider's answer, which no Claude takes back."""
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return message
    content = [
        without_made_citations(block) if isinstance(block, dict) else block for block in message["content"]
    ]
    return message if content == message["content"] else {**message, "content": content}


def _leave_foreign_thinking(wanted: Json, call: Call) -> None:
    """Leave out thinking that Claude did not sign: of other providers' answers, as this gateway gave them to
    the client. It would refuse the whole request
    (https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks)."""
    kept: list[Any] = []
    for message in items(wanted.get("messages")):
        content = message.get("content") if isinstance(message, dict) else None
        if not isinstance(content, list) or not any(map(_is_foreign, content)):
            kept.append(message)
            continue
        call.drop("messages.content.thinking")
        if rest := [block for block in content if not _is_foreign(block)]:
            kept.append({**message, "content": rest})
    if "messages.content.thinking" in call.dropped:
        wanted["messages"] = kept


def _is_foreign(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") != "thinking" or "signature" not in block:
        return False
    return block["signature"] == "" or bool(google_signature(block))


def note_message(message: Json, call: Call) -> None:
    """Usage, model, id and finish reason of a whole message."""
    if "usage" not in message:
        return
    call.usage = read_usage(message["usage"])
    call.response_model = text(message.get("model")) or call.response_model
    call.response_id = text(message.get("id")) or call.response_id
    blocks = objects(message.get("content"))
    if "stop_reason" in message:
        has_tools = any(block.get("type") == "tool_use" for block in blocks)
        call.finish_reasons = [finish_reason(message["stop_reason"], has_tools)]
    for block in blocks:
        call.output_bytes += utf8_size(text(block.get("text")) or text(block.get("thinking")))


class MessagesReader:
    """Notes on the call what a stream's events say; changes nothing."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._usage = StreamUsage()
        self._has_tools = False
        self.stopped = False
        self.over = False
        """The answer is whole: its stop reason was told."""
        self.failed: ApiError | None = None

    def note(self, event: Json, name: str | None = None) -> None:
        """One event; `name` is how its frame calls it."""
        call = self._call
        kind = event.get("type") or name
        if kind == "content_block_delta":
            delta = obj(event.get("delta"))
            words = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
            call.output_bytes += utf8_size(text(words))
        elif kind == "content_block_start":
            block = obj(event.get("content_block"))
            self._has_tools = self._has_tools or block.get("type") == "tool_use"
            call.response_model = serving_model(block) or call.response_model
        elif kind == "message_start":
            message = obj(event.get("message"))
            call.response_model = text(message.get("model")) or call.response_model
            call.response_id = text(message.get("id")) or call.response_id
            self._usage.start(message.get("usage"))
            call.usage = self._usage.usage(complete=False)
        elif kind == "message_delta":
            self._usage.delta(event.get("usage"))
            call.usage = self._usage.usage(complete=False)
            reason = obj(event.get("delta")).get("stop_reason")
            if reason is not None:
                self.over = True
                call.finish_reasons = [finish_reason(reason, self._has_tools)]
        elif kind == "message_stop":
            self.stopped = self.over = True
            call.usage = self._usage.usage(complete=True)
        elif kind == "error" or (kind is None and "error" in event):
            self.failed = read_stream_error(event)

    def missing_stop(self) -> bytes:
        """The event that a provider left out which closed its stream after the stop reason."""
        if self.stopped or not self.over or self.failed is not None:
            return b""
        self.note(STOP)
        return encode(dumps(STOP), STOP["type"])

    def end(self) -> None:
        """The stream is over, complete or not."""
        if not self.stopped and self._call.usage.source is not UsageSource.NONE:
            self._call.usage.source = UsageSource.PARTIAL


class MessagesStreamObserver:
    """A stream of server-sent events on its way, byte for byte."""

    def __init__(self, call: Call) -> None:
        self._buffer = AlignedBuffer(call.max_frame)
        self._reader = MessagesReader(call)
        self.failed: ApiError | None = None
        """The error that the provider ended its stream with; the client has it already."""

    @property
    def complete(self) -> bool:
        return self._reader.stopped and self.failed is None

    def feed(self, data: bytes) -> bytes:
        if self.failed is not None:
            return b""
        try:
            block = self._buffer.feed(data)
        except FrameTooLarge as error:
            before = self._pass(error.block)
            if self.failed is not None:
                return before
            self.failed = ApiError(502, str(error), code="upstream_event_too_large")
            return before + encode(dumps(write_error(self.failed)), "error")
        return self._pass(block) if block else b""

    def finish(self) -> bytes:
        out = b""
        if self.failed is None and (rest := self._buffer.finish()).strip():
            # An event that no empty line closed: whole only if its data is JSON.
            event = parse_frame(rest)
            if event is not None and json_object(event.data.decode("utf-8", "replace")) is not None:
                out = self._pass(rest.rstrip(b"\r\n") + b"\n\n")
        out += self._reader.missing_stop()
        self._reader.end()
        return out

    def _pass(self, block: bytes) -> bytes:
        for _, event in frames(block):
            if event is None:
                continue
            try:
                parsed = loads_lenient(event.data)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                self._reader.note(parsed, event.event)
        self.failed = self._reader.failed
        return block

"""OpenAI's form on both sides: bytes pass through, read for usage, edited only where they must be."""

from __future__ import annotations

from functools import cache
from typing import Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, JSONEvents, dumps, loads_lenient
from ...core.usage import UsageSource
from ...wire.sse import DONE, AlignedBuffer, FrameTooLarge, encode, frames
from ..base import StreamObserver
from ..pivot import integer, items, obj, objects, text, utf8_size
from .answer import call_list, finish_reason
from .client import CLIENT
from .dialect import NO_REASONS, Dialect
from .errors import error_in
from .parts import Parts
from .request import request_body
from .usage import note_usage, usage_in

_TEXTS: Final = frozenset({"content", "reasoning_content", "reasoning", "refusal"})
"""What a delta says in words."""


class OpenAIObserver:
    """See `formats.base.Observer`."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def request(self, body: bytes, parsed: Json, call: Call) -> bytes:
        wanted = request_body(parsed, call, self.dialect, passing=True)
        return body if wanted == parsed else dumps(wanted)

    def response(self, body: bytes, call: Call) -> bytes:
        try:
            answer = loads_lenient(body)
        except ValueError:
            return body
        if not isinstance(answer, dict):
            return body
        _note_identity(answer, call)
        edited = False
        for choice in objects(answer.get("choices")):
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and reason not in NO_REASONS:
                choice["finish_reason"] = found = finish_reason(reason, choice)
                edited = edited or found != reason
                call.finish_reasons.append(found)
        usage = usage_in(answer)
        if usage is not None:
            note_usage(usage, call, self.dialect)
        call.usage.service_tier = text(answer.get("service_tier")) or call.usage.service_tier
        return dumps(answer) if edited else body

    def stream(self, call: Call) -> StreamObserver:
        return OpenAIStreamObserver(call, self.dialect)


class OpenAIStreamObserver:
    """A stream on its way: events go on as they came, but for usage that the client did not ask for."""

    def __init__(self, call: Call, dialect: Dialect) -> None:
        self._call = call
        self._dialect = dialect
        self._buffer = AlignedBuffer(call.max_frame)
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._done = False
        self._named = False
        self._events = JSONEvents()
        self.failed: ApiError | None = None
        """The error that the provider ended its stream with; the client has it already."""

    @property
    def complete(self) -> bool:
        if self.failed is not None:
            return False
        return self._done or (bool(self._finished) and self._open <= self._finished)

    def feed(self, data: bytes) -> bytes:
        if self.failed is not None:
            return b""
        try:
            block = self._buffer.feed(data)
        except FrameTooLarge as error:
            before = self._pass(error.block)
            if self.failed is not None:
                return before
            return before + self._broken(ApiError(502, str(error), code="upstream_event_too_large"))
        return self._pass(block) if block else b""

    def finish(self) -> bytes:
        if self.failed is not None:
            return b""
        rest = self._buffer.finish()
        out = self._pass(rest + b"\n\n") if rest.strip() and _whole(rest) else b""
        if self.complete and not self._done:
            # Not everybody sends it, and OpenAI's clients wait for it.
            self._done = True
            out += DONE
        return out

    def _broken(self, error: ApiError) -> bytes:
        self.failed = error
        return encode(dumps(CLIENT.error(error)))

    def _pass(self, block: bytes) -> bytes:
        out = []
        for raw, event in frames(block):
            if event is None:
                out.append(raw)
                continue
            try:
                chunk = self._events.loads(event.data)
            except ValueError:
                if event.data.strip() == b"[DONE]":
                    self._done = True
                out.append(raw)
                continue
            out.append(self._chunk(raw, chunk) if isinstance(chunk, dict) else raw)
        return b"".join(out)

    def _chunk(self, raw: bytes, chunk: Json) -> bytes:
        call = self._call
        if not self._named and chunk.get("model"):
            self._named = True
            _note_identity(chunk, call)
        tier = chunk.get("service_tier")
        if tier is not None:
            call.usage.service_tier = text(tier) or call.usage.service_tier
        if "error" in chunk or "choices" not in chunk or "x_groq" in chunk:
            self.failed = error_in(chunk, call)
        choices = chunk.get("choices")
        edited = self._mend(chunk) or self._events.mended
        for choice in items(choices):
            if isinstance(choice, dict):
                edited = self._choice(choice) or edited
        if "usage" in chunk:
            usage = chunk["usage"]
            if isinstance(usage, dict) and usage:
                note_usage(usage, call, self._dialect)
            if not call.include_usage:
                if isinstance(usage, dict) and not choices:
                    return b""
                del chunk["usage"]
                edited = True
        elif "x_groq" in chunk and call.usage.source is UsageSource.NONE:
            self._usage_elsewhere(chunk)
        return encode(dumps(chunk)) if edited else raw

    def _usage_elsewhere(self, chunk: Json) -> None:
        usage = usage_in(chunk)
        if usage is not None:
            note_usage(usage, self._call, self._dialect)

    def _mend(self, chunk: Json) -> bool:
        """The members that OpenAI's form always has: Azure's first chunk has an empty `object`, OpenAI's own
        audio chunks have no `choices` (recorded: azure/chat-stream, openai/chat-audio-stream)."""
        kind = chunk.get("object")
        if (kind and "choices" in chunk) or not isinstance(kind, str) or "error" in chunk:
            return False
        if not kind:
            completions = self._call.operation == "completions"
            chunk["object"] = "text_completion" if completions else "chat.completion.chunk"
        chunk.setdefault("choices", [])
        return True

    def _choice(self, choice: Json) -> bool:
        call = self._call
        index = integer(choice.get("index")) or 0
        self._open.add(index)
        said = choice.get("delta")
        if isinstance(said, dict):
            for name, value in said.items():
                if name in _TEXTS:
                    if isinstance(value, str):
                        call.output_bytes += utf8_size(value)
                    elif isinstance(value, list):
                        parts = Parts(value)
                        call.output_bytes += utf8_size(parts.text) + utf8_size(parts.reasoning)
                elif name == "tool_calls":
                    for fragment in objects(call_list(value)):
                        arguments = obj(fragment.get("function")).get("arguments")
                        call.output_bytes += utf8_size(text(arguments))
        else:
            call.output_bytes += utf8_size(text(choice.get("text")))
        mended = said is None and "text" not in choice and "content_filter_results" in choice
        if mended:
            # Azure's asynchronous filter; whoever reads a stream looks into each delta.
            choice["delta"] = {}
        reason = choice.get("finish_reason")
        if not isinstance(reason, str) or reason in NO_REASONS:
            return mended
        choice["finish_reason"] = found = finish_reason(reason, choice)
        if index not in self._finished:
            self._finished.add(index)
            call.finish_reasons.append(found)
        if "usage" in choice and call.usage.source is UsageSource.NONE:
            self._usage_elsewhere({"choices": [choice]})
        return mended or bool(found != reason)


def _whole(rest: bytes) -> bool:
    """Whether an event that no empty line closed is an event nevertheless, and not half of one."""
    for _, event in frames(rest):
        if event is None:
            return False
        try:
            loads_lenient(event.data)
        except ValueError:
            return event.data.strip() == b"[DONE]"
    return True


def _note_identity(answer: Json, call: Call) -> None:
    call.response_id = text(answer.get("id")) or call.response_id
    call.response_model = text(answer.get("model")) or call.response_model


@cache
def openai_observer(dialect: Dialect) -> OpenAIObserver:
    """The observer for a dialect."""
    return OpenAIObserver(dialect)

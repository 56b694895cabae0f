"""What answers of OpenAI's REST APIs tell of usage, models and their own end. The bytes pass through.

Sources: https://platform.openai.com/docs/api-reference/responses-streaming, .../assistants-streaming/events,
.../audio/transcript-text-done-event, .../audio/speech-audio-done-event, .../images-streaming, .../batch; and
the recordings openai/{responses,assistants,audio,image}*-stream.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.call import Call
from ...core.errors import ApiError
from ...core.json import Json, dumps
from ...core.rest import RestApi
from ...core.usage import Usage, UsageSource
from ..passing import Reader, ResultLines
from ..pivot import integer, number, obj, objects, text, utf8_size
from .client import CLIENT
from .dialect import OPENAI
from .usage import note_usage

_TERMINAL: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"}
)
_TOKENS: Final = frozenset({"input_tokens", "output_tokens", "prompt_tokens", "completion_tokens"})
INCOMPLETE: Final = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
    # A new instruction took its place, in a session.
    "steered": "stop",
}
"""Why a response is incomplete → chat's finish reason (openai 3.54: responses/response.py)."""
_BATCH_ENDS: Final = (b'"custom_id"', b'"response"')


class RestReader(Reader):
    """Reads an answer, or its events."""

    def __init__(self, call: Call, api: RestApi) -> None:
        super().__init__(call)
        self._api = api
        self._ended = call.operation != "responses"
        self.sequence = -1
        """Of the last event that had a number."""

    def whole(self, body: Any) -> None:
        if isinstance(body, dict):
            self._note(body)

    def event(self, body: Any) -> None:
        if not isinstance(body, dict):
            return
        kind = text(body.get("type"))
        number = integer(body.get("sequence_number"))
        if number is not None:
            self.sequence = number
        delta = body.get("delta")
        if isinstance(delta, str):
            self.call.output_bytes += utf8_size(delta)
        response = body.get("response")
        if isinstance(response, dict):
            self._note(response)
        elif body.get("object") != "thread.run.step":
            # A run's steps report what is part of the run's own usage.
            self._note(body)
        if kind in _TERMINAL:
            self._ended = True

    @property
    def complete(self) -> bool:
        return self._ended

    def _note(self, body: Json) -> None:
        call = self.call
        call.response_id = text(body.get("id")) or call.response_id
        call.response_model = text(body.get("model")) or call.response_model
        if self._api.metered:
            images = _images(body, call.operation) + (call.usage.images or 0)
            usage = body.get("usage")
            if isinstance(usage, dict) and _TOKENS & usage.keys():
                note_usage(usage, call, OPENAI)
            elif (seconds := _seconds(body, usage)) is not None:
                call.usage.seconds = seconds
                call.usage.source = UsageSource.REPORTED
            if images:
                call.usage.images = images
                call.usage.source = UsageSource.REPORTED
            tier = body.get("service_tier")
            if isinstance(tier, str) and tier not in ("auto", ""):
                call.usage.service_tier = tier
        reason = _reason(body)
        if reason:
            call.finish_reasons = [reason]


def _images(body: Json, operation: str) -> int:
    """Images in a whole answer or in an event: some providers bill these (recordings xai/image-generations).
    Partial ones of a stream are not counted."""
    if not operation.startswith("image."):
        return 0
    if text(body.get("type")).endswith(".completed"):
        return 1
    return len(objects(body.get("data")))


def _seconds(body: Json, usage: object) -> float | None:
    """What is billed by time: sound that was heard (recordings openai/audio-transcriptions), videos
    (https://platform.openai.com/docs/api-reference/videos/object: digits)."""
    if isinstance(usage, dict) and usage.get("type") == "duration":
        found = number(usage.get("seconds"))
    elif body.get("task") in ("transcribe", "translate"):
        # Without usage: https://platform.openai.com/docs/api-reference/audio/verbose-json-object.
        found = number(body.get("duration"))
    elif body.get("object") == "video":
        said = body.get("seconds")
        found = number(said)
        if isinstance(said, str) and said.isascii() and said.isdigit() and len(said) < 6:
            found = int(said)
    else:
        return None
    return found if found is not None and 0 <= found < 2**31 else None


def _reason(body: Json) -> str:
    status = body.get("status")
    if status == "completed":
        return "stop"
    if status == "incomplete":
        return INCOMPLETE.get(text(obj(body.get("incomplete_details")).get("reason")), "stop")
    return ""


class ErrorEvents:
    """Says in a stream of one of these APIs that it broke."""

    def __init__(self, reader: RestReader, content_type: str) -> None:
        self.content_type = content_type
        self._reader = reader

    def encode(self, chunk: Json) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        """https://platform.openai.com/docs/api-reference/responses-streaming/error; elsewhere the error
        object as an event's data, which OpenAI's SDKs raise."""
        if self._reader.call.operation != "responses":
            return b"data: %b\n\n" % dumps(CLIENT.error(error))
        event = {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "param": error.param,
            "sequence_number": self._reader.sequence + 1,
        }
        return b"event: error\ndata: %b\n\n" % dumps(event)


class _BatchReader(Reader):
    def event(self, body: Any) -> None:
        answer = obj(obj(obj(body).get("response")).get("body"))
        usage = answer.get("usage")
        if isinstance(usage, dict) and _TOKENS & usage.keys():
            self.call.response_model = text(answer.get("model")) or self.call.response_model
            add_usage(self.call.usage, Usage.from_openai(usage))


def batch_output(call: Call) -> ResultLines:
    """Sums up what a batch's requests used, from its output file as it passes.

    Each line is `{"custom_id", "response": {"body": {…, "usage"}}}`:
    https://platform.openai.com/docs/api-reference/batch/request-output. A file whose first line is none of
    that kind is not read on.
    """
    return ResultLines(_BatchReader(call), _BATCH_ENDS)


_ADDED: Final = (
    "cached_tokens", "cache_write_tokens", "reasoning_tokens", "audio_prompt_tokens",
    "audio_completion_tokens", "image_prompt_tokens", "image_completion_tokens",
    "text_prompt_tokens", "text_completion_tokens",
)  # fmt: skip


def add_usage(total: Usage, more: Usage) -> None:
    """Add what one of several requests used."""
    total.total_tokens = total.total + more.total
    total.prompt_tokens += more.prompt_tokens
    total.completion_tokens += more.completion_tokens
    for name in _ADDED:
        value = getattr(more, name)
        if value is not None:
            setattr(total, name, (getattr(total, name) or 0) + value)
    for ttl, tokens in more.cache_write_by_ttl.items():
        total.cache_write_by_ttl[ttl] = total.cache_write_by_ttl.get(ttl, 0) + tokens
    total.reasoning_is_extra = total.reasoning_is_extra or more.reasoning_is_extra
    total.source = UsageSource.REPORTED

"""Anthropic's message batches.

Anthropic takes a batch's requests with the request that creates it, has no input files (what its Files API
stores cannot be read back), and keeps no metadata. So the message batch begins when the input file is
uploaded: the file's id and the batch's id name the same message batch, and POST /batches finds it under way.
An upload that no batch follows is worked on, and billed, all the same; cancelling it ends that.

Sources: https://platform.claude.com/docs/en/api/creating-message-batches, …/retrieving-message-batches,
…/retrieving-message-batch-results, …/listing-message-batches, …/canceling-message-batches,
…/deleting-message-batches; recordings anthropic/batches.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import ClassVar, Final

from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..anthropic.errors import read_stream_error
from ..pivot import obj, objects, text, unix_time
from ..steps import Asked, Step, Steps, Streamed
from .flow import Asking, Batches, Page, count, json_of, no_results, results_filename
from .ids import FileName
from .lines import JSONL, Lines, Result, ResultLines
from .objects import State, Status, Stored

_PATH: Final = "/v1/messages/batches"
_CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What Anthropic takes; others are spelled in it behind `_SPELLED`."""
_SPELLED: Final = "b64_"
_MISSED: Final = {
    "canceled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
    "expired": ("batch_expired", "The batch expired before this request was answered."),
}


class AnthropicBatches(Batches):
    """See the module."""

    form: ClassVar = "anthropic"
    batch_pattern: ClassVar = re.compile(r"msgbatch_[A-Za-z0-9_-]{1,200}")
    file_pattern: ClassVar = batch_pattern

    def store(self, asked: Asked, lines: Lines) -> Asking[Stored]:
        requests = [
            {"custom_id": spelled(line.custom_id), "params": {**line.request, "model": line.model}}
            for line in lines.lines
        ]
        reply = yield Step("POST", _PATH, {"requests": requests})
        state = _state(json_of(reply, asked.call))
        return Stored(state.name, lines.size or None, state.created, state.expires, lines.filename)

    def start(self, asked: Asked, name: str, endpoint: str) -> Asking[State]:
        return (yield from self.batch(asked, name))

    def batch(self, asked: Asked, name: str) -> Asking[State]:
        return _state(json_of((yield Step("GET", f"{_PATH}/{name}")), asked.call))

    def batches(self, asked: Asked, token: str) -> Page[State]:
        query = f"&after_id={token}" if token else ""
        found = json_of((yield Step("GET", f"{_PATH}?limit=100{query}")), asked.call)
        last = text(found.get("last_id"))
        more = found.get("has_more") is True and self.batch_pattern.fullmatch(last) is not None
        return [_state(each) for each in objects(found.get("data"))], last if more else ""

    def cancel(self, asked: Asked, name: str) -> Asking[State]:
        return _state(json_of((yield Step("POST", f"{_PATH}/{name}/cancel", {})), asked.call))

    def file(self, asked: Asked, file: FileName) -> Asking[Stored]:
        state = yield from self.batch(asked, file.name)
        if file.part == "in":
            return _input(state)
        return Stored(file.name, None, state.ended, 0, results_filename(file.name, file.part), file.part)

    def files(self, asked: Asked, token: str) -> Page[Stored]:
        states, following = yield from self.batches(asked, token)
        return [_input(state) for state in states], following

    def delete(self, asked: Asked, file: FileName) -> Asking[None]:
        """Requests and results are deleted together; Anthropic refuses that of a batch that has not ended."""
        yield Step("DELETE", f"{_PATH}/{file.name}")

    def results(self, asked: Asked, name: str, *, failed: bool) -> Steps:
        state = yield from self.batch(asked, name)
        if not state.ended:
            raise no_results(asked.call)
        # The results' own path; `results_url` says the same with a host, which may be another's.
        yield Step("GET", f"{_PATH}/{name}/results", streams=True)
        return Streamed(JSONL, ResultLines(asked.call, self._adapter, read_result, failed))


def _input(state: State) -> Stored:
    return Stored(state.name, None, state.created, state.expires, f"{state.name}.jsonl")


def _state(found: Json) -> State:
    counts = obj(found.get("request_counts"))
    answered = count(counts.get("succeeded"))
    failed = sum(count(counts.get(kind)) for kind in ("errored", "canceled", "expired"))
    ended = unix_time(found.get("ended_at"))
    status = _status(found, counts)
    done = status in ("completed", "cancelled", "expired")
    return State(
        text(found.get("id")),
        status,
        created=unix_time(found.get("created_at")),
        began=unix_time(found.get("created_at")),
        ended=ended if done else 0,
        expires=unix_time(found.get("expires_at")),
        cancelling=unix_time(found.get("cancel_initiated_at")),
        total=answered + failed + count(counts.get("processing")),
        completed=answered,
        failed=failed,
        input=text(found.get("id")),
        output=done and answered > 0,
        errors=done and failed > 0,
    )


def _status(found: Json, counts: Json) -> Status:
    processing = found.get("processing_status")
    if processing == "canceling":
        return "cancelling"
    if processing != "ended":
        return "in_progress"
    if count(counts.get("canceled")):
        return "cancelled"
    if count(counts.get("expired")):
        return "expired"
    return "completed"


def read_result(line: Json) -> Result | None:
    """A line of a message batch's results."""
    custom_id = text(line.get("custom_id"))
    result = obj(line.get("result"))
    kind = text(result.get("type"))
    if not custom_id or not kind:
        return None
    custom_id = plain(custom_id)
    if kind == "succeeded":
        message = obj(result.get("message"))
        return Result(custom_id, message, id=text(message.get("id")))
    if kind == "errored":
        given = obj(result.get("error"))
        error = read_stream_error(given if "error" in given else {"error": given})
        return Result(custom_id, error=ApiError(error.status, error.message, type=error.type))
    unknown = (f"batch_{kind[:40]}", "The request was not answered.")
    return Result(custom_id, missed=_MISSED.get(kind, unknown))


def spelled(custom_id: str) -> str:
    """A custom_id as Anthropic takes it. Raises BadRequest for one that is too long for that."""
    if _CUSTOM_ID.fullmatch(custom_id) and not custom_id.startswith(_SPELLED):
        return custom_id
    made = _SPELLED + base64.urlsafe_b64encode(custom_id.encode()).decode().rstrip("=")
    if len(made) > 64:
        raise BadRequest(
            f"custom_id {custom_id[:100]} is too long for Anthropic: 64 letters, digits, _ and -, or 45 bytes"
            " of anything else",
            param="custom_id",
        )
    return made


def plain(custom_id: str) -> str:
    """The client's custom_id again."""
    encoded = custom_id.removeprefix(_SPELLED)
    if encoded == custom_id:
        return custom_id
    try:
        made = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        return made if spelled(made) == custom_id else custom_id
    except (binascii.Error, ValueError, BadRequest):
        return custom_id

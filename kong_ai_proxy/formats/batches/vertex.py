"""Gemini's batch prediction on Vertex AI: requests and results are files in Cloud Storage, below
`kong_ai_proxy.gemini_batch_bucket_prefix`.

A record has no place for a `custom_id` but the request's labels, which the results repeat. An input file's
name tells its model.

Sources:
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/batch-prediction-from-cloud-storage (records,
`predictions.jsonl`);
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.batchPredictionJobs (the
members are those of google-genai's batches.py, too); https://cloud.google.com/storage/docs/json_api/v1/objects;
https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls (labels' values).
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from typing import ClassVar, Final, NamedTuple
from urllib.parse import quote

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, dumps
from ..pivot import integer, json_object, obj, objects, text, unix_time
from ..steps import Asked, Step, Steps, Streamed
from .flow import Asking, Batches, Page, count, json_of, jsonl, no_batch, no_results, results_filename
from .ids import INPUT_NAME, FileName, input_name, model_of
from .lines import JSONL, OWN_MODEL, Line, Lines, Result, ResultLines
from .objects import State, Status, Stored

_URI: Final = re.compile(r"gs://([a-z0-9][-._a-z0-9]{1,220}[a-z0-9])(?:/([A-Za-z0-9._/-]*))?")
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_OTHERS: Final = ("claude", "mistral", "codestral", "ministral", "jamba", "llama", "deepseek", "qwen")
"""Beginnings of names of models whose batches have other records."""
_STATES: Final[dict[str, Status]] = {
    "JOB_STATE_QUEUED": "validating",
    "JOB_STATE_PENDING": "validating",
    "JOB_STATE_RUNNING": "in_progress",
    "JOB_STATE_PAUSED": "in_progress",
    "JOB_STATE_UPDATING": "in_progress",
    "JOB_STATE_SUCCEEDED": "completed",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "completed",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLING": "cancelling",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
}
_LABEL: Final = "kong_custom_id_"
_LABEL_SIZE: Final = 63
_LABELS: Final = 8


class Place(NamedTuple):
    """Where an instance's batches keep their files."""

    bucket: str
    prefix: str
    """"", or ends with a slash."""

    @property
    def uri(self) -> str:
        return f"gs://{self.bucket}/{self.prefix}"

    def path(self, name: str, query: str = "") -> str:
        """An object's path for a step to storage."""
        return f"/storage/v1/b/{self.bucket}/o/{quote(name, safe='')}{query}"


class VertexBatches(Batches):
    """See the module."""

    form: ClassVar = "vertex"
    batch_pattern: ClassVar = re.compile(r"[0-9]{1,30}")
    file_pattern: ClassVar = INPUT_NAME
    """An input file's name below the prefix; nothing else is ever read for a client."""

    def store(self, asked: Asked, lines: Lines) -> Asking[Stored]:
        where = place(asked.call)
        name = input_name(_google(lines.model))
        body = jsonl(map(_record, lines.lines), asked)
        query = f"uploadType=media&name={quote(where.prefix + name, safe='')}"
        reply = yield Step(
            "POST",
            f"/upload/storage/v1/b/{where.bucket}/o?{query}",
            body,
            service="storage",
            headers={"content-type": JSONL},
        )
        stored = _stored(json_of(reply, asked.call), where)
        stored.name, stored.filename = name, lines.filename
        return stored

    def file(self, asked: Asked, file: FileName) -> Asking[Stored]:
        where = place(asked.call)
        if file.part == "in":
            reply = yield Step("GET", where.path(where.prefix + file.name), service="storage")
            return _stored(json_of(reply, asked.call), where)
        state = yield from self.batch(asked, file.name)
        name = results_filename(file.name, file.part)
        return Stored(file.name, None, state.ended, 0, name, file.part)

    def files(self, asked: Asked, token: str) -> Page[Stored]:
        where = place(asked.call)
        following = f"&pageToken={quote(token, safe='')}" if token else ""
        query = f"delimiter=%2F&maxResults=1000&prefix={quote(where.prefix, safe='')}{following}"
        reply = yield Step("GET", f"/storage/v1/b/{where.bucket}/o?{query}", service="storage")
        found = json_of(reply, asked.call)
        stored = [_stored(each, where) for each in objects(found.get("items"))]
        return [each for each in stored if INPUT_NAME.fullmatch(each.name)], text(found.get("nextPageToken"))

    def delete(self, asked: Asked, file: FileName) -> Asking[None]:
        where = place(asked.call)
        if file.part != "in":
            raise BadRequest("results are deleted in Cloud Storage", param="id")
        yield Step("DELETE", where.path(where.prefix + file.name), service="storage")

    def start(self, asked: Asked, name: str, endpoint: str) -> Asking[State]:
        call = asked.call
        where = place(call)
        model = model_of(name, _MODEL)
        if call.target.model.name is not None and model != _google(call.model):
            raise BadRequest(f"{OWN_MODEL}{call.model}", param="input_file_id")
        if call.target.model.name is None:
            asked.check_access(model)
        reply = yield Step(
            "POST",
            _jobs(call),
            {
                "displayName": f"kong-{uuid.uuid4().hex}",
                "model": f"publishers/google/models/{model}",
                "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": [where.uri + name]}},
                "outputConfig": {
                    "predictionsFormat": "jsonl",
                    "gcsDestination": {"outputUriPrefix": f"{where.uri}output"},
                },
            },
        )
        return self._state(json_of(reply, call), where)

    def batch(self, asked: Asked, name: str) -> Asking[State]:
        return self._state((yield from self._job(asked, name)), place(asked.call))

    def batches(self, asked: Asked, token: str) -> Page[State]:
        where = place(asked.call)
        following = f"&pageToken={quote(token, safe='')}" if token else ""
        reply = yield Step("GET", f"{_jobs(asked.call)}?pageSize=100{following}")
        found = json_of(reply, asked.call)
        jobs = [each for each in objects(found.get("batchPredictionJobs")) if _ours(each, where)]
        states = [self._state(each, where) for each in jobs]
        return [each for each in states if each.name], text(found.get("nextPageToken"))

    def cancel(self, asked: Asked, name: str) -> Asking[State]:
        yield from self._job(asked, name)
        yield Step("POST", f"{_jobs(asked.call)}/{name}:cancel", {})
        return (yield from self.batch(asked, name))

    def results(self, asked: Asked, name: str, *, failed: bool) -> Steps:
        where = place(asked.call)
        found = _results(((yield from self._job(asked, name))), where)
        if not found:
            raise no_results(asked.call)
        reply = yield Step(
            "GET", where.path(found, "?alt=media"), service="storage", streams=True, passes=frozenset({404})
        )
        if reply.status == 404:
            raise no_results(asked.call)
        return Streamed(JSONL, ResultLines(asked.call, self._adapter, read_result, failed))

    def _job(self, asked: Asked, name: str) -> Asking[Json]:
        """Raises ApiError (404) for a job that is none of ours."""
        where = place(asked.call)
        found = json_of((yield Step("GET", f"{_jobs(asked.call)}/{name}")), asked.call)
        if not _ours(found, where):
            raise no_batch(name)
        return found

    def _state(self, found: Json, where: Place) -> State:
        name = text(found.get("name")).rpartition("/")[2]
        status = _STATES.get(text(found.get("state")), "in_progress")
        stats = obj(found.get("completionStats"))
        answered, failed = count(stats.get("successfulCount")), count(stats.get("failedCount"))
        results = bool(_results(found, where)) and status in ("completed", "cancelled", "expired")
        return State(
            name if self.batch_pattern.fullmatch(name) else "",
            status,
            created=unix_time(found.get("createTime")),
            began=unix_time(found.get("startTime")),
            ended=unix_time(found.get("endTime")),
            total=answered + failed + count(stats.get("incompleteCount")),
            completed=answered,
            failed=failed,
            input=_input(found, where),
            model=text(found.get("model")).rpartition("/")[2],
            output=results and (answered > 0 or not stats),
            errors=results and failed > 0,
            problem=text(obj(found.get("error")).get("message")) if status == "failed" else "",
        )


def place(call: Call) -> Place:
    """Raises ApiError (500) where the configuration names none."""
    found = _URI.fullmatch(call.batch_prefix)
    if found is None or "//" in (found[2] or "") or ".." in (found[2] or "").split("/"):
        raise ApiError(
            500,
            "kong_ai_proxy.gemini_batch_bucket_prefix must be set to gs://bucket/prefix/ for files and"
            " batches of Gemini on Vertex AI",
            code="invalid_configuration",
        )
    prefix = (found[2] or "").strip("/")
    return Place(found[1], f"{prefix}/" if prefix else "")


def _jobs(call: Call) -> str:
    options = call.options.gemini
    project, location = (
        (options.project_id or "", options.location_id or "") if options is not None else ("", "")
    )
    if not project or not location:
        raise ApiError(
            500, "model.options.gemini.project_id and location_id must be set", code="invalid_configuration"
        )
    return f"/v1/projects/{quote(project, safe='')}/locations/{quote(location, safe='')}/batchPredictionJobs"


def _google(model: str) -> str:
    """The name of a model of Google's. Raises BadRequest for others: their batches have other records."""
    name = model.removeprefix("publishers/google/models/").removeprefix("google/").removeprefix("models/")
    if _MODEL.fullmatch(name) is None or name.startswith(_OTHERS):
        raise BadRequest("batches on Vertex AI are of Google's own models only", param="model")
    return name


def _record(line: Line) -> bytes:
    labels = {**obj(line.request.get("labels")), **_labels(line.custom_id)}
    return dumps({"request": {**line.request, "labels": labels}})


def _labels(custom_id: str) -> Json:
    """A custom_id as labels, whose values hold lower-case letters and digits. Raises BadRequest."""
    packed = base64.b32encode(custom_id.encode()).decode().rstrip("=").lower()
    if len(packed) > _LABELS * _LABEL_SIZE:
        raise BadRequest(f"custom_id {custom_id[:100]} is too long", param="custom_id")
    return {
        f"{_LABEL}{number}": packed[at : at + _LABEL_SIZE]
        for number, at in enumerate(range(0, len(packed), _LABEL_SIZE))
    }


def _custom_id(labels: Json) -> str:
    packed = "".join(text(labels.get(f"{_LABEL}{number}")) for number in range(_LABELS)).upper()
    try:
        return base64.b32decode(packed + "=" * (-len(packed) % 8)).decode()
    except (binascii.Error, ValueError):
        return ""


def read_result(line: Json) -> Result | None:
    """A line of `predictions.jsonl`."""
    custom_id = _custom_id(obj(obj(line.get("request")).get("labels")))
    if not custom_id:
        return None
    status = text(line.get("status"))
    if status:
        return Result(custom_id, error=_error(status))
    response = obj(line.get("response"))
    return Result(custom_id, response, id=text(response.get("responseId")))


def _error(status: str) -> ApiError:
    """What went wrong with a request: a text, with Google's error object in it where Google had one."""
    at = status.find("{")
    error = obj((json_object(status[at:]) or {}).get("error")) if at >= 0 else {}
    number = integer(error.get("code")) or 0
    code = text(error.get("status")) or None
    message = text(error.get("message")) or status[:2000]
    return ApiError(number if 400 <= number < 600 else 500, message, code=code)


def _stored(found: Json, where: Place) -> Stored:
    name = text(found.get("name")).removeprefix(where.prefix)
    return Stored(name, count(found.get("size")), unix_time(found.get("timeCreated")), filename=name)


def _input(found: Json, where: Place) -> str:
    """The name of a job's input file, "" if it is none of ours."""
    uris = obj(obj(found.get("inputConfig")).get("gcsSource")).get("uris")
    uri = text(uris[0]) if isinstance(uris, list) and len(uris) == 1 else ""
    name = uri.removeprefix(where.uri)
    return name if name != uri and INPUT_NAME.fullmatch(name) else ""


def _ours(found: Json, where: Place) -> bool:
    """Whether a job leaves its results below the configured prefix, whatever else runs in the project."""
    destination = obj(obj(found.get("outputConfig")).get("gcsDestination"))
    folder = text(destination.get("outputUriPrefix"))
    return folder.startswith(where.uri) and ".." not in folder.split("/")


def _results(found: Json, where: Place) -> str:
    """The object of a job's results; "" for a job that has none, or has them elsewhere: whatever a client
    names, nothing outside the configured prefix is read for it."""
    folder = text(obj(found.get("outputInfo")).get("gcsOutputDirectory"))
    match = _URI.fullmatch(folder)
    if match is None or not folder.startswith(where.uri) or ".." in folder.split("/"):
        return ""
    return f"{(match[2] or '').strip('/')}/predictions.jsonl"

"""Batch APIs: Anthropic's message batches, Gemini's files and batches, jobs of Bedrock and Vertex, which
keep their files in `storage`.

Forms: https://platform.claude.com/docs/en/api/creating-message-batches,
https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/gemini-api/docs/files#rest,
https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html, and the recordings
anthropic/batches, gemini/batches, gemini/files. A batch is under way when it is first looked at, and done
afterwards; one with "slow" in a message never ends, a request with "fail" in its message fails.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final
from urllib.parse import parse_qs, quote

from ...core.json import Json, dumps, loads
from ..answers import Answer
from ..brain import think
from ..received import Received
from . import anthropic, bedrock, gemini, storage
from .storage import CREATED, STORED

_ANTHROPIC: Final = re.compile(r"^/v1/messages/batches(?:/(?P<id>msgbatch_\w+)(?P<verb>/cancel|/results)?)?$")
_UPLOAD: Final = re.compile(r"^/upload/v1beta/files$")
_DOWNLOAD: Final = re.compile(r"^/download/v1beta/(?P<name>files/batch-\d+):download$")
_FILES: Final = re.compile(r"^/v1beta/(?P<name>files(?:/batchinput\d+)?)$")
_GENERATE: Final = re.compile(
    r"^/v1beta/(?P<model>(?:models|tunedModels)/[^/:]+):(?P<verb>batchGenerateContent|asyncBatchEmbedContent)$"
)
_BATCHES: Final = re.compile(r"^/v1beta/(?P<name>batches(?:/\w+)?)(?P<verb>:cancel)?$")
_JOBS: Final = re.compile(r"^/model-invocation-job(?:s|/(?P<id>[a-z0-9]{12})(?P<verb>/stop)?)?$")
_PREDICTIONS: Final = re.compile(
    r"^/v1/(?P<place>projects/[^/]+/locations/[^/]+)/batchPredictionJobs(?:/(?P<id>\d+)(?P<verb>:cancel)?)?$"
)
_ENDED: Final = "2025-06-01T10:02:00Z"
_ARN: Final = "arn:aws:bedrock:us-east-1:123456789012:model-invocation-job/"

_lock = threading.Lock()
_numbers = count(1)
_labels: dict[str, str] = {}
"""Display names of Gemini's files."""
_jobs: dict[str, _Job] = {}


@dataclass(slots=True)
class _Job:
    """One batch of whatever provider."""

    id: str
    requests: list[tuple[str, Json]]
    body: Json
    model: str = ""
    looks: int = 0
    cancelled: bool = False

    def state(self) -> str:
        """"running", "done" or "cancelled"; each look counts."""
        self.looks += 1
        if self.cancelled:
            return "cancelled"
        slow = any(b"slow" in dumps(request) for _, request in self.requests)
        return "running" if slow or self.looks < 2 else "done"

    @property
    def failing(self) -> int:
        return sum(_fails(request) for _, request in self.requests)


def _fails(request: Json) -> bool:
    return b"fail" in dumps(request)


def _begin(prefix: str, requests: list[tuple[str, Json]], body: Json, model: str = "") -> _Job:
    with _lock:
        job = _Job(f"{prefix}{next(_numbers)}", requests, body, model)
        _jobs[job.id] = job
    return job


def _mine(prefix: str) -> list[_Job]:
    """Newest first."""
    return [job for job in reversed(_jobs.values()) if job.id.startswith(prefix)]


# Anthropic.


def _anthropic(received: Received) -> Answer:
    headers = received.headers
    if not headers.get("x-api-key") or not headers.get("anthropic-version"):
        return anthropic.error(401, "x-api-key header is required")
    match = _ANTHROPIC.match(received.path)
    assert match is not None
    if match["id"] is None:
        if received.method == "POST":
            return _anthropic_created(received.json)
        return _anthropic_list(parse_qs(received.query))
    job = _jobs.get(match["id"])
    if job is None:
        return anthropic.error(404, "batch not found")
    if received.method == "DELETE":
        del _jobs[job.id]
        return Answer.json({"id": job.id, "type": "message_batch_deleted"})
    if match["verb"] == "/cancel":
        job.cancelled = True
        return Answer.json(_message_batch(job, "canceling"))
    if match["verb"] == "/results":
        results = [{"custom_id": id, "result": _anthropic_result(job, body)} for id, body in job.requests]
        return Answer.stream([dumps(line) + b"\n" for line in results], "application/x-jsonl")
    return Answer.json(_message_batch(job, job.state()))


def _anthropic_created(body: Json) -> Answer:
    requests = body.get("requests")
    if not isinstance(requests, list) or not requests:
        return anthropic.error(400, "requests: Field required")
    for request in requests:
        if set(request) != {"custom_id", "params"} or not re.fullmatch(r"[\w-]{1,64}", request["custom_id"]):
            return anthropic.error(400, "requests.0.custom_id: String should match pattern")
        if "max_tokens" not in request["params"] or "stream" in request["params"]:
            return anthropic.error(400, "requests.0.params: invalid")
    job = _begin("msgbatch_mock", [(each["custom_id"], each["params"]) for each in requests], body)
    return Answer.json(_message_batch(job, "running"))


def _anthropic_list(query: dict[str, list[str]]) -> Answer:
    jobs = _mine("msgbatch_")
    after = query.get("after_id", [""])[0]
    names = [job.id for job in jobs]
    if after:
        jobs = jobs[names.index(after) + 1 :] if after in names else []
    limit = int(query.get("limit", ["20"])[0])
    data = [_message_batch(job, job.state()) for job in jobs[:limit]]
    last = data[-1]["id"] if data else None
    return Answer.json({"data": data, "has_more": len(jobs) > limit, "first_id": None, "last_id": last})


def _message_batch(job: _Job, state: str) -> Json:
    ended = state in ("done", "cancelled")
    number = len(job.requests)
    counts = {"processing": 0 if ended else number, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    if state == "done":
        counts.update(succeeded=number - job.failing, errored=job.failing)
    elif state == "cancelled":
        counts["canceled"] = number
    return {
        "id": job.id, "type": "message_batch",
        "processing_status": "ended" if ended else "canceling" if state == "canceling" else "in_progress",
        "request_counts": counts, "created_at": CREATED, "expires_at": "2025-06-02T10:00:00Z",
        "ended_at": _ENDED if ended else None, "archived_at": None,
        "cancel_initiated_at": _ENDED if job.cancelled else None,
        "results_url": f"https://api.anthropic.com/v1/messages/batches/{job.id}/results" if ended else None,
    }  # fmt: skip


def _anthropic_result(job: _Job, body: Json) -> Json:
    if job.cancelled:
        return {"type": "canceled"}
    if _fails(body):
        error = {"type": "invalid_request_error", "message": "mock failure"}
        return {"type": "errored", "error": {"type": "error", "error": error}}
    message = loads(anthropic.messages(body, body["model"]).body)
    message["usage"]["service_tier"] = "batch"
    return {"type": "succeeded", "message": message}


# Gemini.


def _has_key(received: Received) -> bool:
    headers = received.headers
    return bool(headers.get("x-goog-api-key") or headers.get("authorization") or "key=" in received.query)


def _gemini_upload(received: Received) -> Answer:
    if not _has_key(received):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    command = received.headers.get("x-goog-upload-command")
    if command == "start":
        with _lock:
            name = f"files/batchinput{next(_numbers)}"
        _labels[name] = (received.json.get("file") or {}).get("displayName") or ""
        id = quote(name, safe="")
        url = f"https://upload.test/upload/v1beta/files?upload_id={id}&upload_protocol=resumable"
        return Answer(200, {"x-goog-upload-url": url, "x-goog-upload-status": "active"})
    name = parse_qs(received.query).get("upload_id", [""])[0]
    if command != "upload, finalize" or name not in _labels:
        return gemini.error(400, "Upload has already been terminated.")
    STORED[name] = received.body
    return Answer.json({"file": _gemini_file(name)})


def _gemini_file(name: str) -> Json:
    return {
        "name": name, "displayName": _labels[name], "mimeType": "application/jsonl",
        "sizeBytes": str(len(STORED[name])), "createTime": CREATED, "updateTime": CREATED,
        "expirationTime": "2025-06-03T10:00:00Z", "state": "ACTIVE", "source": "UPLOADED",
    }  # fmt: skip


def _gemini_files(received: Received) -> Answer:
    match = _FILES.match(received.path)
    assert match is not None
    if not _has_key(received):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    if match["name"] == "files":
        return Answer.json({"files": [_gemini_file(name) for name in reversed(_labels) if name in STORED]})
    if match["name"] not in STORED:
        return gemini.error(403, "You do not have permission to access the File or it may not exist.")
    if received.method == "DELETE":
        del STORED[match["name"]]
        return Answer.json({})
    return Answer.json(_gemini_file(match["name"]))


def _gemini_created(received: Received) -> Answer:
    match = _GENERATE.match(received.path)
    assert match is not None
    if not _has_key(received):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    batch = received.json.get("batch") or {}
    file = (batch.get("inputConfig") or {}).get("fileName")
    if not batch.get("displayName") or file not in STORED:
        return gemini.error(400, "Request contains an invalid argument.")
    lines = [loads(line) for line in STORED[file].splitlines()]
    member = "content" if match["verb"].startswith("async") else "contents"
    if any(set(line) != {"key", "request"} or not line["request"].get(member) for line in lines):
        return gemini.error(400, "Request contains an invalid argument.")
    job = _begin("batches/mock", [(line["key"], line["request"]) for line in lines], batch, match["model"])
    return Answer.json(_gemini_batch(job, "pending"))


def _gemini_batches(received: Received) -> Answer:
    match = _BATCHES.match(received.path)
    assert match is not None
    if not _has_key(received):
        return gemini.error(403, "Method doesn't allow unregistered callers.")
    if match["name"] == "batches":
        return Answer.json({"operations": [_gemini_batch(job, job.state()) for job in _mine("batches/")]})
    job = _jobs.get(match["name"])
    if job is None:
        return gemini.error(404, "Requested entity was not found.")
    if match["verb"]:
        job.cancelled = True
        return Answer.json({})
    return Answer.json(_gemini_batch(job, job.state()))


def _gemini_batch(job: _Job, state: str) -> Json:
    number, failing = len(job.requests), job.failing
    stats = {"requestCount": str(number), "pendingRequestCount": str(number)}
    metadata: Json = {
        "@type": f"type.googleapis.com/google.ai.generativelanguage.v1main.{_kind(job)}ContentBatch",
        "model": job.model, "displayName": job.body["displayName"], "createTime": CREATED,
        "updateTime": CREATED, "name": job.id, "batchStats": stats,
    }  # fmt: skip
    word = {"pending": "PENDING", "running": "RUNNING", "done": "SUCCEEDED", "cancelled": "CANCELLED"}[state]
    metadata["state"] = f"BATCH_STATE_{word}"
    operation: Json = {"name": job.id, "metadata": metadata}
    if state == "done":
        output = {"responsesFile": f"files/batch-{job.id.removeprefix('batches/mock')}"}
        stats.pop("pendingRequestCount")
        stats["successfulRequestCount"] = str(number - failing)
        if failing:
            stats["failedRequestCount"] = str(failing)
        metadata.update(endTime=_ENDED, output=output)
        operation.update(done=True, response={**output, "@type": "type.googleapis.com/…Output"})
    return operation


def _kind(job: _Job) -> str:
    return "Embed" if "content" in job.requests[0][1] else "Generate"


def _gemini_download(received: Received) -> Answer:
    match = _DOWNLOAD.match(received.path)
    assert match is not None
    job = _jobs.get("batches/mock" + match["name"].removeprefix("files/batch-"))
    if job is None or "alt=media" not in received.query or not _has_key(received):
        return gemini.error(404, "Requested entity was not found.")
    lines = []
    model = job.model.rpartition("/")[2]
    for key, request in job.requests:
        if _fails(request):
            lines.append({"key": key, "error": {"code": 3, "message": "mock failure"}})
        elif "content" in request:
            lines.append({"key": key, "response": {"embedding": {"values": [0.5, 0.25]}}})
        else:
            answer = gemini.whole(model, think(gemini.read_generate(request, model)))
            lines.append({"key": key, "response": answer})
    body = b"".join(dumps(line) + b"\n" for line in lines)
    return Answer(200, {"content-type": "application/octet-stream"}, body)


# Bedrock.


def _bedrock_jobs(received: Received) -> Answer:
    if not received.headers.get("authorization", "").startswith(("AWS4-HMAC-SHA256 ", "Bearer ")):
        return bedrock.error(403, "Missing Authentication Token")
    match = _JOBS.match(received.path)
    assert match is not None
    if received.path.endswith("jobs"):
        summaries = [_bedrock_job(job, job.state()) for job in _mine("jobmock")]
        return Answer.json({"invocationJobSummaries": summaries})
    if match["id"] is None:
        return _bedrock_created(received.json)
    job = _jobs.get(match["id"])
    if job is None:
        return bedrock.error(404, "The provided job could not be found.")
    if match["verb"]:
        job.cancelled = True
        return Answer.json({})
    return Answer.json(_bedrock_job(job, job.state()))


def _bedrock_created(body: Json) -> Answer:
    source = ((body.get("inputDataConfig") or {}).get("s3InputDataConfig") or {}).get("s3Uri") or ""
    key = source.removeprefix("s3://")
    if key not in STORED or not body.get("roleArn") or body.get("modelInvocationType") != "Converse":
        return bedrock.error(400, "Input data could not be read with the role's credentials.")
    lines = [loads(line) for line in STORED[key].splitlines()]
    if any(set(line) != {"recordId", "modelInput"} for line in lines):
        return bedrock.error(400, "Malformed records.")
    with _lock:
        number = next(_numbers)
    job = _Job(f"jobmock{number:05}", [(line["recordId"], line["modelInput"]) for line in lines], body)
    _jobs[job.id] = job
    return Answer.json({"jobArn": _ARN + job.id})


def _bedrock_job(job: _Job, state: str) -> Json:
    body = job.body
    status = {"running": "InProgress", "done": "Completed", "cancelled": "Stopped"}[state]
    told: Json = {
        "jobArn": _ARN + job.id, "jobName": body["jobName"], "modelId": body["modelId"],
        "roleArn": body["roleArn"], "status": status, "submitTime": CREATED, "lastModifiedTime": CREATED,
        "inputDataConfig": body["inputDataConfig"], "outputDataConfig": body["outputDataConfig"],
        "modelInvocationType": "Converse", "totalRecordCount": len(job.requests),
    }  # fmt: skip
    if state == "done":
        told.update(endTime=_ENDED, successRecordCount=len(job.requests) - job.failing)
        told["errorRecordCount"] = job.failing
        source = body["inputDataConfig"]["s3InputDataConfig"]["s3Uri"]
        place = body["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].removeprefix("s3://").rstrip("/")
        STORED[f"{place}/{job.id}/{source.rpartition('/')[2]}.out"] = _bedrock_output(job)
    return told


def _bedrock_output(job: _Job) -> bytes:
    lines = []
    for record, request in job.requests:
        line: Json = {"modelInput": request, "recordId": record}
        if _fails(request):
            line["error"] = {"errorCode": 400, "errorMessage": "mock failure"}
        else:
            line["modelOutput"] = bedrock.whole(think(bedrock.read_converse(request, job.body["modelId"])))
        lines.append(dumps(line) + b"\n")
    return b"".join(lines)


# Vertex.


def _vertex(received: Received) -> Answer:
    if not received.headers.get("authorization"):
        return gemini.error(401, "Request is missing required authentication credential.")
    match = _PREDICTIONS.match(received.path)
    assert match is not None
    if match["id"] is None:
        if received.method == "POST":
            return _vertex_created(received.json, match["place"])
        jobs = [_vertex_job(job, job.state()) for job in _mine("9000")]
        return Answer.json({"batchPredictionJobs": jobs})
    job = _jobs.get(match["id"])
    if job is None:
        return gemini.error(404, "The BatchPredictionJob does not exist.")
    if match["verb"]:
        job.cancelled = True
        return Answer.json({})
    return Answer.json(_vertex_job(job, job.state()))


def _vertex_created(body: Json, place: str) -> Answer:
    uris = ((body.get("inputConfig") or {}).get("gcsSource") or {}).get("uris") or [""]
    key = uris[0].removeprefix("gs://")
    if key not in STORED or not str(body.get("model")).startswith("publishers/google/models/"):
        return gemini.error(400, "Request contains an invalid argument.")
    lines = [loads(line) for line in STORED[key].splitlines()]
    if any(set(line) != {"request"} or not _labelled(line["request"]) for line in lines):
        return gemini.error(400, "Request contains an invalid argument.")
    requests = [(place, line["request"]) for line in lines]
    return Answer.json(_vertex_job(_begin("9000", requests, body), "pending"))


def _labelled(request: Json) -> bool:
    labels = request.get("labels") or {}
    return bool(labels) and all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for value in labels.values())


def _vertex_job(job: _Job, state: str) -> Json:
    body, number = job.body, len(job.requests)
    word = {"pending": "PENDING", "running": "RUNNING", "done": "SUCCEEDED", "cancelled": "CANCELLED"}[state]
    told: Json = {
        "name": f"{job.requests[0][0]}/batchPredictionJobs/{job.id}", "state": f"JOB_STATE_{word}",
        "displayName": body["displayName"], "model": body["model"], "inputConfig": body["inputConfig"],
        "outputConfig": body["outputConfig"], "createTime": CREATED, "startTime": CREATED,
        "completionStats": {"incompleteCount": str(number)},
    }  # fmt: skip
    if state == "done":
        place = f"{body['outputConfig']['gcsDestination']['outputUriPrefix']}/prediction-model-mock{job.id}"
        stats = {"successfulCount": str(number - job.failing), "failedCount": str(job.failing)}
        told.update(endTime=_ENDED, outputInfo={"gcsOutputDirectory": place}, completionStats=stats)
        model = body["model"].rpartition("/")[2]
        lines = [dumps(_prediction(request, model)) for _, request in job.requests]
        STORED[f"{place.removeprefix('gs://')}/predictions.jsonl"] = b"\n".join(lines)
    return told


def _prediction(request: Json, model: str) -> Json:
    line: Json = {"status": "", "processed_time": "2025-06-01T10:01:00.000+00:00", "request": request}
    if _fails(request):
        error = {"error": {"code": 400, "message": "mock failure", "status": "INVALID_ARGUMENT"}}
        return {**line, "status": f"Bad Request: {dumps(error).decode()}", "response": {}}
    return {**line, "response": gemini.whole(model, think(gemini.read_generate(request, model)))}


ROUTES: Final[list[tuple[re.Pattern[str], Callable[[Received], Answer]]]] = [
    (_ANTHROPIC, _anthropic),
    (_UPLOAD, _gemini_upload),
    (_DOWNLOAD, _gemini_download),
    (_FILES, _gemini_files),
    (_GENERATE, _gemini_created),
    (_BATCHES, _gemini_batches),
    (_JOBS, _bedrock_jobs),
    (_PREDICTIONS, _vertex),
    *storage.ROUTES,
]

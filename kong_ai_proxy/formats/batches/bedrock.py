"""Bedrock's model invocation jobs: requests and results are files in S3, below `bedrock.batch_bucket_prefix`.

Jobs are of the invocation type Converse, so their records are Converse's requests and answers for all models
alike. An input file's key tells its model.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html (records, `Converse`),
…/batch-inference-results.html (`modelOutput`, `error`, `.jsonl.out` below the job's id),
…/APIReference/API_CreateModelInvocationJob.html, API_GetModelInvocationJob.html,
API_ListModelInvocationJobs.html, API_StopModelInvocationJob.html; botocore's service model of bedrock (names,
patterns, states); https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html,
API_ListObjectsV2.html.
"""

from __future__ import annotations

import re
import uuid
from datetime import datetime
from email.utils import parsedate_to_datetime
from html import unescape
from typing import ClassVar, Final, NamedTuple
from urllib.parse import quote

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, dumps
from ..pivot import integer, obj, objects, text, unix_time
from ..steps import Asked, Step, Steps, Streamed
from .flow import Asking, Batches, Page, count, json_of, jsonl, no_batch, no_results, results_filename
from .ids import INPUT_NAME, FileName, input_name, model_of
from .lines import JSONL, OWN_MODEL, Lines, Result, ResultLines, error_of
from .objects import State, Status, Stored

_URI: Final = re.compile(r"s3://([a-z0-9][-.a-z0-9]{1,61}[a-z0-9])(?:/([-!_*'()./a-z0-9A-Z]*))?")
"""botocore: S3Uri."""
_KEY: Final = re.compile(r"[-!_*'()./a-z0-9A-Z]{1,900}")
_MODEL: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-:/._]{0,400}")
_STATES: Final[dict[str, Status]] = {
    "Submitted": "validating",
    "Validating": "validating",
    "Scheduled": "validating",
    "InProgress": "in_progress",
    "Completed": "completed",
    "PartiallyCompleted": "completed",
    "Failed": "failed",
    "Stopping": "cancelling",
    "Stopped": "cancelled",
    "Expired": "expired",
}
_JOBS: Final = "/model-invocation-job"
_CONTENTS: Final = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)
_MEMBER: Final = {
    name: re.compile(rf"<{name}>([^<]*)</{name}>") for name in ("Key", "Size", "LastModified")
}


class Place(NamedTuple):
    """Where a target's batches keep their files."""

    bucket: str
    prefix: str
    """"", or ends with a slash."""

    def path(self, key: str) -> str:
        """A key's path for a step to S3."""
        return f"/{self.bucket}/{quote(key, safe='/-_.~')}"


def place(call: Call) -> Place:
    """Raises ApiError (500) where the configuration names none."""
    options = call.options.bedrock
    configured = (options.batch_bucket_prefix if options else None) or ""
    found = _URI.fullmatch(configured)
    if found is None or "//" in (found[2] or "") or ".." in (found[2] or "").split("/"):
        raise _unconfigured("batch_bucket_prefix must be set to s3://bucket/prefix/ for batches")
    prefix = (found[2] or "").strip("/")
    return Place(found[1], f"{prefix}/" if prefix else "")


def _unconfigured(what: str) -> ApiError:
    return ApiError(500, f"model.options.bedrock.{what}", code="invalid_configuration")


class BedrockBatches(Batches):
    """See the module."""

    form: ClassVar = "bedrock"
    batch_pattern: ClassVar = re.compile(r"[a-z0-9]{12}")
    file_pattern: ClassVar = INPUT_NAME
    """An input file's name is its key below `batch_bucket_prefix`; nothing else is ever read for a client."""

    def store(self, asked: Asked, lines: Lines) -> Asking[Stored]:
        where = place(asked.call)
        model = lines.model
        if _MODEL.fullmatch(model) is None:
            raise BadRequest("invalid model", param="model")
        body = jsonl(
            (dumps({"recordId": line.custom_id, "modelInput": line.request}) for line in lines.lines), asked
        )
        name = input_name(model)
        yield Step(
            "PUT", where.path(where.prefix + name), body, service="s3", headers={"content-type": JSONL}
        )
        return Stored(name, len(body), asked.call.created, filename=lines.filename)

    def file(self, asked: Asked, file: FileName) -> Asking[Stored]:
        where = place(asked.call)
        if file.part == "in":
            key, filename = where.prefix + file.name, file.name
        else:
            key = self._results_key((yield from self._job(asked, file.name)), where)
            filename = results_filename(file.name, file.part)
        if not key:
            raise no_results(asked.call)
        reply = yield Step("HEAD", where.path(key), service="s3", passes=frozenset({404}))
        if reply.status == 404:
            raise no_results(asked.call)
        # The results' size is that of another form of them.
        size = count(reply.headers.get("content-length")) if file.part == "in" else None
        modified = _http_date(reply.headers.get("last-modified", ""))
        return Stored(file.name, size, modified, 0, filename, file.part)

    def files(self, asked: Asked, token: str) -> Page[Stored]:
        where = place(asked.call)
        after = f"&start-after={quote(where.prefix + token, safe='-_.~')}" if token else ""
        query = f"delimiter=%2F&list-type=2&max-keys=1000&prefix={quote(where.prefix, safe='-_.~')}{after}"
        reply = yield Step("GET", f"/{where.bucket}/?{query}", service="s3")
        document = reply.body.decode("utf-8", "replace")
        stored = []
        last = ""
        for entry in _CONTENTS.findall(document):
            member = {name: _found(pattern, entry) for name, pattern in _MEMBER.items()}
            last = member["Key"].removeprefix(where.prefix)
            if self.file_pattern.fullmatch(last):
                stored.append(
                    Stored(last, count(member["Size"]), unix_time(member["LastModified"]), filename=last)
                )
        return stored, last if "<IsTruncated>true<" in document else ""

    def delete(self, asked: Asked, file: FileName) -> Asking[None]:
        where = place(asked.call)
        if file.part != "in":
            raise BadRequest("results are deleted in S3", param="id")
        yield Step("DELETE", where.path(where.prefix + file.name), service="s3")

    def start(self, asked: Asked, name: str, endpoint: str) -> Asking[State]:
        call = asked.call
        where = place(call)
        model = model_of(name, _MODEL)
        if call.target.model.name is not None and model != call.model:
            raise BadRequest(f"{OWN_MODEL}{call.model}", param="input_file_id")
        if call.target.model.name is None:
            asked.check_access(model)
        options = call.options.bedrock
        role = (options.batch_role_arn or options.aws_assume_role_arn) if options else None
        if not role:
            raise _unconfigured("batch_role_arn must be set: batch jobs run as a role")
        token = uuid.uuid4().hex
        folder = f"s3://{where.bucket}/{where.prefix}"
        reply = yield Step(
            "POST",
            _JOBS,
            {
                "jobName": f"kong-{token}",
                "clientRequestToken": token,
                "roleArn": role,
                "modelId": model,
                "modelInvocationType": "Converse",
                "inputDataConfig": {"s3InputDataConfig": {"s3Uri": folder + name, "s3InputFormat": "JSONL"}},
                "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": f"{folder}output/"}},
            },
            service="control",
        )
        job = text(json_of(reply, call).get("jobArn")).rpartition("/")[2]
        if self.batch_pattern.fullmatch(job) is None:
            raise ApiError(502, "bedrock did not name the job", code="upstream_invalid_answer")
        return (yield from self.batch(asked, job))

    def batch(self, asked: Asked, name: str) -> Asking[State]:
        return self._state((yield from self._job(asked, name)), place(asked.call))

    def batches(self, asked: Asked, token: str) -> Page[State]:
        where = place(asked.call)
        following = f"&nextToken={quote(token, safe='')}" if token else ""
        query = f"maxResults=100&sortBy=CreationTime&sortOrder=Descending{following}"
        found = json_of((yield Step("GET", f"{_JOBS}s?{query}", service="control")), asked.call)
        jobs = [each for each in objects(found.get("invocationJobSummaries")) if _folder(each, where)]
        states = [self._state(each, where) for each in jobs]
        return [each for each in states if each.name], text(found.get("nextToken"))

    def cancel(self, asked: Asked, name: str) -> Asking[State]:
        yield from self._job(asked, name)
        yield Step("POST", f"{_JOBS}/{name}/stop", {}, service="control")
        return (yield from self.batch(asked, name))

    def results(self, asked: Asked, name: str, *, failed: bool) -> Steps:
        where = place(asked.call)
        key = self._results_key((yield from self._job(asked, name)), where)
        if not key:
            raise no_results(asked.call)
        reply = yield Step("GET", where.path(key), service="s3", streams=True, passes=frozenset({404}))
        if reply.status == 404:
            raise no_results(asked.call)
        return Streamed(JSONL, ResultLines(asked.call, self._adapter, read_result, failed))

    def _job(self, asked: Asked, name: str) -> Asking[Json]:
        """Raises ApiError (404) for a job that is none of ours."""
        where = place(asked.call)
        found = json_of((yield Step("GET", f"{_JOBS}/{name}", service="control")), asked.call)
        if not _folder(found, where):
            raise no_batch(name)
        return found

    def _results_key(self, found: Json, where: Place) -> str:
        """The key of a job's results; "" for a job that has none, or has them elsewhere: whatever a client
        names, nothing outside `batch_bucket_prefix` is read for it."""
        folder = _folder(found, where)
        name = self._input_of(obj(found.get("inputDataConfig")), where)
        job = text(found.get("jobArn")).rpartition("/")[2]
        key = folder.removeprefix(f"s3://{where.bucket}/").rstrip("/") + f"/{job}/{name}.out"
        good = folder and name and self.batch_pattern.fullmatch(job) and _KEY.fullmatch(key)
        return key if good else ""

    def _input_of(self, config: Json, where: Place) -> str:
        """The name of a job's input file, "" if it is none of ours."""
        uri = text(obj(config.get("s3InputDataConfig")).get("s3Uri"))
        name = uri.removeprefix(f"s3://{where.bucket}/{where.prefix}")
        return name if name != uri and self.file_pattern.fullmatch(name) else ""

    def _state(self, found: Json, where: Place) -> State:
        job = text(found.get("jobArn")).rpartition("/")[2]
        status = _STATES.get(text(found.get("status")), "in_progress")
        done = status in ("completed", "cancelled", "expired", "failed")
        total, failed = count(found.get("totalRecordCount")), count(found.get("errorRecordCount"))
        answered = count(found.get("successRecordCount"))
        # Jobs from before the counts were told have neither.
        known = integer(found.get("totalRecordCount")) is not None
        results = done and status != "failed" and bool(self._results_key(found, where))
        return State(
            job if self.batch_pattern.fullmatch(job) else "",
            status,
            created=_moment(found.get("submitTime")),
            ended=_moment(found.get("endTime")) if done else 0,
            expires=_moment(found.get("jobExpirationTime")),
            total=total,
            completed=answered,
            failed=failed,
            input=self._input_of(obj(found.get("inputDataConfig")), where),
            model=text(found.get("modelId")).rpartition("foundation-model/")[2],
            output=results and (answered > 0 or not known),
            errors=results and failed > 0,
            problem=text(found.get("message")) if status == "failed" else "",
        )


def _folder(found: Json, where: Place) -> str:
    """Where a job leaves its results; "" for one that leaves them elsewhere: it is none of ours, whatever
    else runs in the account."""
    folder = text(obj(obj(found.get("outputDataConfig")).get("s3OutputDataConfig")).get("s3Uri"))
    inside = folder.startswith(f"s3://{where.bucket}/{where.prefix}") and ".." not in folder.split("/")
    return folder if inside else ""


def read_result(line: Json) -> Result | None:
    """A line of a job's `.jsonl.out`."""
    record = text(line.get("recordId"))
    if not record:
        return None
    error = obj(line.get("error"))
    if error:
        status = integer(error.get("errorCode")) or 500
        return Result(record, error=error_of(error, status if 400 <= status < 600 else 500))
    return Result(record, obj(line.get("modelOutput")))


def _found(pattern: re.Pattern[str], entry: str) -> str:
    found = pattern.search(entry)
    return unescape(found[1]) if found else ""


def _moment(value: object) -> int:
    """A time as RFC 3339, or as seconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return integer(int(value)) or 0
    return unix_time(value)


def _http_date(value: str) -> int:
    try:
        moment: datetime = parsedate_to_datetime(value)
        return int(moment.timestamp())
    except (ValueError, TypeError, OverflowError):
        return 0

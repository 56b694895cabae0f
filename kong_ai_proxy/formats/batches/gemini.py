"""Batches of the public Gemini API: an uploaded file of generateContent requests, and a file of responses.

What must be known again of an input file (its model, how the client named it) is in its display name, and
which file a batch is of in the batch's.

Sources: https://ai.google.dev/gemini-api/docs/batch-api, https://ai.google.dev/api/batch-api (embeddings by
asyncBatchEmbedContent too), https://ai.google.dev/api/files and
https://ai.google.dev/gemini-api/docs/files#rest (upload); recordings gemini/batches, gemini/files.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlsplit

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.http import Headers
from ...core.json import Json, JSONDecodeError, dumps, dumps_text, loads
from ..base import Adapter, StreamDecoder
from ..pivot import integer, obj, objects, text, unix_time
from ..steps import Asked, Step, Steps, Streamed, Whole
from .flow import Asking, Batches, Page, count, json_of, jsonl, no_results, results_filename, same_endpoint
from .ids import FileName
from .lines import EMBEDDINGS, ENDPOINT, JSONL, OWN_MODEL, Lines, Result, ResultLines, error_of
from .objects import State, Status, Stored

_VERSION: Final = "v1beta"
_MODEL: Final = re.compile(r"(?:models/|tunedModels/)?[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_RESULTS: Final = re.compile(r"files/[A-Za-z0-9._-]{1,200}")
_STATES: Final[dict[str, Status]] = {
    "PENDING": "validating",
    "RUNNING": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
    "EXPIRED": "expired",
}
"""`BATCH_STATE_…` and, in the guide's examples, `JOB_STATE_…`."""
_LABEL: Final = "kong-ai-proxy"
_NAME_MAX: Final = 200
"""Characters of a client's file name; a display name has 512."""
_STATUS: Final = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501,
    13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
"""google.rpc.Code → HTTP status: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto."""


class OneEmbedding:
    """One text's embedding, as a line of a batch asks for it: embedContent's request and answer."""

    format = "gemini"

    def __init__(self, several: Adapter) -> None:
        """`several`: of batchEmbedContents, whose requests and embeddings are the same."""
        self._several = several

    def request(self, body: Json, call: Call) -> Json:
        """See `Adapter.request`."""
        made = self._several.request(body, call)
        requests = objects(obj(made).get("requests"))
        if len(requests) != 1:
            raise BadRequest("a line of a batch of Gemini's has one text as input", param="input")
        if body.get("encoding_format") == "base64":
            call.drop("encoding_format")
        return {name: value for name, value in requests[0].items() if name != "model"}

    def response(self, body: Json, call: Call) -> Json:
        """See `Adapter.response`."""
        found = body.get("embedding")
        embeddings = [found] if isinstance(found, dict) else None
        return self._several.response(
            {"embeddings": embeddings, "usageMetadata": body.get("usageMetadata")}, call
        )

    def stream(self, call: Call) -> StreamDecoder:
        """See `Adapter.stream`."""
        return self._several.stream(call)

    def error(self, status: int, headers: Headers, body: bytes, call: Call) -> ApiError:
        """See `Adapter.error`."""
        return self._several.error(status, headers, body, call)


class GeminiBatches(Batches):
    """See the module."""

    def __init__(self, adapter: Adapter, embeddings: Adapter) -> None:
        """`embeddings`: of batchEmbedContents."""
        super().__init__(adapter)
        self._forms[EMBEDDINGS] = OneEmbedding(embeddings)

    form: ClassVar = "gemini"
    batch_pattern: ClassVar = re.compile(r"batches/[A-Za-z0-9_-]{1,200}")
    file_pattern: ClassVar = re.compile(r"files/[A-Za-z0-9_-]{1,200}")

    def store(self, asked: Asked, lines: Lines) -> Asking[Stored]:
        model = lines.model
        if _MODEL.fullmatch(model) is None:
            raise BadRequest("Gemini needs the name of a model", param="model")
        body = jsonl(
            (dumps({"key": line.custom_id, "request": line.request}) for line in lines.lines), asked
        )
        label = dumps_text([_LABEL, model, lines.filename[:_NAME_MAX], lines.endpoint])
        begun = yield Step(
            "POST",
            f"/upload/{_VERSION}/files",
            {"file": {"displayName": label}},
            service="upload",
            headers={
                "x-goog-upload-protocol": "resumable",
                "x-goog-upload-command": "start",
                "x-goog-upload-header-content-length": str(len(body)),
                "x-goog-upload-header-content-type": JSONL,
            },
        )
        ended = yield Step(
            "POST",
            _same_host(begun.headers.get("x-goog-upload-url", ""), asked.call.provider),
            body,
            service="upload",
            headers={
                "content-type": JSONL,
                "x-goog-upload-command": "upload, finalize",
                "x-goog-upload-offset": "0",
            },
        )
        return _stored(obj(json_of(ended, asked.call).get("file")))

    def file(self, asked: Asked, file: FileName) -> Asking[Stored]:
        if file.part == "in":
            return _stored((yield from self._file_of(asked, file.name)))
        state = yield from self.batch(asked, file.name)
        name = results_filename(file.name.rpartition("/")[2], file.part)
        return Stored(file.name, None, state.ended, 0, name, file.part)

    def files(self, asked: Asked, token: str) -> Page[Stored]:
        found = json_of((yield Step("GET", _page("files", token))), asked.call)
        stored = [_stored(each) for each in objects(found.get("files"))]
        return [each for each in stored if self.file_pattern.fullmatch(each.name)], _token(found)

    def delete(self, asked: Asked, file: FileName) -> Asking[None]:
        if file.part != "in":
            raise BadRequest("Gemini deletes a batch's results by itself", param="id")
        yield Step("DELETE", f"/{_VERSION}/{file.name}")

    def start(self, asked: Asked, name: str, endpoint: str) -> Asking[State]:
        model, _, of = _label(text((yield from self._file_of(asked, name)).get("displayName")))
        call = asked.call
        if not model:
            raise BadRequest("the file was not uploaded here as a batch's", param="input_file_id")
        if call.target.model.name is not None and model != call.model:
            raise BadRequest(f"{OWN_MODEL}{call.model}", param="input_file_id")
        if call.target.model.name is None:
            asked.check_access(model)
        same_endpoint(endpoint, of)
        path = model if "/" in model else f"models/{model}"
        verb = "asyncBatchEmbedContent" if endpoint == EMBEDDINGS else "batchGenerateContent"
        reply = yield Step(
            "POST",
            f"/{_VERSION}/{path}:{verb}",
            {"batch": {"displayName": name, "inputConfig": {"fileName": name}}},
        )
        return self._state(json_of(reply, call))

    def batch(self, asked: Asked, name: str) -> Asking[State]:
        return self._state(json_of((yield Step("GET", f"/{_VERSION}/{name}")), asked.call))

    def batches(self, asked: Asked, token: str) -> Page[State]:
        found = json_of((yield Step("GET", _page("batches", token))), asked.call)
        states = [self._state(each) for each in objects(found.get("operations"))]
        return [each for each in states if self.batch_pattern.fullmatch(each.name)], _token(found)

    def cancel(self, asked: Asked, name: str) -> Asking[State]:
        yield Step("POST", f"/{_VERSION}/{name}:cancel", {})
        state = yield from self.batch(asked, name)
        if state.status in ("validating", "in_progress"):
            state.status = "cancelling"
        return state

    def results(self, asked: Asked, name: str, *, failed: bool) -> Steps:
        found = json_of((yield Step("GET", f"/{_VERSION}/{name}")), asked.call)
        output = _output(found)
        endpoint = _endpoint(found)
        lines = ResultLines(asked.call, self._forms[endpoint], read_result, failed, endpoint)
        file = text(output.get("responsesFile"))
        if _RESULTS.fullmatch(file):
            yield Step(
                "GET", f"/download/{_VERSION}/{file}:download?alt=media", service="upload", streams=True
            )
            return Streamed(JSONL, lines)
        member = "inlinedEmbedContentResponses" if endpoint == EMBEDDINGS else "inlinedResponses"
        inline = objects(obj(output.get(member)).get("inlinedResponses"))
        if not inline:
            raise no_results(asked.call)
        return Whole(lines.results(inline), content_type=JSONL)

    def _file_of(self, asked: Asked, name: str) -> Asking[Json]:
        return json_of((yield Step("GET", f"/{_VERSION}/{name}")), asked.call)

    def _state(self, found: Json) -> State:
        metadata = obj(found.get("metadata"))
        stats = obj(metadata.get("batchStats"))
        status = _STATES.get(text(metadata.get("state")).rpartition("STATE_")[2], "in_progress")
        answered, failed = count(stats.get("successfulRequestCount")), count(stats.get("failedRequestCount"))
        ended = unix_time(metadata.get("endTime"))
        made = bool(_output(found))
        source = text(obj(metadata.get("inputConfig")).get("fileName")) or text(metadata.get("displayName"))
        return State(
            text(found.get("name")),
            status,
            created=unix_time(metadata.get("createTime")),
            ended=ended,
            total=count(stats.get("requestCount")),
            completed=answered,
            failed=failed,
            input=source if self.file_pattern.fullmatch(source) else "",
            model=text(metadata.get("model")).removeprefix("models/"),
            output=made and answered > 0,
            errors=made and failed > 0,
            problem=text(obj(found.get("error")).get("message")) if status == "failed" else "",
            endpoint=_endpoint(found),
        )


def _endpoint(found: Json) -> str:
    """What a batch is of."""
    kind = text(obj(found.get("metadata")).get("@type"))
    return EMBEDDINGS if kind.endswith("EmbedContentBatch") else ENDPOINT


def _output(found: Json) -> Json:
    """A batch's output; the operation has it twice."""
    output = obj(obj(found.get("metadata")).get("output")) or obj(found.get("response"))
    return {name: value for name, value in output.items() if name != "@type"}


def _stored(found: Json) -> Stored:
    model, filename, _ = _label(text(found.get("displayName")))
    return Stored(
        text(found.get("name")),
        count(found.get("sizeBytes")),
        unix_time(found.get("createTime")),
        unix_time(found.get("expirationTime")),
        filename,
        batch=bool(model),
    )


def _label(display: str) -> tuple[str, str, str]:
    """The model of a file that was uploaded here ("" for any other's), its file name and endpoint."""
    try:
        label: Any = loads(display)
    except JSONDecodeError:
        return "", display, ""
    if not isinstance(label, list) or len(label) != 4 or label[0] != _LABEL:
        return "", display, ""
    model = text(label[1])
    return (model if _MODEL.fullmatch(model) else ""), text(label[2]), text(label[3])


def _same_host(url: str, provider: str) -> str:
    """Path and query of the address that an upload goes to. Its host is where the upload began: neither the
    key nor the file goes anywhere else."""
    parts = urlsplit(url)
    if not parts.path.startswith("/") or not url.isprintable() or " " in url:
        raise ApiError(502, f"{provider} did not say where to upload to", code="upstream_invalid_answer")
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _page(collection: str, token: str) -> str:
    query = f"&pageToken={quote(token, safe='')}" if token else ""
    return f"/{_VERSION}/{collection}?pageSize=100{query}"


def _token(found: Json) -> str:
    return text(found.get("nextPageToken"))


def read_result(line: Json) -> Result | None:
    """A line of a responses file, or an inlined response."""
    key = text(line.get("key"))
    if not key:
        metadata = obj(line.get("metadata"))
        key = text(metadata.get("key")) or text(metadata.get("custom_id"))
    if not key:
        return None
    response = obj(line.get("response"))
    # The guide calls it a status object.
    error = obj(line.get("error")) or obj(response.get("error")) or obj(line.get("status"))
    if error:
        number = integer(error.get("code")) or 0
        return Result(key, error=error_of(error, _STATUS.get(number, number if 400 <= number < 600 else 500)))
    return Result(key, response, id=text(response.get("responseId")))

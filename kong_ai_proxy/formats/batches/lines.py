"""The lines of a batch's input file, each translated to the provider's request, and those of its results,
each translated back.

Source: https://platform.openai.com/docs/api-reference/batch/request-input and …/batch/request-output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, JSONDecodeError, dumps, loads, loads_lenient
from ...core.usage import Usage, UsageSource
from ...wire.ndjson import LineTooLarge, NDJSONDecoder
from ..base import Adapter
from ..defaults import with_defaults
from ..openai.client import CLIENT
from ..openai.rest import add_usage
from ..pivot import obj, text
from ..steps import Asked

ENDPOINT: Final = "/v1/chat/completions"
"""What a batch that is translated can be of at every provider."""
EMBEDDINGS: Final = "/v1/embeddings"
"""What it can be of at some."""
_OPERATIONS: Final = {ENDPOINT: "chat", EMBEDDINGS: "embeddings"}
Forms: TypeAlias = Mapping[str, Adapter]
"""How a provider is asked for what an endpoint answers."""
JSONL: Final = "application/jsonl"
OWN_MODEL: Final = "cannot use own model - must be: "
_MOST: Final = 50_000
"""Lines of a batch: https://platform.openai.com/docs/guides/batch#rate-limits."""
_PAUSE: Final = 32
"""Lines after which others get their turn: a few milliseconds' work."""
_TIER: Final = "batch"


@dataclass(slots=True)
class Line:
    """One request of a batch."""

    custom_id: str
    model: str
    request: Json
    """The body in the provider's form."""


@dataclass(slots=True)
class Lines:
    """The requests of a batch."""

    lines: list[Line]
    endpoint: str = ENDPOINT
    filename: str = "batch.jsonl"
    size: int = 0
    """Bytes of the file as the client sent it."""

    @property
    def model(self) -> str:
        """The one model of all of them. Raises BadRequest where there are several."""
        model = self.lines[0].model
        for number, line in enumerate(self.lines, 1):
            if line.model != model:
                raise BadRequest(
                    f"line {number}: this provider's batches have one model, and the first line's is {model}",
                    param="model",
                )
        return model


@dataclass(slots=True)
class Result:
    """How one request of a batch went."""

    custom_id: str
    answer: Json | None = None
    """The provider's answer."""
    error: ApiError | None = None
    """The request failed, by the provider's answer to it."""
    missed: tuple[str, str] | None = None
    """The request was not answered: code and message."""
    id: str = ""
    """The provider's id of the request, where it has one."""


ReadResult: TypeAlias = Callable[[Json], Result | None]
"""A line of the provider's results; None for one that tells of no request."""


def from_file(asked: Asked, forms: Forms) -> Lines:
    """The requests in an uploaded file. Raises BadRequest naming the line."""
    file = next((each for each in asked.files if each.name == "file"), None)
    if file is None:
        raise BadRequest("the form has no file", param="file")
    purpose = asked.body.get("purpose")
    if purpose != "batch":
        raise BadRequest(
            f"provider {asked.call.provider} takes files of purpose batch only", param="purpose"
        )
    for name in asked.body:
        if name not in ("purpose", "model"):
            asked.call.drop(name)
    endpoint, lines = translated(_parsed(file.data), asked, forms, param="file")
    return Lines(lines, endpoint, file.filename or "batch.jsonl", len(file.data))


def from_list(asked: Asked, forms: Forms) -> Lines:
    """The requests that stand in the body of POST /batches itself, as `requests`."""
    given = asked.body.get("requests")
    if not isinstance(given, list):
        raise BadRequest("requests must be a list of a batch's lines", param="requests")
    endpoint, lines = translated(enumerate(given, 1), asked, forms, param="requests")
    return Lines(lines, endpoint)


def _parsed(data: bytes) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_lines(data), 1):
        if not line.strip():
            if number > 2 * _MOST:
                raise _too_many("file")
            continue
        try:
            yield number, loads(line)
        except (JSONDecodeError, RecursionError):
            raise BadRequest(f"line {number} is not JSON", param="file") from None


def _lines(data: bytes) -> Iterator[bytes]:
    """One at a time: a file of line ends has more of them than memory has room for."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        yield data[at:end]
        at = end + 1


def _too_many(param: str) -> BadRequest:
    return BadRequest(f"a batch has at most {_MOST} requests", param=param)


def translated(
    given: Iterable[tuple[int, Any]], asked: Asked, forms: Forms, *, param: str
) -> tuple[str, list[Line]]:
    """The endpoint and the requests. Raises BadRequest for the first line that cannot be asked of the
    provider."""
    lines: list[Line] = []
    seen: set[str] = set()
    endpoint = ""
    for number, line in given:
        if len(lines) == _MOST:
            raise _too_many(param)
        try:
            line = obj(line)
            endpoint = endpoint or _endpoint(line, forms, asked.call)
            if line.get("url", endpoint) != endpoint:
                raise BadRequest(f"all lines must be of {endpoint}, as the first", param="url")
            made = _translated(line, asked, endpoint, forms[endpoint])
            if made.custom_id in seen:
                raise BadRequest(f"custom_id {made.custom_id[:100]} is there twice", param="custom_id")
        except ApiError as error:
            status = error.status if error.status == 403 else 400
            code = error.code if status == 403 else None
            raise ApiError(
                status, f"line {number}: {error.message}", code=code, param=error.param or param
            ) from None
        seen.add(made.custom_id)
        lines.append(made)
        if len(lines) % _PAUSE == 0:
            asked.breathe()
    if not lines:
        raise BadRequest("there is no request in it", param=param)
    return endpoint, lines


def _endpoint(line: Json, forms: Forms, call: Call) -> str:
    url = line.get("url", ENDPOINT)
    if url not in forms:
        raise BadRequest(f"batches of {call.provider} are of {' or '.join(forms)} only", param="url")
    return text(url)


def _translated(line: Json, asked: Asked, endpoint: str, adapter: Adapter) -> Line:
    call = asked.call
    custom_id, body = line.get("custom_id"), line.get("body")
    if not isinstance(custom_id, str) or not custom_id or not custom_id.isprintable():
        raise BadRequest("custom_id must be a text", param="custom_id")
    if line.get("method", "POST") != "POST":
        raise BadRequest("method must be POST", param="method")
    if not isinstance(body, dict):
        raise BadRequest("body must be an object", param="body")
    own = _of_line(call, endpoint, _model(body, asked))
    body = {name: value for name, value in body.items() if name not in ("stream", "stream_options")}
    try:
        made = adapter.request(with_defaults(CLIENT.request(body, own), own), own)
    except ApiError:
        raise
    except Exception as error:
        # A body that an adapter was not written for.
        raise BadRequest(f"the body could not be translated ({type(error).__name__})", param="body") from None
    for path in own.dropped:
        call.drop(f"body.{path}")
    request = loads(made) if isinstance(made, bytes) else made
    request.pop("stream", None)
    return Line(custom_id, own.model, request)


def _model(body: Json, asked: Asked) -> str:
    """The model of a line, by the rule of chat: a configured one is added, and no other is taken."""
    call, said = asked.call, body.get("model")
    if said is not None and not isinstance(said, str):
        raise BadRequest("model must be a text", param="model")
    model = call.target.model
    if model.name is None:
        if not said:
            raise BadRequest("no model is configured, and the line names none", param="model")
        asked.check_access(said)
        return said
    if said not in (None, "", call.model, model.model_alias):
        raise BadRequest(f"{OWN_MODEL}{call.model}", param="model")
    return call.model


def _of_line(call: Call, endpoint: str, model: str) -> Call:
    """A call of its own for each line: what it used and dropped is noted apart; no line is the body."""
    return replace(
        call,
        operation=_OPERATIONS[endpoint],
        model=model,
        request=replace(call.request, body=b"", upload=None),
        rest=None,
        stream=False,
        include_usage=False,
        legacy_functions=False,
        echo={},
        answer_headers={},
        usage=Usage(),
        dropped=[],
        finish_reasons=[],
        response_model=None,
        response_id=None,
        prompt_bytes=None,
        output_bytes=0,
    )


@dataclass(slots=True)
class ResultLines:
    """A `Through` (see there): the provider's results as OpenAI's output file, or its error file.

    What the answers used is added to `call.usage` when the output file is read.
    """

    call: Call
    adapter: Adapter
    read: ReadResult
    failed: bool = False
    """The error file: only what failed; else only what was answered."""
    endpoint: str = ENDPOINT
    _lines: NDJSONDecoder = field(init=False)

    def __post_init__(self) -> None:
        self._lines = NDJSONDecoder(self.call.max_frame)

    def feed(self, data: bytes) -> bytes:
        """See `Through.feed`."""
        try:
            lines = self._lines.feed(data)
        except LineTooLarge:
            raise ApiError(
                502, "a line of the provider's results is too long", code="upstream_answer_too_large"
            ) from None
        return b"".join(map(self._translated, lines))

    def finish(self) -> bytes:
        """See `Through.finish`."""
        return b"".join(map(self._translated, self._lines.finish()))

    def results(self, lines: Iterable[Any]) -> bytes:
        """The same for lines that have been parsed."""
        return b"".join(self._of(line) for line in lines if isinstance(line, dict))

    def _translated(self, line: bytes) -> bytes:
        try:
            parsed = loads_lenient(line)
        except ValueError:
            return b""
        return self._of(parsed) if isinstance(parsed, dict) else b""

    def _of(self, line: Json) -> bytes:
        found = self.read(line)
        if found is None:
            return b""
        status, body = 200, None
        own = _of_line(self.call, self.endpoint, self.call.model)
        if found.missed is None and found.error is None:
            try:
                body = CLIENT.response(self.adapter.response(found.answer or {}, own), own)
            except ApiError as error:
                found.error = error
            except Exception:
                found.error = ApiError(502, "the answer could not be translated")
        if found.error is not None:
            status, body = found.error.status, CLIENT.error(found.error)
        if (status != 200 or found.missed is not None) != self.failed:
            return b""
        if status == 200 and found.missed is None:
            self._count(own)
        return dumps(_output(found, status, body, own)) + b"\n"

    def _count(self, own: Call) -> None:
        call = self.call
        if own.usage.source is UsageSource.REPORTED:
            add_usage(call.usage, own.usage)
            # All of these are billed by the prices of batches.
            call.usage.service_tier = _TIER
        call.response_model = own.response_model or call.response_model


def _output(found: Result, status: int, body: Json | None, own: Call) -> Json:
    request = found.id or own.response_id or ""
    error = None
    if found.missed is not None:
        error = {"code": found.missed[0], "message": found.missed[1]}
    return {
        "id": f"batch_req_{request or own.new_id('')}",
        "custom_id": found.custom_id,
        "response": None if error else {"status_code": status, "request_id": request, "body": body},
        "error": error,
    }


def error_of(value: Any, status: int = 500) -> ApiError:
    """An error object of some provider's, of which only message and kind are known."""
    error = obj(value)
    message = text(error.get("message")) or text(error.get("errorMessage")) or "the request failed"
    code = error.get("type") or error.get("status")
    return ApiError(status, message, code=code if isinstance(code, str) else None)

"""What is common to all providers: which step of OpenAI's flow is asked for, and its answer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from typing import Any, ClassVar, Final, TypeAlias, TypeVar
from urllib.parse import parse_qs, unquote

from ...core.call import Call
from ...core.errors import ApiError, BadRequest
from ...core.json import Json, loads_lenient
from ..base import Adapter
from ..steps import Asked, Reply, Step, Steps, Whole
from .ids import FileName, Part, batch_name, file_name
from .lines import ENDPOINT, Lines, from_file, from_list
from .objects import WINDOW, State, Stored, batch_object, deleted_object, file_object, list_object

T = TypeVar("T")
Asking: TypeAlias = Generator[Step, Reply, T]
"""Steps that come to something."""
Page: TypeAlias = Generator[Step, Reply, tuple[list[T], str]]
"""One page of the provider's list, and the token of the next one, "" for none."""

_KNOWN: Final = frozenset({"completion_window", "endpoint", "input_file_id", "model", "requests"})
_PAUSE: Final = 512
"""Lines after which others get their turn."""
_LIMIT: Final = 20
_MOST: Final = 100
_PAGES: Final = 50
"""Pages of the provider's list that are gone through to find where a page of the client's begins."""


class Batches(ABC):
    """A `StepsTranslation` (see there) of files and batches."""

    form: ClassVar[str]
    """Whose ids these are."""
    file_pattern: ClassVar[re.Pattern[str]]
    """What names of input files look like at the provider."""
    batch_pattern: ClassVar[re.Pattern[str]]

    def __init__(self, adapter: Adapter) -> None:
        """`adapter`: of the provider's chat."""
        self._adapter = adapter
        self._forms: dict[str, Adapter] = {ENDPOINT: adapter}

    def __call__(self, asked: Asked) -> Steps:
        segments = [unquote(segment) for segment in asked.rest.rest.split("/")[1:]]
        match asked.rest.operation, asked.method, segments:
            case "files", "POST", []:
                stored = yield from self.store(asked, from_file(asked, self._forms))
                return Whole(file_object(self.form, stored))
            case "files", "GET", []:
                return (yield from self._list_files(asked))
            case "files", "GET", [id]:
                stored = yield from self.file(asked, self._file(id))
                return Whole(file_object(self.form, stored))
            case "files", "DELETE", [id]:
                yield from self.delete(asked, self._file(id))
                return Whole(deleted_object(id))
            case "files", "GET", [id, "content"]:
                return (yield from self._content(asked, id))
            case "batches", "POST", []:
                return (yield from self._create(asked))
            case "batches", "GET", []:
                return (yield from self._list_batches(asked))
            case "batches", "GET", [id]:
                return self._told((yield from self.batch(asked, self._batch(id))))
            case "batches", "POST", [id, "cancel"]:
                return self._told((yield from self.cancel(asked, self._batch(id))))
        raise ApiError(404, f"Invalid URL ({asked.method})", code="unknown_url")

    # ---- what a provider has to say

    @abstractmethod
    def store(self, asked: Asked, lines: Lines) -> Asking[Stored]:
        """Leave the requests at the provider. Raises ApiError."""

    @abstractmethod
    def file(self, asked: Asked, file: FileName) -> Asking[Stored]:
        """What is known of a file."""

    @abstractmethod
    def files(self, asked: Asked, token: str) -> Page[Stored]:
        """Its files, newest first where the provider has that order."""

    @abstractmethod
    def delete(self, asked: Asked, file: FileName) -> Asking[None]:
        """Have a file deleted."""

    @abstractmethod
    def start(self, asked: Asked, name: str, endpoint: str) -> Asking[State]:
        """Have the requests in an input file answered, all of which are of this endpoint."""

    @abstractmethod
    def batch(self, asked: Asked, name: str) -> Asking[State]:
        """How a batch stands."""

    @abstractmethod
    def batches(self, asked: Asked, token: str) -> Page[State]:
        """Its batches."""

    @abstractmethod
    def cancel(self, asked: Asked, name: str) -> Asking[State]:
        """Have a batch ended early."""

    @abstractmethod
    def results(self, asked: Asked, name: str, *, failed: bool) -> Steps:
        """A batch's output or error file."""

    # ---- the flow

    def _create(self, asked: Asked) -> Steps:
        body = asked.body
        endpoint = body.get("endpoint", ENDPOINT)
        if endpoint not in self._forms:
            raise BadRequest(
                f"batches of provider {asked.call.provider} are of {' or '.join(self._forms)} only",
                param="endpoint",
            )
        if body.get("completion_window", WINDOW) != WINDOW:
            raise BadRequest(f"completion_window must be {WINDOW}", param="completion_window")
        metadata = body.get("metadata")
        if "requests" in body:
            lines = from_list(asked, self._forms)
            same_endpoint(endpoint, lines.endpoint)
            stored = yield from self.store(asked, lines)
            name = stored.name
        else:
            given = body.get("input_file_id")
            if not isinstance(given, str) or not given:
                raise BadRequest("input_file_id must be the id of a file", param="input_file_id")
            name = self._input(given)
        for member, value in body.items():
            if member not in _KNOWN and value:
                asked.call.drop(member)
        state = yield from self.start(asked, name, endpoint)
        if isinstance(metadata, dict):
            state.metadata = metadata
        state.input = state.input or name
        return self._told(state)

    def _input(self, given: str) -> str:
        """The input file's name at the provider. Raises BadRequest."""
        file = file_name(given, self.form, self.file_pattern, self.batch_pattern, param="input_file_id")
        if file.part != "in":
            raise BadRequest("a batch's results are no input", param="input_file_id")
        return file.name

    def _content(self, asked: Asked, id: str) -> Steps:
        file = self._file(id)
        if file.part == "in":
            raise BadRequest(
                f"input files cannot be read back from provider {asked.call.provider}: they are kept in its "
                "own form",
                param="id",
            )
        return (yield from self.results(asked, file.name, failed=file.part == "err"))

    def _list_batches(self, asked: Asked) -> Steps:
        after, limit = _window(asked.query)
        name = self._batch(after, "after") if after else ""
        found, more = yield from _gone_through(lambda token: self.batches(asked, token), name, limit)
        return Whole(list_object([batch_object(self.form, state) for state in found], more))

    def _list_files(self, asked: Asked) -> Steps:
        after, limit = _window(asked.query)
        name = self._file(after).name if after else ""
        found, more = yield from _gone_through(lambda token: self.files(asked, token), name, limit)
        return Whole(list_object([file_object(self.form, stored) for stored in found], more))

    def _told(self, state: State) -> Whole:
        return Whole(batch_object(self.form, state))

    def _file(self, id: str) -> FileName:
        return file_name(id, self.form, self.file_pattern, self.batch_pattern)

    def _batch(self, id: str, param: str = "batch_id") -> str:
        return batch_name(id, self.form, self.batch_pattern, param=param)


def same_endpoint(endpoint: str, lines: str) -> None:
    """Raises BadRequest where a file's lines are of another endpoint than its batch."""
    if endpoint != lines:
        raise BadRequest(f"the lines are of {lines}, not of {endpoint}", param="endpoint")


def _window(query: str) -> tuple[str, int]:
    """What a list's query asks for: after which id, how many."""
    given = parse_qs(query)
    limit = given.get("limit", [str(_LIMIT)])[0]
    if not limit.isdecimal() or not 1 <= int(limit[:6]) <= 10000:
        raise BadRequest("limit must be a number from 1 to 10000", param="limit")
    return given.get("after", [""])[0], min(int(limit[:6]), _MOST)


def _gone_through(
    page: Callable[[str], Page[Any]], after: str, limit: int
) -> Asking[tuple[list[Any], bool]]:
    """The part of a list behind `after`: providers' pages begin with tokens of their own, which OpenAI's
    clients have no place for, so pages are gone through from the first one on."""
    found: list[Any] = []
    token, reached = "", not after
    for _ in range(_PAGES):
        entries, token = yield from page(token)
        for entry in entries:
            if reached:
                found.append(entry)
            reached = reached or entry.name == after
        if not token or len(found) > limit:
            break
    if not reached:
        raise BadRequest("there is nothing behind that id, or it lies too far back", param="after")
    return found[:limit], len(found) > limit or (bool(token) and bool(found))


def json_of(reply: Reply, call: Call) -> Json:
    """A step's answer. Raises ApiError (502) where it is no JSON object."""
    try:
        parsed = loads_lenient(reply.body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise ApiError(502, f"{call.provider} answered with something that is not a JSON object")
    return parsed


def count(value: Any) -> int:
    """A number, or the text of one as Google writes 64 bits; 0 for anything else."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, int):
        return max(value, 0)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 19 else 0


def jsonl(lines: Iterable[bytes], asked: Asked) -> bytes:
    """The lines of a file."""
    made = []
    for number, line in enumerate(lines, 1):
        made.append(line)
        if number % _PAUSE == 0:
            asked.breathe()
    return b"\n".join([*made, b""])


def results_filename(batch: str, part: Part) -> str:
    """As OpenAI names its own."""
    return f"{batch}_{'output' if part == 'out' else 'error'}.jsonl"


def no_batch(name: str) -> ApiError:
    """What is said of a batch that is not the route's."""
    return ApiError(
        404, f"No such Batch object: {name}", type="invalid_request_error", code="not_found", param="batch_id"
    )


def no_results(call: Call) -> ApiError:
    """What is said of a file of results that is not there yet, or never will be."""
    return ApiError(
        404, f"{call.provider} has no results of this batch", type="invalid_request_error", code="not_found",
        param="id",
    )  # fmt: skip


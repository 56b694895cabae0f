"""Which of OpenAI's REST APIs a request is for: from its method and what follows the Kong route's prefix.

A route that strips its prefix shows only what follows, one that does not shows the prefix too; a route may
stand for the whole API (`/openai`) or for one resource (`/files`). So the resource's segment is looked for
from the end of the path, and where there is none the whole path is taken for what follows it.

Source: https://platform.openai.com/docs/api-reference (responses, assistants, threads, messages, runs, files,
batch, audio, images, videos).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from ..core.errors import ApiError, BadRequest
from ..core.http import ClientRequest
from ..core.rest import RestApi, RestCall

UNKNOWN_PATH: Final = "unknown_url"
WRONG_METHOD: Final = "method_not_allowed"

_ID: Final = r"/[^/]+"
_READ: Final = RestApi()
_STORE: Final = RestApi("json")
_BARE: Final = RestApi("any")
"""Actions: a POST that needs no body and may bring one."""

_Table = Mapping[str, Mapping[str, RestApi]]
"""Pattern of what follows the collection → method → API."""

_RESPONSES: Final[_Table] = {
    "": {"POST": RestApi("json", model="required", metered=True, stream=True, text=True)},
    "/compact": {"POST": RestApi("json", model="required", metered=True, text=True)},
    "/input_tokens": {"POST": RestApi("json", model="required")},
    _ID: {"GET": _READ, "DELETE": _READ},
    f"{_ID}/cancel": {"POST": _BARE},
    f"{_ID}/input_items": {"GET": _READ},
}
_RUN: Final = RestApi("json", model="optional", metered=True, stream=True)
_ASSISTANT: Final = RestApi("json", model="optional")
_ASSISTANTS: Final[_Table] = {
    "": {"GET": _READ, "POST": RestApi("json", model="required")},
    _ID: {"GET": _READ, "POST": _ASSISTANT, "DELETE": _READ},
}
_THREADS: Final[_Table] = {
    "": {"POST": _BARE},
    "/runs": {"POST": _RUN},
    _ID: {"GET": _READ, "POST": _STORE, "DELETE": _READ},
    f"{_ID}/messages": {"GET": _READ, "POST": _STORE},
    f"{_ID}/messages{_ID}": {"GET": _READ, "POST": _STORE, "DELETE": _READ},
    f"{_ID}/runs": {"GET": _READ, "POST": _RUN},
    f"{_ID}/runs{_ID}": {"GET": _READ, "POST": _STORE},
    f"{_ID}/runs{_ID}/cancel": {"POST": _BARE},
    f"{_ID}/runs{_ID}/submit_tool_outputs": {"POST": RestApi("json", metered=True, stream=True)},
    f"{_ID}/runs{_ID}/steps": {"GET": _READ},
    f"{_ID}/runs{_ID}/steps{_ID}": {"GET": _READ},
}
_FILES: Final[_Table] = {
    "": {"GET": _READ, "POST": RestApi("form")},
    _ID: {"GET": _READ, "DELETE": _READ},
    f"{_ID}/content": {"GET": RestApi(batch_output=True)},
}
_BATCHES: Final[_Table] = {
    "": {"GET": _READ, "POST": _STORE},
    _ID: {"GET": _READ},
    f"{_ID}/cancel": {"POST": _BARE},
}
_VIDEO_MADE: Final = RestApi("either", metered=True)
"""Of another video, whose model it keeps."""
_VIDEOS: Final[_Table] = {
    "": {"GET": _READ, "POST": RestApi("either", model="required", metered=True)},
    "/edits": {"POST": _VIDEO_MADE},
    "/extensions": {"POST": _VIDEO_MADE},
    "/characters": {"POST": RestApi("form")},
    f"/characters{_ID}": {"GET": _READ},
    _ID: {"GET": _READ, "DELETE": _READ},
    f"{_ID}/content": {"GET": _READ},
    f"{_ID}/remix": {"POST": RestApi("json", metered=True)},
}

_RESOURCES: Final[Mapping[str, Mapping[str, _Table]]] = {
    "responses": {"responses": _RESPONSES},
    "assistants": {"assistants": _ASSISTANTS, "threads": _THREADS},
    "files": {"files": _FILES},
    "batches": {"batches": _BATCHES},
    "video.generations": {"videos": _VIDEOS},
}
"""Operation → collection → its table."""

_SINGLE: Final[Mapping[str, RestApi]] = {
    "audio.speech": RestApi("json", model="required", metered=True, stream=True),
    "audio.transcriptions": RestApi("form", model="required", metered=True, stream=True),
    "audio.translations": RestApi("form", model="required", metered=True),
    "image.generations": RestApi("json", model="required", metered=True, stream=True),
    "image.edits": RestApi("either", model="required", metered=True, stream=True),
}
"""Operations that are one POST, to whatever path leads to the route."""
_SINGLE_ENDS: Final = {
    "audio.speech": "/speech",
    "audio.transcriptions": "/transcriptions",
    "audio.translations": "/translations",
    "image.generations": "/images/generations",
    "image.edits": "/images/edits",
}

PRESERVED: Final = RestCall("preserve", RestApi("any", metered=True, stream=True))
"""Whatever it is."""
REST: Final = frozenset({*_RESOURCES, *_SINGLE, "preserve"})
"""The operations that are recognised here."""

_IDENTIFIER: Final = re.compile(r"/(?:asst|batch|file|msg|resp|run|step|thread|video)[-_]")
_THREAD_WORDS: Final = re.compile(r"/(?:thread_|runs(?:/|$))")

_COMPILED: Final = {
    collection: tuple((re.compile(pattern), methods) for pattern, methods in table.items())
    for tables in _RESOURCES.values()
    for collection, table in tables.items()
}


def recognise_rest(
    operations: Iterable[str], request: ClientRequest, *, others: bool = False
) -> RestCall:
    """The API that a request is for, among those of `operations`. Where the route serves several kinds
    (`others`: also such as are not recognised here), the path has to say which.

    Raises ApiError: 404 for a path that is none of theirs, 405 for a method, 400 for an id that would lead
    elsewhere.
    """
    wanted = list(dict.fromkeys(operations))
    alone = len(wanted) == 1 and not others
    path = re.sub(r"//+", "/", request.path).rstrip("/")
    for operation in wanted:
        if operation in _SINGLE and (alone or path.endswith(_SINGLE_ENDS[operation])):
            if request.method != "POST":
                raise _wrong_method(request.method)
            return RestCall(operation, _SINGLE[operation])
    found = _by_segment(wanted, request.method, path)
    if found is None and "preserve" in wanted and not others:
        return PRESERVED
    if found is None and alone:
        found = _by_rest(wanted[0], request.method, path)
    if found is None:
        raise ApiError(404, f"Invalid URL ({request.method} {_shown(path)})", code=UNKNOWN_PATH)
    return found


def _by_segment(wanted: list[str], method: str, path: str) -> RestCall | None:
    """By the last segment of the path that names a collection and is followed by what it knows."""
    collections = {
        collection: operation for operation in wanted for collection in _RESOURCES.get(operation, ())
    }
    segments = path.split("/")
    refusal: ApiError | None = None
    for position in range(len(segments) - 1, 0, -1):
        operation = collections.get(segments[position])
        if operation is None:
            continue
        rest = "".join(f"/{segment}" for segment in segments[position + 1 :])
        try:
            found = _in_collection(operation, segments[position], method, rest)
        except ApiError as error:
            refusal = refusal or error
            continue
        if found is not None:
            return found
        refusal = refusal or ApiError(404, f"Invalid URL ({method} {_shown(path)})", code=UNKNOWN_PATH)
    if refusal is not None:
        raise refusal
    return None


def _by_rest(operation: str, method: str, path: str) -> RestCall | None:
    """By a path from which the route took the collection's segment away."""
    if operation not in _RESOURCES:
        return None
    collection = next(iter(_RESOURCES[operation]))
    if operation == "assistants" and _THREAD_WORDS.match(path):
        collection = "threads"
    refusal: ApiError | None = None
    try:
        found = _in_collection(operation, collection, method, path)
    except ApiError as error:
        refusal, found = error, None
    if found is not None:
        return found
    if method == "POST" and not _IDENTIFIER.search(path):
        # Routes may have any path: what is posted there is something to create.
        return _in_collection(operation, collection, method, "")
    if refusal is not None:
        raise refusal
    return None


def _in_collection(operation: str, collection: str, method: str, rest: str) -> RestCall | None:
    """None where `rest` is nothing that the collection knows. Raises ApiError for another method."""
    for pattern, methods in _COMPILED[collection]:
        if pattern.fullmatch(rest) is None:
            continue
        api = methods.get(method)
        if api is not None:
            return RestCall(operation, api, collection, encoded(rest))
        if collection != "responses" or rest not in ("/compact", "/input_tokens"):
            raise _wrong_method(method, methods)
    return None


def encoded(rest: str) -> str:
    """Ids and actions, each decoded and encoded anew as one segment. Raises BadRequest for what would lead
    elsewhere."""
    segments = []
    for segment in rest.split("/")[1:]:
        plain = unquote(segment)
        if not plain.isprintable() or any(part in ("", ".", "..") for part in re.split(r"[/\\]", plain)):
            raise BadRequest("the path names no valid id", code="invalid_id")
        segments.append(quote(plain, safe=":@~"))
    return "".join(f"/{segment}" for segment in segments)


def _wrong_method(method: str, methods: Iterable[str] = ("POST",)) -> ApiError:
    allowed = ", ".join(methods)
    return ApiError(
        405,
        f"Not allowed to {method} here; allowed: {allowed}",
        type="invalid_request_error",
        code=WRONG_METHOD,
        headers={"allow": allowed},
    )


def _shown(path: str) -> str:
    return path[:200] or "/"

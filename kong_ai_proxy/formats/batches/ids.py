"""Ids of files and batches at providers without OpenAI's API: the resource's name there, spelled for a path.

Nothing is stored here, so an id has to hold what must be known again: whose it is, what of it is meant, and
its name at the provider, as base64url of lines. It is decoded strictly: only what `file_id` and `batch_id`
themselves would make of a name that the provider's own pattern allows.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from typing import Final, Literal, NamedTuple

from ...core.errors import ApiError, BadRequest

Part = Literal["in", "out", "err"]
"""Of a batch: its input file, the file of its answers, the file of what failed."""

FORMS: Final = frozenset({"anthropic", "bedrock", "gemini", "vertex"})
_FILE: Final = "file-"
_BATCH: Final = "batch_"
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]{1,2048}")
_PARTS: Final[dict[str, Part]] = {"in": "in", "out": "out", "err": "err"}


class FileName(NamedTuple):
    """What a file's id says."""

    part: Part
    name: str
    """Of the file itself, or ("out", "err") of the batch it belongs to."""


def file_id(form: str, part: Part, name: str) -> str:
    """The id of a file at the provider whose form this is ("gemini", "bedrock", …)."""
    return _encoded(_FILE, form, part, name)


def batch_id(form: str, name: str) -> str:
    """The id of a batch."""
    return _encoded(_BATCH, form, name)


def file_name(
    given: str, form: str, file: re.Pattern[str], batch: re.Pattern[str], *, param: str | None = None
) -> FileName:
    """What a file's id names; the patterns are what names of files and batches look like at the provider.

    Raises ApiError: 404, or where the id is a parameter of a body (`param`) 400.
    """
    lines = _decoded(given, _FILE, form)
    if lines is not None and len(lines) == 2 and lines[0] in _PARTS:
        pattern = file if lines[0] == "in" else batch
        if pattern.fullmatch(lines[1]):
            return FileName(_PARTS[lines[0]], lines[1])
    raise _unknown("File", given, param or "id", 400 if param else 404)


def batch_name(given: str, form: str, batch: re.Pattern[str], *, param: str = "batch_id") -> str:
    """The batch that an id names. Raises ApiError (404)."""
    lines = _decoded(given, _BATCH, form)
    if lines is not None and len(lines) == 1 and batch.fullmatch(lines[0]):
        return lines[0]
    raise _unknown("Batch", given, param, 404)


def form_of(given: str) -> str | None:
    """Whose file or batch an id names, by its look alone; None: not one of ours."""
    prefix = _FILE if given.startswith(_FILE) else _BATCH
    encoded = given.removeprefix(prefix)
    if encoded == given or _ALPHABET.fullmatch(encoded) is None:
        return None
    try:
        first = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).partition(b"\n")[0]
    except binascii.Error:
        return None
    form = first.decode("ascii", "replace")
    return form if form in FORMS else None


def _encoded(prefix: str, *lines: str) -> str:
    return prefix + base64.urlsafe_b64encode("\n".join(lines).encode()).decode().rstrip("=")


def _decoded(given: str, prefix: str, form: str) -> list[str] | None:
    """The lines behind the form's name; None where it is no id of this form's."""
    encoded = given.removeprefix(prefix)
    if encoded == given or _ALPHABET.fullmatch(encoded) is None:
        return None
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    lines = text.split("\n")
    # Base64 has several spellings of some texts.
    if lines[0] != form or _encoded(prefix, *lines) != given:
        return None
    return lines[1:]


def _unknown(what: str, given: str, param: str, status: int) -> ApiError:
    shown = given[:100] if given.isprintable() else "so named"
    return ApiError(
        status, f"No such {what} object: {shown}", type="invalid_request_error", code="not_found", param=param
    )


INPUT_NAME: Final = re.compile(r"([A-Za-z0-9_-]{1,600})\.([0-9a-f]{32})\.jsonl")
"""An input file in storage of the operator's: its model as base64url, and a number of its own."""


def input_name(model: str) -> str:
    """A new input file's name."""
    packed = base64.urlsafe_b64encode(model.encode()).decode().rstrip("=")
    return f"{packed}.{uuid.uuid4().hex}.jsonl"


def model_of(name: str, model: re.Pattern[str]) -> str:
    """The model that an input file's name tells. Raises BadRequest where it is none."""
    packed = name.partition(".")[0]
    try:
        found = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
    except (binascii.Error, ValueError):
        found = ""
    if model.fullmatch(found) is None:
        raise BadRequest("the file was not uploaded here", param="input_file_id")
    return found

"""Ids of videos that are made at providers without OpenAI's API.

Nothing is stored here: an id holds what must be known again, the job's name at the provider first of all. It
is `video_` and the base64url form of lines: whose job, its name there, then what the client was told of it
when it was made (seconds, size, model, created). Whoever changes an id changes what the answer repeats to
them, and nothing else: the job's name is checked by the provider's own pattern before it becomes part of a
request.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from ...core.errors import ApiError

_PREFIX: Final = "video_"
_LONGEST: Final = 2048
FORMS: Final = frozenset({"bedrock", "dashscope", "huggingface", "sora", "veo", "vertex", "xai"})
"""Whose jobs there are ids of."""
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]+")
_SECONDS: Final = re.compile(r"(?:\d{1,5})?")
_SIZE: Final = re.compile(r"(?:\d{1,5}x\d{1,5})?")
_MODEL: Final = re.compile(r"[\x20-\x7e]{0,256}")
_CREATED: Final = re.compile(r"(?:\d{1,12})?")


@dataclass(frozen=True, slots=True)
class Job:
    """One video's job. All but `name` may be empty or 0 where a provider tells it itself."""

    name: str
    """At the provider."""
    seconds: str = ""
    size: str = ""
    """As OpenAI writes it: "1280x720"."""
    model: str = ""
    created: int = 0
    """Unix seconds."""


def encode(form: str, job: Job) -> str:
    """The id of a job of the provider whose form this is ("veo", "bedrock", …)."""
    lines = [form, job.name, job.seconds, job.size, job.model, str(job.created or "")]
    text = "\n".join(lines).rstrip("\n")
    return _PREFIX + base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def form_of(rest: str) -> str | None:
    """Whose an id is, by its look alone, at the beginning of what follows a collection ("/video_…/content").
    None: not one of ours."""
    encoded = rest.lstrip("/").partition("/")[0].removeprefix(_PREFIX)
    try:
        form = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).partition(b"\n")[0].decode()
    except ValueError:
        return None
    return form if form in FORMS else None


def decode(segment: str, form: str, name: re.Pattern[str]) -> Job:
    """The job of an id as it stands in a path. `name` is what its name has to look like.

    Raises ApiError (404) for an id that is not exactly one of this form's.
    """
    given = unquote(segment)
    encoded = given.removeprefix(_PREFIX)
    if encoded == given or len(given) > _LONGEST or _ALPHABET.fullmatch(encoded) is None:
        raise _unknown(given)
    try:
        text = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except (binascii.Error, ValueError):
        raise _unknown(given) from None
    lines = text.split("\n")
    if len(lines) > 6 or lines[0] != form or len(lines) < 2:
        raise _unknown(given)
    lines += [""] * (6 - len(lines))
    patterns = (name, _SECONDS, _SIZE, _MODEL, _CREATED)
    if any(pattern.fullmatch(line) is None for pattern, line in zip(patterns, lines[1:], strict=True)):
        raise _unknown(given)
    job = Job(lines[1], lines[2], lines[3], lines[4], int(lines[5] or 0))
    if encode(form, job) != given:
        raise _unknown(given)
    return job


def _unknown(given: str) -> ApiError:
    shown = given[:100] if given.isprintable() else "so named"
    return ApiError(
        404, f"no video {shown} here", type="invalid_request_error", code="not_found", param="video_id"
    )

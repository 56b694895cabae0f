"""What OpenAI's videos API asks for and answers, whichever provider makes the video.

Source: https://platform.openai.com/docs/api-reference/videos, and the types of the openai SDK
(`openai.types.Video`, `VideoCreateParams`).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import gcd
from typing import Any, ClassVar, Final, NoReturn
from urllib.parse import parse_qs

from ...core.errors import ApiError, BadRequest
from ...core.json import Json, JSONDecodeError, loads, loads_lenient
from ...core.usage import UsageSource
from ..pivot import text
from ..steps import Asked, Reply, Steps, Whole
from .ids import Job, decode, encode

_OWN: Final = frozenset({"model", "prompt", "seconds", "size", "input_reference", "extra_body", "stream"})
"""Fields of OpenAI's request; all others are the provider's, as is what is in `extra_body`."""
_BRACKETS: Final = re.compile(r"(extra_body|input_reference)\[(\w{1,100})\]")
"""How the openai SDK writes members of an object into a form."""
_SIZE: Final = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})")
_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,40});base64,", re.IGNORECASE)
_MAGIC: Final = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))
_NUMBER: Final = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_FORM_VALUES: Final = {"true": True, "false": False}
_TASKS: Final = frozenset({"edits", "extensions", "characters"})
"""What stands in an id's place in OpenAI's paths that are no video's."""
_LIMIT: Final = (20, 100)
"""Videos on a page: by default, at most."""


@dataclass(slots=True)
class Picture:
    """The image that a video is to begin with: its bytes, or where it is."""

    content_type: str = ""
    data: bytes = b""
    url: str = ""

    @property
    def base64(self) -> str:
        return base64.b64encode(self.data).decode()

    @property
    def data_url(self) -> str:
        """For providers that take an address: its own, or one that holds it."""
        return self.url or f"data:{self.content_type};base64,{self.base64}"


@dataclass(slots=True)
class VideoRequest:
    """A request for a video."""

    prompt: str
    seconds: int | None = None
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    picture: Picture | None = None
    extra: Json = field(default_factory=dict)
    """The provider's own parameters."""

    @property
    def size_text(self) -> str:
        return "" if self.size is None else f"{self.size[0]}x{self.size[1]}"

    def take(self, known: Mapping[str, type | tuple[type, ...]], asked: Asked) -> Json:
        """Of the provider's own parameters those that it has, by their names and types; the others are noted
        as dropped. BadRequest for one of another type."""
        found: Json = {}
        for name, value in self.extra.items():
            wanted = known.get(name)
            if wanted is None:
                asked.call.drop(name)
            elif not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise BadRequest(f"{name} is of another type here", param=name)
            else:
                found[name] = value
        return found

    def bytes_only(self, provider: str) -> Picture | None:
        """The picture for a provider that does not fetch one. BadRequest where the client only says where
        it is: what a gateway may reach is not for its clients to look at."""
        if self.picture is not None and self.picture.url:
            raise BadRequest(
                f"provider {provider} takes no address of an image: send the image itself, or as a data URL",
                param="input_reference",
            )
        return self.picture


def read_request(asked: Asked) -> VideoRequest:
    """From JSON or a form. Raises BadRequest naming the field."""
    body = dict(asked.body)
    form = asked.call.request.headers.get("content-type", "").lower().startswith("multipart/")
    extra: Json = {}
    reference: Any = body.get("input_reference")
    for name in list(body):
        match = _BRACKETS.fullmatch(name) if form else None
        if match is not None and match[1] == "extra_body":
            extra[match[2]] = _plain(body.pop(name))
        elif match is not None:
            reference = {**(reference if isinstance(reference, dict) else {}), match[2]: body.pop(name)}
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise BadRequest("a video needs a prompt", param="prompt")
    extra.update({name: _plain(value) if form else value for name, value in body.items() if name not in _OWN})
    extra.update(_object(body.get("extra_body"), "extra_body"))
    return VideoRequest(
        prompt,
        _seconds(body.get("seconds")),
        _size(body.get("size")),
        _picture(asked, reference),
        {name: value for name, value in extra.items() if value is not None},
    )


def _object(value: object, name: str) -> Json:
    """An object, which a form holds as its JSON text."""
    if isinstance(value, str) and value:
        try:
            value = loads(value)
        except JSONDecodeError:
            raise BadRequest(f"{name} must be an object", param=name) from None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"{name} must be an object", param=name)
    return value


def _plain(value: object) -> object:
    """A form's text for what it would be in JSON."""
    if not isinstance(value, str):
        return value
    if value in _FORM_VALUES:
        return _FORM_VALUES[value]
    if _NUMBER.fullmatch(value) is None:
        return value
    return float(value) if "." in value else int(value)


def _seconds(value: object) -> int | None:
    """OpenAI writes them as text; a number is understood too."""
    if value is None or value == "":
        return None
    digits = value if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not digits.isascii() or not digits.isdigit() or not 1 <= len(digits) <= 5:
        raise BadRequest("seconds must be a whole number", param="seconds")
    return int(digits)


def _size(value: object) -> tuple[int, int] | None:
    if value is None or value == "":
        return None
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise BadRequest("size must be written as 1280x720", param="size")
    return int(match[1]), int(match[2])


def _picture(asked: Asked, given: object) -> Picture | None:
    for part in asked.files:
        if part.name == "input_reference":
            kind = part.content_type.partition(";")[0].strip().lower()
            return Picture(kind if kind.startswith("image/") else _sniffed(part.data), part.data)
    if given is None or given == "":
        return None
    if isinstance(given, dict):
        if given.get("file_id"):
            raise BadRequest("there are no stored files here: send the image itself", param="input_reference")
        given = given.get("image_url")
    if not isinstance(given, str):
        raise BadRequest("input_reference must be an image", param="input_reference")
    match = _DATA_URL.match(given)
    if match is None:
        if not given.lower().startswith("https://") or not given.isprintable() or " " in given:
            raise BadRequest(
                "input_reference must be an image, as data or by its URL", param="input_reference"
            )
        return Picture(url=given)
    try:
        return Picture(match[1].lower(), base64.b64decode(given[match.end() :], validate=True))
    except binascii.Error:
        raise BadRequest("input_reference is not base64", param="input_reference") from None


def _sniffed(data: bytes) -> str:
    found = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if found is None:
        raise BadRequest("input_reference must be a PNG, JPEG or WebP image", param="input_reference")
    return found


def aspect_ratio(size: tuple[int, int]) -> str:
    """In lowest terms: "16:9"."""
    divisor = gcd(*size)
    return f"{size[0] // divisor}:{size[1] // divisor}"


def bad_seconds(provider: str, allowed: str) -> BadRequest:
    return BadRequest(
        f"provider {provider} makes videos of {allowed} seconds with this model", param="seconds"
    )


def bad_size(provider: str, allowed: str) -> BadRequest:
    return BadRequest(f"provider {provider} makes videos of {allowed} with this model", param="size")


@dataclass(slots=True)
class State:
    """How a job stands, in OpenAI's words."""

    status: str
    """queued, in_progress, completed or failed."""
    progress: int | None = None
    """Percent, where the provider tells."""
    completed: int | None = None
    expires: int | None = None
    """Unix seconds."""
    code: str = ""
    message: str = ""
    """Why it failed."""


def video(video_id: str, job: Job, state: State) -> Json:
    """OpenAI's Video object. Members that nobody knows are null."""
    done = state.status == "completed"
    failed = state.status == "failed"
    return {
        "id": video_id,
        "object": "video",
        "created_at": job.created,
        "status": state.status,
        "completed_at": state.completed,
        "error": {"code": state.code or "generation_failed", "message": state.message} if failed else None,
        "expires_at": state.expires,
        "model": job.model,
        "progress": 100 if done else min(max(state.progress or 0, 0), 100),
        "remixed_from_video_id": None,
        "seconds": job.seconds or None,
        "size": job.size or None,
    }


def page(videos: list[Json], *, more: bool) -> Whole:
    """OpenAI's list of videos."""
    return Whole(
        {
            "object": "list",
            "data": videos,
            "first_id": videos[0]["id"] if videos else None,
            "last_id": videos[-1]["id"] if videos else None,
            "has_more": more,
        }
    )


@dataclass(frozen=True, slots=True)
class Paging:
    """What a list is asked for."""

    limit: int
    ascending: bool
    after: str
    """An id, or ""."""

    @classmethod
    def of(cls, query: str) -> Paging:
        """Raises BadRequest naming the parameter."""
        given = {name: values[-1] for name, values in parse_qs(query).items()}
        limit = given.get("limit", str(_LIMIT[0]))
        if not limit.isascii() or not limit.isdigit() or len(limit) > 9:
            raise BadRequest("limit must be a whole number", param="limit")
        order = given.get("order", "desc")
        if order not in ("asc", "desc"):
            raise BadRequest("order must be asc or desc", param="order")
        return cls(min(max(int(limit), 1), _LIMIT[1]), order == "asc", given.get("after", ""))


def answer(reply: Reply) -> Json:
    """A provider's JSON answer. ApiError (502) where it is none."""
    try:
        body = loads_lenient(reply.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(
            502, "the provider answered with something other than JSON", code="bad_upstream_answer"
        )
    return body


def unreadable(what: str) -> ApiError:
    """The provider's answer lacks what it must have."""
    return ApiError(502, f"the provider's answer has no {what}", code="bad_upstream_answer")


def unix(moment: object) -> int | None:
    """Unix seconds of a time in ISO 8601, or of a number of seconds; None for anything else."""
    if isinstance(moment, (int, float)) and not isinstance(moment, bool) and 0 < moment < 1e11:
        return int(moment)
    try:
        found = datetime.fromisoformat(text(moment))
    except ValueError:
        return None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


class Videos:
    """The videos API at one provider: base of its form's translation. Stateless."""

    form: ClassVar[str]
    """Its ids say whose they are."""
    name: ClassVar[re.Pattern[str]]
    """What a job's name looks like at the provider."""
    carries: ClassVar[bool] = True
    """Its ids hold what a client was told when the job was made, for the provider tells nothing of it."""

    def __call__(self, asked: Asked) -> Steps:
        """See `StepsTranslation`."""
        rest = asked.rest.rest.strip("/")
        video_id, _, action = rest.partition("/")
        if not rest:
            return (yield from (self._create(asked) if asked.method == "POST" else self.listed(asked)))
        if video_id in _TASKS:
            self._refuse(asked, f"has no {video_id} of videos")
        job = decode(video_id, self.form, self.name)
        if action == "content":
            variant = parse_qs(asked.query).get("variant", ["video"])[-1]
            if variant != "video":
                raise BadRequest(f"provider {asked.call.provider} has no {variant[:40]}", param="variant")
            return (yield from self.content(asked, job))
        if action:
            self._refuse(asked, "cannot remix a video")
        if asked.method == "DELETE":
            return (yield from self.delete(asked, job))
        return (yield from self.retrieve(asked, job))

    def _create(self, asked: Asked) -> Steps:
        if not asked.call.model:
            raise BadRequest("a video needs a model", param="model")
        return (yield from self.create(asked, read_request(asked)))

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """Starts a job."""
        raise NotImplementedError

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """Asks how it stands."""
        raise NotImplementedError

    def content(self, asked: Asked, job: Job) -> Steps:
        """Fetches the video."""
        raise NotImplementedError

    def listed(self, asked: Asked) -> Steps:
        """All videos."""
        self._refuse(asked, "has no list of videos")

    def delete(self, asked: Asked, job: Job) -> Steps:
        """Deletes a video."""
        self._refuse(asked, "deletes no videos")

    def video(self, job: Job, state: State) -> Json:
        """OpenAI's Video object of a job."""
        return video(encode(self.form, job if self.carries else Job(job.name)), job, state)

    def _refuse(self, asked: Asked, why: str) -> NoReturn:
        raise BadRequest(f"provider {asked.call.provider} {why}", code="unsupported_videos_api")


def started(asked: Asked, wanted: VideoRequest, name: str, seconds: int | None, size: str = "") -> Job:
    """The job of a video that was just asked for; notes on the call what that will use."""
    call = asked.call
    if seconds is not None:
        call.usage.seconds = seconds
        call.usage.source = UsageSource.ESTIMATED
    size = wanted.size_text or size
    return Job(name, str(seconds or ""), size, call.model[:256], call.created)


def not_ready(state: State) -> ApiError:
    """Why there is no content yet, or none at all."""
    if state.status == "failed":
        return ApiError(400, f"the video failed: {state.message}", code="video_failed")
    return ApiError(400, "the video is not ready yet", code="video_not_ready")

"""Veo, on Google's public API and on Vertex AI: a long-running prediction, polled by its name.

Sources: https://ai.google.dev/gemini-api/docs/video and the recordings gemini/video;
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation. Which of the two
takes what: googleapis/python-genai, google/genai/models.py (`_GenerateVideosConfig_to_mldev`, `…_to_vertex`,
`_GenerateVideosResponse_from_…`) and operations.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, unquote

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json, dumps
from ..pivot import integer, obj, text
from ..steps import Asked, Reply, Step, Steps, Streamed, Whole
from .common import (
    State,
    VideoRequest,
    Videos,
    answer,
    bad_size,
    not_ready,
    started,
    unreadable,
)
from .ids import Job
from .inline import InlineVideo

_SIZES: Final[Mapping[str, tuple[str, str]]] = {
    "1280x720": ("16:9", "720p"),
    "720x1280": ("9:16", "720p"),
    "1920x1080": ("16:9", "1080p"),
    "1080x1920": ("9:16", "1080p"),
    "3840x2160": ("16:9", "4k"),
    "2160x3840": ("9:16", "4k"),
}
"""OpenAI's size → aspectRatio, resolution."""
_PARAMETERS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "aspectRatio": str,
    "durationSeconds": int,
    "enhancePrompt": bool,
    "negativePrompt": str,
    "personGeneration": str,
    "resolution": str,
    "sampleCount": int,
}
"""What both APIs take among `parameters`, in a client's `extra_body`. What makes Google write or call out
(storageUri, pubsubTopic, webhookConfig) is not for a gateway's clients."""
_VERTEX_PARAMETERS: Final[Mapping[str, type | tuple[type, ...]]] = {
    **_PARAMETERS,
    "compressionQuality": str,
    "fps": int,
    "generateAudio": bool,
    "resizeMode": str,
    "seed": int,
}
_DEFAULT_SECONDS: Final = 8
_NO_RESOLUTION: Final = "veo-2"
"""Models whose one resolution, 720p, cannot be asked for."""
_OPERATION: Final = re.compile(r"(?!\.{1,2}/)[\w.@-]{1,128}/[\w-]{1,128}", re.ASCII)
"""Model and operation."""
_PUBLIC_NAME: Final = re.compile(r"models/(?P<model>[^/]+)/operations/(?P<operation>[^/]+)")
_VERTEX_NAME: Final = re.compile(
    r"projects/[^/]+/locations/[^/]+/publishers/google/models/(?P<model>[^/]+)/operations/(?P<operation>[^/]+)"
)
_FILE: Final = re.compile(
    r"https://[^/?#]+/(?:download/)?v1(?:beta|alpha)?/files/([A-Za-z0-9_-]{1,64}):download"
)
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_REDIRECTS_MOST: Final = 3
_MP4: Final = "video/mp4"
_CODES: Final = {3: "invalid_request", 7: "permission_denied", 8: "rate_limit_exceeded"}
"""google.rpc.Code → what OpenAI's error object calls it."""


class Veo(Videos):
    """Veo at Google's public API."""

    form = "veo"
    name = _OPERATION
    parameters = _PARAMETERS
    operation_name = _PUBLIC_NAME

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`."""
        parameters = self._parameters(asked, wanted)
        instance: Json = {"prompt": wanted.prompt}
        picture = wanted.bytes_only(asked.call.provider)
        if picture is not None:
            instance["image"] = {"bytesBase64Encoded": picture.base64, "mimeType": picture.content_type}
        body: Json = {"instances": [instance]}
        if parameters:
            body["parameters"] = parameters
        reply = yield Step("POST", f"{self.model_path(asked, asked.call.model)}:predictLongRunning", body)
        name = self.operation_name.fullmatch(text(answer(reply).get("name")))
        if name is None or _OPERATION.fullmatch(f"{name['model']}/{name['operation']}") is None:
            raise unreadable("operation")
        seconds = integer(parameters.get("durationSeconds")) or _DEFAULT_SECONDS
        job = started(asked, wanted, f"{name['model']}/{name['operation']}", seconds, _size(parameters))
        asked.call.usage.seconds = seconds * (integer(parameters.get("sampleCount")) or 1)
        return Whole(self.video(job, State("queued")))

    def _parameters(self, asked: Asked, wanted: VideoRequest) -> Json:
        found = wanted.take(self.parameters, asked)
        if wanted.seconds is not None:
            found["durationSeconds"] = wanted.seconds
        if wanted.size is not None:
            size = _SIZES.get(wanted.size_text)
            if size is None:
                raise bad_size(asked.call.provider, ", ".join(_SIZES))
            found["aspectRatio"], resolution = size
            if not asked.call.model.startswith(_NO_RESOLUTION):
                found["resolution"] = resolution
            elif resolution != "720p":
                raise bad_size(asked.call.provider, "1280x720, 720x1280")
        return found

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`."""
        state, _ = _state(answer((yield self._operation(asked, job))))
        return Whole(self.video(job, state))

    def content(self, asked: Asked, job: Job) -> Steps:
        """The file that the operation names is rebuilt, not followed: its address is known."""
        state, samples = _state(answer((yield self._operation(asked, job))))
        if state.status != "completed":
            raise not_ready(state)
        file = _FILE.match(text(obj(samples[0].get("video")).get("uri")))
        if file is None:
            raise unreadable("file")
        path = f"/v1beta/files/{file[1]}:download?alt=media"
        for _ in range(_REDIRECTS_MOST):
            reply: Reply = yield Step("GET", path, passes=_REDIRECTS, streams=True)
            if reply.status not in _REDIRECTS:
                return Streamed(_MP4)
            path = reply.headers.get("location", "")
            if not path.startswith(("https://", "http://")):
                break
        raise unreadable("file")

    def model_path(self, asked: Asked, model: str) -> str:
        """Of the model at the service."""
        return f"/v1beta/models/{quote(_model(model), safe='@')}"

    def _operation(self, asked: Asked, job: Job) -> Step:
        model, _, operation = job.name.partition("/")
        return Step("GET", f"{self.model_path(asked, model)}/operations/{operation}")


class VertexVeo(Veo):
    """Veo on Vertex AI: asked for by a POST. The video comes with the operation, as base64."""

    form = "vertex"
    parameters = _VERTEX_PARAMETERS
    operation_name = _VERTEX_NAME

    def __init__(self, place: Callable[[Call], str]) -> None:
        """`place` says where the project's models are: "projects/p/locations/l"."""
        self._place = place

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """The video itself is let go while the operation is read: it may have any length."""

        def told(operation: Json) -> bytes:
            return dumps(self.video(job, _state(operation)[0]))

        yield self._poll(asked, job)
        return Streamed("application/json", InlineVideo(told, content=False))

    def content(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.content`."""

        def told(operation: Json) -> bytes:
            state, _ = _state(operation)
            raise unreadable("video") if state.status == "completed" else not_ready(state)

        yield self._poll(asked, job)
        return Streamed(_MP4, InlineVideo(told, content=True))

    def model_path(self, asked: Asked, model: str) -> str:
        """See `Veo.model_path`."""
        return f"/v1/{self._place(asked.call)}/publishers/google/models/{quote(_model(model), safe='@')}"

    def _poll(self, asked: Asked, job: Job) -> Step:
        model, _, operation = job.name.partition("/")
        path = self.model_path(asked, model)
        name = f"{unquote(path).removeprefix('/v1/')}/operations/{operation}"
        return Step("POST", f"{path}:fetchPredictOperation", {"operationName": name}, streams=True)


def _model(name: str) -> str:
    name = name.removeprefix("publishers/").removeprefix("google/").removeprefix("models/")
    if not name or name in (".", "..") or "/" in name:
        raise BadRequest("Veo needs the name of a model", param="model")
    return name


def _state(operation: Json) -> tuple[State, list[Json]]:
    """How an operation stands, and the videos it made."""
    if operation.get("done") is not True:
        return State("in_progress"), []
    error = operation.get("error")
    if isinstance(error, dict):
        code = integer(error.get("code"))
        return State("failed", code=_CODES.get(code or 0, ""), message=text(error.get("message"))), []
    response = obj(operation.get("response"))
    public = obj(response.get("generateVideoResponse"))
    given = public.get("generatedSamples") or response.get("videos") or response.get("generatedSamples")
    samples = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    if samples:
        return State("completed"), samples
    reasons = public.get("raiMediaFilteredReasons") or response.get("raiMediaFilteredReasons")
    told = " ".join(text(reason) for reason in reasons) if isinstance(reasons, list) else ""
    return State("failed", code="content_filter", message=told or "Google answered with no video"), []


def _size(parameters: Json) -> str:
    """OpenAI's size of what the parameters ask for; "" where they leave it to Google."""
    asked = (parameters.get("aspectRatio"), parameters.get("resolution", "720p"))
    if asked[0] is None:
        asked = ("16:9", asked[1])
    return next((size for size, own in _SIZES.items() if own == asked), "")

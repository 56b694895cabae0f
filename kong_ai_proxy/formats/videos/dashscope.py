"""DashScope's videos (Wan): a task that is polled by its id; the file lies in Alibaba's object storage.

Sources: https://www.alibabacloud.com/help/en/model-studio/legacy-wan-text-to-video-api-reference and
.../legacy-image-to-video-api-reference (models up to wan2.6; later ones take text in the same way);
recordings dashscope/video (tasks begun) and dashscope/tasks (looked after).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Final
from urllib.parse import quote

from ...core.errors import BadRequest
from ...core.json import Json
from ..pivot import integer, obj, text
from ..steps import Asked, Step, Steps, Streamed, Whole
from .common import State, VideoRequest, Videos, answer, bad_size, not_ready, started, unreadable
from .ids import Job

_PATH: Final = "/api/v1/services/aigc/video-generation/video-synthesis"
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_STATUSES: Final = {
    "PENDING": "queued",
    "RUNNING": "in_progress",
    "SUSPENDED": "in_progress",
    "SUCCEEDED": "completed",
    "FAILED": "failed",
    "CANCELED": "failed",
    "UNKNOWN": "failed",
}
_INPUT: Final[Mapping[str, type | tuple[type, ...]]] = {"negative_prompt": str}
_PARAMETERS: Final[Mapping[str, type | tuple[type, ...]]] = {
    "audio": bool,
    "prompt_extend": bool,
    "resolution": str,
    "seed": int,
    "shot_type": str,
    "watermark": bool,
}
_ITS_OWN_PROTOCOL: Final = re.compile(r"wan(?:2\.[7-9]|[3-9])")
"""Models that are given images in another way."""
_RESOLUTIONS: Final = {480: "480P", 720: "720P", 1080: "1080P"}
"""The shorter side in pixels → what a video is made in that begins with an image and has its shape."""
_CLOCK: Final = timezone(timedelta(hours=8))
"""Times come without a zone, in China's: recordings dashscope/tasks, against their `date` headers."""
_MP4: Final = "video/mp4"


class DashscopeVideos(Videos):
    """See the module."""

    form = "dashscope"
    name = _ID

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`."""
        known = {**_INPUT, **_PARAMETERS}
        extra = wanted.take(known, asked)
        given: Json = {"prompt": wanted.prompt}
        given.update({name: value for name, value in extra.items() if name in _INPUT})
        parameters: Json = {name: value for name, value in extra.items() if name in _PARAMETERS}
        if wanted.seconds is not None:
            parameters["duration"] = wanted.seconds
        if wanted.picture is not None:
            if _ITS_OWN_PROTOCOL.match(asked.call.model):
                raise BadRequest("this model begins with no image here", param="input_reference")
            given["img_url"] = wanted.picture.data_url
        if wanted.size is not None:
            parameters.update(_shape(wanted, wanted.size))
        body: Json = {"model": asked.call.model, "input": given, "parameters": parameters}
        found = answer((yield Step("POST", _PATH, body, headers={"x-dashscope-async": "enable"})))
        name = text(obj(found.get("output")).get("task_id"))
        if _ID.fullmatch(name) is None:
            raise unreadable("task_id")
        return Whole(self.video(started(asked, wanted, name, wanted.seconds), _state(found)))

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`. What was made is told where nothing was asked for."""
        found = answer((yield _look(job)))
        told = self.video(job, _state(found))
        usage = obj(found.get("usage"))
        seconds = integer(usage.get("video_duration"))
        size = text(usage.get("video_ratio")).replace("*", "x")
        told["seconds"] = told["seconds"] or (str(seconds) if seconds else None)
        told["size"] = told["size"] or (size if re.fullmatch(r"\d{2,5}x\d{2,5}", size) else None)
        return Whole(told)

    def content(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.content`."""
        found = answer((yield _look(job)))
        state = _state(found)
        if state.status != "completed":
            raise not_ready(state)
        url = text(obj(found.get("output")).get("video_url"))
        if not url:
            raise unreadable("video")
        yield Step("GET", url, credentials=False, streams=True)
        return Streamed(_MP4)


def _shape(wanted: VideoRequest, size: tuple[int, int]) -> Json:
    if wanted.picture is None:
        return {"size": f"{size[0]}*{size[1]}"}
    resolution = _RESOLUTIONS.get(min(size))
    if resolution is None:
        raise bad_size("dashscope", "480, 720 or 1080 lines")
    return {"resolution": resolution}


def _look(job: Job) -> Step:
    return Step("GET", f"/api/v1/tasks/{quote(job.name, safe='')}")


def _state(found: Json) -> State:
    output = obj(found.get("output"))
    status = _STATUSES.get(text(output.get("task_status")), "in_progress")
    ended = None
    if status == "completed":
        try:
            ended = int(
                datetime.fromisoformat(text(output.get("end_time"))).replace(tzinfo=_CLOCK).timestamp()
            )
        except ValueError:
            ended = None
    return State(
        status,
        completed=ended,
        code=text(output.get("code")),
        message=text(output.get("message")) or text(output.get("task_status")),
    )

"""xAI's videos: a request that is polled by its id; the file lies at a host of xAI's.

Sources: https://docs.x.ai/docs/guides/video-generations and https://docs.x.ai/docs/api-reference (request,
states, limits); recordings xai/video (answers while it is made, and when it is done).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from ...core.json import Json
from ..pivot import integer, obj, text
from ..steps import Asked, Step, Steps, Streamed, Whole
from .common import (
    State,
    VideoRequest,
    Videos,
    answer,
    aspect_ratio,
    bad_seconds,
    bad_size,
    not_ready,
    started,
    unreadable,
)
from .ids import Job

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_STATUSES: Final = {"pending": "in_progress", "done": "completed", "failed": "failed", "expired": "failed"}
_SECONDS: Final = range(1, 16)
_RATIOS: Final = frozenset({"1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"})
_RESOLUTIONS: Final = {480: "480p", 720: "720p", 1080: "1080p"}
"""The shorter side in pixels → resolution."""
_EXTRA: Final[Mapping[str, type | tuple[type, ...]]] = {"aspect_ratio": str, "resolution": str, "user": str}
_MP4: Final = "video/mp4"


class XAIVideos(Videos):
    """See the module."""

    form = "xai"
    name = _ID

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`. xAI fetches an image that it is told the address of."""
        body: Json = {
            "model": asked.call.model,
            "prompt": wanted.prompt,
            **wanted.take(_EXTRA, asked),
        }
        if wanted.seconds is not None:
            if wanted.seconds not in _SECONDS:
                raise bad_seconds("xai", "1 to 15")
            body["duration"] = wanted.seconds
        if wanted.size is not None:
            ratio, resolution = aspect_ratio(wanted.size), _RESOLUTIONS.get(min(wanted.size))
            if ratio not in _RATIOS or resolution is None:
                raise bad_size("xai", "480, 720 or 1080 lines, 1:1, 16:9, 4:3, 3:2 or the other way round,")
            body["aspect_ratio"], body["resolution"] = ratio, resolution
        if wanted.picture is not None:
            body["image"] = {"url": wanted.picture.data_url}
        name = text(answer((yield Step("POST", "/v1/videos/generations", body))).get("request_id"))
        if _ID.fullmatch(name) is None:
            raise unreadable("request_id")
        return Whole(self.video(started(asked, wanted, name, wanted.seconds), State("queued")))

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`."""
        found = answer((yield _look(job)))
        seconds = integer(obj(found.get("video")).get("duration"))
        told = Job(job.name, job.seconds or str(seconds or ""), job.size, job.model, job.created)
        return Whole({**self.video(told, _state(found)), "id": self.video(job, _state(found))["id"]})

    def content(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.content`."""
        found = answer((yield _look(job)))
        state = _state(found)
        if state.status != "completed":
            raise not_ready(state)
        url = text(obj(found.get("video")).get("url"))
        if not url:
            raise unreadable("video")
        yield Step("GET", url, credentials=False, streams=True)
        return Streamed(_MP4)


def _look(job: Job) -> Step:
    return Step("GET", f"/v1/videos/{quote(job.name, safe='')}")


def _state(found: Json) -> State:
    status = _STATUSES.get(text(found.get("status")), "in_progress")
    error = obj(found.get("error"))
    return State(
        status,
        progress=integer(found.get("progress")),
        code=text(error.get("code")),
        message=text(error.get("message")) or text(found.get("status")),
    )

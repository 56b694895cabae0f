"""Sora on Azure OpenAI before version 2: jobs, each of which makes one or more videos.

Sources: https://learn.microsoft.com/azure/ai-services/openai/video-generation-quickstart (paths, request, a
job); https://github.com/Azure/azure-rest-api-specs, specification/ai/data-plane/OpenAI.v1
(CreateVideoGenerationRequest, JobStatus, VideoGenerationJob, VideoGenerationJobList).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..pivot import integer, obj, objects, text
from ..steps import Asked, Step, Steps, Streamed, Whole
from .common import (
    Paging,
    State,
    VideoRequest,
    Videos,
    answer,
    not_ready,
    page,
    started,
    unix,
    unreadable,
)
from .ids import Job, decode

JOBS: Final = "/openai/v1/video/generations/jobs"
_GENERATIONS: Final = "/openai/v1/video/generations"
_STATUSES: Final = {
    "queued": "queued",
    "preprocessing": "in_progress",
    "running": "in_progress",
    "processing": "in_progress",
    "succeeded": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_SIZE: Final = (720, 1280)
_SECONDS: Final = 4
"""What OpenAI's API makes where nothing else is asked for; Azure's wants both dimensions."""
_EXTRA: Final[Mapping[str, type | tuple[type, ...]]] = {"n_variants": int}
_MP4: Final = "video/mp4"


class SoraJobs(Videos):
    """See the module. A job tells all of itself, so an id holds its name alone."""

    form = "sora"
    name = _ID
    carries = False

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`."""
        if wanted.picture is not None:
            raise BadRequest("this version of Sora begins with no image here", param="input_reference")
        width, height = wanted.size or _SIZE
        seconds = wanted.seconds or _SECONDS
        extra = wanted.take(_EXTRA, asked)
        body: Json = {
            "model": asked.call.options.azure_deployment_id or asked.call.model,
            "prompt": wanted.prompt,
            "width": width,
            "height": height,
            "n_seconds": seconds,
            **extra,
        }
        found = answer((yield Step("POST", JOBS, body)))
        job = _job(found, asked)
        started(asked, wanted, job.name, seconds)
        asked.call.usage.seconds = seconds * (integer(extra.get("n_variants")) or 1)
        return Whole(self.video(job, _state(found)))

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`."""
        found = answer((yield Step("GET", f"{JOBS}/{quote(job.name, safe='')}")))
        return Whole(self.video(_job(found, asked), _state(found)))

    def content(self, asked: Asked, job: Job) -> Steps:
        """The first of the job's videos."""
        found = answer((yield Step("GET", f"{JOBS}/{quote(job.name, safe='')}")))
        state = _state(found)
        if state.status != "completed":
            raise not_ready(state)
        made = next(iter(objects(found.get("generations"))), {})
        generation = text(made.get("id"))
        if _ID.fullmatch(generation) is None:
            raise unreadable("generation")
        yield Step("GET", f"{_GENERATIONS}/{quote(generation, safe='')}/content/video", streams=True)
        return Streamed(_MP4)

    def delete(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.delete`."""
        yield Step("DELETE", f"{JOBS}/{quote(job.name, safe='')}")
        return Whole(
            {"id": self.video(job, State("completed"))["id"], "object": "video.deleted", "deleted": True}
        )

    def listed(self, asked: Asked) -> Steps:
        """Azure pages by ids, in an order of its own."""
        paging = Paging.of(asked.query)
        if paging.ascending:
            raise BadRequest("Azure lists jobs in an order of its own", param="order")
        after = decode(paging.after, self.form, self.name).name if paging.after else ""
        query = f"?limit={paging.limit}" + (f"&after={quote(after, safe='')}" if after else "")
        listed = answer((yield Step("GET", JOBS + query)))
        jobs = objects(listed.get("data"))
        videos = [self.video(_job(job, asked), _state(job)) for job in jobs]
        return page(videos, more=listed.get("has_more") is True)


def is_job(rest: str) -> bool:
    """Whether what follows a collection ("/video_…/content") names a job of this form."""
    try:
        decode(rest.strip("/").partition("/")[0], SoraJobs.form, SoraJobs.name)
    except ApiError:
        return False
    return True


def _job(found: Json, asked: Asked) -> Job:
    name = text(found.get("id"))
    if _ID.fullmatch(name) is None:
        raise unreadable("id")
    width, height = integer(found.get("width")), integer(found.get("height"))
    return Job(
        name,
        str(integer(found.get("n_seconds")) or ""),
        f"{width}x{height}" if width and height else "",
        text(found.get("model")) or asked.call.model,
        unix(found.get("created_at")) or 0,
    )


def _state(found: Json) -> State:
    status = _STATUSES.get(text(found.get("status")), "in_progress")
    reason = text(found.get("failure_reason"))
    if status == "failed" and not reason:
        reason = text(obj(found.get("error")).get("message")) or text(found.get("status"))
    return State(
        status,
        completed=unix(found.get("finished_at")) if status == "completed" else None,
        expires=unix(found.get("expires_at")),
        code=reason if reason.replace("_", "").isalnum() else "",
        message=reason,
    )

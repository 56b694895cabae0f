"""Videos on Amazon Bedrock: an asynchronous invocation whose output goes to S3.

Sources: botocore's model of bedrock-runtime (StartAsyncInvoke, GetAsyncInvoke, ListAsyncInvokes);
https://docs.aws.amazon.com/nova/latest/userguide/video-gen-access.html (Nova Reel);
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html (Ray);
shared/kong/schema.md (`bedrock.video_output_s3_uri`), shared/kong/providers.json (`extra_body: {fps: 24}`).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, urlencode

from ...core.errors import ApiError, BadRequest
from ...core.json import Json
from ..pivot import obj, text
from ..steps import Asked, Step, Steps, Streamed, Whole
from .common import (
    Paging,
    State,
    VideoRequest,
    Videos,
    answer,
    aspect_ratio,
    bad_seconds,
    bad_size,
    not_ready,
    page,
    started,
    unix,
    unreadable,
)
from .ids import Job, decode

_STATUSES: Final = {"InProgress": "in_progress", "Completed": "completed", "Failed": "failed"}
_ARN: Final = re.compile(
    r"arn:aws(?:-[a-z-]{1,20})?:bedrock:[a-z0-9-]{1,20}:\d{12}:async-invoke/[a-z0-9]{12}"
)
"""The pattern that botocore's model gives."""
_S3_URI: Final = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<key>.*))?")
_OUTPUT: Final = "output.mp4"
_MP4: Final = "video/mp4"
_TOKEN: Final = re.compile(r"kong-ai-proxy:(?P<seconds>\d{1,5})s:(?P<size>(?:\d{2,5}x\d{2,5})?):[0-9a-f]{32}")
"""Our idempotency tokens. Bedrock tells them again, and nothing else of what was asked for."""
_PAGES: Final = 5
"""Pages of Bedrock's that one page of ours may take: others' invocations are left out of it."""
_MOST: Final = 1000

_REEL_SIZES: Final = ("1280x720",)
_REEL_SECONDS: Final = 6
_REEL_SHOTS: Final = range(12, 121, 6)
"""Seconds of a video of several shots, which version 1:1 makes."""
_REEL_EXTRA: Final[Mapping[str, type | tuple[type, ...]]] = {"fps": int, "seed": int}
_REEL_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg"}

_RAY_SECONDS: Final = {5: "5s", 9: "9s"}
_RAY_RATIOS: Final = {"7:3": "21:9", "3:7": "9:21"} | {
    ratio: ratio for ratio in ("1:1", "16:9", "9:16", "4:3", "3:4")
}
"""An aspect ratio in lowest terms → as Ray names it."""
_RAY_RESOLUTIONS: Final = {540: "540p", 720: "720p"}
"""The shorter side in pixels → resolution."""
_RAY_EXTRA: Final[Mapping[str, type | tuple[type, ...]]] = {
    "aspect_ratio": str,
    "loop": bool,
    "resolution": str,
}
_RAY_IMAGES: Final = frozenset({"image/png", "image/jpeg"})

_Made = tuple[Json, int, str]
"""A model's input, seconds and size."""


class BedrockVideos(Videos):
    """Nova Reel and Luma Ray."""

    form = "bedrock"
    name = _ARN
    carries = False

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`."""
        call = asked.call
        make = next((make for mark, make in _MODELS.items() if mark in call.model), None)
        if make is None:
            raise BadRequest(f"{call.model[:100]} is no video model that is known here", param="model")
        model_input, seconds, size = make(asked, wanted)
        body: Json = {
            "clientRequestToken": f"kong-ai-proxy:{seconds}s:{size}:{uuid.uuid4().hex}",
            "modelId": call.model,
            "modelInput": model_input,
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": _place(asked)}},
        }
        arn = text(answer((yield Step("POST", "/async-invoke", body))).get("invocationArn"))
        if _ARN.fullmatch(arn) is None:
            raise unreadable("invocationArn")
        job = started(asked, wanted, arn, seconds, size)
        return Whole(self.video(job, State("in_progress")))

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`."""
        invocation = answer((yield _get(job)))
        _own(asked, invocation, job)
        return Whole(self.video(_job(invocation, asked), _state(invocation)))

    def content(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.content`."""
        invocation = answer((yield _get(job)))
        uri = _own(asked, invocation, job)
        state = _state(invocation)
        if state.status != "completed":
            raise not_ready(state)
        found = _S3_URI.fullmatch(uri)
        if found is None:
            raise unreadable("s3Uri")
        key = f"{found['key']}/{_OUTPUT}" if found["key"] else _OUTPUT
        path = f"/{found['bucket']}/{quote(key, safe='/~')}"
        yield Step("GET", path, service="s3", streams=True)
        return Streamed(_MP4)

    def listed(self, asked: Asked) -> Steps:
        """The invocations that write to the configured place. Bedrock pages by a token of its own; an id is
        known again by the time of its invocation."""
        paging = Paging.of(asked.query)
        query = {
            "sortBy": "SubmissionTime",
            "sortOrder": "Ascending" if paging.ascending else "Descending",
            "maxResults": str(min(paging.limit + 1, _MOST)),
        }
        if paging.after:
            last = answer((yield _get(decode(paging.after, self.form, self.name))))
            bound = "submitTimeAfter" if paging.ascending else "submitTimeBefore"
            query[bound] = text(last.get("submitTime"))
        found: list[Json] = []
        for _ in range(_PAGES):
            listed = answer((yield Step("GET", f"/async-invoke?{urlencode(query)}")))
            summaries = listed.get("asyncInvokeSummaries")
            for summary in summaries if isinstance(summaries, list) else []:
                if isinstance(summary, dict) and _is_own(asked, summary):
                    found.append(self.video(_job(summary, asked), _state(summary)))
            token = text(listed.get("nextToken"))
            if not token or len(found) > paging.limit:
                break
            query["nextToken"] = token
        return page(found[: paging.limit], more=len(found) > paging.limit or bool(token))


def _reel(asked: Asked, wanted: VideoRequest) -> _Made:
    """https://docs.aws.amazon.com/nova/latest/userguide/video-gen-access.html#video-gen-input-params."""
    seconds = wanted.seconds or _REEL_SECONDS
    several = seconds in _REEL_SHOTS and not asked.call.model.endswith(":0")
    if seconds != _REEL_SECONDS and not several:
        first = asked.call.model.endswith(":0")
        raise bad_seconds("bedrock", "6" if first else "6, 12, 18, … to 120")
    if wanted.size is not None and wanted.size_text not in _REEL_SIZES:
        raise bad_size("bedrock", _REEL_SIZES[0])
    config: Json = {
        "durationSeconds": seconds,
        "fps": 24,
        "dimension": _REEL_SIZES[0],
        **wanted.take(_REEL_EXTRA, asked),
    }
    picture = wanted.bytes_only("bedrock")
    if several:
        if picture is not None:
            raise BadRequest("a video of several shots begins with no image", param="input_reference")
        return {
            "taskType": "MULTI_SHOT_AUTOMATED",
            "multiShotAutomatedParams": {"text": wanted.prompt},
            "videoGenerationConfig": config,
        }, seconds, _REEL_SIZES[0]  # fmt: skip
    params: Json = {"text": wanted.prompt}
    if picture is not None:
        kind = _REEL_IMAGES.get(picture.content_type)
        if kind is None:
            raise BadRequest("Nova Reel takes PNG and JPEG images", param="input_reference")
        params["images"] = [{"format": kind, "source": {"bytes": picture.base64}}]
    return {
        "taskType": "TEXT_VIDEO",
        "textToVideoParams": params,
        "videoGenerationConfig": config,
    }, seconds, _REEL_SIZES[0]  # fmt: skip


def _ray(asked: Asked, wanted: VideoRequest) -> _Made:
    """https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-luma.html."""
    seconds = wanted.seconds or 5
    if seconds not in _RAY_SECONDS:
        raise bad_seconds("bedrock", " or ".join(map(str, _RAY_SECONDS)))
    made: Json = {
        "prompt": wanted.prompt,
        "duration": _RAY_SECONDS[seconds],
        **wanted.take(_RAY_EXTRA, asked),
    }
    if wanted.size is not None:
        ratio = _RAY_RATIOS.get(aspect_ratio(wanted.size))
        resolution = _RAY_RESOLUTIONS.get(min(wanted.size))
        if ratio is None or resolution is None:
            raise bad_size("bedrock", "540 or 720 lines, 1:1, 16:9, 4:3, 21:9 or the other way round,")
        made["aspect_ratio"], made["resolution"] = ratio, resolution
    picture = wanted.bytes_only("bedrock")
    if picture is not None:
        if picture.content_type not in _RAY_IMAGES:
            raise BadRequest("Ray takes PNG and JPEG images", param="input_reference")
        source = {"type": "base64", "media_type": picture.content_type, "data": picture.base64}
        made["keyframes"] = {"frame0": {"type": "image", "source": source}}
    return made, seconds, wanted.size_text


_MODELS: Final[Mapping[str, Callable[[Asked, VideoRequest], _Made]]] = {"nova-reel": _reel, "luma.ray": _ray}
"""What a model's id has in it → what makes its input."""


def _get(job: Job) -> Step:
    return Step("GET", f"/async-invoke/{quote(job.name, safe='')}")


def _place(asked: Asked) -> str:
    """Where Bedrock writes to. ApiError (500) where none is configured."""
    options = asked.call.options.bedrock
    uri = (options.video_output_s3_uri if options else None) or ""
    if _S3_URI.fullmatch(uri) is None:
        raise ApiError(
            500,
            "model.options.bedrock.video_output_s3_uri must be set to s3://bucket/prefix for videos",
            code="invalid_configuration",
        )
    return uri


def _output(invocation: Json) -> str:
    """Where an invocation writes to, without the last "/"."""
    config = obj(obj(invocation.get("outputDataConfig")).get("s3OutputDataConfig"))
    return text(config.get("s3Uri")).rstrip("/")


def _is_own(asked: Asked, invocation: Json) -> bool:
    return f"{_output(invocation)}/".startswith(f"{_place(asked).rstrip('/')}/")


def _own(asked: Asked, invocation: Json, job: Job) -> str:
    """The folder of an invocation's output. What writes elsewhere in the account is nobody's business here:
    ApiError (404)."""
    if not _is_own(asked, invocation):
        raise ApiError(404, "no such video here", type="invalid_request_error", code="not_found")
    folder = _output(invocation)
    invocation_id = job.name.rpartition("/")[2]
    # Each invocation has a folder of its name: it is told, or else the place that it is in.
    return folder if folder.endswith(f"/{invocation_id}") else f"{folder}/{invocation_id}"


def _job(invocation: Json, asked: Asked) -> Job:
    token = _TOKEN.fullmatch(text(invocation.get("clientRequestToken")))
    model = text(invocation.get("modelArn")).rpartition("/")[2]
    return Job(
        text(invocation.get("invocationArn")),
        token["seconds"] if token else "",
        token["size"] if token else "",
        model or asked.call.model,
        unix(invocation.get("submitTime")) or 0,
    )


def _state(invocation: Json) -> State:
    status = _STATUSES.get(text(invocation.get("status")), "in_progress")
    return State(
        status,
        completed=unix(invocation.get("endTime")) if status == "completed" else None,
        message=text(invocation.get("failureMessage")),
    )

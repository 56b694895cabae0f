"""Hugging Face's inference providers: text to video and image to video by its router.

Each provider behind the router has its own API; which name a model has there, the Hub knows. A model may name
its provider as for chat ("owner/name:fal-ai"); else the first is taken that the Hub lists and that is known
here. Providers that answer only when the video is done (Replicate, Novita) are not: an id for what is asked
later cannot be had from them.

Sources: huggingface_hub, src/huggingface_hub/inference/_providers/{_common,fal_ai,together,wavespeed}.py
(requests, answers, polling) and hf_api.py (`inferenceProviderMapping`);
https://huggingface.co/docs/inference-providers/tasks/text-to-video;
https://docs.together.ai/reference/create-videos; https://docs.fal.ai/model-endpoints/queue.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Generator
from typing import ClassVar, Final
from urllib.parse import quote, urlsplit

from ...core.call import Call
from ...core.errors import BadRequest
from ...core.json import Json, loads_lenient
from ..pivot import obj, text
from ..steps import Asked, Reply, Step, Steps, Streamed, Whole
from .common import State, VideoRequest, Videos, answer, not_ready, started, unreadable
from .ids import Job

_MODEL: Final = re.compile(r"([\w.-]{1,96}/[\w.-]{1,96})(?::([a-z0-9-]{1,40}))?", re.ASCII)
_PATH: Final = r"(?!\.)[\w.-]{1,128}(?:/(?!\.)[\w.-]{1,128}){0,7}"
"""A name at a provider that may become part of a path."""
_NAME: Final = re.compile(_PATH, re.ASCII)
_JOB: Final = re.compile(
    rf"fal-ai:{_PATH}/requests/[\w-]{{1,128}}|together:[\w-]{{1,128}}"
    r"|wavespeed:api/v3/predictions/[\w-]{1,128}(?:/result)?",
    re.ASCII,
)
"""A job's name behind its provider's: one job, and never a list or anything else of the account's."""
_MP4: Final = "video/mp4"
_TASKS: Final = {False: "text-to-video", True: "image-to-video"}
_REFUSALS: Final = frozenset({400, 404, 410, 422, 500, 502, 503})
"""Statuses by which fal tells that a finished job made no video."""

Standing = Generator[Step, Reply, tuple[State, str]]
"""Asks how a job stands; gives that, and where the video is when it is done."""


class _Provider(ABC):
    """One provider behind the router. Stateless."""

    name: ClassVar[str]

    @abstractmethod
    def start(self, model: str, wanted: VideoRequest) -> Step:
        """`model`: the provider's own name of it."""

    @abstractmethod
    def job(self, reply: Json) -> str:
        """The job's name in the answer to its start; "" without one."""

    @abstractmethod
    def standing(self, job: str) -> Standing:
        """See `Standing`."""

    def own_names(self, wanted: VideoRequest) -> None:
        """BadRequest for what each of the provider's models calls otherwise."""
        for field, value in (("seconds", wanted.seconds), ("size", wanted.size)):
            if value is not None:
                raise BadRequest(
                    f"models at {self.name} have their own names for {field}: send them as extra_body",
                    param=field,
                )


class _Fal(_Provider):
    """A queue: https://docs.fal.ai/model-endpoints/queue."""

    name = "fal-ai"

    def start(self, model: str, wanted: VideoRequest) -> Step:
        self.own_names(wanted)
        body: Json = {"prompt": wanted.prompt, **wanted.extra}
        if wanted.picture is not None:
            body["image_url"] = wanted.picture.data_url
        return Step("POST", f"/fal-ai/{model}?_subdomain=queue", body)

    def job(self, reply: Json) -> str:
        """The path of its answer's address: the model is not always called there as it was asked for."""
        return urlsplit(text(reply.get("response_url"))).path.strip("/")

    def standing(self, job: str) -> Standing:
        status = answer((yield Step("GET", f"/fal-ai/{job}/status?_subdomain=queue"))).get("status")
        if status != "COMPLETED":
            return State("queued" if status == "IN_QUEUE" else "in_progress"), ""
        # Completed is a job that failed, too: its result says so.
        reply = yield Step("GET", f"/fal-ai/{job}?_subdomain=queue", passes=_REFUSALS)
        if not 200 <= reply.status < 300:
            return State("failed", message=_detail(reply)), ""
        return State("completed"), text(obj(answer(reply).get("video")).get("url"))


class _Together(_Provider):
    """https://docs.together.ai/reference/create-videos."""

    name = "together"
    _statuses: Final = {"queued": "queued", "completed": "completed", "failed": "failed"}

    def start(self, model: str, wanted: VideoRequest) -> Step:
        body: Json = {"model": model, "prompt": wanted.prompt}
        if wanted.seconds is not None:
            body["seconds"] = str(wanted.seconds)
        if wanted.size is not None:
            body["width"], body["height"] = wanted.size
        if wanted.picture is not None:
            body["frame_images"] = [{"input_image": wanted.picture.data_url, "frame": "first"}]
        return Step("POST", "/together/v2/videos", {**body, **wanted.extra, "model": model})

    def job(self, reply: Json) -> str:
        return text(reply.get("id"))

    def standing(self, job: str) -> Standing:
        found = answer((yield Step("GET", f"/together/v2/videos/{quote(job, safe='')}")))
        status = self._statuses.get(text(found.get("status")), "in_progress")
        error = obj(found.get("error"))
        state = State(status, code=text(error.get("code")), message=text(error.get("message")))
        return state, text(obj(found.get("outputs")).get("video_url"))


class _Wavespeed(_Provider):
    """https://wavespeed.ai/docs."""

    name = "wavespeed"
    _statuses: Final = {"created": "queued", "completed": "completed", "failed": "failed"}

    def start(self, model: str, wanted: VideoRequest) -> Step:
        self.own_names(wanted)
        body: Json = {"prompt": wanted.prompt, **wanted.extra}
        if wanted.picture is not None:
            body["image"] = wanted.picture.data_url
        return Step("POST", f"/wavespeed/api/v3/{model}", body)

    def job(self, reply: Json) -> str:
        """The path of its answer's address."""
        return urlsplit(text(obj(obj(reply.get("data")).get("urls")).get("get"))).path.strip("/")

    def standing(self, job: str) -> Standing:
        found = obj(answer((yield Step("GET", f"/wavespeed/{job}"))).get("data"))
        outputs = found.get("outputs")
        status = self._statuses.get(text(found.get("status")), "in_progress")
        url = text(outputs[0]) if isinstance(outputs, list) and outputs else ""
        return State(status, message=text(found.get("error"))), url


_PROVIDERS: Final = {provider.name: provider for provider in (_Fal(), _Together(), _Wavespeed())}


class HuggingFaceVideos(Videos):
    """See the module."""

    form = "huggingface"
    name = _JOB

    def create(self, asked: Asked, wanted: VideoRequest) -> Steps:
        """See `Videos.create`."""
        name, chosen = _asked_model(asked.call)
        listed = answer(
            (yield Step("GET", f"/api/models/{name}?expand=inferenceProviderMapping", service="hub"))
        )
        task = _TASKS[wanted.picture is not None]
        provider, model = _mapped(listed.get("inferenceProviderMapping"), task, chosen)
        reply = yield provider.start(model, wanted)
        job_name = f"{provider.name}:{provider.job(answer(reply))}"
        if _JOB.fullmatch(job_name) is None:
            raise unreadable("job")
        return Whole(self.video(started(asked, wanted, job_name, wanted.seconds), State("queued")))

    def retrieve(self, asked: Asked, job: Job) -> Steps:
        """See `Videos.retrieve`."""
        state, _ = yield from _standing(job)
        return Whole(self.video(job, state))

    def content(self, asked: Asked, job: Job) -> Steps:
        """The file lies at a host of the provider's, open to who knows its address: the token stays here."""
        state, url = yield from _standing(job)
        if state.status != "completed":
            raise not_ready(state)
        if not url:
            raise unreadable("video")
        yield Step("GET", url, credentials=False, streams=True)
        return Streamed(_MP4)


def _standing(job: Job) -> Standing:
    provider, _, name = job.name.partition(":")
    return (yield from _PROVIDERS[provider].standing(name))


def _asked_model(call: Call) -> tuple[str, str | None]:
    match = _MODEL.fullmatch(call.model)
    if match is None or match[1].startswith(".") or "/." in match[1]:
        raise BadRequest("Hugging Face needs a model as owner/name", param="model")
    return match[1], match[2]


def _mapped(mapping: object, task: str, chosen: str | None) -> tuple[_Provider, str]:
    """The provider and its name of the model. The Hub lists them as an object or as an array."""
    if isinstance(mapping, dict):
        entries = [{**obj(value), "provider": name} for name, value in mapping.items()]
    else:
        entries = [obj(value) for value in mapping] if isinstance(mapping, list) else []
    offered = [entry for entry in entries if entry.get("task") == task and entry.get("status") != "error"]
    for entry in offered:
        provider = _PROVIDERS.get(text(entry.get("provider")))
        model = text(entry.get("providerId"))
        if provider is None or (chosen and provider.name != chosen) or _NAME.fullmatch(model) is None:
            continue
        return provider, model
    others = ", ".join(sorted(text(entry.get("provider")) for entry in offered)) or "nobody"
    known = ", ".join(_PROVIDERS)
    raise BadRequest(
        f"{task} by this model is served by {others[:200]}; of those, {chosen or known} can be asked here",
        param="model",
    )


def _detail(reply: Reply) -> str:
    """What fal says of a failure: a text, or the fields that it did not like."""
    try:
        detail = obj(loads_lenient(reply.body)).get("detail")
    except ValueError:
        detail = None
    if isinstance(detail, list):
        detail = "; ".join(text(obj(one).get("msg")) for one in detail)
    return text(detail)[:2000] or f"the provider answered with status {reply.status}"

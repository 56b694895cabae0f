"""Videos at providers, driven without a network: what is asked of a provider, and what a client gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kong_ai_proxy.config.models import Options, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.rest import RestApi, RestCall
from kong_ai_proxy.formats.steps import Asked, FilePart, Reply, Step, Streamed, Whole
from kong_ai_proxy.providers import provider

VIDEOS = "video/v1/videos/generations"
OPTIONS: dict[str, dict[str, Any]] = {
    "gemini": {},
    "vertex": {"gemini": {"project_id": "p 1", "location_id": "us-central1"}},
    "bedrock": {"bedrock": {"aws_region": "us-east-1", "video_output_s3_uri": "s3://my-videos/out/"}},
    "huggingface": {},
    "xai": {},
    "dashscope": {},
    "azure": {"azure_instance": "mine", "azure_deployment_id": "sora-here"},
}
MODELS = {
    "gemini": "veo-3.1-generate-preview",
    "vertex": "veo-3.1-generate-001",
    "bedrock": "amazon.nova-reel-v1:1",
    "huggingface": "owner/model",
    "xai": "grok-imagine-video",
    "dashscope": "wan2.5-t2v-preview",
    "azure": "sora",
}


def make_call(kind: str, model: str | None = None, **options: Any) -> Call:
    """A call of the videos API; "vertex" is Gemini there."""
    name = "gemini" if kind == "vertex" else kind
    chosen = Options.model_validate({**OPTIONS[kind], **options})
    target = Target.model_validate(
        {"route_type": VIDEOS, "model": {"provider": name, "options": chosen.model_dump(exclude_none=True)}}
    )
    request = ClientRequest("POST", "/videos", "", {"content-type": "application/json"})
    model = MODELS[kind] if model is None else model
    return Call(target, target.model.options, model, "video.generations", request, created=1_750_000_000)


class Drive:
    """One request, step by step."""

    def __init__(
        self,
        kind: str,
        body: dict[str, Any] | None = None,
        rest: str = "",
        method: str | None = None,
        *,
        query: str = "",
        files: list[FilePart] | None = None,
        form: bool = False,
        model: str | None = None,
        **options: Any,
    ) -> None:
        self.call = make_call(kind, model, **options)
        if form:
            self.call.request.headers["content-type"] = "multipart/form-data; boundary=B"
        self.provider = provider(self.call.provider)
        translation = self.provider.steps(self.call)
        assert translation is not None
        asked = Asked(
            self.call,
            RestCall("video.generations", RestApi(), "videos", rest),
            method or ("GET" if body is None else "POST"),
            body or {},
            files or [],
            query,
        )
        self.steps = translation(asked)
        self.asked: list[Step] = [next(self.steps)]
        self.result: Whole | Streamed | None = None

    @property
    def step(self) -> Step:
        return self.asked[-1]

    @property
    def url(self) -> str:
        """Where the last step leads."""
        found = self.provider.step_url(self.call, self.step)
        return f"{found.scheme}://{found.authority}{found.target}"

    def answer(self, body: Any, status: int = 200, **headers: str) -> Drive:
        """What the provider says to the last step."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.asked.append(self.steps.send(Reply(status, headers, data)))
        except StopIteration as end:
            self.result = end.value
        return self

    def whole(self, body: Any, status: int = 200, **headers: str) -> dict[str, Any]:
        """The client's answer after the last step."""
        self.answer(body, status, **headers)
        assert isinstance(self.result, Whole)
        assert isinstance(self.result.body, dict)
        return self.result.body


def through(
    streamed: Whole | Streamed | None, data: bytes, cut: Callable[[int], int] = lambda size: size
) -> bytes:
    """What a client gets of a streamed answer, fed in pieces."""
    assert isinstance(streamed, Streamed) and streamed.through is not None
    step = max(cut(len(data)), 1)
    out = b"".join(streamed.through.feed(data[at : at + step]) for at in range(0, len(data), step))
    return out + streamed.through.finish()

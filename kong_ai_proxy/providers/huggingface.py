"""Hugging Face: the router to inference providers, or a dedicated endpoint by `upstream_url`.

Chat speaks OpenAI's form, embeddings are feature extraction. An `upstream_url` that leads to a classic text
generation API (TGI's `/generate`, the Inference API's `/models/…`) is spoken to in that form.

Videos are made by the router's inference providers; an endpoint of one's own, or a path that ends with
`/videos`, is taken to have OpenAI's API, as in Kong (shared/kong/providers.json: `/v1/videos`).

Sources: https://huggingface.co/docs/inference-providers and
https://huggingface.co/docs/text-generation-inference/messages_api.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Final
from urllib.parse import quote

from ..config.models import Options
from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Headers, Url, leads_elsewhere
from ..formats.base import Adapter
from ..formats.huggingface import FEATURE_EXTRACTION, TEXT_CHAT, TEXT_COMPLETIONS
from ..formats.openai.dialect import Dialect
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.huggingface import HuggingFaceVideos
from .compatible import (
    CompatibleProvider,
    is_absolute,
    own_url,
    upstream_base,
    upstream_url,
    with_path,
)

_CLASSIC: Final = re.compile(r"/(generate|generate_stream|pipeline/text-generation)/?$|/models/(?!.*/v1/)")
"""Paths of text generation APIs that take `inputs`."""
_ROUTER: Final = "router.huggingface.co"
_HUB: Final = "https://huggingface.co"
_PUBLIC: Final = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+(?!local$|internal$|localhost$|lan$|home$|corp$)[a-z]{2,24}"
)
"""A name with a top-level domain: no address, nothing that only a private network knows."""
_VIDEOS: Final = HuggingFaceVideos()


class HuggingFace(CompatibleProvider):
    name = "huggingface"
    operations = frozenset({"chat", "completions", "embeddings", "video.generations"})
    base_url = "https://router.huggingface.co"
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/v1/chat/completions",
        # TGI's own; the router has none.
        "completions": "/v1/completions",
        "video.generations": "/v1/videos",
    }
    dialect = Dialect(
        "huggingface",
        token_limit="max_tokens",
        roles={"developer": "system"},
    )

    def supports(self, call: Call) -> None:
        super().supports(call)
        if call.operation == "completions" and not call.options.upstream_url:
            raise ApiError(
                400,
                "the Hugging Face router has no completions; set upstream_url",
                code="unsupported_route_type",
            )

    def adapter(self, call: Call) -> Adapter:
        if call.operation == "embeddings":
            return FEATURE_EXTRACTION
        if _is_classic(call):
            return TEXT_CHAT if call.operation == "chat" else TEXT_COMPLETIONS
        return super().adapter(call)

    def url(self, call: Call) -> Url:
        options = call.options
        if call.operation == "embeddings":
            if options.upstream_url and not options.upstream_path:
                return upstream_url(options.upstream_url)
            path = options.upstream_path or f"/hf-inference/models/{_model(call)}/pipeline/feature-extraction"
            return upstream_base(options.upstream_url or self.base_url, path)
        if options.upstream_url:
            path = options.upstream_path or self.paths[call.operation]
            url = upstream_base(options.upstream_url, path)
            if call.stream and url.path.endswith("/generate"):
                url.path += "_stream"
            return self.collected(url, call)
        return super().url(call)

    def steps(self, call: Call) -> StepsTranslation | None:
        return None if call.operation != "video.generations" or _has_videos_api(call.options) else _VIDEOS

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        own = operation != "video.generations" or _has_videos_api(options)
        return frozenset({None if own else _VIDEOS.form})

    def step_url(self, call: Call, step: Step) -> Url:
        """Services: "" is the router, "hub" the Hub, at HF_ENDPOINT as for huggingface_hub. An absolute URL
        is a file's at an inference provider, whose host may be any: it is asked for without the token."""
        router = Url.parse(self.base_url)
        if call.options.upstream_url:
            router = upstream_url(call.options.upstream_url)
        if is_absolute(step.path):
            return own_url(step.path, router) if step.credentials else _public_url(step.path, router)
        if step.service == "hub":
            return with_path(upstream_url(os.environ.get("HF_ENDPOINT") or _HUB), step.path)
        return with_path(router, router.path.rstrip("/") + step.path)

    def headers(self, call: Call) -> Headers:
        """As headers, for the router refuses unknown members of a body:
        https://huggingface.co/docs/api-inference/parameters."""
        options = call.options.huggingface
        headers: Headers = {}
        if options is not None and options.use_cache is not None:
            headers["x-use-cache"] = str(options.use_cache).lower()
        if options is not None and options.wait_for_model is not None:
            headers["x-wait-for-model"] = str(options.wait_for_model).lower()
        return headers


def _has_videos_api(options: Options) -> bool:
    if options.upstream_path:
        return options.upstream_path.partition("?")[0].rstrip("/").endswith("/videos")
    if not options.upstream_url:
        return False
    url = upstream_url(options.upstream_url)
    path = url.path.rstrip("/")
    return path.endswith("/videos") or (path in ("", "/v1") and url.host != _ROUTER)


def _public_url(absolute: str, router: Url) -> Url:
    """A file's address, as the inference provider told it. ApiError (502) for what is no public host's name:
    nobody outside is to lead requests into the network that the gateway stands in."""
    with suppress(ApiError):
        return own_url(absolute, router)
    with suppress(ValueError):
        url = Url.parse(absolute)
        if url.scheme == "https" and url.port == 443 and _PUBLIC.fullmatch(url.host):
            return url
    raise ApiError(502, "the provider's answer leads to no public host", code="upstream_redirect")


def _is_classic(call: Call) -> bool:
    options = call.options
    path = options.upstream_path or (upstream_url(options.upstream_url).path if options.upstream_url else "")
    return _CLASSIC.search(path.partition("?")[0]) is not None


def _model(call: Call) -> str:
    """`owner/name` as part of a path; whoever may name the model must not leave the path with it."""
    segments = call.model.split("/")
    if len(segments) > 2 or leads_elsewhere(call.model):
        raise BadRequest("Hugging Face needs a model as owner/name", param="model")
    return "/".join(quote(segment, safe="") for segment in segments)


PROVIDER: Final = HuggingFace()

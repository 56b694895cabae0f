"""Azure OpenAI and Azure AI Foundry.

Claude at Foundry (`…services.ai.azure.com/anthropic/v1/messages`, by `upstream_url`) speaks Anthropic's form.

Three forms of address for the rest, all recorded: `…/openai/deployments/<deployment>/<operation>` with an
`api-version` (from `azure_instance` and `azure_deployment_id`), `…/openai/v1/<operation>` without one, and
`…services.ai.azure.com/models/<operation>` with one, both by `upstream_url`.

Source: https://learn.microsoft.com/azure/ai-services/openai/reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final
from urllib.parse import parse_qsl, quote

from ..config.models import Options
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Headers, Url
from ..formats.base import Adapter, Observer
from ..formats.openai.dialect import OPENAI
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.sora_jobs import SoraJobs, is_job
from .anthropic import PROVIDER as ANTHROPIC
from .compatible import (
    INVALID_CONFIGURATION,
    CompatibleProvider,
    missing,
    path_segment,
    upstream_url,
    with_path,
)
from .openai import ASSISTANTS_BETA

_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})")
_UNVERSIONED: Final = "/openai/v1/"
_V1_VERSIONS: Final = frozenset({"preview", "v1", "latest"})
"""What the v1 API takes as `api-version`, if anything:
https://learn.microsoft.com/azure/ai-services/openai/api-version-lifecycle."""
_JOBS_END: Final = "/video/generations/jobs"
_SORA: Final = frozenset({"sora", "sora-2025-05-02"})
_SORA_JOBS: Final = SoraJobs()

_REST: Final[Mapping[str, str]] = {
    "responses": "/openai/v1/responses",
    "assistants": "/openai/assistants",
    "files": "/openai/files",
    "batches": "/openai/batches",
    "audio.speech": "/audio/speech",
    "audio.transcriptions": "/audio/transcriptions",
    "audio.translations": "/audio/translations",
    "image.generations": "/images/generations",
    "image.edits": "/images/edits",
    "video.generations": "/openai/v1/videos",
}
"""What passes through. Audio and images belong to a deployment, the rest to the instance: the reference, and
https://learn.microsoft.com/azure/ai-foundry/openai/concepts/video-generation."""


class Azure(CompatibleProvider):
    name = "azure"
    operations = frozenset({"chat", "completions", "embeddings", *_REST})
    cloud = "azure"
    forward_headers = frozenset({"openai-beta", "x-ms-client-request-id", "anthropic-beta"})
    paths: ClassVar[Mapping[str, str]] = {
        "chat": "/chat/completions",
        "completions": "/completions",
        "embeddings": "/embeddings",
        **_REST,
    }
    dialect = replace(OPENAI, name="azure")
    passes_through = True

    def has_responses(self, call: Call) -> bool:
        """Claude has Messages alone."""
        return not _is_claude(call)

    def adapter(self, call: Call) -> Adapter:
        return ANTHROPIC.adapter(call) if _is_claude(call) else super().adapter(call)

    def observer(self, call: Call) -> Observer | None:
        return ANTHROPIC.observer(call) if _is_claude(call) else super().observer(call)

    def headers(self, call: Call) -> Headers:
        if call.operation == "assistants" and "openai-beta" not in call.request.headers:
            return {"openai-beta": ASSISTANTS_BETA}
        return ANTHROPIC.headers(call) if _is_claude(call) else {}

    def body_model(self, call: Call) -> str:
        """Azure's own name of a model is its deployment's."""
        return call.options.azure_deployment_id or call.model

    def url(self, call: Call) -> Url:
        options = call.options
        if options.upstream_url:
            url = self.collected(upstream_url(options.upstream_url), call)
            if _is_claude(call):
                return url
        else:
            path = options.upstream_path or self.paths[call.operation]
            if not path.startswith("/openai/"):
                # As in Kong, `upstream_path` is what follows the deployment.
                path = f"/openai/deployments/{self._deployment(call)}/{path.lstrip('/')}"
            url = with_path(Url.parse(f"https://{self._instance(call)}.openai.azure.com"), path)
            url = self.collected(url, call)
        return self._versioned(url, call)

    def steps(self, call: Call) -> StepsTranslation | None:
        """Sora's jobs, where a path says so, as Kong documents it, or the model does: Azure has OpenAI's API
        for version 2 alone (https://learn.microsoft.com/azure/ai-foundry/openai/concepts/video-generation).
        """
        if call.operation != "video.generations":
            return None
        options = call.options
        path = options.upstream_path or (
            upstream_url(options.upstream_url).path if options.upstream_url else ""
        )
        path = path.partition("?")[0].rstrip("/")
        if path.endswith(_JOBS_END) or (call.model in _SORA and not path.endswith("/videos")):
            return _SORA_JOBS
        return _SORA_JOBS if call.rest is not None and is_job(call.rest.rest) else None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        """Which API a video is from, its id says."""
        return frozenset({None, _SORA_JOBS.form} if operation == "video.generations" else {None})

    def step_url(self, call: Call, step: Step) -> Url:
        """At the instance. Sora's jobs are in the preview of the v1 API."""
        if call.options.upstream_url:
            base = upstream_url(call.options.upstream_url)
        else:
            base = Url.parse(f"https://{self._instance(call)}.openai.azure.com")
        path, _, query = step.path.partition("?")
        url = self._versioned(Url(base.scheme, base.host, base.port, path, query), call)
        return url if _query(url.query, "api-version") else url.with_query("api-version", "preview")

    def _instance(self, call: Call) -> str:
        instance = call.options.azure_instance
        if not instance:
            raise missing("azure_instance", self.name)
        # It may come from a request by a template and becomes part of a host name.
        if not _HOST_LABEL.fullmatch(instance):
            raise ApiError(400, "azure_instance is not a name of an instance", code=INVALID_CONFIGURATION)
        return instance

    def _deployment(self, call: Call) -> str:
        deployment = call.options.azure_deployment_id or call.model
        if not deployment:
            raise missing("azure_deployment_id", self.name)
        return path_segment(deployment, "azure_deployment_id")

    def _versioned(self, url: Url, call: Call) -> Url:
        """The client's own `api-version` wins over the configured one, as in Kong; the URL's over both."""
        if _query(url.query, "api-version"):
            return url
        version = _query(call.request.query, "api-version")
        if not version:
            version = call.options.azure_api_version
            if url.path.startswith(_UNVERSIONED) and version not in _V1_VERSIONS:
                return url
        return url.with_query("api-version", quote(version, safe=""))


def _is_claude(call: Call) -> bool:
    """Source: https://learn.microsoft.com/azure/ai-foundry/foundry-models/how-to/use-foundry-models-claude."""
    return "/anthropic/" in (call.options.upstream_url or "").partition("?")[0]


def _query(query: str, name: str) -> str:
    return dict(parse_qsl(query)).get(name, "")


PROVIDER: Final = Azure()

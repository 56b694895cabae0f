"""Where realtime sessions are held.

=========  ==================================================================  ============================
provider   address                                                             chosen by
=========  ==================================================================  ============================
openai     wss://api.openai.com/v1/realtime?model=…
xai        wss://api.x.ai/v1/realtime?model=…
azure      wss://{instance}.openai.azure.com/openai/realtime                   an `api-version` with a date
             ?api-version=…&deployment=…
azure      wss://{instance}.openai.azure.com/openai/v1/realtime?model=…        any other: GA
gemini     wss://generativelanguage.googleapis.com/ws/google.ai.generative-    the version in the client's
             language.{version}.GenerativeService.BidiGenerateContent          path
gemini     wss://{location}-aiplatform.googleapis.com/ws/google.cloud.ai-      options.gemini: Vertex AI;
             platform.{version}.LlmBidiService/BidiGenerateContent             version as above, or v1beta1
=========  ==================================================================  ============================

Sources: https://platform.openai.com/docs/guides/realtime-websocket; https://docs.x.ai/docs/guides/voice;
https://learn.microsoft.com/azure/ai-foundry/openai/how-to/realtime-audio-websockets (both of Azure's);
https://ai.google.dev/api/live;
https://cloud.google.com/vertex-ai/generative-ai/docs/live-api/get-started-websocket, and Google's own SDK for
Python (google-genai 3.4, live.py: path, default version and the model's name on Vertex); recordings openai,
xai, azure, gemini/realtime.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote

from ..config.models import GeminiOptions
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import Url
from .compatible import INVALID_CONFIGURATION, missing, upstream_url, with_path
from .gemini import endpoint, vertex_options

PROVIDERS: Final = {"openai": "openai", "azure": "openai", "xai": "openai", "gemini": "gemini"}
"""Provider → the client format that its sessions are held in."""

_HOSTS: Final = {
    "openai": "api.openai.com",
    "xai": "api.x.ai",
    "gemini": "generativelanguage.googleapis.com",
}
_PATH: Final = "/v1/realtime"
_AZURE_PREVIEW: Final = "/openai/realtime"
_AZURE_GA: Final = "/openai/v1/realtime"
_FIRST_PREVIEW: Final = "2024-10-01-preview"
"""The first `api-version` that has realtime sessions; versions before it (the configured default is one) are
meant for other operations."""
_DATED: Final = re.compile(r"\d{4}-\d\d-\d\d(?:-preview)?")
_HOST_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,62})")
_LIVE: Final = re.compile(
    r"/ws/google\.ai\.generativelanguage\.(v\d\w*)\.GenerativeService[./](BidiGenerateContent(?:Constrained)?)$"
)
_VERTEX_LIVE: Final = re.compile(
    r"/ws/google\.cloud\.aiplatform\.(v1|v1beta1)\.LlmBidiService[./]BidiGenerateContent$"
)
_VERTEX_VERSION: Final = "v1beta1"
_SCHEMES: Final = {"http": "ws", "https": "wss"}
_MODEL_PARAMETERS: Final = ("model", "deployment")


def realtime_url(call: Call) -> Url:
    """Where the session is to be opened, the model in it; never without TLS where TLS is configured.

    Raises ApiError naming the configuration that is missing.
    """
    url = _url(call)
    return Url(_SCHEMES.get(url.scheme, url.scheme), url.host, url.port, url.path, url.query)


def asked_model(query: str) -> str:
    """The model that a client asks for: `model`, or Azure's `deployment`."""
    found = dict(parse_qsl(query))
    return next((found[name] for name in _MODEL_PARAMETERS if found.get(name)), "")


def needs_model(query: str) -> bool:
    """Not where a client joins a call (`call_id`) or only has speech transcribed (`intent`):
    https://platform.openai.com/docs/guides/realtime-sip, …/realtime-transcription."""
    return not {name for name, _ in parse_qsl(query)} & {"call_id", "intent"}


def _url(call: Call) -> Url:
    options, provider = call.options, call.provider
    configured = upstream_url(options.upstream_url) if options.upstream_url else None
    if provider == "gemini":
        return _gemini(call, configured)
    if provider == "azure":
        return _azure(call, configured)
    url = configured or Url("wss", _HOSTS[provider], 443, _PATH)
    if options.upstream_path and configured is None:
        url = with_path(url, options.upstream_path)
    elif url.path == "/":
        url = with_path(url, _PATH)
    return _with(url, "model", _model(call))


def _azure(call: Call, configured: Url | None) -> Url:
    options = call.options
    version = dict(parse_qsl(call.request.query)).get("api-version") or options.azure_api_version
    preview = bool(_DATED.fullmatch(version)) and version >= _FIRST_PREVIEW
    path = options.upstream_path or (_AZURE_PREVIEW if preview else _AZURE_GA)
    if configured is not None:
        url = configured if configured.path != "/" else with_path(configured, path)
    else:
        instance = options.azure_instance
        if not instance:
            raise missing("azure_instance", "azure")
        # It may come from a request by a template and becomes part of a host name.
        if not _HOST_LABEL.fullmatch(instance):
            raise ApiError(400, "azure_instance is not a name of an instance", code=INVALID_CONFIGURATION)
        url = with_path(Url("wss", f"{instance}.openai.azure.com", 443, "/"), path)
    deployment = options.azure_deployment_id or _model(call)
    if url.path.rstrip("/").endswith(_AZURE_GA):
        return _with(url, "model", deployment)
    if preview:
        url = _with(url, "api-version", version)
    # Voice Live names a model, not a deployment: recorded at …/voice-live/realtime.
    return _with(url, "model" if "/voice-live/" in url.path else "deployment", deployment)


def _gemini(call: Call, configured: Url | None) -> Url:
    if configured is not None and configured.path != "/":
        return configured
    vertex = vertex_options(call)
    if vertex is not None:
        return _vertex(call, vertex, configured)
    match = _LIVE.search(call.request.path)
    version, method = match.groups() if match else ("v1beta", "BidiGenerateContent")
    path = f"/ws/google.ai.generativelanguage.{version}.GenerativeService.{method}"
    base = configured or Url("wss", _HOSTS["gemini"], 443, "/")
    return with_path(base, call.options.upstream_path or path)


def _vertex(call: Call, options: GeminiOptions, configured: Url | None) -> Url:
    for field in ("project_id", "location_id"):
        if not getattr(options, field):
            raise missing(f"gemini.{field}", "gemini on Vertex")
    match = _VERTEX_LIVE.search(call.request.path)
    version = match[1] if match else _VERTEX_VERSION
    path = f"/ws/google.cloud.aiplatform.{version}.LlmBidiService/BidiGenerateContent"
    base = configured or Url("wss", endpoint(options), 443, "/")
    return with_path(base, call.options.upstream_path or path)


def live_model_place(call: Call) -> str:
    """What stands before a model's name in a Live session's setup: on Vertex the configured project's own
    path, so that no client chooses another project with the gateway's credentials."""
    vertex = vertex_options(call)
    if vertex is None:
        return "models/"
    return f"projects/{vertex.project_id}/locations/{vertex.location_id}/publishers/google/models/"


def _model(call: Call) -> str:
    return call.model if needs_model(call.request.query) else ""


def _with(url: Url, name: str, value: str) -> Url:
    """With a parameter, unless the configured URL says it itself or there is no value."""
    if not value or name in dict(parse_qsl(url.query)):
        return url
    return url.with_query(name, quote(value, safe=""))

"""Where native APIs are served, for clients that speak a provider's own format.

Hosts: https://docs.aws.amazon.com/general/latest/gr/bedrock.html (runtime, agent runtime, control plane);
https://cloud.google.com/generative-ai-app-builder/docs/ranking (rank is Discovery Engine's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from ..config.models import GeminiOptions, Target
from ..core.aws import aws_domain
from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import Url, leads_elsewhere
from ..core.native import NativeCall
from .bedrock import region_of
from .compatible import missing, path_segment, upstream_url
from .gemini import GOOGLE_HEADERS, HOST, api_version, endpoint, model_segment, vertex_options

SERVED: Final[dict[str, frozenset[str]]] = {
    "anthropic": frozenset({"anthropic", "azure"}),
    "bedrock": frozenset({"bedrock"}),
    "cohere": frozenset({"cohere"}),
    "gemini": frozenset({"gemini"}),
    "huggingface": frozenset({"huggingface"}),
}
"""Format → the providers that serve its APIs."""

FORWARDED: Final[dict[str, tuple[str, ...]]] = {
    "anthropic": ("anthropic-beta", "anthropic-user-profile-id", "anthropic-version"),
    "bedrock": (
        "x-amzn-bedrock-accept", "x-amzn-bedrock-trace", "x-amzn-bedrock-guardrailidentifier",
        "x-amzn-bedrock-guardrailversion", "x-amzn-bedrock-performanceconfig-latency",
        "x-amzn-bedrock-service-tier",
    ),
    "cohere": ("x-client-name",),
    "gemini": (
        "x-goog-upload-command", "x-goog-upload-file-name", "x-goog-upload-header-content-length",
        "x-goog-upload-header-content-type", "x-goog-upload-offset", "x-goog-upload-protocol",
        *sorted(GOOGLE_HEADERS),
    ),
    "huggingface": ("x-use-cache", "x-wait-for-model"),
}  # fmt: skip
"""Headers that mean something to the native APIs, beside Accept and Content-Type."""


def serves(target: Target, llm_format: str) -> bool:
    """Whether this target's provider has the native APIs of a format. Azure has Anthropic's at Foundry."""
    model = target.model
    if model.provider == "azure":
        return llm_format == "anthropic" and "/anthropic" in (model.options.upstream_url or "")
    return model.provider in SERVED.get(llm_format, ())


def native_url(call: Call) -> Url:
    """Where a native API is called. Raises ApiError (400/500) naming what is missing.

    `options.upstream_url` and `upstream_path` win; an address that leads to one of the provider's APIs
    (`…/v1/messages`) stands for all of them.
    """
    native = call.native
    assert native is not None
    url = _URLS[call.client_format](call, native)
    path, options = options_path(call), call.options
    if options.upstream_url:
        base = upstream_url(options.upstream_url)
        if path is None:
            prefix = _prefix(base.path)
            if prefix is None:
                return base
            path = prefix + url.path
        return Url(base.scheme, base.host, base.port, path, base.query or url.query)
    if path is not None:
        return Url(url.scheme, url.host, url.port, path, url.query)
    return url


def options_path(call: Call) -> str | None:
    """`options.upstream_path`, beginning with a slash."""
    path = call.options.upstream_path
    return None if path is None else "/" + path.lstrip("/")


_KNOWN: Final = (
    "/v1/messages", "/v1/complete", "/v1/rerank", "/v2/rerank", "/v1/chat", "/v2/chat", "/v1/embed",
    "/v2/embed", "/generate_stream", "/generate",
)  # fmt: skip


def _prefix(path: str) -> str | None:
    """What of a configured path goes before every API's path; None where it leads to something else."""
    path = path.rstrip("/")
    for known in _KNOWN:
        if path.endswith(known):
            return path.removesuffix(known)
    for mark in ("/v1beta/models/", "/v1/models/", "/v1/projects/", "/model/"):
        if mark in path:
            return path.partition(mark)[0]
    # A short path without a file's look is an address of its own, behind which the APIs are.
    return path if path.count("/") <= 1 and "." not in path else None


def _anthropic(call: Call, native: NativeCall) -> Url:
    paths = {
        "complete": "/v1/complete",
        "count_tokens": "/v1/messages/count_tokens",
        "message_batches": "/v1/messages/batches",
        "files": "/v1/files",
        "models": "/v1/models",
    }
    if call.provider == "azure" and not call.options.upstream_url:
        raise missing("upstream_url", "azure")
    return Url("https", "api.anthropic.com", 443, paths[native.api.name] + native.rest)


# ---- Bedrock

_HOSTS: Final = {"": "bedrock-runtime", "agent": "bedrock-agent-runtime", "control": "bedrock"}


def _bedrock(call: Call, native: NativeCall) -> Url:
    path = _bedrock_path(call, native)
    if call.options.upstream_url:
        return Url("https", "bedrock", 443, path)
    region = region_of(call)
    suffix = aws_domain(region)
    return Url("https", f"{_HOSTS[native.api.host]}.{region}.{suffix}", 443, path)


def _bedrock_path(call: Call, native: NativeCall) -> str:
    api, method = native.api, call.request.method
    if api.name == "model-invocation-job":
        # Listing is another path: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListModelInvocationJobs.html.
        plural = "s" if method == "GET" and not native.rest else ""
        return f"/model-invocation-job{plural}{native.rest}"
    if api.name == "async-invoke" or api.host == "agent":
        return f"/{api.name}{native.rest}"
    if not call.model:
        raise BadRequest("provider bedrock needs a model: it is part of the path", param="model")
    return f"/model/{path_segment(call.model, 'model')}/{api.name}"


# ---- Cohere and Hugging Face

_COHERE_VERSIONS: Final = {"generate": "v1", "tokenize": "v1", "classify": "v1"}
_V1_MEMBERS: Final = (b'"return_documents"', b'"max_chunks_per_doc"', b'"rank_fields"', b'"chat_history"',
                      b'"message"')  # fmt: skip
"""Members that only v1's requests have."""


def _cohere(call: Call, native: NativeCall) -> Url:
    version = native.version or _COHERE_VERSIONS.get(native.api.name)
    if version is None:
        # A short path: the body says which version it was written for.
        version = "v1" if any(name in call.request.body for name in _V1_MEMBERS) else "v2"
    return Url("https", "api.cohere.com", 443, f"/{version}/{native.api.name}")


def _huggingface(call: Call, native: NativeCall) -> Url:
    if call.options.upstream_url:
        path = f"/{native.api.name}"
        if native.api.name == "generate" and call.stream:
            path = "/generate_stream"
        return Url("https", "huggingface", 443, path)
    segments = call.model.split("/")
    if len(segments) > 2 or leads_elsewhere(call.model):
        raise BadRequest("Hugging Face needs a model as owner/name", param="model")
    model = "/".join(quote(part, safe="") for part in segments)
    return Url("https", "router.huggingface.co", 443, f"/hf-inference/models/{model}")


# ---- Gemini and Vertex

_VERTEX_ONLY: Final = frozenset(
    {"rank", "batchPredictionJobs", "rawPredict", "streamRawPredict", "computeTokens"}
)
_PUBLIC_ONLY: Final = frozenset({"upload", "download", "files", "batches"})


def _gemini(call: Call, native: NativeCall) -> Url:
    options = vertex_options(call)
    name = native.api.name
    if name in (_PUBLIC_ONLY if options else _VERTEX_ONLY):
        where = "on Vertex" if options else "at the public Gemini API"
        raise ApiError(400, f"{name} does not exist {where}", code="unsupported_native_api")
    if options is not None:
        return _vertex(call, native, options)
    version = api_version(native, vertex=False)
    if native.api.model == "path":
        kind = "tunedModels" if native.kind == "tunedModels" else "models"
        path = f"/{version}/{kind}/{model_segment(call.model.removeprefix('models/'))}:{name}"
    elif name == "upload":
        path = f"/upload/{version}/files"
    elif name == "download":
        path = f"/download/{version}/files{native.rest}"
    elif name == "operations":
        path = f"/{version}/models{native.rest}"
    else:
        path = f"/{version}/{name}{native.rest}"
    return Url("https", HOST, 443, path, _framing(native))


def _vertex(call: Call, native: NativeCall, options: GeminiOptions) -> Url:
    for field in ("project_id", "location_id"):
        if not getattr(options, field):
            raise missing(f"gemini.{field}", "gemini on Vertex")
    project, location = (quote(name or "", safe="") for name in (options.project_id, options.location_id))
    name = native.api.name
    if name == "rank":
        place = f"/v1/projects/{project}/locations/{location}/rankingConfigs{native.rest}"
        return Url("https", "discoveryengine.googleapis.com", 443, place)
    place = f"/{api_version(native, vertex=True)}/projects/{project}/locations/{location}"
    host = endpoint(options)
    if native.api.model != "path":
        return Url("https", host, 443, f"{place}/{name}{native.rest}")
    if options.endpoint_id:
        path = f"{place}/endpoints/{quote(options.endpoint_id, safe='')}:{name}"
    else:
        publisher, slash, model = call.model.removeprefix("models/").partition("/")
        if not slash:
            publisher, model = "google", publisher
        path = f"{place}/publishers/{quote(publisher, safe='')}/models/{model_segment(model)}:{name}"
    return Url("https", host, 443, path, _framing(native))


def _framing(native: NativeCall) -> str:
    return "alt=sse" if native.stream and not native.json_array else ""


_URLS: Final[dict[str, Callable[[Call, NativeCall], Url]]] = {
    "anthropic": _anthropic,
    "bedrock": _bedrock,
    "cohere": _cohere,
    "gemini": _gemini,
    "huggingface": _huggingface,
}

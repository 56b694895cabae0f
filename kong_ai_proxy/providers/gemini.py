"""Google Gemini: the public API, and Vertex AI with Google's models and those of others.

Vertex is chosen by `options.gemini` (api_endpoint, project_id, location_id). What is spoken there depends on
the model:

====================================  =========================================  ===========================
model                                 path below projects/{p}/locations/{l}      format
====================================  =========================================  ===========================
gemini, gemma, tuned endpoints        publishers/google/models/{m}:…             generateContent
claude-…                              publishers/anthropic/models/{m}:rawPredict Anthropic Messages
mistral-…, codestral-…                publishers/mistralai/models/{m}:rawPredict Mistral's chat completions
jamba-…                               publishers/ai21/models/{m}:rawPredict      OpenAI-shaped
{publisher}/{m} of others (…-maas)    endpoints/openapi/chat/completions         OpenAI-compatible
endpoint_id, any other model          endpoints/{id}/chat/completions            OpenAI-compatible
====================================  =========================================  ===========================

Sources: https://ai.google.dev/api;
https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude,
…/partner-models/mistral, …/partner-models/ai21, …/maas/call-open-model-apis, …/start/openai (self-deployed
models); shared/kong/providers.json.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import ClassVar, Literal
from urllib.parse import quote

from ..config.models import GeminiOptions, Options
from ..core.call import Call
from ..core.errors import BadRequest
from ..core.http import Headers, Url, leads_elsewhere
from ..core.native import NativeCall
from ..formats.anthropic.adapter import MessagesAdapter
from ..formats.anthropic.flavor import VERTEX as CLAUDE_ON_VERTEX
from ..formats.anthropic.observer import MessagesObserver
from ..formats.anthropic.request import betas
from ..formats.base import Adapter, Observer
from ..formats.batches.gemini import GeminiBatches
from ..formats.batches.vertex import VertexBatches
from ..formats.gemini import (
    PUBLIC_CHAT,
    PUBLIC_EMBEDDINGS,
    VERTEX_CHAT,
    VERTEX_EMBEDDINGS,
    VERTEX_SINGLE_EMBEDDING,
    embeds_one,
)
from ..formats.gemini.observer import PUBLIC_OBSERVER, VERTEX_OBSERVER
from ..formats.images.gemini import GeminiImages, is_imagen
from ..formats.images.imagen import Imagen
from ..formats.openai.adapter import openai_adapter
from ..formats.openai.dialect import Dialect
from ..formats.over_chat import CompletionsOverChat
from ..formats.steps import Step, StepsTranslation
from ..formats.videos.veo import Veo, VertexVeo
from .base import Provider
from .compatible import is_absolute, missing, own_url, upstream_url, with_path
from .mistral import PROVIDER as MISTRAL

HOST = "generativelanguage.googleapis.com"
GOOGLE_HEADERS = frozenset(
    {"x-server-timeout", "x-vertex-ai-llm-request-type", "x-vertex-ai-llm-shared-request-type"}
)
"""How long the answer may take (as google-genai says it), and whether it comes out of provisioned throughput:
https://cloud.google.com/vertex-ai/generative-ai/docs/provisioned-throughput/use-provisioned-throughput."""
_STORAGE = "https://storage.googleapis.com"
"""https://cloud.google.com/storage/docs/request-endpoints"""

Kind = Literal["google", "raw", "openai"]


@dataclass(frozen=True, slots=True)
class _Publisher:
    """Whose model it is, and how Vertex serves it."""

    name: str
    kind: Kind


_GOOGLE = _Publisher("google", "google")
_PUBLISHERS = {
    "google": _GOOGLE,
    "anthropic": _Publisher("anthropic", "raw"),
    "mistralai": _Publisher("mistralai", "raw"),
    "ai21": _Publisher("ai21", "raw"),
}
_PREFIXES = {
    "claude": "anthropic",
    "mistral": "mistralai",
    "codestral": "mistralai",
    "ministral": "mistralai",
    "jamba": "ai21",
}
"""The publisher by the beginning of a model's name."""

_VERTEX_OPENAI = Dialect("gemini", stream_options=True)

_CLAUDE = MessagesAdapter(CLAUDE_ON_VERTEX)
_CLAUDE_OBSERVER = MessagesObserver(CLAUDE_ON_VERTEX)
_IMAGES = {vertex: GeminiImages(vertex=vertex) for vertex in (False, True)}
_IMAGEN = {vertex: Imagen(vertex=vertex) for vertex in (False, True)}
_BATCHES = GeminiBatches(PUBLIC_CHAT, PUBLIC_EMBEDDINGS)
_VERTEX_BATCHES = VertexBatches(VERTEX_CHAT)
_COMPLETIONS = {False: CompletionsOverChat(PUBLIC_CHAT), True: CompletionsOverChat(VERTEX_CHAT)}


class Gemini(Provider):
    """See the module. Keys go into the `key` parameter or `x-goog-api-key`; Vertex takes Google Cloud
    credentials.
    """

    name: ClassVar[str] = "gemini"
    operations: ClassVar[frozenset[str]] = frozenset(
        {
            "chat", "completions", "embeddings", "files", "batches", "image.generations", "image.edits",
            "video.generations",
        }
    )
    cloud: ClassVar[Literal["aws", "gcp", "azure"] | None] = "gcp"
    forward_headers: ClassVar[frozenset[str]] = GOOGLE_HEADERS

    def adapter(self, call: Call) -> Adapter:
        vertex = vertex_options(call)
        if call.operation == "embeddings":
            if vertex is None:
                return PUBLIC_EMBEDDINGS
            return VERTEX_SINGLE_EMBEDDING if embeds_one(call.model) else VERTEX_EMBEDDINGS
        if vertex is None:
            return _COMPLETIONS[False] if call.operation == "completions" else PUBLIC_CHAT
        publisher, _ = _model(call, vertex)
        chat: Adapter
        if publisher.kind == "google":
            return _COMPLETIONS[True] if call.operation == "completions" else VERTEX_CHAT
        if publisher.name == "anthropic":
            chat = _CLAUDE
        else:
            chat = openai_adapter(
                "chat", MISTRAL.dialect if publisher.name == "mistralai" else _VERTEX_OPENAI
            )
        return CompletionsOverChat(chat) if call.operation == "completions" else chat

    def observer(self, call: Call) -> Observer | None:
        vertex = vertex_options(call)
        if call.client_format == "gemini":
            return PUBLIC_OBSERVER if vertex is None else VERTEX_OBSERVER
        if vertex is None or call.operation != "chat":
            return None
        return _CLAUDE_OBSERVER if _model(call, vertex)[0].name == "anthropic" else None

    def headers(self, call: Call) -> Headers:
        """Claude's betas, for Claude alone, as far as Vertex knows them."""
        vertex = vertex_options(call)
        if vertex is None or _model(call, vertex)[0].name != "anthropic":
            return {}
        flags = betas(call, CLAUDE_ON_VERTEX)
        return {"anthropic-beta": ",".join(flags)} if flags else {}

    def url(self, call: Call, verb: str = "") -> Url:
        """`verb`: the model's method, where the operation does not tell it."""
        options = call.options
        vertex = vertex_options(call)
        configured = upstream_url(options.upstream_url) if options.upstream_url else None
        if configured is not None and configured.path != "/":
            return _for_stream(configured, call)
        if options.upstream_path:
            host = HOST if vertex is None else endpoint(vertex)
            url = _for_stream(with_path(Url("https", host, 443, "/"), options.upstream_path), call)
        else:
            url = _public_url(call, verb) if vertex is None else _vertex_url(call, vertex, verb)
        if configured is None:
            return url
        return Url(configured.scheme, configured.host, configured.port, url.path, url.query)

    def steps(self, call: Call) -> StepsTranslation | None:
        if call.operation == "video.generations":
            return _VEO if vertex_options(call) is None else _VERTEX_VEO
        if call.operation.startswith("image."):
            options = vertex_options(call)
            if options is not None and _model(call, options)[0].kind != "google":
                raise BadRequest("Vertex makes images with Google's models only", param="model")
            vertex = options is not None
            return _IMAGEN[vertex] if is_imagen(call) else _IMAGES[vertex]
        if call.operation in ("files", "batches"):
            return _BATCHES if vertex_options(call) is None else _VERTEX_BATCHES
        return None

    def id_forms(self, operation: str, options: Options) -> frozenset[str | None]:
        public = on_vertex(options) is None
        if operation == "video.generations":
            return frozenset({_VEO.form if public else _VERTEX_VEO.form})
        return frozenset({_BATCHES.form if public else _VERTEX_BATCHES.form})

    def step_errors(self, call: Call) -> Adapter | None:
        return PUBLIC_CHAT if vertex_options(call) is None else VERTEX_CHAT

    def step_url(self, call: Call, step: Step) -> Url:
        """A path that begins with ":" is a method of the call's model. An absolute URL is a redirect within
        the service. Services: "" and "upload" are Gemini's own host, "storage" is Cloud Storage, also where
        Google's own SDKs look for another address of it (STORAGE_EMULATOR_HOST)."""
        if step.path.startswith(":"):
            return self.url(call, step.path[1:])
        if step.service == "storage":
            return with_path(Url.parse(os.environ.get("STORAGE_EMULATOR_HOST") or _STORAGE), step.path)
        vertex = vertex_options(call)
        base = Url("https", HOST if vertex is None else endpoint(vertex), 443, "/")
        if call.options.upstream_url:
            base = upstream_url(call.options.upstream_url)
        return own_url(step.path, base) if is_absolute(step.path) else with_path(base, step.path)


_STREAMED = {"generateContent": "streamGenerateContent", "rawPredict": "streamRawPredict"}
_WHOLE = {streamed: whole for whole, streamed in _STREAMED.items()}


def _for_stream(url: Url, call: Call) -> Url:
    """A configured URL with the method that streams, or does not, as the client asks."""
    path, colon, verb = url.path.rpartition(":")
    if not colon:
        return url
    verb = (_STREAMED if call.stream else _WHOLE).get(verb, verb)
    query = url.query
    if _wants_array(call):
        query = "&".join(pair for pair in query.split("&") if pair != "alt=sse")
    elif verb == "streamGenerateContent" and "alt=" not in query:
        query = f"{query}&alt=sse" if query else "alt=sse"
    elif verb == "generateContent":
        query = "&".join(pair for pair in query.split("&") if pair != "alt=sse")
    return Url(url.scheme, url.host, url.port, f"{path}:{verb}", query)


def _public_url(call: Call, verb: str = "") -> Url:
    model = call.model.removeprefix("models/")
    kind = "tunedModels" if model.startswith("tunedModels/") else "models"
    name = model_segment(model.removeprefix("tunedModels/"))
    path = f"/{api_version(call.native, vertex=False)}/{kind}/{name}"
    return _url(HOST, path, verb or _verb(call, False))


def vertex_options(call: Call) -> GeminiOptions | None:
    """Vertex's options, where any is set; else the public API is meant."""
    return on_vertex(call.options)


def on_vertex(configured: Options) -> GeminiOptions | None:
    """The same of a target's options."""
    options = configured.gemini
    if options is None:
        return None
    given = options.api_endpoint or options.project_id or options.location_id or options.endpoint_id
    return options if given else None


def _vertex_url(call: Call, options: GeminiOptions, method: str = "") -> Url:
    place = f"/{api_version(call.native, vertex=True)}/{vertex_place(options)}"
    host = endpoint(options)
    publisher, model = _model(call, options)
    if publisher.kind == "openai":
        name = quote(options.endpoint_id or "openapi", safe="")
        return Url("https", host, 443, f"{place}/endpoints/{name}/chat/completions")
    if method:
        verb = method
    elif publisher.kind == "raw":
        verb = "streamRawPredict" if call.stream else "rawPredict"
    else:
        verb = _verb(call, True)
    if options.endpoint_id:
        return _url(host, f"{place}/endpoints/{quote(options.endpoint_id, safe='')}", verb)
    return _url(host, f"{place}/publishers/{publisher.name}/models/{model_segment(model)}", verb)


def vertex_place(options: GeminiOptions) -> str:
    """The project's place in a path. Raises ApiError (500) naming the option that is missing."""
    for field in ("project_id", "location_id"):
        if not getattr(options, field):
            raise missing(f"gemini.{field}", "gemini on Vertex")
    project, location = (quote(name or "", safe="") for name in (options.project_id, options.location_id))
    return f"projects/{project}/locations/{location}"


def endpoint(options: GeminiOptions) -> str:
    """The regional host. `api_endpoint` is a host name; people write a URL there too."""
    given = (options.api_endpoint or "").strip()
    if given:
        return given.removeprefix("https://").partition("/")[0]
    location = options.location_id or "global"
    return "aiplatform.googleapis.com" if location == "global" else f"{location}-aiplatform.googleapis.com"


def _model(call: Call, options: GeminiOptions) -> tuple[_Publisher, str]:
    """The publisher and the model's name without it."""
    name = call.model.removeprefix("publishers/").replace("/models/", "/", 1)
    given, slash, rest = name.partition("/")
    if not slash:
        given, rest = "", name
    if given in ("models", "google"):
        given, rest = "", rest
    if not given:
        given = next((publisher for prefix, publisher in _PREFIXES.items() if rest.startswith(prefix)), "")
    if not given:
        # A deployed endpoint serves an open model, unless the name is of Google's own.
        # One served as a service is another's model, if the name leaves out whose.
        deployed = bool(options.endpoint_id) and bool(rest) and not rest.startswith("gemini")
        open_model = deployed or rest.endswith("-maas")
        return (_Publisher("", "openai") if open_model else _GOOGLE), rest
    return _PUBLISHERS.get(given) or _Publisher(given, "openai"), rest


_PUBLIC_VERSIONS = frozenset({"v1", "v1beta", "v1alpha"})
_VERTEX_VERSIONS = frozenset({"v1", "v1beta1"})


def api_version(native: NativeCall | None, *, vertex: bool) -> str:
    """The API's version in a path: that of a client who speaks Gemini, where it exists on this side."""
    if native is not None and native.version in (_VERTEX_VERSIONS if vertex else _PUBLIC_VERSIONS):
        return native.version
    return "v1" if vertex else "v1beta"


def _wants_array(call: Call) -> bool:
    """The client speaks Gemini and wants its stream as one JSON array, as it comes without `alt=sse`."""
    return call.native is not None and call.native.json_array


def _verb(call: Call, vertex: bool) -> str:
    if call.operation == "embeddings":
        if not vertex:
            return "batchEmbedContents"
        return "embedContent" if embeds_one(call.model) else "predict"
    if not call.stream:
        return "generateContent"
    return "streamGenerateContent" if _wants_array(call) else "streamGenerateContent?alt=sse"


def _url(host: str, path: str, verb: str) -> Url:
    verb, _, query = verb.partition("?")
    return Url("https", host, 443, f"{path}:{verb}", query)


def model_segment(model: str) -> str:
    """A model's name as part of a path. Whoever may name the model must not leave the path with it."""
    if leads_elsewhere(model) or "/" in model:
        raise BadRequest("Gemini needs the name of a model", param="model")
    return quote(model, safe="@")


_VEO = Veo()
_VERTEX_VEO = VertexVeo(lambda call: vertex_place(call.options.gemini or GeminiOptions()))

PROVIDER = Gemini()

"""Which native API a request's path names.

The native path is what follows the Kong route's prefix; a route that does not strip its prefix leaves it in
front, so a path is recognised by its end. Paths: shared/kong/native-formats.md section 2, and the providers'
references: https://docs.claude.com/en/api/overview, https://ai.google.dev/api/all-methods,
https://cloud.google.com/vertex-ai/docs/reference/rest, https://docs.aws.amazon.com/bedrock/latest/APIReference,
https://docs.cohere.com/reference/about, https://huggingface.co/docs/text-generation-inference.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl, quote, unquote

from ..core.errors import ApiError, BadRequest
from ..core.http import ClientRequest
from ..core.json import Json
from ..core.native import NativeApi, NativeCall

NOT_NATIVE: Final = "native_path_unknown"
_BODY: Final = "body"
_RESOURCE: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_READ: Final = frozenset({"GET"})


def _api(name: str, operation: str, **more: object) -> NativeApi:
    return NativeApi(name, operation, **more)  # type: ignore[arg-type]


def _resource(name: str, operation: str, methods: frozenset[str] = _RESOURCE) -> NativeApi:
    """Things that are stored at the provider: no model is asked."""
    return NativeApi(name, operation, model="none", metered=False, methods=methods)


_ANTHROPIC: Final[tuple[tuple[str, NativeApi], ...]] = (
    (r"/messages/count_tokens", _api("count_tokens", "count_tokens", model=_BODY, metered=False)),
    (r"/messages/batches(?P<rest>(?:/[^/]+){0,2})", _resource("message_batches", "batches")),
    (r"/v1/files(?P<rest>(?:/[^/]+){0,2})", _resource("files", "files")),
    (r"/v1/models(?P<rest>(?:/[^/]+)?)", _resource("models", "models", methods=_READ)),
    (r"/v1/complete", _api("complete", "completions", model=_BODY)),
    (r"/messages", _api("messages", "chat", model=_BODY, translated=True)),
)
_CLAUDE_ON_VERTEX: Final = re.compile(
    r"/publishers/anthropic/models/(?P<model>[^/]+)(?::|%3[aA])(?P<verb>rawPredict|streamRawPredict)$"
)
"""As Anthropic's SDK calls Claude on Vertex (`AnthropicVertex`): Messages whose model is in the path."""
_ON_VERTEX: Final = {
    "rawPredict": _api("rawPredict", "chat", translated=True),
    "streamRawPredict": _api("streamRawPredict", "chat", stream=True, translated=True),
}

_GEMINI_VERBS: Final[dict[str, NativeApi]] = {
    api.name: api
    for api in (
        _api("generateContent", "chat", translated=True),
        _api("streamGenerateContent", "chat", stream=True, translated=True),
        _api("embedContent", "embeddings"),
        _api("batchEmbedContents", "embeddings"),
        _api("predict", "embeddings"),
        _api("countTokens", "count_tokens", metered=False),
        _api("computeTokens", "count_tokens", metered=False),
        _api("rawPredict", "raw"),
        _api("streamRawPredict", "raw", stream=True),
        _api("predictLongRunning", "video.generations", metered=False),
        _api("fetchPredictOperation", "video.generations", metered=False),
        _api("batchGenerateContent", "batches", metered=False),
        _api("asyncBatchEmbedContent", "batches", metered=False),
    )
}
_GEMINI_SYNONYMS: Final = {"batchEmbedContent": "batchEmbedContents"}
"""Kong's documentation has both."""
_GEMINI_MODEL: Final = re.compile(
    r"(?:/(?P<version>v\d\w*))?(?:/projects/[^/]+/locations/[^/]+)?(?:/publishers/(?P<publisher>[^/]+))?"
    r"/(?P<kind>models|tunedModels|endpoints)/(?!(?:models|tunedModels|endpoints)/)"
    r"(?P<model>[^/]+(?:/[^/]+)?):(?P<verb>\w+)$"
)
"""Google's SDKs leave the slash of names such as `meta-llama/Llama-3.3-70B-Instruct` as it is."""
_VERSION: Final = r"(?:/(?P<version>v\d\w*))?(?:/projects/[^/]+/locations/[^/]+)?"
_GEMINI: Final[tuple[tuple[str, NativeApi], ...]] = (
    (r"/upload(?:/(?P<version>v\d\w*)|/[^/]+)?/files", _resource("upload", "files")),
    (
        r"/download(?:/(?P<version>v\d\w*))?/files(?P<rest>/[^/]+)",
        _resource("download", "files", methods=_READ),
    ),
    (
        _VERSION + r"/rankingConfigs(?P<rest>/[^/:]+:rank)",
        _api("rank", "rerank", model=_BODY, host="discoveryengine", metered=False),
    ),
    (
        _VERSION + r"/models(?P<rest>/[^/]+/operations/[^/]+)",
        _resource("operations", "video.generations", methods=_READ),
    ),
    (_VERSION + r"/files(?P<rest>(?:/[^/]+)?)", _resource("files", "files")),
    (_VERSION + r"/batches(?P<rest>(?:/[^/]+)?)", _resource("batches", "batches")),
    (
        _VERSION + r"/batchPredictionJobs(?P<rest>(?:/[^/]+)?)",
        _api("batchPredictionJobs", "batches", model=_BODY, metered=False, methods=_RESOURCE),
    ),
    (
        _VERSION + r"/cachedContents(?P<rest>(?:/[^/]+)?)",
        _api("cachedContents", "caches", model=_BODY, metered=False, methods=_RESOURCE),
    ),
    (_VERSION + r"/models(?P<rest>(?:/[^/:]+)?)", _resource("models", "models", methods=_READ)),
)

_RERANK_ARN: Final = (
    "rerankingConfiguration",
    "bedrockRerankingConfiguration",
    "modelConfiguration",
    "modelArn",
)
_GENERATE_ARN: Final = ("retrieveAndGenerateConfiguration", "knowledgeBaseConfiguration", "modelArn")
_FROM_FILES_ARN: Final = ("retrieveAndGenerateConfiguration", "externalSourcesConfiguration", "modelArn")
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_agent-runtime_RetrieveAndGenerateConfiguration.html"""
_BEDROCK_VERBS: Final[dict[str, NativeApi]] = {
    api.name: api
    for api in (
        _api("converse", "chat", translated=True),
        _api("converse-stream", "chat", stream=True, translated=True),
        _api("invoke", "invoke"),
        _api("invoke-with-response-stream", "invoke", stream=True),
        _api("count-tokens", "count_tokens", metered=False),
        _api("rerank", "rerank", model=_BODY, member=_RERANK_ARN, host="agent", metered=False),
        *(
            _api(
                name, "rag", model=_BODY, member=_GENERATE_ARN, members=(_FROM_FILES_ARN,), host="agent",
                stream=stream,
            )
            for name, stream in (("retrieveAndGenerate", False), ("retrieveAndGenerateStream", True))
        ),
    )
}
_BEDROCK_ACTION: Final = re.compile(
    rf"(?:/model/(?P<model>.+))?/(?P<verb>{'|'.join(map(re.escape, _BEDROCK_VERBS))})$"
)
_BEDROCK: Final[tuple[tuple[str, NativeApi], ...]] = (
    (
        r"(?:/model/(?P<model>.+))?/async-invoke(?P<rest>(?:/[^/]+)?)",
        _api(
            "async-invoke",
            "video.generations",
            model=_BODY,
            member=("modelId",),
            metered=False,
            methods=_RESOURCE,
        ),
    ),
    (
        r"/(?:model-invocations|model-invocation-jobs?)(?P<rest>(?:/[^/]+(?:/stop)?)?)",
        _api(
            "model-invocation-job",
            "batches",
            model=_BODY,
            member=("modelId",),
            host="control",
            metered=False,
            methods=_RESOURCE,
        ),
    ),
)

_COHERE: Final[tuple[tuple[str, NativeApi], ...]] = (
    (r"(?:/(?P<version>v[12]))?/rerank", _api("rerank", "rerank", model=_BODY, metered=False)),
    (r"(?:/(?P<version>v[12]))?/chat", _api("chat", "chat", model=_BODY)),
    (r"(?:/(?P<version>v[12]))?/embed", _api("embed", "embeddings", model=_BODY)),
    (r"(?:/(?P<version>v1))?/generate", _api("generate", "completions", model=_BODY)),
    (r"(?:/(?P<version>v1))?/tokenize", _api("tokenize", "count_tokens", model=_BODY, metered=False)),
    (r"(?:/(?P<version>v1))?/classify", _api("classify", "classify", model=_BODY)),
)

_HUGGINGFACE: Final[tuple[tuple[str, NativeApi], ...]] = (
    (r"/generate_stream", _api("generate_stream", "completions", model=_BODY, stream=True)),
    (r"/generate", _api("generate", "completions", model=_BODY)),
    (r"/models/(?P<model>[^/]+(?:/[^/]+)?)", _api("generate", "completions", model=_BODY)),
)
_HUGGINGFACE_ANY: Final = _api("generate", "completions", model=_BODY)
"""Its SDK posts to the address it is given: https://huggingface.co/docs/huggingface_hub/guides/inference."""

_TABLES: Final = {
    name: tuple((re.compile(pattern + "$"), api) for pattern, api in table)
    for name, table in {
        "anthropic": _ANTHROPIC,
        "gemini": _GEMINI,
        "bedrock": _BEDROCK,
        "cohere": _COHERE,
        "huggingface": _HUGGINGFACE,
    }.items()
}


def recognise(llm_format: str, request: ClientRequest) -> NativeCall | None:
    """The native API that a request is for; None for instances whose clients speak OpenAI's form.

    Raises ApiError: 404 for a path that names none, 400 for a model or id that would lead elsewhere.
    """
    if llm_format not in _TABLES:
        return None
    path = request.path.rstrip("/") or "/"
    found: NativeCall | None = None
    if llm_format == "gemini":
        found = _gemini(path, request.query)
    elif llm_format == "bedrock":
        found = _bedrock(path)
    elif llm_format == "anthropic":
        found = _claude_on_vertex(path)
    if found is None:
        found = _listed(llm_format, path)
    if found is None and llm_format == "huggingface":
        found = NativeCall(_HUGGINGFACE_ANY)
    if found is None and llm_format == "anthropic":
        # Also under any other path: there are routes that are a client's whole base address.
        found = NativeCall(_ANTHROPIC[-1][1])
    if found is None:
        raise ApiError(
            404, f"the path names no API of llm_format {llm_format} that is supported", code=NOT_NATIVE
        )
    if request.method not in found.api.methods:
        raise ApiError(405, f"{found.api.name} cannot be asked with {request.method}", code=NOT_NATIVE)
    return found


def _claude_on_vertex(path: str) -> NativeCall | None:
    match = _CLAUDE_ON_VERTEX.search(path)
    if match is None:
        return None
    if match["model"] == "count-tokens":
        return NativeCall(_ANTHROPIC[0][1])
    return NativeCall(_ON_VERTEX[match["verb"]], _model(match["model"]))


def _gemini(path: str, query: str) -> NativeCall | None:
    head, slash, last = path.rpartition("/")
    if ":" not in last:
        last = re.sub("%3a", ":", last, flags=re.IGNORECASE)
    match = _GEMINI_MODEL.search(f"{head}{slash}{last}")
    if match is None:
        return None
    verb = _GEMINI_SYNONYMS.get(match["verb"], match["verb"])
    api = _GEMINI_VERBS.get(verb)
    if api is None:
        return None
    model = _model(match["model"])
    if match["publisher"] and match["publisher"] != "google":
        model = f"{_model(match['publisher'])}/{model}"
    array = api.stream and dict(parse_qsl(query)).get("alt") != "sse"
    return NativeCall(api, model, version=match["version"] or "", kind=match["kind"], json_array=array)


def _bedrock(path: str) -> NativeCall | None:
    match = _BEDROCK_ACTION.search(path)
    if match is None:
        return None
    return NativeCall(_BEDROCK_VERBS[match["verb"]], _model(match["model"] or ""))


def _listed(llm_format: str, path: str) -> NativeCall | None:
    for pattern, api in _TABLES[llm_format]:
        match = pattern.search(path)
        if match is not None:
            groups = match.groupdict()
            return NativeCall(
                api,
                _model(groups.get("model") or ""),
                _rest(groups.get("rest") or ""),
                groups.get("version") or "",
            )
    return None


def _model(encoded: str) -> str:
    """A model's name, decoded once. Raises BadRequest for one that is no name."""
    name = unquote(encoded)
    if not name.isprintable() or any(part in (".", "..") for part in re.split(r"[/\\]", name)):
        raise BadRequest("the path names no valid model", param="model")
    return name


def _rest(encoded: str) -> str:
    """Ids and actions, each encoded anew as one segment."""
    segments = []
    for segment in encoded.split("/")[1:]:
        plain = unquote(segment)
        if not plain.isprintable() or any(part in ("", ".", "..") for part in re.split(r"[/\\]", plain)):
            raise BadRequest("the path names no valid id")
        segments.append(quote(plain, safe=":@~"))
    return "".join(f"/{segment}" for segment in segments)


def body_model(body: Json, native: NativeCall) -> str:
    """The model that the body names; "" where it names none. Raises BadRequest where that is no text."""
    member, value = model_member(body, native)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"{member[-1]} must be a string", param=".".join(member))
    return value


def model_member(body: Json, native: NativeCall) -> tuple[tuple[str, ...], object]:
    """Where the body names the model, or would, and what stands there; None: nothing."""
    for member in (native.api.member, *native.api.members):
        value: object = body
        for name in member:
            value = value.get(name) if isinstance(value, dict) else None
        if value is not None:
            return member, value
    return native.api.member, None


def batch_models(body: Json) -> list[str]:
    """The models that the requests of Anthropic's message batches name."""
    found: dict[str, None] = {}
    requests = body.get("requests")
    for request in requests if isinstance(requests, list) else ():
        params = request.get("params") if isinstance(request, dict) else None
        model = params.get("model") if isinstance(params, dict) else None
        if isinstance(model, str):
            found[model] = None
    return list(found)


def with_batch_model(body: Json, model: str) -> Json:
    """The batch with another model in every request."""
    requests = [
        {**request, "params": {**request["params"], "model": model}}
        if isinstance(request, dict) and isinstance(request.get("params"), dict)
        else request
        for request in body["requests"]
    ]
    return {**body, "requests": requests}


def with_body_model(body: Json, native: NativeCall, model: str) -> Json:
    """The body with another model where it names one."""
    *path, last = model_member(body, native)[0]
    changed = dict(body)
    place = changed
    for name in path:
        inner = place.get(name)
        if not isinstance(inner, dict):
            return body
        place[name] = inner = dict(inner)
        place = inner
    place[last] = model
    return changed

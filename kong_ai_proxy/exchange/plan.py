"""What a client wants, before any target is chosen: its request read, checked, and matched against the
targets.

The texts of refusals are Kong's where Kong documents one (its 3.9.3 source, `kong/llm/plugin/shared-filters/
normalize-request.lua`, and the documentation's support and how-to pages).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from ..config.models import Target
from ..core.errors import ApiError, BadRequest
from ..core.http import ClientRequest
from ..core.json import Json, JSONDecodeError, loads
from ..core.native import NativeCall
from ..providers.counting import may_count
from ..providers.native import serves
from .instance import Instance
from .native import batch_models, body_model, recognise
from .resolve import Resolved, resolve_target

BAD_JSON: Final = "content-type header does not match request body, or bad JSON formatting"
NO_PROMPT: Final = "request body doesn't contain valid prompts"
NO_MODEL: Final = "model parameter not found in request, nor in gateway configuration"
OWN_MODEL: Final = "cannot use own model - must be: "
UNKNOWN_ALIAS: Final = "model not configured"
NO_STREAM: Final = "response streaming is not enabled for this LLM"

SUPPORTED: Final = frozenset({"chat", "completions", "embeddings"})
"""Operations that this version carries."""

_STREAMED: Final = frozenset({"chat", "completions"})
_WRONG_CONTENT_TYPE: Final = {
    "chat": "LLM route only supports llm chat type requests",
    "completions": "LLM route only supports llm completions type requests",
    "embeddings": "LLM route only supports llm embeddings type requests",
}
_PROMPT: Final = {
    ("openai", "chat"): "messages",
    ("openai", "completions"): "prompt",
    ("openai", "embeddings"): "input",
    ("anthropic", "chat"): "messages",
    ("bedrock", "chat"): "messages",
    ("gemini", "chat"): "contents",
}
"""(client format, operation) → the body's member that holds the prompt."""
_MODEL_OPTIONAL: Final = frozenset({"azure"})
"""Providers where a deployment names the model:
https://developer.konghq.com/ai-gateway/ai-providers/azure/."""


@dataclass(slots=True)
class Plan:
    """A request that may be tried at its candidates."""

    instance: Instance
    request: ClientRequest
    body: Json
    """The client's body, `extra_body` merged in. Never changed: every attempt starts from it."""
    body_as_sent: bool
    """`body` is what `request.body` says, so those bytes may pass through."""
    model: str
    """The model the client asked for; "" if it did not."""
    stream: bool
    """The client gets a stream."""
    include_usage: bool
    candidates: list[int]
    """Indexes of the targets that may serve it, in configured order."""
    resolved: dict[int, Resolved]
    """What templates in the candidates' model came out as."""
    native: NativeCall | None = None
    """What the path asks for, where clients speak a native format."""
    estimated: bool = False
    """Tokens are to be counted, and no target can: the gateway says what it makes of them."""
    permits: Callable[[Target, str], bool] | None = None
    """Whether the access rules let this client use a model of the target's that is only named later, behind
    a form's files or in a batch's lines. None: there are no rules."""
    counting: bool = False
    """Tokens are to be counted, by a provider that is asked in another form."""

    def check_access(self, target: Target, model: str) -> None:
        """Raises ApiError (403) for a model that is named late and may not be used."""
        if self.permits is not None and not self.permits(target, model):
            raise ApiError(403, "access to this model is denied", code="access_denied")

    def operation(self, index: int) -> str:
        if self.native is not None:
            return self.native.api.operation
        return self.instance.operations[index]


def make_plan(instance: Instance, request: ClientRequest) -> Plan:
    """Read and check a request. Raises ApiError for the client."""
    native = recognise(instance.llm_format, request)
    if native is not None and not native.api.translated:
        return native_plan(instance, request, native)
    operations = (
        _operations(instance) if native is None else [native.api.operation] * len(instance.targets)
    )
    body, as_sent = _read_body(request, operations[0])
    if len(set(operations)) > 1:
        targets = _by_shape(instance, operations, body)
    else:
        targets = list(range(len(operations)))
    operation = operations[targets[0]]
    _check_prompt(instance.llm_format, operation, body)
    if native is None or native.api.model == "body":
        model = _model(body)
        stream, include_usage = _streaming(instance, operation, body)
    else:
        model = native.model
        stream = include_usage = native.stream
        _check_streaming(instance, stream)
    candidates, resolved = _candidates(instance, targets, model, request)
    return Plan(instance, request, body, as_sent, model, stream, include_usage, candidates, resolved, native)


def native_plan(instance: Instance, request: ClientRequest, native: NativeCall) -> Plan:
    """For APIs that only their own provider serves: the request goes on as it is, but for the model."""
    own = [index for index, target in enumerate(instance.targets) if serves(target, instance.llm_format)]
    counts = native.api.operation == "count_tokens"
    targets = list(range(len(instance.targets))) if counts else own
    if not targets:
        provider = instance.targets[0].model.provider
        raise BadRequest(f"provider {provider} has no {native.api.name}", code="unsupported_native_api")
    body = _native_body(request, native)
    model = native.model
    if native.api.model == "body":
        model = model or body_model(body, native)
    stream = native.stream or (native.api.metered and body.get("stream") is True)
    _check_streaming(instance, stream)
    # A text generation server has one model, and its requests seldom name it.
    optional = not body or instance.llm_format == "huggingface"
    if native.api.model == "none" or (native.api.model == "body" and optional and not model):
        resolved = _resolve(instance.targets, targets, request)
        candidates = [index for index in targets if index in resolved]
    else:
        candidates, resolved = _native_candidates(instance, targets, model, request)
    plan = Plan(instance, request, body, True, model, stream, stream, candidates, resolved, native)
    if counts:
        _choose_counters(plan, own)
    check_batch(plan)
    return plan


def _choose_counters(plan: Plan, own: list[int]) -> None:
    """Who counts tokens: a candidate that has the API itself; else one that is asked in another form; else
    nobody."""
    targets = plan.instance.targets
    native = [index for index in plan.candidates if index in own]
    able = [index for index in plan.candidates if may_count(targets[index])]
    plan.counting = not native and bool(able)
    plan.estimated = not native and not able
    plan.candidates = native or able or plan.candidates


def _native_candidates(
    instance: Instance, targets: list[int], model: str, request: ClientRequest
) -> tuple[list[int], dict[int, Resolved]]:
    """As `_candidates`; a model may also be named by its ARN or resource name, whose end is the name."""
    try:
        return _candidates(instance, targets, model, request)
    except BadRequest:
        short = model.rpartition("/")[2]
        if short == model:
            raise
        return _candidates(instance, targets, short, request)


def check_batch(plan: Plan) -> None:
    """Each request of a batch names its model: only the candidates that serve them all stay."""
    for model in batch_models(plan.body):
        serving, _ = _native_candidates(plan.instance, plan.candidates, model, plan.request)
        plan.candidates = [index for index in plan.candidates if index in serving]
    if not plan.candidates:
        raise BadRequest(OWN_MODEL + "one model for the whole batch", param="requests")


def _native_body(request: ClientRequest, native: NativeCall) -> Json:
    """The body, where it is JSON; {} where it is none and need not be."""
    if request.upload is not None or not request.body or native.api.operation == "files":
        # Google's SDK calls an uploaded file JSON.
        return {}
    if not _is_json(request.headers.get("content-type", "application/json")):
        if native.api.model != "none":
            raise BadRequest(f"{native.api.name} is asked with Content-Type: application/json")
        return {}
    try:
        body = loads(request.body)
    except (JSONDecodeError, RecursionError):
        raise BadRequest(BAD_JSON) from None
    if not isinstance(body, dict):
        raise BadRequest("request body must be a JSON object")
    _check_spelling(body)
    return body


def _operations(instance: Instance) -> list[str]:
    operations = instance.operations
    if SUPPORTED.isdisjoint(operations):
        raise ApiError(
            501,
            f"route type {instance.targets[0].route_type} is not supported by this version",
            code="unsupported_route_type",
        )
    return operations


def _read_body(request: ClientRequest, operation: str) -> tuple[Json, bool]:
    if not _is_json(request.headers.get("content-type", "")):
        text = _WRONG_CONTENT_TYPE.get(operation, _WRONG_CONTENT_TYPE["chat"])
        raise BadRequest(f"{text}; send it with Content-Type: application/json")
    if request.upload is not None:
        raise BadRequest(BAD_JSON)
    try:
        body = loads(request.body)
    except (JSONDecodeError, RecursionError):
        raise BadRequest(BAD_JSON) from None
    if not isinstance(body, dict):
        raise BadRequest("request body must be a JSON object")
    extra = body.get("extra_body", _ABSENT)
    if extra is _ABSENT:
        _check_spelling(body)
        return body, True
    if extra is not None and not isinstance(extra, dict):
        raise BadRequest("extra_body must be a JSON object", param="extra_body")
    # Merged before anything is checked, so that nothing is said in there that could not be said openly.
    merged = {name: value for name, value in body.items() if name != "extra_body"}
    merged.update(extra or {})
    merged.pop("extra_body", None)
    _check_spelling(merged)
    return merged, False


def _check_spelling(body: Json) -> None:
    """Servers written in Go take "Model" for "model", the last of both (https://pkg.go.dev/encoding/json,
    Unmarshal): it would be another model than the one that was checked. Raises BadRequest."""
    for name in body:
        if name not in _EXACTLY and name.lower() in _EXACTLY:
            raise BadRequest(f"unknown member {name}: it is written {name.lower()}", param=name)


_ABSENT: Final[Any] = object()
_EXACTLY: Final = frozenset({"model", "stream", "stream_options"})
"""What is decided here, so that nobody shall read it differently."""


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def _by_shape(instance: Instance, operations: list[str], body: Json) -> list[int]:
    """Targets of several route types in one instance: those whose operation this body is made for."""
    fitting = [
        index
        for index, operation in enumerate(operations)
        if operation in SUPPORTED and body.get(_PROMPT.get((instance.llm_format, operation), "")) is not None
    ]
    if not fitting:
        raise BadRequest(NO_PROMPT)
    first = operations[fitting[0]]
    return [index for index in fitting if operations[index] == first]


def _check_prompt(llm_format: str, operation: str, body: Json) -> None:
    member = _PROMPT.get((llm_format, operation))
    if member is None:
        return
    prompt = body.get(member)
    if member in ("messages", "contents"):
        if prompt is None and "promptVariables" in body:
            return  # a prompt that is stored at Bedrock
        if member == "contents" and isinstance(prompt, dict):
            prompt = [prompt]  # as Google takes it (`formats.gemini.client`)
        if not isinstance(prompt, list) or not prompt:
            raise BadRequest(NO_PROMPT, param=member)
        if set(map(type, prompt)) != {dict}:
            where = f"{member}[{next(at for at, one in enumerate(prompt) if not isinstance(one, dict))}]"
            raise BadRequest(f"{where} must be a JSON object", param=where)
    elif not isinstance(prompt, (str, list)) or not prompt:
        raise BadRequest(NO_PROMPT, param=member)


def _model(body: Json) -> str:
    model = body.get("model")
    if model is None:
        return ""
    if not isinstance(model, str):
        raise BadRequest("model must be a string", param="model")
    return model


def _streaming(instance: Instance, operation: str, body: Json) -> tuple[bool, bool]:
    """Whether the client gets a stream, and usage on it."""
    if operation not in _STREAMED:
        return False, False
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("stream must be true or false", param="stream")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadRequest("stream_options must be a JSON object", param="stream_options")
    _check_streaming(instance, bool(stream))
    streamed = bool(stream) or instance.response_streaming == "always"
    return streamed, streamed and isinstance(options, dict) and options.get("include_usage") is True


def _check_streaming(instance: Instance, stream: bool) -> None:
    if stream and instance.response_streaming == "deny":
        raise BadRequest(NO_STREAM, param="stream")


def _candidates(
    instance: Instance, targets: list[int], model: str, request: ClientRequest
) -> tuple[list[int], dict[int, Resolved]]:
    """The targets that serve this model, by alias or by name (balancing.md section 5)."""
    configured = instance.targets
    aliased = [index for index in targets if configured[index].model.model_alias]
    if model and aliased:
        matching = [index for index in aliased if configured[index].model.model_alias == model]
        if matching:
            return matching, _resolve(configured, matching, request)
        targets = [index for index in targets if not configured[index].model.model_alias]
        if not targets:
            raise BadRequest(UNKNOWN_ALIAS, param="model", code="model_not_found")
    resolved = _resolve(configured, targets, request)
    serving = [
        index for index in targets if index in resolved and _serves(configured[index], resolved[index], model)
    ]
    if serving:
        return serving, resolved
    if not model:
        raise BadRequest(NO_MODEL, param="model")
    if aliased:
        raise BadRequest(UNKNOWN_ALIAS, param="model", code="model_not_found")
    names = dict.fromkeys(resolved[index].name for index in targets if index in resolved)
    raise BadRequest(OWN_MODEL + ", ".join(name for name in names if name), param="model")


def _serves(target: Target, resolved: Resolved, model: str) -> bool:
    if not resolved.name:
        return bool(model) or target.model.provider in _MODEL_OPTIONAL
    return not model or model == resolved.name


def _resolve(targets: list[Target], indexes: list[int], request: ClientRequest) -> dict[int, Resolved]:
    """Templates filled in. A target whose templates this request cannot fill is left out, unless none can."""
    found: dict[int, Resolved] = {}
    failure: ApiError | None = None
    for index in indexes:
        try:
            found[index] = resolve_target(targets[index], request)
        except ApiError as error:
            failure = failure or error
    if not found and failure is not None:
        raise failure
    return found

"""The plan of a request to one of OpenAI's REST APIs: its body's kind checked, its targets found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..core.errors import ApiError, BadRequest
from ..core.http import ClientRequest
from ..core.json import Json, JSONDecodeError, loads
from ..core.rest import RestApi, RestCall
from ..formats.batches import ids as batch_ids
from ..formats.videos.ids import form_of
from ..providers import provider
from .forms import Form
from .instance import Instance
from .plan import (
    BAD_JSON,
    NO_STREAM,
    Plan,
    _candidates,
    _is_json,
    _model,
    _read_body,
    _resolve,
)
from .rest import PRESERVED, REST, UNKNOWN_PATH, recognise_rest

_WRONG_TYPE: Final = "this API takes {wanted}, not Content-Type: {given}"
_WANTED: Final = {
    "json": "application/json",
    "form": "multipart/form-data",
    "either": "multipart/form-data or application/json",
}


@dataclass(slots=True)
class RestPlan(Plan):
    """A request to one of OpenAI's REST APIs."""

    rest: RestCall = PRESERVED
    form: Form | None = None
    """Its body, where that is a form."""

    def operation(self, index: int) -> str:
        return self.rest.operation


def plan_rest(instance: Instance, request: ClientRequest) -> RestPlan | None:
    """The plan; None where the request is for one of the instance's other route types. Raises ApiError."""
    operations = instance.operations
    if instance.llm_format != "openai" or REST.isdisjoint(operations):
        # Native formats tell by their own paths what is asked for.
        return None
    wanted = [each for each in operations if each in REST]
    others = len(wanted) < len(operations)
    try:
        rest = recognise_rest(wanted, request, others=others)
    except ApiError as error:
        if others and error.code == UNKNOWN_PATH:
            return None
        raise
    targets = [index for index, each in enumerate(operations) if each == rest.operation]
    return _plan(instance, request, rest, targets)


def _plan(instance: Instance, request: ClientRequest, rest: RestCall, targets: list[int]) -> RestPlan:
    body, as_sent, form = _body(request, rest.api)
    model = _named(rest, body, form)
    streamed = _streaming(instance, rest, body, form)
    if rest.api.model == "none" or (rest.api.model == "optional" and not model):
        resolved = _resolve(instance.targets, targets, request)
        candidates = list(resolved)
    elif not model:
        # None, or somewhere in a form that is still on its way: a configured one is added, and where there is
        # none either, the provider has a default or says what it lacks.
        resolved = _resolve(instance.targets, targets, request)
        candidates = [index for index in resolved if resolved[index].name] or list(resolved)
    else:
        candidates, resolved = _candidates(instance, targets, model, request)
    candidates = _that_made_it(instance, rest, body, candidates)
    return RestPlan(
        instance,
        request,
        body,
        as_sent,
        model or "",
        streamed,
        False,
        candidates,
        resolved,
        rest=rest,
        form=form,
    )


def _that_made_it(
    instance: Instance, rest: RestCall, body: Json, candidates: list[int]
) -> list[int]:
    """Of several targets, those that an id may be from: what was made at one provider, no other knows."""
    if len(candidates) < 2:
        return candidates
    if rest.operation == "video.generations" and rest.rest:
        form = form_of(rest.rest)
    elif rest.operation in ("files", "batches") and (id := rest.rest or body.get("input_file_id")):
        form = batch_ids.form_of(str(id).lstrip("/").partition("/")[0])
    else:
        return candidates
    models = [instance.targets[index].model for index in candidates]
    kept = [
        index
        for index, model in zip(candidates, models, strict=True)
        if form in provider(model.provider).id_forms(rest.operation, model.options)
    ]
    return kept or candidates


def _named(rest: RestCall, body: Json, form: Form | None) -> str | None:
    """The model that a request names; None where it is not known yet."""
    if form is not None:
        return form.model if rest.api.model != "none" else ""
    if rest.api.model == "none":
        said = body.get("model")
        return said if isinstance(said, str) else ""
    return _model(body)


def _object_in(raw: bytes) -> Json:
    try:
        body = loads(raw)
    except (JSONDecodeError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _body(request: ClientRequest, api: RestApi) -> tuple[Json, bool, Form | None]:
    """The JSON body (empty where there is none), whether it is as it was sent, and the form."""
    empty = not request.body and request.upload is None
    if api.body == "none" or (api.body == "any" and empty):
        if not empty:
            # Of no use to a GET or DELETE, and dangerous between servers that disagree about it.
            request.body, request.upload = b"", None
        return {}, True, None
    given = request.headers.get("content-type", "")
    if api.body == "any":
        # Whatever it is, it is for the provider to judge.
        return _object_in(request.body), True, None
    if _is_json(given) and api.body != "form":
        if request.upload is not None:
            raise BadRequest(BAD_JSON)
        body, as_sent = _read_body(request, "")
        return body, as_sent, None
    if given.partition(";")[0].strip().lower() == "multipart/form-data" and api.body != "json":
        return {}, True, Form(request)
    shown = given.partition(";")[0].strip()[:100] or "none"
    raise ApiError(
        415,
        _WRONG_TYPE.format(wanted=_WANTED[api.body], given=shown),
        code="unsupported_content_type",
    )


def _streaming(instance: Instance, rest: RestCall, body: Json, form: Form | None) -> bool:
    if not rest.api.stream:
        return False
    asked: object = form.stream if form is not None else body.get("stream")
    if asked is not None and not isinstance(asked, bool):
        if rest.operation == "preserve":
            return False
        raise BadRequest("stream must be true or false", param="stream")
    if not asked and rest.operation == "audio.speech":
        asked = body.get("stream_format") == "sse"
    if asked and instance.response_streaming == "deny":
        raise BadRequest(NO_STREAM, param="stream")
    return bool(asked) or (rest.operation == "responses" and instance.response_streaming == "always")

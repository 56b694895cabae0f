"""One attempt at one of OpenAI's REST APIs where the provider has another API for it: the steps of a
translation, driven (see `formats.steps`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import ClientResponse, Headers, UpstreamRequest, Url
from ..core.json import Json, dumps
from ..formats.pivot import obj, objects
from ..formats.steps import Asked, FilePart, Reply, Step, Steps, StepsTranslation, Streamed, Through, Whole
from ..formats.steps_errors import read_step_error
from ..log import get_logger
from ..wire.multipart import BadForm, Part, boundary_of, field_text, whole_form
from .carry import JSON_TYPE, Carrier, _untranslatable
from .forms import bad_form
from .headers import provider_headers
from .plan import OWN_MODEL
from .redact import redact, without_base64
from .rest_plan import RestPlan
from .streams import NoEvents, Stream
from .translation import Further
from .turns import turns

log = get_logger("exchange")

FORM_MAX: Final = 64 * 1024 * 1024
"""Bytes of a form that is translated, and so held in memory, where `max_request_body_size` sets no limit."""
WHOLE_MAX: Final = 1024 * 1024
"""Bytes up to which an answer that is neither JSON nor text is held in memory."""
_PIECE: Final = 16 * 1024
"""Bytes of such an answer that are translated at a time: a few milliseconds' work."""
_SSE: Final = "text/event-stream"
_COMPLETED: Final = {
    "image.generations": "image_generation.completed",
    "image.edits": "image_edit.completed",
}
"""What a stream of one whole answer consists of, by operation; others have no stream."""


class StepsCarrier(Carrier):
    """See `Carrier`."""

    metered = False
    def __init__(
        self,
        call: Call,
        plan: RestPlan,
        translation: StepsTranslation,
        *,
        model_header: bool,
        on_start: Callable[[], None],
    ) -> None:
        super().__init__(
            call, plan.body, as_sent=plan.body_as_sent, model_header=model_header, on_start=on_start
        )
        self._plan = plan
        self._translation = translation
        self._steps: Steps | None = None
        self._step: Step | None = None
        """The one under way."""
        self._result: Whole | Streamed | ApiError | None = None
        self._asked_stream = call.stream

    # ---- towards the provider

    def request(self) -> UpstreamRequest:
        """The first step's. Raises ApiError where this provider cannot be asked that."""
        call = self.call
        self._provider.supports(call)
        if self._asked_stream and call.operation not in _COMPLETED:
            raise BadRequest(f"provider {call.provider} does not stream this", param="stream")
        # Each step's answer comes whole.
        call.stream = False
        self._step = self._result = None
        self._steps = self._translation(self._asked())
        try:
            step = next(self._steps)
        except StopIteration:
            raise self._not_translated(RuntimeError("a translation without a step")) from None
        except ApiError:
            raise
        except Exception as error:
            raise self._not_translated(error) from None
        made = self._made(step)
        # Without the body where that is a file: it has no place in a log.
        shown = b""
        if isinstance(step.body, dict) and call.target.logging.log_payloads:
            shown = without_base64(made.body)
        self.upstream = UpstreamRequest(made.method, made.url, dict(made.headers), shown)
        return made

    def further(self, status: int, headers: Headers, body: bytes) -> Further | None:
        """See `Translation.further`. Never raises."""
        step, steps = self._step, self._steps
        if self._result is not None or step is None or steps is None:
            return None
        ok = 200 <= status < 300
        if not ok and status not in step.passes:
            return None
        if ok and step.method not in ("GET", "HEAD"):
            self.movable = False
        try:
            if not ok:
                body = redact(body, self.call)
            following = self._sent_on(steps, Reply(status, headers, body))
            if following is not None:
                return Further(self._made(following), following.after)
        except ApiError as error:
            self._result = error
        return None

    @property
    def passes(self) -> frozenset[int]:
        """See `Carrier.passes`."""
        return self._step.passes if self._step is not None else frozenset()

    def _made(self, step: Step) -> UpstreamRequest:
        """Raises ApiError."""
        self._step = step
        call = self.call
        url = self._provider.step_url(call, step)
        headers = provider_headers(self._provider, call)
        headers["accept"] = "*/*" if step.streams or step.service else JSON_TYPE
        if not step.credentials:
            headers = {name: headers[name] for name in ("accept", "accept-encoding", "user-agent")}
        if step.body is None:
            headers.pop("content-type", None)
            body = b""
        elif isinstance(step.body, bytes):
            headers["content-type"] = "application/octet-stream"
            body = step.body
        else:
            headers["content-type"] = JSON_TYPE
            try:
                body = dumps(step.body)
            except TypeError:
                raise BadRequest("the request nests too deeply") from None
        headers.update(step.headers)
        made = UpstreamRequest(
            step.method, url, headers, body, service=step.service, anonymous=not step.credentials
        )
        made.public_only = made.anonymous and not self._is_own(url)
        return made

    def _is_own(self, url: Url) -> bool:
        """Whether this is the host that the target's configuration leads to."""
        own = self._provider.step_url(self.call, Step("GET", "/"))
        return (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)

    def _sent_on(self, steps: Steps, reply: Reply) -> Step | None:
        """The step that follows a reply; None when there is a result. Raises ApiError."""
        try:
            return steps.send(reply)
        except StopIteration as end:
            self._result = end.value
        except ApiError:
            raise
        except Exception:
            # Whatever a provider sends, the client gets an answer; the traceback is ours to read.
            log.exception("an answer could not be translated", provider=self.call.provider)
            raise _untranslatable(self.call) from None
        return None

    # ---- what is asked for

    def _asked(self) -> Asked:
        call, plan = self.call, self._plan
        assert call.rest is not None
        body, files = dict(plan.body), list[FilePart]()
        if plan.form is not None:
            body, files = self._form()
        return Asked(
            call, call.rest, plan.request.method, body, files, plan.request.query, turns.give,
            lambda model: plan.check_access(call.target, model),
        )  # fmt: skip

    def _form(self) -> tuple[Json, list[FilePart]]:
        """The form's text fields and files. Raises ApiError; what reading an upload raises."""
        plan = self._plan
        self._collect()
        try:
            boundary = boundary_of(plan.request.headers.get("content-type", ""))
            fields, files = _sorted(whole_form(plan.request.body, boundary))
        except BadForm as error:
            raise bad_form(error) from None
        said = fields.get("model")
        model = self.call.target.model
        if said and self.call.model and said not in (self.call.model, model.model_alias):
            raise BadRequest(f"{OWN_MODEL}{self.call.model}", param="model")
        if said and not self.call.model:
            plan.check_access(self.call.target, said)
            self.call.model = said
        return fields, files

    def _collect(self) -> None:
        """Reads an upload to its end: another target may be asked afterwards all the same."""
        request = self._plan.request
        upload = request.upload
        if upload is None:
            return
        limit = self._plan.instance.max_request_body_size or FORM_MAX
        too_large = ApiError(
            413, f"Request body too large: a file to be translated has {limit} bytes at most",
            code="request_too_large",
        )  # fmt: skip
        if upload.length is not None and upload.length > limit:
            raise too_large
        pieces, size = [], 0
        for piece in upload:
            size += len(piece)
            if size > limit:
                raise too_large
            pieces.append(piece)
        request.body, request.upload = b"".join(pieces), None

    # ---- a whole answer

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """See `Translation.response`. Never raises."""
        call = self.call
        call.answer_headers = headers
        call.stream = self._asked_stream
        if _is_text(headers):
            self.received = body
        try:
            if self._result is None:
                raise self._provider_error(status, headers, body)
            return self._answered_with(self._result, headers, body)
        except ApiError as error:
            return self.error(error, headers)
        except Exception:
            log.exception("an answer could not be translated", provider=call.provider)
            return self.error(_untranslatable(call), headers)

    def _answered_with(
        self, result: Whole | Streamed | ApiError, headers: Headers, body: bytes
    ) -> ClientResponse:
        if isinstance(result, ApiError):
            raise result
        if isinstance(result, Streamed):
            if result.through is not None:
                body = _passed(body, result.through)
            return ClientResponse(200, self._headers(headers, result.content_type), body)
        if isinstance(result.body, bytes):
            made, content_type = result.body, result.content_type
        elif self._asked_stream:
            made, content_type = completed_events(self.call.operation, result.body, self.call), _SSE
        else:
            made, content_type = dumps(result.body), result.content_type
        return ClientResponse(result.status, self._headers(headers, content_type), made)

    def _provider_error(self, status: int, headers: Headers, body: bytes) -> ApiError:
        if status < 400:
            return ApiError(
                502, f"{self.call.provider} answered with a redirect ({status})", code="upstream_redirect"
            )
        body = redact(body, self.call)
        if self.received:
            self.received = body
        service = self._step.service if self._step is not None else ""
        reader = None if service else self._provider.step_errors(self.call)
        if reader is not None:
            return reader.error(status, headers, body, self.call)
        return read_step_error(status, headers, body, self.call)

    # ---- a streamed answer

    def stream(self, status: int, headers: Headers) -> Stream | None:
        """See `Translation.stream`: the answer to a step that streams. Raises ApiError."""
        step, steps = self._step, self._steps
        if step is None or steps is None or not step.streams or not 200 <= status < 300:
            return None
        call = self.call
        call.answer_headers = headers
        self._sent_on(steps, Reply(status, headers, b""))
        if not isinstance(self._result, Streamed):
            return None
        length = headers.get("content-length", "")
        if self._result.through is not None and length.isdigit() and int(length) <= WHOLE_MAX:
            # Read whole, what it tells of usage goes along with it.
            return None
        running = StepStream(self._result, call)
        running.headers = self._headers(headers, running.content_type)
        del running.headers["content-type"]
        for name in ("content-disposition",):
            if name in headers:
                running.headers[name] = headers[name]
        running.on_start = self._let_go
        self.running = running
        return running

    def _let_go(self) -> None:
        super()._let_go()
        self._plan.form = None

    # ---- the log

    @property
    def answered(self) -> bytes | None:
        """See `Carrier.answered`. Files, images and sound have no place in a log."""
        if self.call.operation == "files" or not self.received:
            return None
        return without_base64(self.received)


class StepStream(Stream):
    """A provider's answer on its way to the client, as it is or turned into something else."""

    binary = True
    """No event could tell the client that it broke: its connection has to."""

    def __init__(self, streamed: Streamed, call: Call) -> None:
        super().__init__(NoEvents(streamed.content_type), call)
        self._through = streamed.through

    def _take(self, data: bytes) -> bytes:
        return data if self._through is None else self._through.feed(data)

    def _rest(self) -> bytes:
        return b"" if self._through is None else self._through.finish()


def _passed(body: bytes, through: Through) -> bytes:
    """A whole answer turned into something else; others get their turn meanwhile."""
    out = []
    for at in range(0, len(body), _PIECE):
        out.append(through.feed(body[at : at + _PIECE]))
        turns.give()
    return b"".join([*out, through.finish()])


_EVENT_MEMBERS: Final = ("size", "quality", "background", "output_format")


def completed_events(operation: str, answer: Json, call: Call) -> bytes:
    """OpenAI's stream of images that came whole: an event for each, the last one with the usage.

    https://platform.openai.com/docs/api-reference/images-streaming/image_generation/completed
    """
    kind = _COMPLETED[operation]
    images = objects(answer.get("data"))
    events = []
    for index, image in enumerate(images):
        event: Json = {"type": kind, **image, "created_at": answer.get("created") or call.created}
        for name in _EVENT_MEMBERS:
            if answer.get(name) is not None:
                event[name] = answer[name]
        usage = obj(answer.get("usage"))
        if usage and index == len(images) - 1:
            event["usage"] = usage
        events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), dumps(event)))
    return b"".join(events)


def _sorted(parts: list[Part]) -> tuple[Json, list[FilePart]]:
    """A form's fields and files; fields of the same name "…[]" are a list. Raises BadForm."""
    fields: Json = {}
    files = []
    for part in parts:
        if part.filename is not None:
            files.append(FilePart(part.name.removesuffix("[]"), part.data, part.filename, part.content_type))
            continue
        value: Any = field_text(part)
        name = part.name.removesuffix("[]")
        if name != part.name and isinstance(fields.get(name), list):
            fields[name].append(value)
            continue
        if name in fields:
            raise BadForm(f"field {name[:100]} is there twice")
        fields[name] = value if name == part.name else [value]
    return fields, files


def _is_text(headers: Headers) -> bool:
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    return essence.startswith("text/") or "json" in essence or "xml" in essence



"""One attempt at one of OpenAI's REST APIs: what passes through is changed in nothing but its model."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Final
from urllib.parse import quote, unquote

from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import ClientResponse, Headers, Upload, UpstreamRequest, Url
from ..core.json import dumps, loads_lenient, says_twice
from ..core.rest import RestCall
from ..core.usage import UsageSource
from ..formats.openai.errors import read_error
from ..formats.openai.rest import ErrorEvents, RestReader, batch_output
from ..formats.passing import PassedEvents, ResultLines
from ..providers import provider
from ..providers.base import Provider
from ..providers.compatible import upstream_url
from .carry import JSON_TYPE, Carrier, _is_error_object
from .headers import provider_headers, with_client_query
from .plan import OWN_MODEL
from .redact import redact, without_base64
from .rest_plan import RestPlan
from .steps_carry import WHOLE_MAX, StepsCarrier
from .streams import NoEvents, PassedStream, Stream

_SSE: Final = "text/event-stream"
_ANSWER_HEADERS: Final = ("content-disposition", "openai-poll-after-ms")
_DEFAULTS: Final = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_output_tokens"}
"""`model.options` → the Responses API's parameter."""


class RestCarrier(Carrier):
    """See `Carrier`."""

    def __init__(
        self, call: Call, plan: RestPlan, *, model_header: bool, on_start: Callable[[], None]
    ) -> None:
        super().__init__(
            call, plan.body, as_sent=plan.body_as_sent, model_header=model_header, on_start=on_start
        )
        self._plan = plan
        self._rest: RestCall = plan.rest
        self._alias = call.target.model.model_alias
        self._configured = call.target.model.name is not None
        self.metered = plan.rest.api.text

    # ---- towards the provider

    def request(self) -> UpstreamRequest:
        """See `Carrier.request`."""
        call, plan = self.call, self._plan
        method = plan.request.method
        if self._rest.operation == "preserve":
            url = preserved_url(call, self._provider)
        else:
            self._provider.supports(call)
            url = self._provider.url(call)
        url = with_client_query(url, call)
        headers = provider_headers(self._provider, call)
        headers["accept"] = plan.request.headers.get("accept") or "*/*"
        body = b""
        upload: Upload | None = None
        if plan.form is not None:
            headers["content-type"] = plan.request.headers["content-type"]
            if plan.request.upload is not None:
                same = self._rest.api.model == "none" or not self._model_name
                upload = plan.form.upload(self._form_model, same=same)
            else:
                body = plan.form.body(self._form_model)
        elif plan.request.upload is not None:
            headers["content-type"] = plan.request.headers.get("content-type", "application/octet-stream")
            upload = plan.request.upload
        else:
            body = self._json_body()
            if not body:
                del headers["content-type"]
            elif not self._body:
                headers["content-type"] = plan.request.headers.get("content-type", JSON_TYPE)
        shown = b"" if plan.form is not None else body
        self.upstream = UpstreamRequest(method, url, dict(headers), shown)
        return UpstreamRequest(method, url, headers, body, upload)

    @property
    def _model_name(self) -> str:
        """What the provider is to be told, "" to tell it what the client said."""
        return self._provider.body_model(self.call) if self._configured else ""

    def _json_body(self) -> bytes:
        body = self._body
        raw = self._plan.request.body
        if not body:
            return raw
        wanted = dict(body)
        name = self._model_name
        rule = self._rest.api.model
        if name and (rule == "required" or "model" in body) and rule != "none":
            wanted["model"] = name
        if self._rest.operation == "responses" and self._rest.api.stream:
            if self.call.stream and body.get("stream") is not True:
                wanted["stream"] = True
            for option, parameter in _DEFAULTS.items():
                value = getattr(self.call.options, option)
                if value is not None and wanted.get(parameter) is None:
                    wanted[parameter] = value
        same = self._as_sent and wanted == body and not (name and says_twice(raw, "model"))
        return raw if same else dumps(wanted)

    def _form_model(self, said: str | None) -> str | None:
        """The model for a form's field of that name (see `FieldEditor`)."""
        rule, name = self._rest.api.model, self._model_name
        if said and rule != "none" and not self.call.target.model.name:
            self._plan.check_access(self.call.target, said)
        if rule == "none" or not name:
            return said
        if said is None:
            return name if rule == "required" else None
        if said not in (self.call.model, name, self._alias):
            raise BadRequest(f"{OWN_MODEL}{self.call.model}", param="model")
        return name

    # ---- a whole answer

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """See `Translation.response`. Never raises."""
        self.received = body
        self.call.answer_headers = headers
        try:
            if not 200 <= status < 300:
                return self._refused(status, headers, body)
            self._spoken()
            self._read(headers, body)
            return ClientResponse(status, self._passed_headers(headers), body)
        except ApiError as error:
            return self.error(error, headers)

    def _spoken(self) -> None:
        """Notes the characters of a text that is spoken: what is billed where no tokens are reported."""
        said = self._body.get("input")
        if self._rest.operation == "audio.speech" and isinstance(said, str):
            self.call.usage.characters = len(said)
            self.call.usage.source = UsageSource.REPORTED

    def _read(self, headers: Headers, body: bytes) -> None:
        if self._rest.api.batch_output:
            output = batch_output(self.call)
            output.feed(body)
            output.finish()
        elif _is_json(headers):
            try:
                parsed = loads_lenient(body)
            except ValueError:
                return
            RestReader(self.call, self._rest.api).whole(parsed)

    def _refused(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        if status < 400:
            raise ApiError(
                502, f"{self.call.provider} answered with a redirect ({status})", code="upstream_redirect"
            )
        body = self.received = redact(body, self.call)
        if _is_error_object(body) or self._rest.operation == "preserve":
            return ClientResponse(status, self._passed_headers(headers), body)
        raise read_error(status, headers, body, self.call)

    def _passed_headers(self, headers: Headers) -> Headers:
        kept = self._headers(headers, headers.get("content-type", JSON_TYPE))
        for name in _ANSWER_HEADERS:
            if name in headers:
                kept[name] = headers[name]
        return kept

    # ---- a streamed answer

    def stream(self, status: int, headers: Headers) -> Stream | None:
        """See `Translation.stream`. Also for what is not JSON and large: it is not held in memory."""
        if not 200 <= status < 300:
            return None
        call = self.call
        self._spoken()
        running: Stream
        given = headers.get("content-type") or (_SSE if call.stream else "")
        if given.partition(";")[0].strip().lower() == _SSE:
            call.stream = True
            reader = RestReader(call, self._rest.api)
            running = PassedStream(
                PassedEvents(reader), ErrorEvents(reader, given), call
            )
            if call.target.logging.log_payloads and not self._binary:
                running.captured = bytearray()
        elif self._held_whole(headers):
            return None
        else:
            running = BytesStream(call, headers, batch_output(call) if self._rest.api.batch_output else None)
        call.answer_headers = headers
        running.headers = self._passed_headers(headers)
        del running.headers["content-type"]
        running.on_start = self._let_go
        self.running = running
        return running

    def _held_whole(self, headers: Headers) -> bool:
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) <= WHOLE_MAX:
            return True
        if self._rest.operation in ("files", "preserve") and not _is_json(headers):
            return False
        return _is_json(headers) or headers.get("content-type", "").startswith("text/") or length == "0"

    def _let_go(self) -> None:
        super()._let_go()
        self._plan.form = None

    # ---- the log

    @property
    def _binary(self) -> bool:
        """What streams is sound or images."""
        return self.call.operation.startswith(("audio.speech", "image.", "video."))

    @property
    def answered(self) -> bytes | None:
        """See `Carrier.answered`. Images and sound have no place in a log."""
        found = super().answered
        return without_base64(found) if found and self._rest.operation != "files" else None


class BytesStream(Stream):
    """An answer that is neither JSON nor events, as it comes."""

    binary = True
    """No event could tell the client that it broke: its connection has to."""

    def __init__(self, call: Call, headers: Headers, output: ResultLines | None) -> None:
        super().__init__(NoEvents(headers.get("content-type", "application/octet-stream")), call)
        self._output = output

    def _take(self, data: bytes) -> bytes:
        if self._output is not None:
            self._output.feed(data)
        return data

    def _rest(self) -> bytes:
        if self._output is not None:
            self._output.finish()
        return b""


def rest_carrier(
    call: Call, plan: RestPlan, *, model_header: bool, on_start: Callable[[], None]
) -> Carrier:
    """The carrier of one attempt: pass-through; the steps of a translation where the provider has another API
    for the same thing; for the Responses API translation onto chat where it has none. Raises LookupError for
    an unknown provider, ApiError."""
    rest = plan.rest
    if rest.operation == "responses" and not provider(call.provider).has_responses(call):
        if rest.rest or plan.request.method != "POST":
            raise BadRequest(
                f"provider {call.provider} stores no responses: only POST /responses is supported",
                code="unsupported_responses_api",
            )
        call.operation = "chat"
        call.client_format = "responses"
        return Carrier(
            call, plan.body, as_sent=plan.body_as_sent, model_header=model_header, on_start=on_start
        )
    call.rest = rest
    steps = None if rest.operation == "preserve" else provider(call.provider).steps(call)
    if steps is not None:
        return StepsCarrier(call, plan, steps, model_header=model_header, on_start=on_start)
    return RestCarrier(call, plan, model_header=model_header, on_start=on_start)


def preserved_url(call: Call, provider: Provider) -> Url:
    """Where a `preserve` route leads: `upstream_url`, or `upstream_path` at the provider, or else the path
    that the client called, behind the route's prefix."""
    if call.options.upstream_url:
        return upstream_url(call.options.upstream_url)
    url = provider.url(replace(call, operation="chat", rest=None))
    if not call.options.upstream_path:
        segments = re.split(r"[/\\]", unquote(call.request.path))
        if ".." in segments or "." in segments:
            raise BadRequest("the path leads elsewhere", code="invalid_path")
        url.path = quote(call.request.path, safe="%/:@!$&'()*+,;=~")
    return url


def _is_json(headers: Headers) -> bool:
    essence = headers.get("content-type", "").partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")

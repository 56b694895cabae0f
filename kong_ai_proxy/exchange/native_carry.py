"""One attempt at a provider's native API: bytes through, the model and the credentials exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse, Headers, UpstreamRequest
from ..core.json import Json, JSONDecodeError, dumps, loads, says_twice
from ..core.native import NativeCall
from ..formats.base import StreamObserver
from ..formats.bedrock.client_stream import exception_frame
from ..formats.native import observer_for
from ..formats.passing import PassingObserver, ResultLines
from ..formats.pivot import obj, objects, text
from ..log import get_logger
from ..providers.native import FORWARDED, native_url
from .carry import JSON_TYPE, Carrier
from .headers import CREDENTIAL_PARAMETERS, JUDGING, agent_headers, may_forward, with_client_query
from .native import batch_models, model_member, with_batch_model, with_body_model
from .redact import redact
from .rest_carry import BytesStream
from .steps_carry import WHOLE_MAX
from .streams import PassedStream, Stream

log = get_logger("exchange")

_EVENTS: Final = "text/event-stream"
_FRAMES: Final = "application/vnd.amazon.eventstream"
_UPLOAD_URL: Final = "x-goog-upload-url"
_UPLOAD_ANSWERS: Final = (
    _UPLOAD_URL, "x-goog-upload-chunk-granularity", "x-goog-upload-size-received", "x-goog-upload-status",
)  # fmt: skip
_BATCHES: Final = "/messages/batches"
_LINES: Final = frozenset({"application/stream+json", "application/x-ndjson"})


class NativeCarrier(Carrier):
    """A `Translation` (see there) for APIs that only their own provider serves."""

    def request(self) -> UpstreamRequest:
        """The provider's request. Raises ApiError where this provider cannot be asked that."""
        call, request = self.call, self.call.request
        url = with_client_query(native_url(call), call)
        headers = self._request_headers()
        body = self._native_body()
        self.upstream = UpstreamRequest(request.method, url, dict(headers), body, request.upload)
        return UpstreamRequest(request.method, url, headers, body, request.upload)

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """See `Translation.response`. Never raises."""
        self.received = body
        call = self.call
        call.answer_headers = headers
        content_type = headers.get("content-type", JSON_TYPE)
        try:
            if 300 <= status < 400:
                return self._refused(status, headers, body)
            if status >= 400:
                self.received = redact(body, call)
                return ClientResponse(status, self._headers(headers, content_type), self.received)
            if _is_json(content_type):
                self._reader().response(body, call)
            else:
                lines = ResultLines(self._reader().reader(call))
                lines.feed(body)
                lines.finish()
        except ApiError as error:
            return self.error(error, headers)
        except Exception:
            # The answer is the client's all the same; the traceback is ours to read.
            log.exception("an answer could not be read", provider=call.provider)
        body = self._leading_here(body)
        given = self._headers(headers, content_type)
        if call.client_format == "gemini":
            given.update(_upload_headers(headers, call.request))
        return ClientResponse(status, given, body)

    def stream(self, status: int, headers: Headers) -> Stream | None:
        """See `Translation.stream`."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if status != 200:
            return None
        call, reader = self.call, self._reader()
        observer: StreamObserver | None = None
        if kind == _EVENTS:
            observer = PassingObserver.stream(reader, call)
        elif kind == _FRAMES:
            observer = reader.frames(call)
        elif kind in _LINES:
            observer = reader.lines(call)
        elif call.native is not None and call.native.json_array and kind == JSON_TYPE:
            observer = reader.array(call)
        elif _held_whole(headers):
            return None
        call.answer_headers = headers
        running: Stream
        if observer is not None:
            running = PassedStream(observer, _Broken(headers["content-type"], self._client.error), call)
        else:
            # A download, or a batch's results.
            running = BytesStream(call, headers, ResultLines(reader.reader(call)))
        running.headers = self._headers(headers, running.content_type)
        del running.headers["content-type"]
        if call.target.logging.log_payloads and not running.binary:
            running.captured = bytearray()
        running.on_start = self._let_go
        self.running = running
        return running

    def _leading_here(self, body: bytes) -> bytes:
        """An answer about message batches with the address of their results at the gateway: SDKs go to the
        one that it names, and Anthropic does not know the client's credentials."""
        call = self.call
        if call.native is None or call.native.api.name != "message_batches" or b'"results_url"' not in body:
            return body
        here = _address(call.request)
        if here is None:
            return body
        start, batches, _ = here.partition(_BATCHES)
        if not batches:
            return body
        try:
            parsed = loads(body)
        except JSONDecodeError:
            return body
        changed = False
        for batch in (obj(parsed), *objects(obj(parsed).get("data"))):
            _, found, rest = text(batch.get("results_url")).partition(_BATCHES)
            if found:
                batch["results_url"] = f"{start}{_BATCHES}{rest}"
                changed = True
        return dumps(parsed) if changed else body

    def _reader(self) -> PassingObserver:
        assert self.call.native is not None
        return observer_for(self.call.client_format, self.call.native)

    def _request_headers(self) -> Headers:
        call = self.call
        sent = call.request.headers
        headers: Headers = {
            "accept": sent.get("accept", "*/*"),
            "accept-encoding": "identity",
            **agent_headers(call),
        }
        if call.request.body or call.request.upload is not None:
            headers["content-type"] = sent.get("content-type", JSON_TYPE)
        for name, value in self._provider.headers(call).items():
            if name != "accept":
                headers[name] = value
        for name in FORWARDED.get(call.client_format, ()):
            if name in sent and may_forward(name):
                headers[name] = sent[name]
        if JUDGING in sent:
            headers[JUDGING] = "1"
        return headers

    def _native_body(self) -> bytes:
        """The client's bytes, or its body with the model that this target has for it."""
        call, body, native = self.call, self._body, self.call.native
        assert native is not None
        if not body or not call.model:
            return call.request.body
        changed = body
        if native.api.name == "count_tokens" and "anthropic_version" in body:
            # Of clients made for Claude at the clouds; Anthropic itself has a header for it.
            changed = body = {name: value for name, value in body.items() if name != "anthropic_version"}
        named = batch_models(body)
        if named and named != [call.model]:
            changed = with_batch_model(body, call.model)
        elif native.api.model == "body":
            changed = self._with_model(body)
        elif native.api.model == "path" and call.client_format == "gemini":
            changed = _with_gemini_model(body, native.model, call.model)
        same = changed == self._body and not says_twice(call.request.body, _member(native))
        return call.request.body if same else dumps(changed)

    def _with_model(self, body: Json) -> Json:
        call, native = self.call, self.call.native
        assert native is not None
        member, value = model_member(body, native)
        if isinstance(value, str) and (value == call.model or value.endswith(f"/{call.model}")):
            return body  # the model's ARN or resource name
        if value is None and call.client_format != "cohere" and native.api.name != "count_tokens":
            return body
        if call.client_format == "huggingface" and not call.target.model.name:
            return body  # the path names the model, and the body is the client's
        return with_body_model(body, native, _resource(call.model, member[-1], call.options))


def _member(native: NativeCall) -> str:
    return native.api.member[-1]


def _resource(model: str, member: str, options: object) -> str:
    """The model as a member wants it: Bedrock's `modelArn` is an ARN."""
    if member != "modelArn" or model.startswith("arn:"):
        return model
    region = getattr(getattr(options, "bedrock", None), "aws_region", None) or ""
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


def _with_gemini_model(body: Json, asked: str, model: str) -> Json:
    """Bodies repeat the model of the path: in `model`, in each request of a batch, in what is counted."""
    if asked == model:
        return body
    name = f"models/{model.removeprefix('models/')}"
    changed = dict(body)
    if "model" in changed:
        changed["model"] = name
    inner = changed.get("generateContentRequest")
    if isinstance(inner, dict) and "model" in inner:
        changed["generateContentRequest"] = {**inner, "model": name}
    requests = changed.get("requests")
    if isinstance(requests, list):
        changed["requests"] = [
            {**one, "model": name} if isinstance(one, dict) and "model" in one else one for one in requests
        ]
    return changed


def _upload_headers(headers: Headers, request: ClientRequest) -> Headers:
    """How a resumable upload goes on; through the gateway, not past it to Google.

    Source: https://ai.google.dev/gemini-api/docs/files#rest (upload), recordings gemini/files. The address
    that the client used is what Kong's X-Forwarded headers say.
    """
    kept: Headers = {name: headers[name] for name in _UPLOAD_ANSWERS if name in headers}
    url = kept.get(_UPLOAD_URL)
    if url is None:
        return kept
    query = "&".join(
        pair for pair in urlsplit(url).query.split("&") if pair.partition("=")[0] not in CREDENTIAL_PARAMETERS
    )
    here = _address(request)
    if here is None:
        del kept[_UPLOAD_URL]
        return kept
    kept[_UPLOAD_URL] = f"{here}?{query}"
    return kept


def _address(request: ClientRequest) -> str | None:
    """What the client called, without the query; None where nobody can say where the gateway is."""
    sent = request.headers
    host = sent.get("x-forwarded-host")
    if host is None:
        return None
    scheme = sent.get("x-forwarded-proto", "http")
    port = sent.get("x-forwarded-port", "")
    if port and ":" not in host and port != {"http": "80", "https": "443"}.get(scheme):
        host = f"{host}:{port}"
    path = sent.get("x-forwarded-path", request.path).partition("?")[0]
    return f"{scheme}://{host}{path}"


def _held_whole(headers: Headers) -> bool:
    """Not what is no JSON and large, or of unknown length: it goes on as it comes."""
    length = headers.get("content-length", "")
    return _is_json(headers.get("content-type", JSON_TYPE)) or (length.isdigit() and int(length) <= WHOLE_MAX)


def _is_json(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence == JSON_TYPE or essence.endswith("+json")


class _Broken:
    """How a stream that passed through is broken off: by an error in its own framing."""

    def __init__(self, content_type: str, error: Callable[[ApiError], Json]) -> None:
        self.content_type = content_type
        self._error = error

    def encode(self, chunk: Json) -> bytes:
        return b""

    def finish(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        kind = self.content_type.partition(";")[0].strip().lower()
        if kind == _FRAMES:
            return exception_frame(error)
        data = dumps(self._error(error))
        if kind in _LINES:
            return b"\n%b\n" % data
        if kind == _EVENTS:
            return b"event: error\ndata: %b\n\n" % data
        return b",\r\n%b]" % data

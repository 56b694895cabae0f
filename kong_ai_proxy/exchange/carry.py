"""One attempt's translation: client format and provider put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from ..accounting.estimate import prompt_bytes
from ..core.call import Call
from ..core.errors import ApiError, BadRequest
from ..core.http import ClientResponse, Headers, UpstreamRequest
from ..core.json import Json, JSONDecodeError, dumps, loads, loads_lenient, says_twice
from ..core.usage import Usage
from ..formats import client_format
from ..formats.base import Adapter, ClientFormat, Observer
from ..formats.defaults import with_defaults
from ..log import get_logger
from ..providers import provider
from ..wire.sse import SSEDecoder
from .chunks import whole_of
from .headers import answer_headers, provider_headers, with_client_query
from .redact import redact
from .streams import PassedStream, Sniffer, Stream, TranslatedStream
from .translation import Further

log = get_logger("exchange")

JSON_TYPE: Final = "application/json"
MODEL_HEADER: Final = "x-kong-llm-model"
NOT_TRANSLATED: Final = "request_not_translated"
DROPPED_HEADER: Final = "x-kong-ai-dropped"
_HEADER_MAX: Final = 1024
_SPOKEN: Final = frozenset({"chat", "completions"})
"""Operations whose answers may be streams."""
_NONE: Final[frozenset[int]] = frozenset()


class Carrier:
    """A `Translation` (see there) for routes whose body is JSON both ways."""

    metered = True
    """Usage is estimated where the provider reports none."""
    movable = True
    """Another target may be asked after a failure. False once a step has left something at the provider."""

    def __init__(
        self,
        call: Call,
        body: Json,
        *,
        as_sent: bool,
        model_header: bool,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        """`as_sent`: the client's own bytes say what `body` says, so they may pass through. `on_start`:
        called when a stream's first bytes are given out."""
        self.call = call
        self.upstream: UpstreamRequest | None = None
        """What was sent, before any credential was added to it."""
        self.received: bytes | None = None
        """A whole answer, as it came."""
        self.refused: ApiError | None = None
        """What the client got instead of an answer."""
        self.running: Stream | None = None
        """The answer's stream."""
        self._body = body
        self._as_sent = as_sent
        self._model_header = model_header
        self._on_start = on_start
        self._provider = provider(call.provider)
        self._client: ClientFormat = client_format(call.client_format)
        self._adapter: Adapter | None = None
        self._observer: Observer | None = None

    # ---- towards the provider

    def request(self) -> UpstreamRequest:
        """The provider's request. Raises ApiError where this provider cannot be asked that."""
        call = self.call
        self._provider.supports(call)
        adapter = self._adapter = self._provider.adapter(call)
        self._observer = self._provider.observer(call) if adapter.format == self._client.name else None
        try:
            body = self._passed_through(self._observer) if self._observer else self._translated(adapter)
        except ApiError:
            raise
        except Exception as error:
            raise self._not_translated(error) from None
        finally:
            call.plain = None
        url = with_client_query(self._provider.url(call), call)
        headers = provider_headers(self._provider, call)
        self.upstream = UpstreamRequest("POST", url, dict(headers), body)
        # A copy: `auth` writes credentials into what it is given, and those must not come near a log record.
        return UpstreamRequest("POST", url, headers, body)

    def _passed_through(self, observer: Observer) -> bytes:
        body, raw = self._body, self.call.request.body
        changed = not self._as_sent
        native = self.call.native
        # Where the path says it all, as to Gemini and Bedrock; not as to Anthropic.
        in_path = native is not None and native.api.model == "path" and self._client.name != "anthropic"
        if self.call.stream and not in_path and body.get("stream") is not True:
            body = {**body, "stream": True}
            changed = True
        sent = observer.request(raw, body, self.call)
        return dumps(body) if sent is raw and (changed or says_twice(raw, "model")) else sent

    def _translated(self, adapter: Adapter) -> bytes:
        pivot = with_defaults(self._client.request(self._body, self.call), self.call)
        made = adapter.request(pivot, self.call)
        return made if isinstance(made, bytes) else dumps(made)

    def _not_translated(self, error: Exception) -> ApiError:
        if isinstance(error, TypeError) and "recursion" in str(error).lower():
            return BadRequest("the request is nested too deeply")
        # A body that an adapter was not written for; the traceback is ours to read.
        log.exception("a request could not be translated", provider=self.call.provider)
        return BadRequest(
            f"the request could not be translated for {self.call.provider}", code=NOT_TRANSLATED
        )

    # ---- a whole answer

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """See `Translation.response`. Never raises."""
        self.received = body
        self.call.answer_headers = headers
        try:
            if not 200 <= status < 300:
                return self._refused(status, headers, body)
            if self._observer is not None and not self._is_stream(body):
                answer = self._observer.response(body, self.call)
                if self.call.response_id is None and _is_error_object(body):
                    # Azure says with a 200 that its content filter refused the prompt.
                    self._answer(body)
                content_type = headers.get("content-type", JSON_TYPE)
            else:
                answer = dumps(self._client.response(self._answer(body), self.call))
                content_type = JSON_TYPE
            return ClientResponse(status, self._headers(headers, content_type), answer)
        except ApiError as error:
            return self.error(error, headers)
        except Exception:
            # Whatever a provider sends, the client gets an answer; the traceback is ours to read.
            log.exception("an answer could not be translated", provider=self.call.provider)
            return self.error(_untranslatable(self.call), headers)

    def further(self, status: int, headers: Headers, body: bytes) -> Further | None:
        """See `Translation.further`. Most need one answer only."""
        return None

    @property
    def passes(self) -> frozenset[int]:
        """Error statuses that are no failure of the provider: the translation knows what to do."""
        return _NONE

    def error(self, error: ApiError, headers: Headers | None = None) -> ClientResponse:
        """An error in the client's format; request ids and rate limits of the provider's answer stay."""
        self.refused = error.to_keep()
        answer = ClientResponse(
            error.status, self._headers(headers or {}, JSON_TYPE), dumps(self._client.error(error))
        )
        answer.headers.update(answer_headers(error.headers))
        return answer

    def _refused(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        """A provider's error: its own bytes where it is the client's format already, with its status."""
        if status < 400:
            raise ApiError(
                502, f"{self.call.provider} answered with a redirect ({status})", code="upstream_redirect"
            )
        body = self.received = redact(body, self.call)
        if _is_events(body):
            # As an event, because a stream was asked for.
            whole = SSEDecoder(len(body)).feed(body + b"\n\n")
            body = whole[0].data if whole else body
        if self._observer is not None and (_is_error_object(body) or self._is_awss(body)):
            given = headers.get("content-type", JSON_TYPE)
            return ClientResponse(
                status, self._headers(headers, given if "json" in given else JSON_TYPE), body
            )
        raise self._adapter_for().error(status, headers, body, self.call)

    def _is_awss(self, body: bytes) -> bool:
        """Whether it is an error as AWS words it, for a client that speaks AWS's."""
        return self.call.client_format == "bedrock" and body.lstrip()[:1] == b"{" and b"essage" in body

    def _is_stream(self, body: bytes) -> bool:
        """Whether a whole answer is none, but a stream that nobody asked for: events, a list, AWS's frames
        (whose length comes first)."""
        if self.call.operation not in _SPOKEN:
            return _is_events(body)
        start = body[:16].lstrip()[:1]
        listed = start == b"[" and not _may_be_list(self._adapter_for())
        return listed or start == b"\x00" or _is_events(body)

    def _answer(self, body: bytes) -> Json:
        """The provider's 2xx answer in OpenAI's form. Raises ApiError (502)."""
        adapter = self._adapter_for()
        kinds = (dict, list) if _may_be_list(adapter) else (dict,)
        try:
            parsed = loads_lenient(body)
        except ValueError:
            parsed = None
        if type(parsed) not in kinds:
            if (collected := self._collected(body, adapter)) is not None:
                return collected
            raise ApiError(502, f"{self.call.provider} answered with something that is not a JSON object")
        return adapter.response(parsed, self.call)

    def once_more(self) -> Call:
        """A call for whoever reads the answer a second time: what is noted on it is lost on nobody, and it
        keeps no body."""
        return replace(
            self.call,
            request=replace(self.call.request, body=b"", upload=None),
            usage=Usage(),
            dropped=[],
            finish_reasons=[],
            echo=dict(self.call.echo),
            output_bytes=0,
        )

    def adapter(self) -> Adapter:
        """Who reads the provider's answers."""
        return self._adapter_for()

    def _collected(self, body: bytes, adapter: Adapter) -> Json | None:
        """The answer of a provider that streams without being asked to, as some gateways do."""
        if self.call.operation not in _SPOKEN:
            return None
        decoder = adapter.stream(self.call)
        items = [*decoder.feed(body), *decoder.finish()]
        chunks = [item for item in items if not isinstance(item, ApiError)]
        for item in items:
            if isinstance(item, ApiError) and (chunks or _is_events(body)):
                raise item
        return whole_of(chunks) if chunks else None

    def _adapter_for(self) -> Adapter:
        if self._adapter is None:
            self._adapter = self._provider.adapter(self.call)
        return self._adapter

    # ---- a streamed answer

    def stream(self, status: int, headers: Headers) -> Stream | None:
        """See `Translation.stream`."""
        if not self.call.stream or not 200 <= status < 300:
            return None
        self.call.answer_headers = headers
        encoder = self._client.stream(self.call)
        given = headers.get("content-type", "")
        running: Stream
        if self._observer is not None:
            running = PassedStream(self._observer.stream(self.call), encoder, self.call)
        else:
            running = TranslatedStream(self._adapter_for().stream(self.call), encoder, self.call)
        adapter = self._adapter_for()
        if not _is_lines(adapter) or given.partition(";")[0].strip().lower() == JSON_TYPE:
            running.sniffer = Sniffer(self._answer, b"{[" if _may_be_list(adapter) else b"{")
        running.headers = self._headers(headers, running.content_type)
        del running.headers["content-type"]
        if self.call.target.logging.log_payloads:
            running.captured = bytearray()
        running.on_start = self._let_go
        self.running = running
        return running

    def _let_go(self) -> None:
        """The stream has begun, and may run long: forget the request, which nobody will send again."""
        self.call.prompt_bytes = prompt_bytes(self._body)
        self._body = {}
        self.call.request.body = b""
        if self.upstream is not None and not self.call.target.logging.log_payloads:
            self.upstream.body = b""
        self._on_start()

    @property
    def answered(self) -> bytes | None:
        """What the provider answered, whole or as much of its stream as is kept; None: nothing."""
        if self.received is None and self.running is not None and self.running.captured is not None:
            return bytes(self.running.captured)
        return self.received

    # ---- headers

    def _headers(self, headers: Headers, content_type: str) -> Headers:
        kept = answer_headers(headers)
        kept["content-type"] = content_type
        if self._model_header:
            kept[MODEL_HEADER] = _header_text(f"{self.call.provider}/{self.call.model}")
        if self.call.dropped and self.call.target.logging.log_statistics:
            kept[DROPPED_HEADER] = _header_text(", ".join(self.call.dropped))
        return kept


def _may_be_list(adapter: Adapter) -> bool:
    """Whether this format's whole answers may be JSON lists: Hugging Face's classic APIs."""
    return getattr(adapter, "lists", False) is True


def _is_lines(adapter: Adapter) -> bool:
    """Whether this format's streams are lines of JSON: a whole answer begins as they do."""
    return getattr(adapter, "lines", False) is True


def _is_events(body: bytes) -> bool:
    """Whether it is no JSON, but the beginning of server-sent events."""
    return body[:16].lstrip(b"\xef\xbb\xbf\r\n").startswith((b"data:", b"event:", b"id:", b": "))


def _is_error_object(body: bytes) -> bool:
    """Whether an error's body has the one member that OpenAI's, Anthropic's and Google's errors share."""
    try:
        parsed = loads(body)
    except JSONDecodeError:
        return False
    return isinstance(parsed, dict) and isinstance(parsed.get("error"), dict)


def _header_text(text: str) -> str:
    """Text from outside, safe in a header: nothing but printable ASCII, bounded."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text)
    return text[:_HEADER_MAX]


def _untranslatable(call: Call) -> ApiError:
    return ApiError(
        502, f"the answer of {call.provider} could not be translated", code="upstream_invalid_answer"
    )

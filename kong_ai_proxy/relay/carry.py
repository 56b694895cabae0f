"""Carries one exchange: sends each attempt, brings the answer back whole or as a stream, delivers the record.

What to send, to whom, and what the answer means is decided in `exchange`; here it only moves.
"""

from __future__ import annotations

import math
import time
from typing import Final, NoReturn

import gevent

from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse, UpstreamRequest
from ..exchange.exchange import Attempt, Exchange, FailureKind
from ..exchange.redact import redact
from ..exchange.tickets import Ticket
from ..exchange.translation import Further, StreamTranslation
from ..exchange.turns import turns
from ..log import get_logger
from .downstream import BodyTooLarge, ClientGone, Downstream, Limits
from .parts import Hearing, Parts
from .race import race
from .telling import Telling, framed, next_change, padded
from .upstream import Answer, UpstreamFailure

_FOREVER: Final = 30 * 24 * 3600.0
"""Seconds, where no limit is configured."""
_LAST_EVENTS: Final = (b"data: [DONE]", b"event: message_stop")
_LAST_EVENT_MAX: Final = 128
"""Bytes; longer than any of them with what stands in it."""
_RESPONSES_EVENT: Final = b"event: response."
_LAST_RESPONSES_EVENTS: Final = (b"completed\n", b"incomplete\n", b"failed\n")
"""The Responses API's last event holds the whole answer, so it may be of any length."""
_LINGER: Final = 0.1
"""Seconds to wait for the end of an answer whose last event has come."""

log = get_logger("relay")


class _Another(Exception):
    """This attempt came to nothing, another target may be tried; `error` is for the client if none is."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


class _NoCredential(Exception):
    """The target's credential could not be had."""

    kind: Final = "error"

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.message)
        self.error = error


# One thread carries all exchanges: long work of one gives way to the others.
turns.give = lambda: gevent.sleep(0)

_FAILURES: Final = (UpstreamFailure, ApiError, BodyTooLarge, ValueError, _NoCredential)
"""How an attempt may fail before there is an answer."""


class Journey:
    """One exchange on its way. Used once."""

    __slots__ = (
        "_attempt", "_delivered", "_down", "_exchange", "_hearing", "_limits", "_parts", "_request",
        "_telling", "_ticket", "_trace",
    )  # fmt: skip

    def __init__(
        self,
        parts: Parts,
        down: Downstream,
        ticket: Ticket,
        token: str,
        request: ClientRequest,
        exchange: Exchange,
    ) -> None:
        self._parts = parts
        self._down = down
        self._limits: Limits = down.limits
        self._ticket = ticket
        self._request = request
        self._exchange = exchange
        self._attempt: Attempt | None = None
        """The attempt that is neither failed, nor rejected, nor ended."""
        self._telling = Telling(parts, ticket, token, exchange)
        self._trace = parts.telemetry.begin(exchange) if parts.telemetry is not None else None
        self._hearing: Hearing | None = None
        if ticket.instance.judge is not None and parts.judging is not None:
            self._hearing = parts.judging.hear(exchange, self._trace)
        self._delivered = False
        """The client has all of an answer."""

    def run(self) -> None:
        """Raises ClientGone, after the provider's connection was closed and the usage so far was logged."""
        down = self._down
        down.watch()
        try:
            response = self._answer()
            if response is not None:
                self._respond(response)
        except BaseException:
            # Most often ClientGone; a greenlet killed at shutdown; a bug of ours.
            self._broken_off()
            raise
        finally:
            down.unwatch()
            self._over()
            self._exchange.close()

    # The attempts.

    def _answer(self) -> ClientResponse | None:
        """The whole answer; None where it was streamed, and is delivered."""
        exchange = self._exchange
        own = exchange.itself()
        if own is not None:
            return own
        error: ApiError | None = None
        while True:
            try:
                attempt = self._attempt = exchange.next_attempt()
                if attempt is None:
                    return exchange.refuse(error or _no_answer())
                return self._try(attempt)
            except _Another as another:
                error = another.error
            except ApiError as final:
                self._end(partial=True)
                return exchange.refuse(final)

    def _try(self, attempt: Attempt) -> ClientResponse | None:
        """Raises ApiError, or _Another where another target may be tried."""
        began = time.monotonic()
        if self._ticket.instance.hedging is not None and self._request.upload is None:
            attempt, answer = self._ask_two(attempt)
        else:
            answer = self._ask(attempt)
        while True:
            result = self._read(attempt, answer)
            if not isinstance(result, Further):
                return result
            answer = self._ask_further(attempt, result, began)

    def _read(self, attempt: Attempt, answer: Answer) -> ClientResponse | Further | None:
        """What an answer comes to: the client's, None where that was streamed, or something else to ask of
        the same provider. Raises as `_try` does."""
        try:
            status, headers = answer.status, answer.headers
            refusal = answer.read_all(self._limits.answer) if attempt.reads_refusal(status) else None
            if attempt.rejected(status, headers, refusal) and self._may_repeat():
                answer.discard()
                self._attempt = None
                raise _Another(ApiError(502, f"{attempt.call.provider} answered with {status}"))
            stream = attempt.translation.stream(status, headers) if refusal is None else None
            if stream is None:
                body = answer.read_all(self._limits.answer) if refusal is None else refusal
                further = attempt.translation.further(status, headers, body)
                return further or self._whole(attempt, answer, body)
            if self._hearing is not None:
                self._hearing.listen(stream)
            early = self._stream(attempt, answer, stream)
        except UpstreamFailure as failure:
            self._failed(failure.kind, _error_of(failure, attempt.call))
        finally:
            answer.close()
        if early is None:
            return None
        if attempt.rejected(early.status, early.headers) and self._may_repeat():
            self._attempt = None
            raise _Another(early)
        raise early

    def _ask(self, attempt: Attempt) -> Answer:
        """The head of the provider's answer. Raises as `_try` does."""
        try:
            return self._send(attempt)
        except _FAILURES as failure:
            self._not_sent(attempt, failure)

    def _ask_further(self, attempt: Attempt, further: Further, began: float) -> Answer:
        """The head of the answer to a request that follows another. Raises as `_try` does.

        A wait before it counts as the provider's silence, all of them since the first request together.
        """
        try:
            if further.after > 0:
                patience = attempt.timeouts.read or _FOREVER
                if time.monotonic() - began + further.after > patience:
                    raise UpstreamFailure("timeout", "the provider did not finish in time")
                gevent.sleep(further.after)
            return self._send(attempt, further.request)
        except _FAILURES as failure:
            self._not_sent(attempt, failure)

    def _ask_two(self, first: Attempt) -> tuple[Attempt, Answer]:
        """The head of an answer, by the target that began it first. Raises as `_try` does."""
        attempt, result = race(self._exchange, first, self._send)
        self._attempt = attempt
        if isinstance(result, Exception):
            self._not_sent(attempt, result)
        return attempt, result

    def _send(self, attempt: Attempt, further: UpstreamRequest | None = None) -> Answer:
        """`further`: not the attempt's first request, whose address is the one that is logged."""
        upstream = further or attempt.translation.request()
        connected = attempt.connected if further is None else None
        try:
            if not upstream.anonymous:
                self._parts.authenticate(upstream, attempt.call)
        except ApiError as error:
            attempt.doubt_credential()
            raise _NoCredential(error) from None
        if self._trace is not None and not upstream.anonymous:
            self._trace.sent(attempt, upstream)
        return self._parts.client.send(upstream, attempt.timeouts, connected, repeatable=attempt.repeatable)

    def _not_sent(self, attempt: Attempt, failure: Exception) -> NoReturn:
        """Raises as `_try` does."""
        call = attempt.call
        if isinstance(failure, _NoCredential):
            self._failed("error", failure.error)
        if isinstance(failure, UpstreamFailure):
            self._failed(failure.kind, _error_of(failure, call))
        if isinstance(failure, BodyTooLarge):
            raise too_large() from None
        if isinstance(failure, ValueError):
            raise unsendable(failure, call) from None
        raise failure

    def _failed(self, kind: FailureKind, error: ApiError) -> NoReturn:
        """Raises the error, in an _Another where another target may be tried."""
        attempt, self._attempt = self._attempt, None
        assert attempt is not None
        if attempt.failed(kind) and self._may_repeat():
            raise _Another(error) from None
        raise error from None

    def _may_repeat(self) -> bool:
        upload = self._request.upload
        return upload is None or not upload.started

    def _whole(self, attempt: Attempt, answer: Answer, body: bytes) -> ClientResponse:
        response = attempt.translation.response(answer.status, answer.headers, body)
        attempt.first_output()
        self._end()
        return response

    # Streams.

    def _stream(self, attempt: Attempt, answer: Answer, stream: StreamTranslation) -> ApiError | None:
        """Carries a stream to its end. Gives the error of a stream that failed before it had any output:
        nothing was sent then, and the client can have it with its own status. Raises UpstreamFailure in the
        same case."""
        rest = self._pump(attempt, answer, stream)
        answer.close()
        down = self._down
        head = b""
        if not down.answered:
            if stream.failed is not None and not attempt.call.output_bytes:
                return stream.failed
            head = self._stream_head(attempt, stream)
        self._end(partial=stream.failed is not None)
        comment = self._telling.at_end(stream)
        if stream.binary and stream.failed is not None:
            # No event can say that it broke: the connection ends before the body does.
            raise ClientGone
        if down.chunked:
            # Padding goes before the first data, too; where that is the comment, before it alone.
            if rest:
                rest = padded(rest) if head and self._telling.in_band(stream) else framed(rest)
            rest += padded(comment) + b"0\r\n\r\n" if comment else b"0\r\n\r\n"
        else:
            rest += comment
        down.send(head + rest)
        self._telling.delivered = self._delivered = True
        return None

    def _pump(self, attempt: Attempt, answer: Answer, stream: StreamTranslation) -> bytes:
        """Everything but the end, which it gives back. Raises UpstreamFailure where nothing was sent yet."""
        down = self._down
        chunked = down.chunked
        feed = stream.feed
        read = answer.read
        send = down.send
        clock = time.monotonic
        until = clock() + self._longest if self._longest else math.inf
        patience = attempt.timeouts.read or _FOREVER
        # Clients hang up when they have read the last event (OpenAI's SDKs do). Where the record follows it,
        # both go in one write: Kong would drop the record together with the client.
        in_band = self._telling.in_band(stream)
        began = tell_at = math.inf
        last = b""
        while True:
            try:
                # One read, one send: a slow client keeps the provider waiting, and memory holds one piece.
                data = read(_LINGER if last else max(0.001, min(patience, until - clock())))
            except UpstreamFailure as failure:
                if last:
                    return last + stream.finish()  # complete, only the connection was not closed in order
                if not down.answered:
                    raise
                late = clock() >= until
                return stream.abort(self._too_long() if late else _error_of(failure, attempt.call))
            if not data:
                return last + stream.finish()
            out = last + feed(data)
            if stream.failed is not None:
                return out
            last = b""
            if in_band and (at := _last_event(out)) >= 0:
                last, out = out[at:], out[:at]
            if out:
                if not down.answered:
                    head = self._stream_head(attempt, stream)
                    out = (padded(out) if in_band else framed(out)) if chunked else out
                    send(head + out)
                    if in_band:
                        began = clock()
                        tell_at = next_change(began, began)
                elif (now := clock()) < tell_at:
                    send(b"%x\r\n%b\r\n" % (len(out), out) if chunked else out)
                else:
                    tell_at = next_change(began, now)
                    change = self._telling.change()
                    if chunked:
                        send(framed(out) + padded(change) if change else framed(out))
                    else:
                        send(out + change)
            if clock() >= until:
                return last + (stream.finish() if last else stream.abort(self._too_long()))

    def _too_long(self) -> ApiError:
        text = f"the stream took longer than {self._longest:g} seconds"
        return ApiError(504, text, code="upstream_stream_too_long")

    @property
    def _longest(self) -> float:
        """Seconds a stream may take; 0 is no limit."""
        configured = self._ticket.instance.extensions.max_stream_duration
        return self._limits.stream_seconds if configured is None else configured / 1000

    def _stream_head(self, attempt: Attempt, stream: StreamTranslation) -> bytes:
        """To be sent together with the first bytes of the body."""
        attempt.first_output()
        headers = dict(stream.headers)
        headers["content-type"] = stream.content_type
        headers["cache-control"] = "no-cache"
        headers["x-accel-buffering"] = "no"
        self._telling.with_head(stream, headers, chunked=self._down.chunked)
        return self._down.stream_head(200, headers)

    def _over(self) -> None:
        """Tells those who count and trace."""
        if self._trace is not None:
            self._trace.ended(self._exchange)
        if self._parts.observe is not None:
            self._parts.observe(self._exchange)
        if self._hearing is not None:
            self._hearing.over(self._exchange, delivered=self._delivered)

    # The end.

    def _respond(self, response: ClientResponse) -> None:
        """A whole answer, with the record on it where Kong can take it."""
        down = self._down
        if not down.body_complete:
            down.drain()
        self._telling.with_answer(response.headers)
        try:
            down.respond(response)
            self._delivered = True
        finally:
            self._telling.delivered = self._telling.delivered or down.head_sent

    def _end(self, *, partial: bool = False) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.ended(partial=partial)

    def _broken_off(self) -> None:
        self._end(partial=True)
        self._telling.broken_off()


def _no_answer() -> ApiError:
    return ApiError(502, "no provider could answer", code="upstream_error")


def too_large() -> ApiError:
    """For a body above `max_request_body_size`."""
    return ApiError(413, "Request body too large", code="request_too_large")


def unsendable(failure: ValueError, call: Call) -> ApiError:
    """For a request that would break HTTP. Whoever found that may quote what it was looking at, and there are
    credentials on the request by then."""
    reason = redact(str(failure).encode("utf-8", "replace"), call).decode("utf-8", "replace")
    log.warning("request not sent", reason=reason, provider=call.provider)
    return ApiError(400, f"the request cannot be sent: {reason}")


def _error_of(failure: UpstreamFailure, call: Call) -> ApiError:
    if failure.kind == "timeout":
        return ApiError(504, f"{call.provider}: {failure}", type="timeout_error", code="upstream_timeout")
    return ApiError(502, f"{call.provider}: {failure}", code="upstream_error")


def _last_event(out: bytes) -> int:
    """Where the event begins that ends a complete stream, -1 if it is not at the end of `out`."""
    from_ = max(0, len(out) - _LAST_EVENT_MAX)
    for event in _LAST_EVENTS:
        at = out.rfind(event, from_)
        if at == 0 or (at > 0 and out[at - 1] == 0x0A):
            return at
    at = out.rfind(_RESPONSES_EVENT)
    if at < 0 or not out.startswith(_LAST_RESPONSES_EVENTS, at + len(_RESPONSES_EVENT)):
        return -1
    return at if at == 0 or out[at - 1] == 0x0A else -1

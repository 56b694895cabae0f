"""One client request from its ticket to its log record: what the relay drives.

The relay's loop::

    exchange = Exchange.open(ticket, request)            # ApiError → error_response(ticket, error)
    while attempt := exchange.next_attempt():
        upstream = attempt.translation.request(); authenticator.apply(upstream, attempt.call)
        try: answer = client.send(upstream, attempt.timeouts)
        except UpstreamFailure as failure:
            if attempt.failed(failure.kind): continue     # another target may be tried
            ... 502 / 504 in the client's format
        if attempt.rejected(answer.status, answer.headers): continue   # failover by status
        ... answer whole, or stream: attempt.first_output() with the first byte for the client
        attempt.ended(partial=False)
    record = exchange.record()
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from ..accounting.record import log_record
from ..balancer.base import Asked, Outcome
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, ClientResponse
from ..core.json import Json, dumps
from ..formats import client_format
from ..formats.base import ClientFormat
from .access import restrict
from .attempt import Attempt, FailureKind
from .carry import JSON_TYPE, Carrier
from .counting import CountCarrier, estimated_count
from .instance import Instance, Timeouts
from .native_carry import NativeCarrier
from .plan import Plan, make_plan
from .redact import without_base64
from .rest_carry import rest_carrier
from .rest_plan import RestPlan, plan_rest
from .tickets import Ticket

__all__ = ["Attempt", "Exchange", "FailureKind", "Timeouts", "error_response"]

_ASKED_TWICE: Final = frozenset({"chat", "completions", "embeddings"})
"""Operations that leave nothing behind at a provider: a file or a batch would be there twice."""


class Exchange:
    """See the module."""

    def __init__(self, plan: Plan, ticket: Ticket, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.ticket = ticket
        self.instance: Instance = plan.instance
        self.request: ClientRequest = plan.request
        self.stream: bool = plan.stream
        """The client gets a stream."""
        self.attempts: list[Attempt] = []
        self._clock = clock
        self._tried: list[int] = []
        self._answered: set[int] = set()
        self._next: int | None = None
        self._refused = False
        self._begun = False
        operation = plan.operation(plan.candidates[0])
        self._asked = Asked(plan.request, plan.body, operation, plan.instance.llm_format)

    @classmethod
    def open(cls, ticket: Ticket, request: ClientRequest) -> Exchange:
        """Check and plan. Raises ApiError for the client (400, 403, 413, 415, …)."""
        if ticket.captures and not request.captures:
            request.captures = ticket.captures
        _client(ticket.instance)
        plan = plan_rest(ticket.instance, request) or make_plan(ticket.instance, request)
        restrict(plan, ticket)
        return cls(plan, ticket)

    def itself(self) -> ClientResponse | None:
        """The answer, where the gateway gives it by itself and no provider is asked."""
        plan = self.plan
        return estimated_count(plan.instance.llm_format, plan.body) if plan.estimated else None

    def next_attempt(self) -> Attempt | None:
        """The next target's attempt; None if there is none (left). Raises ApiError when nothing was tried
        and no target is available."""
        index = self._next
        self._next = None
        if not self.attempts and not self._refused:
            index = self.instance.balancer.pick(self.plan.candidates, [], self._asked)
            if index is None:
                raise ApiError(500, "no target is available", code="no_target_available")
        return None if index is None else self._begin(index)

    def _begin(self, index: int) -> Attempt:
        balancer = self.instance.balancer
        # At once after the choice: no other request may choose in between without knowing of this one.
        balancer.started(index)
        try:
            attempt = self._attempt(index)
        except BaseException:
            balancer.ended(index, Outcome(ok=True))
            raise
        self.attempts.append(attempt)
        self._tried.append(index)
        return attempt

    def choose_next(self, after: Attempt, *, answered: bool) -> bool:
        """Choose the target after a failed attempt; False if there is none. One that answered is not asked
        twice."""
        if answered:
            self._answered.add(after.index)
        if not after.translation.movable:
            return False
        if self._begun or self._next is not None or len(self.attempts) > self.instance.retries:
            return False
        left = [index for index in self.plan.candidates if index not in self._answered]
        self._next = self.instance.balancer.pick(left, self._tried, self._asked) if left else None
        return self._next is not None

    def hedge(self) -> Attempt | None:
        """A second target's attempt, while the first one's goes on; None if there is none, or enough requests
        were asked twice."""
        hedging = self.instance.hedging
        left = [index for index in self.plan.candidates if index not in self._tried]
        if hedging is None or not left or len(self.attempts) > self.instance.retries:
            return None
        if self._asked.operation not in _ASKED_TWICE:
            return None
        index = self.instance.balancer.pick(left, self._tried, self._asked)
        if index is None or not hedging.spend():
            return None
        return self._begin(index)

    def won(self, attempt: Attempt) -> None:
        """This attempt goes on, of several: it is the last one from now on."""
        self.attempts.remove(attempt)
        self.attempts.append(attempt)

    def refuse(self, error: ApiError) -> ClientResponse:
        """The error as the client's format has it. Ends the exchange: nothing else is tried."""
        self._refused = True
        self._next = None
        last = self.attempts[-1] if self.attempts else None
        if last is None:
            return _error(_client(self.instance), error)
        last.give_up()
        return last.translation.error(error)

    def record(self) -> Json | None:
        """The `ai.proxy` log record of what happened, after the last attempt ended; None where nothing is
        to be logged."""
        if not self.attempts:
            return None
        self.attempts[-1].give_up()
        return self.record_so_far()

    def record_so_far(self) -> Json | None:
        """The same while the answer is on its way: without latency, and without usage that comes later."""
        last = self.attempts[-1]
        carried = last.translation
        shown: list[bytes | None] = [None, None]
        if last.call.target.logging.log_payloads:
            both = (carried.upstream.body if carried.upstream else None, carried.answered)
            shown = [without_base64(body) if body else None for body in both]
        return log_record(
            last.call,
            plugin_id=self.instance.plugin_id,
            timing=last.timing,
            tried=list(self._entries()),
            request=shown[0],
            response=shown[1],
        )

    def record_if_left(self) -> Json | None:
        """The record as it would be if the client left now; the exchange goes on."""
        with self.attempts[-1].as_if_left():
            return self.record_so_far()

    def close(self) -> None:
        """All is said about it. Attempts and their exchange hold each other, streams and what translates them
        as well: without this, their bodies, of megabytes maybe, would be left to the garbage collector."""
        for attempt in self.attempts:
            if attempt.translation.running is not None:
                attempt.translation.running.let_go()
        self.attempts.clear()

    def _let_go(self) -> None:
        """A stream has begun: nothing is tried any more, and the body is no longer needed."""
        self._next = None
        self._begun = True
        self.plan.body = self._asked.body = {}

    def _entries(self) -> Iterator[Json]:
        for attempt in self.attempts:
            entry = attempt.entry
            if entry is not None:
                yield entry

    def _attempt(self, index: int) -> Attempt:
        plan, instance = self.plan, self.instance
        target = instance.targets[index]
        resolved = plan.resolved[index]
        call = Call(
            target=target,
            options=resolved.options,
            model=resolved.name or plan.model,
            operation=plan.operation(index),
            request=plan.request,
            client_format=instance.llm_format,
            native=plan.native,
            stream=plan.stream,
            include_usage=plan.include_usage,
            max_frame=instance.extensions.max_frame_size,
            batch_prefix=instance.extensions.gemini_batch_bucket_prefix or "",
        )
        try:
            if isinstance(plan, RestPlan):
                carrier = rest_carrier(
                    call, plan, model_header=instance.model_name_header, on_start=self._let_go
                )
                return Attempt(self, index, call, carrier, self._clock)
            kind: type[Carrier] = NativeCarrier
            if plan.counting:
                kind = CountCarrier
            elif plan.native is None or plan.native.api.translated:
                kind = Carrier
            carrier = kind(
                call,
                plan.body,
                as_sent=plan.body_as_sent,
                model_header=instance.model_name_header,
                on_start=self._let_go,
            )
        except LookupError:
            raise ApiError(
                501, f"provider {call.provider} is not supported by this version", code="unsupported_provider"
            ) from None
        return Attempt(self, index, call, carrier, self._clock)


def error_response(ticket: Ticket | None, error: ApiError) -> ClientResponse:
    """An error before there is an exchange, in the client format of the ticket's instance (OpenAI's
    without)."""
    return error_in(ticket.instance.llm_format if ticket is not None else "openai", error)


def error_in(llm_format: str, error: ApiError) -> ClientResponse:
    """An error as clients of a format know it; OpenAI's where it is not known."""
    try:
        form = client_format(llm_format)
    except LookupError:
        form = client_format("openai")
    return _error(form, error)


def _client(instance: Instance) -> ClientFormat:
    try:
        return client_format(instance.llm_format)
    except LookupError:
        raise ApiError(
            501,
            f"llm_format {instance.llm_format} is not supported by this version",
            code="unsupported_llm_format",
        ) from None


def _error(form: ClientFormat, error: ApiError) -> ClientResponse:
    headers = {**error.headers, "content-type": JSON_TYPE}
    return ClientResponse(error.status, headers, dumps(form.error(error)))

"""Gathers one exchange's request and answer, for the judge. Whatever goes wrong here, it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import gevent

from ..config.models import Judge
from ..core.call import Call
from ..core.http import ClientRequest
from ..core.json import Json
from ..core.rest import RestCall
from ..exchange.attempt import Attempt
from ..exchange.exchange import Exchange
from ..exchange.instance import Instance
from ..exchange.plan import Plan
from ..exchange.rest_plan import RestPlan
from ..exchange.streams import Stream
from ..log import get_logger
from ..telemetry import Later, Trace
from .counts import Counts, Outcome
from .said import Answer, Asked, answer_of, asked

log = get_logger("judge")

LONGEST: Final = 1024 * 1024
"""Bytes of a request, and of an answer as its provider sent it, that are kept for the judge."""
OPERATIONS: Final = frozenset({"chat", "completions", "responses"})
"""What is judged."""


@dataclass(slots=True)
class Case:
    """An answer that its client has, and what it answers."""

    instance: Instance
    judge: Judge
    asked: Asked
    answer: Answer
    target: int
    """Place among the instance's targets, from 0."""
    held: int
    """Bytes that are accounted for."""
    trace: Later | None = None
    """Where the question is to be told of."""


class Court(Protocol):
    """What takes cases (`queue.Judging`), and bounds what is kept for them."""

    counts: Counts

    def hold(self, size: int) -> bool: ...

    def release(self, size: int) -> None: ...

    def submit(self, case: Case) -> None: ...


class Hearing:
    """One exchange that was sampled."""

    __slots__ = (
        "_answer", "_asked", "_body", "_call", "_held", "_instance", "_judge", "_judging", "_lost", "_trace",
    )  # fmt: skip

    def __init__(self, judging: Court, judge: Judge, exchange: Exchange, trace: Trace | None) -> None:
        self._trace = trace.later() if trace is not None else None
        self._judging = judging
        self._judge = judge
        self._instance = exchange.instance
        self._body: Json | None = exchange.plan.body
        """Kept from the exchange, which lets it go when a stream begins, until its text is taken."""
        self._call: Call | None = _call_of(exchange.plan)
        self._asked: Asked | None = None
        self._answer: bytearray | None = None
        self._held = 0
        self._lost: Outcome | None = None
        """Why there will be nothing to judge."""
        # When this exchange waits for its provider for the first time.
        gevent.spawn(self._take_request)

    def listen(self, stream: Stream) -> None:
        """This stream goes to the client, unless it fails before."""
        self._give_back(len(self._answer or b""))
        self._answer = bytearray()
        stream.overheard = self._hear

    def over(self, exchange: Exchange, *, delivered: bool) -> None:
        """The exchange has ended. `delivered`: the client has all of an answer."""
        try:
            attempt = exchange.attempts[-1] if exchange.attempts else None
            if attempt is not None and delivered and _is_answer(attempt):
                case = self._case(attempt)
                if case is not None:
                    self._judging.submit(case)
                    return
                self._judging.counts.answer(self._judge.llm, self._lost or "no_text")
        except Exception as error:
            # Without a traceback, whose lines may quote what was said.
            log.error("answer_not_judged", kind=type(error).__name__)
        self._answer = None
        self._give_back(self._held)

    def _case(self, attempt: Attempt) -> Case | None:
        self._take_request()
        answer = attempt.translation.received if self._answer is None else self._answer
        if self._answer is None and self._lost is None and not self._hold(len(answer or b"")):
            self._lose("too_long" if len(answer or b"") > LONGEST else "dropped")
        if self._lost is not None or not answer or self._asked is None or not self._asked.messages:
            return None
        read = answer_of(attempt.translation, bytes(answer))
        case = Case(self._instance, self._judge, self._asked, read, attempt.index, self._held, self._trace)
        self._answer = None
        self._held = 0
        return case

    def _take_request(self) -> None:
        body, self._body = self._body, None
        call, self._call = self._call, None
        if body is None or call is None:
            return
        try:
            found = asked(body, call, self._judge)
        except Exception as error:
            # A body that is refused, or one that nobody was prepared for: the text of it must not be told.
            log.debug("request_not_read_for_the_judge", kind=type(error).__name__)
            self._lose("unreadable")
            return
        size = found.size
        if self._hold(size):
            self._asked = found
        else:
            self._lose("too_long" if size > LONGEST else "dropped")

    def _hear(self, data: bytes) -> None:
        answer = self._answer
        if answer is None or self._lost is not None:
            return
        if len(answer) + len(data) > LONGEST:
            self._lose("too_long")
        elif not self._hold(len(data)):
            self._lose("dropped")
        else:
            answer += data

    def _lose(self, why: Outcome) -> None:
        self._lost = why
        self._asked = None
        if self._answer is not None:
            self._answer = bytearray()
        self._give_back(self._held)

    def _hold(self, size: int) -> bool:
        if size > LONGEST or not self._judging.hold(size):
            return False
        self._held += size
        return True

    def _give_back(self, size: int) -> None:
        self._judging.release(size)
        self._held -= size


def may_be_judged(plan: Plan) -> bool:
    """A chat, completion or response that is made now, and that we can read."""
    if plan.counting or plan.estimated or plan.request.upload is not None:
        return False
    if isinstance(plan, RestPlan) and not _makes_response(plan.rest, plan.request):
        return False
    return plan.operation(plan.candidates[0]) in OPERATIONS


def _makes_response(rest: RestCall, request: ClientRequest) -> bool:
    """Whether it is no other request to OpenAI's REST APIs: one for a stored response, a file, …"""
    return rest.operation == "responses" and not rest.rest and request.method == "POST"


def _call_of(plan: Plan) -> Call:
    """What a client's format needs to read the request; nothing is sent with it."""
    index = plan.candidates[0]
    target = plan.instance.targets[index]
    return Call(
        target=target,
        options=target.model.options,
        model=plan.model,
        operation=plan.operation(index),
        request=plan.request,
        client_format=plan.instance.llm_format,
        native=plan.native,
    )


def _is_answer(attempt: Attempt) -> bool:
    """What the client has is an answer, and not an error."""
    carrier = attempt.translation
    if attempt.status is None or not 200 <= attempt.status < 300 or carrier.refused is not None:
        return False
    return carrier.running is None or carrier.running.failed is None

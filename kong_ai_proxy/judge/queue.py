"""Answers that wait to be judged, and the asking. Nothing here is waited for by a client: what cannot be
judged soon is dropped, and counted."""

from __future__ import annotations

import math
import random
import ssl
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

import gevent

from ..accounting.cost import cost
from ..accounting.encoding import encode
from ..accounting.estimate import estimate
from ..accounting.record import Timing, log_record, tried_target
from ..auth import authenticate
from ..balancer.base import Scored
from ..config.models import Judge
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest
from ..core.json import Json, loads_lenient
from ..core.usage import UsageSource
from ..exchange.attempt import retry_after
from ..exchange.carry import Carrier
from ..exchange.exchange import Exchange
from ..exchange.headers import JUDGING
from ..exchange.instance import Instance, Timeouts
from ..exchange.rotation import REFUSED
from ..exchange.turns import turns
from ..formats.pivot import obj, objects, text
from ..log import get_logger
from ..relay.upstream import UpstreamClient, UpstreamFailure
from ..relay.websocket_deposit import LIMIT, Deposit
from ..telemetry import Trace
from .calls import Said
from .counts import Counts, Outcome
from .hearing import LONGEST, Case, Hearing, may_be_judged
from .said import answered
from .score import question, score_in

log = get_logger("judge")

AT_ONCE: Final = 8
"""Questions to one instance's judge under way."""
WAITING_MOST: Final = 64
"""Answers that wait for one instance's judge."""
HELD_MOST: Final = 32 * 1024 * 1024
"""Bytes of requests and answers kept in this process, gathered or waiting."""
_REPLY_MAX: Final = 1024 * 1024
_SAY_EVERY: Final = 60.0
_LEFT_ALONE_MAX: Final = 60.0
"""Seconds."""
_BUSY: Final = frozenset({429, 503, 529})


class _Failed(Exception):
    """The judge gave no reply; the text says why, without a word of what was judged."""


@dataclass(slots=True)
class _Question:
    """As telemetry knows it (`telemetry.genai.Tried`)."""

    call: Call
    translation: Carrier
    body: Json
    timing: Timing = field(default_factory=Timing)
    status: int | None = None
    failure: str | None = None
    """Why there is no answer; None where there is one, or may be yet."""


class Bench:
    """One instance's judge."""

    def __init__(self) -> None:
        self.waiting: deque[Case] = deque()
        self.running = 0
        self.left_alone_until = -math.inf
        self._said: dict[str, float] = {}

    def may_say(self, what: str) -> bool:
        """Once a minute; the counts have all of it."""
        now = time.monotonic()
        if now - self._said.get(what, -math.inf) < _SAY_EVERY:
            return False
        self._said[what] = now
        return True


class Judging:
    """All judges of this process."""

    def __init__(
        self, client: UpstreamClient, deposit: Deposit | None = None, rng: random.Random | None = None
    ) -> None:
        """`deposit`: where Kong takes records."""
        self.counts = Counts()
        self._deposit = deposit
        self._client = client
        self._unverified: UpstreamClient | None = None
        self._rng = rng or random.Random()
        self._asking: set[Any] = set()
        """The greenlets that do."""

    # What the relay calls.

    def hear(self, exchange: Exchange, trace: Trace | None = None) -> Hearing | None:
        """Begins to gather what is to be judged; None where this exchange is not. Never raises."""
        try:
            return self._hear(exchange, trace)
        except Exception as error:
            # A bug of ours must not cost the client its answer.
            log.error("answer_not_judged", kind=type(error).__name__)
            return None

    def _hear(self, exchange: Exchange, trace: Trace | None) -> Hearing | None:
        judge = exchange.instance.judge
        if judge is None or not may_be_judged(exchange.plan):
            return None
        if judge.sampling_rate < 1 and self._rng.random() >= judge.sampling_rate:
            return None
        if JUDGING in exchange.request.headers:
            self.counts.answer(judge.llm, "judging")
            return None
        if len(exchange.request.body) > LONGEST:
            self.counts.answer(judge.llm, "too_long")
            return None
        bench = _bench(exchange.instance)
        if len(bench.waiting) >= WAITING_MOST or time.monotonic() < bench.left_alone_until:
            self.counts.answer(judge.llm, "dropped")
            return None
        return Hearing(self, judge, exchange, trace)

    def close(self) -> None:
        """Gives up whatever is under way."""
        gevent.killall(list(self._asking), block=False)
        if self._unverified is not None:
            self._unverified.close()

    # What is held.

    def hold(self, size: int) -> bool:
        """Whether so many bytes more may be kept."""
        if self.counts.held + size > HELD_MOST:
            return False
        self.counts.held += size
        return True

    def release(self, size: int) -> None:
        self.counts.held -= size

    # What waits.

    def submit(self, case: Case) -> None:
        """Judges it as soon as its turn comes."""
        bench = _bench(case.instance)
        if bench.running < AT_ONCE:
            bench.running += 1
            self.counts.running += 1
            greenlet = gevent.spawn(self._work, bench, case)
            self._asking.add(greenlet)
            greenlet.link(self._asking.discard)
        elif len(bench.waiting) < WAITING_MOST:
            bench.waiting.append(case)
            self.counts.waiting += 1
        else:
            self._done(case, "dropped")

    def _work(self, bench: Bench, case: Case) -> None:
        try:
            while True:
                outcome: Outcome = "failed"
                try:
                    outcome = self._judge(bench, case)
                except Exception as error:
                    # A bug of ours, most likely. Its text may hold what was judged.
                    self._failed(bench, case, type(error).__name__)
                finally:
                    self._done(case, outcome)
                if not bench.waiting:
                    return
                case = bench.waiting.popleft()
                self.counts.waiting -= 1
        finally:
            bench.running -= 1
            self.counts.running -= 1

    def _done(self, case: Case, outcome: Outcome) -> None:
        self.release(case.held)
        self.counts.answer(case.judge.llm, outcome)

    # One answer.

    def _judge(self, bench: Bench, case: Case) -> Outcome:
        if time.monotonic() < bench.left_alone_until:
            return "dropped"
        try:
            said = answered(case.answer, turns.give)
        except Exception as error:
            log.debug("answer_not_read_for_the_judge", kind=type(error).__name__)
            return "unreadable"
        if not said:
            return "no_text"
        try:
            score = self._ask(bench, case, said)
        except _Failed as failure:
            self._failed(bench, case, str(failure))
            return "failed"
        if score is None:
            if bench.may_say("no_score"):
                reason = "no number from 1 to 100 in its reply"
                log.warning("judge_without_score", reason=reason, **_where(case))
            return "no_score"
        balancer = case.instance.balancer
        if isinstance(balancer, Scored):
            balancer.scored(case.target, score)
        return "scored"

    def _ask(self, bench: Bench, case: Case, said: Said) -> float | None:
        """The score; None where the judge replied without one. Raises _Failed."""
        judge = case.judge
        call = Call(
            target=judge.llm,
            options=judge.llm.model.options,
            model=judge.llm.model.name or "",
            operation="chat",
            request=ClientRequest("POST", "/", "", {JUDGING: "1"}),
        )
        body = question(judge, case.asked, said)
        asked = _Question(call, Carrier(call, body, as_sent=False, model_header=False), body)
        score: float | None = None
        try:
            tried, reply = self._answer_to(bench, case, asked)
            score = score_in(reply)
            if call.usage.source is UsageSource.NONE:
                estimate(body, asked.translation.received, call)
        finally:
            if case.trace is not None:
                case.trace.ended(asked, score)
        seconds = (asked.timing.latency or 0.0) / 1000
        self.counts.spent(judge.llm, call.usage, cost(call.usage, call.options), seconds)
        self._log(case, call, asked.timing, tried, score)
        return score

    def _answer_to(self, bench: Bench, case: Case, asked: _Question) -> tuple[Json, str]:
        """As `_reply`, in time. Raises _Failed."""
        timing = asked.timing
        began = time.monotonic()
        try:
            with gevent.Timeout(
                case.judge.http_timeout / 1000, UpstreamFailure("timeout", "it did not reply in time")
            ):
                return self._reply(bench, case, asked)
        except UpstreamFailure as failure:
            asked.failure = failure.kind
            raise _Failed(str(failure)) from None
        except ApiError as error:
            # Ours or the provider's; the latter's text may quote the question.
            reason = error.code or f"status {error.status}"
            asked.failure = None if asked.status is not None and asked.status >= 400 else "error"
            raise _Failed(reason) from None
        except ValueError:
            asked.failure = "error"
            raise _Failed("the question could not be sent") from None
        finally:
            timing.latency = timing.first_token = (time.monotonic() - began) * 1000

    def _reply(self, bench: Bench, case: Case, asked: _Question) -> tuple[Json, str]:
        """Where it was asked, and the text of the reply. Raises _Failed, ApiError, UpstreamFailure or
        ValueError."""
        judge, call, carrier = case.judge, asked.call, asked.translation
        request = carrier.request()
        ip = ""

        def connected(address: str, elapsed: float) -> None:
            nonlocal ip
            ip = address

        try:
            authenticate(request, call)
        except ApiError:
            case.instance.rotation.doubt(judge.llm)
            raise
        if case.trace is not None:
            case.trace.sent(asked, request, asked.body)
        seconds = judge.http_timeout / 1000
        # A question leaves nothing behind: it may be asked again where a kept connection had been closed.
        answer = self._client_for(judge).send(
            request, Timeouts(seconds, seconds, seconds), connected, repeatable=True
        )
        try:
            data = answer.read_all(_REPLY_MAX)
        finally:
            answer.close()
        asked.status = answer.status
        if answer.status in REFUSED:
            case.instance.rotation.doubt(judge.llm)
        if answer.status in _BUSY:
            wait = retry_after(answer.headers) or 1.0
            bench.left_alone_until = time.monotonic() + min(max(wait, 0.0), _LEFT_ALONE_MAX)
        if not 200 <= answer.status < 300:
            raise ApiError(answer.status, "refused", code=f"status {answer.status}")
        response = carrier.response(answer.status, answer.headers, data)
        if carrier.refused is not None:
            raise ApiError(carrier.refused.status, "no answer", code=carrier.refused.code)
        assert carrier.upstream is not None
        tried = tried_target(call, carrier.upstream.url, ip)
        try:
            found = loads_lenient(response.body)
        except ValueError:
            asked.failure = "error"
            raise _Failed("its reply is no JSON") from None
        for choice in objects(obj(found).get("choices")):
            return tried, text(obj(choice.get("message")).get("content"))
        return tried, ""

    def _client_for(self, judge: Judge) -> UpstreamClient:
        if judge.https_verify:
            return self._client
        if self._unverified is None:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["http/1.1"])
            self._unverified = UpstreamClient(tls=context)
        return self._unverified

    # What is told.

    def _log(self, case: Case, call: Call, timing: Timing, tried: Json, score: float | None) -> None:
        """A record with the judge's own numbers, where `llm.logging.log_statistics` asks for it:
        Kong's, where Kong takes it, else one line here."""
        record = log_record(
            call,
            plugin_id=case.instance.plugin_id,
            timing=timing,
            tried=[tried],
            request=None,
            response=None,
        )
        if record is None:
            return
        judged = case.answer.call
        record["judged"] = {
            "provider": judged.provider, "model": judged.model, "target": case.target + 1,
        }  # fmt: skip
        if score is not None:
            record["usage"]["llm_accuracy"] = score
        if self._deposit is None or not self._deposit.judged(encode(record, LIMIT)):
            log.info("judged", ai={"ai-llm-as-judge": record})

    @staticmethod
    def _failed(bench: Bench, case: Case, reason: str) -> None:
        if bench.may_say("failed"):
            log.warning("judge_failed", reason=reason, **_where(case))


def _where(case: Case) -> Json:
    model = case.judge.llm.model
    return {"provider": model.provider, "model": model.name, "plugin_id": case.instance.plugin_id}


def _bench(instance: Instance) -> Bench:
    if instance.bench is None:
        instance.bench = Bench()
    bench: Bench = instance.bench
    return bench

"""One try at one target, as the relay carries it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Protocol

from ..accounting.cost import cost
from ..accounting.estimate import estimate
from ..accounting.record import Timing, attempt_usage, tried_target
from ..balancer.base import Outcome
from ..core.call import Call
from ..core.errors import ApiError
from ..core.http import ClientRequest, Headers
from ..core.json import Json
from ..core.usage import UsageSource
from .budget import STATUSES, seconds_without_budget
from .carry import Carrier
from .instance import Instance, Timeouts
from .plan import Plan
from .rotation import REFUSED

FailureKind = Literal["error", "timeout", "invalid_header"]
"""How an attempt failed before an answer: the words of `failover_criteria`."""

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
"""Methods that may be repeated:
https://nginx.org/en/docs/http/ngx_http_proxy_module.html#proxy_next_upstream."""
_REPEAT: Final = frozenset({"error", "non_idempotent"})
_CRITERIA: Final = {529: "http_503"}
"""Statuses without a criterion of their own. 529 is how Anthropic says that it is overloaded:
https://docs.claude.com/en/api/errors."""
_OUR_LIMITS: Final = frozenset({"upstream_stream_too_long"})
"""Codes of streams that ended for a limit of ours."""


class Ongoing(Protocol):
    """The exchange that an attempt belongs to, as far as it has to know it."""

    instance: Instance
    request: ClientRequest
    plan: Plan

    def choose_next(self, after: Attempt, *, answered: bool) -> bool:
        """See `Exchange.choose_next`."""
        ...


class Attempt:
    """One try at one target. The relay calls `connected`, then one of `failed`, `rejected` (true) or
    `ended`."""

    def __init__(
        self, exchange: Ongoing, index: int, call: Call, translation: Carrier, clock: Callable[[], float]
    ) -> None:
        self.call = call
        self.translation = translation
        self.timeouts: Timeouts = exchange.instance.timeouts
        self.index = index
        self.settled = False
        """The balancer knows how it went."""
        self.status: int | None = None
        """The provider's status, once it answered."""
        self.failure: str | None = None
        """Why no answer came: a FailureKind, or "cancelled". None: one did, or may yet."""
        self.ip: str | None = None
        self.timing = Timing()
        self._exchange = exchange
        self._clock = clock
        self._began = clock()
        self._connect_ms: float | None = None
        self._sent = False

    def connected(self, ip: str, elapsed: float) -> None:
        """A connection is there (new or kept alive): the provider's address, seconds it took."""
        self.ip = ip
        self._connect_ms = elapsed * 1000
        self._sent = True

    @property
    def repeatable(self) -> bool:
        """Whether the configuration allows that a request is sent again which the provider may have acted
        on, whatever its method."""
        return self._exchange.instance.failover_criteria >= _REPEAT

    def failed(self, kind: FailureKind) -> bool:
        """No answer came. True if the exchange tries another target (by criteria, retries, method)."""
        self.failure = kind
        return self._over(kind, None)

    def reads_refusal(self, status: int) -> bool:
        """Whether `rejected` wants the body of an answer with this status."""
        extensions = self._exchange.instance.extensions
        if status in self.translation.passes:
            return False
        return status in STATUSES and getattr(extensions, "budget_failover", False) is True

    def rejected(self, status: int, headers: Headers, refusal: bytes | None = None) -> bool:
        """An answer with this status came. True if it is to be thrown away and another target tried.

        `refusal`: its body, where `reads_refusal` wanted it.
        """
        self.status = status
        if status in self.translation.passes:
            return False
        if status in REFUSED:
            self.doubt_credential()
        if refusal is not None and not self.settled:
            seconds = seconds_without_budget(status, refusal, retry_after(headers))
            if seconds is not None:
                return self._without_budget(seconds)
        criterion = _criterion(status)
        if criterion not in self._exchange.instance.failover_criteria:
            return False
        return self._over(criterion, retry_after(headers))

    def doubt_credential(self) -> None:
        """The target's credential was refused or could not be had: it may have been rotated."""
        self._exchange.instance.rotation.doubt(self.call.target)

    def refused(self, status: int, headers: Headers) -> bool:
        """While another target is asked for the same answer: whether this one's is none, by its status. The
        attempt is settled then."""
        if _criterion(status) not in self._exchange.instance.failover_criteria:
            return False
        self.status = status
        self.timing.latency = self._elapsed_ms()
        self._settle(ok=False, retry_after=retry_after(headers))
        return True

    def dropped(self, kind: FailureKind | None) -> None:
        """While another target is asked for the same answer: this one gives none. `kind` is None where the
        target is not to blame."""
        self.failure = kind
        self.timing.latency = self._elapsed_ms()
        self._settle(ok=kind not in self._exchange.instance.failover_criteria)

    def cancelled(self) -> None:
        """Another target was faster, or nobody waits any longer: nobody is to blame, but it may have cost."""
        if self.settled:
            return
        self.failure = "cancelled"
        self.timing.latency = self._elapsed_ms()
        self._count(partial=True)
        self._cost_tokens = self.call.usage.source is not UsageSource.NONE and self.call.usage.total > 0
        self._settle(ok=True, partial=True)

    def first_output(self) -> None:
        """The first byte of the answer's body goes to the client now."""
        if self.timing.first_token is None:
            self.timing.first_token = self._elapsed_ms()
            if not self._failed_by_status:
                self._exchange.instance.balancer.answering(self.index)

    def ended(self, *, partial: bool = False) -> None:
        """The answer is complete, or (`partial`) the client or the provider broke off. Further calls do
        nothing."""
        if self.settled:
            return
        self.timing.latency = self._elapsed_ms()
        if self.timing.first_token is None and not partial:
            self.timing.first_token = self.timing.latency
        running = self.translation.running
        broken = running.failed if running is not None else None
        if running is not None:
            partial = partial or broken is not None
            running.settle()
        self._count(partial)
        self._settle(ok=broken is None or not self._counts(broken), partial=partial)

    @contextmanager
    def as_if_left(self) -> Iterator[None]:
        """Usage and latency as they would be if the client left now, and afterwards as they were."""
        call, timing = self.call, self.timing
        usage, latency = call.usage, timing.latency
        call.usage = replace(usage)
        timing.latency = self._elapsed_ms()
        try:
            self._count(partial=True)
            yield
        finally:
            call.usage, timing.latency = usage, latency

    def give_up(self) -> None:
        """The exchange ends without an answer of this target; it is not to blame."""
        if not self.settled:
            self._settle(ok=True)

    @property
    def entry(self) -> Json | None:
        """This try in `tried_targets`; None if nothing could be sent."""
        upstream = self.translation.upstream
        if upstream is None:
            return None
        entry = tried_target(self.call, upstream.url, self.ip)
        if self._cost_tokens:
            entry["usage"] = attempt_usage(self.call)
        return entry

    def _over(self, criterion: str, retry_after: float | None) -> bool:
        """Whether another target is tried after this one failed by `criterion`; if so, this attempt is
        settled."""
        if self.settled:
            return False
        exchange = self._exchange
        criteria = exchange.instance.failover_criteria
        self.timing.latency = self._elapsed_ms()
        answered = self.status is not None
        counts = criterion in criteria
        repeatable = not self._sent or exchange.request.method in _IDEMPOTENT or "non_idempotent" in criteria
        if not answered:
            # The balancer shall know of it before it chooses again.
            self._settle(ok=not counts)
            return counts and repeatable and exchange.choose_next(after=self, answered=False)
        if counts and repeatable and exchange.choose_next(after=self, answered=True):
            self._abandon()
            self._settle(ok=False, retry_after=retry_after)
            return True
        # The answer goes to the client: `ended` settles, and the target has failed nevertheless.
        self._failed_by_status = counts
        self._retry_after = retry_after
        return False

    def _without_budget(self, seconds: float) -> bool:
        """Nothing was done for the request: it may be repeated whatever its method and the criteria."""
        self.timing.latency = self._elapsed_ms()
        if self._exchange.choose_next(after=self, answered=True):
            self._settle(ok=False, retry_after=seconds)
            return True
        self._failed_by_status = True
        self._retry_after = seconds
        return False

    def _counts(self, broken: ApiError) -> bool:
        """Whether a stream that broke off is the target's failure: by the criterion of its status, or, where
        the provider failed or just stopped, as any error is."""
        if broken.code in _OUR_LIMITS:
            return False
        criteria = self._exchange.instance.failover_criteria
        return _criterion(broken.status) in criteria or (broken.status >= 500 and "error" in criteria)

    def _abandon(self) -> None:
        """An answer is thrown away: note the tokens it cost, if any."""
        running = self.translation.running
        if running is not None:
            running.settle()
        usage = self.call.usage
        if usage.source is UsageSource.NONE:
            if self.status is not None and self.status < 300:
                self._count(partial=True)
        elif usage.source is UsageSource.REPORTED:
            usage.source = UsageSource.PARTIAL
        self._cost_tokens = usage.source is not UsageSource.NONE and usage.total > 0

    _cost_tokens = False
    """It failed, was followed by another attempt, and cost tokens nevertheless."""
    _failed_by_status = False
    _retry_after: float | None = None

    def _count(self, partial: bool) -> None:
        """See that the usage says something wherever an answer was made."""
        if self.status is not None and not 200 <= self.status < 300:
            return
        call = self.call
        if call.native is not None and not call.native.api.metered:
            return
        if call.usage.source is UsageSource.NONE:
            if not self._sent or self.translation.refused is not None or not self.translation.metered:
                return
            estimate(self._exchange.plan.body, self.translation.received, call, partial=partial)
        elif partial and call.finish_reasons:
            # The answer had ended already, and what was reported is all of it.
            call.usage.source = UsageSource.PARTIAL
        elif partial:
            estimate(self._exchange.plan.body, None, call, partial=True)

    def _settle(self, *, ok: bool, retry_after: float | None = None, partial: bool = False) -> None:
        self.settled = True
        usage = self.call.usage
        counted = usage.source is not UsageSource.NONE
        self._exchange.instance.balancer.ended(
            self.index,
            Outcome(
                ok=ok and not self._failed_by_status,
                connect_ms=self._connect_ms,
                latency_ms=self.timing.latency,
                time_to_first_token_ms=self.timing.first_token,
                usage=usage if counted else None,
                cost=cost(usage, self.call.options) if counted else 0.0,
                retry_after_s=retry_after if retry_after is not None else self._retry_after,
                status=self.status,
                partial=partial,
            ),
        )

    def _elapsed_ms(self) -> float:
        return (self._clock() - self._began) * 1000


def _criterion(status: int) -> str:
    return _CRITERIA.get(status) or f"http_{status}"


def retry_after(headers: Headers, now: Callable[[], float] = time.time) -> float | None:
    """Seconds a provider asks to be left alone: `retry-after` (RFC 9110, 10.2.3: seconds or a date), or
    OpenAI's finer `retry-after-ms`, which its own clients read
    (https://github.com/openai/openai-python, src/openai/_base_client.py)."""
    text = headers.get("retry-after-ms")
    if text:
        try:
            return float(text) / 1000
        except ValueError:
            pass
    text = headers.get("retry-after")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text).timestamp() - now()
    except (ValueError, OverflowError):
        return None

"""Requests to models by provider, model and consumer: what Kong's prometheus plugin does not tell.

Kong 3.9 counts requests, tokens and cost by provider and model (kong/plugins/prometheus/exporter.lua): not
by consumer, and no errors, failovers or time to the first token.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from ..accounting.cost import cost
from ..core.usage import UsageSource
from ..log import get_logger
from ..telemetry.genai import error_type
from .exposition import SUFFIX, Family

if TYPE_CHECKING:
    from ..core.http import Headers
    from ..exchange.exchange import Attempt, Exchange
    from ..exchange.tickets import Ticket

log = get_logger("relay")

T = TypeVar("T")
Labels = tuple[tuple[str, str], ...]

_NAMES: Final = ("username", "custom_id", "id")
"""Of a consumer, the first that it has."""
CONSUMER_HEADERS: Final = ("x-consumer-username", "x-consumer-custom-id", "x-consumer-id")
"""By which Kong's authentication tells an upstream who it was (kong/plugins/key-auth/handler.lua); a route
without any passes on what the client says there."""
MOST_NAMES: Final = 200
"""Models, and consumers, that are told apart; clients may name models where none is configured."""
LONGEST_NAME: Final = 256
"""Characters of a name that is told."""
OTHER: Final = "other"

DURATIONS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
FIRST_TOKENS: Final = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
TOKENS: Final = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds in seconds."""


class Histogram:
    """Counts by upper bound, for each set of labels."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts: dict[Labels, list[float]] = {}
        """The counts of each bucket, of what is above all bounds, and the sum."""

    def observe(self, value: float, labels: Labels) -> None:
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0.0] * (len(self._bounds) + 2)
        counts[bisect_left(self._bounds, value)] += 1
        counts[-1] += value

    def family(self) -> Family:
        family = Family(self._name, "histogram", self._text)
        for labels, counts in self._counts.items():
            told = dict(labels)
            total = 0
            for bound, count in zip((*self._bounds, float("inf")), counts, strict=False):
                total += int(count)
                upper = "+Inf" if bound == float("inf") else repr(bound)
                family.add(total, {SUFFIX: "_bucket", **told, "le": upper})
            family.add(counts[-1], {SUFFIX: "_sum", **told})
            family.add(total, {SUFFIX: "_count", **told})
        return family


@dataclass(slots=True)
class _Account:
    """What one consumer's requests to one model came to."""

    model: Labels
    whole: Labels
    """The consumer among them."""
    requests: dict[str, float] = field(default_factory=dict)
    """By error."""
    tokens: dict[str, float] = field(default_factory=dict)
    """By type."""
    cost: float | None = None


class LlmMetrics:
    """Adds up what exchanges came to. Prompts and answers are not looked at."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, str, str], _Account] = {}
        """By provider, model, consumer."""
        self._failovers: dict[Labels, float] = {}
        self._duration = Histogram(
            "kong_ai_proxy_llm_duration_seconds", "From the request to the end of its answer.", DURATIONS
        )
        self._first = Histogram(
            "kong_ai_proxy_llm_time_to_first_token_seconds",
            "From the request to the first output, of streams.",
            FIRST_TOKENS,
        )
        self._per_token = Histogram(
            "kong_ai_proxy_llm_time_per_token_seconds",
            "For each output token after the first, of streams.",
            TOKENS,
        )
        self._names: dict[str, set[str]] = {"model": set(), "other model": set(), "consumer": set()}
        """By kind; models that providers name must not take the places of those that were asked for."""

    def observe(self, exchange: Exchange) -> None:
        """An exchange is over. Never raises."""
        try:
            self._observe(exchange)
        except Exception:
            log.exception("metrics_not_collected")

    def _observe(self, exchange: Exchange) -> None:
        if not exchange.attempts:
            return
        consumer = self._bounded("consumer", consumer_of(exchange.ticket, exchange.request.headers))
        *failed, last = exchange.attempts
        for attempt in failed:
            account = self._of(attempt, consumer)
            _add(self._failovers, (*account.model, ("error", error_type(attempt) or "")), 1)
            self._spent(attempt, account, consumer)
        account = self._of(last, consumer)
        error = error_type(last) or ""
        _add(account.requests, error, 1)
        self._spent(last, account, consumer)
        if not error:
            self._times(last, account.model)

    def _spent(self, attempt: Attempt, account: _Account, consumer: str) -> None:
        call = attempt.call
        usage = call.usage
        if usage.source is UsageSource.NONE:
            return
        _add(account.tokens, "input", usage.prompt_tokens)
        _add(account.tokens, "output", usage.completion_tokens)
        if usage.cached_tokens:
            _add(account.tokens, "cached", usage.cached_tokens)
        account.cost = (account.cost or 0) + cost(usage, call.options)
        for other in usage.other_models:
            beside = self._account(call.provider, self._bounded("other model", other.model), consumer)
            _add(beside.tokens, "input", other.prompt_tokens)
            _add(beside.tokens, "output", other.completion_tokens)

    def _times(self, attempt: Attempt, labels: Labels) -> None:
        timing = attempt.timing
        if timing.latency is None:
            return
        self._duration.observe(timing.latency / 1000, labels)
        if not attempt.call.stream or timing.first_token is None:
            return
        self._first.observe(timing.first_token / 1000, labels)
        tokens = attempt.call.usage.completion_tokens
        if tokens > 1:
            rest = max(0.0, timing.latency - timing.first_token) / 1000
            self._per_token.observe(rest / (tokens - 1), labels)

    def _of(self, attempt: Attempt, consumer: str) -> _Account:
        call = attempt.call
        return self._account(call.provider, self._bounded("model", call.model), consumer)

    def _account(self, provider: str, model: str, consumer: str) -> _Account:
        account = self._accounts.get((provider, model, consumer))
        if account is None:
            names = (("provider", provider), ("model", model))
            account = _Account(names, (*names, ("consumer", consumer)))
            self._accounts[provider, model, consumer] = account
        return account

    def _bounded(self, kind: str, name: str) -> str:
        known = self._names[kind]
        if name in known:
            return name
        if len(known) >= MOST_NAMES or len(name) > LONGEST_NAME:
            return OTHER
        known.add(name)
        return name

    def collect(self) -> Iterator[Family]:
        requests: dict[Labels, float] = {}
        tokens: dict[Labels, float] = {}
        spent: dict[Labels, float] = {}
        for account in self._accounts.values():
            for error, number in account.requests.items():
                requests[*account.whole, ("error", error)] = number
            for kind, number in account.tokens.items():
                tokens[*account.whole, ("type", kind)] = number
            if account.cost is not None:
                spent[account.whole] = account.cost
        for name, text, samples in (
            ("requests_total", "Requests, by the target that came last; error is empty where all went well.",
             requests),
            ("failovers_total", "Attempts that failed and were followed by another target.",
             dict(self._failovers)),
            ("tokens_total", "Tokens; those of type cached are among the input.", tokens),
            ("cost_total", "What was spent, by the configured prices.", spent),
        ):  # fmt: skip
            yield Family(f"kong_ai_proxy_llm_{name}", "counter", text, samples)
        for histogram in (self._duration, self._first, self._per_token):
            yield histogram.family()


def consumer_of(ticket: Ticket, headers: Headers) -> str:
    """Whom Kong authenticated: by what Kong was asked, else by its headers where the client sent none of
    these. "" where nobody was, or nothing tells it (without the usage filter nobody looks at the client's).
    """
    known = ticket.consumer
    if known is not None:
        return next((name for key in _NAMES if isinstance(name := known.get(key), str) and name), "")
    if not ticket.unclaimed:
        return ""
    return next((headers[header] for header in CONSUMER_HEADERS if header in headers), "")


def _add(samples: dict[T, float], which: T, value: float) -> None:
    samples[which] = samples.get(which, 0) + value

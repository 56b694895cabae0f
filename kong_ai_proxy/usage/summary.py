"""Adding records up. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from .records import NOBODY, Entry, Skipped

Key = tuple[str, ...]

DIMENSIONS: Final = (
    "model", "provider", "consumer", "route", "service", "mode", "status", "day", "hour",
)  # fmt: skip
"""What can be grouped by."""
QUANTILES: Final = (50, 95, 99)
"""Percentiles that are told."""


class Distribution:
    """Milliseconds, exact to one: memory goes by how many different values there are, not by how many."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0

    def add(self, value: float) -> None:
        self._counts[round(value)] += 1
        self.count += 1

    def percentiles(self, wanted: Sequence[int] = QUANTILES) -> dict[int, int]:
        """By nearest rank: the smallest value that so many percent do not exceed. Empty without values."""
        if not self.count:
            return {}
        found: dict[int, int] = {}
        left = sorted(wanted)
        seen = 0
        for value in sorted(self._counts):
            seen += self._counts[value]
            while left and seen * 100 >= left[0] * self.count:
                found[left.pop(0)] = value
        return found


@dataclass(slots=True)
class Totals:
    """Of all, or of one group."""

    requests: int = 0
    failed_attempts: int = 0
    """Attempts that failed, were followed by another, and cost something: their tokens are in the sums."""
    judged: int = 0
    """Questions to a judge: their tokens are in the sums."""
    beside: int = 0
    """Models beside the one that answered, as advisors are: their tokens are in the sums, without a price."""
    failovers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    images: int = 0
    seconds: float = 0.0
    """Of sound or video."""
    characters: int = 0
    """Spoken."""
    cost: float = 0.0
    estimated: int = 0
    """Requests whose tokens were counted from bytes."""
    partial: int = 0
    """Requests that broke off."""
    unmetered: int = 0
    """Requests without any usage."""
    errors: Counter[int] = field(default_factory=Counter)
    """Requests by status, from 400 up."""
    latency: Distribution = field(default_factory=Distribution)
    first_token: Distribution = field(default_factory=Distribution)

    def add(self, entry: Entry) -> None:
        self.prompt_tokens += entry.prompt_tokens
        self.completion_tokens += entry.completion_tokens
        self.total_tokens += entry.total_tokens
        self.cached_tokens += entry.cached_tokens
        self.images += entry.images
        self.seconds += entry.seconds
        self.characters += entry.characters
        self.cost += entry.cost
        if not entry.request:
            self.judged += entry.judged
            self.beside += entry.beside
            self.failed_attempts += not (entry.judged or entry.beside)
            return
        self.requests += 1
        self.failovers += entry.failovers
        self.estimated += entry.source == "estimated"
        self.partial += entry.source == "partial"
        self.unmetered += not entry.metered
        if entry.status is not None and entry.status >= 400:
            self.errors[entry.status] += 1
        if entry.latency_ms is not None:
            self.latency.add(entry.latency_ms)
        if entry.first_token_ms is not None:
            self.first_token.add(entry.first_token_ms)

    @property
    def failed(self) -> int:
        """Requests answered with an error."""
        return self.errors.total()

    def to_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "cached_tokens": self.cached_tokens,
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "characters": self.characters,
            "cost": round(self.cost, 9),
            "errors": {str(status): count for status, count in sorted(self.errors.items())},
            "estimated": self.estimated,
            "partial": self.partial,
            "unmetered": self.unmetered,
            "failovers": self.failovers,
            "failed_attempts": self.failed_attempts,
            "judged": self.judged,
            "beside": self.beside,
            "llm_latency_ms": _percentiles(self.latency),
            "time_to_first_token_ms": _percentiles(self.first_token),
        }


def _percentiles(values: Distribution) -> dict[str, int]:
    return {f"p{quantile}": value for quantile, value in values.percentiles().items()}


class Summary:
    """Everything read so far."""

    def __init__(
        self,
        groupings: Iterable[Key],
        *,
        since: float | None = None,
        until: float | None = None,
        zone: tzinfo = UTC,
    ) -> None:
        """`groupings`: each some of DIMENSIONS. `since` (from) and `until` (before) in seconds since 1970;
        with either, records that tell no time are left out. `zone` decides where a day begins."""
        self.groups: dict[Key, dict[Key, Totals]] = {grouping: {} for grouping in groupings}
        self.totals = Totals()
        self.bad_lines = 0
        self.other_records = 0
        """Sound records without an AI record."""
        self.outside = 0
        """Records before `since`, from `until` on, or without a time."""
        self.first: float | None = None
        self.last: float | None = None
        self._since = since
        self._until = until
        self._zone = zone

    def add(self, read: Entry | Skipped) -> None:
        """Count what was read."""
        if isinstance(read, Skipped):
            if read.bad:
                self.bad_lines += 1
            else:
                self.other_records += 1
            return
        if not self._within(read.time):
            self.outside += read.request
            return
        if read.time is not None:
            self.first = read.time if self.first is None else min(self.first, read.time)
            self.last = read.time if self.last is None else max(self.last, read.time)
        self.totals.add(read)
        for grouping, groups in self.groups.items():
            key = tuple(self._value(read, name) for name in grouping)
            totals = groups.get(key)
            if totals is None:
                totals = groups[key] = Totals()
            totals.add(read)

    def rows(self, grouping: Key) -> list[tuple[Key, Totals]]:
        """The groups: by time where that is the first dimension, else the most expensive first."""
        groups = self.groups[grouping]
        if grouping[0] in ("day", "hour"):
            return sorted(groups.items(), key=lambda row: row[0])
        return sorted(
            groups.items(), key=lambda row: (-row[1].cost, -row[1].total_tokens, -row[1].requests, row[0])
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "from": self.moment(self.first),
            "to": self.moment(self.last),
            "totals": self.totals.to_json(),
            "groups": [
                {
                    "by": list(grouping),
                    "rows": [
                        {"group": dict(zip(grouping, key, strict=True)), **totals.to_json()}
                        for key, totals in self.rows(grouping)
                    ],
                }
                for grouping in self.groups
            ],
            "bad_lines": self.bad_lines,
            "other_records": self.other_records,
            "outside": self.outside,
        }

    def moment(self, time: float | None) -> str | None:
        """A time as text, in the zone of this summary."""
        return None if time is None else self._local(time).isoformat(timespec="seconds")

    def _within(self, time: float | None) -> bool:
        if self._since is None and self._until is None:
            return True
        if time is None:
            return False
        return (self._since is None or time >= self._since) and (self._until is None or time < self._until)

    def _value(self, entry: Entry, dimension: str) -> str:
        return _VALUES[dimension](self, entry)

    def _local(self, time: float) -> datetime:
        return datetime.fromtimestamp(min(time, _LATEST), self._zone)

    def _day(self, entry: Entry) -> str:
        return NOBODY if entry.time is None else f"{self._local(entry.time):%Y-%m-%d}"

    def _hour(self, entry: Entry) -> str:
        return NOBODY if entry.time is None else f"{self._local(entry.time):%Y-%m-%d %H:00}"


_LATEST: Final = 253402128000.0
"""The end of what a datetime can say, less a day for the zone."""


def _status(entry: Entry) -> str:
    return NOBODY if entry.status is None else str(entry.status)


_VALUES: Final[dict[str, Callable[[Summary, Entry], str]]] = {
    "model": lambda _, entry: entry.model,
    "provider": lambda _, entry: entry.provider,
    "consumer": lambda _, entry: entry.consumer,
    "route": lambda _, entry: entry.route,
    "service": lambda _, entry: entry.service,
    "mode": lambda _, entry: entry.mode,
    "status": lambda _, entry: _status(entry),
    "day": Summary._day,
    "hour": Summary._hour,
}

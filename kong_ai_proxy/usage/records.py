"""From a line of a log to what is counted.

A line is a record of Kong's file-log or http-log (`ai.proxy` as Kong's reference has it,
https://developer.konghq.com/ai-gateway/ai-audit-log-reference/; `ai.ai-proxy` before Kong 3.10), a JSON
list of such records (http-log in batches), or an event "usage" or "judged" of the plugin server's own log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from ..core.json import Json, loads_lenient

NOBODY: Final = "-"
"""Where a record does not tell: no consumer, no route, no model."""

_KEYS: Final = ("proxy", "ai-proxy")
_EVENTS: Final = frozenset({"usage", "judged"})
"""Of the plugin server's own log."""
_MARKS: Final = frozenset({"ai", "response", "component"})
"""Some of which each record has, Kong's or the plugin server's."""
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]*m")
_LONGEST_PREFIX: Final = 200
_JUDGE: Final = "ai-llm-as-judge"
_METERED: Final = (
    "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "images",
    "seconds", "characters", "cost",
)  # fmt: skip
_MOST: Final = 1e15
"""What is larger is no count of anything, nor a time, and would spoil all sums."""
JUDGE: Final = "judge"
"""The mode of questions to a judge."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is counted of one request, or of one attempt that failed and still cost something."""

    time: float | None = None
    """Seconds since 1970."""
    provider: str = NOBODY
    model: str = NOBODY
    consumer: str = NOBODY
    route: str = NOBODY
    service: str = NOBODY
    mode: str = NOBODY
    """"oneshot", "stream", "realtime" or "judge"."""
    status: int | None = None
    """What the client got; None in the plugin server's own lines."""
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
    """In the currency of the configured prices."""
    latency_ms: float | None = None
    first_token_ms: float | None = None
    source: str = ""
    """"estimated" or "partial"; else the numbers are the provider's own."""
    metered: bool = False
    """The record has a usage with a number in it that can be counted."""
    failovers: int = 0
    """Targets tried before the last."""
    request: bool = True
    """False for an attempt before the last one, for a question to a judge, and for a model beside the one
    that answered: tokens, but no request of its own."""
    judged: bool = False
    """A question to a judge."""
    beside: bool = False
    """The tokens of a model that had a part in another's answer, as an advisor has: no request of its own,
    and without a price."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line or record that is not counted."""

    bad: bool
    """Not JSON, or no JSON object; else a sound record that has nothing to do with AI."""


def read_line(line: bytes, *, everything: bool = False) -> Iterator[Entry | Skipped]:
    """What a line holds; nothing for an empty one. `everything`: records of requests without an `ai.proxy`
    record count too, for they may have been refused before a provider was asked."""
    line = line.strip()
    if not line:
        return
    try:
        told = loads_lenient(line)
    except ValueError:
        told = _behind_a_prefix(line)
    for record in told if isinstance(told, list) else [told]:
        yield from read_record(record, everything=everything)


def _behind_a_prefix(line: bytes) -> Json | None:
    """A record behind what container engines put before it, in colour: `kong-1  | {"ai": …}`."""
    plain = _COLOUR.sub(b"", line)
    start, end = plain.find(b'{"'), plain.rfind(b"}")
    try:
        told = loads_lenient(plain[start : end + 1]) if 0 <= start <= _LONGEST_PREFIX else None
    except ValueError:
        return None
    # An error log's lines have JSON behind something, too.
    return told if isinstance(told, dict) and _MARKS & told.keys() else None


def read_record(record: Any, *, everything: bool = False) -> Iterator[Entry | Skipped]:
    """What a record holds: its request, and the earlier attempts that cost something."""
    if not isinstance(record, dict):
        yield Skipped(bad=True)
        return
    own = "event" in record and "component" in record
    if own and record["event"] not in _EVENTS:
        yield Skipped(bad=False)
        return
    ai = _table(record.get("ai"))
    judge = _table(ai.get(_JUDGE))
    if isinstance(judge.get("judged"), dict):
        # Without it, it is a record of Kong's own plugin, whose usage is that of the answer.
        yield replace(
            _entry(record, judge),
            mode=JUDGE,
            judged=True,
            request=False,
            latency_ms=None,
            first_token_ms=None,
            failovers=0,
        )
        return
    told = next((ai[key] for key in _KEYS if isinstance(ai.get(key), dict)), None)
    if told is None and not (everything and isinstance(record.get("response"), dict)):
        yield Skipped(bad=False)
        return
    entry = _entry(record, told or {})
    yield entry
    yield from _other_models(entry, _table((told or {}).get("usage")))
    for tried in _tables((told or {}).get("tried_targets")):
        usage = tried.get("usage")
        if isinstance(usage, dict):
            failed = _failed_attempt(entry, tried, usage)
            yield failed
            yield from _other_models(failed, usage)


def _entry(record: Json, told: Json) -> Entry:
    meta, usage = _table(told.get("meta")), _table(told.get("usage"))
    tried = _tables(told.get("tried_targets"))
    last = tried[-1] if tried else {}
    prompt = _whole(usage.get("prompt_tokens", usage.get("input_tokens")))
    completion = _whole(usage.get("completion_tokens", usage.get("output_tokens")))
    details = _table(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    consumer, route, service = (_table(record.get(name)) for name in ("consumer", "route", "service"))
    return Entry(
        time=_time(record),
        provider=_name(meta.get("provider_name"), last.get("provider")),
        model=_name(meta.get("request_model"), meta.get("response_model"), last.get("model")),
        consumer=_name(consumer.get("username"), consumer.get("custom_id"), consumer.get("id")),
        route=_name(route.get("name"), route.get("id")),
        service=_name(service.get("name"), service.get("id")),
        mode=_name(meta.get("request_mode")),
        status=_whole(_table(record.get("response")).get("status")) or None,
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_whole(usage.get("total_tokens")) or prompt + completion,
        cached_tokens=_whole(details.get("cached_tokens")),
        **_billed_otherwise(usage),
        cost=_number(usage.get("cost")) or 0.0,
        latency_ms=_number(meta.get("llm_latency")),
        first_token_ms=_number(usage.get("time_to_first_token")),
        source=usage["source"] if usage.get("source") in ("estimated", "partial") else "",
        metered=any(_number(usage.get(name)) is not None for name in _METERED),
        failovers=max(0, len(tried) - 1),
    )


def _failed_attempt(entry: Entry, tried: Json, usage: Json) -> Entry:
    """Its tokens are those of the target that was tried, not of the one that answered."""
    prompt, completion = _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens"))
    return replace(
        entry,
        provider=_name(tried.get("provider")),
        model=_name(tried.get("model")),
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_whole(usage.get("total_tokens")) or prompt + completion,
        cached_tokens=0,
        **_billed_otherwise(usage),
        cost=_number(usage.get("cost")) or 0.0,
        latency_ms=None,
        first_token_ms=None,
        source="",
        failovers=0,
        request=False,
    )


def _other_models(entry: Entry, usage: Json) -> Iterator[Entry]:
    """What other models used, each under its own name."""
    for other in _tables(usage.get("other_models")):
        prompt, completion = _whole(other.get("prompt_tokens")), _whole(other.get("completion_tokens"))
        yield replace(
            entry,
            model=_name(other.get("model")),
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            cached_tokens=0,
            **_billed_otherwise({}),
            cost=0.0,
            latency_ms=None,
            first_token_ms=None,
            source="",
            failovers=0,
            request=False,
            beside=True,
        )


def _billed_otherwise(usage: Json) -> dict[str, Any]:
    """What providers bill instead of tokens."""
    return {
        "images": _whole(usage.get("images")),
        "seconds": _number(usage.get("seconds")) or 0.0,
        "characters": _whole(usage.get("characters")),
    }


def _time(record: Json) -> float | None:
    started = _number(record.get("started_at"))
    if started is not None:
        return started / 1000
    told = record.get("time")
    if isinstance(told, str):
        try:
            moment = datetime.fromisoformat(told)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None


def _table(value: Any) -> Json:
    """An empty Lua table is a list in JSON."""
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _name(*values: Any) -> str:
    return next((value for value in values if isinstance(value, str) and value), NOBODY)


def _number(value: Any) -> float | None:
    """A number that is not negative, and no more than there can be of anything; some log pipelines turn
    numbers into text."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST else None


def _whole(value: Any) -> int:
    return int(_number(value) or 0)

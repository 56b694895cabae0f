"""What is read of a record, and how records add up."""

from __future__ import annotations

import io
import json
from datetime import UTC
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kong_ai_proxy import log as logs
from kong_ai_proxy.usage.records import Entry, Skipped, read_line, read_record
from kong_ai_proxy.usage.summary import Distribution, Summary
from kong_ai_proxy.usage.text import as_table

NOON = 1769860800.0
"""2026-01-31T12:00:00Z."""


def record(**changes):
    """A record as Kong's file-log writes it."""
    proxy = {
        "meta": {
            "provider_name": "openai", "request_model": "gpt-4o", "response_model": "gpt-4o-2024-08-06",
            "request_mode": "stream", "llm_latency": 900,
        },
        "usage": {
            "prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 20}, "completion_tokens": 50,
            "total_tokens": 150, "cost": 0.002, "time_to_first_token": 200, "time_per_token": 18.0,
        },
        "tried_targets": [{"provider": "openai", "model": "gpt-4o", "host": "api.openai.com"}],
    }  # fmt: skip
    whole = {
        "started_at": int(NOON * 1000),
        "response": {"status": 200},
        "consumer": {"username": "alice", "id": "c1"},
        "route": {"name": "chat"},
        "service": {"name": "ai"},
        "ai": {"proxy": proxy},
    }
    for name, value in changes.items():
        if name in proxy:
            proxy[name] = value
        else:
            whole[name] = value
    return whole


def summed(*records, by=(("model",),), **options):
    summary = Summary(by, **options)
    for each in records:
        for read in read_record(each):
            summary.add(read)
    return summary


def test_a_record_of_kongs():
    [entry] = read_line(json.dumps(record()).encode() + b"\n")
    assert entry == Entry(
        time=NOON, provider="openai", model="gpt-4o", consumer="alice", route="chat", service="ai",
        mode="stream", status=200,
        prompt_tokens=100, completion_tokens=50, total_tokens=150, cached_tokens=20, cost=0.002,
        latency_ms=900.0, first_token_ms=200.0, metered=True,
    )  # fmt: skip


def test_the_key_before_kong_310_and_a_batch_of_http_log():
    old = record()
    old["ai"] = {"ai-proxy": old["ai"]["proxy"]}
    entries = list(read_line(json.dumps([old, record()]).encode()))
    assert entries[0] == entries[1]
    assert len(entries) == 2


def test_a_line_of_the_plugin_servers_own_log():
    out = io.StringIO()
    logs.configure("info", out)
    try:
        logs.get_logger("relay").info("usage", ai={"proxy": record()["ai"]["proxy"]})
        logs.get_logger("relay").info("listening", port=8125)
    finally:
        logs.configure("info")
    usage, other = out.getvalue().splitlines()
    [entry] = read_line(usage.encode())
    assert (entry.model, entry.total_tokens, entry.first_token_ms) == ("gpt-4o", 150, 200.0)
    assert entry.time is not None
    assert entry.status is None
    assert list(read_line(other.encode())) == [Skipped(bad=False)]


def test_tokens_that_are_not_text():
    usage = {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 3}, "output_tokens": 7, "cost": 1}
    [entry] = read_record(record(usage=usage))
    assert (entry.prompt_tokens, entry.completion_tokens, entry.total_tokens) == (30, 7, 37)
    assert entry.cached_tokens == 3


def test_only_the_target_is_known():
    only_tried = record()
    only_tried["ai"] = {
        "proxy": {"tried_targets": [{"provider": "cohere"}, {"provider": "xai", "model": "grok"}]}
    }
    [entry] = read_record(only_tried)
    assert (entry.provider, entry.model, entry.metered, entry.failovers) == ("xai", "grok", False, 1)


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"17", b'"text"', b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_bad_lines_are_counted_and_harm_nothing(line):
    reads = list(read_line(line))
    assert reads == [Skipped(bad=True)]


def test_an_empty_line_is_nothing():
    assert list(read_line(b"  \r\n")) == []


def test_requests_without_an_ai_record_count_where_asked_for():
    plain = {"started_at": 1, "response": {"status": 401}, "route": {"name": "chat"}}
    assert list(read_record(plain)) == [Skipped(bad=False)]
    [entry] = read_record(plain, everything=True)
    assert isinstance(entry, Entry)
    assert (entry.status, entry.route, entry.metered) == (401, "chat", False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
OUTER = ("started_at", "time", "response", "consumer", "route", "service")
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(OUTER, JSON))
PROXY = st.fixed_dictionaries({}, optional={
    "meta": JSON | st.fixed_dictionaries({"provider_name": JSON, "llm_latency": JSON}),
    "usage": JSON | st.fixed_dictionaries({"prompt_tokens": JSON, "cost": JSON, "source": JSON}),
    "tried_targets": JSON | st.lists(st.fixed_dictionaries({"usage": JSON | st.just({}), "provider": JSON})),
})  # fmt: skip


@pytest.mark.parametrize(
    "usage",
    [
        "x", 5, None, [], [1], {}, {"prompt_tokens": "many"},
        {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -12, "cost": "NaN"},
        {"prompt_tokens": float("inf"), "cost": float("nan"), "images": True, "seconds": {}},
        {"prompt_tokens": 1e308, "completion_tokens": 10**400, "cost": "1e308", "time_to_first_token": 1e308},
    ],
)  # fmt: skip
def test_a_request_with_an_odd_usage_is_a_request_and_adds_nothing(usage):
    told = summed(record(), record(usage=usage), record(usage=usage)).to_json()
    sound = summed(record()).to_json()["totals"]
    assert told["totals"] == {**sound, "requests": 3, "unmetered": 2}
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400, "9" * 5000])
def test_a_number_beyond_all_others_is_none_and_leaves_the_line_readable(number):
    line = json.dumps(record()).replace('"prompt_tokens": 100', f'"prompt_tokens": {number}').encode()
    assert number.encode() in line
    (entry,) = read_line(line)
    assert (entry.prompt_tokens, entry.completion_tokens, entry.metered) == (0, 50, True)


def test_what_is_sound_of_an_odd_usage_is_counted():
    totals = summed(record(usage={"prompt_tokens": "7", "completion_tokens": -1, "cost": "NaN"})).totals
    assert (totals.requests, totals.unmetered) == (1, 0)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.total_tokens, totals.cost) == (7, 0, 7, 0)


@given(FIELDS, PROXY)
def test_any_record_can_be_added(fields, proxy):
    summary = summed({**fields, "ai": {"proxy": proxy}}, by=[("day",), ("hour", "model", "status", "mode")])
    assert summary.totals.requests == 1
    told = summary.to_json()
    json.dumps(told, allow_nan=False)
    assert told["totals"]["total_tokens"] >= 0


def test_totals():
    own = record(usage={"prompt_tokens": 4, "completion_tokens": 1, "cost": 0.5, "source": "estimated"})
    broken = record(usage={"prompt_tokens": 4, "completion_tokens": 1, "cost": 0, "source": "partial"})
    nothing = record(usage={}, response={"status": 500})
    totals = summed(record(), own, broken, nothing, record(response={"status": 429})).totals
    assert totals.requests == 5
    assert (totals.estimated, totals.partial, totals.unmetered) == (1, 1, 1)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.total_tokens) == (208, 102, 310)
    assert totals.cost == pytest.approx(0.504)
    assert totals.errors == {429: 1, 500: 1}
    assert totals.failed == 2


def test_what_a_failed_attempt_cost_is_its_own_targets():
    failed = {
        "provider": "anthropic", "model": "claude",
        "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8, "cost": 0.01},
    }  # fmt: skip
    summary = summed(record(tried_targets=[failed, {"provider": "openai", "model": "gpt-4o"}]))
    assert summary.totals.requests == 1
    assert summary.totals.failovers == 1
    assert summary.totals.failed_attempts == 1
    assert summary.totals.total_tokens == 158
    rows = dict(summary.rows(("model",)))
    assert (rows[("claude",)].requests, rows[("claude",)].total_tokens) == (0, 8)
    assert (rows[("gpt-4o",)].requests, rows[("gpt-4o",)].total_tokens) == (1, 150)


def test_groups_come_the_most_expensive_first_and_days_in_order():
    later = record(started_at=int((NOON + 86400) * 1000))
    dear = record(meta={"provider_name": "openai", "request_model": "o1"}, usage={"cost": 9})
    summary = summed(later, dear, record(), by=[("model",), ("day",), ("provider", "model")])
    assert [key for key, _ in summary.rows(("model",))] == [("o1",), ("gpt-4o",)]
    assert [key for key, _ in summary.rows(("day",))] == [("2026-01-31",), ("2026-02-01",)]
    assert [key for key, _ in summary.rows(("provider", "model"))] == [("openai", "o1"), ("openai", "gpt-4o")]


def test_a_day_begins_where_the_reader_is():
    late = record(started_at=int((NOON + 11.5 * 3600) * 1000))  # 23:30 UTC
    assert list(summed(late, by=[("day",)], zone=UTC).groups[("day",)]) == [("2026-01-31",)]
    berlin = summed(late, by=[("day",), ("hour",)], zone=ZoneInfo("Europe/Berlin"))
    assert list(berlin.groups[("day",)]) == [("2026-02-01",)]
    assert list(berlin.groups[("hour",)]) == [("2026-02-01 00:00",)]


def test_a_period_takes_its_beginning_and_leaves_its_end():
    def at(seconds):
        return record(started_at=int((NOON + seconds) * 1000))

    untimed = record()
    del untimed["started_at"]
    summary = summed(at(-1), at(0), at(9), at(10), untimed, since=NOON, until=NOON + 10)
    assert summary.totals.requests == 2
    assert summary.outside == 3


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=300))
def test_percentiles_are_exact(values):
    spread = Distribution()
    for value in values:
        spread.add(value)
    ordered = sorted(values)
    for quantile, found in spread.percentiles((1, 50, 95, 99, 100)).items():
        rank = -(-quantile * len(values) // 100)
        assert found == ordered[max(rank, 1) - 1]


def test_no_values_no_percentiles():
    assert Distribution().percentiles() == {}


JUDGED = {
    "time": "2026-01-31T12:00:00.000Z", "level": "info", "component": "judge", "event": "judged",
    "ai": {"ai-llm-as-judge": {
        "meta": {"provider_name": "openai", "request_model": "gpt-4o", "llm_latency": 300},
        "usage": {"prompt_tokens": 120, "completion_tokens": 2, "cost": 0.5, "llm_accuracy": 88},
        "judged": {"provider": "openai", "model": "gpt-4.1-mini", "target": 1},
    }},
}  # fmt: skip


def test_a_judges_tokens_are_in_the_sums_under_its_own_model():
    (entry,) = read_line(json.dumps(JUDGED).encode())
    assert isinstance(entry, Entry) and entry.judged
    assert (entry.mode, entry.model, entry.prompt_tokens, entry.cost) == ("judge", "gpt-4o", 120, 0.5)
    summary = Summary({("mode",): None})
    summary.add(entry)
    assert summary.totals.requests == summary.totals.failed_attempts == 0
    assert summary.totals.judged == 1 and summary.totals.total_tokens == 122
    assert "1 judged answer whose judge's tokens are in the sums" in as_table(summary)


def test_the_record_of_kongs_own_judge_is_not_counted_twice():
    record = {**JUDGED, "ai": {"ai-llm-as-judge": {**JUDGED["ai"]["ai-llm-as-judge"], "judged": None}}}
    del record["component"]
    assert [type(each) for each in read_line(json.dumps(record).encode())] == [Skipped]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"kong-1  | ", b""),
        (b"\x1b[1;32m[kong] |\x1b[0m \x1b[37m", b"\x1b[0m"),
        (b"2026-01-31T12:00:00.000Z stdout F ", b""),
        (b"[pod/kong-7c9/proxy] ", b"\r"),
    ],
)
def test_records_behind_what_container_engines_put_before_them(before: bytes, after: bytes) -> None:
    line = json.dumps(record()).encode()
    assert list(read_line(before + line + after)) == list(read_line(line))


@pytest.mark.parametrize(
    "line",
    [
        b'kong-1  | 2026/01/31 [error] 1#1: upstream said {"error": {"message": "no"}}',
        b"kong-1  | nginx: [warn] a line {",
        b"x" * 300 + b'{"ai": {}}',
        b'kong-1  | {"ai": {"proxy": ',
        b"kong-1  | }",
    ],
)
def test_other_lines_are_none(line: bytes) -> None:
    assert list(read_line(line)) == [Skipped(bad=True)]


def test_an_advisors_tokens_are_in_the_sums_under_its_own_model() -> None:
    advisor = {"model": "wise", "prompt_tokens": 200, "completion_tokens": 40}
    told = record()
    told["ai"]["proxy"]["usage"]["other_models"] = [advisor, "odd"]
    told["ai"]["proxy"]["tried_targets"] = [
        {"provider": "anthropic", "model": "first", "usage": {"prompt_tokens": 1, "other_models": [advisor]}},
        {"provider": "openai"},
    ]
    entry, beside, failed, first = (each for each in read_line(json.dumps(told).encode()))
    assert isinstance(entry, Entry) and isinstance(beside, Entry) and isinstance(first, Entry)
    assert (beside.model, beside.prompt_tokens, beside.total_tokens, beside.cost) == ("wise", 200, 240, 0.0)
    assert (first.provider, first.model, first.prompt_tokens) == ("anthropic", "wise", 200)
    summary = Summary([("model",)])
    for each in (entry, beside, failed, first):
        summary.add(each)
    totals = summary.totals
    assert (totals.requests, totals.failed_attempts, totals.beside, totals.cost) == (1, 1, 2, entry.cost)
    assert totals.prompt_tokens == entry.prompt_tokens + 401
    assert summary.groups[("model",)][("wise",)].prompt_tokens == 400
    assert "2 uses of a model beside the one asked (an advisor)" in as_table(summary)

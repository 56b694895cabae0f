"""Requests to models as /metrics tells them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import (
    advanced,
    answered,
    chunk,
    client_request,
    open_exchange,
    openai_answer,
    proxy,
    sse,
    target_config,
)
from gevent import sleep

from kong_ai_proxy.core.usage import OtherModel
from kong_ai_proxy.metrics.exposition import expose
from kong_ai_proxy.metrics.llm import LONGEST_NAME, MOST_NAMES, LlmMetrics

OPTIONS = {"input_cost": 1.0, "output_cost": 10.0}


def samples(metrics: LlmMetrics) -> dict[str, float]:
    lines = expose(metrics.collect()).decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name.removeprefix("kong_ai_proxy_llm_"): float(value) for name, _, value in pairs}


KONGS = {"x-consumer-username": "alice", "x-consumer-custom-id": "a-1", "x-consumer-id": "1"}


@pytest.mark.parametrize(
    ("unclaimed", "consumer", "headers", "told"),
    [
        (True, None, KONGS, "alice"),
        (True, None, {"x-consumer-id": "1", "x-consumer-custom-id": "a-1"}, "a-1"),
        (True, None, {}, ""),
        # The client's own word, or nobody can tell whose it is.
        (False, None, KONGS, ""),
        (False, {}, KONGS, ""),
        # Kong was asked.
        (False, {"id": "2", "username": "bob"}, KONGS, "bob"),
        (True, {"id": "2", "username": None, "custom_id": ""}, KONGS, "2"),
        (True, {}, KONGS, ""),
        (True, {"username": ["odd"]}, KONGS, ""),
    ],
)
def test_the_consumer_is_whom_kong_authenticated(
    unclaimed: bool, consumer: Any, headers: dict[str, str], told: str
) -> None:
    metrics = LlmMetrics()
    exchange = answered(proxy(), openai_answer(), client_request(headers=headers)).exchange
    exchange.ticket.unclaimed, exchange.ticket.consumer = unclaimed, consumer
    metrics.observe(exchange)
    [name] = [each for each in samples(metrics) if each.startswith("requests_total")]
    assert f'consumer="{told}"' in name


def test_a_chat_and_a_stream() -> None:
    metrics = LlmMetrics()
    instance = proxy(options=OPTIONS)
    request = client_request(headers={"x-consumer-username": "alice", "x-consumer-id": "1"})
    exchange = answered(instance, openai_answer(), request).exchange
    exchange.ticket.unclaimed = True
    metrics.observe(exchange)
    usage = openai_answer()["usage"]
    told = samples(metrics)
    labels = 'provider="openai",model="gpt-4o"'
    assert told[f'requests_total{{{labels},consumer="alice",error=""}}'] == 1
    assert told[f'tokens_total{{{labels},consumer="alice",type="input"}}'] == usage["prompt_tokens"]
    assert told[f'tokens_total{{{labels},consumer="alice",type="output"}}'] == usage["completion_tokens"]
    spent = (usage["prompt_tokens"] + 10 * usage["completion_tokens"]) / 1e6
    assert told[f'cost_total{{{labels},consumer="alice"}}'] == pytest.approx(spent)
    assert told[f"duration_seconds_count{{{labels}}}"] == 1
    assert not [name for name in told if name.startswith("time_to_first")]

    exchange = open_exchange(
        instance, client_request({"messages": [{"role": "user", "content": "x"}], "stream": True})
    )
    attempt = exchange.next_attempt()
    assert attempt is not None
    attempt.translation.request()
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    counted = {"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 2}}
    stream.feed(sse(chunk({"content": "Hi"}), chunk({}, "stop"), chunk(usage=counted), "[DONE]"))
    attempt.first_output()
    sleep(0.003)
    stream.finish()
    attempt.ended()
    metrics.observe(exchange)
    told = samples(metrics)
    assert told[f'tokens_total{{{labels},consumer="",type="cached"}}'] == 2
    assert told[f"time_to_first_token_seconds_count{{{labels}}}"] == 1
    assert told[f'time_to_first_token_seconds_bucket{{{labels},le="+Inf"}}'] == 1
    assert told[f"time_per_token_seconds_sum{{{labels}}}"] >= 0.001
    assert told[f'time_per_token_seconds_bucket{{{labels},le="0.002"}}'] in (0, 1)
    assert told[f'duration_seconds_bucket{{{labels},le="0.1"}}'] == 2


def test_failovers_and_errors() -> None:
    metrics = LlmMetrics()
    instance = advanced(
        target_config("openai", "a"),
        target_config("anthropic", "b"),
        balancer={"failover_criteria": ["http_503", "non_idempotent"], "algorithm": "priority"},
    )
    exchange = open_exchange(instance)
    for status in (503, 429):
        attempt = exchange.next_attempt()
        assert attempt is not None
        attempt.translation.request()
        attempt.connected("127.0.0.1", 0.0)
        if not attempt.rejected(status, {}):
            attempt.translation.response(status, {}, b"{}")
            attempt.ended()
    metrics.observe(exchange)
    told = samples(metrics)
    (failed,) = [name for name in told if name.startswith("failovers")]
    assert 'error="503"' in failed
    (request,) = [name for name in told if name.startswith("requests")]
    assert 'error="429"' in request
    assert not [name for name in told if name.startswith("duration")]


def test_names_are_bounded_and_nothing_raises(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = LlmMetrics()
    instance = proxy(name=None)
    for number in range(MOST_NAMES + 5):
        body: Any = {"model": f"m{number}", "messages": [{"role": "user", "content": "x"}]}
        metrics.observe(
            answered(instance, json.dumps(openai_answer()).encode(), client_request(body)).exchange
        )
    told = samples(metrics)
    assert told['requests_total{provider="openai",model="other",consumer="",error=""}'] == 5
    refused = open_exchange(
        instance, client_request({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    )
    metrics.observe(refused)
    broken: Any = object()
    metrics.observe(broken)
    assert samples(metrics) == told


def test_other_models_tokens_count_under_their_own_names() -> None:
    metrics = LlmMetrics()
    exchange = answered(proxy(options=OPTIONS), openai_answer()).exchange
    exchange.attempts[-1].call.usage.other_models = (OtherModel("wise", 200, 40),)
    metrics.observe(exchange)
    told = samples(metrics)
    found = {name: value for name, value in told.items() if 'model="wise"' in name}
    assert {name.partition("{")[0] for name in found} == {"tokens_total"}
    assert [value for name, value in sorted(found.items())] == [200.0, 40.0]
    assert sum(name.startswith("cost_total") for name in told) == 1


def test_names_that_providers_give_take_nobodys_place() -> None:
    metrics = LlmMetrics()
    exchange = answered(proxy(), openai_answer()).exchange
    names = [*(f"m{number}" for number in range(MOST_NAMES + 3)), "m" * (LONGEST_NAME + 1)]
    exchange.attempts[-1].call.usage.other_models = tuple(OtherModel(name, 1, 1) for name in names)
    metrics.observe(exchange)
    body = {"model": "asked", "messages": [{"role": "user", "content": "x"}]}
    metrics.observe(answered(proxy(name=None), openai_answer(), client_request(body)).exchange)
    told = samples(metrics)
    assert told['tokens_total{provider="openai",model="other",consumer="",type="input"}'] == 4
    assert told['requests_total{provider="openai",model="asked",consumer="",error=""}'] == 1
    assert not [name for name in told if "m" * (LONGEST_NAME + 1) in name]

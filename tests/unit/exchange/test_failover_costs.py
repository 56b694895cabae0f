"""What failed attempts leave behind: tokens that were paid, targets that want to be left alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import advanced, client_request, first_attempt, target_config

from kong_ai_proxy.balancer.base import Asked, Outcome
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import Headers
from kong_ai_proxy.exchange.attempt import retry_after
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket

BODY = {"messages": [{"role": "user", "content": "x" * 40}]}
CRITERIA = ["error", "timeout", "http_429", "http_503", "non_idempotent"]


def two(*, budget: bool = False, criteria: list[str] | None = None, **balancer: Any) -> Instance:
    return advanced(
        target_config("anthropic", "claude-sonnet-4-5", options={"input_cost": 1000.0}),
        target_config("openai", "gpt-4o"),
        balancer={"failover_criteria": CRITERIA if criteria is None else criteria, **balancer},
        kong_ai_proxy={"budget_failover": budget},
    )


def refused(instance: Instance, status: int, body: Any = b"", headers: Headers | None = None) -> bool:
    """Whether another target is tried after the first one's refusal."""
    exchange, attempt = first_attempt(instance, client_request(BODY))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.01)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    refusal = data if attempt.reads_refusal(status) else None
    rejected = attempt.rejected(status, headers or {}, refusal)
    if not rejected:
        attempt.translation.response(status, {"content-type": "application/json"}, data)
        attempt.first_output()
        attempt.ended()
    exchange.record()
    return rejected


def picks(instance: Instance, count: int = 8) -> set[int | None]:
    asked = Asked(client_request(BODY))
    return {instance.balancer.pick([0, 1], [], asked) for _ in range(count)}


# Tokens of attempts that were thrown away.


def message_start(tokens: int) -> bytes:
    message = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": []}
    usage = {"input_tokens": tokens, "output_tokens": 1}
    event = {"type": "message_start", "message": {**message, "usage": usage}}
    return b"event: message_start\ndata: %b\n\n" % json.dumps(event).encode()


OVERLOADED = (
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
)


def test_tokens_of_a_stream_that_failed_before_its_first_word_are_metered() -> None:
    instance = two()
    exchange, first = first_attempt(instance, client_request({**BODY, "stream": True}))
    first.translation.request()
    first.connected("192.0.2.1", 0.01)
    assert not first.rejected(200, {})
    stream = first.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    stream.feed(message_start(50) + OVERLOADED)
    assert stream.failed is not None
    assert first.rejected(stream.failed.status, {}), "529 is as good as 503"
    second = exchange.next_attempt()
    assert second is not None
    second.translation.request()
    record = exchange.record()
    assert record is not None
    failed, last = record["tried_targets"]
    assert failed["provider"] == "anthropic"
    assert failed["usage"]["prompt_tokens"] == 50
    assert failed["usage"]["cost"] >= 0.05
    assert "usage" not in last


def test_an_answer_that_breaks_off_costs_its_prompt() -> None:
    exchange, first = first_attempt(two(), client_request(BODY))
    first.translation.request()
    first.connected("192.0.2.1", 0.01)
    assert not first.rejected(200, {})
    assert first.failed("error")
    assert exchange.next_attempt() is not None
    [failed] = (exchange.record() or {})["tried_targets"]
    assert failed["usage"]["prompt_tokens"] == 10


@pytest.mark.parametrize("status", [429, 503])
def test_refusals_cost_nothing(status: int) -> None:
    exchange, first = first_attempt(two(), client_request(BODY))
    first.translation.request()
    first.connected("192.0.2.1", 0.01)
    assert first.rejected(status, {})
    [failed] = (exchange.record() or {})["tried_targets"]
    assert "usage" not in failed


# Retry-After.


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10.0),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: Headers, seconds: float | None) -> None:
    assert retry_after(headers, lambda: 1000.0) == seconds


def test_the_target_is_left_alone_for_as_long() -> None:
    instance = two()
    assert refused(instance, 429, headers={"retry-after": "30"})
    assert picks(instance) == {1}


def test_also_where_the_refusal_is_the_clients_answer() -> None:
    instance = two(retries=0)
    assert not refused(instance, 429, headers={"retry-after": "30"})
    assert picks(instance) == {1}


def test_not_where_the_status_is_no_criterion() -> None:
    instance = two(criteria=["error"])
    assert not refused(instance, 429, headers={"retry-after": "30"})
    assert picks(instance) == {0, 1}


def test_when_all_want_to_be_left_alone_the_client_is_told_for_how_long() -> None:
    instance = two()
    for _ in range(2):
        refused(instance, 429, headers={"retry-after": "30"})
    ticket = Ticket(instance, filter_installed=True, buffered=False)
    exchange = Exchange.open(ticket, client_request(BODY))
    with pytest.raises(ApiError) as caught:
        exchange.next_attempt()
    answer = exchange.refuse(caught.value)
    assert answer.status == 429
    assert answer.headers["retry-after"] == "30"
    assert json.loads(answer.body)["error"]["code"] == "rate_limit_exceeded"


# Budget.

NO_BUDGET = [
    (429, {"error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "quota"}}),
    (429, {"error": {"type": "insufficient_quota", "code": "project_spend_limit_exceeded"}}),
    (400, {"error": {"type": "invalid_request_error", "code": "billing_hard_limit_reached"}}),
    (
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
    ),
    (402, {"error": {"message": "Insufficient Balance"}}),
    (402, b"no JSON at all"),
    (429, [{"error": {"code": 429, "message": "You exceeded your current quota, please check"}}]),
]


@pytest.mark.parametrize(("status", "body"), NO_BUDGET)
def test_a_target_without_budget_is_left_for_another(status: int, body: Any) -> None:
    instance = two(budget=True, criteria=["error"])
    assert refused(instance, status, body)
    assert picks(instance) == {1}


@pytest.mark.parametrize(("status", "body"), NO_BUDGET)
def test_off_unless_configured(status: int, body: Any) -> None:
    instance = two(criteria=["error"])
    assert not refused(instance, status, body)
    assert picks(instance) == {0, 1}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"type": "invalid_request_error", "message": "messages: required"}}),
        (429, {"error": {"type": "rate_limit_error", "code": "rate_limit_exceeded"}}),
        (403, {"error": {"code": None, "message": None}}),
        (400, [1]),
        (429, {"error": "slow down"}),
        (500, {"error": {"code": "insufficient_quota"}}),
        (200, {"error": {"code": "insufficient_quota"}}),
    ],
)
def test_other_refusals_are_none_of_its_business(status: int, body: Any) -> None:
    instance = two(budget=True, criteria=["error"])
    assert not refused(instance, status, body)
    assert picks(instance) == {0, 1}


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({"retry-after": "90"}, [], 90),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38s"}], 38),
        ({}, [None, {"retryDelay": "soon"}], 300),
        ({}, None, 300),
    ],
)
def test_for_as_long_as_the_provider_says(headers: Headers, details: Any, seconds: float) -> None:
    instance = two(budget=True)
    told: list[Outcome] = []
    balancer = instance.balancer
    ended = balancer.ended

    def note(target: int, outcome: Outcome) -> None:
        told.append(outcome)
        ended(target, outcome)

    balancer.ended = note  # type: ignore[method-assign]
    body = {"error": {"code": "insufficient_quota", "details": details}}
    assert refused(instance, 429, body, headers)
    [outcome] = told
    assert (outcome.ok, outcome.status, outcome.retry_after_s) == (False, 429, seconds)


def test_when_it_was_the_last_target_the_client_gets_its_answer() -> None:
    instance = two(budget=True, retries=0)
    assert not refused(instance, 429, {"error": {"code": "insufficient_quota", "message": "quota"}})
    assert picks(instance) == {1}

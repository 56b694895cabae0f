"""Which target is tried, and when another one is: by nginx's `proxy_next_upstream` semantics."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import (
    Clock,
    advanced,
    answered,
    chunk,
    client_request,
    first_attempt,
    open_exchange,
    openai_answer,
    proxy,
    sse,
    target_config,
)

from kong_ai_proxy.balancer.base import Outcome
from kong_ai_proxy.core.errors import ApiError, BadRequest
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.core.usage import UsageSource


class Recorder:
    """A balancer in configured order that writes down what it is told."""

    def __init__(self) -> None:
        self.started_at: list[int] = []
        self.outcomes: list[tuple[int, Outcome]] = []

    def pick(self, candidates: list[int], tried: list[int], request: ClientRequest) -> int | None:
        return next((index for index in candidates if index not in tried), None)

    def started(self, target: int) -> None:
        self.started_at.append(target)

    def answering(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        self.outcomes.append((target, outcome))


def two(**balancer: Any) -> tuple[Any, Recorder]:
    instance = advanced(
        target_config("openai", None),
        target_config(
            "anthropic", None, auth={"header_name": "x-api-key", "header_value": "key-of-anthropic"}
        ),
        balancer=balancer or None,
    )
    recorder = Recorder()
    instance.balancer = recorder
    return instance, recorder


REQUEST = {"messages": [{"role": "user", "content": "hi"}], "model": "m"}


def test_connection_refused_goes_on_to_the_next_target_rebuilt_from_the_request() -> None:
    instance, recorder = two()
    exchange, first = first_attempt(instance, client_request(REQUEST))
    first.translation.request()
    assert first.failed("error")
    second = exchange.next_attempt()
    assert second is not None
    upstream = second.translation.request()
    assert upstream.url.host == "api.anthropic.com"
    assert "max_tokens" in json.loads(upstream.body)
    second.connected("192.0.2.2", 0.01)
    assert not second.rejected(200, {})
    second.ended()
    assert recorder.started_at == [0, 1]
    assert [(index, outcome.ok) for index, outcome in recorder.outcomes] == [(0, False), (1, True)]


def test_timeout_before_anything_was_sent() -> None:
    instance, _ = two()
    _, attempt = first_attempt(instance, client_request(REQUEST))
    assert attempt.failed("timeout")


@pytest.mark.parametrize("kind", ["error", "timeout"])
def test_a_post_that_was_sent_is_not_repeated(kind: Any) -> None:
    instance, recorder = two()
    exchange, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.connected("192.0.2.1", 0.01)
    assert not attempt.failed(kind)
    assert exchange.next_attempt() is None
    assert recorder.outcomes[0][1].ok is False


@pytest.mark.parametrize("kind", ["error", "timeout"])
def test_unless_non_idempotent_says_so(kind: Any) -> None:
    instance, _ = two(failover_criteria=["error", "timeout", "non_idempotent"])
    _, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.connected("192.0.2.1", 0.01)
    assert attempt.failed(kind)


def test_invalid_header_is_no_default_criterion() -> None:
    instance, recorder = two()
    _, attempt = first_attempt(instance, client_request(REQUEST))
    assert not attempt.failed("invalid_header")
    assert recorder.outcomes[0][1].ok is True, "what is no criterion counts against nobody"
    instance, _ = two(failover_criteria=["invalid_header", "non_idempotent"])
    _, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.connected("192.0.2.1", 0.01)
    assert attempt.failed("invalid_header")


@pytest.mark.parametrize("status", [403, 404, 429, 500, 502, 503, 504])
def test_statuses_that_are_criteria(status: int) -> None:
    for criteria, expected in (
        (["error"], False),
        ([f"http_{status}"], False),
        ([f"http_{status}", "non_idempotent"], True),
    ):
        instance, _ = two(failover_criteria=criteria)
        _, attempt = first_attempt(instance, client_request(REQUEST))
        attempt.connected("192.0.2.1", 0.01)
        assert attempt.rejected(status, {}) is expected, criteria


def test_a_rejected_status_that_is_answered_counts_as_a_failure_once() -> None:
    instance, recorder = two(failover_criteria=["http_429"])
    _, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.connected("192.0.2.1", 0.01)
    assert not attempt.rejected(429, {"retry-after": "7"})
    attempt.ended()
    attempt.ended()
    ((index, outcome),) = recorder.outcomes
    assert (index, outcome.ok, outcome.retry_after_s) == (0, False, 7.0)


def test_last_targets_rejection_is_answered() -> None:
    instance, _ = two(failover_criteria=["http_503", "non_idempotent"])
    exchange, first = first_attempt(instance, client_request(REQUEST))
    first.connected("192.0.2.1", 0.01)
    assert first.rejected(503, {})
    second = exchange.next_attempt()
    assert second is not None
    second.translation.request()
    second.connected("192.0.2.2", 0.01)
    assert not second.rejected(503, {})
    answer = second.translation.response(503, {"content-type": "application/json"}, b'{"type":"error"}')
    assert answer.status == 503


def test_retries_bound_the_attempts() -> None:
    targets = [target_config(name=None) for _ in range(4)]
    instance = advanced(*targets, balancer={"retries": 2})
    exchange = open_exchange(instance, client_request(REQUEST))
    tries = 0
    while (attempt := exchange.next_attempt()) is not None:
        tries += 1
        again = attempt.failed("error")
    assert (tries, again) == (3, False)


def test_no_retries() -> None:
    instance = advanced(target_config(), target_config(), balancer={"retries": 0})
    _, attempt = first_attempt(instance)
    assert not attempt.failed("error")


def test_one_target_that_cannot_be_reached_is_tried_again() -> None:
    instance = advanced(target_config(), balancer={"retries": 1})
    exchange, attempt = first_attempt(instance)
    assert attempt.failed("error")
    second = exchange.next_attempt()
    assert second is not None
    assert not second.failed("error")


def test_a_target_that_answered_is_not_asked_again() -> None:
    instance = advanced(
        target_config(), balancer={"failover_criteria": ["http_429", "non_idempotent"], "retries": 5}
    )
    _, attempt = first_attempt(instance)
    attempt.connected("192.0.2.1", 0.01)
    assert not attempt.rejected(429, {})


def test_ai_proxy_has_one_try() -> None:
    exchange, attempt = first_attempt(proxy())
    assert not attempt.failed("error")
    assert exchange.next_attempt() is None


def test_only_candidates_are_tried() -> None:
    instance = advanced(target_config(name="a"), target_config(name="b"), target_config(name="a"))
    request = client_request({**REQUEST, "model": "a"})
    for _ in range(4):
        exchange, attempt = first_attempt(instance, request)
        assert attempt.failed("error")
        other = exchange.next_attempt()
        assert other is not None
        assert {attempt.index, other.index} == {0, 2}


def test_no_target_available() -> None:
    instance, recorder = two()
    recorder.pick = lambda *_: None  # type: ignore[method-assign]
    exchange = open_exchange(instance, client_request(REQUEST))
    with pytest.raises(ApiError) as caught:
        exchange.next_attempt()
    assert caught.value.status == 500


def test_refusing_ends_the_attempt_without_blame() -> None:
    instance, recorder = two()
    exchange, _ = first_attempt(instance, client_request(REQUEST))
    response = exchange.refuse(BadRequest("no"))
    assert response.status == 400
    assert json.loads(response.body)["error"]["message"] == "no"
    assert [(index, outcome.ok) for index, outcome in recorder.outcomes] == [(0, True)]
    assert exchange.next_attempt() is None


def test_every_start_has_one_end() -> None:
    instance, recorder = two()
    exchange, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.01)
    attempt.rejected(200, {})
    attempt.failed("error")
    exchange.refuse(ApiError(502, "lost"))
    exchange.record()
    exchange.record()
    assert len(recorder.started_at) == len(recorder.outcomes) == 1


def test_timeouts_as_configured() -> None:
    instance = advanced(
        target_config(), balancer={"connect_timeout": 1500, "read_timeout": 2500, "write_timeout": 3500}
    )
    timeouts = first_attempt(instance)[1].timeouts
    assert (timeouts.connect, timeouts.read, timeouts.write) == (1.5, 2.5, 3.5)
    timeouts = first_attempt(proxy())[1].timeouts
    assert (timeouts.connect, timeouts.read, timeouts.write) == (60, 60, 60)


def test_times_and_tried_targets_in_the_record() -> None:
    clock = Clock()
    instance, _ = two()
    exchange = open_exchange(instance, client_request({**REQUEST, "stream": True}, query="beta=true"), clock)
    first = exchange.next_attempt()
    assert first is not None
    first.translation.request()
    assert first.failed("error")
    second = exchange.next_attempt()
    assert second is not None
    second.translation.request()
    clock.now += 0.25
    second.connected("192.0.2.2", 0.25)
    second.rejected(200, {})
    clock.now += 0.5
    second.first_output()
    clock.now += 1.25
    second.first_output()
    second.ended()
    record = exchange.record()
    assert record is not None
    assert record["tried_targets"] == [
        {
            "provider": "openai",
            "route_type": "llm/v1/chat",
            "upstream_scheme": "https",
            "host": "api.openai.com",
            "port": 443,
            "upstream_uri": "/v1/chat/completions?beta=true",
        },
        {
            "provider": "anthropic",
            "route_type": "llm/v1/chat",
            "upstream_scheme": "https",
            "host": "api.anthropic.com",
            "port": 443,
            "upstream_uri": "/v1/messages?beta=true",
            "ip": "192.0.2.2",
        },
    ]
    assert record["meta"]["llm_latency"] == 2000
    assert record["meta"]["provider_name"] == "anthropic"
    assert record["usage"]["time_to_first_token"] == 750


# Usage that nobody reported, or that was broken off.


def stream_of(instance: Any, *events: Any, body: dict[str, Any] | None = None) -> Any:
    exchange, attempt = first_attempt(
        instance, client_request({**REQUEST, "model": None, "stream": True, **(body or {})})
    )
    attempt.translation.request()
    attempt.connected("192.0.2.1", 0.01)
    attempt.rejected(200, {})
    stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
    assert stream is not None
    for event in events:
        stream.feed(sse(event))
    return exchange, attempt, stream


def test_unreported_usage_is_estimated_and_says_so() -> None:
    answer = openai_answer("x" * 40)
    del answer["usage"]
    done = answered(proxy(), answer, client_request({"messages": [{"role": "user", "content": "y" * 100}]}))
    usage = done.exchange.record()["usage"]  # type: ignore[index]
    assert usage["prompt_tokens"] == 25
    assert usage["completion_tokens"] == 10
    assert usage["total_tokens"] == 35
    assert usage["source"] == "estimated"


def test_reported_usage_has_no_mark() -> None:
    done = answered(proxy(), openai_answer())
    assert "source" not in done.exchange.record()["usage"]  # type: ignore[index]


def test_client_that_breaks_off_leaves_partial_usage() -> None:
    exchange, attempt, _ = stream_of(
        proxy(), chunk({"role": "assistant", "content": "a" * 20}), chunk({"content": "b" * 20})
    )
    attempt.ended(partial=True)
    usage = exchange.record()["usage"]
    assert (usage["completion_tokens"], usage["source"]) == (10, "partial")


def test_tokens_reported_before_the_break_are_kept() -> None:
    start = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": []}
    exchange, attempt, _ = stream_of(
        proxy("anthropic", "claude-sonnet-4-5"),
        {"type": "message_start", "message": {**start, "usage": {"input_tokens": 33, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "c" * 40}},
    )
    attempt.ended(partial=True)
    usage = exchange.record()["usage"]
    assert (usage["prompt_tokens"], usage["source"]) == (33, "partial")
    assert usage["completion_tokens"] == 10, "what was answered, not what the first event provisionally says"


def test_a_stream_that_fails_is_partial() -> None:
    exchange, attempt, stream = stream_of(proxy(), chunk({"content": "a" * 8}))
    stream.finish()
    assert stream.failed is not None
    attempt.ended()
    assert exchange.record()["usage"]["source"] == "partial"


@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (ApiError(502, "cut off"), True),
        (ApiError(529, "overloaded"), True),
        (ApiError(504, "no more"), True),
        (ApiError(429, "slow down"), False),
        (ApiError(400, "content filter"), False),
        (ApiError(504, "too long for us", code="upstream_stream_too_long"), False),
    ],
)
def test_the_balancer_hears_of_a_stream_its_target_broke_off(error: ApiError, blamed: bool) -> None:
    instance = proxy()
    instance.balancer = recorder = Recorder()
    _, attempt, stream = stream_of(instance, chunk({"content": "Hel"}))
    stream.abort(error)
    attempt.ended(partial=True)
    [(_, outcome)] = recorder.outcomes
    assert outcome.ok is not blamed
    assert outcome.partial


def test_a_client_that_leaves_is_not_its_targets_failure() -> None:
    instance = proxy()
    instance.balancer = recorder = Recorder()
    _, attempt, _ = stream_of(instance, chunk({"content": "Hel"}))
    attempt.ended(partial=True)
    assert recorder.outcomes[0][1].ok


def test_errors_have_no_usage() -> None:
    done = answered(proxy(), {"error": {"message": "no"}}, status=400)
    record = done.exchange.record()
    assert record is not None
    assert "usage" not in record
    assert record["meta"]["request_model"] == "gpt-4o"


def test_an_attempt_that_never_connected_has_no_usage() -> None:
    exchange, attempt = first_attempt(proxy())
    attempt.translation.request()
    attempt.failed("error")
    exchange.refuse(ApiError(502, "unreachable"))
    assert "usage" not in (exchange.record() or {})
    assert attempt.call.usage.source is UsageSource.NONE


def test_a_2xx_that_could_not_be_read_as_an_answer_has_no_usage() -> None:
    done = answered(proxy("anthropic", "claude-sonnet-4-5"), b"<html>")
    assert done.response.status == 502
    assert "usage" not in (done.exchange.record() or {})


def test_an_answer_that_is_lost_while_it_is_read() -> None:
    instance, recorder = two(failover_criteria=["timeout"])
    exchange, attempt = first_attempt(instance, client_request(REQUEST))
    attempt.connected("192.0.2.1", 0.01)
    assert not attempt.rejected(200, {})
    assert not attempt.failed("error")
    exchange.refuse(ApiError(502, "lost"))
    assert [outcome.ok for _, outcome in recorder.outcomes] == [True], "error is no criterion here"

"""A question to a judge is a span in the trace of the request whose answer is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from exchange_support import openai_answer
from judge_support import Bench, court
from otlp_support import Collector, Span

from kong_ai_proxy import telemetry
from kong_ai_proxy.telemetry.otlp import Otlp, QuestionTrace

ANSWER = openai_answer("It is four.")
TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACED = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\n"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


def otlp(collector: Collector, **environ: str) -> Otlp:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **environ}.items():
            patch.setenv(name, value)
        made = telemetry.from_environment()
    assert isinstance(made, Otlp)
    collector.spans, collector.points = [], []
    return made


def told(collector: Collector, made: Otlp) -> dict[str, Span]:
    assert made.tracers is not None and made.meters is not None
    gevent.get_hub().threadpool.apply(made.tracers.force_flush)
    gevent.get_hub().threadpool.apply(made.meters.force_flush)
    return {span.name: span for span in collector.spans}


def test_a_question_is_told_of(collector: Collector) -> None:
    made = otlp(collector)
    with court(ANSWER, Bench("73"), relay={"telemetry": made}) as it:
        it.ask(headers=TRACED)
        assert it.settled() == {"scored": 1}
        spans = told(collector, made)
        request, question = spans["kong-ai-proxy"], spans["chat the-judge"]
        assert {span.trace for span in spans.values()} == {TRACE}
        assert question.parent == request.id and not question.failed and question.seconds > 0
        expected = {
            "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "the-judge", "gen_ai.request.stream": False,
            "gen_ai.usage.input_tokens": 200, "gen_ai.usage.output_tokens": 2,
            "gen_ai.evaluation.name": "llm_accuracy", "gen_ai.evaluation.score.value": 73.0,
            "http.response.status_code": 200, "server.address": "127.0.0.1",
        }  # fmt: skip
        assert expected.items() <= question.attributes.items()
        assert question.attributes["kong.gen_ai.llm.cost"] == pytest.approx(0.0022)
        assert f"traceparent: 00-{TRACE}-{question.id}-01" in it.bench.heads[0]
        assert "gen_ai.evaluation.name" not in spans["chat m"].attributes
        assert {point.attributes["gen_ai.request.model"] for point in collector.points} == {"m"}
        for secret in ("two and two", "It is four", "judges-own"):
            assert secret not in repr(collector.spans)


@pytest.mark.parametrize(
    ("reply", "judge", "error"),
    [
        (("400 Bad Request", "", '{"error": {"message": "What is two and two?"}}'), {}, "400"),
        (("200 OK", "", "<html>"), {}, "error"),
        ("87", {"options": {"upstream_url": "http://127.0.0.1:1/v1/chat/completions"}}, "error"),
        (None, {"http_timeout": 30}, "timeout"),
        ("no number", {}, ""),
    ],
)
def test_a_question_that_failed(collector: Collector, reply: Any, judge: Any, error: str) -> None:
    made = otlp(collector)
    bench = Bench(reply or "73")
    if reply is None:
        bench.hold.clear()
    with court(ANSWER, bench, judge=judge, relay={"telemetry": made}) as it:
        it.ask(headers=TRACED)
        it.settled()
        bench.hold.set()
        span = told(collector, made)["chat the-judge"]
        assert span.failed is bool(error) and span.attributes.get("error.type", "") == error
        assert "gen_ai.evaluation.score.value" not in span.attributes
        assert "two and two" not in repr(collector.spans)


def test_without_traces_the_context_is_handed_on(collector: Collector) -> None:
    made = otlp(collector, OTEL_TRACES_EXPORTER="none")
    with court(ANSWER, relay={"telemetry": made}) as it:
        it.ask(headers=TRACED)
        it.settled()
        assert TRACED.strip() in it.bench.heads[0] and collector.spans == []


def test_a_question_that_was_not_sent_has_no_span(collector: Collector) -> None:
    made = otlp(collector)
    with court(ANSWER, relay={"telemetry": made}) as it:
        assert it.world.instance is not None and it.world.instance.judge is not None
        it.world.instance.judge.llm.model.options.upstream_url = "ftp://x"
        it.ask(headers=TRACED)
        assert it.settled() == {"failed": 1}
        assert "chat the-judge" not in told(collector, made)


def test_a_bug_in_telemetry_costs_no_score(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> None:
        raise KeyError("x")

    made = otlp(collector)
    with court(ANSWER, relay={"telemetry": made}) as it:
        with monkeypatch.context() as patch:
            patch.setattr(made, "span", bug)
            trace = QuestionTrace(made, None)
            patch.setattr(made, "begin", lambda exchange: _Silent(trace))
            it.ask()
            assert it.settled() == {"scored": 1}
        with monkeypatch.context() as patch:
            patch.setattr("kong_ai_proxy.telemetry.otlp._finish", bug)
            it.ask()
            assert it.settled(2) == {"scored": 2}
        assert json.dumps(it.said()).count("not_traced") >= 2


class _Silent:
    """An exchange's trace that does nothing."""

    def __init__(self, later: QuestionTrace) -> None:
        self._later = later

    def sent(self, attempt: Any, request: Any) -> None: ...

    def ended(self, exchange: Any) -> None: ...

    def later(self) -> QuestionTrace:
        return self._later

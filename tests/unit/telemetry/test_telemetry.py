"""OpenTelemetry: what a collector is sent of an exchange, and nothing where none is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from exchange_support import (
    advanced,
    chunk,
    client_request,
    open_exchange,
    openai_answer,
    proxy,
    sse,
    target_config,
)
from otlp_support import Collector, Span

from kong_ai_proxy import telemetry
from kong_ai_proxy.core.http import ClientRequest
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.telemetry.otlp import Otlp

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACED = {"traceparent": PARENT, "tracestate": "k=v"}
JSON = {"content-type": "application/json"}
ANSWER = json.dumps(openai_answer()).encode()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def otlp(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Otlp]:
    collector.spans, collector.points = [], []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=ours")
    made = telemetry.from_environment()
    assert isinstance(made, Otlp)
    yield made
    made.shutdown()


class Run:
    """Carries exchanges as the relay does, by hand."""

    def __init__(self, otlp: Any, instance: Instance, request: ClientRequest | None = None) -> None:
        self.exchange: Exchange = open_exchange(instance, request)
        self.trace = otlp.begin(self.exchange)

    def attempt(self) -> Any:
        attempt = self.exchange.next_attempt()
        assert attempt is not None
        self.request = attempt.translation.request()
        self.trace.sent(attempt, self.request)
        attempt.connected("127.0.0.1", 0.001)
        return attempt

    def whole(self, status: int = 200, body: bytes = ANSWER) -> None:
        attempt = self.attempt()
        if attempt.rejected(status, JSON):
            return
        attempt.translation.response(status, JSON, body)
        attempt.first_output()
        attempt.ended()

    def stream(self, data: bytes, *, partial: bool = False) -> None:
        attempt = self.attempt()
        attempt.rejected(200, {"content-type": "text/event-stream"})
        stream = attempt.translation.stream(200, {"content-type": "text/event-stream"})
        stream.feed(data)
        attempt.first_output()
        if not partial:
            stream.finish()
        attempt.ended(partial=partial or stream.failed is not None)

    def sent(self, otlp: Otlp, collector: Collector) -> dict[str, Span]:
        """What came to the collector, by name; the last of each."""
        self.trace.ended(self.exchange)
        otlp.shutdown()
        return {span.name: span for span in collector.spans}


def test_a_chat(otlp: Otlp, collector: Collector) -> None:
    body = {"messages": [{"role": "user", "content": "a secret prompt"}], "temperature": 0.5, "max_tokens": 7}
    instance = proxy(options={"input_cost": 1.0, "output_cost": 10.0})
    run = Run(otlp, instance, client_request(body, headers={**TRACED, "baggage": "user=1"}))
    run.whole()
    spans = run.sent(otlp, collector)
    outer, chat = spans["kong-ai-proxy"], spans["chat gpt-4o"]
    assert outer.trace == chat.trace == PARENT.split("-")[1]
    assert (outer.parent, chat.parent) == (PARENT.split("-")[2], outer.id)
    assert (outer.kind, chat.kind) == (2, 3)
    assert run.request.headers["traceparent"] == f"00-{chat.trace}-{chat.id}-01"
    # What other systems have written of a trace is no provider's business.
    assert not {"tracestate", "baggage"} & run.request.headers.keys()
    assert outer.attributes == {"kong.plugin.id": "plugin-1"}
    usage = openai_answer()["usage"]
    assert chat.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.request.stream": False,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 7,
        "gen_ai.response.model": openai_answer()["model"],
        "gen_ai.response.id": openai_answer()["id"],
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "kong.gen_ai.usage.source": "reported",
        "kong.gen_ai.llm.cost": pytest.approx(
            (usage["prompt_tokens"] + 10 * usage["completion_tokens"]) / 1e6
        ),
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.response.status_code": 200,
    }
    assert not chat.failed and chat.seconds >= 0
    assert collector.resource["service.name"] == "kong-ai-proxy"
    assert collector.resource["service.instance.id"]
    assert collector.headers["x-tenant"] == "ours"
    common = {"gen_ai__provider__name": "openai", "gen_ai__request__model": "gpt-4o"}
    tokens = collector.point("gen_ai.client.token.usage", gen_ai__token__type="input", **common)
    assert (tokens.sum, tokens.unit, tokens.boundaries[:3]) == (usage["prompt_tokens"], "{token}", (1, 4, 16))
    tokens = collector.point("gen_ai.client.token.usage", gen_ai__token__type="output", **common)
    assert tokens.sum == usage["completion_tokens"]
    duration = collector.point("gen_ai.client.operation.duration", **common)
    assert (duration.count, duration.unit) == (1, "s") and "error.type" not in duration.attributes
    assert collector.point("gen_ai.server.time_to_first_token", **common).count == 1
    assert collector.point("kong.gen_ai.llm.cost", **common).sum > 0
    assert not [point for point in collector.points if point.metric.endswith("first_chunk")]


def test_a_stream(otlp: Otlp, collector: Collector) -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    run = Run(otlp, proxy(), client_request({"messages": [{"role": "user", "content": "x"}], "stream": True}))
    run.stream(sse(chunk({"content": "Hi"}), chunk({}, "stop"), chunk(usage=usage), "[DONE]"))
    chat = run.sent(otlp, collector)["chat gpt-4o"]
    assert chat.parent and len(chat.trace) == 32
    assert chat.attributes["gen_ai.request.stream"] is True
    assert chat.attributes["gen_ai.usage.cache_read.input_tokens"] == 2
    assert chat.attributes["gen_ai.usage.reasoning.output_tokens"] == 1
    assert chat.attributes["gen_ai.response.time_to_first_chunk"] >= 0
    for name in ("gen_ai.client.operation.time_to_first_chunk", "gen_ai.server.time_per_output_token"):
        assert collector.point(name).count == 1


def test_failover_is_two_spans_below_one(otlp: Otlp, collector: Collector) -> None:
    instance = advanced(
        target_config("openai", "a"),
        target_config("anthropic", "b"),
        target_config("mistral", "c"),
        balancer={"failover_criteria": ["http_503", "timeout", "non_idempotent"]},
    )
    run = Run(otlp, instance)
    run.whole(503, b"{}")
    run.attempt().failed("timeout")
    run.whole(429, b'{"error": {"message": "slow down"}}')
    spans = run.sent(otlp, collector)
    tried = [span for span in collector.spans if span.kind == 3]
    assert {span.parent for span in tried} == {spans["kong-ai-proxy"].id}
    assert sorted(span.status for span in tried) == ["429", "503", "timeout"]
    assert {span.attributes["gen_ai.provider.name"] for span in tried} == {
        "openai",
        "anthropic",
        "mistral_ai",
    }
    assert spans["kong-ai-proxy"].attributes["kong.gen_ai.attempts"] == 3
    assert spans["kong-ai-proxy"].failed
    assert collector.point("gen_ai.client.operation.duration", error__type="timeout").count == 1


def test_what_broke_off(otlp: Otlp, collector: Collector) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
    left = Run(otlp, proxy(name="left"), client_request(body))
    left.stream(sse(chunk({"content": "Hi"})), partial=True)
    left.trace.ended(left.exchange)
    broken = Run(otlp, proxy(name="broken"), client_request(body))
    broken.stream(sse(chunk({"content": "Hi"})))
    broken.trace.ended(broken.exchange)
    unsent = Run(otlp, proxy(name="unsent"))
    assert unsent.exchange.next_attempt()
    unsent.trace.ended(unsent.exchange)
    never = Run(otlp, proxy(name="never"))
    never.attempt().ended(partial=True)
    never.trace.ended(never.exchange)
    slower = Run(otlp, proxy(name="slower"))
    slower.attempt().cancelled()
    spans = slower.sent(otlp, collector)
    assert spans["chat left"].status == "incomplete"
    assert spans["chat left"].attributes["kong.gen_ai.usage.source"] == "partial"
    assert spans["chat broken"].status == "upstream_stream_truncated"
    assert spans["chat never"].status == "incomplete"
    assert spans["chat slower"].status == "cancelled"
    assert "chat unsent" not in spans
    partial = collector.point(
        "gen_ai.client.token.usage", gen_ai__request__model="left", gen_ai__token__type="input"
    )
    assert partial.attributes["kong.gen_ai.usage.source"] == "partial"


@pytest.mark.parametrize("logged", [False, True])
def test_prompts_only_where_payloads_are_logged(logged: bool, otlp: Otlp, collector: Collector) -> None:
    instance = proxy(logging={"log_payloads": logged})
    run = Run(otlp, instance, client_request({"messages": [{"role": "user", "content": "a secret prompt"}]}))
    answer = openai_answer("you sent sk-configured-0123456789")
    run.whole(body=json.dumps(answer).encode())
    chat = run.sent(otlp, collector)["chat gpt-4o"]
    assert ("a secret prompt" in str(collector.spans)) is logged
    assert ("kong.gen_ai.payload.response" in chat.attributes) is logged
    assert "sk-configured" not in str(collector.spans)


def test_images_are_on_no_span(otlp: Otlp, collector: Collector) -> None:
    image = "QUJD" * 1000
    part = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]}
    run = Run(otlp, proxy(logging={"log_payloads": True}), client_request(body))
    run.whole(body=json.dumps(openai_answer("a cat")).encode())
    payload = str(run.sent(otlp, collector)["chat gpt-4o"].attributes["kong.gen_ai.payload.request"])
    assert "base64 not logged" in payload and "see" in payload and image[:1024] not in payload


@pytest.mark.parametrize(
    ("provider", "options", "name"),
    [
        ("bedrock", {"bedrock": {"aws_region": "us-east-1"}}, "aws.bedrock"),
        ("gemini", {}, "gcp.gemini"),
        ("gemini", {"gemini": {"api_endpoint": "x", "project_id": "p", "location_id": "l"}}, "gcp.vertex_ai"),
        ("azure", {"azure_instance": "i", "azure_deployment_id": "d"}, "azure.ai.openai"),
        ("cerebras", {}, "cerebras"),
    ],
)
def test_providers_by_the_conventions_names(provider: str, options: Any, name: str) -> None:
    from kong_ai_proxy.telemetry import genai

    exchange = open_exchange(proxy(provider, "m", options=options))
    attempt = exchange.next_attempt()
    assert attempt is not None
    assert genai.provider(attempt) == name
    assert "server.address" not in genai.metric_attributes(attempt)
    attempt.call.model, attempt.call.operation = "", "completions"
    assert genai.span_name(attempt) == "text_completion"


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, None, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, None, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None, None),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, True, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, False, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False, True),
    ],
)
def test_what_the_environment_asks_for(
    environ: dict[str, str], traces: bool | None, metrics: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Fake:
        def __init__(self, **what: bool) -> None:
            made.append(what)

    monkeypatch.setattr("kong_ai_proxy.telemetry.otlp.Otlp", Fake)
    assert (telemetry.from_environment(environ) is not None) is (traces is not None)
    assert made == ([] if traces is None else [{"traces": traces, "metrics": metrics}])


def test_without_the_extra_it_is_off_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kong_ai_proxy.telemetry.otlp", None)
    assert telemetry.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}) is None


def test_the_context_goes_on_without_traces_of_our_own(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/v1/metrics")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "another")
    collector.points = []
    otlp = telemetry.from_environment()
    assert isinstance(otlp, Otlp) and otlp.tracers is None
    run = Run(otlp, proxy(), client_request(headers={"traceparent": PARENT}))
    run.whole()
    assert run.request.headers["traceparent"] == PARENT
    assert run.sent(otlp, collector) is not None
    assert collector.point("gen_ai.client.operation.duration").count == 1


@pytest.mark.parametrize(
    ("propagators", "goes_on"),
    [("none", False), ("b3, baggage", False), ("baggage, TraceContext", True), ("", True)],
)
def test_who_sets_propagators_says_whether_the_context_goes_on(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, propagators: str, goes_on: bool
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{collector.url}/v1/traces")
    monkeypatch.setenv("OTEL_PROPAGATORS", propagators)
    collector.spans = []
    otlp = telemetry.from_environment()
    assert isinstance(otlp, Otlp)
    run = Run(otlp, proxy(), client_request(headers=TRACED))
    run.whole()
    assert ("traceparent" in run.request.headers) is goes_on and "tracestate" not in run.request.headers
    chat = run.sent(otlp, collector)["chat gpt-4o"]
    assert (chat.trace == PARENT.split("-")[1]) is goes_on


def test_a_mistake_of_ours_costs_nobody_an_answer(otlp: Otlp, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(otlp, proxy())
    attempt = run.attempt()
    broken: Any = object()
    run.trace.sent(broken, run.request)
    attempt.ended()
    run.trace.ended(broken)
    assert otlp.begin(broken) is None


def test_nothing_of_opentelemetry_is_loaded_when_off() -> None:
    code = (
        "import sys, kong_ai_proxy.server.serve, kong_ai_proxy.relay.server\n"
        "from kong_ai_proxy.telemetry import from_environment\n"
        "assert from_environment({}) is None\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What whoever runs it uses, on a gateway that runs: metrics, doctor, usage."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateway_support import document
from http_support import call
from otlp_support import Collector, Span

from kong_ai_proxy import cli
from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, LogFile, PluginServer, free_port
from kong_ai_proxy.mockllm import MockLLM

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


class Setup:
    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.relay = f"127.0.0.1:{free_port()}"
        self.log = LogFile(prefix / "records.jsonl")
        mock = self.mock = MockLLM()
        self.collector = Collector()
        self.plugin_server = PluginServer(prefix, self.relay)
        configuration = document(self.relay, mock.url, self.log.path)
        # The plugin is not on this route.
        configuration["services"][1]["routes"].append({"name": "plain", "paths": ["/plain"]})
        self.gateway = EmbeddedGateway(configuration, prefix)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    made = Setup(tmp_path_factory.mktemp("operating"))
    made.mock.start()
    made.collector.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        patch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
        made.plugin_server.start()
    made.gateway.start()
    yield made
    made.gateway.stop()
    made.plugin_server.stop()
    made.mock.stop()
    made.collector.stop()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_collector_is_told_and_the_trace_goes_on(setup: Setup) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "x-unrelated": "stays"}
    answer = call(setup.gateway.url, "/anthropic", CHAT | {"stream": True}, headers=headers)
    assert b"[DONE]" in answer.body

    def span(collector: Collector) -> Span | None:
        return next((each for each in collector.spans if each.trace == trace and each.kind == 3), None)

    chat = setup.collector.wait(span)
    assert chat.attributes["gen_ai.provider.name"] == "anthropic"
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    sent = setup.mock.requests[-1].headers
    assert sent["traceparent"] == f"00-{trace}-{chat.id}-01"
    assert "x-unrelated" not in sent
    setup.collector.wait(lambda collector: [p for p in collector.points if p.metric.startswith("gen_ai.")])


def test_metrics_are_for_the_machine_and_not_for_clients(setup: Setup) -> None:
    assert call(setup.gateway.url, "/openai", CHAT).status == 200
    status, text = get(f"http://{setup.relay}/metrics")
    assert status == 200
    assert 'kong_ai_proxy_relay_requests_total{ticket="valid"} ' in text
    assert 'kong_ai_proxy_rpc_events_total{phase="access"} ' in text
    for path in ("/plain/metrics", "/plain/health"):
        status, text = get(f"{setup.gateway.url}{path}")
        assert status == 503
        assert "plugin_did_not_run" in text


def test_who_a_client_says_it_is_is_no_label(setup: Setup) -> None:
    """Not even where it is the truth: Kong is asked then."""
    asked = [
        ("/openai", {"x-consumer-username": "forged-1", "x-consumer-id": "forged-2"}),
        ("/bare/openai", {"x-consumer-custom-id": "forged-3"}),
        ("/keyed", {"x-gateway-key": "alice-key"}),
        ("/keyed", {"x-gateway-key": "alice-key", "x-consumer-username": "forged-4"}),
        ("/bare/keyed", {"x-gateway-key": "alice-key"}),
    ]
    for path, headers in asked:
        assert call(setup.gateway.url, path, CHAT, headers=headers).status == 200
    _, text = get(f"http://{setup.relay}/metrics")
    assert "forged" not in text
    counts = [line for line in text.splitlines() if line.startswith("kong_ai_proxy_llm_requests_total{")]
    assert [line.rpartition(" ")[2] for line in counts if 'consumer="alice"' in line] == ["2"]


def test_doctor(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--kong-prefix", str(setup.prefix), "--relay", setup.relay]) == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_usage(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    for streamed in (False, True):
        assert call(setup.gateway.url, "/openai", {**CHAT, "stream": streamed}).status == 200
    streams = 0
    while not streams:  # the last of all records to come
        streams = sum(
            record["ai"]["proxy"]["meta"]["request_mode"] == "stream"
            for record in setup.log.wait()
            if "ai" in record
        )
    assert cli.main(["usage", str(setup.log.path), "--by", "route,mode", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    modes = {row["group"]["mode"]: row for row in told["groups"][0]["rows"]}
    assert {"oneshot", "stream"} <= set(modes)
    for row in modes.values():
        assert row["total_tokens"] > 0
        assert row["unmetered"] == 0
        assert set(row["llm_latency_ms"]) == {"p50", "p95", "p99"}

"""Kong's how-to "Control accuracy of LLM models": its two plugins, migrated, send traffic to the model whose
answers a judge finds better, and follow when that changes."""

from __future__ import annotations

import dataclasses
import json
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from exchange_support import openai_answer
from gateway_support import Records, kinds
from http_support import MARK, call

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port
from kong_ai_proxy.migrate.kong import migrate
from kong_ai_proxy.migrate.report import Report
from kong_ai_proxy.mockllm import Answer, MockLLM, Received
from kong_ai_proxy.mockllm.providers import respond
from kong_ai_proxy.server.usage_filter import deposit_snippet

CONFIG = """\
_format_version: "3.0"
services:
- name: answers
  url: http://localhost:32000
  routes:
  - name: ask
    paths: [/ask]
  plugins:
  - name: ai-proxy-advanced
    config:
      balancer:
        algorithm: lowest-usage
        tokens_count_strategy: llm-accuracy
      targets:
      - model:
          name: gpt-4.1-mini
          provider: openai
          options: {upstream_url: MOCK/v1/chat/completions}
        route_type: llm/v1/chat
        auth: {header_name: Authorization, header_value: Bearer e2e-of-the-targets}
        logging: {log_statistics: true}
      - model:
          name: orca-mini
          provider: llama2
          options: {llama2_format: ollama, upstream_url: MOCK/api/chat}
        route_type: llm/v1/chat
        logging: {log_statistics: true}
  - name: ai-llm-as-judge
    config:
      prompt: Reply with a score from 1 to 100.
      sampling_rate: 1
      message_countback: 3
      llm:
        model:
          name: gpt-4o
          provider: openai
          options: {max_tokens: 5, input_cost: 10, output_cost: 100, upstream_url: MOCK/v1/chat/completions}
        route_type: llm/v1/chat
        auth: {header_name: Authorization, header_value: Bearer e2e-of-the-judge}
        logging: {log_statistics: true, log_payloads: true}
"""
SECRETS = {
    "OPENAI_AUTHORIZATION": "Bearer e2e-of-the-targets",
    "OPENAI_AUTHORIZATION_2": "Bearer e2e-of-the-judge",
}
QUESTION = "Who wrote the Teesdale letters?"
BAD = "a heap of nonsense"


class Models:
    """Two models, of which some answer nonsense whatever they are asked, and a judge who knows nonsense."""

    def __init__(self) -> None:
        self.bad = {"orca-mini"}
        self.judged: list[Any] = []

    def __call__(self, received: Received) -> Answer:
        body = received.json
        if body["model"] == "gpt-4o":
            self.judged.append(body)
            assert received.headers["authorization"] == SECRETS["OPENAI_AUTHORIZATION_2"]
            response = json.loads(body["messages"][-1]["content"])["response"]
            return Answer.json(openai_answer(
                "15" if BAD in response else "Score: 88/100",
                usage={"prompt_tokens": 120, "completion_tokens": 2, "total_tokens": 122},
            ))  # fmt: skip
        if body["model"] in self.bad:
            body["messages"][-1]["content"] = BAD
            received = dataclasses.replace(received, body=json.dumps(body).encode())
        return respond(received)


class Setup:
    def __init__(
        self, url: str, relay: str, models: Models, log: Records, server_log: Path, left_with_kong: bool
    ) -> None:
        self.url, self.relay, self.models, self.log, self._server_log = url, relay, models, log, server_log
        self._left_with_kong = left_with_kong

        self.asked = 0

    def ask(self, number: int) -> Counter[str]:
        """So many questions, every other one streamed, and who answered."""
        self.asked += number
        served: Counter[str] = Counter()
        for count in range(number):
            body = {"messages": [{"role": "user", "content": QUESTION}], "stream": count % 2 == 1}
            answer = call(self.url, "/ask", body)
            assert answer.status == 200, (answer.body, self.said()[-2000:])
            served[answer.headers["x-kong-llm-model"].partition("/")[2]] += 1
        return served

    def said(self) -> str:
        return self._server_log.read_text()

    def judgements(self) -> list[Any]:
        """The judge's records: Kong's, where it takes them, else lines of the plugin server's."""
        path = self.log.path if self._left_with_kong else self._server_log
        records = [json.loads(line) for line in path.read_text().splitlines() if "ai-llm-as-judge" in line]
        return [record["ai"]["ai-llm-as-judge"] for record in records if "ai-llm-as-judge" in record["ai"]]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{self.relay}/metrics", timeout=5) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    def accuracy(self, model: str) -> float:
        found = [
            value
            for name, value in self.metrics().items()
            if name.startswith("kong_ai_proxy_target_accuracy{") and model in name
        ]
        return found[0] if found else 0.0


@pytest.fixture(scope="module", params=[*kinds(), "dev, two workers"])
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    prefix = tmp_path_factory.mktemp("judged")
    relay = f"127.0.0.1:{free_port()}"
    log = Records(prefix / "records.jsonl")
    models = Models()
    report = Report()
    kong: Any = None
    if request.param == "kong":
        from real_kong import Kong

        (prefix / "kong").mkdir()
        kong = Kong(prefix / "kong", prefix, plugins=",ip-restriction,post-function")
    port = kong.port if kong else free_port()
    arguments = ("--workers", "2") if "workers" in request.param else ()
    left_with_kong = request.param != "dev"
    if left_with_kong:
        arguments += ("--deposit-url", f"http://127.0.0.1:{port}/kong-ai-usage")
    with (
        pytest.MonkeyPatch.context() as patch,
        MockLLM(handler=models) as mock,
        (prefix / "server.log").open("w") as output,
    ):
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        server = PluginServer(prefix, relay, output=output, arguments=arguments)
        server.start()
        text = migrate(CONFIG.replace("MOCK", mock.url), relay=relay, report=report)
        assert not report.of("lost"), report.text("kong.yml")
        assert "e2e-of-the" not in text
        configuration: Any = yaml.safe_load(text)
        configuration["plugins"] = [{"name": "file-log", "config": {"path": str(log.path)}}]
        if left_with_kong:
            deposit = yaml.safe_load(deposit_snippet())["services"][0]
            if not kong:  # the development gateway has no ip-restriction
                del deposit["plugins"][0]
            configuration["services"].append(deposit)
        gateway: Any = kong or EmbeddedGateway(configuration, prefix)
        MARK["x-test"] = uuid.uuid4().hex
        try:
            if kong:
                kong.start(configuration, SECRETS)
            else:
                gateway.start(port=port)
            yield Setup(gateway.url, relay, models, log, prefix / "server.log", left_with_kong)
        finally:
            gateway.stop()
            server.stop()


def eventually(condition: Any) -> None:
    until = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def test_traffic_goes_to_the_better_model(setup: Setup) -> None:
    assert min(setup.ask(8).values()) >= 2, "nobody knows yet"
    eventually(lambda: setup.accuracy("gpt-4.1-mini") == 88 and setup.accuracy("orca-mini") == 15)
    served = setup.ask(30)
    assert served["gpt-4.1-mini"] >= 28
    material = json.loads(setup.models.judged[0]["messages"][-1]["content"])
    assert material["request"] == [{"role": "user", "content": QUESTION}]
    assert setup.models.judged[0]["max_tokens"] == 5
    assert setup.models.judged[0]["messages"][0]["content"] == "Reply with a score from 1 to 100."


def test_the_judges_numbers_are_its_own(setup: Setup) -> None:
    eventually(lambda: len(setup.judgements()) == setup.asked)
    assert "deposit_failed" not in setup.said()
    record = setup.judgements()[0]
    assert record["usage"]["prompt_tokens"] == 120 and record["usage"]["cost"] == pytest.approx(0.0014)
    assert record["usage"]["llm_accuracy"] in (15, 88)
    assert record["meta"]["request_model"] == "gpt-4o"
    judged = setup.asked
    tokens = 'kong_ai_proxy_judge_tokens_total{provider="openai",model="gpt-4o",type="input"}'
    assert setup.metrics()[tokens] == 120 * judged
    for told in setup.log.wait(judged)[:judged]:
        assert told["ai"]["proxy"]["usage"]["prompt_tokens"] < 100, "the request's record has its own numbers"
        assert "e2e-of-the" not in json.dumps(told)
    for text in (QUESTION, BAD, "e2e-of-the"):
        assert text not in setup.said()


def test_traffic_follows_when_the_better_one_turns_bad(setup: Setup) -> None:
    setup.models.bad = {"gpt-4.1-mini"}
    setup.ask(120)
    eventually(lambda: len(setup.models.judged) == setup.asked)
    eventually(lambda: setup.accuracy("gpt-4.1-mini") < 30)
    # The other one had its probes meanwhile, and scored well in them.
    for _ in range(6):
        if setup.ask(50)["orca-mini"] >= 45:
            break
    else:
        raise AssertionError("the traffic has not moved")

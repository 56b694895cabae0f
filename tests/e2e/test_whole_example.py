"""kong.yml.example, run as it is but for the addresses of providers and relay and where the log goes.

(`kong config parse` of Kong 3.9.3 fails on every configuration with an external plugin; a Kong that starts
with it says more.)
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_support import Json, Records, kinds
from http_support import MARK, Response, call

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port
from kong_ai_proxy.mockllm import Answer, MockLLM

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "kong.yml.example"
SECRETS = {
    "OPENAI_AUTHORIZATION": "Bearer sk-example-openai",
    "ANTHROPIC_API_KEY": "sk-example-anthropic",
    "AZURE_OPENAI_KEY": "sk-example-azure",
}
_PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "azure": "/openai/deployments/gpt-4o/chat/completions",
}
CHAT: Json = {"messages": [{"role": "user", "content": "Hello"}]}
ALICE = {"apikey": "change-me-alice"}


def localised(mock: str, relay: str, log: Path) -> Json:
    """The example with all that is elsewhere on this machine instead."""
    data: Json = yaml.safe_load(EXAMPLE.read_text())
    (service,) = data["services"]
    service["url"] = f"http://{relay}"
    for route in service["routes"]:
        for plugin in route["plugins"]:
            for target in plugin["config"].get("targets", [plugin["config"]]):
                model = target["model"]
                url = mock + ("" if "llm_format" in plugin["config"] else _PATHS[model["provider"]])
                if "llm_format" in plugin["config"]:
                    url = mock + "/v1/messages"
                model.setdefault("options", {})["upstream_url"] = url
    (logs,) = [plugin for plugin in data["plugins"] if plugin["name"] == "file-log"]
    logs["config"]["path"] = str(log)
    return data


class Setup:
    def __init__(self, url: str, mock: MockLLM, log: Records) -> None:
        self.url, self.mock, self.log = url, mock, log

    def chat(self, path: str, body: Json = CHAT, headers: dict[str, str] | None = None) -> Response:
        return call(self.url, path, body, headers=ALICE if headers is None else headers)

    def record(self) -> Json:
        return self.log.wait(1)[0]


@pytest.fixture(scope="module", params=kinds())
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    prefix = tmp_path_factory.mktemp("example")
    relay = f"127.0.0.1:{free_port()}"
    log = Records(prefix / "records.jsonl")
    server = PluginServer(prefix, relay)
    with pytest.MonkeyPatch.context() as patch, MockLLM() as mock:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        server.start()
        configuration = localised(mock.url, relay, log.path)
        if request.param == "dev":
            gateway: Any = EmbeddedGateway(configuration, prefix)
            gateway.start()
        else:
            from real_kong import Kong

            (prefix / "kong").mkdir()
            gateway = Kong(prefix / "kong", prefix)
            gateway.start(configuration, SECRETS)
        try:
            yield Setup(gateway.url, mock, log)
        finally:
            gateway.stop()
            server.stop()


@pytest.fixture(autouse=True)
def fresh(setup: Setup) -> None:
    MARK["x-test"] = uuid.uuid4().hex  # a record may be written after its test
    setup.mock.reset()


def test_who_shows_no_key_is_refused(setup: Setup) -> None:
    assert setup.chat("/openai", headers={}).status == 401
    assert not setup.mock.requests


@pytest.mark.parametrize(
    ("path", "header", "secret"),
    [
        ("/openai/v1/chat/completions", "authorization", SECRETS["OPENAI_AUTHORIZATION"]),
        ("/anthropic/v1/chat/completions", "x-api-key", SECRETS["ANTHROPIC_API_KEY"]),
        ("/openai/deployments/gpt-4o/chat/completions", "api-key", SECRETS["AZURE_OPENAI_KEY"]),
        ("/chat", "authorization", SECRETS["OPENAI_AUTHORIZATION"]),
    ],
)
def test_a_chat_on_each_route(setup: Setup, path: str, header: str, secret: str) -> None:
    answer = setup.chat(path)
    assert answer.json["choices"][0]["message"]["content"] == "You said: Hello"
    assert setup.mock.last.headers[header] == secret
    assert "change-me-alice" not in str(setup.mock.last.headers)
    record = setup.record()
    assert record["consumer"]["username"] == "alice"
    assert record["ai"]["proxy"]["usage"]["total_tokens"] > 0
    assert secret not in str(record) + str(answer.headers)


def test_a_stream_and_its_usage(setup: Setup) -> None:
    answer = setup.chat("/anthropic", {**CHAT, "stream": True})
    assert answer.body.rstrip().endswith(b"data: [DONE]")
    assert b"kong-ai-usage" not in answer.body
    proxy = setup.record()["ai"]["proxy"]
    assert proxy["meta"]["request_mode"] == "stream"
    assert proxy["usage"]["cost"] > 0 and "source" not in proxy["usage"]


def test_the_second_provider_takes_over(setup: Setup) -> None:
    refusal = Answer(503, {"content-type": "application/json"}, b'{"error": {"message": "overloaded"}}')
    setup.mock.answer(refusal, "/v1/chat/completions")
    answer = setup.chat("/chat")
    assert answer.status == 200 and answer.headers["x-kong-llm-model"] == "anthropic/claude-sonnet-4-5"
    tried = setup.record()["ai"]["proxy"]["tried_targets"]
    assert [target["provider"] for target in tried] == ["openai", "anthropic"]


def test_claude_code(setup: Setup) -> None:
    body = {"model": "claude-sonnet-4-5", "max_tokens": 100, **CHAT}
    answer = setup.chat(
        "/claude-code/v1/messages", body, {"x-api-key": "change-me-bob", "anthropic-version": "2023-06-01"}
    )
    assert answer.json["type"] == "message"
    assert setup.mock.last.headers["x-api-key"] == SECRETS["ANTHROPIC_API_KEY"]
    record = setup.record()
    assert record["consumer"]["username"] == "bob"
    assert record["ai"]["proxy"]["usage"]["completion_tokens"] > 0


def test_every_secret_is_a_vault_reference() -> None:
    text = EXAMPLE.read_text()
    named = {name.upper().replace("-", "_") for name in re.findall(r"\{vault://env/([a-z0-9-]+)\}", text)}
    assert named == set(SECRETS)

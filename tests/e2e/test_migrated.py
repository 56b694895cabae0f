"""A LiteLLM config.yaml, migrated, serves whom it served: the OpenAI SDK with its key and model names."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from gateway_support import Records, kinds
from http_support import MARK
from openai import APIStatusError, OpenAI

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port
from kong_ai_proxy.migrate.litellm import migrate
from kong_ai_proxy.migrate.report import Report
from kong_ai_proxy.mockllm import Answer, MockLLM

CONFIG = """\
model_list:
- model_name: smart
  litellm_params: {model: openai/gpt-4o, api_base: MOCK/v1, api_key: os.environ/E2E_OPENAI_API_KEY}
- model_name: careful
  litellm_params:
    model: anthropic/claude-sonnet-4-5
    api_base: MOCK
    api_key: os.environ/E2E_ANTHROPIC_API_KEY
- model_name: vectors
  litellm_params:
    model: openai/text-embedding-3-small
    api_base: MOCK/v1
    api_key: os.environ/E2E_OPENAI_API_KEY
router_settings:
  fallbacks: [{smart: [careful]}]
  num_retries: 1
general_settings:
  master_key: sk-master
"""
SECRETS = {"E2E_OPENAI_AUTHORIZATION": "Bearer sk-e2e-openai", "E2E_ANTHROPIC_API_KEY": "sk-e2e-anthropic"}


class Setup:
    def __init__(self, url: str, mock: MockLLM, log: Records) -> None:
        self.url, self.mock, self.log = url, mock, log

    def client(self, key: str = "sk-master") -> OpenAI:
        return OpenAI(base_url=self.url, api_key=key, max_retries=0, default_headers=MARK)


@pytest.fixture(scope="module", params=kinds())
def setup(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    prefix = tmp_path_factory.mktemp("migrated")
    relay = f"127.0.0.1:{free_port()}"
    log = Records(prefix / "records.jsonl")
    server = PluginServer(prefix, relay)
    with pytest.MonkeyPatch.context() as patch, MockLLM() as mock:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        server.start()
        text = migrate(CONFIG.replace("MOCK", mock.url), relay=relay, report=Report())
        # What decK does.
        text = re.sub(r"\$\{\{ env \"DECK_LLM_MASTER_KEY\" \}\}", "Bearer sk-master", text)
        configuration: Any = yaml.safe_load(text)
        configuration["plugins"] = [{"name": "file-log", "config": {"path": str(log.path)}}]
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


def chat(setup: Setup, model: str) -> Any:
    with setup.client() as client:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])


@pytest.mark.parametrize(
    ("model", "path", "header", "secret"),
    [
        ("smart", "/v1/chat/completions", "authorization", SECRETS["E2E_OPENAI_AUTHORIZATION"]),
        ("careful", "/v1/messages", "x-api-key", SECRETS["E2E_ANTHROPIC_API_KEY"]),
    ],
)
def test_a_chat_by_its_name(setup: Setup, model: str, path: str, header: str, secret: str) -> None:
    assert chat(setup, model).choices[0].message.content == "You said: Hello"
    assert setup.mock.last.path == path
    assert setup.mock.last.headers[header] == secret
    assert "sk-master" not in str(setup.mock.last.headers)
    assert setup.log.wait(1)[0]["consumer"]["username"] == "master"


def test_the_fallback(setup: Setup) -> None:
    setup.mock.answer(Answer(500, {"content-type": "application/json"}, b"{}"), "/v1/chat/completions")
    assert chat(setup, "smart").choices[0].message.content == "You said: Hello"
    assert [each.path for each in setup.mock.requests] == ["/v1/chat/completions", "/v1/messages"]


def test_embeddings_on_the_same_route(setup: Setup) -> None:
    with setup.client() as client:
        answer = client.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
    assert len(answer.data) == 2


@pytest.mark.parametrize(
    ("key", "model", "status"), [("sk-wrong", "smart", 401), ("sk-master", "nobody", 400)]
)
def test_refused(setup: Setup, key: str, model: str, status: int) -> None:
    with setup.client(key) as client, pytest.raises(APIStatusError) as refused:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    assert refused.value.status_code == status
    assert not setup.mock.requests

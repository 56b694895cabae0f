"""Credentials planted everywhere, requests of every fate, and nothing of it in any log, record or answer.

The plugin server runs at its most talkative level.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gateway_support import target
from http_support import RawClient, Response, call

from kong_ai_proxy.devgateway.embedded import (
    EmbeddedGateway,
    LogFile,
    PluginServer,
    free_port,
    usage_filter_plugin,
)
from kong_ai_proxy.mockllm import MockLLM
from kong_ai_proxy.mockllm.answers import Answer

Json = dict[str, Any]

CONFIGURED = "pl4nted-in-the-configuration"
CLIENTS = "pl4nted-by-the-client"
WRITTEN = "pl4nted-in-the-prompt"
ALL = (CONFIGURED, CLIENTS, WRITTEN)
NOBODY = "http://127.0.0.1:9"

AUTH: dict[str, Json] = {
    "header": {"header_name": "Authorization", "header_value": f"Bearer {CONFIGURED}-header"},
    "own": {"header_name": "x-api-key", "header_value": f"{CONFIGURED}-own"},
    "query": {"param_name": "key", "param_value": f"{CONFIGURED}-query", "param_location": "query"},
    "body": {"param_name": "key", "param_value": f"{CONFIGURED}-body", "param_location": "body"},
    "aws": {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": f"{CONFIGURED}-aws"},
    "google": {
        "gcp_use_service_account": True,
        "gcp_service_account_json": json.dumps(
            {
                "type": "service_account",
                "client_email": "a@example.iam.gserviceaccount.com",
                "private_key": f"-----BEGIN PRIVATE KEY-----\n{CONFIGURED}\n-----END PRIVATE KEY-----\n",
                "private_key_id": f"{CONFIGURED}-id",
                "token_uri": f"{NOBODY}/token",
            }
        ),
        "gcp_oauth_token_url": f"{NOBODY}/token",
    },
    "azure": {
        "azure_client_id": "client",
        "azure_tenant_id": "tenant",
        "azure_client_secret": f"{CONFIGURED}-azure",
        "azure_use_managed_identity": False,
    },
}

HEADERS = {
    "authorization": f"Bearer {CLIENTS}-authorization",
    "x-api-key": f"{CLIENTS}-x-api-key",
    "api-key": f"{CLIENTS}-api-key",
    "x-goog-api-key": f"{CLIENTS}-goog",
    "cookie": f"session={CLIENTS}-cookie",
    "x-other": f"{CLIENTS}-other",
}
QUERY = f"?key={CLIENTS}-query&api_key={CLIENTS}-too&other=1"


def ask(model: str = "m", **more: Any) -> Json:
    return {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": WRITTEN}], **more}


@dataclass
class World:
    url: str
    mock: MockLLM
    records: LogFile
    said: Path

    def post(self, route: str, body: Any) -> Response:
        return call(self.url, f"/{route}{QUERY}", body, headers=HEADERS)


def _routes(mock: str) -> dict[str, Json]:
    chat = "/v1/chat/completions"
    routes = {
        name: {**target(mock, "openai", None, chat), "auth": auth}
        for name, auth in AUTH.items()
        if name in ("header", "own", "query", "body")
    }
    routes["aws"] = {
        **target(mock, "bedrock", None, "", bedrock={"aws_region": "us-east-1"}),
        "auth": AUTH["aws"],
    }
    gemini = {"api_endpoint": "localhost", "project_id": "p", "location_id": "l"}
    routes["google"] = {
        **target(mock, "gemini", None, "/v1/models/m:generateContent", gemini=gemini),
        "auth": AUTH["google"],
    }
    azure = {"azure_instance": "e2e", "azure_deployment_id": "d"}
    routes["azure"] = {**target(mock, "azure", None, chat, **azure), "auth": AUTH["azure"]}
    routes["anthropic"] = {
        **target(mock, "anthropic", None, "/v1/messages", anthropic_version="2023-06-01"),
        "auth": AUTH["own"],
        "llm_format": "anthropic",
    }
    routes["away"] = {**target(NOBODY, "openai", None, chat), "auth": AUTH["query"]}
    return routes


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="kap") as folder, MockLLM() as mock:
        prefix = Path(folder)
        relay = f"127.0.0.1:{free_port()}"
        said = prefix / "server.log"
        service: Json = {"url": f"http://{relay}", "retries": 0}
        document = {
            "_format_version": "3.0",
            "services": [
                {
                    **service,
                    "name": name,
                    "plugins": plugins,
                    "routes": [
                        {
                            "name": f"{name}-{route}",
                            "paths": [f"{path}/{route}"],
                            "plugins": [{"name": "kong-ai-proxy", "config": config}],
                        }
                        for route, config in _routes(mock.url).items()
                    ],
                }
                for name, path, plugins in (("ai", "", [usage_filter_plugin()]), ("bare", "/bare", []))
            ],
            "plugins": [{"name": "file-log", "config": {"path": str(prefix / "records.jsonl")}}],
        }
        with said.open("w") as output:
            server = PluginServer(prefix, relay, output=output, arguments=("--log-level", "debug"))
            server.start()
            gateway = EmbeddedGateway(document, prefix)
            gateway.start()
            try:
                yield World(gateway.url, mock, LogFile(prefix / "records.jsonl"), said)
            finally:
                gateway.stop()
                server.stop()


def _echo(received: Any) -> Answer:
    """A provider that repeats all it was sent, in the error's message, its headers and beside it."""
    seen = f"{received.raw_path} {received.headers} {received.body.decode()}"
    body = json.dumps({"error": {"message": f"wrong key: {seen}", "code": "invalid_api_key"}, "seen": seen})
    headers = {"content-type": "application/json", "x-echo": received.headers.get("authorization", "")}
    return Answer(401, headers, body.encode())


FATES: list[Json] = [
    ask(),
    ask(stream=True),
    ask("mock-status-401"),
    ask("mock-status-500", stream=True),
    ask("mock-reset"),
    ask("mock-cut"),
    ask("mock-truncate-2", stream=True),
    ask(temperature=WRITTEN),
    ask(tools=[{"type": WRITTEN, "name": "t"}]),
    {"messages": WRITTEN, "key": f"{CLIENTS}-in-the-body"},
]
ROUTES = list(_routes(""))


def _look(world: World, answers: list[Response], requests: int) -> None:
    for answer in answers:
        assert CONFIGURED not in str(answer.headers) + answer.body.decode("utf-8", "replace")
    records = world.records.wait(requests)
    for record in records:
        assert CONFIGURED not in json.dumps(record)
        # The rest of the record is Kong's own: it shows the client's URL and headers.
        assert not [secret for secret in ALL if secret in json.dumps(record.get("ai", {}))]
    said = world.said.read_text()
    assert not [line for line in said.splitlines() if any(secret in line for secret in ALL)]
    for received in world.mock.requests:
        sent = f"{received.raw_path} {received.headers}"
        assert CLIENTS not in sent, "a client's credential went to the provider"


@pytest.mark.parametrize("prefix", ["", "bare/"])
@pytest.mark.parametrize("route", ROUTES)
def test_nothing_planted_comes_out(world: World, route: str, prefix: str) -> None:
    world.mock.reset()
    answers = [world.post(prefix + route, body) for body in FATES]
    answers.append(world.post(prefix + route, f'{{"messages": [{WRITTEN}'.encode()))
    answers.append(world.post(prefix + route, f'["{WRITTEN}"]'.encode()))
    if route in ("header", "aws", "anthropic"):
        assert answers[0].status == 200, answers[0].body
    else:
        assert answers[0].status >= 400, "no such credential, or nobody who takes it"
    _look(world, answers, len(answers))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["header", "own", "query", "body", "aws", "anthropic"])
def test_a_provider_that_repeats_the_credential(world: World, route: str, stream: bool) -> None:
    world.mock.reset()
    world.mock.answer(_echo)
    answer = world.post(route, ask(stream=stream))
    assert answer.status == 401
    _look(world, [answer], 1)


def test_a_client_that_leaves(world: World) -> None:
    world.mock.reset()
    client = RawClient(world.url)
    client.post(f"/header{QUERY}", ask("mock-hang-3", stream=True))
    client.read_until(b"data:")
    client.leave()
    assert world.mock.last.closed.wait(2.0)
    _look(world, [], 1)
    assert '"usage"' in world.said.read_text(), "the usage so far is logged by the plugin server"


def test_the_log_was_talkative(world: World) -> None:
    """Else the tests above would prove nothing."""
    world.post("bare/header", ask())
    world.records.wait(1)
    events = {json.loads(line)["event"] for line in world.said.read_text().splitlines()}
    assert {"instance_started", "usage_filter_missing", "serving"} <= events

"""The gateway as the end-to-end tests see it, whichever it is, and the configuration they run it with."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol

from http_support import MARK

from kong_ai_proxy.cli import WORKERS_VARIABLE
from kong_ai_proxy.devgateway.embedded import (
    EmbeddedGateway,
    LogFile,
    PluginServer,
    free_port,
    usage_filter_plugin,
)
from kong_ai_proxy.mockllm import MockLLM

Json = dict[str, Any]

WORKERS = os.environ.get(WORKERS_VARIABLE, "1")
"""Relay workers that the plugin servers of these tests have, but for tests that say how many."""


class Records(LogFile):
    """The log records of the running test only (see `http_support.MARK`)."""

    def records(self) -> list[Json]:
        return [
            record
            for record in super().records()
            if all(record["request"]["headers"].get(name) == value for name, value in MARK.items())
        ]


class Gateway(Protocol):
    """What a kind of gateway must offer. Its plugin server is ours to kill and restart."""

    url: str
    mock: MockLLM
    log: Records
    """Records of file-log, read one by one."""
    plugin_server: PluginServer

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def round_trips(self) -> int | None:
        """RPC round trips so far, where the gateway can tell."""
        ...


class DevGateway:
    """The embedded gateway, in a thread of the test process."""

    def __init__(self) -> None:
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-e2e"))
        self.log = Records(self.prefix / "records.jsonl")
        self.relay = f"127.0.0.1:{free_port()}"
        self.mock = MockLLM()
        self._output = open(self.prefix / "plugin-server.log", "w")  # noqa: SIM115
        self.plugin_server = PluginServer(self.prefix, self.relay, output=self._output)
        self.embedded = EmbeddedGateway(document(self.relay, self.mock.url, self.log.path), self.prefix)

    @property
    def url(self) -> str:
        return self.embedded.url

    def start(self) -> None:
        self.mock.start()
        self.plugin_server.start()
        self.embedded.start()

    def stop(self) -> None:
        self.embedded.stop()
        self.plugin_server.stop()
        self.mock.stop()
        self._output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def round_trips(self) -> int | None:
        return sum(client.counters.round_trips for client in self.embedded.clients.values())

    def server_log(self) -> str:
        """What the plugin server said."""
        return (self.prefix / "plugin-server.log").read_text()


def kinds() -> list[str]:
    """The gateways there are on this machine."""
    return ["dev", "kong"] if shutil.which("kong") and _real_kong() is not None else ["dev"]


def make(kind: str) -> Gateway:
    if kind == "dev":
        return DevGateway()
    real = _real_kong()
    assert real is not None
    return real()  # type: ignore[no-any-return]


def _real_kong() -> Any:
    """A class `RealKong` in tests/e2e/real_kong.py, with `Gateway`'s interface."""
    if not (Path(__file__).parent / "real_kong.py").exists():
        return None
    sys.path.insert(0, str(Path(__file__).parent))
    from real_kong import RealKong  # type: ignore[import-not-found]

    return RealKong


# -- the configuration -------------------------------------------------------------------------------------


def document(relay: str, mock: str, log_path: Path) -> Json:
    """The `kong.yml` of all end-to-end tests.

    Each route is there twice: `/<name>` with the usage filter, `/bare/<name>` without. `/away/<name>` has a
    service elsewhere, so that `access` must lead the request to the relay; that of `/open/<name>` is the
    provider.
    """
    filtered = {"name": "ai", "url": f"http://{relay}", "retries": 0, "read_timeout": 120000}
    bare = {**filtered, "name": "ai-bare"}
    away = {**filtered, "name": "elsewhere", "url": "http://127.0.0.1:9/base"}
    return {
        "_format_version": "3.0",
        "services": [
            {**filtered, "routes": _routes(mock, ""), "plugins": [usage_filter_plugin()]},
            {**bare, "routes": _routes(mock, "/bare")},
            {**away, "routes": [_route("/away", *_chat_openai(mock))]},
            {**filtered, "name": "open", "url": mock, "routes": [_route("/open", *_chat_openai(mock))]},
        ],
        "consumers": [{"username": "alice", "keyauth_credentials": [{"key": "alice-key"}]}],
        "plugins": [{"name": "file-log", "config": {"path": str(log_path)}}],
    }


def _routes(mock: str, prefix: str) -> list[Json]:
    routes = [_route(prefix, name, config) for name, config in targets(mock).items()]
    routes += [_route(prefix, name, config) for name, config in native_targets(mock).items()]
    keyed = _route(prefix, *_chat_openai(mock))
    keyed["name"] = keyed["name"].replace("openai", "keyed")
    keyed["paths"] = [f"{prefix}/keyed"]
    keyed["plugins"].append({"name": "key-auth", "config": {"key_names": ["x-gateway-key"]}})
    captured = _route(prefix, *_chat_openai(mock))
    captured["name"] = captured["name"].replace("openai", "captured")
    captured["paths"] = [f"~{prefix}/captured/(?<model>[^/]+)"]
    captured["plugins"][0]["config"] = target(mock, "openai", "$(uri_captures.model)", "/v1/chat/completions")
    return [*routes, keyed, captured]


def _route(prefix: str, name: str, config: Json) -> Json:
    return {
        "name": f"{prefix.strip('/') or 'filtered'}-{name}",
        "paths": [f"{prefix}/{name}"],
        "plugins": [{"name": "kong-ai-proxy", "config": config}],
    }


AUTH: dict[str, Json] = {
    "openai": {"header_name": "Authorization", "header_value": "Bearer secret-openai"},
    "azure": {"header_name": "api-key", "header_value": "secret-azure"},
    "anthropic": {"header_name": "x-api-key", "header_value": "secret-anthropic"},
    "gemini": {"header_name": "x-goog-api-key", "header_value": "secret-gemini"},
    "bedrock": {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "secret-bedrock"},
}
_BEARER: Json = {"header_name": "Authorization", "header_value": "Bearer secret-key"}


def target(
    mock: str, provider: str, model: str | None, path: str, route_type: str = "llm/v1/chat", **options: Any
) -> Json:
    """A plugin configuration whose provider is the mock."""
    costs = {"input_cost": 1.0, "output_cost": 10.0}
    if "chat" not in route_type:
        costs = {}
    described: Json = {"provider": provider, "options": {**costs, "upstream_url": f"{mock}{path}", **options}}
    if model is not None:
        described["name"] = model
    return {
        "route_type": route_type,
        "auth": AUTH.get(provider, _BEARER),
        "logging": {"log_statistics": True},
        "max_request_body_size": 64 * 1024 * 1024,
        "model": described,
    }


def _chat_openai(mock: str) -> tuple[str, Json]:
    return "openai", target(mock, "openai", None, "/v1/chat/completions")


def targets(mock: str) -> dict[str, Json]:
    """Plugin configurations by route. Without a configured model the client's goes through."""
    azure = {
        "azure_instance": "e2e",
        "azure_deployment_id": "gpt-4o",
        "azure_api_version": "2024-10-21",
    }
    azure_url = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
    chats = {
        "openai": target(mock, "openai", None, "/v1/chat/completions"),
        "azure": target(mock, "azure", None, azure_url, **azure),
        "anthropic": target(mock, "anthropic", None, "/v1/messages", anthropic_version="2023-06-01"),
        "bedrock": target(mock, "bedrock", None, "", bedrock={"aws_region": "us-east-1"}),
        "cohere": target(mock, "cohere", None, "/v2/chat"),
        "ollama": target(mock, "ollama", None, ""),
        "llama2": target(mock, "llama2", None, "", llama2_format="openai"),
        "huggingface": target(mock, "huggingface", None, "/v1/chat/completions"),
        "tgi": target(mock, "huggingface", None, "/generate"),
    }
    # Gemini names the method in the path, and a configured URL is taken as it is.
    for name, verb in (("gemini", "generateContent"), ("gemini-stream", "streamGenerateContent?alt=sse")):
        chats[name] = target(mock, "gemini", None, f"/v1beta/models/mock:{verb}")
    chats["mistral"] = target(mock, "mistral", None, "/mistral/v1/chat/completions")
    for name in ("cerebras", "dashscope", "deepseek", "vllm", "xai"):
        chats[name] = target(mock, name, None, "/v1/chat/completions")
    chats["databricks"] = target(
        mock,
        "databricks",
        None,
        "/databricks/v1/chat/completions",
        databricks={"workspace_instance_id": "e2e"},
    )
    natives = {"native-anthropic": {**chats["anthropic"], "llm_format": "anthropic"}}
    return {
        **chats,
        **natives,
        "embeddings": target(mock, "openai", None, "/v1/embeddings", "llm/v1/embeddings"),
        "cohere-embeddings": target(mock, "cohere", None, "/v2/embed", "llm/v1/embeddings"),
        "ollama-embeddings": target(mock, "ollama", None, "", "llm/v1/embeddings"),
        "completions": target(mock, "openai", None, "/v1/completions", "llm/v1/completions"),
    }


NATIVE_FORMATS = ("anthropic", "gemini", "bedrock")
"""Formats that clients may speak to any provider."""


def native_targets(mock: str) -> dict[str, Json]:
    """`/<format>-to-<provider>`: clients that speak a provider's own format."""
    chats = {name: config for name, config in targets(mock).items() if config["route_type"] == "llm/v1/chat"}
    # Addresses alone: the native path says the rest.
    chats["gemini"] = target(mock, "gemini", None, "")
    chats["vertex"] = target(
        mock, "gemini", None, "", gemini={
            "api_endpoint": "us-central1-aiplatform.googleapis.com",
            "project_id": "configured",
            "location_id": "us-central1",
        },
    )
    del chats["gemini-stream"], chats["tgi"]
    routes = {
        f"{form}-to-{name}": {**config, "llm_format": form}
        for form in NATIVE_FORMATS
        for name, config in chats.items()
    }
    for provider in ("cohere", "huggingface"):
        routes[f"{provider}-to-{provider}"] = {**target(mock, provider, None, ""), "llm_format": provider}
    return routes


COMPATIBLE = [
    "cerebras",
    "dashscope",
    "databricks",
    "deepseek",
    "huggingface",
    "llama2",
    "mistral",
    "vllm",
    "xai",
]
"""Routes whose providers speak OpenAI's form."""
NATIVE = ["openai", "azure", "anthropic", "bedrock", "cohere", "gemini", "ollama"]
"""Routes of the other chat formats."""

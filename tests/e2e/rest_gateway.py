"""A gateway for the REST routes: each plugin configuration at a path of its own, the mock behind them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway_support import Json, Records
from http_support import MARK
from openai import OpenAI

from kong_ai_proxy.devgateway.embedded import (
    EmbeddedGateway,
    PluginServer,
    free_port,
    usage_filter_plugin,
)
from kong_ai_proxy.mockllm import MockLLM


class RestGateway:
    """An embedded gateway of its own. Routes at `/<name>`; at `/whole/<name>` nothing is stripped, at
    `/bare/<name>` there is no usage filter."""

    def __init__(self, configs: Callable[[str], dict[str, Json]], program: tuple[str, ...] = ()) -> None:
        """`configs`: plugin configurations by route, of the mock's address. `program`: what to run as plugin
        server instead of `kong-ai-proxy`."""
        self._configs = configs
        self._clients: list[OpenAI] = []
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-rest"))
        self.log = Records(self.prefix / "records.jsonl")
        self.mock = MockLLM()
        relay = f"127.0.0.1:{free_port()}"
        self._output = open(self.prefix / "plugin-server.log", "w")  # noqa: SIM115
        own = {"program": program} if program else {}
        self.server = PluginServer(self.prefix, relay, output=self._output, **own)
        service = {"url": f"http://{relay}", "retries": 0, "read_timeout": 120000}
        self.embedded = EmbeddedGateway(
            {
                "_format_version": "3.0",
                "services": [
                    {
                        **service, "name": "ai", "plugins": [usage_filter_plugin()],
                        "routes": self._routes("", strip=True) + self._routes("/whole", strip=False),
                    },
                    {**service, "name": "bare", "routes": self._routes("/bare", strip=True)},
                ],
                "plugins": [{"name": "file-log", "config": {"path": str(self.log.path)}}],
            },
            self.prefix,
        )  # fmt: skip

    def _routes(self, prefix: str, *, strip: bool) -> list[Json]:
        made = []
        for name, config in self._configs(self.mock.url).items():
            config["max_request_body_size"] = 0
            name_of_plugin = "kong-ai-proxy-advanced" if "targets" in config else "kong-ai-proxy"
            plugin = {"name": name_of_plugin, "config": config}
            made.append(
                {
                    "name": f"r{prefix.strip('/')}-{name}",
                    "paths": [f"{prefix}/{name}"],
                    "strip_path": strip,
                    "plugins": [plugin],
                }
            )
        return made

    def __enter__(self) -> RestGateway:
        self.mock.start()
        self.server.start()
        self.embedded.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.embedded.stop()
        self.server.stop()
        self.mock.stop()
        self._output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    @property
    def url(self) -> str:
        return self.embedded.url

    def record(self) -> Json:
        """The `ai.proxy` part of the next record; empty where the usage went to the server's own log."""
        found: Json = self.log.wait(1)[0].get("ai", {}).get("proxy", {})
        return found

    def rss(self) -> int:
        """Bytes of memory that the plugin server holds."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def client(self, route: str) -> OpenAI:
        """OpenAI's SDK on a route; closed by `close_clients`."""
        sdk = OpenAI(
            base_url=f"{self.url}/{route}",
            api_key="client-key",
            max_retries=0,
            timeout=20,
            default_headers=dict(MARK),
        )
        self._clients.append(sdk)
        return sdk

    def close_clients(self) -> None:
        """Close the SDKs that were made."""
        while self._clients:
            self._clients.pop().close()

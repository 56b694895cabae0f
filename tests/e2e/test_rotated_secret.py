"""A secret is rotated in the vault while all runs: one request fails, the next has the new one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from gateway_support import target
from http_support import call

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port, usage_filter_plugin
from kong_ai_proxy.mockllm import MockLLM
from kong_ai_proxy.mockllm.answers import Answer
from kong_ai_proxy.mockllm.providers import respond

VARIABLE = "E2E_ROTATED_KEY"
CHAT: Any = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


def test_the_next_request_has_the_new_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted = "Bearer first-secret"

    def picky(received: Any) -> Answer:
        if received.headers.get("authorization") == accepted:
            return respond(received)
        return Answer(401, {"content-type": "application/json"}, b'{"error":{"message":"wrong key"}}')

    monkeypatch.setenv(VARIABLE, accepted)
    with TemporaryDirectory(prefix="kap") as folder, MockLLM(handler=picky) as mock:
        relay = f"127.0.0.1:{free_port()}"
        auth = {"header_name": "Authorization", "header_value": "{vault://env/e2e-rotated-key}"}
        config = {**target(mock.url, "openai", None, "/v1/chat/completions"), "auth": auth}
        route = {"name": "r", "paths": ["/chat"], "plugins": [{"name": "kong-ai-proxy", "config": config}]}
        service = {"name": "ai", "url": f"http://{relay}", "routes": [route]}
        document = {
            "_format_version": "3.0",
            "services": [{**service, "plugins": [usage_filter_plugin()]}],
        }
        with (Path(folder) / "server.log").open("w+") as said:
            server = PluginServer(Path(folder), relay, output=said)
            server.start()
            gateway = EmbeddedGateway(document, Path(folder))
            gateway.start()
            try:
                assert call(gateway.url, "/chat", CHAT).status == 200
                accepted = "Bearer second-secret"
                monkeypatch.setenv(VARIABLE, accepted)
                statuses = [call(gateway.url, "/chat", CHAT).status for _ in range(3)]
            finally:
                gateway.stop()
                server.stop()
            said.seek(0)
            text = said.read()
    assert statuses == [401, 200, 200]
    assert text.count("credential_renewed") == 1
    assert "first-secret" not in text and "second-secret" not in text

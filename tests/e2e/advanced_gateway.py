"""A gateway with a route for every documented example of AI Proxy Advanced, and some of our own.

The configurations are Kong's own. Variables are filled in, and statistics switched on, so that the log says
where a request would have gone: the plugin server's connections are led to the mock, whatever host they are
for (`redirected_server`).
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from auth_support import token_server
from config_examples import Example, examples
from documented_support import a_google_key, filled
from gateway_support import Records
from http_support import MARK, call
from openai import OpenAI
from openai.types.chat import ChatCompletion
from redis_support import RedisServer, redis_server

from kong_ai_proxy.devgateway.embedded import (
    EmbeddedGateway,
    PluginServer,
    free_port,
    usage_filter_plugin,
)
from kong_ai_proxy.exchange.instance import ADVANCED
from kong_ai_proxy.mockllm import MockLLM

Json = dict[str, Any]
EXAMPLES = {each.slug: each for each in examples() if each.plugin == ADVANCED}
DEPLOYMENT = "/openai/deployments"
PATHS: dict[str, tuple[str, ...]] = {
    "sdk-azure-one-route": (DEPLOYMENT + "/(?<azure_instance>[^/]+)/chat/completions$",),
    "sdk-dynamic-model-selection": ("/(?<model>[^#?/]+)/chat/completions$",),
    "sdk-multiple-azure-deployments": (
        DEPLOYMENT + "/azure-gpt-4o/chat/completions$",
        DEPLOYMENT + "/azure-gpt-4-1-mini/chat/completions$",
    ),
    "sdk-two-routes": (
        "/openai/(?<model>[^#?/]+)/chat/completions$",
        "/cohere/(?<model>[^#?/]+)/chat/completions$",
    ),
}
"""The regular expressions that the examples' pages have for their routes, below a path of each one's own."""


def mended(example: Example) -> list[Any]:
    """The example's configurations, its fault taken out where it has one."""
    configs = copy.deepcopy(list(example.configs))
    match example.slug:
        case "sdk-multiple-azure-deployments":
            options = configs[0]["targets"][0]["model"]["options"]
            options["azure_instance"] = options.pop("zure_instance")
        case "sdk-two-routes":
            configs.append({"targets": configs[0]["targets"][0].pop("targets")})
        case "video-generation-openai":
            # The client says so, in its request.
            configs[0]["targets"][0]["model"]["options"] = {}
        case "xai-image-generation":
            configs[0]["genai_category"] = configs[0]["targets"][0].pop("genai_category")
    return configs


def logging(config: Json) -> Json:
    for target in config["targets"]:
        target.setdefault("logging", {})["log_statistics"] = True
    return config


class World:
    """The gateway with a route for each configuration."""

    def __init__(self, redis: RedisServer, token_url: str, own: dict[str, Json]) -> None:
        """`own`: more configurations, by route."""
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-59"))
        self.log = Records(self.prefix / "records.jsonl")
        self.mock = MockLLM()
        self.redis = redis
        relay = f"127.0.0.1:{free_port()}"
        self._output = (self.prefix / "plugin-server.log").open("w")
        program = (str(Path(__file__).parent / "redirected_server.py"),)
        self.server = PluginServer(self.prefix, relay, output=self._output, program=program)
        key = a_google_key(token_url)
        self.configs = {
            slug: [logging(filled(config, key)) for config in mended(example)]
            for slug, example in EXAMPLES.items()
        }
        self.configs |= {slug: [logging(config)] for slug, config in own.items()}
        routes = [
            self._route(slug, number, config)
            for slug, configs in self.configs.items()
            for number, config in enumerate(configs)
        ]
        self.embedded = EmbeddedGateway(
            {
                "_format_version": "3.0",
                "services": [
                    {
                        "name": "ai", "url": f"http://{relay}", "retries": 0,
                        "plugins": [usage_filter_plugin()], "routes": routes,
                    }
                ],
                "plugins": [{"name": "file-log", "config": {"path": str(self.log.path)}}],
            },
            self.prefix,
        )  # fmt: skip

    @staticmethod
    def _route(slug: str, number: int, config: Json) -> Json:
        paths = PATHS.get(slug)
        path = f"~/{slug}{paths[number]}" if paths else f"/{slug}"
        return {
            "name": f"{slug}-{number}", "paths": [path], "strip_path": not paths,
            "plugins": [{"name": ADVANCED, "config": config}],
        }  # fmt: skip

    def start(self) -> None:
        self.mock.start()
        self.server.start()
        self.embedded.start()

    def stop(self) -> None:
        self.embedded.stop()
        self.server.stop()
        self.mock.stop()
        self._output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def said(self) -> str:
        """What the plugin server logged."""
        return (self.prefix / "plugin-server.log").read_text()

    def post(self, path: str, body: Json, **headers: str) -> Any:
        own = {"authorization": "Bearer of-the-client"}  # counts where none is configured
        answer = call(self.embedded.url, f"/{path}", body, headers={**own, **headers})
        assert answer.status == 200, (answer.body, self.said()[-2000:])
        return answer

    def chat(self, slug: str, text: str = "Say hello", path: str = "", **more: Any) -> Json:
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 200, **more}
        answer: Json = self.post(f"{slug}{path}", body).json
        whole = ChatCompletion.model_validate(answer)
        assert whole.choices[0].message.content
        assert whole.usage is not None and whole.usage.total_tokens > 0
        return answer

    def sdk(self, slug: str) -> OpenAI:
        url = f"{self.embedded.url}/{slug}"
        return OpenAI(
            base_url=url, api_key="of-the-client", max_retries=0, timeout=20, default_headers=dict(MARK)
        )

    def record(self) -> Json:
        """The `ai.proxy` part of the next record."""
        found: Json = self.log.wait(1)[0]["ai"]["proxy"]
        return found

    def went_to(self) -> str:
        """The address that was called, by the log; the mock has seen the same path and host."""
        tried = self.record()["tried_targets"][-1]
        request = self.mock.last
        assert request.raw_path == tried["upstream_uri"]
        assert request.headers["host"].partition(":")[0] == tried["host"]
        default = 443 if tried["upstream_scheme"] in ("https", "wss") else 80
        port = "" if tried["port"] == default else f":{tried['port']}"
        return f"{tried['upstream_scheme']}://{tried['host']}{port}{tried['upstream_uri']}"


@contextmanager
def running_world(directory: Path, own: dict[str, Json]) -> Iterator[World]:
    with (
        token_server() as tokens,
        redis_server(directory) as redis,
        pytest.MonkeyPatch.context() as patch,
    ):
        world = World(redis, tokens.url, own)
        patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", tokens.url)
        patch.setenv("MOCK", f"{world.mock.host}:{world.mock.port}")
        patch.setenv("REDIS", f"127.0.0.1:{redis.port}")
        try:
            world.start()
            yield world
        finally:
            world.stop()

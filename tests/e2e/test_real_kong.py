"""What only a real Kong can show: two workers, the plugin server started by Kong itself, Kong's own plugins
beside ours, HTTP/2, reloads, its schema checks. Skipped where there is no `kong` on PATH."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_support import WORKERS, DevGateway, Json, Records, document, target
from http_support import MARK, RawClient, call
from real_kong import Kong

from kong_ai_proxy.devgateway.embedded import PLUGINS, free_port, usage_filter_plugin
from kong_ai_proxy.mockllm import Answer, Gate, MockLLM

pytestmark = pytest.mark.skipif(shutil.which("kong") is None, reason="no kong on PATH")

CHAT: Json = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello Paris"}]}
SAID = "You said: Hello Paris"


class Collector:
    """Takes what http-log sends."""

    def __init__(self) -> None:
        self.records: list[Json] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.records += sent if isinstance(sent, list) else [sent]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Echo:
    """A WebSocket server as far as a proxy can tell: switches protocols, then sends back what comes."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(5)
                peer.recv(65536)
                head = b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n"
                peer.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + head)
                while data := peer.recv(65536):
                    peer.sendall(data)

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Installation:
    """A Kong with two workers that starts the plugin server itself, and what stands around it."""

    def __init__(self) -> None:
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-real"))
        self.log = Records(self.prefix / "records.jsonl")
        self.relay = f"127.0.0.1:{free_port()}"
        self.mock, self.collector, self.echo = MockLLM(), Collector(), Echo()
        serve = f"{sys.executable} -m kong_ai_proxy.cli serve --relay {self.relay}"
        serve += f" --kong-prefix {self.prefix} --workers {WORKERS}"  # Kong gives it no environment
        self.kong = Kong(self.prefix, self.prefix, workers=2, start_server=serve)
        self.url = self.kong.url

    def start(self) -> None:
        self.mock.start()
        self.kong.start(self.document(), {"E2E_PROVIDER_KEY": "Bearer from-the-vault"})
        eventually(self.serving, 20)

    def serving(self) -> bool:
        """Whether the plugin server answers."""
        return call(self.url, "/openai", CHAT).status == 200

    def stop(self) -> None:
        self.kong.stop()
        self.mock.stop()
        self.collector.stop()
        self.echo.stop()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def server_pid(self) -> int | None:
        """The plugin server's, by the name of its command."""
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in words and str(self.prefix).encode() in words and b"-c" not in words:
                return int(entry.parent.name)
        return None

    def document(self) -> Json:
        described = document(self.relay, self.mock.url, self.log.path)
        extra: Json = {
            "name": "beside",
            "url": f"http://{self.relay}",
            "retries": 0,
            "plugins": [usage_filter_plugin()],
            "routes": [
                self._route("transformed", self._target(), {
                    "name": "request-transformer",
                    "config": {
                        "remove": {"headers": ["x-drop"]},
                        "add": {"body": ["temperature:0.5"], "querystring": ["a:b"]},
                        "replace": {"body": ["model:chosen-by-kong"]},
                    },
                }),
                self._route("vault", {
                    **self._target(),
                    "auth": {"header_name": "Authorization", "header_value": "{vault://env/e2e-provider-key}"},
                }),
            ],
        }  # fmt: skip
        rule = {"type": "consumer", "key": "username", "values": ["alice", "carol"]}
        denied = {"type": "header", "key": "x-consumer-username", "values": ["carol"]}
        aimed = self._target()
        aimed.pop("max_request_body_size")
        kind = aimed.pop("route_type")
        guarded: Json = {"targets": [{**aimed, "route_type": kind}]}
        guarded["acls"] = {"allow": [{"match": [rule]}], "deny": [{"match": [denied]}]}
        extra["routes"].append(
            {
                "name": "guarded",
                "paths": ["/guarded"],
                "plugins": [
                    {"name": "kong-ai-proxy-advanced", "config": guarded},
                    {"name": "key-auth", "config": {"key_names": ["x-gateway-key"]}},
                ],
            }
        )
        hasty: Json = {
            "name": "hasty",
            "url": f"http://{self.relay}",
            "retries": 0,
            "read_timeout": 300,
            "routes": [
                self._route("hasty", self._target(), usage_filter_plugin()),
                self._route("hasty-bare", self._target()),
            ],
        }
        echo: Json = {
            "name": "echo",
            "url": f"http://127.0.0.1:{self.echo.port}",
            "plugins": [usage_filter_plugin()],
            "routes": [{"name": "echo", "paths": ["/echo"]}],
        }
        described["services"] += [extra, hasty, echo]
        for name in ("bob", "carol"):
            key = {"key": f"{name}-key"}
            described["consumers"].append({"username": name, "keyauth_credentials": [key]})
        described["plugins"] += [
            {
                "name": "http-log",
                "config": {
                    "http_endpoint": f"http://127.0.0.1:{self.collector.port}/",
                    "queue": {"max_coalescing_delay": 0.01},
                },
            },
            {"name": "prometheus", "config": {"ai_metrics": True}},
        ]
        return described

    def _target(self) -> Json:
        return target(self.mock.url, "openai", None, "/v1/chat/completions")

    @staticmethod
    def _route(name: str, config: Json, *others: Json) -> Json:
        return {
            "name": name,
            "paths": [f"/{name}"],
            "plugins": [{"name": "kong-ai-proxy", "config": config}, *others],
        }


def eventually(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="module")
def installed() -> Iterator[Installation]:
    installation = Installation()
    try:
        installation.start()
        yield installation
    finally:
        installation.stop()


@pytest.fixture
def kong(installed: Installation) -> Installation:
    MARK["x-test"] = uuid.uuid4().hex
    installed.mock.reset()
    return installed


def text_of(answer: Any) -> str:
    assert answer.status == 200, answer.body
    return str(answer.json["choices"][0]["message"]["content"])


def test_both_workers_use_one_server(kong: Installation) -> None:
    workers = set()
    for _ in range(40):
        assert text_of(call(kong.url, "/openai", CHAT)) == SAID
    children = subprocess.run(
        ["pgrep", "-P", (kong.prefix / "pids" / "nginx.pid").read_text().strip()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    workers = set(children.stdout.split())
    assert len(workers) >= 2
    assert len(kong.log.wait(40)) == 40


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shape(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return type(value).__name__


@pytest.fixture(scope="module")
def dev() -> Iterator[DevGateway]:
    gateway = DevGateway()
    gateway.start()
    try:
        yield gateway
    finally:
        gateway.stop()


@pytest.mark.parametrize("path", ["/openai", "/bare/openai", "/keyed", "/nowhere"])
@pytest.mark.parametrize("stream", [False, True])
def test_record_is_the_development_gateways(
    kong: Installation, dev: DevGateway, path: str, stream: bool
) -> None:
    records = []
    for gateway in (kong, dev):
        call(gateway.url, path, {**CHAT, "stream": stream})
        records.append(gateway.log.wait(1)[0])
    real, ours = records
    assert ours.get("ai", {}).get("proxy", {}).get("usage", {}).get("total_tokens") == real.get("ai", {}).get(
        "proxy", {}
    ).get("usage", {}).get("total_tokens")
    for part in sorted({*ours, *real}):
        assert _shape(ours.get(part)) == _shape(real.get(part)), part


def test_http_log(kong: Installation) -> None:
    kong.collector.records.clear()
    call(kong.url, "/anthropic", {**CHAT, "stream": True})
    record = eventually(lambda: [r for r in kong.collector.records if "ai" in r])[0]
    assert record["ai"]["proxy"]["meta"]["provider_name"] == "anthropic"
    assert record["ai"]["proxy"]["usage"]["total_tokens"] > 0
    assert "x-kong-ai-ticket" not in record["request"]["headers"]


def test_prometheus(kong: Installation) -> None:
    asked = {**CHAT, "model": "mock-delay-20"}
    call(kong.url, "/cohere", asked)
    call(kong.url, "/bare/cohere", asked)
    call(kong.url, "/cohere", {**asked, "stream": True})

    def scraped() -> bool:
        _, text = kong.kong.admin("GET", "/metrics")
        # Workers bring their counts together every second.
        lines = [line for line in text.splitlines()
                 if 'ai_provider="cohere",ai_model="mock-delay-20"' in line]
        counted = [line for line in lines if line.startswith("kong_ai_llm_requests_total{")]
        kinds = ("prompt_tokens", "completion_tokens", "total_tokens")
        return any(line.endswith(" 3") for line in counted) and all(
            any(f'token_type="{kind}"' in line for line in lines) for kind in kinds
        )

    eventually(scraped)
    _, text = kong.kong.admin("GET", "/metrics")
    assert 'kong_ai_llm_cost_total{ai_provider="cohere"' in text
    assert 'kong_ai_llm_provider_latency_ms_count{ai_provider="cohere"' in text


def test_access_rules_by_consumer(kong: Installation) -> None:
    assert text_of(call(kong.url, "/guarded", CHAT, headers={"x-gateway-key": "alice-key"})) == SAID
    kong.mock.reset()
    assert call(kong.url, "/guarded", CHAT, headers={"x-gateway-key": "bob-key"}).status == 403
    assert call(kong.url, "/guarded", CHAT).status == 401
    # A header of Kong's own, which the client has Kong take away after `access`.
    carol = {"x-gateway-key": "carol-key"}
    for taken in ("keep-alive", "x-consumer-username", "keep-alive, X-Consumer-Username"):
        assert call(kong.url, "/guarded", CHAT, headers={**carol, "connection": taken}).status == 403
    assert kong.mock.requests == []


def test_request_transformer_comes_first(kong: Installation) -> None:
    answer = call(kong.url, "/transformed", CHAT, headers={"x-drop": "1"})
    assert text_of(answer) == SAID
    assert kong.mock.last.json["model"] == "chosen-by-kong"
    assert float(kong.mock.last.json["temperature"]) == 0.5
    assert answer.headers["x-kong-llm-model"] == "openai/chosen-by-kong"


def test_vault_reference(kong: Installation) -> None:
    assert text_of(call(kong.url, "/vault", CHAT)) == SAID
    assert kong.mock.last.headers["authorization"] == "Bearer from-the-vault"


@pytest.mark.parametrize("path", ["/hasty", "/hasty-bare"])
def test_a_services_short_timeout_is_raised(kong: Installation, path: str) -> None:
    """The plugin's own time-outs hold, not the service's 0.3 s."""
    kong.mock.answer(
        Answer.json(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
                {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": "stop"}]}
        )
    )  # fmt: skip
    assert text_of(call(kong.url, path, CHAT)) == SAID  # the scripted one; then one that takes its time
    answer = call(kong.url, path, {**CHAT, "model": "mock-delay-900"})
    assert text_of(answer) == SAID


@pytest.mark.parametrize("stream", [False, True])
def test_clients_that_take_gzip(kong: Installation, stream: bool) -> None:
    answer = call(kong.url, "/openai", {**CHAT, "stream": stream}, headers={"accept-encoding": "gzip, br"})
    assert answer.status == 200
    assert "content-encoding" not in answer.headers
    assert b"Paris" in answer.body and b"kong-ai-usage" not in answer.body
    assert kong.log.wait(1)[0]["ai"]["proxy"]["usage"]["total_tokens"] > 0


def test_long_stream_through_the_filter(kong: Installation) -> None:
    asked = {**CHAT, "model": "mock-words-20000", "max_tokens": 30000, "stream": True}
    answer = call(kong.url, "/anthropic", asked, timeout=60)
    assert answer.status == 200
    assert answer.body.count(b"chat.completion.chunk") > 1000
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert b"kong-ai-usage" not in answer.body
    assert kong.log.wait(1, 10)[0]["ai"]["proxy"]["usage"]["completion_tokens"] > 1000


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("path", ["/openai", "/bare/openai", "/anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_http2_client(kong: Installation, path: str, stream: bool) -> None:
    url = f"http://127.0.0.1:{kong.kong.http2_port}{path}"
    done = subprocess.run(
        ["curl", "-sS", "--http2-prior-knowledge", "-m", "10", "-w", "\n%{http_version} %{http_code}",
         "-H", "content-type: application/json", "-H", f"x-test: {MARK['x-test']}",
         "-d", json.dumps({**CHAT, "stream": stream}), url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("\n2 200"), done.stdout
    assert "Paris" in done.stdout and "kong-ai-usage" not in done.stdout
    record = kong.log.wait(1)[0]
    if stream and path == "/bare/openai":
        assert "ai" not in record  # without the filter a stream is logged by the plugin server itself
    else:
        assert record["ai"]["proxy"]["usage"]["total_tokens"] > 0


def test_websocket_beside_the_filter_is_left_alone(kong: Installation) -> None:
    with socket.create_connection(("127.0.0.1", kong.kong.port), 5) as peer:
        peer.sendall(
            b"GET /echo HTTP/1.1\r\nhost: g\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += peer.recv(4096)
        assert head.startswith(b"HTTP/1.1 101")
        frame = b": kong-ai-usage \x00\xff\n\n"
        peer.sendall(frame)
        data = b""
        while len(data) < len(frame):
            data += peer.recv(4096)
        assert data == frame


def test_websocket_on_a_chat_route_is_refused(kong: Installation) -> None:
    answer = call(kong.url, "/openai", None, method="GET", headers={
        "upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA=="})  # fmt: skip
    assert answer.status == 501 and "WebSocket" in answer.message
    assert kong.mock.requests == []


def test_reload_while_streaming(kong: Installation) -> None:
    """Streams that run go on to their end; their records are written; new requests are served."""
    gate = Gate()
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(delta: Json, finish: str | None = None, **more: Any) -> bytes:
        choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
        return b"data: %b\n\n" % json.dumps({**chunk, "choices": choices, **more}).encode()

    usage = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    kong.mock.answer(
        Answer.stream(
            [event({"role": "assistant", "content": "before"}), gate, event({"content": "after"}),
             event({}, "stop", usage=usage), b"data: [DONE]\n\n"]
        )
    )  # fmt: skip
    client = RawClient(kong.url)
    client.post("/openai", {**CHAT, "stream": True})
    client.read_until(b"before")
    kong.kong.configure({**kong.document(), "_comment": uuid.uuid4().hex})
    time.sleep(0.5)
    assert text_of(call(kong.url, "/openai", CHAT)) == SAID
    gate.open()
    rest = client.read_until(b"[DONE]")
    client.leave()
    assert b"after" in rest and b"kong-ai-usage" not in rest
    records = kong.log.wait(2)
    # The short answer and the stream.
    assert {r["ai"]["proxy"]["usage"]["total_tokens"] for r in records} == {9, 11}


ONE: Json = {"route_type": "llm/v1/chat", "model": {"provider": "openai", "name": "m"}}
JUDGES: list[tuple[Json, str]] = [
    ({}, "llm"),
    ({"llm": {}}, "route_type"),
    ({"llm": {**ONE, "route_type": "llm/v1/embeddings"}}, "llm/v1/chat"),
    ({"llm": {**ONE, "model": {"provider": "openai"}}}, "llm.model.name"),
    ({"llm": {**ONE, "model": {"provider": "vllm", "name": "m"}}}, "upstream_url"),
    ({"llm": {**ONE, "auth": {"header_name": "x"}}}, "header_value"),
    ({"llm": ONE, "sampling_rate": 1.5}, "sampling_rate"),
    ({"llm": ONE, "message_countback": 0}, "message_countback"),
    ({"llm": ONE, "http_proxy_host": "proxy"}, "http_proxy_host"),
]


def test_schema_errors_through_the_admin_api(kong: Installation) -> None:
    def validated(name: str, config: Any) -> tuple[int, Any]:
        return kong.kong.admin("POST", "/schemas/plugins/validate", {"name": name, "config": config})

    good = target(kong.mock.url, "openai", "m", "/v1/chat/completions")
    assert validated("kong-ai-proxy", good)[0] == 200
    broken: list[tuple[Json, str]] = [
        ({**good, "route_type": "llm/v9/chat"}, "route_type"),
        ({**good, "model": {"provider": "nobody"}}, "provider"),
        ({**good, "model": {}}, "provider"),
        ({**good, "unknown_field": 1}, "unknown_field"),
        ({**good, "auth": {"header_name": "x"}}, "header_value"),
        ({k: v for k, v in good.items() if k != "model"}, "model"),
    ]
    for config, named in broken:
        status, body = validated("kong-ai-proxy", config)
        assert status == 400, (config, status, body)
        assert named in json.dumps(body.get("fields", body)), (named, body)
    advanced: list[tuple[Json, str]] = [
        ({}, "targets"),
        ({"targets": [{"route_type": "llm/v1/chat", "model": {"provider": "nobody"}}]}, "provider"),
        ({"targets": None}, "targets"),
        *(({"targets": [ONE], "kong_ai_proxy": {"judge": judge}}, named) for judge, named in JUDGES),
    ]
    judged = {"targets": [ONE], "kong_ai_proxy": {"judge": {"llm": ONE, "message_countback": 3}}}
    assert validated("kong-ai-proxy-advanced", judged)[0] == 200
    for config, named in advanced:
        status, body = validated("kong-ai-proxy-advanced", config)
        assert status == 400, (config, status, body)
        assert named in json.dumps(body.get("fields", body)), (named, body)


def test_killed_server_comes_back(kong: Installation) -> None:
    """Kong starts it again; meanwhile requests fail soon and reach no provider."""
    old = kong.server_pid()
    assert old is not None
    os.kill(old, 9)
    until = time.monotonic() + 15
    statuses = set()
    while time.monotonic() < until:
        began = time.monotonic()
        status = call(kong.url, "/openai", CHAT).status
        assert time.monotonic() - began < 5
        statuses.add(status)
        if status == 200 and kong.server_pid() not in (None, old):
            break
        time.sleep(0.02)
    assert statuses <= {200, 500, 502, 503}
    assert kong.server_pid() not in (None, old)
    assert text_of(call(kong.url, "/openai", CHAT)) == SAID


def test_the_server_goes_with_kong(kong: Installation) -> None:
    """Last: Kong is stopped."""
    pid = kong.server_pid()
    assert pid is not None
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"E2E_PROVIDER_KEY" not in environment
    kong.kong.stop()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), 15)
    assert not [name for name in PLUGINS if (kong.prefix / f"{name}.sock").exists()]

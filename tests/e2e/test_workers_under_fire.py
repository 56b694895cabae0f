"""Two relay workers behind a gateway, under load, while one is killed, and one hangs; while Kong reloads its
configuration, and while the plugin server ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from gateway_support import kinds
from impatient_server import HUNG_SECONDS

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, PluginServer, free_port, usage_filter_plugin
from kong_ai_proxy.mockllm import MockLLM
from kong_ai_proxy.mockllm.answers import Answer, Pause

TOKENS = 25
PAUSE = 0.02
"""Seconds between two tokens."""
CLIENTS = 10


@dataclass
class Got:
    """What a client got for one request."""

    stream: bool
    began: float
    ended: float
    status: int = 0
    """0: the connection ended without a head."""
    body: bytes = b""
    whole: bool = False
    """The body came to its end as HTTP knows it."""

    def kind(self, name: str) -> str:
        """Whole and right, or one clear end. Raises AssertionError for anything else."""
        if self.status == 200 and self.stream:
            told = re.findall(rb'"content": ?"([^"]*)"', self.body)
            assert told == [f"{name} {number}".encode() for number in range(len(told))], self
            if self.whole and b"[DONE]" in self.body:
                assert len(told) == TOKENS, self
                return "answered"
            assert b"[DONE]" not in self.body, self
            return "broken"
        assert self.whole, self
        if self.status == 200:
            assert json.loads(self.body)["choices"][0]["message"]["content"] == name, self
            return "answered"
        assert self.status in (502, 503, 504), self
        return "refused"


def provide(received: Any) -> Answer:
    """A mock's answer that repeats the request's text: once, or in each of its tokens."""
    asked = json.loads(received.body)
    name = asked["messages"][0]["content"]
    usage = {"prompt_tokens": 1, "completion_tokens": TOKENS, "total_tokens": TOKENS + 1}
    if not asked.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": name}, "finish_reason": "stop"}
        return Answer(
            200, {"content-type": "application/json"},
            json.dumps({"id": "c", "model": "m", "choices": [choice], "usage": usage}).encode(),
            before=[Pause(PAUSE)],
        )  # fmt: skip
    steps: list[Any] = []
    for number in range(TOKENS):
        delta = {"index": 0, "delta": {"content": f"{name} {number}"}, "finish_reason": None}
        steps += [event({"id": "c", "model": "m", "choices": [delta]}), Pause(PAUSE)]
    steps.append(event({"id": "c", "model": "m", "choices": [], "usage": usage}) + b"data: [DONE]\n\n")
    return Answer.stream(steps)


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


class Setup:
    """A gateway, its plugin server with two workers, and a mock behind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-fire"))
        self.relay = f"127.0.0.1:{free_port()}"
        self.mock = MockLLM()
        self.output = (self.prefix / "plugin-server.log").open("w+")
        self.server = PluginServer(
            self.prefix,
            self.relay,
            output=self.output,
            arguments=("--workers", "2", "--grace", "5"),
            program=(str(Path(__file__).parent / "impatient_server.py"),),
        )
        if kind == "dev":
            self.gateway: Any = EmbeddedGateway(self.document(), self.prefix)
        else:
            from real_kong import Kong

            self.gateway = Kong(self.prefix, self.prefix, workers=2)

    def document(self) -> Any:
        target = {
            "route_type": "llm/v1/chat",
            "logging": {"log_statistics": True},
            "auth": {"header_name": "Authorization", "header_value": "Bearer secret"},
            "model": {
                "provider": "openai", "name": "m",
                "options": {"upstream_url": f"{self.mock.url}/v1/chat/completions"},
            },
        }  # fmt: skip
        config = {"targets": [target, target], "balancer": {"algorithm": "least-connections"}}
        return {
            "_format_version": "3.0",
            "services": [
                {
                    "name": "ai", "url": f"http://{self.relay}", "retries": 0,
                    "plugins": [usage_filter_plugin()],
                    "routes": [
                        {
                            "name": "chat", "paths": ["/chat"],
                            "plugins": [{"name": "kong-ai-proxy-advanced", "config": config}],
                        }
                    ],
                }
            ],
        }  # fmt: skip

    def start(self) -> None:
        self.mock.start()
        self.mock.answer(provide, times=1_000_000)
        self.server.start()
        if self.kind == "dev":
            self.gateway.start()
        else:
            self.gateway.start(self.document())
        eventually(lambda: self.ask("ready", False).status == 200, 20)

    def stop(self) -> None:
        self.gateway.stop()
        self.server.stop()
        self.mock.stop()
        self.output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def ask(self, name: str, stream: bool) -> Got:
        body = json.dumps({"messages": [{"role": "user", "content": name}], "stream": stream})
        connection = http.client.HTTPConnection(urlsplit(self.gateway.url).netloc, timeout=20)
        got = Got(stream, time.monotonic(), 0.0)
        try:
            connection.request("POST", "/chat", body, {"content-type": "application/json"})
            with connection.getresponse() as answer:
                got.status = answer.status
                got.body = answer.read()
                got.whole = True
        except http.client.IncompleteRead as cut:
            got.body = cut.partial
        except (http.client.HTTPException, ConnectionError):
            pass
        finally:
            got.ended = time.monotonic()
            connection.close()
        return got

    def workers(self) -> list[int]:
        """The processes that run for the plugin server."""
        return [pid for pid, parent in processes() if parent == self.server.pid]

    def metrics(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://{self.relay}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)
                if not name.startswith("#")}  # fmt: skip

    def descriptors(self) -> int:
        """Those that the plugin server holds, but for Kong's connections to its sockets."""
        kongs = int(self.metrics()["kong_ai_proxy_rpc_connections"])
        return len(os.listdir(f"/proc/{self.server.pid}/fd")) - kongs

    def said(self, what: str) -> list[Any]:
        lines = (self.prefix / "plugin-server.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["event"] == what]


def processes() -> Iterator[tuple[int, int]]:
    """All that have not ended, and their parents."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, _, rest = entry.read_text().partition(" (")
            state, parent = rest.rpartition(") ")[2].split()[:2]
            if state not in "ZX":
                yield int(pid), int(parent)


def eventually(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module", params=kinds())
def setup(request: pytest.FixtureRequest) -> Iterator[Setup]:
    made = Setup(request.param)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@contextmanager
def load(setup: Setup) -> Iterator[dict[str, Got]]:
    """Clients that ask one thing after the other meanwhile, every second one for a stream."""
    got: dict[str, Got] = {}
    over = threading.Event()

    def client(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            name = f"request-{number}-{turn}"
            got[name] = setup.ask(name, (number + turn) % 2 == 0)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads), "a client still waits"


class Counters:
    """Looks at /metrics again and again, as Prometheus does: what only grows must not fall."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._highest: dict[str, float] = {}
        self.fell: list[str] = []

    def look(self) -> dict[str, float]:
        found = self._setup.metrics()
        growing = {
            name: value
            for name, value in found.items()
            if "worker_cpu" not in name and re.search(r"_(total|count|sum|bucket)($|\{)", name)
        }
        for name, highest in self._highest.items():
            if growing.get(name, 0.0) < highest:
                self.fell.append(f"{name}: {highest} to {growing.get(name)}")
        self._highest |= growing
        return found


def test_a_killed_worker_and_one_that_hangs(setup: Setup) -> None:
    eventually(lambda: len(setup.workers()) == 2)
    first, second = setup.workers()
    before, counters = setup.descriptors(), Counters(setup)
    began = counters.look()
    with load(setup) as got:
        time.sleep(0.5)
        counters.look()
        os.kill(first, signal.SIGKILL)
        killed = time.monotonic()
        eventually(lambda: first not in setup.workers() and len(setup.workers()) == 2)
        counters.look()
        eventually(lambda: counters.look().get('kong_ai_proxy_worker_up{worker="1"}') == 1)
        back = time.monotonic()
        time.sleep(0.5)
        os.kill(second, signal.SIGSTOP)
        hung = time.monotonic()
        time.sleep(0.5)
        counters.look()
        eventually(lambda: second not in setup.workers() and len(setup.workers()) == 2)
        eventually(lambda: counters.look().get('kong_ai_proxy_worker_up{worker="2"}') == 1)
        whole_again = time.monotonic()
        time.sleep(0.5)
    kinds = {name: each.kind(name) for name, each in got.items()}
    lost = [each for name, each in got.items() if kinds[name] != "answered"]
    # A client has one request at a time, so each fault costs a client one; and a few of them one more, that
    # Kong sent on a connection just as it ended.
    for at, until in ((killed, back), (hung, whole_again)):
        its = [each for each in lost if each.ended >= at and each.began <= until]
        assert 0 < len(its) <= CLIENTS + CLIENTS // 2, its
        assert all(each.ended - at < HUNG_SECONDS + 3 for each in its), its
    assert all(each.ended >= killed for each in lost), "before anything happened"
    assert not [each for each in lost if back < each.began < hung - 1 or each.began > whole_again], lost
    meanwhile = [name for name, each in got.items() if each.began > hung + 0.3 and each.ended < whole_again]
    assert any(kinds[name] == "answered" for name in meanwhile), "the other worker goes on"
    assert not counters.fell
    now = counters.look()
    carried = 'kong_ai_proxy_relay_requests_total{ticket="valid"}'
    assert len(got) - 3 * CLIENTS <= now[carried] - began[carried] <= len(got) + CLIENTS
    assert [line["worker"] for line in setup.said("worker_died")[-2:]] == [1, 2]
    assert setup.said("worker_killed")[-1]["reason"] == "it does not answer"

    def running() -> list[str]:
        return [name for name, value in setup.metrics().items() if "attempts_running" in name and value]

    with suppress(AssertionError):
        eventually(lambda: not running())
    assert running() == []
    # Of requests that waited in a dead worker's sockets; they expire.
    assert setup.metrics()["kong_ai_proxy_tickets_open"] <= len(lost)
    eventually(lambda: setup.descriptors() <= before + 2)


def test_kong_reloads_while_workers_serve(setup: Setup) -> None:
    if setup.kind == "dev":
        pytest.skip("the development gateway does not reload")
    with load(setup) as got:
        for reload in (setup.gateway.reload, lambda: setup.gateway.configure(setup.document())):
            time.sleep(0.5)
            reload()
        time.sleep(1.5)
    assert {each.kind(name) for name, each in got.items()} == {"answered"}


def test_what_runs_ends_within_the_grace(setup: Setup) -> None:
    """The last test: there is no plugin server afterwards."""
    got: dict[str, Got] = {}
    names = [f"last-{number}" for number in range(6)]
    threads = [
        threading.Thread(target=lambda name=name: got.update({name: setup.ask(name, True)})) for name in names
    ]
    seen = len(setup.mock.requests)
    for thread in threads:
        thread.start()
    eventually(lambda: len(setup.mock.requests) >= seen + len(names))
    workers = setup.workers()
    os.kill(setup.server.pid, signal.SIGTERM)
    for thread in threads:
        thread.join(20)
    setup.server.stop()
    assert {each.kind(name) for name, each in got.items()} == {"answered"}
    assert len(got) == len(names)
    assert not set(workers) & {pid for pid, _ in processes()}
    assert setup.said("stopped")[-1]["drained"] is True

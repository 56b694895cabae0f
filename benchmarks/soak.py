"""Does it stay as it is? Every kind of request, for a long time, while memory and descriptors are watched.

    python benchmarks/soak.py                  30 minutes
    python benchmarks/soak.py --seconds 120    what .ci/run does, beside the tests

Development gateway, plugin server and mock provider run as their users run them, each a process. Clients
send chats, streams, native formats and embeddings, make mistakes, hang up in the middle, and meet targets
that refuse and break off. Ends non-zero where the plugin server grew, keeps something
open that nobody uses, answered anything with 500, or died.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kong_ai_proxy.devgateway.embedded import PluginServer, free_port, usage_filter_plugin

Json = dict[str, Any]

GROWTH_MB = 8.0
"""Memory may grow by so much between the first third and the end: allocators never settle to the byte."""
_WARM = 1 / 3
"""Of the time; what is loaded and cached at first use is no leak."""
_PROGRAM = "kong_ai_proxy.devgateway.child"
"""The command line in a process that ends with this one."""
_LANES = 12
_SAMPLES = 30
_FAMILY = re.compile(r"^(kong_ai_proxy_\w+|process_open_fds)(?:\{[^}]*\})? ([0-9.e+-]+)$", re.MULTILINE)
_AT_REST = (
    "kong_ai_proxy_relay_streams_open",
    "kong_ai_proxy_target_attempts_running",
    "kong_ai_proxy_rpc_events_running",
)
"""Gauges that must be nothing once nobody asks for anything."""


def configuration(relay: str, mock: str, log: Path) -> Json:
    """A `kong.yml` with a route for each way through the plugin."""

    def model(provider: str, path: str, name: str | None = None, **options: Any) -> Json:
        described: Json = {"provider": provider, "options": {"upstream_url": f"{mock}{path}", **options}}
        return {**described, "name": name} if name else described

    auth = {"header_name": "Authorization", "header_value": "Bearer soak"}
    aws = {"aws_access_key_id": "AKIASOAK", "aws_secret_access_key": "soak"}
    openai = "/v1/chat/completions"
    routes: dict[str, Json] = {
        "openai": {"model": model("openai", openai)},
        "anthropic": {"model": model("anthropic", "/v1/messages")},
        "gemini": {"model": model("gemini", "/v1beta/models/gemini-2.5-flash:generateContent")},
        "bedrock": {
            "auth": aws,
            "model": model(
                "bedrock", "/model/amazon.nova-lite-v1:0/converse", bedrock={"aws_region": "us-east-1"}
            ),
        },
        "messages": {"llm_format": "anthropic", "model": model("openai", openai)},
        "embeddings": {"route_type": "llm/v1/embeddings", "model": model("openai", "/v1/embeddings")},
        "responses": {"route_type": "llm/v1/responses", "model": model("anthropic", "/v1/messages")},
    }
    plugins = {
        name: {"name": "kong-ai-proxy", "config": {"route_type": "llm/v1/chat", "auth": auth, **config}}
        for name, config in routes.items()
    }
    targets = [
        {"route_type": "llm/v1/chat", "auth": auth, "model": model("openai", openai, name), "weight": weight}
        for name, weight in (("gpt-4o", 60), ("mock-status-500", 20), ("mock-reset", 20))
    ]
    plugins["balanced"] = {
        "name": "kong-ai-proxy-advanced",
        "config": {
            "targets": targets,
            "balancer": {
                "algorithm": "round-robin",
                "retries": 3,
                "failover_criteria": ["error", "timeout", "http_500", "non_idempotent"],
            },
        },
    }
    made = [{"name": name, "paths": [f"/{name}"], "plugins": [entry]} for name, entry in plugins.items()]
    service = {"name": "ai", "url": f"http://{relay}", "retries": 0, "routes": made}
    return {
        "_format_version": "3.0",
        "services": [{**service, "plugins": [usage_filter_plugin()]}],
        "plugins": [{"name": "file-log", "config": {"path": str(log)}}],
    }


class Client:
    """One of those who ask, for as long as they are told to."""

    def __init__(self, port: int, seed: int, until: float, pause: float, answers: Counter[str]) -> None:
        self._port = port
        self._pause = pause
        self._random = random.Random(seed)
        self._until = until
        self._answers = answers
        self._connection: http.client.HTTPConnection | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while time.monotonic() < self._until:
            name, path, body, leave = self._wish()
            try:
                status = self._ask(path, body, leave)
            except (OSError, http.client.HTTPException) as error:
                status = type(error).__name__
                self._hang_up()
            self._answers[f"{name} {status}"] += 1
            time.sleep(self._pause)
        self._hang_up()

    def _wish(self) -> tuple[str, str, bytes, bool]:
        """What it is called, where it goes, what is said, and whether the client hangs up in the middle."""
        chance = self._random.random
        words = "word " * self._random.choice([1, 5, 50, 2000])
        chat: Json = {"model": "gpt-4o", "messages": [{"role": "user", "content": words}]}
        route = self._random.choice(["openai", "anthropic", "gemini", "bedrock", "messages", "balanced"])
        if route in ("messages", "balanced"):
            chat["max_tokens"] = 64
        if route == "balanced":
            del chat["model"]
        if chance() < 0.1:
            return "embeddings", "/embeddings", json.dumps({"model": "e", "input": words}).encode(), False
        if chance() < 0.1:
            asked = {"model": "gpt-4o", "input": words, "stream": chance() < 0.5}
            return "responses", "/responses", json.dumps(asked).encode(), False
        if chance() < 0.05:
            return "mistake", f"/{route}", b'{"messages": [' + words.encode(), False
        chat["stream"] = chance() < 0.6
        leave = chance() < 0.15
        if route not in ("gemini", "bedrock", "balanced"):
            knob = self._random.choice(["", "", "", "", "status-429", "truncate-5", "reset", "cut"])
            knob = "words-200+pace-5" if leave else knob
            chat["model"] = f"mock-{knob}" if knob else "gpt-4o"
        return route, f"/{route}", json.dumps(chat).encode(), leave

    def _ask(self, path: str, body: bytes, leave: bool) -> str:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        answer = self._connection.getresponse()
        if leave:
            answer.read(self._random.choice([1, 200]))
            self._hang_up()
            return "left"
        answer.read()
        return str(answer.status)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def scrape(relay: str) -> Counter[str]:
    """What the plugin server says of itself, labels summed up."""
    host, _, port = relay.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    found: Counter[str] = Counter()
    for name, value in _FAMILY.findall(text):
        found[name] += float(value)  # type: ignore[assignment]
    return found


def rss_mb(pid: int) -> float:
    """Resident memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6 + sum(rss_mb(int(child)) for child in children)


@contextlib.contextmanager
def program(prefix: Path, *arguments: str) -> Iterator[None]:
    """A command of ours, until the block ends."""
    with open(prefix / f"{arguments[0]}.log", "w") as output:
        child = subprocess.Popen([sys.executable, "-m", _PROGRAM, *arguments], stdout=output, stderr=output)
        try:
            yield
        finally:
            child.terminate()
            child.wait(20)


def wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.connect()
            return
        except OSError:
            if time.monotonic() > until:
                raise SystemExit(f"nothing listens on port {port}") from None
            time.sleep(0.1)
        finally:
            connection.close()


def soak(seconds: float, pause: float, workers: tuple[str, ...]) -> int:
    answers: Counter[str] = Counter()
    samples: list[tuple[float, float, float]] = []
    with contextlib.ExitStack() as stack:
        prefix = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
        relay, mock, port = f"127.0.0.1:{free_port()}", free_port(), free_port()
        document = prefix / "kong.yml"
        document.write_text(
            yaml.safe_dump(configuration(relay, f"http://127.0.0.1:{mock}", prefix / "records.jsonl"))
        )
        stack.enter_context(program(prefix, "mock", "--port", str(mock)))
        log = stack.enter_context(open(prefix / "server.log", "w"))
        server = PluginServer(prefix, relay, output=log, arguments=("--log-level", "error", *workers))
        server.start()
        stack.callback(server.stop)
        stack.enter_context(
            program(prefix, "dev", str(document), "--kong-prefix", str(prefix), "--port", str(port))
        )
        wait_for(mock)
        wait_for(port)
        began = time.monotonic()
        until = began + seconds
        clients = [Client(port, seed, until, pause, answers) for seed in range(_LANES)]
        for client in clients:
            client.thread.start()
        print("| after, s | RSS, MB | descriptors | requests |\n|---|---|---|---|", flush=True)
        while time.monotonic() < until:
            time.sleep(min(seconds / _SAMPLES, max(0.01, until - time.monotonic())))
            now = time.monotonic() - began
            samples.append((now, rss_mb(server.pid), scrape(relay)["process_open_fds"]))
            print(
                f"| {now:.0f} | {samples[-1][1]:.1f} | {samples[-1][2]:.0f} | {answers.total()} |", flush=True
            )
        for client in clients:
            client.thread.join(60)
        time.sleep(2)
        rest = scrape(relay)
        complaints = judge(samples, answers, rest)
        said = (prefix / "server.log").read_text()
    print("\n| request, answer | count |\n|---|---|")
    for name, count in sorted(answers.items()):
        print(f"| {name} | {count} |")
    if said.strip():
        complaints.append(f"the plugin server said:\n{said[:4000]}")
    print("\n" + ("\n".join(complaints) or "memory, descriptors and answers are as they should be"))
    return 1 if complaints else 0


def judge(samples: list[tuple[float, float, float]], answers: Counter[str], rest: Counter[str]) -> list[str]:
    """What is wrong, in words."""
    complaints = []
    warm = [memory for when, memory, _ in samples if when >= samples[-1][0] * _WARM]
    third = max(1, len(warm) // 3)
    grown = sum(warm[-third:]) / third - sum(warm[:third]) / third
    if grown > GROWTH_MB:
        complaints.append(f"memory grew by {grown:.1f} MB after it was warm")
    busiest = max(descriptors for _, _, descriptors in samples)
    if rest["process_open_fds"] > busiest:
        complaints.append(f"{rest['process_open_fds']:.0f} descriptors open at rest, {busiest:.0f} at work")
    complaints += [f"{name} is {rest[name]:.0f} at rest" for name in _AT_REST if rest[name]]
    complaints += [f"{count} × {name}" for name, count in answers.items() if name.endswith(" 500")]
    if not any(name.endswith(" 200") for name in answers):
        complaints.append("nothing was answered")
    return complaints


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument(
        "--pause", type=float, default=0.05, help="seconds between a client's requests (default: %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="relay workers (default: %(default)s)")
    args = parser.parse_args()
    sys.exit(soak(args.seconds, args.pause, ("--workers", str(args.workers)) if args.workers > 1 else ()))


if __name__ == "__main__":
    main()

"""What this project costs on a real Kong, beside Kong's own `ai-proxy` and beside no plugin at all.

    python benchmarks/kong.py [--rounds 5] [--seconds 3] [--streams 1,32,128] [--workers 1,2]

Needs `kong` and `wrk` on PATH and says so where they are not. One Kong with one worker, DB-less, in a
prefix of its own (and one for each number of relay workers that is asked for); what the installation needs
besides goes in by Kong's environment variables. All routes
lead to the same mock provider and are measured in turn, round by round, so that all see the same machine;
the numbers are medians of the rounds. CPU is that of Kong's worker and of the plugin server, as the
scheduler counts it: it varies less than requests/s where other things run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streams import Place, cpu_seconds, percentile, process, run_streams
from streams_relay_config import PATHS, config

from kong_ai_proxy.devgateway.embedded import PLUGINS, PluginServer, free_port, usage_filter_plugin

_WRK = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = '{"messages":[{"role":"user","content":"What is 1+1?"}]}'
"""
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_MEDIAN = re.compile(r"50%\s+([\d.]+)(us|ms|s)")
_FAILED = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors")
_UNIT = {"us": 0.001, "ms": 1.0, "s": 1000.0}

ROUTES = {
    "no plugin": "plain",
    "Kong's ai-proxy, OpenAI": "own-openai",
    "this, OpenAI": "openai",
    "this, OpenAI, no filter": "bare-openai",
    "Kong's ai-proxy, Anthropic": "own-anthropic",
    "this, Anthropic": "anthropic",
}


@dataclass
class Running:
    port: int
    worker: int
    """Process id of Kong's worker."""
    server: tuple[int, ...]
    """Process ids of the plugin server and its relay workers."""
    workers: int


def routes(runs: list[Running]) -> list[tuple[str, str, Running]]:
    """What is measured: its name, its path, and where."""
    return [
        (name + (f", {run.workers} workers" if run.workers > 1 else ""), path, run)
        for name, path in ROUTES.items()
        for run in (runs if name.startswith("this") else runs[:1])
    ]


def document(relay: str, mock: int) -> dict[str, Any]:
    """Kong's configuration: `/<provider>` is ours, `/own-<provider>` Kong's."""

    def route(name: str, *plugins: dict[str, Any]) -> dict[str, Any]:
        return {"name": name, "paths": [f"/{name}"], "plugins": list(plugins)}

    service = {"url": f"http://{relay}", "retries": 0, "read_timeout": 600000}
    ours = [
        route(p, {"name": "kong-ai-proxy", "config": config(p, mock)}, usage_filter_plugin()) for p in PATHS
    ]
    bare = [route(f"bare-{p}", {"name": "kong-ai-proxy", "config": config(p, mock)}) for p in PATHS]
    own = []
    for provider in PATHS:
        settings = config(provider, mock)
        if provider == "anthropic":
            settings["model"]["options"]["max_tokens"] = 512
        own.append(route(f"own-{provider}", {"name": "ai-proxy", "config": settings}))
    plain = {**route("plain"), "strip_path": True}
    return {
        "_format_version": "3.0",
        "services": [
            {"name": "ai", **service, "routes": [*ours, *bare, *own]},
            {"name": "plain", **service, "url": f"http://127.0.0.1:{mock}", "routes": [plain]},
        ],
    }


@contextmanager
def running(mock: int, *, lean: bool = False, workers: int = 1) -> Iterator[Running]:
    """Kong and the plugin server. `lean`: without the plugins' log phase."""
    port, relay = free_port(), f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory(prefix="kap-bench") as directory:
        prefix = Path(directory)
        os.chmod(prefix, 0o755)
        (prefix / "kong.yml").write_text(json.dumps(document(relay, mock)))
        lines = [
            f"prefix = {prefix}",
            "database = off",
            f"declarative_config = {prefix / 'kong.yml'}",
            f"proxy_listen = 127.0.0.1:{port} backlog=1024",
            "admin_listen = off",
            "admin_gui_listen = off",
            "status_listen = off",
            "proxy_access_log = off",
            "anonymous_reports = off",
            "nginx_main_worker_processes = 1",
            f"plugins = pre-function,ai-proxy,{','.join(PLUGINS)}",
            f"pluginserver_names = {','.join(PLUGINS)}",
        ]
        options = " --lean" if lean else ""
        for name in PLUGINS:
            setting = "pluginserver_" + name.replace("-", "_")
            lines.append(f"{setting}_socket = {prefix / name}.sock")
            lines.append(f"{setting}_query_cmd = {sys.executable} -m kong_ai_proxy.cli dump {name}{options}")
        if os.geteuid() == 0:
            lines.append("nginx_user = root root")
        conf = prefix / "kong.conf"
        conf.write_text("\n".join(lines) + "\n")
        with open(prefix / "server.log", "w") as output:
            arguments = ("--log-level", "warning", "--workers", str(workers))
            server = PluginServer(prefix, relay, output=output, arguments=arguments)
            server.start()
            try:
                command = ["kong", "start", "-c", str(conf), "-p", str(prefix)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"kong start: {done.stdout}{done.stderr}")
                master = (prefix / "pids" / "nginx.pid").read_text().strip()
                worker = children(int(master))[0]
                yield Running(port, worker, (server.pid, *children(server.pid)), workers)
            finally:
                subprocess.run(["kong", "stop", "-p", str(prefix)], capture_output=True)
                server.stop()


def children(pid: int) -> list[int]:
    """The processes that a process's first thread has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wrk(url: str, connections: int, seconds: int, script: Path) -> tuple[float, float]:
    """Requests a second and the median in ms. Raises SystemExit where requests failed."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, median, failed = _RATE.search(text), _MEDIAN.search(text), _FAILED.search(text)
    if rate is None or median is None or failed:
        raise SystemExit(f"{url}:\n{text}")
    return float(rate[1]), float(median[1]) * _UNIT[median[2]]


def report_chats(runs: list[Running], rounds: int, seconds: int) -> None:
    taken: dict[tuple[int, str], list[tuple[float, float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "post.lua"
        script.write_text(_WRK)
        for number in range(rounds + 1):
            for connections in (16, 1):
                for name, path, run in routes(runs):
                    url = f"http://127.0.0.1:{run.port}/{path}"
                    if path == "plain":
                        url += PATHS["openai"]
                    before = cpu_seconds((run.worker,)), cpu_seconds(run.server)
                    lasted = seconds if number else 1
                    rate, median = wrk(url, connections, lasted, script)
                    after = cpu_seconds((run.worker,)), cpu_seconds(run.server)
                    count = rate * lasted / 1e6
                    row = (rate, median, (after[0] - before[0]) / count, (after[1] - before[1]) / count)
                    if number:  # the first round warms up
                        taken.setdefault((connections, name), []).append(row)
    print("\n### Small chats, closed loop\n")
    print("| route | connections | requests/s | p50 ms | Kong worker CPU, µs | plugin server CPU, µs |")
    print("|---|---|---|---|---|---|")
    for connections in (16, 1):
        for name, _, _ in routes(runs):
            rate, median, worker, server = map(statistics.median, zip(*taken[connections, name], strict=True))
            own = "–" if server < 5 else f"{server:.0f}"
            print(f"| {name} | {connections} | {rate:.0f} | {median:.2f} | {worker:.0f} | {own} |")


def report_streams(
    runs: list[Running], rounds: int, counts: list[int], tokens: int, rate: float
) -> None:
    taken: dict[tuple[int, str], list[list[float]]] = {}
    broken: dict[tuple[int, str], tuple[int, int]] = {}
    for number in range(rounds + 1):
        for count in counts:
            for name, path, run in routes(runs):
                path = f"/{path}{PATHS['openai']}" if path == "plain" else f"/{path}"
                place = Place(run.port, path, pids=run.server)
                got = run_streams(place, count, tokens if number else 10, rate)
                if number:
                    cells = [percentile(got.late, each) for each in (50, 99, 100)]
                    taken.setdefault((count, name), []).append([*cells, got.cpu])
                    before = broken.get((count, name), (0, 0))
                    broken[count, name] = (before[0] + got.stalled, before[1] + got.incomplete)
    print(f"\n### How late tokens arrive: streams of {rate:g} tokens/s, {tokens} tokens each, ms\n")
    print("| route | streams | p50 | p99 | max | stalled | incomplete | plugin server CPU, µs/token |")
    print("|---|---|---|---|---|---|---|---|")
    for count in counts:
        for name, _, _ in routes(runs):
            cells = [statistics.median(column) for column in zip(*taken[count, name], strict=True)]
            numbers = " | ".join(f"{cell:.2f}" for cell in cells[:3])
            own = "–" if cells[3] < 1 else f"{cells[3]:.0f}"
            stalled, incomplete = broken[count, name]
            print(f"| {name} | {count} | {numbers} | {stalled} | {incomplete} | {own} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["chats", "streams"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="for each measurement of chats")
    parser.add_argument("--streams", default="1,32,128", help="how many at once, comma-separated")
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--rate", type=float, default=50.0, help="tokens a second of each stream")
    parser.add_argument("--lean", action="store_true", help="as `kong-ai-proxy dump --lean` has it")
    parser.add_argument("--workers", default="1", help="relay workers, comma-separated, each in turn")
    parser.add_argument("--route", action="append", help="only routes whose names hold this")
    args = parser.parse_args()
    if missing := [tool for tool in ("kong", "wrk") if shutil.which(tool) is None]:
        print(f"not measured: no {' and no '.join(missing)} on PATH")
        return
    for name in list(ROUTES):
        if args.route and not any(each in name for each in args.route):
            del ROUTES[name]
    version = subprocess.run(["kong", "version"], capture_output=True, text=True).stdout.split()[-1]
    begun = time.time()
    load = os.getloadavg()[0]
    print(f"Kong {version}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {load:.1f}")
    with process("streams_mock.py") as (mock, _), ExitStack() as stack:
        runs = [
            stack.enter_context(running(mock, lean=args.lean, workers=int(each)))
            for each in args.workers.split(",")
        ]
        if args.only in (None, "chats"):
            report_chats(runs, args.rounds, args.seconds)
        if args.only in (None, "streams"):
            counts = [int(each) for each in args.streams.split(",")]
            report_streams(runs, max(1, args.rounds // 2), counts, args.tokens, args.rate)
    print(f"\n{time.time() - begun:.0f} s, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()

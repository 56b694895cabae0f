"""This beside other gateways, one after the other on one machine, with the same mock provider and driver.

    python benchmarks/compare.py [--litellm COMMAND] [--portkey COMMAND] [--report compare.md]

Measured is what is there: LiteLLM's proxy (`pip install 'litellm[proxy]'`, command `litellm`) and Portkey's
gateway (`npm install @portkey-ai/gateway`, command `node_modules/.bin/gateway`), Kong with this plugin and
with its own `ai-proxy` where `kong` is on PATH, and this plugin's relay alone in any case. Each with one
process for the work (Kong and plugin server: one each), in its default configuration without a database,
logging as little as it can. What a gateway answers with an error is said to fail, and the rest goes on.
Every figure is also given as a multiple of this plugin's in the same run: those may be compared, the others
depend on the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from streams import Place, cpu_seconds, percentile, plot, process, rss_mb, run_chats, run_streams
from streams_relay_config import MODELS, PATHS

from kong_ai_proxy.devgateway.embedded import free_port

_KEY = "not-a-key"


@dataclass
class Gateway:
    """One that is measured."""

    name: str
    places: dict[str, Place]
    """By provider."""
    pids: list[int]
    """Processes that do the work; their children count."""
    chats: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """By provider: requests/s at 16 connections, ms at one, µs of CPU for each."""
    late: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    """By provider and number of streams: how late each token was, ms."""
    failed: dict[str, str] = field(default_factory=dict)
    """By provider and what was asked: the answer that was none."""
    broken: int = 0
    """Streams that stalled or lacked tokens."""
    memory: float = 0.0
    """MB at the end."""


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in family(int(child)))]


def measure(gateway: Gateway, counts: list[int], tokens: int, rate: float, seconds: float) -> None:
    pids = tuple(each for pid in gateway.pids for each in family(pid))
    for provider, place in gateway.places.items():
        try:
            run_chats(place, 4, 1.0)
            before = cpu_seconds(pids)
            fast, _, _, _ = run_chats(place, 16, seconds)
            # The driver warms up for half a second that is on the bill, too.
            spent = (cpu_seconds(pids) - before) / (fast * (seconds + 0.5)) * 1e6
            _, alone, _, _ = run_chats(place, 1, seconds)
            gateway.chats[provider] = fast, alone, spent
        except SystemExit as answer:
            gateway.failed[f"{provider}, plain"] = str(answer)
        try:
            run_streams(place, 1, 10, rate)
            for count in counts:
                got = run_streams(place, count, tokens, rate)
                gateway.late[provider, count] = sorted(got.late)
                gateway.broken += got.stalled + got.incomplete
        except SystemExit as answer:
            gateway.failed[f"{provider}, streamed"] = str(answer)
    gateway.memory = rss_mb(pids)


@contextlib.contextmanager
def started(command: list[str], port: int, **environment: str) -> Iterator[int]:
    """A gateway of others as a process; its id once it answers."""
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            command, stdout=said, stderr=said, env={**os.environ, **environment}, start_new_session=True
        )
        try:
            wait_for(port, child, said.fileno())
            yield child.pid
        finally:
            for pid in reversed(family(child.pid)):
                with contextlib.suppress(OSError):
                    os.kill(pid, 15)
            child.wait(20)


def wait_for(port: int, child: subprocess.Popen[bytes], output: int) -> None:
    until = time.monotonic() + 90
    while True:
        try:
            Place(port).connect().close()
            return
        except OSError:
            if child.poll() is not None or time.monotonic() > until:
                os.lseek(output, 0, os.SEEK_SET)
                raise SystemExit(
                    f"{child.args!r} does not serve:\n{os.read(output, 4000).decode()}"
                ) from None
            time.sleep(0.2)


@contextlib.contextmanager
def litellm(command: str, mock: int) -> Iterator[Gateway]:
    """Source of the settings: https://docs.litellm.ai/docs/proxy/configs."""
    address = f"http://127.0.0.1:{mock}"
    bases = {"openai": f"{address}/v1", "anthropic": address}
    models = [
        {
            "model_name": provider,
            "litellm_params": {
                "model": f"{provider}/{MODELS[provider]}",
                "api_base": bases[provider],
                "api_key": _KEY,
            },
        }
        for provider in PATHS
    ]
    port = free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"model_list": models, "litellm_settings": {"telemetry": False}}, file)
        file.flush()
        arguments = ["--config", file.name, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        environment = {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            # No clients' keys: nobody else's are checked here either.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        }
        with started([command, *arguments], port, **environment) as pid:
            places = {provider: Place(port, model=provider) for provider in PATHS}
            yield Gateway("LiteLLM", places, [pid])


@contextlib.contextmanager
def portkey(command: str, mock: int) -> Iterator[Gateway]:
    """Source of the headers: https://portkey.ai/docs/api-reference/inference-api/headers."""
    port = free_port()
    with started([command, f"--port={port}", "--headless"], port, NODE_ENV="production") as pid:
        places = {}
        for provider in PATHS:
            headers = (
                f"x-portkey-provider: {provider}\r\nx-portkey-custom-host: http://127.0.0.1:{mock}/v1\r\n"
                f"authorization: Bearer {_KEY}\r\n"
            )
            places[provider] = Place(port, headers=headers, model=MODELS[provider])
        yield Gateway("Portkey", places, [pid])


@contextlib.contextmanager
def relay(mock: int) -> Iterator[Gateway]:
    with process("streams_relay.py", str(mock)) as (port, pids):
        whole = Place(port)
        yield Gateway("this, relay alone", {provider: whole.at(provider) for provider in PATHS}, [*pids])


@contextlib.contextmanager
def on_kong(mock: int, *, own: bool) -> Iterator[Gateway]:
    """Kong with one worker: with this plugin and its usage filter, or with its own `ai-proxy`."""
    from kong import running

    with running(mock) as run:
        name = "Kong's ai-proxy" if own else "this, on Kong"
        prefix = "/own-" if own else "/"
        places = {provider: Place(run.port, f"{prefix}{provider}") for provider in PATHS}
        yield Gateway(name, places, [run.worker] if own else [run.worker, run.server])


def table(gateways: list[Gateway], counts: list[int]) -> str:
    """What was measured, as Markdown."""
    base = next((each for each in gateways if each.name == "this, on Kong"), gateways[0])

    def times(value: float, of: float) -> str:
        return f"{value:,.0f} (×{value / of:.2g})" if value >= 100 else f"{value:.2f} (×{value / of:.2g})"

    def late(gateway: Gateway, provider: str, count: int) -> str:
        if not gateway.late.get((provider, count)):
            return "fails"
        middle, worst = (percentile(gateway.late[provider, count], part) for part in (50, 99))
        of = percentile(base.late[provider, count], 99)
        return f"{middle:.1f} / {worst:.1f} (×{worst / of:.2g})"

    lines = []
    for provider in PATHS:
        cells = ["requests/s, 16 connections", "p50 of one, ms", "CPU a request, µs"]
        cells += [f"{count} streams, p50 / p99 ms" for count in counts]
        lines.append(f"\n### {provider.capitalize()}\n\n| gateway | {' | '.join(cells)} |")
        lines.append("|---" * (len(cells) + 1) + "|")
        for each in gateways:
            row = ["fails"] * 3
            if provider in each.chats:
                both = zip(each.chats[provider], base.chats[provider], strict=True)
                row = [times(got, of) for got, of in both]
            row += [late(each, provider, count) for count in counts]
            lines.append(f"| {each.name} | {' | '.join(row)} |")
    lines.append("\n### Memory, and streams that stalled for a second or lost tokens\n")
    lines.append("| gateway | RSS, MB | streams |\n|---|---|---|")
    lines += [f"| {each.name} | {each.memory:.0f} | {each.broken} |" for each in gateways]
    for each in gateways:
        lines += [f"\n{each.name}, {what}: {answer}" for what, answer in each.failed.items()]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--litellm", default=shutil.which("litellm"), help="the command; default: on PATH")
    parser.add_argument("--portkey", help="the command `gateway` of @portkey-ai/gateway")
    parser.add_argument("--streams", default="1,32,128", help="how many at once, comma-separated")
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement of chats")
    parser.add_argument(
        "--report", type=Path, metavar="FILE.md", help="write it there, with a plot beside it"
    )
    args = parser.parse_args()
    counts = [int(each) for each in args.streams.split(",")]
    gateways: list[Gateway] = []
    title = (
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f} at the start"
    )
    print(title, flush=True)
    with process("streams_mock.py") as (mock, _):
        todo = [relay(mock)]
        if shutil.which("kong"):
            todo += [on_kong(mock, own=False), on_kong(mock, own=True)]
        if args.litellm:
            todo.append(litellm(args.litellm, mock))
        if args.portkey:
            todo.append(portkey(args.portkey, mock))
        for each in todo:
            with each as gateway:
                print(f"measuring {gateway.name}", flush=True)
                measure(gateway, counts, args.tokens, args.rate, args.seconds)
                gateways.append(gateway)
    text = table(gateways, counts)
    print(text)
    if args.report:
        picture = args.report.with_suffix(".svg")
        most = counts[-1]
        lines = {f"{each.name}, {most}": each.late.get(("openai", most)) for each in gateways}
        plot({name: late for name, late in lines.items() if late}, picture)
        said = f"How late tokens of {most} streams arrive (OpenAI): ![]({picture.name})"
        args.report.write_text(f"# Gateways side by side\n\n{title}\n{text}\n\n{said}\n")


if __name__ == "__main__":
    main()

"""How late do tokens arrive, how many chats a second, how much memory? Measured at the relay.

    python benchmarks/streams.py                      all of it: a table (and streams.svg with --plot)
    python benchmarks/streams.py --only streams       or chats, memory
    python benchmarks/streams.py --gateway            through the development gateway, too
    python benchmarks/streams.py --workers 2          a relay of two worker processes, beside the one
    python benchmarks/streams.py --at 127.0.0.1:8000 --path /chat    through a gateway that is running already

Three processes: a mock provider whose every token says when it was sent (streams_mock.py), the relay
(streams_relay.py), and this driver. All on one machine, so the numbers include mock and driver; the rows
"mock alone" show how much of them is theirs. CPU is the relay process's own, from the operating system.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_TOKEN = re.compile(rb"@(\d+)@")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STALL = 1.0
"""Seconds without a token after which a stream counts as stalled."""


@dataclass
class Place:
    """Where requests go."""

    port: int
    path: str = "/v1/chat/completions"
    headers: str = ""
    pids: tuple[int, ...] = ()
    """The relay's processes."""
    host: str = "127.0.0.1"
    model: str = ""
    """Where the gateway has to be told."""

    def request(self, prompt: str, stream: bool) -> bytes:
        extra = '"stream":true,' if stream else ""
        extra += f'"model":"{self.model}",' if self.model else ""
        body = (
            f'{{{extra}"max_tokens":256,"messages":[{{"role":"system","content":'
            f'"You are brief."}},{{"role":"user","content":"What is one and one? {prompt}"}}]}}'
        )
        return (
            f"POST {self.path} HTTP/1.1\r\nhost: {self.host}\r\n{self.headers}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def connect(self) -> socket.socket:
        sock = socket.create_connection((self.host, self.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def at(self, ticket: str) -> Place:
        """The same relay, another ticket."""
        return Place(self.port, self.path, f"x-kong-ai-ticket: {ticket}\r\n", self.pids, self.host)


@dataclass
class Streams:
    """What one run of parallel streams gave."""

    late: list[float] = field(default_factory=list)
    """Milliseconds each token took."""
    first: list[float] = field(default_factory=list)
    stalled: int = 0
    incomplete: int = 0
    cpu: float = 0.0
    """Microseconds of the relay's CPU for a token."""
    shares: list[float] = field(default_factory=list)
    """What part of it each process had."""


def run_streams(place: Place, count: int, tokens: int, rate: float) -> Streams:
    """`count` streams at once, starting spread over one second."""
    result = Streams()
    poll = select.epoll()
    request = place.request(f"tokens={tokens} rate={rate:g} mode=ok", True)
    socks: dict[int, socket.socket] = {}
    tails: dict[int, bytes] = {}
    seen: dict[int, int] = {}
    last: dict[int, float] = {}
    stalled: set[int] = set()
    began = time.monotonic()
    cpu = [cpu_seconds((pid,)) for pid in place.pids]
    waiting = count
    while waiting or socks:
        now = time.monotonic()
        while waiting and now - began >= (count - waiting) / count:
            waiting -= 1
            sock = place.connect()
            sock.sendall(request)
            sock.setblocking(False)
            fd = sock.fileno()
            socks[fd], tails[fd], seen[fd], last[fd] = sock, b"", 0, now
            poll.register(fd, select.EPOLLIN)
        for fd, _ in poll.poll(0.002 if waiting else 0.5):
            data = socks[fd].recv(262144)
            now_ns = time.monotonic_ns()
            whole = tails[fd] + data
            end = 0
            for match in _TOKEN.finditer(whole):
                result.late.append((now_ns - int(match[1])) / 1e6)
                end = match.end()
                seen[fd] += 1
            tails[fd] = whole[max(end, len(whole) - 40) :]
            gap = now_ns / 1e9 - last[fd]
            last[fd] = now_ns / 1e9
            if gap > _STALL:
                stalled.add(fd)
            if whole.startswith(b"HTTP/1.1") and not whole.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {whole[:500]!r}")
            if not data or whole.endswith(b"0\r\n\r\n"):
                result.incomplete += seen[fd] != tokens
                poll.unregister(fd)
                socks.pop(fd).close()
        if time.monotonic() - began > tokens / rate + 30:
            result.incomplete += len(socks)
            break
    result.stalled = len(stalled)
    if place.pids and result.late:
        used = [cpu_seconds((pid,)) - before for pid, before in zip(place.pids, cpu, strict=True)]
        result.cpu = sum(used) / len(result.late) * 1e6
        result.shares = [each / (sum(used) or 1.0) for each in used]
    poll.close()
    for sock in socks.values():
        sock.close()
    return result


def run_chats(place: Place, connections: int, seconds: float) -> tuple[float, float, float, float]:
    """Whole answers in a closed loop: how many a second, median and p99 in ms, the relay's CPU in
    microseconds for each."""
    poll = select.epoll()
    request = place.request("", False)
    socks: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    buffers: dict[int, bytes] = {}
    for _ in range(connections):
        sock = place.connect()
        socks[sock.fileno()] = sock
        poll.register(sock.fileno(), select.EPOLLIN)
    took: list[float] = []
    warm = time.monotonic() + 0.5
    until = warm + seconds
    cpu = 0.0
    counting = False
    for fd, sock in socks.items():
        sent[fd], buffers[fd] = time.monotonic(), b""
        sock.sendall(request)
    while True:
        now = time.monotonic()
        if not counting and now >= warm:
            counting, cpu, took = True, cpu_seconds(place.pids), []
        if now >= until:
            break
        for fd, _ in poll.poll(1):
            sock = socks[fd]
            whole = buffers[fd] + sock.recv(262144)
            head, mark, body = whole.partition(b"\r\n\r\n")
            length = _LENGTH.search(head) if mark else None
            if length is None or len(body) < int(length[1]):
                buffers[fd] = whole
                continue
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"unexpected answer: {whole[:500]!r}")
            now = time.monotonic()
            took.append((now - sent[fd]) * 1000)
            sent[fd], buffers[fd] = now, b""
            sock.sendall(request)
    used = cpu_seconds(place.pids) - cpu
    for sock in socks.values():
        sock.close()
    poll.close()
    return len(took) / seconds, percentile(took, 50), percentile(took, 99), used / len(took) * 1e6


def run_short(place: Place, count: int, lanes: int = 16) -> None:
    """Short streams as fast as they go: of ten, seven complete, one errs, one is cut by the provider, one is
    left by the client."""
    poll = select.epoll()
    modes = ["ok"] * 7 + ["error", "cut", "leave"]
    requests = {mode: place.request(f"tokens=20 rate=0 mode={mode}", True) for mode in ("ok", "error", "cut")}
    requests["leave"] = place.request("tokens=20 rate=200 mode=ok", True)
    socks: dict[int, tuple[socket.socket, str]] = {}
    tails: dict[int, bytes] = {}
    idle: list[socket.socket] = []
    started = 0
    while started < count or socks:
        while started < count and len(socks) < lanes:
            mode = modes[started % 10]
            started += 1
            sock = idle.pop() if idle else place.connect()
            sock.sendall(requests[mode])
            socks[sock.fileno()] = sock, mode
            tails[sock.fileno()] = b""
            poll.register(sock.fileno(), select.EPOLLIN)
        for fd, _ in poll.poll(5):
            sock, mode = socks[fd]
            try:
                data = sock.recv(262144)
            except OSError:
                data = b""
            tails[fd] = whole = tails[fd] + data
            refused = whole.startswith(b"HTTP/1.1 5") and whole.endswith(b"}")
            done = refused or whole.endswith(b"0\r\n\r\n")
            if mode == "leave" or not data or done:
                poll.unregister(fd)
                del socks[fd]
                if done and mode != "leave":
                    idle.append(sock)
                else:
                    sock.close()
    for sock in idle:
        sock.close()
    poll.close()


def cpu_seconds(pids: tuple[int, ...]) -> float:
    """Time all threads of the processes were on a CPU, as the scheduler counts it: clock ticks are too
    coarse."""
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").glob("*/schedstat")]
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def rss_mb(pids: tuple[int, ...]) -> float:
    """Resident memory of the processes together."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def percentile(values: list[float], percent: float) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@contextmanager
def process(script: str, *args: str) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A script of ours that prints the port it listens on: port and process ids."""
    child = subprocess.Popen([sys.executable, str(HERE / script), *args], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        port, *pids = child.stdout.readline().split()
        yield int(port), tuple(map(int, pids)) or (child.pid,)
    finally:
        child.terminate()
        child.wait()
        child.stdout.close()


def several(workers: int, mock: int, plugin: str) -> Any:
    """A relay of several processes, where asked for."""
    return process("streams_relay.py", str(mock), str(workers), plugin) if workers > 1 else nullcontext()


def report_streams(
    places: dict[str, Place], counts: list[int], tokens: int, rate: float
) -> dict[str, list[float]]:
    print(f"\n### How late tokens arrive: streams of {rate:g} tokens/s, {tokens} tokens each, ms\n")
    print("| where | streams | p50 | p90 | p99 | max | stalled | incomplete | relay CPU, µs/token |")
    print("|---|---|---|---|---|---|---|---|---|")
    lines: dict[str, list[float]] = {}
    for place in places.values():
        run_streams(place, 1, 10, rate)  # what is loaded at first use is not what is measured
    for count in counts:
        for name, place in places.items():
            got = run_streams(place, count, tokens, rate)
            cells = [percentile(got.late, each) for each in (50, 90, 99, 100)]
            numbers = " | ".join(f"{cell:.2f}" for cell in cells)
            cpu = f"{got.cpu:.0f}" if place.pids else "–"
            if len(got.shares) > 1:
                cpu += f" ({' + '.join(f'{share:.0%}' for share in got.shares)})"
            print(f"| {name} | {count} | {numbers} | {got.stalled} | {got.incomplete} | {cpu} |", flush=True)
            lines[f"{name}, {count}"] = sorted(got.late)
    return lines


def report_chats(places: dict[str, Place], seconds: float) -> None:
    print("\n### Whole chats, closed loop\n")
    print("| where | connections | chats/s | p50 ms | p99 ms | relay CPU, µs/chat |")
    print("|---|---|---|---|---|---|")
    for connections in (1, 16):
        for name, place in places.items():
            rate, median, worst, cpu = run_chats(place, connections, seconds)
            spent = f"{cpu:.0f}" if place.pids else "–"
            numbers = f"{rate:.0f} | {median:.2f} | {worst:.2f}"
            print(f"| {name} | {connections} | {numbers} | {spent} |", flush=True)


def report_memory(place: Place, count: int) -> None:
    assert place.pids
    print("\n### Memory: short streams, 10 % errors, 10 % cut by the provider, 10 % left by the client\n")
    print("| after | RSS, MB |")
    print("|---|---|")
    print(f"| start | {rss_mb(place.pids):.1f} |", flush=True)
    run_short(place, 2000)
    print(f"| 2000 to warm up | {rss_mb(place.pids):.1f} |", flush=True)
    for part in range(1, 5):
        run_short(place, count // 4)
        time.sleep(0.3)
        print(f"| {part * count // 4} more | {rss_mb(place.pids):.1f} |", flush=True)


def plot(lines: dict[str, list[float]], path: Path) -> None:
    """Each run as a curve: the share of tokens (up) that were at most so late (right, logarithmic)."""
    width, height, left, top = 760, 420, 60, 20
    colours = ["#888", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf"]
    low, high = 0.1, 1000.0

    def x(late: float) -> float:
        return left + (width - left - 20) * math.log(max(low, min(late, high)) / low) / math.log(high / low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + 60}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
    ]
    for tick in (0.1, 1, 10, 100, 1000):
        parts.append(
            f'<path d="M{x(tick):.1f} {top}V{height}" stroke="#ddd"/>'
            f'<text x="{x(tick):.1f}" y="{height + 18}" text-anchor="middle">{tick:g} ms</text>'
        )
    for share in (0.0, 0.5, 0.9, 1.0):
        y = height - (height - top) * share
        parts.append(
            f'<path d="M{left} {y:.1f}H{width - 20}" stroke="#ddd"/>'
            f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    for index, (name, late) in enumerate(lines.items()):
        step = max(1, len(late) // 300)
        points = " ".join(
            f"{x(late[at]):.1f},{height - (height - top) * (at + 1) / len(late):.1f}"
            for at in range(0, len(late), step)
        )
        colour = colours[index % len(colours)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        y = height - 150 + 15 * index
        parts.append(f'<text x="{width - 260}" y="{y}" fill="{colour}">{name}</text>')
    label = "how late a token arrives"
    parts.append(f'<text x="{width / 2}" y="{height + 42}" text-anchor="middle">{label}</text>')
    parts.append("</svg>")
    path.write_text("\n".join(parts))
    print(f"\nplot: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=["streams", "chats", "memory"])
    parser.add_argument("--streams", default="1,32,128", help="how many at once, comma-separated")
    parser.add_argument("--tokens", type=int, default=250)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each row of chats")
    parser.add_argument("--count", type=int, default=20_000, help="short streams for the memory test")
    parser.add_argument("--at", metavar="HOST:PORT", help="a gateway that runs already")
    parser.add_argument("--path", default="/v1/chat/completions")
    parser.add_argument("--gateway", action="store_true", help="through the development gateway, too")
    parser.add_argument("--workers", type=int, default=1, help="beside the relay one of so many processes")
    parser.add_argument("--plugin", default="kong-ai-proxy", help="or kong-ai-proxy-advanced: two targets")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    args = parser.parse_args()
    counts = [int(each) for each in args.streams.split(",")]
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {load:.1f} at the start")
    lines: dict[str, list[float]] = {}
    if args.at:
        host, _, port = args.at.rpartition(":")
        places = {f"at {args.at}": Place(int(port), args.path, host=host)}
        if args.only in (None, "streams"):
            lines = report_streams(places, counts, args.tokens, args.rate)
        if args.only in (None, "chats"):
            report_chats(places, args.seconds)
    else:
        with (
            process("streams_mock.py") as (mock, _),
            process("streams_relay.py", str(mock), "1", args.plugin) as (port, pids),
            several(args.workers, mock, args.plugin) as many,
            process("streams_gateway.py", str(mock)) if args.gateway else nullcontext() as gateway,
        ):
            relay = Place(port, args.path, pids=pids)
            places = {
                "mock alone": Place(mock),
                "relay, OpenAI passed through": relay.at("openai"),
                "relay, Anthropic translated": relay.at("anthropic"),
            }
            if many is not None:
                workers = Place(many[0], args.path, pids=many[1])
                places[f"{args.workers} workers, OpenAI passed through"] = workers.at("openai")
                places[f"{args.workers} workers, Anthropic translated"] = workers.at("anthropic")
            if gateway is not None:
                for provider in ("openai", "anthropic"):
                    name = f"development gateway, {provider}"
                    places[name] = Place(gateway[0], f"/{provider}/v1/chat/completions", pids=gateway[1])
            if args.only in (None, "memory"):
                report_memory(places["relay, Anthropic translated"], args.count)
            if args.only in (None, "streams"):
                lines = report_streams(places, counts, args.tokens, args.rate)
            if args.only in (None, "chats"):
                report_chats(places, args.seconds)
    if args.plot and lines:
        plot(lines, args.plot)


if __name__ == "__main__":
    main()

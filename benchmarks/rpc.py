"""How fast is the plugin server? Speaks Kong's side of the RPC over the unix socket.

    python benchmarks/rpc.py [--seconds 2] [--connections 16] [--rounds 3]

Measures in one run, alternating, so that both see the same machine:

* an empty phase on this project's server and on kong-pdk's own gevent server (the bar: at least 1.4 times as
fast); * the real plugin's access and log phases with the usage filter, and access, response and log without
it: round trips,
  requests a second and the server's CPU time for each request.

The driver is one process with one greenlet for each connection. Requests/s are what the two together do on
this machine; CPU times are the server process's own, from the operating system.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import msgpack
from gevent import socket

HERE = Path(__file__).resolve().parent
BAR = 1.4
CONFIG = {
    "__plugin_id": "11111111-2222-3333-4444-555555555555",
    "__seq__": 1,
    "route_id": "66666666-7777-8888-9999-000000000000",
    "route_type": "llm/v1/chat",
    "auth": {"header_name": "Authorization", "header_value": "Bearer not-a-key"},
    "logging": {"log_statistics": True},
    "model": {"provider": "openai", "name": "gpt-4o"},
}
BODY = json.dumps({"messages": [{"role": "user", "content": "What is 1+1?"}]}).encode()

_KONG_PDK_SERVER = """
import sys
from gevent import monkey; monkey.patch_all()
from kong_pdk.listener import UnixStreamServer
from kong_pdk.logger import Logger
from kong_pdk.module import Module
from kong_pdk.server import PluginServer

class Plugin:
    def __init__(self, config): pass
    def access(self, kong): pass

class mod:
    Schema = []
    version = "0"
    priority = 0
mod.Plugin = Plugin

server = PluginServer(loglevel=Logger.WARNING, use_gevent=True, lua_style=False)
server.plugins["empty"] = Module("empty", module=mod)
UnixStreamServer(server, sys.argv[1], sock_name="empty.sock", use_gevent=True).serve_forever()
"""

_OUR_SERVER = """
import sys
from gevent import monkey; monkey.patch_all()
import gevent, socket
from kong_ai_proxy import log
from kong_ai_proxy.server.instances import Plugin
from kong_ai_proxy.server.rpc import RpcServer

class Empty:
    def __init__(self, config): pass
    def access(self, kong): pass

log.configure("error")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + "/empty.sock")
RpcServer({"empty": Plugin("empty", Empty, frozenset({"access"}))}).listen(listener)
gevent.wait()
"""

_PLUGIN_SERVER = """
import sys
from gevent import monkey; monkey.patch_all()
import gevent, socket
from kong_ai_proxy import log
from kong_ai_proxy.exchange.tickets import TicketStore
from kong_ai_proxy.plugin import Context
from kong_ai_proxy.server.address import RelayAddress
from kong_ai_proxy.server.rpc import RpcServer
from kong_ai_proxy.server.serve import plugins

# The relay is not measured here, so its part of a ticket's life is played: redeemed at once, the re
class Tickets(TicketStore):
    def file(self, ticket, token=None):
        token = super().file(ticket, token)
        self.redeem(token)
        return token

    def collect(self, token):
        return RECORD

RECORD = {"meta": {"request_model": "gpt-4o", "response_model": "gpt-4o", "provider_name": "openai",
                   "llm_latency": 900, "plugin_id": "11111111-2222-3333-4444-555555555555"},
          "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15, "cost": 0,
                    "time_per_token": 300, "time_to_first_token": 900},
          "tried_targets": [{"provider": "openai", "model": "gpt-4o", "host": "api.openai.com", "port": 443,
                             "upstream_scheme": "https", "upstream_uri": "/v1/chat/completions",
                             "route_type": "llm/v1/chat", "ip": "192.0.2.1"}]}

log.configure("error")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1] + "/empty.sock")
offered = plugins(Context(Tickets(), RelayAddress(("127.0.0.1", 8125))))
RpcServer(offered).listen(listener)
gevent.wait()
"""


@dataclass
class Server:
    path: str
    process: subprocess.Popen[bytes]

    def cpu(self) -> float:
        """Seconds of user and system time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def server(program: str) -> Iterator[Server]:
    """A server program in a process of its own, listening on empty.sock in a directory of its own."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory, "server.py")  # kong-pdk wants to know its main program's file
        script.write_text(program)
        process = subprocess.Popen([sys.executable, str(script), directory])
        path = f"{directory}/empty.sock"
        try:
            for _ in range(200):
                try:
                    with socket.socket(socket.AF_UNIX) as probe:
                        probe.connect(path)
                    break
                except OSError:
                    gevent.sleep(0.05)
            else:
                raise RuntimeError("the server does not start")
            yield Server(path, process)
        finally:
            process.terminate()
            process.wait()


class Driver:
    """A connection that does as little work as it can: the answers' bytes are looked at, not decoded
    fully."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._unpacker = msgpack.Unpacker(strict_map_key=False)
        self._packer = msgpack.Packer()

    def call(self, method: str, argument: Any) -> Any:
        self._socket.sendall(self._packer.pack([0, 1, method, [argument]]))
        while True:
            self._unpacker.feed(self._socket.recv(65536))
            for message in self._unpacker:
                if message[2] is not None:
                    raise RuntimeError(message[2])
                return message[3]

    def start(self, name: str, config: Any) -> int:
        return int(self.call("plugin.StartInstance", {"Name": name, "Config": json.dumps(config)})["Id"])

    def phase(self, instance: int, phase: str, answers: dict[str, Any]) -> int:
        """Run a phase; gives the number of round trips."""
        trips = 1
        step = self.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": phase})
        while step["Data"] != "ret":
            value = answers.get(step["Data"]["Method"])
            step = self.call("plugin.Step", {"EventId": step["EventId"], "Data": value})
            trips += 1
        return trips


Request = Callable[[Driver, int], int]
"""One request's phases; gives its round trips."""


def empty(driver: Driver, instance: int) -> int:
    return driver.phase(instance, "access", {})


def with_filter(driver: Driver, instance: int) -> int:
    service = {"protocol": "http", "host": "127.0.0.1", "port": 8125}
    announced = {"v": 2, "ticket": "f" * 32, "taken": True, "captures": [], "service": service}
    return driver.phase(instance, "access", {"kong.ctx.shared.get": announced})


def without_filter(driver: Driver, instance: int) -> int:
    return (
        driver.phase(
            instance,
            "access",
            {
                "kong.request.get_raw_body": BODY,
                "kong.router.get_service": {"protocol": "http", "host": "127.0.0.1", "port": 8125},
            },
        )
        + driver.phase(instance, "response", {"kong.response.get_header": "the-token"})
    )


@dataclass
class Result:
    rate: float
    """Requests a second."""
    cpu: float
    """Microseconds of the server's CPU for each request."""
    trips: float
    p50: float
    p99: float
    """Milliseconds a request took."""


def measure(served: Server, request: Request, plugin: str, seconds: float, connections: int) -> Result:
    """Run `request` on some connections for some seconds."""
    drivers = [Driver(served.path) for _ in range(connections)]
    instance = drivers[0].start(plugin, CONFIG)
    for driver in drivers:
        request(driver, instance)
    took: list[float] = []
    trips = 0
    until = time.perf_counter() + seconds

    def work(driver: Driver) -> None:
        nonlocal trips
        now = time.perf_counter()
        while now < until:
            made = request(driver, instance)
            trips += made  # not in one statement: other greenlets add meanwhile
            before, now = now, time.perf_counter()
            took.append(now - before)

    cpu = served.cpu()
    begun = time.perf_counter()
    gevent.joinall([gevent.spawn(work, driver) for driver in drivers], raise_error=True)
    elapsed = time.perf_counter() - begun
    cpu = served.cpu() - cpu
    took.sort()
    n = len(took)
    return Result(n / elapsed, cpu / n * 1e6, trips / n, took[n // 2] * 1e3, took[n * 99 // 100] * 1e3)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON too")
    args = parser.parse_args()

    print("| what | connections | requests/s | round trips | server CPU µs | p50 ms | p99 ms |")
    print("|---|---|---|---|---|---|---|")
    ratios: list[float] = []
    results: dict[str, list[Result]] = {}

    def row(name: str, result: Result, connections: int) -> None:
        results.setdefault(f"{name} x{connections}", []).append(result)
        print(
            f"| {name} | {connections} | {result.rate:,.0f} | {result.trips:.2f} | {result.cpu:.0f} "
            f"| {result.p50:.2f} | {result.p99:.2f} |",
            flush=True,
        )

    with server(_KONG_PDK_SERVER) as theirs, server(_OUR_SERVER) as ours:
        for _ in range(args.rounds):
            their = measure(theirs, empty, "empty", args.seconds, args.connections)
            our = measure(ours, empty, "empty", args.seconds, args.connections)
            row("empty phase, kong-pdk gevent", their, args.connections)
            row("empty phase, this server", our, args.connections)
            ratios.append(our.rate / their.rate)
    with server(_PLUGIN_SERVER) as ours:
        for connections in (1, args.connections):
            for name, request in (
                ("access, usage filter", with_filter),
                ("access + response, no filter", without_filter),
            ):
                result = measure(ours, request, "kong-ai-proxy", args.seconds, connections)
                row(name, result, connections)
    ratio = statistics.median(ratios)
    print(f"\nempty phase: {ratio:.2f} times kong-pdk's rate (median of {len(ratios)}); the bar is {BAR}")
    print(f"driver's own CPU: {resource.getrusage(resource.RUSAGE_SELF).ru_utime:.1f} s")
    if args.json:
        print(json.dumps({name: [vars(r) for r in rs] for name, rs in results.items()}))
    return 0 if ratio >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())

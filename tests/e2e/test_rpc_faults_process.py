"""`kong-ai-proxy serve` as a process: how it starts, what ends it, what Kong sees when it dies under
load."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gateway_support import WORKERS
from gevent import socket

from kong_ai_proxy.devgateway.rpc import ExternalPlugin, LuaError, RpcClient, RpcError

SOCKETS = ("kong-ai-proxy.sock", "kong-ai-proxy-advanced.sock")
CHAT = {
    "route_type": "llm/v1/chat",
    "auth": {"header_name": "Authorization", "header_value": "Bearer very-secret-key"},
    "model": {"provider": "openai", "name": "gpt-4o"},
}


class Process:
    """A served directory; collects the log."""

    def __init__(
        self, prefix: Path, *, command: list[str] | None = None, arguments: tuple[str, ...] = ()
    ) -> None:
        self.prefix = prefix
        self.log = prefix / f"log-{time.monotonic_ns()}"
        serve = [
            sys.executable, "-m", "kong_ai_proxy.cli", "serve", "--kong-prefix", str(prefix),
            "--relay", "127.0.0.1:0", "--grace", "3", "--workers", WORKERS, *arguments,
        ]  # fmt: skip
        with open(self.log, "wb") as out:
            # As Kong does it: hardly any environment.
            environment = {"PWD": str(prefix), "LC_CTYPE": "C.UTF-8"}
            self.process = subprocess.Popen(
                [*(command or []), *serve], stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=prefix
            )

    def lines(self, event: str) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            if line.startswith("{"):
                record = json.loads(line)
                if record["event"] == event:
                    found.append(record)
        return found

    def ready(self) -> Process:
        wait_for(lambda: self.lines("serving") or self.process.poll() is not None)
        assert self.lines("serving"), self.log.read_text()
        return self

    def ended(self) -> int:
        wait_for(lambda: self.process.poll() is not None)
        return int(self.process.returncode)


def wait_for(done: Callable[[], Any], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "too slow"
        gevent.sleep(0.02)


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def begin(**options: Any) -> Process:
        started.append(Process(tmp_path, **options))
        return started[-1]

    with gevent.Timeout(60, AssertionError("the test hangs")):
        try:
            yield begin
        finally:
            for each in started:
                each.process.kill()
                each.process.wait()


def access(client: RpcClient, instance: int) -> list[str]:
    calls: list[str] = []

    def pdk(method: str, args: list[Any]) -> Any:
        calls.append(method)
        return {"v": 2, "service": None} if method == "kong.ctx.shared.get" else None

    client.handle_event(instance, "access", pdk)
    return calls


def test_both_plugins_are_served_and_sigterm_ends_it_cleanly(start, tmp_path):
    server = start().ready()
    for name in SOCKETS:
        assert (tmp_path / name).is_socket()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    other = RpcClient(str(tmp_path / SOCKETS[1]))
    one = client.start_instance("kong-ai-proxy", {"__plugin_id": "a", **CHAT})["Id"]
    two = other.start_instance("kong-ai-proxy-advanced", {"__plugin_id": "b", "targets": [CHAT]})["Id"]
    assert access(client, one) == access(other, two)
    relay = server.lines("serving")[0]["relay"]
    with socket.create_connection(relay.split(":"), timeout=5) as plain:
        plain.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}")
        assert plain.recv(65536).startswith(b"HTTP/1.1 503"), "no ticket, no service"
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
    assert not any((tmp_path / name).exists() for name in SOCKETS)
    assert server.lines("stopped")
    assert "very-secret-key" not in server.log.read_text()
    client.close()
    other.close()


def test_a_bad_configuration_is_refused_with_its_field(start, tmp_path):
    start().ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    with pytest.raises(RpcError, match=r"model\.provider"):
        client.start_instance("kong-ai-proxy", {**CHAT, "model": {"provider": "nobody"}})
    with pytest.raises(RpcError, match="bogus"):
        client.start_instance("kong-ai-proxy", {**CHAT, "bogus": 1})
    client.close()


def test_a_second_server_is_refused_and_does_no_harm(start, tmp_path):
    first = start().ready()
    second = start()
    assert second.ended() == 1
    assert "another plugin server" in second.lines("not_started")[0]["reason"]
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    assert client.call("plugin.GetStatus")["Pid"] == first.process.pid
    client.close()


def test_a_killed_servers_sockets_are_replaced(start, tmp_path):
    first = start().ready()
    first.process.kill()
    first.ended()
    assert (tmp_path / SOCKETS[0]).exists()
    second = start().ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    assert client.call("plugin.GetStatus")["Pid"] == second.process.pid
    client.close()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(("--kong-prefix", "/nowhere/at/all"), "No such file"), (("--relay", "192.0.2.1:1"), "assign")],
)
def test_what_cannot_be_had_is_said(start, arguments, reason, tmp_path):
    server = start(arguments=arguments)
    assert server.ended() == 1
    assert reason in server.lines("not_started")[0]["reason"]
    assert not any((tmp_path / name).exists() for name in SOCKETS)


def test_bad_arguments(start):
    server = start(arguments=("--relay", "nonsense"))
    assert server.ended() == 2
    assert "HOST:PORT" in server.log.read_text()


# The parent starts the server as its child and waits; the test then kills the parent.
_PARENT = 'exec -a "$0" "$1" -c "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()" "${@:2}"'


@pytest.mark.parametrize(("parent", "ends"), [("nginx: worker process", True), ("bash", False)])
def test_the_server_goes_with_kong_but_not_with_a_shell(start, tmp_path, parent, ends):
    server = start(command=["/bin/bash", "-c", _PARENT, parent, sys.executable]).ready()
    pid = server.lines("serving")[0]["pid"]
    assert pid != server.process.pid
    server.process.kill()
    server.process.wait()
    try:
        if ends:
            wait_for(lambda: not (tmp_path / SOCKETS[0]).exists())
            wait_for(lambda: not Path(f"/proc/{pid}").exists() or zombie(pid))
            assert server.lines("stopping")[0]["reason"] == "Kong is gone"
        else:
            gevent.sleep(1.5)
            client = RpcClient(str(tmp_path / SOCKETS[0]))
            assert client.call("plugin.GetStatus")["Pid"] == pid
            client.close()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_phase_that_runs_may_end_while_the_server_stops(start, tmp_path):
    server = start().ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    instance = client.start_instance("kong-ai-proxy", CHAT)["Id"]
    step = client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not (tmp_path / SOCKETS[0]).exists())
    finish(client, step)
    assert server.ended() == 0
    client.close()


def finish(client: RpcClient, step: Any) -> None:
    """Answers what a phase asks, to its end."""
    while step["Data"] != "ret":
        data = {"v": 2} if step["Data"]["Method"] == "kong.ctx.shared.get" else None
        step = client.call("plugin.Step", {"EventId": step["EventId"], "Data": data})


def test_an_abandoned_phase_delays_the_end_no_longer_than_the_grace(start, tmp_path):
    server = start(arguments=("--grace", "1")).ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    instance = client.start_instance("kong-ai-proxy", CHAT)["Id"]
    client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    begun = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.ended() == 0
    assert time.monotonic() - begun < 4
    assert server.lines("stopped")[0]["drained"] is False
    client.close()


def test_a_successor_starts_while_the_old_server_still_drains(start, tmp_path):
    first = start(arguments=("--grace", "30")).ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]))
    instance = client.start_instance("kong-ai-proxy", CHAT)["Id"]
    step = client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    first.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not (tmp_path / SOCKETS[0]).exists())
    second = start().ready()
    assert first.process.poll() is None, "it waits for the phase"
    finish(client, step)
    assert first.ended() == 0
    other = RpcClient(str(tmp_path / SOCKETS[0]))
    assert other.call("plugin.GetStatus")["Pid"] == second.process.pid
    client.close()
    other.close()


def test_killed_and_restarted_under_load_every_request_is_answered_in_time(start, tmp_path):
    """No phase hangs while the server is away, and none ever runs with another instance's configuration."""
    server = start().ready()
    client = RpcClient(str(tmp_path / SOCKETS[0]), read_timeout=5, rotate=True)
    plugin = ExternalPlugin("kong-ai-proxy", client)
    slowest = 0.0
    outcomes = {"ran": 0, "passed by": 0, "refused": 0}
    stop = gevent.event.Event()

    def requests(worker: int) -> None:
        nonlocal slowest
        conf = {"__plugin_id": f"p{worker % 3}", "__seq__": worker % 3, **CHAT}
        while not stop.is_set():
            ran: list[str] = []

            def pdk(method: str, args: list[Any], ran: list[str] = ran) -> Any:
                ran.append(method)
                return {"v": 2} if method == "kong.ctx.shared.get" else None

            begun = time.monotonic()
            try:
                plugin.handle_event(conf, "access", pdk)
            except LuaError:
                outcomes["refused"] += 1  # the instance could not be started: Kong answers 500
            else:
                outcomes["ran" if "kong.nginx.set_ctx" in ran else "passed by"] += 1
            slowest = max(slowest, time.monotonic() - begun)
            gevent.sleep(0.005)

    workers = [gevent.spawn(requests, n) for n in range(12)]
    for _ in range(2):
        gevent.sleep(0.5)
        server.process.kill()
        server.ended()
        gevent.sleep(0.2)
        server = start().ready()
    gevent.sleep(0.3)
    before = outcomes["ran"]
    gevent.sleep(0.5)
    stop.set()
    gevent.joinall(workers, raise_error=True)
    assert outcomes["ran"] > before > 0, "back to work after a restart"
    assert outcomes["passed by"] + outcomes["refused"] > 0
    assert slowest < 5
    client.close()

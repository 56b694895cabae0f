"""A plugin server on a socket of its own, with a plugin that does what a test tells it."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gevent
import pytest

from kong_ai_proxy import log
from kong_ai_proxy.devgateway.rpc import RpcClient
from kong_ai_proxy.server.events import Events
from kong_ai_proxy.server.instances import Plugin
from kong_ai_proxy.server.rpc import RpcServer

PHASES = frozenset({"certificate", "rewrite", "access", "response", "log"})
DEADLINE = 20.0
"""Seconds after which a test that hangs is failed."""


class Scripted:
    """A plugin instance whose phases are set by the test."""

    phases: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    closed: ClassVar[list[str]] = []

    def __init__(self, config: dict[str, Any]) -> None:
        if "model" in config and not isinstance(config["model"], str):
            raise ValueError("config.model: expected a string")
        if config.get("crash"):
            raise RuntimeError("boom in the constructor")
        self.config = config

    def __getattr__(self, phase: str) -> Callable[[Any], Any]:
        if phase not in PHASES:
            raise AttributeError(phase)
        return self.phases.get(phase, lambda kong: None)

    def close(self) -> None:
        self.closed.append(self.config.get("name", ""))


@dataclass
class Served:
    server: RpcServer
    path: Path
    log: io.StringIO
    clients: list[RpcClient] = field(default_factory=list)

    def client(self, **options: Any) -> RpcClient:
        client = RpcClient(str(self.path), read_timeout=5.0, **options)
        self.clients.append(client)
        return client

    def instance(self, client: RpcClient, **config: Any) -> int:
        return int(client.start_instance("scripted", {"__plugin_id": "p1", **config})["Id"])

    def phase(self, name: str, handler: Callable[[Any], Any]) -> None:
        Scripted.phases[name] = handler

    def lines(self, event: str | None = None) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [line for line in found if event is None or line["event"] == event]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    stream = io.StringIO()
    log.configure("debug", stream)
    Scripted.phases = {}
    Scripted.closed = []
    path = tmp_path / "s.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    server = RpcServer({"scripted": Plugin("scripted", Scripted, PHASES)}, events=Events(0.3, 0.6))
    server.listen(listener)
    served = Served(server, path, stream)
    with gevent.Timeout(DEADLINE, AssertionError("the test hangs")):
        try:
            yield served
        finally:
            for client in served.clients:
                client.close()
            server.close()
            log.configure("info", None)

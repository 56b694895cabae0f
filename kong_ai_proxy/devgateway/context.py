"""What Kong keeps for one request: `ngx.ctx`, nginx's variables, the route, the answer so far."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..core.json import Json
from .client import ClientRequest, ClientWriter
from .declared import WORKSPACE, Declared
from .headers import Headers
from .router import Match

SERVER = "kong/3.9.3"
"""How this gateway names itself: tests and plugins see what they would see on Kong."""


class Exit(Exception):
    """`kong.response.exit`: the phase ends here with this answer."""

    def __init__(self, status: int, body: Any = None, headers: dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


@dataclass(slots=True)
class Response:
    """The answer as the filters see it."""

    status: int = 200
    headers: Headers = field(default_factory=Headers)
    upstream_status: int | None = None
    upstream_headers: Headers = field(default_factory=Headers)
    body: bytes | None = None
    """The service's whole body, where Kong buffers it."""
    buffered: bool = False


class Shared:
    """`kong.ctx.shared`: Python values until the request first meets Lua, then a Lua table."""

    __slots__ = ("_from_lua", "_to_lua", "_values", "table")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self.table: Any = None
        self._to_lua: Callable[[Any], Any] = _same
        self._from_lua: Callable[[Any], Any] = _same

    def get(self, key: Any) -> Any:
        return self._values.get(key) if self.table is None else self._from_lua(self.table[key])

    def set(self, key: Any, value: Any) -> None:
        if self.table is None:
            self._values[key] = value
        else:
            self.table[key] = self._to_lua(value)

    def move(self, table: Any, to_lua: Callable[[Any], Any], from_lua: Callable[[Any], Any]) -> Any:
        """From now on the values live in this Lua table."""
        if self.table is None:
            for key, value in self._values.items():
                table[key] = to_lua(value)
            self.table, self._to_lua, self._from_lua = table, to_lua, from_lua
        return self.table


def _same(value: Any) -> Any:
    return value


class Context:
    """One request's whole state."""

    def __init__(self, request: ClientRequest, writer: ClientWriter, declared: Declared, port: int) -> None:
        self.request = request
        self.writer = writer
        self.declared = declared
        self.server_port = port
        self.id = os.urandom(16).hex()
        self.started = time.time()
        self._clock = time.monotonic()
        self.phase = "rewrite"
        self.ctx: dict[str, Any] = {"workspace": WORKSPACE}
        """`ngx.ctx`."""
        self.shared = Shared()
        self.variables: dict[str, str] = {}
        """Variables that were set: `upstream_uri`, `upstream_host`, …"""
        self.raw_path, _, self.args = request.raw_uri.partition("?")
        self.match: Match | None = None
        self.response = Response()
        self.serialize_values: list[tuple[str, Any, str]] = []
        self.consumer: Json | None = None
        self.credential: Json | None = None
        self.plugin_id = ""
        self.target: tuple[str, int] | None = None
        """Host and port by `kong.service.set_target`."""
        self.timeouts: list[int] | None = None
        self.retries: int | None = None
        self.tries: list[Json] = []
        self.proxied = self.exited = self.unexpected = False
        # Milliseconds since the request began; None until known.
        self.proxy_latency: int | None = None
        self.waiting_time: int | None = None
        self.response_latency: int | None = None
        self.receive_time: int | None = None

    def elapsed(self) -> int:
        """Milliseconds since the request began."""
        return int((time.monotonic() - self._clock) * 1000)

    @property
    def route(self) -> Json | None:
        return self.match.route if self.match else None

    @property
    def service(self) -> Json | None:
        return self.match.service if self.match else None

    @property
    def client_ip(self) -> str:
        return str(self.request.connection.address[0])

    @property
    def host(self) -> str:
        """nginx's `$host`: lower-case, without the port."""
        given = (self.request.headers.get("host") or "").lower()
        if given.startswith("["):
            return given.partition("]")[0] + "]"
        return given.rsplit(":", 1)[0] if ":" in given else given

    def source(self) -> str:
        """Who made the answer, in the words of the log record."""
        if self.unexpected:
            return "kong"
        if self.exited:
            return "kong"
        return "upstream" if self.proxied else "kong"

    def variable(self, name: str) -> Any:
        """`ngx.var[name]`; None where nginx would have no value."""
        if name in self.variables:
            return self.variables[name]
        getter = _VARIABLES.get(name)
        if getter is not None:
            return getter(self)
        for prefix, find in _PREFIXED.items():
            if name.startswith(prefix):
                return find(self, name[len(prefix) :])
        return None


def _size(context: Context) -> str:
    return str(context.request.length)


def _args(context: Context, name: str) -> str | None:
    for pair in context.args.split("&"):
        key, _, value = pair.partition("=")
        if key.lower() == name.lower():
            return value
    return None


def _joined(values: list[str]) -> str | None:
    return ", ".join(values) if values else None


def _header(headers: Headers, name: str) -> str | None:
    wanted = name.replace("_", "-")
    return _joined(headers.all(wanted))


_VARIABLES: dict[str, Callable[[Context], Any]] = {
    "args": lambda c: c.args or None,
    "query_string": lambda c: c.args or None,
    "is_args": lambda c: "?" if c.args else "",
    "request_uri": lambda c: c.request.raw_uri,
    "uri": lambda c: c.raw_path,
    "request_method": lambda c: c.request.method,
    "method": lambda c: c.request.method,
    "request": lambda c: f"{c.request.method} {c.request.raw_uri} HTTP/{c.request.version}",
    "server_protocol": lambda c: f"HTTP/{c.request.version}",
    "scheme": lambda c: "http",
    "https": lambda c: "",
    "host": lambda c: c.host,
    "remote_addr": lambda c: c.client_ip,
    "realip_remote_addr": lambda c: c.client_ip,
    "remote_port": lambda c: str(c.request.connection.address[1]),
    "realip_remote_port": lambda c: str(c.request.connection.address[1]),
    "server_port": lambda c: str(c.server_port),
    "content_length": lambda c: c.request.headers.get("content-length"),
    "content_type": lambda c: c.request.headers.get("content-type"),
    "request_id": lambda c: c.id,
    "kong_request_id": lambda c: c.id,
    "request_length": _size,
    "request_time": lambda c: f"{c.elapsed() / 1000:.3f}",
    "bytes_sent": lambda c: str(c.writer.sent),
    "status": lambda c: str(c.response.status),
    "upstream_status": lambda c: str(c.response.upstream_status) if c.response.upstream_status else None,
    "upstream_host": lambda c: "",
    "upstream_uri": lambda c: "",
    "upstream_upgrade": lambda c: "",
    "upstream_connection": lambda c: "",
    "upstream_scheme": lambda c: "",
    "kong_proxy_mode": lambda c: "http",
    "connection_upgrade": lambda c: None,
}

_PREFIXED: dict[str, Callable[[Context, str], Any]] = {
    "http_": lambda c, name: _header(c.request.headers, name),
    "arg_": _args,
    "upstream_http_": lambda c, name: _header(c.response.upstream_headers, name),
    "sent_http_": lambda c, name: _header(c.response.headers, name),
}

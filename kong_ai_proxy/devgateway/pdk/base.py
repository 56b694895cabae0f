"""How a PDK function is registered, checked and called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.json import Json
from ..context import Context, Shared
from ..headers import MAX_HEADERS, utf8, wire
from ..rpc import LuaError, MissingMethod

REQUEST_PHASES = frozenset(
    {"rewrite", "access", "balancer", "response", "header_filter", "body_filter", "log", "error"}
)
AUTH_AND_LATER = frozenset({"access", "header_filter", "response", "body_filter", "log"})
ACCESS = frozenset({"access"})
ACCESS_REWRITE = frozenset({"access", "rewrite"})
BEFORE_CONTENT = frozenset({"rewrite", "access", "response", "error"})
HEADER_BODY_LOG = frozenset({"response", "header_filter", "body_filter", "log", "error"})
WRITABLE = frozenset({"rewrite", "access", "response", "balancer", "header_filter", "error"})
LEVELS = ("debug", "info", "notice", "warn", "err", "crit", "alert", "emerg")
_FROM_THE_WIRE = (
    "kong.request.get_",
    "kong.response.get_h",
    "kong.service.response.get_h",
    "kong.nginx.get_var",
)


@dataclass(slots=True)
class Saved:
    """What Kong keeps of a request for the `log` phase, which runs in a timer."""

    serialized: Json
    ctx: dict[str, Any]
    shared: Shared
    request_headers: dict[str, Any]
    response_headers: dict[str, Any]
    status: int
    started: float


class Pdk:
    """The functions for one request, in the phase it is in; with `saved`, in the log timer."""

    def __init__(self, context: Context, plugin: str, saved: Saved | None = None) -> None:
        self.context = context
        self.plugin = plugin
        self.saved = saved

    def __call__(self, method: str, args: list[Any]) -> Any:
        function = FUNCTIONS.get(method)
        if function is None:
            raise MissingMethod(method)
        if self.saved is not None and method not in IN_TIMER:
            # A timer has no request: nginx's API says so.
            raise LuaError(f"{method}: API disabled in the context of ngx.timer")
        phases = function.phases
        if phases is not None and self.context.phase not in phases:
            raise LuaError(
                f"function cannot be called in {self.context.phase} phase "
                f"(only in: {', '.join(sorted(phases))})"
            )
        try:
            value = function.run(self, *args[: function.most])
        except TypeError as error:
            raise LuaError(f"bad arguments to {method}: {error}") from error
        return utf8(value) if method.startswith(_FROM_THE_WIRE) else value


@dataclass(frozen=True, slots=True)
class Function:
    run: Callable[..., Any]
    phases: frozenset[str] | None
    most: int


FUNCTIONS: dict[str, Function] = {}


def pdk_function(
    name: str, phases: frozenset[str] | None = None, most: int = 4
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        taken = function.__code__.co_argcount - 1
        FUNCTIONS[name] = Function(function, phases, min(most, taken))
        return function

    return register


def must(condition: bool, message: str) -> None:
    if not condition:
        raise LuaError(message)


def limit(value: Any, name: str) -> int:
    if value is None:
        return MAX_HEADERS
    must(isinstance(value, (int, float)), f"{name} must be a number")
    must(value >= 1, f"{name} must be >= 1")
    must(value <= 1000, f"{name} must be <= 1000")
    return int(value)


def simple(name: str, get: Callable[[Context], Any]) -> None:
    FUNCTIONS[name] = Function(lambda pdk: get(pdk.context), REQUEST_PHASES, 0)


def without_nil(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nil(item) for key, item in value.items() if item is not None}
    return [without_nil(item) for item in value] if isinstance(value, list) else value


def header_values(name: Any, value: Any) -> str | list[str]:
    """A header's value as Kong's `normalize_multi_header` has it."""
    must(isinstance(name, str), f"invalid header name {name!r}: expected string")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.14g}"
    if isinstance(value, (str, bytes)):
        return wire(value) or " "
    must(isinstance(value, (list, tuple)) or value == {}, f"invalid header value for {name!r}")
    for item in value:
        must(isinstance(item, str), f"invalid header value in array {name!r}: expected string")
    return [wire(item) or " " for item in value]


IN_TIMER = {
    "kong.log.serialize", "kong.log.set_serialize_value", "kong.nginx.get_ctx", "kong.nginx.set_ctx",
    "kong.ctx.shared.get", "kong.ctx.shared.set", "kong.request.get_headers", "kong.request.get_header",
    "kong.request.get_uri_captures", "kong.request.get_start_time", "kong.response.get_status",
    "kong.response.get_headers", "kong.response.get_header", "kong.response.get_source",
    "kong.nginx.req_start_time", "kong.nginx.get_subsystem", "kong.client.get_consumer",
    "kong.client.get_credential", "kong.client.load_consumer", "kong.router.get_route",
    "kong.router.get_service", "kong.plugin.get_id", "kong.node.get_id", "kong.node.get_hostname",
    "kong.node.get_memory_stats", "kong.ip.is_trusted", "kong.vault.get", "kong.log",
    *(f"kong.log.{level}" for level in LEVELS),
}  # fmt: skip
"""What works without a request: functions that Kong serves from saved data or from `ngx.ctx`."""

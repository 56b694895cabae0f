"""The PDK functions a plugin may call over the RPC, with Kong's results, checks and errors.

After `kong/pdk/` and `kong/runloop/plugin_servers/plugin.lua` of Kong 3.9.3. A function whose check fails
throws (`LuaError`), as the Lua one does.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.json import Json, dumps_text
from .context import Context, Exit, Shared
from .headers import MAX_HEADERS, Headers, utf8, wire
from .record import query_table, serialize, to_json
from .router import normalize
from .rpc import LuaError, MissingMethod

_REQUEST_PHASES = frozenset(
    {"rewrite", "access", "balancer", "response", "header_filter", "body_filter", "log", "error"}
)
_AUTH_AND_LATER = frozenset({"access", "header_filter", "response", "body_filter", "log"})
_ACCESS = frozenset({"access"})
_ACCESS_REWRITE = frozenset({"access", "rewrite"})
_BEFORE_CONTENT = frozenset({"rewrite", "access", "response", "error"})
_HEADER_BODY_LOG = frozenset({"response", "header_filter", "body_filter", "log", "error"})
_WRITABLE = frozenset({"rewrite", "access", "response", "balancer", "header_filter", "error"})
_LEVELS = ("debug", "info", "notice", "warn", "err", "crit", "alert", "emerg")
_FROM_THE_WIRE = (
    "kong.request.get_",
    "kong.response.get_h",
    "kong.service.response.get_h",
    "kong.nginx.get_var",
)
_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "MKCOL", "COPY", "MOVE"}

NODE_ID = str(uuid.uuid4())


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
        function = _FUNCTIONS.get(method)
        if function is None:
            raise MissingMethod(method)
        if self.saved is not None and method not in _IN_TIMER:
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
class _Function:
    run: Callable[..., Any]
    phases: frozenset[str] | None
    most: int


_FUNCTIONS: dict[str, _Function] = {}


def _pdk(
    name: str, phases: frozenset[str] | None = None, most: int = 4
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        taken = function.__code__.co_argcount - 1
        _FUNCTIONS[name] = _Function(function, phases, min(most, taken))
        return function

    return register


def _must(condition: bool, message: str) -> None:
    if not condition:
        raise LuaError(message)


def _limit(value: Any, name: str) -> int:
    if value is None:
        return MAX_HEADERS
    _must(isinstance(value, (int, float)), f"{name} must be a number")
    _must(value >= 1, f"{name} must be >= 1")
    _must(value <= 1000, f"{name} must be <= 1000")
    return int(value)


# -- kong.request ------------------------------------------------------------------------------------------


def _simple(name: str, get: Callable[[Context], Any]) -> None:
    _FUNCTIONS[name] = _Function(lambda pdk: get(pdk.context), _REQUEST_PHASES, 0)


_simple("kong.request.get_scheme", lambda c: "http")
_simple("kong.request.get_host", lambda c: c.host)
_simple("kong.request.get_port", lambda c: c.server_port)
_simple("kong.request.get_forwarded_scheme", lambda c: "http")
_simple("kong.request.get_forwarded_host", lambda c: c.host)
_simple("kong.request.get_forwarded_port", lambda c: c.server_port)
_simple("kong.request.get_forwarded_path", lambda c: normalize(c.raw_path))
_simple("kong.request.get_forwarded_prefix", lambda c: c.match.prefix if c.match else None)
_simple("kong.request.get_http_version", lambda c: float(c.request.version))
_simple("kong.request.get_method", lambda c: c.request.method)
_simple("kong.request.get_path", lambda c: normalize(c.raw_path))
_simple("kong.request.get_raw_path", lambda c: c.raw_path)
_simple("kong.request.get_path_with_query", lambda c: c.request.raw_uri)
_simple("kong.request.get_raw_query", lambda c: c.args)
_simple("kong.request.get_start_time", lambda c: int(c.started * 1000))


@_pdk("kong.request.get_query", _REQUEST_PHASES)
def _get_query(pdk: Pdk, most: Any = None) -> Json:
    return query_table(pdk.context.args, _limit(most, "max_args"))


@_pdk("kong.request.get_query_arg", _REQUEST_PHASES)
def _get_query_arg(pdk: Pdk, name: Any = None) -> Any:
    _must(isinstance(name, str), "query argument name must be a string")
    value = query_table(pdk.context.args).get(name)
    return value[0] if isinstance(value, list) else value


@_pdk("kong.request.get_header", _REQUEST_PHASES)
def _get_header(pdk: Pdk, name: Any = None) -> Any:
    _must(isinstance(name, str), "header name must be a string")
    if pdk.saved is not None:
        value = pdk.saved.request_headers.get(name.lower())
        return value[0] if isinstance(value, list) else value
    return pdk.context.request.headers.get(name.replace("_", "-"))


@_pdk("kong.request.get_headers", _REQUEST_PHASES)
def _get_headers(pdk: Pdk, most: Any = None) -> Json:
    if pdk.saved is not None:
        return pdk.saved.request_headers
    return pdk.context.request.headers.table(_limit(most, "max_headers"))


@_pdk("kong.request.get_raw_body", _BEFORE_CONTENT)
def _get_raw_body(pdk: Pdk, most: Any = None) -> bytes | None:
    """nil (which breaks the RPC codec) for a body on disk, unless a size that suffices, or 0, is given."""
    request = pdk.context.request
    request.read_body()
    if request.spooled and (most is None or most < 0 or (most > 0 and request.body_size > most)):
        return None
    return request.body()


@_pdk("kong.request.get_uri_captures", _REQUEST_PHASES)
def _get_uri_captures(pdk: Pdk) -> Json:
    match = pdk.context.match
    return {"unnamed": match.unnamed if match else [], "named": match.named if match else {}}


# -- kong.client, kong.router, kong.service ----------------------------------------------------------------

_simple("kong.client.get_ip", lambda c: c.client_ip)
_simple("kong.client.get_forwarded_ip", lambda c: c.client_ip)
_simple("kong.client.get_port", lambda c: c.request.connection.address[1])
_simple("kong.client.get_forwarded_port", lambda c: c.request.connection.address[1])
_simple("kong.client.get_protocol", lambda c: "http")
_FUNCTIONS["kong.client.get_consumer"] = _Function(lambda pdk: pdk.context.consumer, _AUTH_AND_LATER, 0)
_FUNCTIONS["kong.client.get_credential"] = _Function(lambda pdk: pdk.context.credential, _AUTH_AND_LATER, 0)
_FUNCTIONS["kong.router.get_route"] = _Function(lambda pdk: pdk.context.route, _AUTH_AND_LATER, 0)
_FUNCTIONS["kong.router.get_service"] = _Function(lambda pdk: pdk.context.service, _AUTH_AND_LATER, 0)


@_pdk("kong.client.load_consumer", _AUTH_AND_LATER)
def _load_consumer(pdk: Pdk, name: Any = None, by_username: Any = False) -> Json | None:
    _must(isinstance(name, str), "consumer_id must be a string")
    is_uuid = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name, re.IGNORECASE)
    _must(bool(is_uuid or by_username), "cannot load a consumer with an id that is not a uuid")
    return pdk.context.declared.consumer(name)


@_pdk("kong.client.authenticate", _ACCESS)
def _authenticate(pdk: Pdk, consumer: Any = None, credential: Any = None) -> None:
    _must(bool(consumer or credential), "either credential or consumer must be provided")
    pdk.context.consumer, pdk.context.credential = consumer, credential


@_pdk("kong.service.set_target", _ACCESS_REWRITE)
def _set_target(pdk: Pdk, host: Any = None, port: Any = None) -> None:
    _must(isinstance(host, str), "host must be a string")
    _must(isinstance(port, (int, float)) and int(port) == port, "port must be an integer")
    _must(0 <= port <= 65535, f"port must be an integer between 0 and 65535: given {port}")
    pdk.context.variables["upstream_host"] = host
    pdk.context.target = (host, int(port))


@_pdk("kong.service.set_retries", _ACCESS)
def _set_retries(pdk: Pdk, retries: Any = None) -> None:
    _must(isinstance(retries, (int, float)) and int(retries) == retries, "retries must be an integer")
    _must(0 <= retries <= 32767, f"retries must be an integer between 0 and 32767: given {retries}")
    pdk.context.retries = int(retries)


@_pdk("kong.service.set_timeouts", _ACCESS)
def _set_timeouts(pdk: Pdk, connect: Any = None, write: Any = None, read: Any = None) -> None:
    for name, value in (("connect", connect), ("write", write), ("read", read)):
        integer = isinstance(value, (int, float)) and int(value) == value
        _must(integer, f"{name}_timeout must be an integer")
        _must(1 <= value <= 2147483646, f"{name}_timeout must be an integer between 1 and 2147483646")
    # Kong's set_timeouts writes `write_timeout`, its balancer reads `send_timeout`: the service's stays.
    pdk.context.timeouts = [int(connect), -1, int(read)]


@_pdk("kong.service.request.enable_buffering", frozenset({"access", "rewrite", "balancer"}))
def _enable_buffering(pdk: Pdk) -> None:
    pdk.context.ctx["buffered_proxying"] = True


@_pdk("kong.service.request.set_scheme", _ACCESS_REWRITE)
def _set_scheme(pdk: Pdk, scheme: Any = None) -> None:
    _must(isinstance(scheme, str), "scheme must be a string")
    _must(scheme in ("http", "https"), f"invalid scheme: {scheme}")
    pdk.context.variables["upstream_scheme"] = scheme


@_pdk("kong.service.request.set_path", _ACCESS_REWRITE)
def _set_path(pdk: Pdk, path: Any = None) -> None:
    from .router import escape

    _must(isinstance(path, str), "path must be a string")
    _must(path.startswith("/"), "path must start with /")
    pdk.context.variables["upstream_uri"] = escape(path)


@_pdk("kong.service.request.set_raw_query", _ACCESS_REWRITE)
def _set_raw_query(pdk: Pdk, query: Any = None) -> None:
    _must(isinstance(query, str), "query must be a string")
    pdk.context.args = query


@_pdk("kong.service.request.set_method", _ACCESS_REWRITE)
def _set_method(pdk: Pdk, method: Any = None) -> None:
    _must(isinstance(method, str), "method must be a string")
    _must(method in _METHODS, f"invalid method: {method}")
    pdk.context.request.method = method


@_pdk("kong.service.request.set_raw_body", _ACCESS_REWRITE)
def _set_raw_body(pdk: Pdk, body: Any = None) -> None:
    data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    _must(isinstance(data, bytes), "body must be a string")
    pdk.context.request.replace_body(data)


def header_values(name: Any, value: Any) -> str | list[str]:
    """A header's value as Kong's `normalize_multi_header` has it."""
    _must(isinstance(name, str), f"invalid header name {name!r}: expected string")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return f"{value:.14g}"
    if isinstance(value, (str, bytes)):
        return wire(value) or " "
    _must(isinstance(value, (list, tuple)) or value == {}, f"invalid header value for {name!r}")
    for item in value:
        _must(isinstance(item, str), f"invalid header value in array {name!r}: expected string")
    return [wire(item) or " " for item in value]


def _set_request_header(pdk: Pdk, name: Any, value: Any) -> None:
    values = header_values(name, value)
    if name.lower() == "host" and isinstance(value, str):
        pdk.context.variables["upstream_host"] = value
    pdk.context.request.headers.set(name, values)


@_pdk("kong.service.request.set_header", frozenset({"access", "rewrite", "balancer"}))
def _service_set_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    _set_request_header(pdk, name, value)


@_pdk("kong.service.request.add_header", _ACCESS_REWRITE)
def _service_add_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    values = header_values(name, value)
    for item in [values] if isinstance(values, str) else values:
        pdk.context.request.headers.add(name, item)


@_pdk("kong.service.request.clear_header", _ACCESS_REWRITE)
def _service_clear_header(pdk: Pdk, name: Any = None) -> None:
    _must(isinstance(name, str), "header must be a string")
    pdk.context.request.headers.remove(name)


@_pdk("kong.service.request.set_headers", _ACCESS_REWRITE)
def _service_set_headers(pdk: Pdk, headers: Any = None) -> None:
    _must(isinstance(headers, Mapping) or headers == [], "headers must be a table")
    for name, value in dict(headers or {}).items():
        _set_request_header(pdk, name, value)


@_pdk("kong.service.response.get_status", _HEADER_BODY_LOG)
def _service_status(pdk: Pdk) -> int | None:
    return pdk.context.response.upstream_status


@_pdk("kong.service.response.get_headers", _HEADER_BODY_LOG)
def _service_headers(pdk: Pdk, most: Any = None) -> Json:
    # Of a buffered answer Kong gives a table that looks headers up one by one and has none to enumerate.
    if pdk.context.response.buffered:
        return {}
    return pdk.context.response.upstream_headers.table(_limit(most, "max_headers"))


@_pdk("kong.service.response.get_header", _HEADER_BODY_LOG)
def _service_header(pdk: Pdk, name: Any = None) -> str | None:
    _must(isinstance(name, str), "name must be a string")
    return pdk.context.response.upstream_headers.get(name)


@_pdk("kong.service.response.get_raw_body", _HEADER_BODY_LOG)
def _service_body(pdk: Pdk) -> bytes:
    _must(
        bool(pdk.context.ctx.get("buffered_proxying")),
        "service body is only available with buffered proxying "
        "(see: kong.service.request.enable_buffering function)",
    )
    return pdk.context.response.body or b""


# -- kong.response -----------------------------------------------------------------------------------------


def _headers_of(pdk: Pdk) -> Headers:
    _must(not pdk.context.writer.started, "headers have already been sent")
    return pdk.context.response.headers


def _settable(name: str) -> bool:
    return name.lower() not in ("transfer-encoding", "transfer_encoding")


@_pdk("kong.response.get_status", _HEADER_BODY_LOG)
def _status(pdk: Pdk) -> int:
    return pdk.saved.status if pdk.saved else pdk.context.response.status


@_pdk("kong.response.get_headers", _HEADER_BODY_LOG)
def _response_headers(pdk: Pdk, most: Any = None) -> Json:
    if pdk.saved is not None:
        return pdk.saved.response_headers
    return pdk.context.response.headers.table(_limit(most, "max_headers"))


@_pdk("kong.response.get_header", _HEADER_BODY_LOG)
def _response_header(pdk: Pdk, name: Any = None) -> Any:
    _must(isinstance(name, str), "header name must be a string")
    table = pdk.saved.response_headers if pdk.saved else pdk.context.response.headers.table()
    value = table.get(name.lower())
    return value[0] if isinstance(value, list) else value


@_pdk("kong.response.get_source", None)
def _source(pdk: Pdk) -> str:
    context = pdk.context
    if context.unexpected:
        return "error"
    if context.exited:
        return "exit"
    return "service" if context.proxied else "error"


@_pdk("kong.response.set_status", _WRITABLE)
def _set_status(pdk: Pdk, status: Any = None) -> None:
    headers_open = not pdk.context.writer.started
    _must(headers_open, "headers have already been sent")
    _must(isinstance(status, (int, float)), "code must be a number")
    _must(100 <= status <= 599, "code must be a number between 100 and 599")
    pdk.context.response.status = int(status)


@_pdk("kong.response.set_header", _WRITABLE)
def _set_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    headers, values = _headers_of(pdk), header_values(name, value)
    if _settable(name):
        headers.set(name, values)


@_pdk("kong.response.add_header", _WRITABLE)
def _add_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    headers, values = _headers_of(pdk), header_values(name, value)
    for item in [values] if isinstance(values, str) else values:
        headers.add(name, item)


@_pdk("kong.response.clear_header", _WRITABLE)
def _clear_header(pdk: Pdk, name: Any = None) -> None:
    headers = _headers_of(pdk)
    _must(isinstance(name, str), "header name must be a string")
    headers.remove(name)


@_pdk("kong.response.set_headers", _WRITABLE)
def _set_headers(pdk: Pdk, given: Any = None) -> None:
    headers = _headers_of(pdk)
    _must(isinstance(given, Mapping) or given == [], "headers must be a table")
    for name, value in dict(given or {}).items():
        values = header_values(name, value)
        if _settable(name):
            headers.set(name, values)


@_pdk("kong.response.exit", _WRITABLE)
def _exit(pdk: Pdk, status: Any = None, body: Any = None, headers: Any = None) -> None:
    _must(not pdk.context.writer.started, "headers have already been sent")
    _must(isinstance(status, (int, float)), "code must be a number")
    _must(100 <= status <= 599, "code must be a number between 100 and 599")
    fits = body is None or isinstance(body, (str, bytes, dict, list))
    _must(fits, "body must be a nil, string or table")
    _must(headers is None or isinstance(headers, (dict, list)), "headers must be a nil or table")
    given = dict(headers or {})
    for name, value in given.items():
        header_values(name, value)
    pdk.context.exited = True
    raise Exit(int(status), body, given)


@_pdk("kong.response.error", _WRITABLE)
def _error(pdk: Pdk, status: Any = None, message: Any = None, headers: Any = None) -> None:
    from .errors import error_body

    _must(isinstance(status, (int, float)), "code must be a number")
    _must(400 <= status <= 599, "code must be a number between 400 and 599")
    if isinstance(message, (dict, list)):
        message = dumps_text(message)
    context = pdk.context
    kind, body = error_body(int(status), context.request.headers.get("accept"), context.id, message)
    context.exited = True
    raise Exit(int(status), body, {**dict(headers or {}), "Content-Type": kind})


# -- kong.log, kong.nginx, kong.ctx, kong.node, … ----------------------------------------------------------


def _register_log(level: str) -> None:
    def write(pdk: Pdk, *parts: Any) -> None:
        text = "".join(_lua_text(part) for part in parts)
        print(f"[{level}] [{pdk.plugin}] {text}", file=sys.stderr, flush=True)

    _FUNCTIONS[f"kong.log.{level}"] = _Function(write, None, 50)


for _level in _LEVELS:
    _register_log(_level)
_FUNCTIONS["kong.log"] = _FUNCTIONS["kong.log.notice"]


def _lua_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (dict, list)):
        return f"table: 0x{id(value):x}"
    return {None: "nil", True: "true", False: "false"}.get(value) or str(value)


_WITH_CTX = frozenset({"rewrite", "access", "header_filter", "response", "body_filter", "log"})


@_pdk("kong.log.set_serialize_value", _WITH_CTX)
def _set_serialize_value(pdk: Pdk, key: Any = None, value: Any = None, options: Any = None) -> None:
    _must(isinstance(key, str), "key must be a string")
    mode = (options or {}).get("mode") or "set"
    _must(mode in ("set", "add", "replace"), "mode must be 'set', 'add' or 'replace'")
    pdk.context.serialize_values.append((key, _without_nil(value), mode))


def _without_nil(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nil(item) for key, item in value.items() if item is not None}
    return [_without_nil(item) for item in value] if isinstance(value, list) else value


@_pdk("kong.log.serialize", frozenset({"log"}))
def _serialize(pdk: Pdk) -> str:
    record = pdk.saved.serialized if pdk.saved else serialize(pdk.context)
    return to_json(record).decode()


@_pdk("kong.nginx.get_var")
def _get_var(pdk: Pdk, name: Any = None) -> Any:
    _must(isinstance(name, str), "bad variable name")
    return pdk.context.variable(name)


@_pdk("kong.nginx.get_ctx")
def _get_ctx(pdk: Pdk, key: Any = None) -> Any:
    return (pdk.saved.ctx if pdk.saved else pdk.context.ctx).get(key)


@_pdk("kong.nginx.set_ctx")
def _set_ctx(pdk: Pdk, key: Any = None, value: Any = None) -> None:
    _must(key is not None, "table index is nil")
    (pdk.saved.ctx if pdk.saved else pdk.context.ctx)[key] = value


_FUNCTIONS["kong.nginx.get_subsystem"] = _Function(lambda pdk: "http", None, 0)
_FUNCTIONS["kong.nginx.req_start_time"] = _Function(
    lambda pdk: pdk.saved.started if pdk.saved else pdk.context.started, None, 0
)
_FUNCTIONS["kong.nginx.get_tls1_version_str"] = _Function(lambda pdk: None, None, 0)


@_pdk("kong.ctx.shared.get")
def _shared_get(pdk: Pdk, key: Any = None) -> Any:
    return (pdk.saved.shared if pdk.saved else pdk.context.shared).get(key)


@_pdk("kong.ctx.shared.set")
def _shared_set(pdk: Pdk, key: Any = None, value: Any = None) -> None:
    _must(key is not None, "table index is nil")
    (pdk.saved.shared if pdk.saved else pdk.context.shared).set(key, value)


_FUNCTIONS["kong.plugin.get_id"] = _Function(lambda pdk: pdk.context.plugin_id, None, 0)
_FUNCTIONS["kong.node.get_id"] = _Function(lambda pdk: NODE_ID, None, 0)
_FUNCTIONS["kong.node.get_hostname"] = _Function(lambda pdk: socket.gethostname(), None, 0)
_FUNCTIONS["kong.node.get_memory_stats"] = _Function(
    lambda pdk: {"workers_lua_vms": [], "lua_shared_dicts": {}}, None, 1
)


@_pdk("kong.ip.is_trusted")
def _is_trusted(pdk: Pdk, address: Any = None) -> bool:
    return False


@_pdk("kong.vault.get")
def _vault_get(pdk: Pdk, reference: Any = None) -> str | None:
    """Environment references (`{vault://env/name}`) are all this gateway resolves."""
    return resolve_vault(reference)


def resolve_vault(reference: Any) -> str | None:
    """The value of a `{vault://env/…}` reference, or None."""
    found = re.fullmatch(r"\{vault://env/([\w/-]+)\}", reference) if isinstance(reference, str) else None
    if not found:
        return None
    return os.environ.get(found.group(1).replace("-", "_").upper())


_IN_TIMER = {
    "kong.log.serialize", "kong.log.set_serialize_value", "kong.nginx.get_ctx", "kong.nginx.set_ctx",
    "kong.ctx.shared.get", "kong.ctx.shared.set", "kong.request.get_headers", "kong.request.get_header",
    "kong.request.get_uri_captures", "kong.request.get_start_time", "kong.response.get_status",
    "kong.response.get_headers", "kong.response.get_header", "kong.response.get_source",
    "kong.nginx.req_start_time", "kong.nginx.get_subsystem", "kong.client.get_consumer",
    "kong.client.get_credential", "kong.client.load_consumer", "kong.router.get_route",
    "kong.router.get_service", "kong.plugin.get_id", "kong.node.get_id", "kong.node.get_hostname",
    "kong.node.get_memory_stats", "kong.ip.is_trusted", "kong.vault.get", "kong.log",
    *(f"kong.log.{level}" for level in _LEVELS),
}  # fmt: skip
"""What works without a request: functions that Kong serves from saved data or from `ngx.ctx`."""


def save(context: Context) -> Saved:
    """Take what the log timer will need. Raises LuaError as `kong.log.serialize` does."""
    return Saved(
        serialized=serialize(context),
        ctx=dict(context.ctx),
        shared=context.shared,
        request_headers=context.request.headers.table(),
        response_headers=context.response.headers.table(),
        status=context.response.status,
        started=time.time() if not context.started else context.started,
    )

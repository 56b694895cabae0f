"""`kong.service`: what goes to the service, and what came from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from ...core.json import Json
from ..router import escape
from .base import (
    ACCESS,
    ACCESS_REWRITE,
    HEADER_BODY_LOG,
    Pdk,
    header_values,
    limit,
    must,
    pdk_function,
)

_METHODS = {"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "TRACE", "MKCOL", "COPY", "MOVE"}


@pdk_function("kong.service.set_target", ACCESS_REWRITE)
def _set_target(pdk: Pdk, host: Any = None, port: Any = None) -> None:
    must(isinstance(host, str), "host must be a string")
    must(isinstance(port, (int, float)) and int(port) == port, "port must be an integer")
    must(0 <= port <= 65535, f"port must be an integer between 0 and 65535: given {port}")
    pdk.context.variables["upstream_host"] = host
    pdk.context.target = (host, int(port))


@pdk_function("kong.service.set_retries", ACCESS)
def _set_retries(pdk: Pdk, retries: Any = None) -> None:
    must(isinstance(retries, (int, float)) and int(retries) == retries, "retries must be an integer")
    must(0 <= retries <= 32767, f"retries must be an integer between 0 and 32767: given {retries}")
    pdk.context.retries = int(retries)


@pdk_function("kong.service.set_timeouts", ACCESS)
def _set_timeouts(pdk: Pdk, connect: Any = None, write: Any = None, read: Any = None) -> None:
    for name, value in (("connect", connect), ("write", write), ("read", read)):
        integer = isinstance(value, (int, float)) and int(value) == value
        must(integer, f"{name}_timeout must be an integer")
        must(1 <= value <= 2147483646, f"{name}_timeout must be an integer between 1 and 2147483646")
    # Kong's set_timeouts writes `write_timeout`, its balancer reads `send_timeout`: the service's stays.
    pdk.context.timeouts = [int(connect), -1, int(read)]


@pdk_function("kong.service.request.enable_buffering", frozenset({"access", "rewrite", "balancer"}))
def _enable_buffering(pdk: Pdk) -> None:
    pdk.context.ctx["buffered_proxying"] = True


@pdk_function("kong.service.request.set_scheme", ACCESS_REWRITE)
def _set_scheme(pdk: Pdk, scheme: Any = None) -> None:
    must(isinstance(scheme, str), "scheme must be a string")
    must(scheme in ("http", "https"), f"invalid scheme: {scheme}")
    pdk.context.variables["upstream_scheme"] = scheme


@pdk_function("kong.service.request.set_path", ACCESS_REWRITE)
def _set_path(pdk: Pdk, path: Any = None) -> None:

    must(isinstance(path, str), "path must be a string")
    must(path.startswith("/"), "path must start with /")
    pdk.context.variables["upstream_uri"] = escape(path)


@pdk_function("kong.service.request.set_raw_query", ACCESS_REWRITE)
def _set_raw_query(pdk: Pdk, query: Any = None) -> None:
    must(isinstance(query, str), "query must be a string")
    pdk.context.args = query


@pdk_function("kong.service.request.set_query", ACCESS_REWRITE)
def _set_query(pdk: Pdk, args: Any = None) -> None:
    must(isinstance(args, Mapping) or args == [], "args must be a table")
    pairs: list[str] = []
    for name, value in dict(args or {}).items():
        must(isinstance(name, str), "arg keys must be strings")
        for item in value if isinstance(value, list) else [value]:
            must(isinstance(item, (str, int, float, bool)), "bad argument in table")
            if item is not False:
                pairs.append(quote(name, safe="") + ("" if item is True else f"={quote(str(item), safe='')}"))
    pdk.context.args = "&".join(sorted(pairs))


@pdk_function("kong.service.request.clear_query_arg", ACCESS_REWRITE)
def _clear_query_arg(pdk: Pdk, name: Any = None) -> None:
    must(isinstance(name, str), "query argument name must be a string")
    pairs = pdk.context.args.split("&")
    pdk.context.args = "&".join(pair for pair in pairs if unquote(pair.partition("=")[0]) != name)


@pdk_function("kong.service.request.set_method", ACCESS_REWRITE)
def _set_method(pdk: Pdk, method: Any = None) -> None:
    must(isinstance(method, str), "method must be a string")
    must(method in _METHODS, f"invalid method: {method}")
    pdk.context.request.method = method


@pdk_function("kong.service.request.set_raw_body", ACCESS_REWRITE)
def _set_raw_body(pdk: Pdk, body: Any = None) -> None:
    data = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    must(isinstance(data, bytes), "body must be a string")
    pdk.context.request.replace_body(data)


def _set_request_header(pdk: Pdk, name: Any, value: Any) -> None:
    values = header_values(name, value)
    if name.lower() == "host" and isinstance(value, str):
        pdk.context.variables["upstream_host"] = value
    pdk.context.request.headers.set(name, values)


@pdk_function("kong.service.request.set_header", frozenset({"access", "rewrite", "balancer"}))
def _service_set_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    _set_request_header(pdk, name, value)


@pdk_function("kong.service.request.add_header", ACCESS_REWRITE)
def _service_add_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    values = header_values(name, value)
    for item in [values] if isinstance(values, str) else values:
        pdk.context.request.headers.add(name, item)


@pdk_function("kong.service.request.clear_header", ACCESS_REWRITE)
def _service_clear_header(pdk: Pdk, name: Any = None) -> None:
    must(isinstance(name, str), "header must be a string")
    pdk.context.request.headers.remove(name)


@pdk_function("kong.service.request.set_headers", ACCESS_REWRITE)
def _service_set_headers(pdk: Pdk, headers: Any = None) -> None:
    must(isinstance(headers, Mapping) or headers == [], "headers must be a table")
    for name, value in dict(headers or {}).items():
        _set_request_header(pdk, name, value)


@pdk_function("kong.service.response.get_status", HEADER_BODY_LOG)
def _service_status(pdk: Pdk) -> int | None:
    return pdk.context.response.upstream_status


@pdk_function("kong.service.response.get_headers", HEADER_BODY_LOG)
def _service_headers(pdk: Pdk, most: Any = None) -> Json:
    # Of a buffered answer Kong gives a table that looks headers up one by one and has none to enumerate.
    if pdk.context.response.buffered:
        return {}
    return pdk.context.response.upstream_headers.table(limit(most, "max_headers"))


@pdk_function("kong.service.response.get_header", HEADER_BODY_LOG)
def _service_header(pdk: Pdk, name: Any = None) -> str | None:
    must(isinstance(name, str), "name must be a string")
    return pdk.context.response.upstream_headers.get(name)


@pdk_function("kong.service.response.get_raw_body", HEADER_BODY_LOG)
def _service_body(pdk: Pdk) -> bytes:
    must(
        bool(pdk.context.ctx.get("buffered_proxying")),
        "service body is only available with buffered proxying "
        "(see: kong.service.request.enable_buffering function)",
    )
    return pdk.context.response.body or b""

"""`kong.response`: what goes to the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.json import Json, dumps_text
from ..context import Exit
from ..headers import Headers
from .base import (
    HEADER_BODY_LOG,
    WRITABLE,
    Pdk,
    header_values,
    limit,
    must,
    pdk_function,
)


def _headers_of(pdk: Pdk) -> Headers:
    must(not pdk.context.writer.started, "headers have already been sent")
    return pdk.context.response.headers


def _settable(name: str) -> bool:
    return name.lower() not in ("transfer-encoding", "transfer_encoding")


@pdk_function("kong.response.get_status", HEADER_BODY_LOG)
def _status(pdk: Pdk) -> int:
    return pdk.saved.status if pdk.saved else pdk.context.response.status


@pdk_function("kong.response.get_headers", HEADER_BODY_LOG)
def _response_headers(pdk: Pdk, most: Any = None) -> Json:
    if pdk.saved is not None:
        return pdk.saved.response_headers
    return pdk.context.response.headers.table(limit(most, "max_headers"))


@pdk_function("kong.response.get_header", HEADER_BODY_LOG)
def _response_header(pdk: Pdk, name: Any = None) -> Any:
    must(isinstance(name, str), "header name must be a string")
    table = pdk.saved.response_headers if pdk.saved else pdk.context.response.headers.table()
    value = table.get(name.lower())
    return value[0] if isinstance(value, list) else value


@pdk_function("kong.response.get_source", None)
def _source(pdk: Pdk) -> str:
    context = pdk.context
    if context.unexpected:
        return "error"
    if context.exited:
        return "exit"
    return "service" if context.proxied else "error"


@pdk_function("kong.response.set_status", WRITABLE)
def _set_status(pdk: Pdk, status: Any = None) -> None:
    headers_open = not pdk.context.writer.started
    must(headers_open, "headers have already been sent")
    must(isinstance(status, (int, float)), "code must be a number")
    must(100 <= status <= 599, "code must be a number between 100 and 599")
    pdk.context.response.status = int(status)


@pdk_function("kong.response.set_header", WRITABLE)
def _set_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    headers, values = _headers_of(pdk), header_values(name, value)
    if _settable(name):
        headers.set(name, values)


@pdk_function("kong.response.add_header", WRITABLE)
def _add_header(pdk: Pdk, name: Any = None, value: Any = None) -> None:
    headers, values = _headers_of(pdk), header_values(name, value)
    for item in [values] if isinstance(values, str) else values:
        headers.add(name, item)


@pdk_function("kong.response.clear_header", WRITABLE)
def _clear_header(pdk: Pdk, name: Any = None) -> None:
    headers = _headers_of(pdk)
    must(isinstance(name, str), "header name must be a string")
    headers.remove(name)


@pdk_function("kong.response.set_headers", WRITABLE)
def _set_headers(pdk: Pdk, given: Any = None) -> None:
    headers = _headers_of(pdk)
    must(isinstance(given, Mapping) or given == [], "headers must be a table")
    for name, value in dict(given or {}).items():
        values = header_values(name, value)
        if _settable(name):
            headers.set(name, values)


@pdk_function("kong.response.exit", WRITABLE)
def _exit(pdk: Pdk, status: Any = None, body: Any = None, headers: Any = None) -> None:
    must(not pdk.context.writer.started, "headers have already been sent")
    must(isinstance(status, (int, float)), "code must be a number")
    must(100 <= status <= 599, "code must be a number between 100 and 599")
    fits = body is None or isinstance(body, (str, bytes, dict, list))
    must(fits, "body must be a nil, string or table")
    must(headers is None or isinstance(headers, (dict, list)), "headers must be a nil or table")
    given = dict(headers or {})
    for name, value in given.items():
        header_values(name, value)
    pdk.context.exited = True
    raise Exit(int(status), body, given)


@pdk_function("kong.response.error", WRITABLE)
def _error(pdk: Pdk, status: Any = None, message: Any = None, headers: Any = None) -> None:
    from ..errors import error_body

    must(isinstance(status, (int, float)), "code must be a number")
    must(400 <= status <= 599, "code must be a number between 400 and 599")
    if isinstance(message, (dict, list)):
        message = dumps_text(message)
    context = pdk.context
    kind, body = error_body(int(status), context.request.headers.get("accept"), context.id, message)
    context.exited = True
    raise Exit(int(status), body, {**dict(headers or {}), "Content-Type": kind})

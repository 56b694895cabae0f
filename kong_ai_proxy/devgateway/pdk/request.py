"""`kong.request`, `kong.client` and `kong.router`: what came from the client, and where it goes."""

from __future__ import annotations

import re
from typing import Any

from ...core.json import Json, JSONDecodeError, loads
from ..record import query_table
from ..router import normalize
from .base import (
    ACCESS,
    AUTH_AND_LATER,
    BEFORE_CONTENT,
    FUNCTIONS,
    REQUEST_PHASES,
    Function,
    Pdk,
    limit,
    must,
    pdk_function,
    simple,
    without_nil,
)

simple("kong.request.get_scheme", lambda c: "http")
simple("kong.request.get_host", lambda c: c.host)
simple("kong.request.get_port", lambda c: c.server_port)
simple("kong.request.get_forwarded_scheme", lambda c: "http")
simple("kong.request.get_forwarded_host", lambda c: c.host)
simple("kong.request.get_forwarded_port", lambda c: c.server_port)
simple("kong.request.get_forwarded_path", lambda c: normalize(c.raw_path))
simple("kong.request.get_forwarded_prefix", lambda c: c.match.prefix if c.match else None)
simple("kong.request.get_http_version", lambda c: float(c.request.version))
simple("kong.request.get_method", lambda c: c.request.method)
simple("kong.request.get_path", lambda c: normalize(c.raw_path))
simple("kong.request.get_raw_path", lambda c: c.raw_path)
simple("kong.request.get_path_with_query", lambda c: c.request.raw_uri)
simple("kong.request.get_raw_query", lambda c: c.args)
simple("kong.request.get_start_time", lambda c: int(c.started * 1000))


@pdk_function("kong.request.get_query", REQUEST_PHASES)
def _get_query(pdk: Pdk, most: Any = None) -> Json:
    return query_table(pdk.context.args, limit(most, "max_args"))


@pdk_function("kong.request.get_query_arg", REQUEST_PHASES)
def _get_query_arg(pdk: Pdk, name: Any = None) -> Any:
    must(isinstance(name, str), "query argument name must be a string")
    value = query_table(pdk.context.args).get(name)
    return value[0] if isinstance(value, list) else value


@pdk_function("kong.request.get_header", REQUEST_PHASES)
def _get_header(pdk: Pdk, name: Any = None) -> Any:
    must(isinstance(name, str), "header name must be a string")
    if pdk.saved is not None:
        value = pdk.saved.request_headers.get(name.lower())
        return value[0] if isinstance(value, list) else value
    return pdk.context.request.headers.get(name.replace("_", "-"))


@pdk_function("kong.request.get_headers", REQUEST_PHASES)
def _get_headers(pdk: Pdk, most: Any = None) -> Json:
    if pdk.saved is not None:
        return pdk.saved.request_headers
    return pdk.context.request.headers.table(limit(most, "max_headers"))


@pdk_function("kong.request.get_raw_body", BEFORE_CONTENT)
def _get_raw_body(pdk: Pdk, most: Any = None) -> bytes | None:
    """nil (which breaks the RPC codec) for a body on disk, unless a size that suffices, or 0, is given."""
    request = pdk.context.request
    request.read_body()
    if request.spooled and (most is None or most < 0 or (most > 0 and request.body_size > most)):
        return None
    return request.body()


@pdk_function("kong.request.get_body", BEFORE_CONTENT)
def _get_body(pdk: Pdk, mimetype: Any = None, most_args: Any = None, most: Any = None) -> Any:
    """A JSON object or a form as a table; nil for anything else (the error, a second value, stays
    behind)."""
    given = mimetype or pdk.context.request.headers.get("content-type") or ""
    kind = str(given).split(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return query_table(pdk.context.request.body().decode("latin-1"), 1000)
    if kind != "application/json":
        return None
    data = _get_raw_body(pdk, most)
    if data is None:
        return None
    try:
        value = loads(data)
    except JSONDecodeError:
        return None
    return without_nil(value) if isinstance(value, (dict, list)) else None


@pdk_function("kong.request.get_uri_captures", REQUEST_PHASES)
def _get_uri_captures(pdk: Pdk) -> Json:
    match = pdk.context.match
    return {"unnamed": match.unnamed if match else [], "named": match.named if match else {}}


simple("kong.client.get_ip", lambda c: c.client_ip)
simple("kong.client.get_forwarded_ip", lambda c: c.client_ip)
simple("kong.client.get_port", lambda c: c.request.connection.address[1])
simple("kong.client.get_forwarded_port", lambda c: c.request.connection.address[1])
simple("kong.client.get_protocol", lambda c: "http")
FUNCTIONS["kong.client.get_consumer"] = Function(lambda pdk: pdk.context.consumer, AUTH_AND_LATER, 0)
FUNCTIONS["kong.client.get_credential"] = Function(lambda pdk: pdk.context.credential, AUTH_AND_LATER, 0)
FUNCTIONS["kong.router.get_route"] = Function(lambda pdk: pdk.context.route, AUTH_AND_LATER, 0)
FUNCTIONS["kong.router.get_service"] = Function(lambda pdk: pdk.context.service, AUTH_AND_LATER, 0)


@pdk_function("kong.client.load_consumer", AUTH_AND_LATER)
def _load_consumer(pdk: Pdk, name: Any = None, by_username: Any = False) -> Json | None:
    must(isinstance(name, str), "consumer_id must be a string")
    is_uuid = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name, re.IGNORECASE)
    must(bool(is_uuid or by_username), "cannot load a consumer with an id that is not a uuid")
    return pdk.context.declared.consumer(name)


@pdk_function("kong.client.authenticate", ACCESS)
def _authenticate(pdk: Pdk, consumer: Any = None, credential: Any = None) -> None:
    must(bool(consumer or credential), "either credential or consumer must be provided")
    pdk.context.consumer, pdk.context.credential = consumer, credential

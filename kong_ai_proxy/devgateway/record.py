"""The log record that `kong.log.serialize` gives, and the JSON Kong makes of it.

After `kong/pdk/log.lua` of Kong 3.9.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any
from urllib.parse import unquote_plus

from ..core.json import Json, dumps
from .context import Context
from .declared import WORKSPACE
from .headers import utf8
from .rpc import LuaError

_REDACTED = ("authorization", "proxy-authorization")


def serialize(context: Context) -> Json:
    """The record. Raises LuaError where a plugin set a value that fits nowhere."""
    request = context.request
    headers = utf8(request.headers.table())
    for name in _REDACTED:
        if name in headers:
            headers[name] = "REDACTED"
    uri = str(context.variable("upstream_uri") or "")
    if uri and "?" not in uri and context.args:
        uri += f"?{context.args}"
    record: Json = {
        "request": {
            "id": context.id,
            "uri": request.raw_uri,
            "url": f"http://{context.host}:{context.server_port}{request.raw_uri}",
            "querystring": query_table(context.args),
            "method": request.method,
            "headers": headers,
            "size": request.length,
        },
        "upstream_uri": uri,
        "upstream_status": _upstream_status(context),
        "response": {
            "status": context.response.status,
            "headers": {**utf8(context.response.headers.table()), **_framing(context)},
            "size": context.writer.sent,
        },
        "latencies": {
            "kong": next((x for x in (context.proxy_latency, context.response_latency) if x is not None), 0),
            "proxy": context.waiting_time if context.waiting_time is not None else -1,
            "request": context.elapsed(),
            "receive": context.receive_time or 0,
        },
        "tries": deepcopy(context.tries) if context.match is not None else None,
        "route": deepcopy(context.route),
        "service": deepcopy(context.service),
        "consumer": deepcopy(context.consumer),
        "client_ip": context.client_ip,
        "started_at": int(context.started * 1000),
        "source": context.source(),
        "workspace": WORKSPACE,
        "workspace_name": "default",
    }
    if context.credential is not None:
        record["authenticated_entity"] = {
            "id": context.credential.get("id"),
            "consumer_id": (context.credential.get("consumer") or {}).get("id"),
        }
    record = {name: value for name, value in record.items() if value is not None}
    for key, value, mode in context.serialize_values:
        _edit(record, key, value, mode)
    return record


def _upstream_status(context: Context) -> str | int:
    """nginx's variable, text; of a buffered answer Kong notes the number."""
    status = context.response.upstream_status or ""
    return status if context.response.buffered else str(status)


def _framing(context: Context) -> Json:
    """Headers `ngx.resp.get_headers` adds; in the log phase nginx has given the connection up already."""
    if context.phase != "log":
        return {}
    switched = {"connection": "upgrade"} if context.response.status == 101 else {"connection": "close"}
    return {**switched, "transfer-encoding": "chunked"} if context.writer.chunked else switched


def _edit(root: Json, key: str, value: Any, mode: str) -> None:
    *path, last = key.split(".")
    node: Any = root
    for part in path:
        if part not in node:
            if mode == "replace":
                return
            node[part] = {}
        elif not isinstance(node[part], dict):
            raise LuaError(
                f"The key '{key}' could not be used as a serialize value. "
                f"Subkey '{part}' is not a table. It's {node[part]}"
            )
        node = node[part]
    if (mode == "add" and last in node) or (mode == "replace" and last not in node):
        return
    if value is None:
        node.pop(last, None)
    else:
        node[last] = deepcopy(value)


def query_table(args: str, limit: int = 100) -> Json:
    """`ngx.req.get_uri_args`: true for a name without "=", a list where a name came several times."""
    table: Json = {}
    for pair in [pair for pair in args.split("&") if pair][:limit]:
        name, equals, given = pair.partition("=")
        key = unquote_plus(name, errors="surrogateescape")
        if not key:
            continue
        value: Any = unquote_plus(given, errors="surrogateescape") if equals else True
        if key not in table:
            table[key] = value
        elif isinstance(table[key], list):
            table[key].append(value)
        else:
            table[key] = [table[key], value]
    return table


def to_json(record: Any) -> bytes:
    """JSON as cjson writes it: 14 significant digits, whole numbers without a fraction, an empty table is
    an object."""
    return dumps(_cjson(record))


_ALWAYS_ARRAYS = ("tries", "paths", "protocols", "methods", "hosts")


def _cjson(value: Any, name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {_text(str(key)): _cjson(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if not value and name not in _ALWAYS_ARRAYS:
            return {}
        return [_cjson(item) for item in value]
    if isinstance(value, float):
        rounded = float(f"{value:.14g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 1e14 else rounded
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")

"""`kong.log`, `kong.nginx`, `kong.ctx`, `kong.node`, `kong.vault` and the others that say little about a
request."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
import uuid
from typing import Any

from ..context import Context
from ..record import serialize, to_json
from .base import (
    FUNCTIONS,
    LEVELS,
    Function,
    Pdk,
    Saved,
    must,
    pdk_function,
    without_nil,
)

NODE_ID = str(uuid.uuid4())


def _register_log(level: str) -> None:
    def write(pdk: Pdk, *parts: Any) -> None:
        text = "".join(_lua_text(part) for part in parts)
        print(f"[{level}] [{pdk.plugin}] {text}", file=sys.stderr, flush=True)

    FUNCTIONS[f"kong.log.{level}"] = Function(write, None, 50)


for _level in LEVELS:
    _register_log(_level)
FUNCTIONS["kong.log"] = FUNCTIONS["kong.log.notice"]


def _lua_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (dict, list)):
        return f"table: 0x{id(value):x}"
    return {None: "nil", True: "true", False: "false"}.get(value) or str(value)


_WITH_CTX = frozenset({"rewrite", "access", "header_filter", "response", "body_filter", "log"})


@pdk_function("kong.log.set_serialize_value", _WITH_CTX)
def _set_serialize_value(pdk: Pdk, key: Any = None, value: Any = None, options: Any = None) -> None:
    must(isinstance(key, str), "key must be a string")
    mode = (options or {}).get("mode") or "set"
    must(mode in ("set", "add", "replace"), "mode must be 'set', 'add' or 'replace'")
    pdk.context.serialize_values.append((key, without_nil(value), mode))


@pdk_function("kong.log.serialize", frozenset({"log"}))
def _serialize(pdk: Pdk) -> str:
    record = pdk.saved.serialized if pdk.saved else serialize(pdk.context)
    return to_json(record).decode()


@pdk_function("kong.nginx.get_var")
def _get_var(pdk: Pdk, name: Any = None) -> Any:
    must(isinstance(name, str), "bad variable name")
    return pdk.context.variable(name)


@pdk_function("kong.nginx.get_ctx")
def _get_ctx(pdk: Pdk, key: Any = None) -> Any:
    return (pdk.saved.ctx if pdk.saved else pdk.context.ctx).get(key)


@pdk_function("kong.nginx.set_ctx")
def _set_ctx(pdk: Pdk, key: Any = None, value: Any = None) -> None:
    must(key is not None, "table index is nil")
    (pdk.saved.ctx if pdk.saved else pdk.context.ctx)[key] = value


FUNCTIONS["kong.nginx.get_subsystem"] = Function(lambda pdk: "http", None, 0)
FUNCTIONS["kong.nginx.req_start_time"] = Function(
    lambda pdk: pdk.saved.started if pdk.saved else pdk.context.started, None, 0
)
FUNCTIONS["kong.nginx.get_tls1_version_str"] = Function(lambda pdk: None, None, 0)


@pdk_function("kong.ctx.shared.get")
def _shared_get(pdk: Pdk, key: Any = None) -> Any:
    return (pdk.saved.shared if pdk.saved else pdk.context.shared).get(key)


@pdk_function("kong.ctx.shared.set")
def _shared_set(pdk: Pdk, key: Any = None, value: Any = None) -> None:
    must(key is not None, "table index is nil")
    (pdk.saved.shared if pdk.saved else pdk.context.shared).set(key, value)


FUNCTIONS["kong.plugin.get_id"] = Function(lambda pdk: pdk.context.plugin_id, None, 0)
FUNCTIONS["kong.node.get_id"] = Function(lambda pdk: NODE_ID, None, 0)
FUNCTIONS["kong.node.get_hostname"] = Function(lambda pdk: socket.gethostname(), None, 0)
FUNCTIONS["kong.node.get_memory_stats"] = Function(
    lambda pdk: {"workers_lua_vms": [], "lua_shared_dicts": {}}, None, 1
)


@pdk_function("kong.ip.is_trusted")
def _is_trusted(pdk: Pdk, address: Any = None) -> bool:
    return False


@pdk_function("kong.vault.get")
def _vault_get(pdk: Pdk, reference: Any = None) -> str | None:
    """Environment references (`{vault://env/name}`) are all this gateway resolves."""
    return resolve_vault(reference)


def resolve_vault(reference: Any) -> str | None:
    """The value of a `{vault://env/…}` reference, or None."""
    found = re.fullmatch(r"\{vault://env/([\w/-]+)\}", reference) if isinstance(reference, str) else None
    if not found:
        return None
    return os.environ.get(found.group(1).replace("-", "_").upper())


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

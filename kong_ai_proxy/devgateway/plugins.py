"""The plugins this gateway runs itself: key-auth, file-log, http-log, and pre-function for Lua.

Each has Kong's priority and does what Kong's does in the phases it has, with the settings that matter to
development.
"""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import gevent

from ..core.json import Json, JSONDecodeError, dumps, loads
from .context import Context, Exit
from .declared import ConfigError
from .handler import Handler
from .pdk import Pdk, resolve_vault, save
from .record import query_table, serialize, to_json
from .rpc import ExternalPlugin, LuaError
from .upstream import Pool, UpstreamError

log = logging.getLogger(__name__)


class External(Handler):
    """A plugin behind a plugin server, as `kong/runloop/plugin_servers/plugin.lua` wraps it."""

    def __init__(self, plugin: ExternalPlugin, priority: int, phases: list[str]) -> None:
        self.name = plugin.name
        self.plugin = plugin
        self.priority = priority
        self.phases = frozenset(phases)
        self._resolved: dict[str, Json] = {}

    def _conf(self, conf: Json) -> Json:
        key = conf["__key__"]
        if key not in self._resolved:
            self._resolved[key] = _resolved(conf)
        return self._resolved[key]

    def access(self, context: Context, conf: Json) -> None:
        self.plugin.handle_event(self._conf(conf), "access", Pdk(context, self.name))

    def response(self, context: Context, conf: Json) -> None:
        self.plugin.handle_event(self._conf(conf), "response", Pdk(context, self.name))

    def log(self, context: Context, conf: Json) -> None:
        """In a timer, when the logging plugins have written their records."""
        pdk = Pdk(context, self.name, save(context))

        def timer() -> None:
            try:
                self.plugin.handle_event(self._conf(conf), "log", pdk)
            except LuaError as error:
                log.error("log timer of %s: %s", self.name, error)

        gevent.spawn(timer)


def _resolved(conf: Json) -> Json:
    """References to the vault as values, with the references beside them in `$refs`."""
    if "{vault://" not in str(conf):
        return conf
    resolved: Json = _resolve(conf)
    return resolved


def _resolve(value: Any) -> Any:
    if isinstance(value, dict):
        refs = {k: v for k, v in value.items() if isinstance(v, str) and v.startswith("{vault://")}
        found = {
            key: (resolve_vault(item) or "") if key in refs else _resolve(item) for key, item in value.items()
        }
        return {**found, "$refs": refs} if refs else found
    return [_resolve(item) for item in value] if isinstance(value, list) else value


class KeyAuth(Handler):
    """Kong's key-auth: keys in headers, query or JSON body."""

    name = "key-auth"
    priority = 1250
    phases = frozenset({"access"})

    def access(self, context: Context, conf: Json) -> None:
        if not conf.get("run_on_preflight", True) and context.request.method == "OPTIONS":
            return
        if conf.get("anonymous") and context.credential is not None:
            return
        problem = self._authenticate(context, conf)
        if problem is None:
            return
        if conf.get("anonymous"):
            self._known(context, context.declared.consumer(str(conf["anonymous"])), None)
            return
        realm = conf.get("realm")
        challenge = f'Key realm="{realm}"' if realm else "Key"
        Pdk(context, self.name)("kong.response.error", [401, problem, {"WWW-Authenticate": challenge}])

    def _authenticate(self, context: Context, conf: Json) -> str | None:
        headers, query = context.request.headers, query_table(context.args)
        for name in conf.get("key_names") or ["apikey"]:
            values: list[str] = headers.all(name) if conf.get("key_in_header", True) else []
            if not values and conf.get("key_in_query", True) and name in query:
                found = query[name]
                values = found if isinstance(found, list) else [found]
            if not values and conf.get("key_in_body"):
                values = self._in_body(context, name)
            if len(values) > 1:
                return "Duplicate API key found"
            if values and isinstance(values[0], str):
                if conf.get("hide_credentials"):
                    self._hide(context, name)
                return self._check(context, values[0])
        return "No API key found in request"

    def _check(self, context: Context, key: str) -> str | None:
        if not key:
            return "No API key found in request"
        credential = context.declared.keys.get(key)
        if credential is None:
            return "Unauthorized"
        self._known(context, context.declared.consumer(credential["consumer"]["id"]), credential)
        return None

    @staticmethod
    def _in_body(context: Context, name: str) -> list[str]:
        try:
            body = loads(context.request.body())
        except JSONDecodeError:
            return []
        value = body.get(name) if isinstance(body, dict) else None
        return [value] if isinstance(value, str) else []

    @staticmethod
    def _hide(context: Context, name: str) -> None:
        context.request.headers.remove(name)
        context.args = "&".join(pair for pair in context.args.split("&") if pair.partition("=")[0] != name)

    @staticmethod
    def _known(context: Context, consumer: Json | None, credential: Json | None) -> None:
        context.consumer, context.credential = consumer, credential
        given = {
            "X-Consumer-ID": consumer and consumer.get("id"),
            "X-Consumer-Custom-ID": consumer and consumer.get("custom_id"),
            "X-Consumer-Username": consumer and consumer.get("username"),
            "X-Credential-Identifier": credential and credential.get("id"),
            "X-Anonymous-Consumer": None if credential else "true",
        }
        for name, value in given.items():
            context.request.headers.set(name, str(value) if value else [])


class FileLog(Handler):
    """Kong's file-log: one JSON line a request."""

    name = "file-log"
    priority = 9
    phases = frozenset({"log"})

    def log(self, context: Context, conf: Json) -> None:
        line = to_json(serialize(context)) + b"\n"
        path = str(conf["path"])
        try:
            # One write, so that lines of several writers do not mix.
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.error("failed to open the file: %s", error.strerror)


class HttpLog(Handler):
    """Kong's http-log with a batch of one: each record is posted on its own."""

    name = "http-log"
    priority = 12
    phases = frozenset({"log"})

    def __init__(self) -> None:
        self._pool = Pool()

    def log(self, context: Context, conf: Json) -> None:
        gevent.spawn(self._post, conf, to_json(serialize(context)))

    def _post(self, conf: Json, body: bytes) -> None:
        parts = urlsplit(str(conf["http_endpoint"]))
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        headers = {
            "Host": f"{host}:{port}",
            "Content-Type": conf.get("content_type") or "application/json",
            "Content-Length": str(len(body)),
            **(conf.get("headers") or {}),
        }
        if parts.username:
            userinfo = f"{parts.username}:{parts.password or ''}"
            headers["Authorization"] = "Basic " + base64.b64encode(userinfo.encode()).decode()
        lines = [f"{conf.get('method') or 'POST'} {parts.path or '/'} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        try:
            connection = self._pool.get(parts.scheme, host, port, host, (conf.get("timeout") or 10000) / 1000)
            connection.send("\r\n".join([*lines, "", ""]).encode(), [body])
            connection.read_head("POST")
            for _ in connection.chunks():
                pass
            self._pool.put(connection)
            if connection.status >= 300:
                log.error("http-log: %s returned status code %s", host, connection.status)
        except (OSError, UpstreamError) as error:
            log.error("http-log: failed request to %s:%s: %s", host, port, error)


class RequestTermination(Handler):
    """Kong's request-termination: a fixed answer, for internal routes."""

    name = "request-termination"
    priority = 2
    phases = frozenset({"access"})

    def access(self, context: Context, conf: Json) -> None:
        context.exited = True
        body = conf.get("body")
        if body is None:
            raise Exit(int(conf.get("status_code") or 503), {"message": conf.get("message") or ""})
        kind = conf.get("content_type") or "application/json; charset=utf-8"
        raise Exit(int(conf.get("status_code") or 503), body, {"Content-Type": kind})


class Ignored(Handler):
    """A plugin that changes nothing about a request and is not here: accepted, and said to be absent."""

    priority = 0

    def __init__(self, name: str) -> None:
        self.name = name
        log.warning("plugin %s does nothing in this development gateway", name)


def _function(name: str) -> Handler:
    try:
        from .lua import PostFunction, PreFunction
    except ImportError as error:
        raise ConfigError(
            f"plugin {name} runs Lua: install lupa (pip install 'kong-ai-proxy[dev]')"
        ) from error
    return PostFunction() if name == "post-function" else PreFunction()


BUNDLED: dict[str, Callable[[], Handler]] = {
    "key-auth": KeyAuth,
    "file-log": FileLog,
    "http-log": HttpLog,
    "request-termination": RequestTermination,
    "pre-function": lambda: _function("pre-function"),
    "post-function": lambda: _function("post-function"),
    "prometheus": lambda: Ignored("prometheus"),
}


def json_body(value: Any) -> bytes:
    """A table given to `kong.response.exit`, as JSON."""
    return dumps(value)

"""The request's way through the gateway, phase by phase, as `kong/init.lua` and nginx have it."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import gevent
import httptools
from gevent import socket
from gevent.server import StreamServer

from ..core.json import Json
from .client import ClientConnection, ClientGone, ClientRequest, ClientWriter
from .context import SERVER, Context, Exit
from .declared import ConfigError, Declared, Plugin
from .errors import error_body
from .handler import Handler
from .headers import Headers
from .pdk import header_values
from .plugins import BUNDLED, json_body
from .proxy import Proxy, Service, from_upstream
from .router import Router
from .rpc import LuaError
from .upstream import Pool, Truncated, UpstreamConnection, UpstreamError

log = logging.getLogger(__name__)

_BUFFER = 4096
"""nginx's `proxy_buffer_size`: with buffering on, a body goes on in such pieces."""


@dataclass(slots=True)
class Configured:
    """One plugin in the order of its priority, with the configurations it has."""

    handler: Handler
    configs: dict[tuple[str | None, str | None, str | None], Plugin]

    def config(self, context: Context) -> Json | None:
        """The one that applies, most specific first: route, service, consumer."""
        route = context.route["id"] if context.route else None
        service = context.service["id"] if context.service else None
        consumer = context.consumer["id"] if context.consumer else None
        for key in (
            (route, service, consumer), (route, None, consumer), (None, service, consumer),
            (route, service, None), (None, None, consumer), (route, None, None), (None, service, None),
            (None, None, None),
        ):  # fmt: skip
            found = self.configs.get(key)
            if found is not None:
                return found.config
        return None


Collected = list[tuple[Handler, Json]]


class Gateway:
    """Serves a declared configuration on one address."""

    def __init__(self, declared: Declared, external: Iterable[Handler] = ()) -> None:
        self.declared = declared
        self.router = Router(declared)
        self.pool = Pool()
        self.plugins = _configured(declared, {handler.name: handler for handler in external})
        self.port = 0
        self._server: StreamServer | None = None

    # -- life
    # ------------------------------------------------------------------------------------------------

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen in the current greenlet hub; gives the port."""
        self._server = StreamServer((host, port), self._serve, backlog=1024)
        self._server.start()
        self.port = int(self._server.server_port)
        return self.port

    def stop(self, timeout: float = 1.0) -> None:
        """Stop listening, and running requests after `timeout` seconds."""
        if self._server is not None:
            self._server.stop(timeout)
        self.pool.close()

    def _serve(self, sock: socket.socket, address: tuple[str, int]) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ClientConnection(sock, address)
        try:
            while True:
                request = connection.next()
                if request is None:
                    return
                if not self._request(connection, request) or not connection.done():
                    return
        except httptools.HttpParserError:
            with contextlib.suppress(OSError):
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (OSError, ClientGone):
            return

    # -- one request
    # -----------------------------------------------------------------------------------------

    def _request(self, connection: ClientConnection, request: ClientRequest) -> bool:
        """True if the connection can go on."""
        writer = ClientWriter(request)
        context = Context(request, writer, self.declared, self.port)
        collected: Collected = []
        complete = False
        try:
            complete = self._phases(context, collected)
        except (OSError, ClientGone):
            # nginx's status for a client that went away; the log phase still runs.
            if not writer.started:
                context.response.status = 499
        finally:
            self._log(context, collected)
            if complete and writer.keep_alive:
                request.discard()
            request.close()
        return complete and writer.keep_alive

    def _phases(self, context: Context, collected: Collected) -> bool:
        try:
            self._access(context, collected)
            service = self._service(context)
        except Exit as answer:
            context.response_latency = context.elapsed()
            return self._answer(context, collected, answer)
        if context.ctx.get("buffered_proxying"):
            if not context.variables["upstream_upgrade"]:
                return self._buffered(context, collected, service)
            context.ctx.pop("buffered_proxying")
        return self._unbuffered(context, collected, service)

    def _access(self, context: Context, collected: Collected) -> None:
        """Route, then run the access phases. Raises Exit."""
        context.phase = "access"
        request = context.request
        host = request.headers.get("host") or ""
        context.match = self.router.match(request.method, context.raw_path, host, request.headers)
        if context.match is None:
            # What is configured for all routes sees this answer, too.
            everywhere = ((each.handler, each.config(context)) for each in self.plugins)
            collected += [(handler, conf) for handler, conf in everywhere if conf is not None]
            self._kong_error(context, 404, "no Route matched with those values")
        self._prepare(context)
        answer: Exit | None = None
        for configured in self.plugins:
            conf = configured.config(context)
            if conf is None:
                continue
            collected.append((configured.handler, conf))
            if "response" in configured.handler.phases:
                context.ctx.setdefault("buffered_proxying", True)
            if answer is None and "access" in configured.handler.phases:
                answer = self._guarded(context, configured.handler, conf)
        if answer is not None:
            raise answer
        if context.service is None:
            context.ctx.pop("buffered_proxying", None)
            self._kong_error(context, 503, "no Service found with those values")

    def _guarded(self, context: Context, handler: Handler, conf: Json) -> Exit | None:
        """Run an access phase; what it throws becomes a 500."""
        context.plugin_id = conf["__plugin_id"]
        try:
            handler.access(context, conf)
        except Exit as answer:
            return answer
        except (ClientGone, OSError):
            raise
        except Exception as error:
            log.error(
                "[%s] %s", handler.name, error if isinstance(error, LuaError) else traceback.format_exc()
            )
            context.unexpected = True
            return Exit(500, {"message": "An unexpected error occurred"})
        return None

    def _prepare(self, context: Context) -> None:
        """Variables that plugins may read and change before the request is proxied."""
        match, variables, headers = context.match, context.variables, context.request.headers
        assert match is not None
        service = match.service or {}
        variables["upstream_scheme"] = str(service.get("protocol") or "http")
        variables["upstream_uri"] = match.upstream_uri
        variables["upstream_host"] = (headers.get("host") or "") if match.route["preserve_host"] else ""
        upgrade = (headers.get("upgrade") or "").lower() == "websocket"
        variables["upstream_upgrade"] = "websocket" if upgrade else ""
        variables["upstream_connection"] = "keep-alive, Upgrade" if upgrade else "keep-alive"

    def _service(self, context: Context) -> Service:
        service = context.service
        assert service is not None
        host, port = context.target or (str(service["host"]), int(service["port"]))
        timeouts = context.timeouts or [-1, -1, -1]
        connect, write, read = (
            own if own > 0 else int(service[name])
            for own, name in zip(timeouts, ("connect_timeout", "write_timeout", "read_timeout"), strict=True)
        )
        retries = int(service["retries"]) if context.retries is None else context.retries
        if context.request.raw_uri.endswith("?") or context.args:
            context.variables["upstream_uri"] += f"?{context.args}"
        context.proxied = True
        return Service(host, port, connect / 1000, write / 1000, read / 1000, retries)

    # -- proxying
    # --------------------------------------------------------------------------------------------

    def _buffered(self, context: Context, collected: Collected, service: Service) -> bool:
        """`ngx.location.capture`: take the whole answer, run the response phases, then answer."""
        context.request.read_body()
        answer = context.response
        answer.buffered = True
        try:
            connection = Proxy(self.pool, context, service).send()
            from_upstream(context, connection)
            answer.body = b"".join(connection.chunks())
            self.pool.put(connection)
        except (UpstreamError, Truncated, OSError) as error:
            if isinstance(error, ClientGone):
                raise
            self._failed(context, error)
        context.waiting_time = context.elapsed() - (context.proxy_latency or 0)
        context.phase = "response"
        try:
            for handler, conf in collected:
                if "response" in handler.phases:
                    context.plugin_id = conf["__plugin_id"]
                    handler.response(context, conf)
        except Exit as exit_:
            return self._answer(context, collected, exit_)
        except LuaError as error:
            log.error("response phase: %s", error)
            context.unexpected = True
            return self._answer(context, collected, self._error_exit(context, 500))
        return self._send_whole(context, collected, answer.body or b"")

    def _unbuffered(self, context: Context, collected: Collected, service: Service) -> bool:
        route = context.route or {}
        if route.get("request_buffering", True):
            context.request.read_body()
        try:
            with _watch(context.request.connection):
                connection = Proxy(self.pool, context, service).send()
        except UpstreamError as error:
            self._failed(context, error)
            return self._send_whole(context, collected, context.response.body or b"")
        complete = False
        try:
            from_upstream(context, connection)
            context.waiting_time = context.elapsed() - (context.proxy_latency or 0)
            if connection.upgraded is not None:
                return self._tunnel(context, collected, connection)
            complete = self._forward(
                context, collected, connection, bool(route.get("response_buffering", True))
            )
            return complete
        finally:
            if complete:
                self.pool.put(connection)
            else:
                connection.close()

    def _forward(
        self, context: Context, collected: Collected, connection: UpstreamConnection, buffering: bool
    ) -> bool:
        accel = (connection.headers.get("x-accel-buffering") or "").lower()
        at_once = accel == "no" or not buffering
        self._header_filter(context, collected)
        filters = [(handler, conf) for handler, conf in collected if "body_filter" in handler.phases]
        writer = context.writer
        writer.head(context.response.status, context.response.headers)
        try:
            with _watch(context.request.connection):
                for chunk in connection.chunks() if at_once else _blocks(connection.chunks()):
                    writer.body(_filtered(context, filters, chunk, False) if filters else chunk)
        except (Truncated, TimeoutError) as error:
            log.error("upstream prematurely closed connection while reading upstream: %s", error)
            return False
        if filters:
            writer.body(_filtered(context, filters, b"", True))
        writer.end()
        context.receive_time = context.elapsed() - (context.proxy_latency or 0) - (context.waiting_time or 0)
        return True

    def _tunnel(self, context: Context, collected: Collected, connection: UpstreamConnection) -> bool:
        """After a 101: bytes both ways until one side ends."""
        self._header_filter(context, collected)
        client = context.request.connection
        context.writer.head(101, context.response.headers)
        if connection.upgraded:
            client.socket.sendall(connection.upgraded)
        if client.upgraded:
            connection.socket.sendall(client.upgraded)
        pumps = [
            gevent.spawn(_pump, client.socket, connection.socket),
            gevent.spawn(_pump, connection.socket, client.socket),
        ]
        gevent.joinall(pumps, count=1)
        gevent.killall(pumps)
        return False

    def _failed(self, context: Context, error: Exception) -> None:
        """nginx's answer where the service gave none."""
        status = error.status if isinstance(error, UpstreamError) else 502
        log.error("%s", error or type(error).__name__)
        context.response.status = context.response.upstream_status = status
        accept = context.request.headers.get("accept") or context.request.headers.get("content-type")
        kind, body = error_body(status, accept or "text/plain", context.id)
        context.response.headers = Headers([("Content-Type", kind), ("Content-Length", str(len(body)))])
        context.response.body = body.encode()
        if context.waiting_time is None:
            context.waiting_time = context.elapsed() - (context.proxy_latency or 0)

    # -- answers
    # ---------------------------------------------------------------------------------------------

    def _kong_error(self, context: Context, status: int, message: str) -> None:
        context.exited = True
        kind, body = error_body(status, context.request.headers.get("accept"), context.id, message)
        raise Exit(status, body, {"Content-Type": kind})

    @staticmethod
    def _error_exit(context: Context, status: int) -> Exit:
        kind, body = error_body(status, context.request.headers.get("accept"), context.id)
        return Exit(status, body, {"Content-Type": kind})

    def _answer(self, context: Context, collected: Collected, answer: Exit) -> bool:
        """What `kong.response.exit` sends."""
        headers = context.response.headers = Headers()
        context.response.status = answer.status
        for name, value in (answer.headers or {}).items():
            headers.set(name, header_values(name, value))
        body = b""
        if isinstance(answer.body, (dict, list)):
            body = json_body(answer.body)
            if "content-type" not in headers:
                headers.set("Content-Type", "application/json; charset=utf-8")
        elif isinstance(answer.body, str):
            body = answer.body.encode("utf-8", "surrogateescape")
        elif answer.body is not None:
            body = answer.body
        if "content-length" not in headers:
            headers.set("Content-Length", str(len(body)))
        return self._send_whole(context, collected, body)

    def _send_whole(self, context: Context, collected: Collected, body: bytes) -> bool:
        self._header_filter(context, collected)
        filters = [(handler, conf) for handler, conf in collected if "body_filter" in handler.phases]
        if filters:
            body = _filtered(context, filters, body, False) + _filtered(context, filters, b"", True)
        context.writer.head(context.response.status, context.response.headers, body)
        context.writer.end()
        return True

    def _header_filter(self, context: Context, collected: Collected) -> None:
        context.phase = "header_filter"
        headers = context.response.headers
        for handler, conf in collected:
            if "header_filter" in handler.phases:
                context.plugin_id = conf["__plugin_id"]
                try:
                    handler.header_filter(context, conf)
                except LuaError as error:
                    log.error("header_filter of %s: %s", handler.name, error)
        if context.proxied:
            headers.set("X-Kong-Upstream-Latency", str(context.waiting_time or 0))
            headers.set("X-Kong-Proxy-Latency", str(context.proxy_latency or 0))
            via = context.response.upstream_headers.get("via")
            headers.set("Via", f"{via}, 1.1 {SERVER}" if via else f"1.1 {SERVER}")
            if "server" not in headers:
                headers.set("Server", SERVER)
        else:
            headers.set("X-Kong-Response-Latency", str(context.response_latency or 0))
            headers.set("Server", SERVER)
        headers.set("X-Kong-Request-Id", context.id)

    def _log(self, context: Context, collected: Collected) -> None:
        context.phase = "log"
        for handler, conf in collected:
            if "log" in handler.phases:
                context.plugin_id = conf["__plugin_id"]
                try:
                    handler.log(context, conf)
                except LuaError as error:
                    log.error("log phase of %s: %s", handler.name, error)


def _unknown(name: str, known: Iterable[str]) -> str:
    told = f"plugin {name!r}: this development gateway knows only {', '.join(sorted(known))}"
    kongs = f"kong-{name}" in known
    return f"{told}; `kong-ai-proxy migrate` turns Kong's own into kong-{name}" if kongs else told


def _configured(declared: Declared, external: dict[str, Handler]) -> list[Configured]:
    configured: dict[str, Configured] = {}
    for plugin in declared.plugins:
        if plugin.name not in configured:
            if plugin.name in external:
                handler = external[plugin.name]
            elif plugin.name in BUNDLED:
                handler = BUNDLED[plugin.name]()
            else:
                raise ConfigError(_unknown(plugin.name, {*external, *BUNDLED}))
            configured[plugin.name] = Configured(handler, {})
        configured[plugin.name].configs[(plugin.route, plugin.service, plugin.consumer)] = plugin
    if "pre-function" in configured and "post-function" in configured:
        after: Any = configured["post-function"].handler
        after.join(configured["pre-function"].handler)
    return sorted(configured.values(), key=lambda c: (-c.handler.priority, c.handler.name))


def _filtered(context: Context, filters: Collected, chunk: bytes, eof: bool) -> bytes:
    context.phase = "body_filter"
    for handler, conf in filters:
        chunk = handler.body_filter(context, conf, chunk, eof)
    return chunk


def _blocks(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """nginx's buffering: whole buffers only, the rest at the end."""
    held = b""
    for chunk in chunks:
        held += chunk
        whole = len(held) - len(held) % _BUFFER
        if whole:
            yield held[:whole]
            held = held[whole:]
    if held:
        yield held


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@contextlib.contextmanager
def _watch(connection: ClientConnection) -> Iterator[None]:
    """nginx ends an exchange the moment its client hangs up: ClientGone rises where the greenlet waits."""
    greenlet: Any = gevent.getcurrent()
    watcher = gevent.get_hub().loop.io(connection.socket.fileno(), 1)
    watching = True

    def readable() -> None:
        try:
            gone = not connection.socket._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        watcher.stop()
        if gone and watching:
            greenlet.throw(ClientGone)

    if not connection.pipelined:
        watcher.start(readable)
    try:
        yield
    finally:
        watching = False
        watcher.stop()
        watcher.close()

"""Carrying a request to its service: headers as Kong's nginx template sets them, tries as its balancer
makes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from .context import SERVER, Context
from .headers import Headers
from .upstream import Pool, UpstreamConnection, UpstreamError

_NOT_FORWARDED = {
    "host", "connection", "keep-alive", "transfer-encoding", "te", "expect", "upgrade", "content-length",
    "proxy", "proxy-connection", "via", "x-real-ip", "x-kong-request-id", "x-forwarded-for",
    "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-path", "x-forwarded-prefix",
}  # fmt: skip
_NOT_ANSWERED = {
    "connection", "keep-alive", "transfer-encoding", "status", "x-pad", "x-accel-buffering",
    "x-accel-expires", "x-accel-redirect", "x-accel-limit-rate", "x-accel-charset",
}  # fmt: skip
_NOT_IDEMPOTENT = {"POST", "LOCK", "PATCH"}


@dataclass(frozen=True, slots=True)
class Service:
    """Where a request goes; timeouts in seconds."""

    host: str
    port: int
    connect: float
    write: float
    read: float
    retries: int


class Proxy:
    """One request's tries."""

    def __init__(self, pool: Pool, context: Context, service: Service) -> None:
        self._pool = pool
        self._context = context
        self._service = service

    def send(self) -> UpstreamConnection:
        """A connection whose answer's head was read. Raises UpstreamError, or OSError for the client's
        sake.
        """
        left = self._service.retries
        while True:
            now = time.time_ns()
            current = {
                "balancer_start": now // 1_000_000,
                "balancer_start_ns": float(now),
                "balancer_latency": 0,
                "balancer_latency_ns": 1000,
                "ip": self._service.host,
                "port": self._service.port,
            }
            self._context.tries.append(current)
            if self._context.proxy_latency is None:
                self._context.proxy_latency = self._context.elapsed()
            sent = [False]
            try:
                return self._try(sent)
            except UpstreamError as error:
                current.update(state="failed", code=error.status)
                if left <= 0 or (sent[0] and self._context.request.method in _NOT_IDEMPOTENT):
                    raise
                left -= 1

    def _try(self, sent: list[bool]) -> UpstreamConnection:
        service, context = self._service, self._context
        scheme = context.variables["upstream_scheme"]
        name = self._host()
        connection = self._pool.get(scheme, service.host, service.port, name, service.connect)
        request = context.request
        try:
            connection.socket.settimeout(service.write)
            sent[0] = True
            try:
                connection.send(self._head(name), self._body())
            except TimeoutError as error:
                raise UpstreamError(504, "upstream timed out while sending request") from error
            except OSError:
                # An answer may have come before the service hung up (413): read it.
                pass
            connection.socket.settimeout(service.read)
            connection.read_head(request.method)
        except BaseException:
            connection.close()
            raise
        return connection

    def _host(self) -> str:
        host = self._context.variables["upstream_host"]
        if host:
            return host  # preserved, or set by a plugin: set_target gives the host without its port
        scheme, port = self._context.variables["upstream_scheme"], self._service.port
        default = 443 if scheme == "https" else 80
        return self._service.host if port == default else f"{self._service.host}:{port}"

    def _head(self, host: str) -> bytes:
        context, variables = self._context, self._context.variables
        request = context.request
        forwarded_for = request.headers.get("x-forwarded-for")
        address = context.client_ip
        via = request.headers.get("via")
        inbound = f"{request.version} {SERVER}"
        lines = [
            f"{request.method} {variables['upstream_uri']} HTTP/1.1",
            f"Host: {host}",
            f"Connection: {variables['upstream_connection']}",
        ]
        if variables["upstream_upgrade"]:
            lines.append(f"Upgrade: {variables['upstream_upgrade']}")
        if "trailers" in (request.headers.get("te") or ""):
            lines.append("TE: trailers")
        lines += [
            f"Via: {via}, {inbound}" if via else f"Via: {inbound}",
            f"X-Forwarded-For: {forwarded_for}, {address}"
            if forwarded_for
            else f"X-Forwarded-For: {address}",
            "X-Forwarded-Proto: http",
            f"X-Forwarded-Host: {context.host}",
            f"X-Forwarded-Port: {context.server_port}",
            f"X-Forwarded-Path: {context.raw_path}",
        ]
        if context.match is not None and context.match.prefix not in (None, "/"):
            lines.append(f"X-Forwarded-Prefix: {context.match.prefix}")
        lines += [f"X-Real-IP: {address}", f"X-Kong-Request-Id: {context.id}"]
        lines += self._framing()
        dropped = _NOT_FORWARDED | _named_in(request.headers.get("connection"))
        lines += [f"{name}: {value}" for name, value in request.headers if name.lower() not in dropped]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "surrogateescape")

    @property
    def _streams_body(self) -> bool:
        return not (self._context.route or {}).get("request_buffering", True)

    def _framing(self) -> list[str]:
        request = self._context.request
        if self._streams_body:
            length = request.headers.get("content-length")
            if length is not None:
                return [f"Content-Length: {length}"]
            return ["Transfer-Encoding: chunked"] if "transfer-encoding" in request.headers else []
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        return [f"Content-Length: {request.body_size}"] if has_body else []

    def _body(self) -> Iterator[bytes]:
        request = self._context.request
        if not self._streams_body:
            return request.body_blocks()
        if "content-length" in request.headers:
            return request.body_chunks()
        return _chunked(request.body_chunks()) if "transfer-encoding" in request.headers else iter(())


def _chunked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def _named_in(connection: str | None) -> set[str]:
    """Headers that the Connection header declares hop-by-hop."""
    return {name.strip().lower() for name in (connection or "").split(",")}


def from_upstream(context: Context, connection: UpstreamConnection) -> None:
    """Take over status and headers of the service's answer."""
    answer = context.response
    answer.status = answer.upstream_status = connection.status
    answer.upstream_headers = connection.headers
    named = _named_in(connection.headers.get("connection")) - {"close", "upgrade", "keep-alive"}
    answer.headers = Headers(
        (name, value)
        for name, value in connection.headers
        if name.lower() not in _NOT_ANSWERED and name.lower() not in named
    )

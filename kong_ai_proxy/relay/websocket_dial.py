"""Asking a provider for a WebSocket."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import httptools

from ..core.http import Headers, UpstreamRequest
from ..exchange.instance import Timeouts
from ..wire.websocket import accept_key, new_key
from .answer import Answer, Channel, UpstreamFailure
from .connection import Connection, ConnectionBroken, TimedOut
from .upstream import Connected, UpstreamClient, request_head

_RECV: Final = 64 * 1024
_HEAD_LIMIT: Final = 64 * 1024
_REFUSAL_LIMIT: Final = 1024 * 1024


@dataclass(slots=True)
class Agreed:
    """The provider switched protocols: the connection carries frames now."""

    connection: Connection
    headers: Headers
    early: bytes
    """What came behind the answer's head, in the same read."""


@dataclass(slots=True)
class Refused:
    """The provider answered in any other way."""

    status: int
    headers: Headers
    body: bytes


def upgrade(
    client: UpstreamClient, request: UpstreamRequest, timeouts: Timeouts, connected: Connected
) -> Agreed | Refused:
    """Ask, on a connection of its own. Raises UpstreamFailure; ValueError for what cannot be sent.

    Extensions are not asked for: neither side compresses, and frames can be passed on as they are.
    """
    key = new_key()
    request.headers.update(
        {"upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": key}
    )
    head = request_head(request)[:-2] + b"connection: Upgrade\r\n\r\n"
    url = request.url
    began = time.perf_counter()
    connection = client.dial(url, timeouts.connect)
    try:
        connected(connection.peer_ip, time.perf_counter() - began)
        try:
            connection.send(head, timeouts.write)
        except TimedOut:
            raise UpstreamFailure("timeout", "the provider did not take the request in time") from None
        except ConnectionBroken as error:
            raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
        channel = Channel((url.tls, url.host, url.port), connection)
        early = _read_head(channel, timeouts.read)
        reading = channel.reading
        if reading.status == 101:
            _check(reading.headers, key, request.headers.get("sec-websocket-protocol", ""))
            return Agreed(connection, reading.headers, early)
        answer = Answer(channel, lambda _: None, "GET", timeouts.read)
        refused = Refused(answer.status, answer.headers, answer.read_all(_REFUSAL_LIMIT))
    except BaseException:
        connection.close()
        raise
    connection.close()
    return refused


def _read_head(channel: Channel, timeout: float) -> bytes:
    """Until the head is complete. Gives what came behind it, if it switched protocols."""
    deadline = time.monotonic() + timeout if timeout else 0.0
    size = 0
    while True:
        try:
            data = channel.connection.recv(_RECV, timeout)
        except TimedOut:
            raise UpstreamFailure("timeout", "the provider did not answer in time") from None
        except ConnectionBroken as error:
            raise UpstreamFailure("error", f"the provider broke the connection ({error})") from None
        if not data:
            raise UpstreamFailure("error", "the provider closed the connection without an answer")
        size += len(data)
        try:
            channel.parser.feed_data(data)
        except httptools.HttpParserUpgrade as switched:
            return data[switched.args[0] :]
        except httptools.HttpParserError as error:
            raise UpstreamFailure("invalid_header", f"the answer is not HTTP ({error})") from None
        if channel.reading.status:
            return b""
        if size > _HEAD_LIMIT:
            raise UpstreamFailure("invalid_header", "the head of the answer is too long")
        if deadline and time.monotonic() > deadline:
            raise UpstreamFailure("timeout", "the provider did not answer in time")


def _check(headers: Headers, key: str, offered: str) -> None:
    """RFC 6455, 4.1: what makes the answer an agreement. Raises UpstreamFailure."""
    connection = [word.strip().lower() for word in headers.get("connection", "").split(",")]
    if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
        raise UpstreamFailure("invalid_header", "the provider switched to another protocol")
    if headers.get("sec-websocket-accept", "") != accept_key(key):
        raise UpstreamFailure("invalid_header", "the provider's handshake does not match the request")
    if headers.get("sec-websocket-extensions"):
        raise UpstreamFailure("invalid_header", "the provider uses an extension that was not asked for")
    chosen = headers.get("sec-websocket-protocol")
    if chosen and chosen not in [name.strip() for name in offered.split(",")]:
        raise UpstreamFailure("invalid_header", "the provider chose a subprotocol that was not offered")

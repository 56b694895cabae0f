"""A plain HTTP client for end-to-end tests: every byte as it came, and sockets that can be dropped."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MARK: dict[str, str] = {}
"""Headers of every request of the running test, by which its log records are known: a record is written
when its request has ended, which may be after the test that made it."""


@dataclass(slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The message of an OpenAI-style error."""
        return str(self.json["error"]["message"])


def call(
    base: str,
    path: str,
    body: Any = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    chunks: Iterable[bytes] | None = None,
    timeout: float = 10.0,
) -> Response:
    """One request on a connection of its own. `body`: bytes, or a value that is sent as JSON; `chunks`
    sends chunked."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=timeout)
    given = {"content-type": "application/json", **MARK, **(headers or {})}
    data: Any = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if chunks is not None:
        data = iter(chunks)
    try:
        connection.request(method, path, data, given, encode_chunked=chunks is not None)
        with connection.getresponse() as answer:
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class RawClient:
    """A socket that speaks what it is told."""

    def __init__(self, base: str, timeout: float = 10.0) -> None:
        parts = urlsplit(base)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout)  # type: ignore[arg-type]

    def post(self, path: str, body: Any) -> None:
        data = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
            f"content-length: {len(data)}\r\n"
        ) + "".join(f"{name}: {value}\r\n" for name, value in MARK.items())
        self.socket.sendall(head.encode() + b"\r\n" + data)

    def read_until(self, marker: bytes, timeout: float = 5.0) -> bytes:
        """What came up to and with `marker`. Raises AssertionError if it does not come."""
        data = b""
        until = time.monotonic() + timeout
        while marker not in data:
            assert time.monotonic() < until, f"no {marker!r} in {data!r}"
            received = self.socket.recv(65536)
            assert received, f"closed before {marker!r}: {data!r}"
            data += received
        return data

    def leave(self, *, reset: bool = False) -> float:
        """Close; gives the time it happened."""
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        return time.monotonic()

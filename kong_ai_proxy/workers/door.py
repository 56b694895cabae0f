"""Connections as they pass between processes, and to nobody."""

from __future__ import annotations

import array
import os
import socket
from contextlib import suppress
from typing import Final

from ..core.errors import ApiError
from ..relay.connection import StdSocket
from ..server.events import openai_error

_FD: Final = array.array("i").itemsize
_PEER: Final = 256
"""Bytes of an address, at most."""
_WOULD_BLOCK = (BlockingIOError, InterruptedError)

_NOBODY: Final = openai_error(
    ApiError(503, "no relay worker is running; see the plugin server's log", code="no_worker")
).encode()
"""In OpenAI's form: nobody has looked whose request it is."""


def bound(address: tuple[str, int]) -> socket.socket:
    """A socket that has this address, and does not listen yet. Raises OSError."""
    host, port = address
    found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)
    family, kind, protocol, _, where = found[0]
    listener = StdSocket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(where)
    except BaseException:
        listener.close()
        raise
    return listener


def refuse(fd: int) -> None:
    """Answers whatever was asked with 503, and closes the connection."""
    sock = StdSocket(fileno=fd)
    with suppress(OSError):
        sock.setblocking(False)
        with suppress(*_WOULD_BLOCK):
            sock.recv(64 * 1024)  # unread bytes would take the answer away
        head = (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
            f"content-length: {len(_NOBODY)}\r\nconnection: close\r\n\r\n"
        )
        sock.send(head.encode() + _NOBODY)
        sock.shutdown(socket.SHUT_WR)
    sock.close()


def pass_on(door: socket.socket, fd: int, peer: str) -> bool:
    """Gives a connection, and whose it is, to the other side, which has it alone then. False if the other
    side takes nothing at the moment, or is gone: the descriptor is still the caller's."""
    try:
        rights = array.array("i", [fd])
        door.sendmsg([peer.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    except OSError:
        return False
    os.close(fd)
    return True


def taken(door: socket.socket) -> tuple[str, int | None]:
    """Whose connection the next one is, and its descriptor; None where this process has no room for one.
    Raises BlockingIOError or InterruptedError while there is none, EOFError when the other side is gone."""
    try:
        peer, notes, _, _ = door.recvmsg(_PEER, socket.CMSG_SPACE(_FD), socket.MSG_CMSG_CLOEXEC)
    except _WOULD_BLOCK:
        raise
    except OSError:
        raise EOFError from None
    fds = array.array("i")
    for _, _, data in notes:
        fds.frombytes(data[: len(data) - len(data) % _FD])
    if not peer and not notes:
        raise EOFError
    return peer.decode("ascii", "replace"), fds[0] if fds else None

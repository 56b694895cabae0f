"""How the plugin server and a relay worker talk: MessagePack over a socket pair that nobody else has.

Three kinds of messages: `[0, id, method, args]` asks, `[1, id, error, value]` answers, `[2, method, args]`
tells. An error is a text, or a list of what an `ApiError` holds. Both sides keep the order in which they
send, and handle what comes in the order in which it came.

As in `server.rpc`, a watcher reads what is there and handlers run in gevent's hub; whoever waits for an
answer is switched to directly. A peer that sends what is no message is not listened to any longer.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias

import gevent
import msgpack
from gevent import get_hub, getcurrent

from ..core.errors import ApiError
from ..log import get_logger

log = get_logger("workers")

MAX_MESSAGE: Final = 256 * 1024 * 1024
"""Bytes. The largest are the log records of answers with their payloads."""
MAX_UNSENT: Final = 256 * 1024 * 1024
"""Bytes that the other side does not take: then it is taken for dead."""

_CHUNK: Final = 64 * 1024
_BUFFER: Final = 16 * 1024
_READ, _WRITE = 1, 2
_WOULD_BLOCK = (BlockingIOError, InterruptedError)
_ASK, _ANSWER, _TELL = 0, 1, 2

Handler: TypeAlias = Callable[..., Any]


class ChannelClosed(Exception):
    """The other process is gone, or one of the two made no sense to the other."""


class RemoteError(Exception):
    """The other process failed at what it was asked. Its log says why."""


class Channel:
    """One end. All methods are for greenlets of the loop it was made in."""

    def __init__(
        self,
        sock: socket.socket,
        handlers: Mapping[str, Handler],
        *,
        slow: Collection[str] = (),
        on_closed: Callable[[str], None],
        max_message: int = MAX_MESSAGE,
        max_unsent: int = MAX_UNSENT,
    ) -> None:
        """`sock`: connected, and not gevent's. `handlers`: by method; they must not block, but for those
        named in `slow`, which get greenlets of their own. `on_closed` is told why, once, in the hub."""
        sock.setblocking(False)
        self._socket = sock
        self._handlers = handlers
        self._slow = frozenset(slow)
        self._on_closed = on_closed
        self._max_message = max_message
        self._max_unsent = max_unsent
        self._packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")
        self._waiting: dict[int, Any] = {}
        """By message: the greenlet that waits, or what is to be called with a value nobody waits for."""
        self._last_id = 0
        self._unsent = bytearray()
        self.closed = False
        self._unpacker = self._new_unpacker()
        self._fed = 0
        loop = get_hub().loop
        self._reader = loop.io(sock.fileno(), _READ)
        self._writer = loop.io(sock.fileno(), _WRITE)
        self._reader.start(self._readable)

    def tell(self, method: str, *args: Any) -> None:
        """Without an answer. Does nothing on a closed channel; raises what msgpack does on a value that
        cannot be packed."""
        if not self.closed:
            self._send(self._pack([_TELL, method, args]))

    def ask(self, method: str, *args: Any, late: Callable[[Any], None] | None = None) -> Any:
        """Waits for the answer. Raises ApiError as the other side does, RemoteError, ChannelClosed.

        Whoever waits may be thrown anything; `late` is then called with the value, if one comes.
        """
        if self.closed:
            raise ChannelClosed
        self._last_id += 1
        number = self._last_id
        data = self._pack([_ASK, number, method, args])
        self._waiting[number] = getcurrent()
        try:
            self._send(data)
            error, value = get_hub().switch()
        except BaseException:
            if self._waiting.pop(number, None) is not None and late is not None:
                self._waiting[number] = _Late(late)
            raise
        if error is None:
            return value
        raise _raised(error)

    def flush(self, seconds: float) -> bool:
        """Waits until all is sent, or so long. True if it was."""
        with gevent.Timeout(seconds, False):
            while self._unsent and not self.closed:
                gevent.sleep(0.005)
        return not self._unsent

    def close(self, reason: str = "closed") -> None:
        """Idempotent. Whoever waits for an answer gets ChannelClosed."""
        if self.closed:
            return
        self.closed = True
        self._reader.close()
        self._writer.close()
        self._socket.close()
        self._unsent.clear()
        get_hub().loop.run_callback(self._end, reason)

    def _end(self, reason: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for who in waiting.values():
            if not isinstance(who, _Late):
                who.throw(ChannelClosed(reason))
        self._on_closed(reason)

    def _pack(self, message: list[Any]) -> bytes:
        try:
            data: bytes = self._packer.pack(message)
        except BaseException:
            self._packer.reset()
            raise
        return data

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._keep(data)
            return
        try:
            sent = self._socket.send(data)
        except _WOULD_BLOCK:
            sent = 0
        except OSError as error:
            self.close(f"cannot be written to: {error.strerror}")
            return
        if sent < len(data):
            self._keep(data[sent:])
            self._writer.start(self._writable)

    def _keep(self, data: bytes) -> None:
        self._unsent += data
        if len(self._unsent) > self._max_unsent:
            self.close("takes nothing")

    def _writable(self) -> None:
        try:
            sent = self._socket.send(self._unsent[:_CHUNK])
        except _WOULD_BLOCK:
            return
        except OSError as error:
            self.close(f"cannot be written to: {error.strerror}")
            return
        del self._unsent[:sent]
        if not self._unsent:
            self._writer.stop()

    def _new_unpacker(self) -> Any:
        return msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogatepass",
            strict_map_key=False,
            read_size=_BUFFER,
            max_buffer_size=self._max_message,
        )

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
            if not data:
                self.close("the other side is gone")
                return
            self._unpacker.feed(data)
            self._fed += len(data)
            for message in self._unpacker:
                self._handle(message)
                if self.closed:
                    return
            if self._fed > _CHUNK and self._unpacker.tell() == self._fed:
                # A buffer never shrinks.
                self._unpacker = self._new_unpacker()
                self._fed = 0
        except _WOULD_BLOCK:
            return
        except OSError as error:
            self.close(f"cannot be read from: {error.strerror}")
        except Exception as error:
            log.error("protocol_error", reason=f"{type(error).__name__}: {error}")
            self.close("speaks another language")

    def _handle(self, message: Any) -> None:
        """Raises ValueError for what is no message."""
        match message:
            case [0, int(number), str(method), list(args)] if method in self._handlers:
                if method in self._slow:
                    gevent.spawn(self._answer, number, method, args)
                else:
                    self._answer(number, method, args)
            case [1, int(number), error, value]:
                who = self._waiting.pop(number, None)
                if isinstance(who, _Late):
                    if error is None:
                        who.take(value)
                elif who is None:
                    return  # nobody is interested any longer
                else:
                    who.switch((error, value))
            case [2, str(method), list(args)] if method in self._handlers:
                if method in self._slow:
                    gevent.spawn(self._told, method, args)
                else:
                    self._told(method, args)
            case _:
                raise ValueError("not a message")

    def _answer(self, number: int, method: str, args: list[Any]) -> None:
        error: Any = None
        value: Any = None
        try:
            value = self._handlers[method](*args)
            data = self._pack([_ANSWER, number, None, value])
        except Exception as raised:
            if isinstance(raised, ApiError):
                error = _told(raised)
            else:
                log.exception("not_answered", method=method)
                error = f"{method}: {type(raised).__name__}"
            data = self._pack([_ANSWER, number, error, None])
        if not self.closed:
            self._send(data)

    def _told(self, method: str, args: list[Any]) -> None:
        try:
            self._handlers[method](*args)
        except Exception:
            log.exception("not_heard", method=method)


class _Late:
    """Whoever asked was thrown something meanwhile."""

    __slots__ = ("_take",)

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take

    def take(self, value: Any) -> None:
        try:
            self._take(value)
        except Exception:
            log.exception("late_answer_lost")


def pair() -> tuple[socket.socket, socket.socket]:
    """A new socket pair for two ends."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def _told(error: ApiError) -> list[Any]:
    return [error.status, error.message, error.type, error.code, error.param, error.headers]


def _raised(error: Any) -> Exception:
    with suppress(TypeError, ValueError):
        status, message, kind, code, param, headers = error
        return ApiError(int(status), str(message), type=kind, code=code, param=param, headers=headers)
    return RemoteError(str(error))

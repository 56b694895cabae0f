"""Non-blocking TCP connections for one greenlet at a time.

gevent's own sockets make a Waiter and a Timeout for every wait. A relay waits once for every token of every
stream, so this keeps one watcher for each direction and one timer, and switches to the hub directly.
"""

from __future__ import annotations

import errno
import fcntl
import select
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from gevent import get_hub, getcurrent, monkey
from gevent.lock import Semaphore

StdSocket: Final[type[socket.socket]] = monkey.get_original("socket", "socket")
"""The socket class without gevent, in a patched process too."""

_READ: Final = 1
_WRITE: Final = 2
_poll: Final = monkey.get_original("select", "poll")
_LATE: Final = object()
_BURST: Final = 16
"""Full reads in a row, without a wait, before the other greenlets get their turn."""
_ONE_SEND: Final = 64 * 1024
"""Up to here head and body are joined for one send; above, copying costs more than a second system call."""


class TimedOut(Exception):
    """Nothing could be read, or written, for as long as was allowed."""


class ConnectionBroken(Exception):
    """The peer reset the connection, or TLS failed on it."""

    closed = False
    """It was closed, not reset: only TLS's own end was missing."""


class Connection:
    """A connected (or connecting) TCP socket.

    `recv` and `send` wait without a greenlet of their own. Whoever is thrown an exception while it waits
    (a client that went away, a killed greenlet) leaves no watcher behind.
    """

    __slots__ = (
        "_burst", "_drained", "_hub", "_probe", "_reader", "_sock", "_timer", "_timer_for", "_watcher",
        "_writer", "closed", "peer_ip",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, peer_ip: str = "") -> None:
        self._sock = sock
        self._hub = get_hub()
        self._reader: Any = None
        self._writer: Any = None
        self._timer: Any = None
        self._timer_for = 0.0
        self._watcher: Any = None
        self._probe: Any = None
        self._burst = 0
        self._drained = False
        """Wait before the next `recv`: the last one took all there was, or others shall have their turn."""
        self.closed = False
        self.peer_ip = peer_ip

    @property
    def fd(self) -> int:
        return self._sock.fileno()

    @classmethod
    def accepted(cls, sock: Any, peer_ip: str) -> Connection:
        """Takes over an accepted gevent socket."""
        own = StdSocket(fileno=sock.detach())
        own.setblocking(False)
        _no_delay(own)
        return cls(own, peer_ip)

    @classmethod
    def connect(cls, family: int, address: tuple[Any, ...], timeout: float) -> Connection:
        """Connects, within `timeout` seconds. Raises TimedOut or ConnectionBroken."""
        sock = StdSocket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        connection = cls(sock, str(address[0]))
        try:
            _no_delay(sock)
            code = sock.connect_ex(address)
            if code in (errno.EINPROGRESS, errno.EWOULDBLOCK):
                connection.wait_writable(timeout)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise ConnectionBroken(errno.errorcode.get(code, str(code)))
        except BaseException:
            connection.close()
            raise
        return connection

    def recv(self, size: int, timeout: float) -> bytes:
        """At least one byte, at most `size`; b"" when the peer closed. Raises TimedOut, ConnectionBroken."""
        if self._drained:
            # Asking the kernel again at once would be answered "nothing there", for every token once.
            self.wait_readable(timeout)
        while True:
            try:
                data = self._sock.recv(size)
            except BlockingIOError:
                self.wait_readable(timeout)
            except OSError as error:
                raise ConnectionBroken(_name(error)) from None
            else:
                self._burst = 0 if len(data) < size else (self._burst + 1) % _BURST
                self._drained = not self._burst
                return data

    def send(self, data: bytes | memoryview, timeout: float) -> None:
        """All of it; `timeout` is for each wait. Raises TimedOut, ConnectionBroken."""
        while True:
            try:
                sent = self._sock.send(data)
                if sent == len(data):
                    return
                data = memoryview(data)[sent:]
                continue
            except BlockingIOError:
                pass
            except OSError as error:
                raise ConnectionBroken(_name(error)) from None
            self.wait_writable(timeout)

    def send_all(self, head: bytes, body: bytes, timeout: float) -> None:
        """Head and body, in one send where that is possible."""
        if len(body) <= _ONE_SEND:
            self.send(head + body, timeout)
            return
        self.send(head + body[:_ONE_SEND], timeout)
        self.send(memoryview(body)[_ONE_SEND:], timeout)

    def idle_and_open(self) -> bool:
        """For a connection kept alive: nothing came and the peer did not close."""
        if self._probe is None:
            self._probe = _poll()
            self._probe.register(self.fd, select.POLLIN)
        return not self._probe.poll(0)  # reading would raise BlockingIOError, for every request once

    def recv_now(self, size: int) -> bytes | None:
        """What is there without waiting: None if nothing is, b"" when the peer closed or reset."""
        try:
            return self._sock.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def wait_readable(self, timeout: float) -> None:
        """Raises TimedOut. `timeout` 0 waits for ever."""
        if self._reader is None:
            self._reader = self._hub.loop.io(self.fd, _READ)
        self._wait(self._reader, timeout)

    def wait_writable(self, timeout: float) -> None:
        """Raises TimedOut. `timeout` 0 waits for ever."""
        if self._writer is None:
            self._writer = self._hub.loop.io(self.fd, _WRITE)
        self._wait(self._writer, timeout)

    def _wait(self, watcher: Any, timeout: float) -> None:
        wake = getcurrent().switch
        watcher.start(wake)
        if timeout:
            timer = self._timer
            if self._timer_for != timeout:
                if timer is not None:
                    timer.close()
                timer = self._timer = self._hub.loop.timer(timeout, repeat=timeout)
                self._timer_for = timeout
            timer.again(wake, _LATE)
        try:
            # What came while this process had no time to look is there all the same: where both are due in
            # one round of the loop, the timer is told first.
            if self._hub.switch() is _LATE and (self.closed or not self._ready(watcher)):
                raise TimedOut
        finally:
            # Closed meanwhile by another greenlet: its watchers are gone already.
            if not self.closed:
                watcher.stop()
                if timeout:
                    timer.stop()

    def _ready(self, watcher: Any) -> bool:
        poll = _poll()
        poll.register(self.fd, select.POLLIN if watcher is self._reader else select.POLLOUT)
        return bool(poll.poll(0))

    def unacknowledged(self) -> bool:
        """Whether the peer's system had not received all that was sent when it last said something, its
        close included. False where that cannot be told."""
        try:
            (left,) = struct.unpack("i", fcntl.ioctl(self.fd, termios.TIOCOUTQ, bytes(4)))
        except OSError:
            return False
        return bool(left > 0)

    def watch(self, callback: Callable[[], None]) -> None:
        """Until `unwatch`: calls back, in the hub, whenever there is something to read or the peer closed."""
        if self._watcher is None:
            self._watcher = self._hub.loop.io(self.fd, _READ)
        self._watcher.start(callback)

    def unwatch(self) -> None:
        """Idempotent."""
        if self._watcher is not None and not self.closed:
            self._watcher.stop()

    def duplex(self) -> None:
        """From now on one greenlet may wait in `recv` and another in `send`, both without a time limit of
        their own (`timeout` 0): there is one timer."""

    def shutdown_write(self) -> None:
        """Tells the peer that nothing more will come."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Idempotent. Watchers go before the descriptor, which may be reused at once."""
        if not self.closed:
            self._end()
            self._sock.close()

    def detach(self) -> int:
        """The descriptor, which stays open and is the caller's from now on."""
        self._end()
        return self._sock.detach()

    def _end(self) -> None:
        self.closed = True
        for watcher in (self._reader, self._writer, self._watcher, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()


class TlsConnection(Connection):
    """TLS on top, through memory buffers: the waits stay those of `Connection`."""

    __slots__ = ("_incoming", "_outgoing", "_tls", "_turn")

    def __init__(self, sock: socket.socket, peer_ip: str = "") -> None:
        super().__init__(sock, peer_ip)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._turn: Semaphore | None = None

    def handshake(self, context: ssl.SSLContext, hostname: str, timeout: float) -> None:
        """Raises ssl.SSLError (a certificate that does not verify), TimedOut, ConnectionBroken."""
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._tls = tls
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(timeout)
                self._fill(timeout)
                continue
            except ssl.SSLError:
                self._flush(timeout)  # the alert that says why
                raise
            self._flush(timeout)
            return

    def recv(self, size: int, timeout: float) -> bytes:
        assert self._tls is not None
        while True:
            try:
                data = self._tls.read(size)
            except ssl.SSLWantReadError:
                self._answer(timeout)
                self._fill(timeout)
                continue
            except ssl.SSLZeroReturnError:
                return b""
            except ssl.SSLError as error:
                broken = ConnectionBroken(error.reason or "TLS error")
                broken.closed = isinstance(error, ssl.SSLEOFError)
                raise broken from None
            if not data and self._incoming.eof:
                # Cut without a goodbye, which would have been read before. Python 3.11.2, Debian 12's, says
                # nothing of it.
                broken = ConnectionBroken("EOF occurred in violation of protocol")
                broken.closed = True
                raise broken
            return data

    def send(self, data: bytes | memoryview, timeout: float) -> None:
        assert self._tls is not None
        view = memoryview(data)
        while view:
            try:
                # Bounded steps: the encrypted copy of a 20 MB body shall not stand in memory at once.
                sent = self._tls.write(view[: 4 * _ONE_SEND])
            except ssl.SSLError as error:
                raise ConnectionBroken(error.reason or "TLS error") from None
            view = view[sent:]
            self._flush(timeout)

    def idle_and_open(self) -> bool:
        # Session tickets may have come after the answer: let TLS read them, then nothing may be left.
        assert self._tls is not None
        while data := super().recv_now(_ONE_SEND):
            self._incoming.write(data)
        if data is not None:
            return False
        try:
            self._tls.read(1)
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            return False
        return False

    def recv_now(self, size: int) -> bytes | None:
        raise NotImplementedError("only plain connections are watched")

    def _fill(self, timeout: float) -> None:
        data = super().recv(_ONE_SEND, timeout)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def duplex(self) -> None:
        self._turn = Semaphore()

    def _answer(self, timeout: float) -> None:
        """What TLS itself has to say while data is read (a key update). Whoever is sending sends it too."""
        turn = self._turn
        if turn is None:
            self._flush(timeout)
        elif self._outgoing.pending and turn.acquire(blocking=False):
            try:
                self._drain(timeout)
            finally:
                turn.release()

    def _flush(self, timeout: float) -> None:
        turn = self._turn
        if turn is None:
            self._drain(timeout)
            return
        with turn:
            self._drain(timeout)

    def _drain(self, timeout: float) -> None:
        while self._outgoing.pending:
            super().send(self._outgoing.read(), timeout)


def _no_delay(sock: socket.socket) -> None:
    # Where it is not TCP, or gone already, the next call will tell.
    with suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, type(error).__name__)

"""The mock's HTTP/1.1 server: threads and plain sockets, so that it also runs inside a test's own
process."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import httptools

from ..core.json import Json
from .answers import Answer, Drop, Gate, Hang, Pause, Reset, Step
from .providers import respond
from .received import Received

_RST = struct.pack("ii", 1, 0)

Handler = Callable[[Received], Answer]


class MockLLM:
    """All mock providers on one address.

    Scripted answers (`answer`) come first, each used once, in order, for the paths they were given for;
    then the providers' own deterministic behaviour (`providers.respond`).

    `requests` keeps what was asked, for tests to look at; `keep=False` where it runs for days.
    """

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, handler: Handler | None = None, *, keep: bool = True
    ) -> None:
        self._handler = handler or respond
        self._keep = keep
        self._scripted: dict[str, deque[Answer | Handler]] = defaultdict(deque)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._counter = 0
        self._stopping = threading.Event()
        self.requests: list[Received] = []
        self._listener = socket.create_server((host, port), backlog=1024)
        self.host = host
        self.port: int = self._listener.getsockname()[1]

    # -- life
    # ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> MockLLM:
        self._spawn(self._accept)
        return self

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections, threads = list(self._connections), list(self._threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)

    def __enter__(self) -> MockLLM:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # -- scripting
    # -------------------------------------------------------------------------------------------

    def answer(self, answer: Answer | Handler, path: str = "", times: int = 1) -> None:
        """Queue an answer for requests whose path begins with `path` (longest match wins; "" is any)."""
        with self._lock:
            self._scripted[path].extend([answer] * times)

    def serve_recording(self, recording: Json, path: str = "", pieces: int = 0) -> None:
        """Queue a recorded provider answer, byte for byte; `pieces` > 0 sends its body in so many
        writes."""
        from .recorded import recorded_answer

        self.answer(recorded_answer(recording, pieces), path)

    def reset(self) -> None:
        """Forget scripted answers and received requests."""
        with self._lock:
            self._scripted.clear()
            self.requests.clear()

    @property
    def last(self) -> Received:
        """The request received last. Raises IndexError if there was none."""
        return self.requests[-1]

    def wait_for(self, count: int, timeout: float = 5.0) -> list[Received]:
        """Wait until so many requests were received. Raises TimeoutError."""
        until = time.monotonic() + timeout
        while len(self.requests) < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{len(self.requests)} of {count} requests after {timeout} s")
            time.sleep(0.002)
        return self.requests[:count]

    # -- connections
    # -----------------------------------------------------------------------------------------

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        def run() -> None:
            try:
                target(*args)
            finally:
                with self._lock:
                    self._threads.discard(thread)

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._counter += 1
                number = self._counter
                self._connections.add(connection)
            self._spawn(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        reader = _Reader(connection)
        try:
            while not self._stopping.is_set():
                received = reader.next()
                if received is None:
                    return
                received.connection = number
                if self._keep:
                    with self._lock:
                        self.requests.append(received)
                if not _Sender(connection, received, self._stopping).send(self._pick(received)):
                    return
        except OSError:
            return
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _pick(self, received: Received) -> Answer:
        with self._lock:
            matching = [p for p, queue in self._scripted.items() if queue and received.path.startswith(p)]
            scripted = self._scripted[max(matching, key=len)].popleft() if matching else None
        if isinstance(scripted, Answer):
            return scripted
        return self._handler(received) if scripted is None else scripted(received)


class _Reader:
    """Requests off one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._complete = False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if dict(self._headers).get("expect", "").lower() == "100-continue":
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._complete = True

    def next(self) -> Received | None:
        """The next request; None when the peer has closed or spoke no HTTP."""
        self._begin()
        while not self._complete:
            data = self._connection.recv(65536)
            if not data:
                return None
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                break
            except httptools.HttpParserError:
                return None
        raw = self._url.decode("latin-1")
        path, _, query = raw.partition("?")
        return Received(
            method=self._parser.get_method().decode(),
            path=unquote(path),
            raw_path=raw,
            query=query,
            headers=_joined(self._headers),
            body=b"".join(self._body),
            at=time.monotonic(),
        )


def _joined(pairs: list[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in pairs:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class _Sender:
    """One answer onto its connection."""

    def __init__(self, connection: socket.socket, received: Received, stopping: threading.Event) -> None:
        self._connection = connection
        self._received = received
        self._stopping = stopping
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN | select.POLLRDHUP)

    def send(self, answer: Answer) -> bool:
        """True if the connection can carry another request."""
        try:
            return self._send(answer)
        except OSError:
            self._hung_up()
            return False

    def _send(self, answer: Answer) -> bool:
        for step in answer.before:
            if not self._step(step, chunked=False):
                return False
        if answer.takeover is not None:
            answer.takeover(self._connection)
            self._received.finished.set()
            return False
        head = self._head(answer)
        if answer.head_cut is not None:
            self._connection.sendall(head[: answer.head_cut])
            return self._step(Reset(), chunked=False)
        if answer.steps is None:
            self._connection.sendall(head if self._received.method == "HEAD" else head + answer.body)
            self._received.sent_at.append(time.monotonic())
        else:
            self._connection.sendall(head)
            for step in answer.steps:
                if not self._step(step, chunked=True):
                    return False
            self._connection.sendall(b"0\r\n\r\n")
        self._received.finished.set()
        return self._received.headers.get("connection", "").lower() != "close"

    def _head(self, answer: Answer) -> bytes:
        try:
            reason = HTTPStatus(answer.status).phrase
        except ValueError:
            reason = ""
        lines = [f"HTTP/1.1 {answer.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if answer.steps is not None:
            lines.append("transfer-encoding: chunked")
        elif answer.status not in (204, 304):
            lines.append(f"content-length: {len(answer.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _step(self, step: Step, *, chunked: bool) -> bool:
        """Carry out a step; False where the answer ends with it."""
        match step:
            case bytes():
                if not step:
                    return True
                self._connection.sendall(b"%x\r\n%b\r\n" % (len(step), step) if chunked else step)
                self._received.sent_at.append(time.monotonic())
                return True
            case Pause():
                return self._wait(step.seconds, None)
            case Gate():
                return self._wait(step.timeout, step.event)
            case Hang():
                self._wait(3600.0, None)
                return False
            case Reset():
                self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                self._connection.close()
                return False
            case Drop():
                return False

    def _wait(self, seconds: float, event: threading.Event | None) -> bool:
        """Wait, and notice at once when the peer hangs up. False if it did."""
        until = time.monotonic() + seconds
        longest = 0.002 if event is not None else 0.05
        while (left := until - time.monotonic()) > 0:
            if event is not None and event.is_set():
                return True
            if self._stopping.is_set():
                return False
            if self._poll.poll(min(left, longest) * 1000):
                try:
                    gone = not self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                except BlockingIOError:
                    gone = False
                if gone:
                    self._hung_up()
                    return False
                time.sleep(min(left, longest))  # a pipelined request waits in the socket
        return True

    def _hung_up(self) -> None:
        if not self._received.closed.is_set():
            self._received.closed_at = time.monotonic()
            self._received.closed.set()

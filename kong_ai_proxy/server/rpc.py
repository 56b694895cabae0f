"""The RPC server: MessagePack over unix sockets, as Kong's `mp_rpc.lua` speaks it.

Connections have no greenlet: a watcher reads what is there, and each message is handled in the hub, where
phases are resumed (see `events`). Whatever may block (starting and closing instances) gets a greenlet of
its own.

Messages are `[0, id, "plugin.Method", [args]]`, answered by `[1, id, error, result]`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent
import gevent.event
import msgpack
from gevent import monkey

from ..core.errors import ApiError
from ..log import get_logger
from .events import EXIT_PHASES, Events
from .instances import Instances, Plugin, ServerError

log = get_logger("server")

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes. A request's body is the largest thing Kong sends, and only where the usage filter is missing."""

_MOST_ITEMS = 16 * 1024
"""Of a list or table: Kong's longest are a request's headers, 1000 at most."""
_CHUNK = 256 * 1024
_BUFFER = 16 * 1024
"""Bytes a connection's buffer begins with; msgpack's own default is 1 MiB."""
_BACKLOG = 4096
_READ, _WRITE = 1, 2
_WOULD_BLOCK = (BlockingIOError, InterruptedError)
_StdSocket: type[socket.socket] = monkey.get_original("socket", "socket")
"""Without gevent, which would wait where these never do."""

_SHUTTING_DOWN = ApiError(503, "The AI proxy is shutting down; try again.", code="shutting_down")


class _Message:
    """One packer for all: packing never switches greenlets."""

    _packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogateescape")

    @classmethod
    def pack(cls, msgid: int, error: str | None, result: Any) -> bytes:
        try:
            packed: bytes = cls._packer.pack([1, msgid, error, result])
        except BaseException:
            cls._packer.reset()  # drop what was packed before the value that could not be
            raise
        return packed


class Connection:
    """One of Kong's pooled connections."""

    __slots__ = ("_closed", "_fed", "_out", "_reader", "_server", "_socket", "_unpacker", "_writer")

    def __init__(self, server: RpcServer, sock: socket.socket) -> None:
        self._server = server
        self._socket = sock
        self._closed = False
        self._out: memoryview | None = None
        self._unpacker = self._new_unpacker()
        self._fed = 0
        loop = gevent.get_hub().loop
        self._writer = loop.io(sock.fileno(), _WRITE)
        self._reader = loop.io(sock.fileno(), _READ)
        self._reader.start(self._readable)

    def reply(self, msgid: int, result: Any) -> bool:
        """Answer a request. False if Kong is gone. Raises what msgpack does on a value that cannot be
        packed."""
        return self._send(_Message.pack(msgid, None, result))

    def error(self, msgid: int, text: str) -> bool:
        """Answer with an error, which Kong logs."""
        return self._send(_Message.pack(msgid, text, None))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reader.close()
        self._writer.close()
        self._socket.close()
        self._server.connections.discard(self)

    def _new_unpacker(self) -> Any:
        return msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogateescape",
            strict_map_key=False,
            read_size=_BUFFER,
            max_buffer_size=self._server.max_message,
            # A list is made room for as long as it says it is, before anything of it has come.
            max_array_len=_MOST_ITEMS,
            max_map_len=_MOST_ITEMS,
        )

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_CHUNK)
            if not data:
                self.close()
                return
            self._unpacker.feed(data)
            self._fed += len(data)
            for message in self._unpacker:
                self._server.dispatch(self, message)
                if self._closed:
                    return
            if self._fed > _CHUNK and self._unpacker.tell() == self._fed:
                # A buffer never shrinks: after a large body it would stay with this connection for good.
                self._unpacker = self._new_unpacker()
                self._fed = 0
        except _WOULD_BLOCK:
            return
        except OSError:
            self.close()
        except Exception as error:
            # Not MessagePack, too large, or too deep: there is no way to find the next message.
            log.error("rpc_broken", reason=f"{type(error).__name__}: {error}")
            self.close()

    def _send(self, data: bytes) -> bool:
        if self._closed:
            return False
        if self._out is not None:
            self._out = memoryview(bytes(self._out) + data)
            return True
        try:
            sent = self._socket.send(data)
        except _WOULD_BLOCK:
            sent = 0
        except OSError:
            self.close()
            return False
        if sent < len(data):
            # Read nothing more until Kong took this.
            self._out = memoryview(data)[sent:]
            self._reader.stop()
            self._writer.start(self._writable)
        return True

    def _writable(self) -> None:
        assert self._out is not None
        try:
            self._out = self._out[self._socket.send(self._out) :]
        except _WOULD_BLOCK:
            return
        except OSError:
            self.close()
            return
        if not self._out:
            self._out = None
            self._writer.stop()
            self._reader.start(self._readable)


class RpcServer:
    """Serves plugins on any number of listening sockets."""

    def __init__(
        self, plugins: Mapping[str, Plugin], *, max_message: int = MAX_MESSAGE, events: Events | None = None
    ) -> None:
        self.instances = Instances(plugins)
        self.events = Events() if events is None else events
        self.max_message = max_message
        self.connections: set[Connection] = set()
        self.round_trips = 0
        """Messages of phases handled so far: each is a round trip that a request waits for."""
        self.phases: Counter[str] = Counter()
        """Phases run so far, by name."""
        self._listeners: list[tuple[socket.socket, Any]] = []
        self._stopping = False
        self._methods: dict[str, Callable[[Any], Any]] = {
            "plugin.StartInstance": self._start_instance,
            "plugin.CloseInstance": self._close_instance,
            "plugin.InstanceStatus": self._instance_status,
            "plugin.GetStatus": self._get_status,
        }

    def listen(self, listener: socket.socket) -> None:
        """Accept on a bound socket from now on."""
        if not self._listeners:
            self.events.watch()
        listener.setblocking(False)
        listener.listen(_BACKLOG)
        watcher = gevent.get_hub().loop.io(listener.fileno(), _READ)
        self._listeners.append((listener, watcher))
        watcher.start(self._accept, listener, watcher)

    def stop_accepting(self) -> None:
        """No new connections; new requests on open ones get 503."""
        self._stopping = True
        for listener, watcher in self._listeners:
            watcher.close()
            listener.close()
        self._listeners.clear()

    def drain(self, grace: float) -> bool:
        """Wait up to `grace` seconds for the running phases. True if they all ended."""
        with gevent.Timeout(grace, False):
            while len(self.events):
                gevent.sleep(0.02)
        return not len(self.events)

    def close(self) -> None:
        """End everything at once. From any greenlet but a handler's."""
        self.stop_accepting()
        done = gevent.event.Event()

        def in_hub() -> None:
            try:
                self.events.close()
                for connection in list(self.connections):
                    connection.close()
            finally:
                done.set()

        gevent.get_hub().loop.run_callback(in_hub)
        done.wait()

    def dispatch(self, connection: Connection, message: Any) -> None:
        """Handle one message; in the hub. Raises ValueError for what is no request at all."""
        if not (isinstance(message, list) and len(message) == 4 and message[0] == 0):
            raise ValueError("not an RPC request")
        _, msgid, method, args = message
        argument = args[0] if isinstance(args, list) and args else None
        try:
            if method == "plugin.HandleEvent":
                self.round_trips += 1
                self._handle_event(connection, msgid, argument)
            elif isinstance(method, str) and method.startswith("plugin.Step"):
                self.round_trips += 1
                self.events.step(connection, msgid, argument, failed=method == "plugin.StepError")
            elif method in self._methods:
                gevent.spawn(self._answer, connection, msgid, method, argument)
            else:
                connection.error(msgid, f"RPC for {method} is not supported")
        except ServerError as error:
            connection.error(msgid, str(error))

    def _accept(self, listener: socket.socket, watcher: Any) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except _WOULD_BLOCK:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("accept_failed", reason=os.strerror(error.errno))
                    watcher.stop()
                    gevent.spawn_later(0.5, self._accept_again, listener, watcher)
                return
            own = _StdSocket(fileno=sock.detach())
            own.setblocking(False)
            self.connections.add(Connection(self, own))

    def _accept_again(self, listener: socket.socket, watcher: Any) -> None:
        if not self._stopping:
            watcher.start(self._accept, listener, watcher)

    def _handle_event(self, connection: Connection, msgid: int, event: Any) -> None:
        if not isinstance(event, dict):
            raise ServerError("HandleEvent without an event")
        phase = event.get("EventName")
        running = self.instances.get(event.get("InstanceId"))
        handler = running.handler(phase if isinstance(phase, str) else "")
        self.phases[str(phase)] += 1
        if self._stopping and phase in EXIT_PHASES and phase != "response":
            handler = partial(_refuse, running.error_body(_SHUTTING_DOWN))
        self.events.start(
            running.plugin.name, str(phase), handler, connection, msgid, running.error_body
        )

    def _answer(self, connection: Connection, msgid: int, method: str, argument: Any) -> None:
        try:
            result = self._methods[method](argument)
        except ServerError as error:
            connection.error(msgid, str(error))
        except Exception as error:
            log.exception("rpc_failed", method=method)
            connection.error(msgid, f"{method} failed: {type(error).__name__}")
        else:
            connection.reply(msgid, result)

    def _start_instance(self, argument: Any) -> Any:
        if not isinstance(argument, dict):
            raise ServerError("StartInstance without a configuration")
        running = self.instances.start(str(argument.get("Name")), argument.get("Config", ""))
        # Kong needs the id only. Its own server gives the configuration back too; ours holds credentials.
        return {"Name": running.plugin.name, "Id": running.id, "StartTime": running.started}

    def _close_instance(self, instance_id: Any) -> Any:
        running = self.instances.close(instance_id)
        return {"Name": running.plugin.name, "Id": running.id}

    def _instance_status(self, instance_id: Any) -> Any:
        running = self.instances.get(instance_id)
        return {"Name": running.plugin.name, "Id": running.id, "StartTime": running.started}

    def _get_status(self, _: Any) -> Any:
        return {
            "Pid": os.getpid(),
            "Events": len(self.events),
            "RoundTrips": self.round_trips,
            "Connections": len(self.connections),
            "Instances": [
                {"Name": running.plugin.name, "Id": running.id, "StartTime": running.started}
                for running in self.instances.all()
            ],
        }


def _refuse(body: str, kong: Any) -> None:
    headers = {"content-type": "application/json", "retry-after": "1"}
    kong.response.exit(503, body, headers)

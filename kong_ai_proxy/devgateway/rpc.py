"""Kong's side of the plugin server's RPC, as Kong Gateway 3.9 speaks it.

Written after `kong/runloop/plugin_servers/rpc/mp_rpc.lua` and `plugin.lua` of Kong 3.9.3, with their
habits: every message may use another pooled connection, a table with nothing in it travels as an array, a
nil where binary is meant breaks the phase, and only the first value a PDK function returns is sent back.

`RpcClient` is the wire; `ExternalPlugin` adds how Kong starts, shares and replaces plugin instances. Calls
block their greenlet only. Both are for development, tests and benchmarks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
import msgpack
from gevent import socket
from gevent.monkey import get_original

from ..core.json import dumps_text

log = logging.getLogger(__name__)

Pdk = Callable[[str, list[Any]], Any]
"""`pdk(method, args)` runs one PDK function, e.g. ("kong.request.get_header", ["host"]), and gives its
first value.

It raises `MissingMethod` for a function Kong does not have, `LuaError` where Kong's would throw, and
whatever the gateway uses to leave the phase in `kong.response.exit`.
"""

READ_TIMEOUT = 60.0
"""nginx's default `lua_socket_read_timeout`, in seconds."""


class RpcError(Exception):
    """The plugin server answered an error, or could not be reached. Kong logs it and goes on without the
    plugin."""


class LuaError(Exception):
    """Kong's Lua code throws here: the phase ends, in `access` with a 500 for the client."""


class MissingMethod(LookupError):
    """Kong has no PDK function of this name: it logs that and answers nil."""


STEP_METHODS = {
    "kong.client.get_credential": "plugin.StepCredential",
    "kong.client.load_consumer": "plugin.StepConsumer",
    "kong.client.get_consumer": "plugin.StepConsumer",
    "kong.client.authenticate": "plugin.StepCredential",
    "kong.node.get_memory_stats": "plugin.StepMemoryStats",
    "kong.router.get_route": "plugin.StepRoute",
    "kong.router.get_service": "plugin.StepService",
    "kong.request.get_query": "plugin.StepMultiMap",
    "kong.request.get_headers": "plugin.StepMultiMap",
    "kong.response.get_headers": "plugin.StepMultiMap",
    "kong.service.response.get_headers": "plugin.StepMultiMap",
}

_MULTI_MAPS = {
    "kong.request.get_query",
    "kong.request.get_headers",
    "kong.response.get_headers",
    "kong.service.response.get_headers",
}

_RAW = {
    "kong.request.get_raw_body",
    "kong.response.get_raw_body",
    "kong.service.response.get_raw_body",
}


def fix_multi_map(value: Mapping[str, Any]) -> dict[str, Any]:
    """Headers and query arguments: every value a list; a bare name (`true`) an empty one."""
    fixed: dict[str, Any] = {}
    for name, item in value.items():
        if item is True:
            fixed[name] = []
        elif isinstance(item, (str, bytes)):
            fixed[name] = [as_lua(item)]
        else:
            fixed[name] = as_lua(item)
    return fixed


def as_lua(value: Any) -> Any:
    """A value as it looks after Lua's MessagePack: strings are byte strings, an empty table is an array,
    members that are nil are not there, whole numbers are integers."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(value, 1))
    if isinstance(value, Mapping):
        table = {as_lua(key): as_lua(item) for key, item in value.items() if item is not None}
        # One kind of table: numbered from 1 without a gap, it is a list.
        if all(number in table for number in range(1, len(table) + 1)):
            return [table[number] for number in range(1, len(table) + 1)]
        return table
    return value


def to_wire(method: str, value: Any) -> Any:
    """What Kong sends back as a PDK function's value. Raises LuaError where Kong's codec breaks on it."""
    if method in _MULTI_MAPS:
        if not isinstance(value, Mapping):
            raise LuaError(f"bad argument #1 to 'pairs' (table expected) in {method}")
        return fix_multi_map(value)
    if method in _RAW:
        if value is None:
            raise LuaError("attempt to get length of local 'bin' (a nil value)")
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
    return as_lua(value)


_BORDERS = {
    "01": 2, "010": 2, "011": 3, "0100": 2, "0101": 4, "0110": 3, "0111": 4, "1001": 4, "1011": 4, "1101": 4,
}  # fmt: skip
"""The length LuaJIT finds for a table with holes (0: nil), where it is not that up to the first hole."""


def lua_args(args: Any) -> list[Any]:
    """The arguments a PDK function really gets: Lua's `unpack` stops at the table's length, and that of a
    MessagePack array with a nil in it is often where the nil is."""
    if not isinstance(args, (list, tuple)):
        return [] if args is None else [args]
    values = list(args)
    if None not in values:
        return values
    pattern = "".join("0" if value is None else "1" for value in values)
    return values[: _BORDERS.get(pattern, values.index(None))]


@dataclass
class Counters:
    """What went over the wire."""

    round_trips: int = 0
    connections: int = 0
    methods: list[str] | None = None
    """RPC and PDK methods in order, where one asked for it (`record_methods`)."""


class RpcClient:
    """Round trips to one plugin server socket over pooled connections.

    nginx hands out the connection used last; `rotate` hands out the one that rested longest, so that each
    step of an event takes another connection.
    """

    def __init__(
        self,
        path: str,
        *,
        read_timeout: float = READ_TIMEOUT,
        pool_size: int = 30,
        rotate: bool = False,
        record_methods: bool = False,
    ) -> None:
        self.path = path
        self.read_timeout = read_timeout
        self.pool_size = pool_size
        self.rotate = rotate
        self.counters = Counters(methods=[] if record_methods else None)
        self._idle: deque[_Connection] = deque()
        self._msg_id = 0

    def call(self, method: str, *args: Any) -> Any:
        """One request and its answer. Raises RpcError."""
        self._msg_id = msg_id = self._msg_id + 1
        self.counters.round_trips += 1
        if self.counters.methods is not None:
            self.counters.methods.append(method)
        request = _pack([0, msg_id, method, list(args)])
        connection = self._connection()
        try:
            answer = connection.exchange(request)
        except (OSError, EOFError, ValueError) as error:
            # Kong keeps a connection after a time-out, nginx closes it when the late answer comes: the same
            # in effect.
            connection.close()
            raise RpcError("no data") from error
        except BaseException:
            connection.close()
            raise
        if answer[0] != 1 or answer[1] != msg_id:
            connection.close()
            raise LuaError("unexpected RPC response ID from Go plugin server")
        self._keep(connection)
        if answer[2] is not None:
            raise RpcError(answer[2])
        return answer[3]

    def start_instance(self, plugin: str, conf: Mapping[str, Any]) -> dict[str, Any]:
        """`conf` is the plugin's configuration with Kong's additions (`__plugin_id`, `__seq__`, …)."""
        status = self.call("plugin.StartInstance", {"Name": plugin, "Config": dumps_text(conf)})
        if not isinstance(status, dict):
            raise RpcError("no instance status")
        return status

    def close_instance(self, instance_id: int) -> Any:
        return self.call("plugin.CloseInstance", instance_id)

    def handle_event(self, instance_id: int, phase: str, pdk: Pdk) -> None:
        """Run one phase: carry out the PDK calls the plugin asks for until it returns.

        Raises RpcError, LuaError, or what `pdk` raises; in the last two cases the plugin server gets no
        further step, as with Kong.
        """
        step = self.call("plugin.HandleEvent", {"InstanceId": instance_id, "EventName": phase})
        event_id = step["EventId"]
        while step["Data"] != "ret":
            method = step["Data"]["Method"]
            if self.counters.methods is not None:
                self.counters.methods.append(method)
            try:
                value = to_wire(method, pdk(method, lua_args(step["Data"]["Args"])))
            except MissingMethod:
                log.error("could not find pdk method: %s", method)
                value = None
            data: dict[str, Any] = {"EventId": event_id}
            if value is not None:
                data["Data"] = value
            step = self.call(STEP_METHODS.get(method, "plugin.Step"), data)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.popleft() if self.rotate else self._idle.pop()
            if connection.alive():
                return connection
            connection.close()
        self.counters.connections += 1
        try:
            return _Connection(self.path, self.read_timeout)
        except OSError as error:
            raise RpcError(f"trying to connect: {error}") from error

    def _keep(self, connection: _Connection) -> None:
        self._idle.append(connection)
        if len(self._idle) > self.pool_size:
            self._idle.popleft().close()

    def grow(self, connections: int) -> None:
        """Open connections ahead, so that `rotate` has some to hand out."""
        while len(self._idle) < connections:
            self.counters.connections += 1
            self._idle.append(_Connection(self.path, self.read_timeout))


class _Connection:
    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise
        self._poller = _poller(self._socket.fileno())
        self._unpacker = msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogateescape",
            strict_map_key=False,
            read_size=65536,
            max_buffer_size=2**31 - 1,
        )

    def exchange(self, request: bytes) -> list[Any]:
        self._socket.sendall(request)
        while True:
            for message in self._unpacker:
                if not isinstance(message, list) or not message:
                    raise ValueError("not an RPC message")
                if message[0] == 2:
                    continue  # a notification; ours sends none
                if len(message) != 4:
                    raise ValueError("not an RPC answer")
                return message
            data = self._socket.recv(65536)
            if not data:
                raise EOFError
            self._unpacker.feed(data)

    def alive(self) -> bool:
        """nginx drops an idle connection as soon as it is closed or readable."""
        try:
            return not self._poller.poll(0)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        self._socket.close()


def _poller(fileno: int) -> Any:
    # gevent's patched select module has no poll that returns at once without visiting the hub.
    poller = get_original("select", "poll")()
    poller.register(fileno, 1)
    return poller


def _pack(message: Sequence[Any]) -> bytes:
    packed: bytes = msgpack.packb(message, use_bin_type=True, unicode_errors="surrogateescape")
    return packed


@dataclass
class _Running:
    conf: Mapping[str, Any]
    seq: Any
    id: int | None = None


class ExternalPlugin:
    """One external plugin as one Kong worker keeps it: instances by plugin id, started on first use."""

    SLEEP_STEP = 0.1
    WAIT_TIME = 10.0

    def __init__(self, name: str, client: RpcClient) -> None:
        self.name = name
        self.client = client
        self._running: dict[str, _Running] = {}

    def handle_event(self, conf: Mapping[str, Any], phase: str, pdk: Pdk) -> None:
        """Run a phase. What the plugin server answers as an error is logged, and the request goes on (Kong
        fails open); LuaError (an instance that does not start, a codec that breaks) goes up."""
        while True:
            try:
                self.client.handle_event(self._instance_id(conf), phase, pdk)
                return
            except RpcError as error:
                if "no plugin instance" in str(error).lower():
                    log.warning("%s", error)
                    self.reset_instances()
                    continue
                log.error("%s", error)
                return

    def reset_instances(self) -> None:
        """Forget all instances: the plugin server no longer knows them."""
        self._running.clear()

    def _instance_id(self, conf: Mapping[str, Any]) -> int:
        key = str(conf["__plugin_id"])
        info = self._running.get(key)
        waited = 0.0
        while info is not None and info.id is None:
            gevent.sleep(self.SLEEP_STEP)
            waited += self.SLEEP_STEP
            if waited > self.WAIT_TIME:
                self._running.pop(key, None)
                raise RpcError(f"Could not claim instance_id for {self.name} (key: {key})")
            info = self._running.get(key)
        if info is not None and info.id is not None and info.seq == conf.get("__seq__"):
            return info.id
        old = info.id if info else None
        info = self._running[key] = _Running(conf, conf.get("__seq__"))
        try:
            info.id = int(self.client.start_instance(self.name, conf)["Id"])
        except RpcError as error:
            log.error("starting instance: %s", error)
            self._running.pop(key, None)
            raise LuaError(str(error)) from error
        if old is not None:
            try:
                self.client.close_instance(old)
            except RpcError as error:
                log.info("closing instance: %s", error)
        return info.id

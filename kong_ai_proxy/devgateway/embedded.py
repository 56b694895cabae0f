"""The gateway with its plugin server: what `kong-ai-proxy dev`, the demo and the tests start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..cli import DEFAULT_RELAY
from ..core.json import Json
from .declared import Declared, read

PLUGINS = ("kong-ai-proxy", "kong-ai-proxy-advanced")


def plugin_infos() -> dict[str, Json]:
    """What Kong's `query_cmd` would print, by plugin name."""
    from ..config.kong_schema import plugin_info

    infos: dict[str, Json] = {}
    for name in PLUGINS:
        info: Any = plugin_info(name)
        infos[name] = info[0] if isinstance(info, list) else info
    return infos


def declare(document: Any) -> Declared:
    """A parsed `kong.yml` with the defaults of our plugins. Raises ConfigError."""
    return read(document, {name: info["Schema"] for name, info in plugin_infos().items()})


def usage_filter_plugin() -> Json:
    """The plugin entry that `kong-ai-proxy usage-filter` prints."""
    import yaml

    from ..server import usage_filter

    document: Any = yaml.safe_load(usage_filter.snippet())
    if isinstance(document, dict) and "plugins" in document:
        document = document["plugins"]
    entry: Json = document[0] if isinstance(document, list) else document
    return entry


def with_deposit(document: Any) -> Any:
    """A parsed `kong.yml` with the route where the relay leaves what realtime sessions used, if it has none.
    Without Kong's `ip-restriction`, which the development gateway has not."""
    import yaml

    from ..server import usage_filter

    if not isinstance(document, dict) or not isinstance(document.get("services") or [], list):
        return document
    (service,) = yaml.safe_load(usage_filter.deposit_entry())
    services = document.get("services") or []
    if any(isinstance(each, dict) and each.get("name") == service["name"] for each in services):
        return document
    service["plugins"] = [each for each in service["plugins"] if each["name"] == "post-function"]
    return {**document, "services": [*services, service]}


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on at the moment."""
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])


class PluginServer:
    """`kong-ai-proxy serve` as a child process, the way Kong starts it."""

    def __init__(
        self,
        prefix: Path,
        relay: str = DEFAULT_RELAY,
        *,
        output: IO[str] | None = None,
        arguments: tuple[str, ...] = (),
        program: tuple[str, ...] = ("-m", "kong_ai_proxy.devgateway.child"),
    ) -> None:
        """`program`: what Python runs in the place of the command line."""
        self.prefix = prefix
        self.relay = relay
        self._output = output
        self._arguments = arguments
        self._program = program
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def socket_path(self, plugin: str) -> Path:
        return self.prefix / f"{plugin}.sock"

    def start(self, timeout: float = 20.0) -> None:
        """Start and wait for the sockets and the relay. Raises RuntimeError with what it said."""
        command = [sys.executable, *self._program, "serve"]
        command += ["--kong-prefix", str(self.prefix), "--relay", self.relay]
        self._process = subprocess.Popen(
            [*command, *self._arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._output or sys.stderr,
            stderr=subprocess.STDOUT,
            text=True,
        )
        until = time.monotonic() + timeout
        while not self.ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"the plugin server ended at once with status {self._process.returncode}")
            if time.monotonic() > until:
                self.kill()
                raise RuntimeError(f"the plugin server was not ready after {timeout:.0f} s")
            time.sleep(0.02)

    def ready(self) -> bool:
        """Whether all sockets and the relay take connections."""
        host, _, port = self.relay.rpartition(":")
        places: list[tuple[int, Any]] = [(socket.AF_INET, (host, int(port)))]
        places += [(socket.AF_UNIX, str(self.socket_path(plugin))) for plugin in PLUGINS]
        for family, address in places:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.settimeout(1.0)
                try:
                    probe.connect(address)
                except OSError:
                    return False
        return True

    def stop(self, timeout: float = 10.0) -> None:
        """SIGTERM, then SIGKILL."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class EmbeddedGateway:
    """The development gateway in a thread of its own, for a process that gevent did not patch."""

    def __init__(self, document: Any, prefix: Path) -> None:
        self._document = document
        self._prefix = prefix
        self.port = 0
        self.gateway: Any = None
        self.clients: dict[str, Any] = {}
        """The RPC client of each plugin, for its counters."""
        self._thread: threading.Thread | None = None
        self._stop: Callable[[], None] | None = None
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, host: str = "127.0.0.1", port: int = 0) -> EmbeddedGateway:
        """Raises what the configuration raises."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(host, port, ready), daemon=True)
        self._thread.start()
        ready.wait(20)
        if self._error is not None:
            raise self._error
        return self

    def _run(self, host: str, port: int, ready: threading.Event) -> None:
        import gevent
        from gevent.event import Event

        try:
            self.gateway, self.clients = build(self._document, self._prefix)
            self.port = self.gateway.start(host, port)
        except BaseException as error:
            self._error = error
            ready.set()
            return
        hub = gevent.get_hub()
        stopping = Event()
        waker = hub.loop.async_()
        waker.start(stopping.set)
        self._stop = waker.send
        ready.set()
        stopping.wait()
        self.gateway.stop()
        for client in self.clients.values():
            client.close()
        waker.close()
        hub.destroy(destroy_loop=True)

    def stop(self) -> None:
        if self._stop is not None:
            self._stop()
        if self._thread is not None:
            self._thread.join(10)


def build(document: Any, prefix: Path) -> tuple[Any, dict[str, Any]]:
    """A gateway for a parsed `kong.yml`, and the RPC clients it uses. Raises ConfigError."""
    from .gateway import Gateway
    from .plugins import External
    from .rpc import ExternalPlugin, RpcClient

    clients: dict[str, Any] = {}
    handlers = []
    for name, info in plugin_infos().items():
        clients[name] = RpcClient(str(prefix / f"{name}.sock"), record_methods=False)
        plugin = ExternalPlugin(name, clients[name])
        handlers.append(External(plugin, int(info["Priority"]), list(info["Phases"])))
    return Gateway(declare(document), handlers), clients


class LogFile:
    """A file that file-log writes to, read record by record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0

    def records(self) -> list[Json]:
        """The records written since the last call."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        return [json.loads(line.decode("utf-8", "replace")) for line in data[:whole].splitlines()]

    def wait(self, count: int = 1, timeout: float = 5.0) -> list[Json]:
        """The next records, at least `count`. Raises TimeoutError."""
        found: list[Json] = []
        until = time.monotonic() + timeout
        while len(found) < count:
            found += self.records()
            if len(found) < count:
                if time.monotonic() > until:
                    raise TimeoutError(f"{len(found)} of {count} log records after {timeout} s")
                time.sleep(0.005)
        return found


@contextlib.contextmanager
def temporary_prefix() -> Any:
    """A short path for unix sockets, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="kap", dir=os.environ.get("TMPDIR", "/tmp")) as path:
        yield Path(path)

"""A real Kong Gateway for the end-to-end tests, where `kong` is on PATH: DB-less, own prefix and ports.

Whatever an installation needs besides goes in by Kong's own environment variables, for example
`KONG_ROUTER_FLAVOR=traditional KONG_LUA_PACKAGE_PATH=… pytest tests/e2e -k kong`.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgpack
from gateway_support import Json, Records, document

from kong_ai_proxy.devgateway.embedded import PLUGINS, PluginServer, free_port
from kong_ai_proxy.mockllm import MockLLM

BUNDLED = ("pre-function", "file-log", "http-log", "key-auth", "acl", "prometheus", "request-transformer")
"""Kong's own plugins that the tests use."""


class Kong:
    """A Kong process (with its workers) in a prefix of its own. `start_server`: the command with which Kong
    shall start the plugin server itself."""

    def __init__(
        self, prefix: Path, sockets: Path, *, workers: int = 1, start_server: str = "", plugins: str = ""
    ) -> None:
        self.prefix = prefix
        self.port, self.http2_port, self.admin_port = free_port(), free_port(), free_port()
        self.conf = prefix / "kong.conf"
        named = ",".join((*BUNDLED, *PLUGINS)) + plugins
        lines = [
            f"prefix = {prefix}",
            "database = off",
            f"proxy_listen = 127.0.0.1:{self.port} backlog=1024, 127.0.0.1:{self.http2_port} http2",
            f"admin_listen = 127.0.0.1:{self.admin_port}",
            "admin_gui_listen = off",
            "status_listen = off",
            "anonymous_reports = off",
            f"nginx_main_worker_processes = {workers}",
            f"plugins = {named}",
            f"pluginserver_names = {','.join(PLUGINS)}",
            "proxy_access_log = off",
            "log_level = notice",
            "vaults = env",
        ]
        for number, name in enumerate(PLUGINS):
            setting = "pluginserver_" + name.replace("-", "_")
            lines.append(f"{setting}_socket = {sockets / name}.sock")
            lines.append(f"{setting}_query_cmd = {sys.executable} -m kong_ai_proxy.cli dump {name}")
            if start_server and not number:
                lines.append(f"{setting}_start_cmd = {start_server}")
        if os.geteuid() == 0:
            lines.append("nginx_user = root root")  # the sockets and the log file are the tests' own
        self.conf.write_text("\n".join(lines) + "\n")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def error_log(self) -> str:
        return (self.prefix / "logs" / "error.log").read_text()

    def start(self, configuration: Json, environment: dict[str, str] | None = None) -> None:
        """Raises RuntimeError with what Kong said."""
        declared = self.prefix / "kong.yml"
        declared.write_text(json.dumps(configuration))  # JSON is YAML
        self._run("start", KONG_DECLARATIVE_CONFIG=str(declared), **(environment or {}))
        until = time.monotonic() + 20
        while self.admin("GET", "/status")[0] != 200:
            if time.monotonic() > until:
                raise RuntimeError(f"Kong is not ready:\n{self.error_log[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """All of it, also what a killed master left."""
        subprocess.run(["kong", "stop", "-p", str(self.prefix)], capture_output=True, check=False)

    def reload(self) -> None:
        declared = self.prefix / "kong.yml"
        self._run("reload", KONG_DECLARATIVE_CONFIG=str(declared))

    def configure(self, configuration: Json) -> None:
        """Replace the configuration through the Admin API. Raises RuntimeError where Kong refuses it."""
        status, body = self.admin("POST", "/config?check_hash=0", configuration)
        if status != 201:
            raise RuntimeError(f"{status}: {body}")

    def admin(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status (0 without a connection) and body of an Admin API request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=20)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"content-type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        except OSError:
            return 0, None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode("utf-8", "replace")

    def _run(self, command: str, **environment: str) -> None:
        done = subprocess.run(
            ["kong", command, "-c", str(self.conf), "-p", str(self.prefix)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"kong {command}: {done.stdout}{done.stderr}")


def server_status(path: Path) -> Json:
    """What the plugin server on a socket says of itself."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(5)
        peer.connect(str(path))
        peer.sendall(msgpack.packb([0, 1, "plugin.GetStatus", [[]]]))
        unpacker = msgpack.Unpacker()
        while True:
            unpacker.feed(peer.recv(65536))
            for message in unpacker:
                assert message[2] is None, message
                status: Json = message[3]
                return status


class RealKong:
    """`gateway_support.Gateway` on a real Kong."""

    def __init__(self) -> None:
        self.prefix = Path(tempfile.mkdtemp(prefix="kap-kong"))
        self.log = Records(self.prefix / "records.jsonl")
        self.relay = f"127.0.0.1:{free_port()}"
        self.mock = MockLLM()
        self._output = open(self.prefix / "plugin-server.log", "w")  # noqa: SIM115
        self.plugin_server = PluginServer(self.prefix, self.relay, output=self._output)
        self.kong = Kong(self.prefix, self.prefix)

    @property
    def url(self) -> str:
        return self.kong.url

    def start(self) -> None:
        try:
            self.mock.start()
            self.plugin_server.start()
            self.kong.start(document(self.relay, self.mock.url, self.log.path))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.kong.stop()
        self.plugin_server.stop()
        self.mock.stop()
        self._output.close()
        shutil.rmtree(self.prefix, ignore_errors=True)

    def round_trips(self) -> int | None:
        """By the server's own counter."""
        return int(server_status(self.plugin_server.socket_path(PLUGINS[0]))["RoundTrips"])

    def server_log(self) -> str:
        """What the plugin server said."""
        return (self.prefix / "plugin-server.log").read_text()

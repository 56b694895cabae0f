"""The vector stores, on real engines where they run: Redis, and PostgreSQL with pgvector from a wheel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from redis_support import RedisServer
from semantic_support import Provider, config

from kong_ai_proxy.balancer.build import algorithm_for
from kong_ai_proxy.balancer.semantic import Semantic
from kong_ai_proxy.config.models import PgVector, Redis
from kong_ai_proxy.semantic.matcher import attach
from kong_ai_proxy.semantic.stores import MemoryStore, PgVectorStore, RedisStore, Store
from kong_ai_proxy.semantic.vectors import cosine, euclidean, unit

ONE, TWO = (0.6, 0.8, 0.0), (0.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def redis_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield {"host": "127.0.0.1", "port": server.port}
    server.stop()


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


def test_postgres_keeps(postgres: dict[str, Any]) -> None:
    if not postgres:
        pytest.skip("PostgreSQL does not start here")
    keeps(PgVectorStore(PgVector(**postgres), 3))


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


@pytest.mark.parametrize(
    "change", [{"name": "text-embedding-3-large"}, {"provider": "mistral"}, {"dimensions": 5}]
)
def test_another_model_or_dimension_is_embedded_anew(
    redis_settings: dict[str, Any], change: dict[str, Any]
) -> None:
    asked = []
    for model, dimensions in (({}, 6), (change, change.get("dimensions", 6)), ({}, 6)):
        vectordb = {
            "strategy": "redis",
            "dimensions": dimensions,
            "distance_metric": "cosine",
            "redis": redis_settings,
        }
        embeddings = {"model": {"provider": "openai", "name": "text-embedding-3-small", **model}}
        embeddings["model"].pop("dimensions", None)
        parsed = config([f"about {change}"], vectordb=vectordb, embeddings=embeddings)
        algorithm, provider = algorithm_for(parsed, []), Provider()
        assert isinstance(algorithm, Semantic)
        matcher = attach(algorithm, parsed, provider.send)
        assert matcher is not None
        matcher.prepare()
        asked.append(len(provider.asked))
    assert asked == [1, 1, 0], "what was there before is still there"


def test_distances_are_the_engines_own(postgres: dict[str, Any]) -> None:
    """What is compared here is what a search in the store would give: pgvector's `<=>` is the cosine
    distance, `<->` the Euclidean one, of which ours is half (https://github.com/pgvector/pgvector#querying)."""
    if not postgres:
        pytest.skip("PostgreSQL does not start here")
    store = PgVectorStore(PgVector(**postgres), 3)
    vectors = {f"d{number}": unit(values) for number, values in enumerate([ONE, TWO, (1.0, -2.0, 0.5)])}
    store.save(vectors)
    asked = unit((0.3, 0.1, -0.9))
    with closing(store._connect()) as connection:
        cursor = connection.cursor()
        text = "[" + ",".join(map(repr, asked)) + "]"
        cursor.execute(
            "SELECT key, embedding <=> %s::vector, embedding <-> %s::vector "
            f"FROM {store._table} WHERE key LIKE 'd%%'",
            (text, text),
        )
        rows = cursor.fetchall()
    assert len(rows) == 3
    for key, by_cosine, by_distance in rows:
        assert cosine(asked, vectors[key]) == pytest.approx(by_cosine, abs=1e-6)
        assert euclidean(asked, vectors[key]) == pytest.approx(by_distance / 2, abs=1e-6)

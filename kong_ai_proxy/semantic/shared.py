"""Matching by meaning in a process that did not embed the descriptions: another one has their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..balancer.semantic import Semantic
from ..config.models import AdvancedConfig
from .embedder import Embedder, Send, embedder_for
from .matcher import DescriptionMatcher
from .stores import MemoryStore
from .vectors import Vector


class SharedMatcher(DescriptionMatcher):
    """A `DescriptionMatcher` that is given the descriptions' vectors."""

    def __init__(
        self,
        descriptions: Sequence[str],
        embedder: Embedder,
        metric: str,
        vectors: Callable[[], Sequence[Sequence[float]]],
    ) -> None:
        """`vectors` may wait, and raise ApiError."""
        super().__init__(descriptions, embedder, MemoryStore(), metric)
        self._given = vectors

    def _made(self) -> list[Vector]:
        return [tuple(vector) for vector in self._given()]


def attach_shared(
    algorithm: Semantic,
    config: AdvancedConfig,
    vectors: Callable[[], Any],
    send: Send | None = None,
) -> SharedMatcher | None:
    """Give a semantic algorithm a matcher. Nothing is fetched before the first request needs it."""
    if config.embeddings is None:
        return None
    vectordb = config.vectordb
    matcher = SharedMatcher(
        list(algorithm.groups),
        embedder_for(config.embeddings, vectordb.dimensions if vectordb else None, send),
        vectordb.distance_metric if vectordb else "cosine",
        vectors,
    )
    algorithm.matcher = matcher
    return matcher

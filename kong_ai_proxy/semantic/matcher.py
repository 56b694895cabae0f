"""From a request's text to its distance from each description."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Final

import gevent
from gevent.lock import Semaphore

from ..balancer.semantic import Semantic
from ..config.models import AdvancedConfig
from ..core.errors import ApiError
from ..log import get_logger
from .embedder import Embedder, Send, embedder_for
from .stores import Store, store_for
from .vectors import METRICS, Vector

log = get_logger("semantic")

_ROUNDED: Final = 1e-3
"""By which a vector's length may differ from one, kept with 32 bits."""
_PAUSE: Final = 5.0
"""Seconds after descriptions could not be embedded before the provider is asked again."""


class DescriptionMatcher:
    """A `Matcher` (see there) that embeds descriptions once and each request's text."""

    def __init__(
        self,
        descriptions: Sequence[str],
        embedder: Embedder,
        store: Store,
        metric: str = "cosine",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._descriptions = list(descriptions)
        self._embedder = embedder
        self._store = store
        self._distance = METRICS[metric]
        self._clock = clock
        self._vectors: list[Vector] | None = None
        self._failure: ApiError | None = None
        self._failed_at = 0.0
        self._renewed_at = -math.inf
        self._one_at_a_time = Semaphore()

    def distances(self, text: str) -> list[float]:
        """Raises ApiError where the provider gives no embeddings, or the text is empty."""
        if not text.strip():
            raise ApiError(400, "the request has no text to choose a target by", code="no_text")
        vectors = self.prepare()
        (asked,) = self._embedder.embed([text])
        if not _of_size(vectors, len(asked)):
            # What is kept is another model's of this name, or somebody else's.
            vectors = self._made_anew()
        if not _of_size(vectors, len(asked)):
            raise ApiError(500, "the embeddings model changed its dimensions", code="embeddings_failed")
        return [self._distance(asked, vector) for vector in vectors]

    def prepare(self) -> list[Vector]:
        """The descriptions' vectors, made once; whoever comes meanwhile waits. Raises ApiError."""
        if self._vectors is None:
            with self._one_at_a_time:
                if self._vectors is None:
                    self._vectors = self._made()
        return self._vectors

    def start(self) -> None:
        """Make them now, in the background, so that no request has to wait."""
        gevent.spawn(self._try)

    def _try(self) -> None:
        try:
            self.prepare()
        except ApiError as error:
            effect = "tried again with the next request"
            log.warning("descriptions_not_embedded", reason=error.message, effect=effect)

    def _made(self) -> list[Vector]:
        if self._failure is not None and self._clock() - self._failed_at < _PAUSE:
            raise self._failure
        keys = [self._key(description) for description in self._descriptions]
        known = self._stored(keys)
        missing = [index for index, key in enumerate(keys) if key not in known]
        if missing:
            try:
                made = self._embedder.embed([self._descriptions[index] for index in missing])
            except ApiError as error:
                self._failure, self._failed_at = error, self._clock()
                raise
            fresh = {keys[index]: vector for index, vector in zip(missing, made, strict=True)}
            known.update(fresh)
            self._keep(fresh)
        return [known[key] for key in keys]

    def _made_anew(self) -> list[Vector]:
        """Without what is kept, and not more often than every few seconds. Raises ApiError."""
        with self._one_at_a_time:
            if self._clock() - self._renewed_at >= _PAUSE:
                self._renewed_at = self._clock()
                self._vectors = self._embedder.embed(self._descriptions)
                keys = map(self._key, self._descriptions)
                self._keep(dict(zip(keys, self._vectors, strict=True)))
            return self._vectors or []

    def _key(self, description: str) -> str:
        """One for each model, where it is served, number of dimensions and description: what changes is
        another entry."""
        model = self._embedder.target.model
        options = model.options
        where = (options.upstream_url, options.azure_instance, options.azure_deployment_id)
        size = str(options.embeddings_dimensions)
        parts = (model.provider, model.name or "", size, *(each or "" for each in where), description)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _stored(self, keys: list[str]) -> dict[str, Vector]:
        try:
            found = self._store.load(keys)
            return {key: vector for key, vector in found.items() if _is_unit(vector)}
        except Exception as error:
            effect = "descriptions are embedded anew"
            log.warning("vector_store_away", reason=type(error).__name__, effect=effect)
            return {}

    def _keep(self, vectors: dict[str, Vector]) -> None:
        try:
            self._store.save(vectors)
        except Exception as error:
            log.warning("vector_store_away", reason=type(error).__name__, effect="descriptions are not kept")


def _of_size(vectors: Sequence[Vector], size: int) -> bool:
    return all(len(vector) == size for vector in vectors)


def _is_unit(vector: Vector) -> bool:
    """Whether it is what was kept, as far as can be told: others may write to the store."""
    length = math.hypot(*vector)
    return math.isfinite(length) and abs(length - 1.0) < _ROUNDED


def attach(
    algorithm: Semantic, config: AdvancedConfig, send: Send | None = None
) -> DescriptionMatcher | None:
    """Give a semantic algorithm its matcher, and start embedding the descriptions."""
    if config.embeddings is None:
        return None
    vectordb = config.vectordb
    matcher = DescriptionMatcher(
        list(algorithm.groups),
        embedder_for(config.embeddings, vectordb.dimensions if vectordb else None, send),
        store_for(vectordb),
        vectordb.distance_metric if vectordb else "cosine",
    )
    algorithm.matcher = matcher
    matcher.start()
    return matcher

"""From the configuration to a balancer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from ..config.models import AdvancedConfig
from .base import Algorithm
from .connections import LeastConnections
from .guard import Guarded, Sharing
from .hashing import ConsistentHashing
from .latency import LowestLatency
from .semantic import Semantic
from .states import STATES, States, TargetState, target_names
from .usage import LowestUsage
from .weighted import Priority, RoundRobin


def balancer_for(
    config: AdvancedConfig,
    plugin_id: str = "",
    *,
    states: States = STATES,
    sharing: Sharing | None = None,
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
) -> Guarded:
    """What `config.balancer` asks for, on what is known about the plugin's targets."""
    known = states.of(plugin_id, config.targets)
    settings = config.balancer
    return Guarded(
        algorithm_for(config, known, clock, rng),
        known,
        max_fails=settings.max_fails,
        fail_timeout=settings.fail_timeout / 1000,
        sharing=sharing,
        clock=clock,
    )


def algorithm_for(
    config: AdvancedConfig,
    states: Sequence[TargetState],
    clock: Callable[[], float] = time.monotonic,
    rng: random.Random | None = None,
) -> Algorithm:
    """The algorithm alone."""
    settings = config.balancer
    weights = [target.weight for target in config.targets]
    match settings.algorithm:
        case "priority":
            return Priority(weights)
        case "consistent-hashing":
            names = target_names(config.targets)
            return ConsistentHashing(names, weights, settings.hash_on_header, settings.slots, rng)
        case "least-connections":
            return LeastConnections(states, weights)
        case "lowest-latency":
            return LowestLatency(states, settings.latency_strategy, clock, rng)
        case "semantic":
            descriptions = [target.description for target in config.targets]
            return Semantic(descriptions, weights, _threshold(config))
        case "lowest-usage" if settings.tokens_count_strategy != "llm-accuracy":
            return LowestUsage(states, weights, settings.tokens_count_strategy, clock)
        case _:
            # llm-accuracy: ai-llm-as-judge gives its scores to Kong's log, where no balancer can read them.
            # Without a score Kong's balancer has nothing to go by but the weights either.
            return RoundRobin(weights)


_REDIS_THRESHOLD = 0.2
"""Kong's documented default with Redis."""


def _threshold(config: AdvancedConfig) -> float | None:
    """The largest distance that is a match; without a vector store the nearest target always is one."""
    if config.vectordb is None:
        return None
    if config.vectordb.threshold is not None:
        return config.vectordb.threshold
    return _REDIS_THRESHOLD if config.vectordb.strategy == "redis" else None

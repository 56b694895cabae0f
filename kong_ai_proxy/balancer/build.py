"""From the configuration to a balancer."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from ..config.models import AdvancedConfig
from ..log import get_logger
from .accuracy import MostAccurate
from .base import Algorithm
from .connections import LeastConnections
from .guard import Guarded, Sharing
from .hashing import ConsistentHashing
from .latency import LowestLatency
from .semantic import Semantic
from .states import STATES, States, TargetState, target_names
from .usage import LowestUsage
from .weighted import Priority, RoundRobin

log = get_logger("balancer")


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
        case "lowest-usage" if settings.tokens_count_strategy == "llm-accuracy":
            if config.kong_ai_proxy.judge is not None:
                return MostAccurate(states, weights)
            # Kong's ai-llm-as-judge tells its scores to Kong's own balancer, in the same Lua state: no
            # external plugin can hear of them. (https://developer.konghq.com/plugins/ai-llm-as-judge/)
            log.warning(
                "llm_accuracy_without_scores",
                effect="targets are chosen by weight",
                hint="configure kong_ai_proxy.judge; the fields are those of Kong's ai-llm-as-judge",
            )
            return RoundRobin(weights)
        case "lowest-usage":
            return LowestUsage(states, weights, settings.tokens_count_strategy, clock)
        case _:
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

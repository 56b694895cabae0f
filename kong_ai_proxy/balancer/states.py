"""What is known about a target, kept across reloads of a configuration that leaves the target as it is.

A Kong worker starts every instance anew whenever anything in Kong's configuration changes. What was learnt
about a target (its failures, its speed, what it used) must not be lost by that, and every worker must know
it. So it belongs to the target of a plugin, not to the instance.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ..config.models import Target
from .measures import Accuracy, Meter, PeakEwma

_KEPT_MAX: Final = 2048
"""Targets that are remembered; those not asked for longest are forgotten first."""
_PROCESS_KEY: Final = secrets.token_bytes(32)
"""Makes fingerprints of credentials useless outside this process."""


@dataclass(slots=True, eq=False)
class TargetState:
    """One target of one plugin, in this process."""

    name: str
    """Says which target it is, the same in all processes: neither credential nor address can be read from it.
    """
    label: str = ""
    """Provider and model, for the log."""
    in_flight: int = 0
    """Attempts that began and did not end."""
    fails: int = 0
    """Failures that count for the circuit breaker."""
    failed_at: float = float("-inf")
    """When the last of them happened."""
    probes: int = 0
    """Attempts under way that try an unhealthy target out."""
    reserved_at: float = float("-inf")
    """When such an attempt was decided on."""
    cooled_until: float = float("-inf")
    """The target asked to be left alone until then (`Retry-After`)."""
    cooled_by: int = 429
    """The status it did so with."""
    latency: dict[str, PeakEwma] = field(default_factory=dict)
    """By latency_strategy."""
    usage: dict[str, Meter] = field(default_factory=dict)
    """By tokens_count_strategy."""
    accuracy: Accuracy = field(default_factory=Accuracy)
    """By the judge's scores."""


class States:
    """All targets' states in this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], TargetState] = OrderedDict()

    def of(self, plugin_id: str, targets: Sequence[Target]) -> list[TargetState]:
        """The states of a plugin's targets. A plugin without an id shares them with nobody."""
        names = target_names(targets)
        if not plugin_id:
            return [TargetState(name, _label(target)) for name, target in zip(names, targets, strict=True)]
        found = []
        for name, target in zip(names, targets, strict=True):
            key = (plugin_id, _digest(name, target.auth.model_dump(), key=_PROCESS_KEY))
            state = self._kept.get(key)
            if state is None:
                state = self._kept[key] = TargetState(f"{plugin_id}:{name}", _label(target))
            self._kept.move_to_end(key)
            found.append(state)
        while len(self._kept) > max(_KEPT_MAX, len(found)):
            self._kept.popitem(last=False)
        return found

    def forget(self) -> None:
        """Start afresh: for tests."""
        self._kept.clear()


def _label(target: Target) -> str:
    return "/".join(filter(None, (target.model.provider, target.model.name)))


def target_names(targets: Sequence[Target]) -> list[str]:
    """A name for each target that stays as long as its provider, model and options do, in every process.

    Weights, descriptions and credentials are not part of it. Twins are told apart by their order.
    """
    names: list[str] = []
    twins: dict[str, int] = {}
    for target in targets:
        model = target.model
        told = [model.provider, model.name, target.route_type, model.options.model_dump(exclude_none=True)]
        name = _digest(told).hex()
        number = twins[name] = twins.get(name, 0) + 1
        names.append(name if number == 1 else f"{name}-{number}")
    return names


def _digest(*told: Any, key: bytes = b"") -> bytes:
    text = json.dumps(told, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, key=key).digest()


STATES: Final = States()
"""Those of this process."""

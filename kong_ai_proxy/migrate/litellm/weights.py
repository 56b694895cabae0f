"""How deployments of one model share its requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_KINDS: Final = ("weight", "rpm", "tpm")
"""What LiteLLM goes by, the first that is there (litellm/router_strategy/simple_shuffle.py)."""
_MOST: Final = 65535
_FRACTIONS: Final = 1000


def number(value: Any) -> float | None:
    """A number, also one that is written as text; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if abs(found) < float("inf") else None


def share_of(params: dict[str, Any]) -> tuple[str, float] | None:
    """What a deployment's share is told by, and how large it is; None where nothing tells."""
    for kind in _KINDS:
        found = number(params.get(kind))
        if found is not None and found > 0:
            return kind, found
    return None


def weights(shares: Sequence[float]) -> list[int]:
    """Whole weights from 1 to 65535 in the proportions of the shares; the shares themselves where they fit
    (whole ones up to 65535)."""
    most = max(shares, default=0)
    factor = 1.0
    if most > _MOST:
        factor = _MOST / most
    elif any(share != int(share) for share in shares):
        factor = min(_FRACTIONS, _MOST / most)
    return [max(1, round(share * factor)) for share in shares]

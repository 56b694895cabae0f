"""One page of metrics from several processes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..metrics.exposition import Family

_OF_THE_NODE: Final = frozenset({"kong_ai_proxy_build_info", "process_start_time_seconds"})
"""Not sums: what the first process says, which is the plugin server's own."""


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """Each metric once: samples with the same labels are added up. What counts a process's work or what it
    holds is the node's then."""
    found: dict[str, Family] = {}
    for families in processes:
        for family in families:
            known = found.setdefault(family.name, Family(family.name, family.kind, family.help))
            for labels, value in family.samples.items():
                if labels not in known.samples:
                    known.samples[labels] = value
                elif family.name not in _OF_THE_NODE:
                    known.samples[labels] += value
    return list(found.values())

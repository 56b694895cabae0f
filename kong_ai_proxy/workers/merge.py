"""One page of metrics from several processes, some of which have ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


class Kept:
    """What the processes at one place have counted, those that ended included: a counter that falls is taken
    for one that began anew, and all that is left of it for an increase."""

    def __init__(self) -> None:
        self._last: list[Family] = []
        """What the process that runs has said last, of what only grows."""
        self._before: list[Family] = []
        """The same of all before it, added up."""

    def said(self, families: Iterable[Family]) -> None:
        """The process that runs has told its numbers."""
        self._last = [family for family in families if family.kind != "gauge"]

    def ended(self) -> None:
        """The process has ended; what it had not told is not known."""
        if self._last:
            self._before = merged([self._before, self._last])
            self._last = []

    def families(self, said: Sequence[Family] | None) -> list[Family]:
        """All that is to be told; `said` is what the process says now, None if it says nothing."""
        return [*self._before, *(self._last if said is None else said)]


def of_workers(collected: Sequence[Sequence[Family] | None]) -> list[Family]:
    """What is told of each worker, from what it says of itself; None where it says nothing."""
    up = Family("kong_ai_proxy_worker_up", "gauge", "1: the relay worker answers.")
    cpu = Family(
        "kong_ai_proxy_worker_cpu_seconds_total", "counter", "CPU time of the process that runs now."
    )
    for number, families in enumerate(collected, 1):
        labels = {"worker": str(number)}
        up.add(int(families is not None), labels)
        for family in families or ():
            if family.name == "process_cpu_seconds_total":
                cpu.add(sum(family.samples.values()), labels)
    return [up, cpu]

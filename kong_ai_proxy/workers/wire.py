"""What the plugin server and its workers tell each other, as lists that MessagePack can hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from ..balancer.base import Outcome
from ..core.usage import Usage
from ..exchange.instance import Instance
from ..exchange.tickets import Ticket
from ..metrics.exposition import Family

Packed: TypeAlias = list[Any]

_MOST_TOKENS: Final = 2**62
"""MessagePack has integers of 64 bits."""


@dataclass(frozen=True, slots=True)
class Hello:
    """How a worker is to work."""

    number: int
    """Its place among the workers, from 1."""
    log_level: str
    deposit_url: str | None
    idle_per_host: int
    """Connections to a provider's host that it may keep."""

    def pack(self) -> Packed:
        return [self.number, self.log_level, self.deposit_url, self.idle_per_host]


def pack_ticket(ticket: Ticket) -> Packed:
    """Without its instance."""
    return [
        ticket.filter_installed,
        ticket.buffered,
        dict(ticket.captures),
        ticket.consumer,
        ticket.consumer_groups,
        ticket.path,
        ticket.unclaimed,
        dict(ticket.headers),
    ]


def unpack_ticket(packed: Packed, instance: Instance) -> Ticket:
    filter_installed, buffered, captures, consumer, consumer_groups, path, unclaimed, headers = packed
    return Ticket(
        instance=instance,
        filter_installed=filter_installed,
        buffered=buffered,
        captures=captures,
        consumer=consumer,
        consumer_groups=consumer_groups,
        path=path,
        unclaimed=unclaimed,
        headers=headers,
    )


def pack_outcome(outcome: Outcome) -> Packed:
    usage = outcome.usage
    return [
        outcome.ok,
        outcome.connect_ms,
        outcome.latency_ms,
        outcome.time_to_first_token_ms,
        None if usage is None else _pack_usage(usage),
        float(outcome.cost),
        outcome.retry_after_s,
        outcome.status,
        outcome.partial,
    ]


def unpack_outcome(packed: Packed) -> Outcome:
    ok, connect_ms, latency_ms, first_ms, usage, cost, retry_after_s, status, partial = packed
    return Outcome(
        ok=ok,
        connect_ms=connect_ms,
        latency_ms=latency_ms,
        time_to_first_token_ms=first_ms,
        usage=None if usage is None else Usage(*usage),
        cost=cost,
        retry_after_s=retry_after_s,
        status=status,
        partial=partial,
    )


def _pack_usage(usage: Usage) -> Packed:
    """What a balancer counts of it."""
    return [_count(usage.prompt_tokens), _count(usage.completion_tokens), _count(usage.total)]


def _count(tokens: int) -> int:
    return min(max(tokens, 0), _MOST_TOKENS)


def pack_families(families: Iterable[Family]) -> Packed:
    return [
        [family.name, family.kind, family.help, list(family.samples.items())] for family in families
    ]


def unpack_families(packed: Packed) -> list[Family]:
    families = []
    for name, kind, text, samples in packed:
        family = Family(name, kind, text)
        for labels, value in samples:
            family.add(value, dict(labels))
        families.append(family)
    return families

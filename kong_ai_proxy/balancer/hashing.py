"""Consistent hashing on a header of the request."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence

from .base import Asked, Outcome
from .order import not_yet

_REQUEST_ID = "x-kong-request-id"
_SPAN = float(1 << 53)
"""Whole numbers up to here are exact as floats."""


class ConsistentHashing:
    """The same header value goes to the same target as long as that is there.

    A value falls on one of `slots`; each slot ranks the targets by weighted rendezvous: `-weight / ln(u)`
    with `u` drawn from slot and target's name alone. So a target that comes or goes moves only the slots it
    wins or had, and each has slots in proportion to its weight. A retry goes to the slot's next in rank.

    A request without the header goes by Kong's request id (a new one each time), without that by chance.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[int],
        header: str,
        slots: int,
        rng: random.Random | None = None,
    ) -> None:
        self._names = [name.encode() for name in names]
        self._weights = list(weights)
        self._header = header.lower()
        self._slots = slots
        self._rng = rng or random.Random()
        self._ranks: dict[int, Sequence[int]] = {}
        """Slot → target indexes, best first; made when first needed."""

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        choice = not_yet(candidates, tried)
        if not choice:
            return None
        allowed = set(choice)
        return next((index for index in self._ranked(self._slot(asked)) if index in allowed), choice[0])

    def started(self, target: int) -> None:
        return

    def ended(self, target: int, outcome: Outcome) -> None:
        return

    def _slot(self, asked: Asked) -> int:
        headers = asked.request.headers
        value = headers.get(self._header) or headers.get(_REQUEST_ID)
        if not value:
            return self._rng.randrange(self._slots)
        return _hash(value.encode("utf-8", "surrogateescape")) % self._slots

    def _ranked(self, slot: int) -> Sequence[int]:
        ranked = self._ranks.get(slot)
        if ranked is None:
            salt = b"%d/" % slot
            scores = [
                -weight / math.log(((_hash(salt + name) >> 11) + 0.5) / _SPAN)
                for name, weight in zip(self._names, self._weights, strict=True)
            ]
            order = sorted(range(len(scores)), key=scores.__getitem__, reverse=True)
            # There may be 65536 slots: bytes are the smallest that can be walked through.
            ranked = self._ranks[slot] = bytes(order) if len(order) <= 256 else tuple(order)
        return ranked


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")

"""Credentials that come from Kong's vaults and may have been rotated since the instance started.

Kong resolves a reference when it starts an instance, and does not start it anew when the secret changes. So
a provider that refuses a credential makes it doubtful: the next request's `access` asks Kong for its present
value.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from ..config.models import Auth, Target

REFUSED: Final = frozenset({401, 403})
"""What providers answer to a credential they do not (or no longer) take."""
_AGAIN: Final = 30.0
"""Seconds until a reference may be resolved once more: a wrong secret must not cost every request a round
trip."""


class Rotation:
    """The references of one instance's targets."""

    def __init__(self, targets: Sequence[Target], clock: Callable[[], float] = time.monotonic) -> None:
        self._fields: dict[str, list[tuple[Auth, str]]] = {}
        for target in targets:
            for field, reference in target.auth.references.items():
                self._fields.setdefault(reference, []).append((target.auth, field))
        self._asked: dict[str, float] = {}
        self._doubtful: set[str] = set()
        self._clock = clock
        self.on_renewed: Callable[[str, str], None] | None = None
        """Told the reference and its value, when that has changed."""

    def doubt(self, target: Target) -> None:
        """This target's credential was refused, or had no value."""
        now = self._clock()
        for reference in target.auth.references.values():
            if now - self._asked.get(reference, -math.inf) >= _AGAIN:
                self._doubtful.add(reference)

    def due(self) -> list[str]:
        """The references to resolve now; each is named once, then not for a while."""
        if not self._doubtful:
            return []
        due, self._doubtful = sorted(self._doubtful), set()
        self._asked.update(dict.fromkeys(due, self._clock()))
        return due

    def renew(self, reference: str, value: str) -> bool:
        """Use this value from now on; whether it differs from what was used."""
        changed = False
        for auth, field in self._fields.get(reference, ()):
            if getattr(auth, field) != value:
                setattr(auth, field, value)
                changed = True
        if changed and self.on_renewed is not None:
            self.on_renewed(reference, value)
        return changed

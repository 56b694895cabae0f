"""Names of variables that a migration makes up."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Names:
    """Gives each name once."""

    _taken: set[str] = field(default_factory=set)
    _last: dict[str, int] = field(default_factory=dict)

    def new(self, base: str, separator: str) -> str:
        """`base`, or with the first number from 2 that makes it new."""
        name, number = base, self._last.get(base, 1)
        while name in self._taken:
            number += 1
            name = f"{base}{separator}{number}"
        self._taken.add(name)
        self._last[base] = number
        return name

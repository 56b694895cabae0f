"""HTTP headers as nginx keeps them: in order, several of one name, found without regard to case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

MAX_HEADERS = 100
"""How many `ngx.req.get_headers()` gives unless told otherwise."""


class Headers:
    """A mutable list of (name, value)."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: Iterable[tuple[str, str]] = ()) -> None:
        self._pairs: list[tuple[str, str, str]] = [(name.lower(), name, value) for name, value in pairs]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return ((name, value) for _, name, value in self._pairs)

    def __contains__(self, name: str) -> bool:
        wanted = name.lower()
        return any(key == wanted for key, _, _ in self._pairs)

    def get(self, name: str) -> str | None:
        """The first value."""
        wanted = name.lower()
        return next((value for key, _, value in self._pairs if key == wanted), None)

    def all(self, name: str) -> list[str]:
        wanted = name.lower()
        return [value for key, _, value in self._pairs if key == wanted]

    def remove(self, name: str) -> None:
        wanted = name.lower()
        self._pairs = [pair for pair in self._pairs if pair[0] != wanted]

    def add(self, name: str, value: str) -> None:
        self._pairs.append((name.lower(), name, value))

    def set(self, name: str, value: str | list[str]) -> None:
        """Replace all values; an empty list removes the header."""
        self.remove(name)
        for item in [value] if isinstance(value, str) else value:
            self.add(name, item)

    def table(self, limit: int = MAX_HEADERS) -> dict[str, Any]:
        """As `get_headers` gives it: lower-case names; a list where a name came several times."""
        table: dict[str, Any] = {}
        for key, _, value in self._pairs[: limit or None]:
            if key not in table:
                table[key] = value
            elif isinstance(table[key], list):
                table[key].append(value)
            else:
                table[key] = [table[key], value]
        return table

    def copy(self) -> Headers:
        return Headers(self)


def utf8(value: Any) -> Any:
    """Text off the wire (kept as latin-1, one character a byte) as UTF-8, with surrogates for what is
    not."""
    if isinstance(value, str):
        if value.isascii():
            return value
        try:
            return value.encode("latin-1").decode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return value
    if isinstance(value, dict):
        return {utf8(key): utf8(item) for key, item in value.items()}
    return [utf8(item) for item in value] if isinstance(value, list) else value


def wire(value: str | bytes) -> str:
    """Text for the wire, one character a byte."""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return data.decode("latin-1")

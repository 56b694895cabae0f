"""The log record on its way to Kong: one line of ASCII that a few string functions of Lua can read.

The form is described in docs/architecture.md: `path=<type><value>` pairs joined by `&`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from ..core.json import Json

HEADER_LIMIT: Final = 3072
"""Bytes in an answer header: all headers together must fit nginx's `proxy_buffer_size` (4 or 8 KB by
default)."""
STREAM_LIMIT: Final = 65536
"""Bytes in a stream's comment."""

_GIVEN_UP: Final = ("payload", "tried_targets")
"""What does not go along where the record is too long, in this order. The numbers always do."""
_PATH_SAFE: Final = "_-"
_VALUE_SAFE: Final = "-_.:/"
_LONGEST_VALUE: Final = 512
"""Bytes of a text that is cut where nothing else helps."""


def encode(record: Json, limit: int = HEADER_LIMIT) -> str:
    """At most `limit` bytes of printable ASCII without spaces. Members that are None are left out.

    Payloads and then tried targets (the oldest first) are left out where the whole would be longer; then
    texts are cut.
    """
    encoded = _encode(record)
    if len(encoded) <= limit:
        return encoded
    shorter = dict(record)
    for name in _GIVEN_UP:
        entries = shorter.get(name)
        while isinstance(entries, list) and len(entries) > 1 and len(encoded) > limit:
            entries = shorter[name] = entries[1:]
            encoded = _encode(shorter)
        if len(encoded) > limit and name in shorter:
            del shorter[name]
            encoded = _encode(shorter)
    longest = _LONGEST_VALUE
    while len(encoded) > limit and longest:
        longest //= 2
        encoded = "&".join(_pairs(shorter, "", longest))
    return encoded if len(encoded) <= limit else ""


def _encode(record: Json) -> str:
    return "&".join(_pairs(record, "", None))


def _pairs(value: Any, path: str, longest: int | None) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _members(
            ((quote(str(name), safe=_PATH_SAFE), member) for name, member in value.items()), path, longest
        )
    elif isinstance(value, (list, tuple)):
        yield from _members(((str(number), member) for number, member in enumerate(value, 1)), path, longest)
    elif value is not None:
        yield f"{path}={_scalar(value, longest)}"


def _members(members: Iterator[tuple[str, Any]], path: str, longest: int | None) -> Iterator[str]:
    empty = True
    for name, member in members:
        empty = False
        yield from _pairs(member, f"{path}.{name}" if path else name, longest)
    if empty and path:
        yield f"{path}=o"


def _scalar(value: Any, longest: int | None) -> str:
    if isinstance(value, bool):
        return "b1" if value else "b0"
    if isinstance(value, (int, float)):
        # JSON has no infinity; a number that is none says nothing.
        return f"n{value!r}" if value == value and abs(value) != float("inf") else "n0"
    text = str(value)
    if longest is not None:
        text = text[:longest]
    return "s" + quote(text, safe=_VALUE_SAFE, errors="replace")

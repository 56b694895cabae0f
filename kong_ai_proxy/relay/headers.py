"""Header fields as a parser gives them."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from typing import Final

from ..core.http import Headers

_USUAL: Final = 64
"""Bytes of a name that is kept: clients choose them, and may choose long ones."""


def merged(fields: Collection[tuple[bytes, bytes]]) -> Headers:
    """Lower-case names; several values of one name joined with ", "."""
    try:
        headers = {
            _known(name) if len(name) <= _USUAL else _name(name): value.decode() for name, value in fields
        }
        if len(headers) == len(fields):
            return headers
    except UnicodeDecodeError:
        pass
    headers = {}
    for raw_name, raw_value in fields:
        name, value = _name(raw_name), text_of(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _name(raw: bytes) -> str:
    return raw.decode("latin-1").lower()


_known = lru_cache(512)(_name)


def ends_a_head(text: str) -> bool:
    """Whether it holds what must not stand in a line of a head."""
    # Each is a search for one byte, which takes next to nothing.
    return "\r" in text or "\n" in text or "\0" in text


def text_of(value: bytes) -> str:
    """UTF-8 where it is, else Latin-1 (RFC 9110, 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")

"""Header fields as a parser gives them."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.http import Headers


def merged(fields: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Lower-case names; several values of one name joined with ", "."""
    headers: Headers = {}
    for raw_name, raw_value in fields:
        name = raw_name.decode("latin-1").lower()
        value = text_of(raw_value)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def text_of(value: bytes) -> str:
    """UTF-8 where it is, else Latin-1 (RFC 9110, 5.5)."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")

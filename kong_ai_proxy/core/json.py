"""JSON as this package uses it: orjson, and one alias for an object that has been parsed."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = dict[str, Any]
"""A parsed JSON object. The OpenAI forms that formats translate to and from are of this type."""

JSONDecodeError = orjson.JSONDecodeError
_TOO_DEEP = "JSON nested too deeply"
_BOM = b"\xef\xbb\xbf"
_WHOLE = range(-(2**63), 2**64)
"""Whole numbers that stay such; others are read as floats, as orjson does."""


def loads(data: bytes | str) -> Any:
    """Parse JSON. Raises `JSONDecodeError` (a ValueError)."""
    return orjson.loads(data)


def dumps(value: Any) -> bytes:
    """Compact JSON bytes, key order kept."""
    return orjson.dumps(value)


def dumps_text(value: Any) -> str:
    """Compact JSON text, for JSON inside a JSON string (tool arguments)."""
    return orjson.dumps(value).decode()


def loads_lenient(data: bytes) -> Any:
    """Parse JSON as providers write it: also NaN, infinities and numbers that come to them, such as 1e400
    (null), half surrogate pairs (U+FFFD), and a byte order mark.

    A stream's event may hold half of an emoji, escaped or as bytes, where a server cuts by tokens; Python's
    own encoder writes NaN and Infinity. Raises ValueError for what is no JSON even so.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return _without_halves(_loads_any(data))


_ESCAPED_LETTER = re.compile(rb"\\u00[4-7][0-9a-fA-F]")


def says_twice(data: bytes, name: str) -> bool:
    """Whether an object in this JSON text has a member of this name (letters) more than once. Who reads the
    first of them reads something else than who reads the last, as is usual here."""
    quoted = b'"%b"' % name.encode()
    first = data.find(quoted)
    again = first >= 0 and data.find(quoted, first + 1) >= 0
    if not again and not (b"\\u00" in data and _ESCAPED_LETTER.search(data)):
        return False  # nearly always

    twice = False

    def see(members: list[tuple[str, Any]]) -> None:
        nonlocal twice
        twice = twice or sum(member == name for member, _ in members) > 1

    try:
        json.loads(data, object_pairs_hook=see)
    except (ValueError, RecursionError):
        return True
    return twice


class JSONEvents:
    """The JSON of one stream's events, parsed as `loads_lenient` does. A character of which one event's text
    has the first half and the next event's the rest is put together, in the later event.

    Which text goes on in which is told by its place in the events: the same members, and the same numbers
    where they are called index.
    """

    __slots__ = ("_halves", "mended")

    def __init__(self) -> None:
        self.mended = False
        """The last event says something else than its bytes do."""
        self._halves: dict[tuple[object, ...], str] = {}
        """Place of a text → the half character that it ended with."""

    def loads(self, data: bytes) -> Any:
        """Parse one event. Raises ValueError for what is no JSON."""
        self.mended = False
        try:
            found = orjson.loads(data)
            if not self._halves:
                return found
        except orjson.JSONDecodeError:
            found = _loads_any(data)
        self.mended = True
        try:
            return _without_halves(self._joined(found, ()))
        except RecursionError:
            raise ValueError(_TOO_DEEP) from None

    def _joined(self, value: Any, place: tuple[object, ...]) -> Any:
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, dict):
            numbers = _numbers(value)
            return {name: self._joined(one, (*place, numbers, name)) for name, one in value.items()}
        if isinstance(value, list):
            # A choice's number tells which it is, wherever in an event's list it stands.
            return [
                self._joined(one, place if _numbers(one) else (*place, at)) for at, one in enumerate(value)
            ]
        return value

    def _text(self, text: str, place: tuple[object, ...]) -> str:
        if not text:
            return text
        text = _whole_characters(self._halves.pop(place, "") + text)
        half = _HALF_AT_END.search(text)
        if half is None:
            return text
        self._halves[place] = half[0]
        return text[: half.start()]


_INDEXES = ("index", "contentBlockIndex", "output_index", "content_index")
"""What streams call the number of a choice, a block or a part."""
_HALF_AT_END = re.compile("(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?"
                          "|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})$")  # fmt: skip
"""The first half of a surrogate pair; or the first bytes of a UTF-8 sequence, each escaped as Python does
(PEP 383)."""
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]+")


def _numbers(value: Any) -> tuple[int, ...]:
    if not isinstance(value, dict):
        return ()
    return tuple(value[name] for name in _INDEXES if isinstance(value.get(name), int))


def _whole_characters(text: str) -> str:
    """Halves that stand side by side become the character they are."""
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _ESCAPED_BYTES.sub(_from_bytes, text)


def _from_bytes(escaped: re.Match[str]) -> str:
    return escaped[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _from_wrong_bytes(escaped: re.Match[str]) -> str:
    return escaped[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _without_halves(value: Any) -> Any:
    """Half characters that stay alone become U+FFFD."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    text = _ESCAPED_BYTES.sub(_from_wrong_bytes, text)
    return orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _loads_any(data: bytes) -> Any:
    try:
        said = data.removeprefix(_BOM).decode("utf-8", "surrogateescape")
        return json.loads(said, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


def _finite(digits: str) -> float | None:
    """None for what is beyond all floats, as 1e400 is."""
    number = float(digits)
    return number if isfinite(number) else None


def _whole(digits: str) -> float | None:
    short = len(digits) <= 20 and int(digits) in _WHOLE
    return int(digits) if short else _finite(digits)

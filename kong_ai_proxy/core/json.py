"""JSON as this package uses it: orjson, and one alias for an object that has been parsed."""

from __future__ import annotations

import json
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = dict[str, Any]
"""A parsed JSON object. The OpenAI forms that formats translate to and from are of this type."""

JSONDecodeError = orjson.JSONDecodeError


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
    """Parse JSON as providers write it: also NaN and infinities (null), and half surrogate pairs (U+FFFD).

    A stream's event may hold half of an emoji, escaped or as bytes, where a server cuts by tokens; Python's
    own encoder writes NaN and Infinity. Raises ValueError for what is no JSON even so.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            text = json.dumps(_loads_any(data), ensure_ascii=False)
        except RecursionError:
            raise ValueError("JSON nested too deeply") from None
    return orjson.loads(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def _loads_any(data: bytes) -> Any:
    return json.loads(data.decode("utf-8", "replace"), parse_constant=lambda _: None)

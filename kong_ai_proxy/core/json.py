"""JSON as this package uses it: orjson, and one alias for an object that has been parsed."""

from __future__ import annotations

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

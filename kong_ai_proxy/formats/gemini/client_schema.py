"""Gemini's schema object (a subset of OpenAPI's) → JSON Schema.

Source: https://ai.google.dev/api/caching#Schema.
"""

from __future__ import annotations

from typing import Any, Final

from ...core.json import Json
from ..pivot import items, obj, objects

_OWN: Final = frozenset({"nullable", "propertyOrdering", "example"})
_MAX_DEPTH: Final = 64
_COUNTS: Final = frozenset(
    {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}
)
"""Google writes 64-bit numbers as text."""


def json_schema(schema: Any, depth: int = 0) -> Json:
    """Types in lower case, `nullable` as a second type; what JSON Schema has not is left out."""
    made: Json = {}
    given = obj(schema)
    if depth > _MAX_DEPTH:
        return {"type": "object"}
    for key, value in given.items():
        if key in _OWN or value is None:
            continue
        if key == "type" and isinstance(value, str):
            if value != "TYPE_UNSPECIFIED":
                made[key] = value.lower()
        elif key == "properties":
            made[key] = {name: json_schema(member, depth + 1) for name, member in obj(value).items()}
        elif key == "items":
            made[key] = json_schema(value, depth + 1)
        elif key in ("anyOf", "any_of"):
            made["anyOf"] = [json_schema(one, depth + 1) for one in objects(value)]
        elif key in _COUNTS and isinstance(value, str) and value.isdigit():
            made[key] = int(value)
        elif key == "format" and value == "enum":
            continue
        else:
            made[key] = value
    if given.get("nullable") is True and "type" in made:
        made["type"] = [made["type"], "null"]
        if items(made.get("enum")) and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    return made

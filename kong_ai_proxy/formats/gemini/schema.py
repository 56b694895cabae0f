"""JSON Schema → the subset of OpenAPI's schema object that Gemini's `responseSchema` takes.

Only models before 2.5 need it; later ones take JSON Schema itself.
Source: https://ai.google.dev/api/caching#Schema.
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json, dumps_text
from ..pivot import items, obj, objects

_KEPT = frozenset(
    {
        "type", "format", "title", "description", "nullable", "enum", "items", "maxItems", "minItems",
        "properties", "required", "minProperties", "maxProperties", "minimum", "maximum", "minLength",
        "maxLength", "pattern", "example", "anyOf", "propertyOrdering", "default",
    }
)  # fmt: skip
_FOLDED = frozenset(
    {"$ref", "$defs", "definitions", "$schema", "const", "oneOf", "allOf", "additionalProperties"}
)
"""Keys with a counterpart, or without consequence."""

_MAX_DEPTH = 24
_MAX_SCHEMAS = 2000
"""Schemas that refer to themselves are unfolded this far; then comes an object of any form."""


def openapi_schema(schema: Any, lost: list[str]) -> Json:
    """The schema in Gemini's subset. Names of keys that had no counterpart are appended to `lost`."""
    return _Converter(obj(schema), lost).convert(obj(schema), 0)


class _Converter:
    def __init__(self, root: Json, lost: list[str]) -> None:
        self._definitions: Json = {**obj(root.get("definitions")), **obj(root.get("$defs"))}
        self._lost = lost
        self._left = _MAX_SCHEMAS

    def convert(self, schema: Json, depth: int) -> Json:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return {"type": "object"}
        result: Json = {}
        for key, value in self._resolved(schema, 0).items():
            if key == "type":
                _set_type(result, value)
            elif key == "properties":
                result[key] = {
                    name: self.convert(obj(member), depth + 1) for name, member in obj(value).items()
                }
            elif key == "items":
                result[key] = self.convert(obj(value), depth + 1)
            elif key in ("anyOf", "oneOf"):
                self._set_alternatives(result, objects(value), depth)
            elif key in ("const", "enum"):
                # Gemini's enum is a list of strings.
                values = items(value) if key == "enum" else [value]
                result["enum"] = [_word(member) for member in values if member is not None]
            elif key in _KEPT:
                result[key] = value
            elif key not in _FOLDED and key not in self._lost:
                self._lost.append(key)
        if result.get("enum"):
            result["type"] = "string"
        return result

    def _resolved(self, schema: Json, depth: int) -> Json:
        """The schema with `$ref` and `allOf` replaced by what they stand for."""
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            return {"type": "object"}
        reference = schema.get("$ref")
        if isinstance(reference, str):
            target = self._resolved(obj(self._definitions.get(reference.rsplit("/", 1)[-1])), depth + 1)
            return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        if schema.get("allOf"):
            parts = [self._resolved(part, depth + 1) for part in objects(schema["allOf"])]
            return _merged([*parts, {key: value for key, value in schema.items() if key != "allOf"}])
        return schema

    def _set_alternatives(self, result: Json, alternatives: list[Json], depth: int) -> None:
        options = [option for option in alternatives if option.get("type") != "null"]
        if len(options) < len(alternatives):
            result["nullable"] = True
        converted = [self.convert(option, depth + 1) for option in options]
        if len(converted) == 1:
            result.update(converted[0])
        elif converted:
            result["anyOf"] = converted


def _merged(schemas: list[Json]) -> Json:
    merged: Json = {}
    for schema in schemas:
        for key, value in schema.items():
            if key == "properties":
                merged[key] = {**obj(merged.get(key)), **obj(value)}
            elif key == "required":
                merged[key] = [*items(merged.get(key)), *items(value)]
            else:
                merged[key] = value
    return merged


def _set_type(result: Json, value: Any) -> None:
    if not isinstance(value, list):
        result["type"] = value
        return
    types = [member for member in value if member != "null"]
    if len(types) < len(value):
        result["nullable"] = True
    if len(types) == 1:
        result["type"] = types[0]
    elif types:
        result["anyOf"] = [{"type": member} for member in types]


def _word(value: Any) -> str:
    return value if isinstance(value, str) else dumps_text(value)

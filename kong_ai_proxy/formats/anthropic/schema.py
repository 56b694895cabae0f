"""JSON schemas as Anthropic's structured outputs take them.

They take a part of JSON Schema: every object closed, no numeric and length limits, few formats
(https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations). What they
refuse is put in words into the description, as Anthropic's own SDKs do, so that the model still sees it.
"""

from __future__ import annotations

from typing import Any

from ...core.json import Json, dumps_text

_KEPT = frozenset({"$ref", "$schema", "type", "enum", "const", "title", "default"})
_SUBSCHEMA_LISTS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_SUBSCHEMA_MAPS = frozenset({"properties", "$defs", "definitions"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_MAX_DEPTH = 64


def closed_schema(schema: Json, depth: int = 0) -> Json:
    """The schema with every object closed and unsupported keywords moved into descriptions."""
    if depth > _MAX_DEPTH:
        return schema
    result: Json = {}
    told: Json = {}
    description = schema.get("description")
    for key, value in schema.items():
        if key in _KEPT or (key == "required" and isinstance(value, list)):
            result[key] = value
        elif key in _SUBSCHEMA_LISTS and isinstance(value, list):
            result[_SUBSCHEMA_LISTS[key]] = [_subschema(item, depth) for item in value]
        elif key in _SUBSCHEMA_MAPS and isinstance(value, dict):
            result[key] = {name: _subschema(item, depth) for name, item in value.items()}
        elif key == "items":
            result[key] = _subschema(value, depth)
        elif (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            result[key] = value
        elif key not in ("description", "additionalProperties", "strict"):
            told[key] = value
    if _is_object(schema):
        result["additionalProperties"] = False
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict) and extra:
            told["additionalProperties"] = extra
    if told:
        words = "; ".join(f"{key}: {dumps_text(value)}" for key, value in told.items())
        description = f"{description}\n\n({words})" if isinstance(description, str) else f"({words})"
    if description is not None:
        result["description"] = description
    return result


def _subschema(schema: Any, depth: int) -> Any:
    return closed_schema(schema, depth + 1) if isinstance(schema, dict) else schema


def _is_object(schema: Json) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema

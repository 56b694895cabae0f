"""Whether a schema may be followed strictly, as OpenAI understands it.

Claude and Bedrock hold models to any schema they take; OpenAI refuses a request that wants this for a schema
with a property that may be left out, or an object that is open
(https://platform.openai.com/docs/guides/structured-outputs#supported-schemas).
"""

from __future__ import annotations

from typing import Any, Final

_REFUSED: Final = frozenset(
    {
        "allOf", "oneOf", "not", "if", "then", "else", "dependentRequired", "dependentSchemas",
        "patternProperties", "prefixItems", "propertyNames", "unevaluatedItems", "unevaluatedProperties",
        "contains",
    }
)  # fmt: skip
_MAX_DEPTH: Final = 64


def fits_strict(schema: Any) -> bool:
    """Whether `strict` may stand beside this schema."""
    return isinstance(schema, dict) and schema.get("type") == "object" and _fits(schema, 0)


def _fits(schema: Any, depth: int) -> bool:
    if not isinstance(schema, dict) or depth > _MAX_DEPTH or not _REFUSED.isdisjoint(schema):
        return False
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        return False
    kind = schema.get("type")
    if "properties" in schema or kind == "object" or (isinstance(kind, list) and "object" in kind):
        required = schema.get("required", [])
        named = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
        if schema.get("additionalProperties") is not False or named != properties.keys():
            return False
    inner = [*properties.values(), *_listed(schema.get("anyOf"))]
    if "items" in schema:
        inner.append(schema["items"])
    for name in ("$defs", "definitions"):
        if isinstance(defined := schema.get(name), dict):
            inner += defined.values()
    return all(_fits(one, depth + 1) for one in inner)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

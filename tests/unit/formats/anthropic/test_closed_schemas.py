"""JSON schemas as structured outputs take them, compared with what Anthropic's own SDK makes of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kong_ai_proxy.formats.anthropic.schema import closed_schema

RICH: dict[str, Any] = {
    "$defs": {"Pet": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 9}}}},
    "type": "object",
    "title": "Person",
    "description": "A person",
    "properties": {
        "born": {"type": "string", "format": "date"},
        "code": {"type": "string", "format": "odd", "description": "A code"},
        "pets": {"type": "array", "items": {"$ref": "#/$defs/Pet"}, "minItems": 1, "maxItems": 3},
        "kind": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
        "size": {"enum": ["s", "m"]},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    },
    "required": ["born"],
}


def test_objects_are_closed_and_limits_told() -> None:
    before = copy.deepcopy(RICH)
    closed = closed_schema(RICH)
    assert before == RICH
    assert closed["additionalProperties"] is False
    assert closed["$defs"]["Pet"]["additionalProperties"] is False
    assert closed["required"] == ["born"]
    properties = closed["properties"]
    assert properties["born"] == {"type": "string", "format": "date"}
    assert properties["code"] == {"type": "string", "description": 'A code\n\n(format: "odd")'}
    assert properties["pets"] == {
        "type": "array",
        "items": {"$ref": "#/$defs/Pet"},
        "minItems": 1,
        "description": "(maxItems: 3)",
    }
    assert properties["kind"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert properties["tags"]["description"] == "(minItems: 2)"
    assert closed_schema(closed) == closed


def test_the_sdk_does_alike() -> None:
    """Keywords and their places are those of the SDK; the words in descriptions are each one's own."""
    transform = pytest.importorskip("anthropic").transform_schema

    def bare(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {name: bare(value) for name, value in schema.items() if name != "description"}
        return [bare(value) for value in schema] if isinstance(schema, list) else schema

    assert bare(closed_schema(RICH)) == bare(transform(RICH))


@pytest.mark.parametrize(
    ("schema", "closes"),
    [
        ({}, False),
        ({"type": ["object", "null"]}, True),
        ({"properties": {"x": True}}, True),
        ({"anyOf": "odd", "required": "odd", "properties": 3, "items": None}, True),
        ({"type": "object", "additionalProperties": {"type": "string"}}, True),
        ({"type": "string", "description": 5, "minimum": 1}, False),
    ],
)
def test_odd_schemas(schema: Any, closes: bool) -> None:
    assert (closed_schema(schema).get("additionalProperties") is False) == closes

"""The models against Kong's own JSON schemas of ai-proxy and ai-proxy-advanced 3.15."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from recordings_support import SHARED

from kong_ai_proxy.config.parse import PLUGINS
from kong_ai_proxy.config.spec import Spec, walk

_FILES = {
    "kong-ai-proxy": SHARED / "kong" / "schema-ai-proxy.json",
    "kong-ai-proxy-advanced": SHARED / "kong" / "schema-ai-proxy-advanced.json",
}
_OURS = "kong_ai_proxy"

pytestmark = pytest.mark.skipif(
    not all(path.exists() for path in _FILES.values()), reason="Kong's schemas are not here"
)


@dataclass(frozen=True)
class Facts:
    """What both sides say about a field."""

    kind: str
    required: bool
    default: Any
    choices: tuple[str, ...]
    minimum: Any
    maximum: Any
    referenceable: bool
    encrypted: bool


def _kongs(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, Facts]]:
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        yield from _kong_field(f"{path}.{name}" if path else name, field, name in required)


def _kong_field(path: str, field: dict[str, Any], required: bool) -> Iterator[tuple[str, Facts]]:
    yield path, _kong_facts(field, required)
    if "items" in field:
        yield from _kong_field(f"{path}[]", field["items"], False)
    if "properties" in field:
        yield from _kongs(field, path)


def _kong_facts(field: dict[str, Any], required: bool) -> Facts:
    return Facts(
        kind=field["type"],
        required=required,
        default=json.dumps(field.get("default"), sort_keys=True),
        choices=tuple(sorted(field.get("enum", ()))),
        minimum=field.get("minimum"),
        maximum=field.get("maximum"),
        referenceable=bool(field.get("x-referenceable")),
        encrypted=bool(field.get("x-encrypted")),
    )


def _ours(spec: Spec) -> Facts:
    default = spec.default
    return Facts(
        kind="object" if spec.kind == "record" else spec.kind,
        required=spec.required,
        default=json.dumps(default, sort_keys=True),
        choices=tuple(sorted(spec.choices)),
        minimum=spec.minimum,
        maximum=spec.maximum,
        referenceable=spec.referenceable,
        encrypted=spec.encrypted,
    )


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_field_is_kongs(plugin: str) -> None:
    kongs = dict(_kongs(json.loads(_FILES[plugin].read_text())["properties"]["config"]))
    ours = {path: _ours(spec) for path, spec in walk(PLUGINS[plugin]) if not path.startswith(_OURS)}
    assert set(ours) == set(kongs)
    different = {path: (ours[path], kongs[path]) for path in kongs if ours[path] != kongs[path]}
    assert different == {}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_arrays_are_as_long_as_kongs(plugin: str) -> None:
    config = json.loads(_FILES[plugin].read_text())["properties"]["config"]
    kongs: dict[str, int] = {}

    def note(field: dict[str, Any], path: str) -> None:
        if field.get("type") == "array" and "minLength" in field:
            kongs[path] = field["minLength"]
        for name, inner in field.get("properties", {}).items():
            note(inner, f"{path}.{name}" if path else name)
        if "items" in field:
            note(field["items"], f"{path}[]")

    note(config, "")
    ours = {
        path: spec.min_length
        for path, spec in walk(PLUGINS[plugin])
        if spec.kind == "array" and spec.min_length is not None and not path.startswith(_OURS)
    }
    # A balancer without any target serves nothing; Kong's schema lets it pass.
    assert ours == {**kongs, **({"targets": 1} if "targets" in ours else {})}

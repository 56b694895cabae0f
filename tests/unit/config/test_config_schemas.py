"""The schemas generated from the models: current, legal for Kong, of use to editors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import lupa
import pytest
from config_cases import ACCEPTED, REFUSED, target

import kong_ai_proxy
from kong_ai_proxy.config.generate import dump, generated_files, main, stale
from kong_ai_proxy.config.json_schema import json_schema
from kong_ai_proxy.config.kong_schema import plugin_info, plugin_schema
from kong_ai_proxy.config.lua_schema import lua_schema
from kong_ai_proxy.config.models import AdvancedConfig
from kong_ai_proxy.config.parse import PLUGINS
from kong_ai_proxy.config.spec import walk

ROOT = Path(__file__).resolve().parents[3]

# kong/db/schema/metaschema.lua at 3.9.3: attributes of a field, and the types some of them are for.
_ATTRIBUTES = {
    "type", "required", "default", "description", "referenceable", "encrypted", "between", "one_of",
    "len_min", "match_any", "fields", "elements", "entity_checks", "json_schema",
}  # fmt: skip
_TYPES = {"string", "number", "integer", "boolean", "record", "array", "json"}
_CHECKS = {"at_least_one_of", "mutually_required", "conditional", "conditional_at_least_one_of"}


def test_committed_files_are_current() -> None:
    assert stale(ROOT) == [], "run python -m kong_ai_proxy.config.generate"


def test_generate_writes_them_all(tmp_path: Path) -> None:
    assert len(stale(tmp_path)) == len(generated_files())
    main(tmp_path)
    assert stale(tmp_path) == []


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_dump_is_what_kong_reads(plugin: str) -> None:
    (info,) = json.loads(dump(plugin))
    assert info["Name"] == plugin == info["Schema"]["name"]
    assert info["Priority"] == 770
    assert info["Phases"] == ["access", "response", "log"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["Version"]), "Kong refuses other versions"
    assert info["Version"] == kong_ai_proxy.__version__
    assert info == plugin_info(plugin)


def _fields(schema: dict[str, Any], path: str = "") -> dict[str, dict[str, Any]]:
    """Every field definition below a record, by path."""
    found: dict[str, dict[str, Any]] = {}
    for item in schema.get("fields", []):
        ((name, field),) = item.items()
        where = f"{path}.{name}" if path else name
        found[where] = field
        found |= _fields(field, where)
        if "elements" in field:
            found[f"{where}[]"] = field["elements"]
            found |= _fields(field["elements"], f"{where}[]")
    return found


@pytest.mark.parametrize("plugin", PLUGINS)
def test_kong_knows_every_attribute(plugin: str) -> None:
    for path, field in _fields(plugin_schema(plugin)).items():
        assert set(field) <= _ATTRIBUTES, path
        assert field["type"] in _TYPES, path
        assert ("fields" in field) == (field["type"] == "record"), path
        assert ("elements" in field) == (field["type"] == "array"), path
        assert field["type"] in ("integer", "number") or "between" not in field, path
        assert field["type"] == "string" or "one_of" not in field, path
        if "description" in field:
            assert 10 <= len(field["description"]) <= 500, path
        if field["type"] == "record" and not path.endswith("[]"):
            assert "required" in field, f"{path}: Kong takes a plugin's record for required unless told"


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_field_is_described(plugin: str) -> None:
    for path, field in _fields(plugin_schema(plugin)).items():
        if path != "config" and not path.endswith("[]"):
            assert field.get("description"), path


@pytest.mark.parametrize("plugin", PLUGINS)
def test_entity_checks_name_fields_that_are_there(plugin: str) -> None:
    schema = plugin_schema(plugin)
    fields = _fields(schema)
    records = {path: field for path, field in fields.items() if field.get("entity_checks")}
    assert records
    for path, record in records.items():
        below = _fields(record)
        for check in record["entity_checks"]:
            ((kind, argument),) = check.items()
            assert kind in _CHECKS
            named = argument if isinstance(argument, list) else [argument["if_field"]]
            if kind == "conditional":
                named.append(argument["then_field"])
                # Kong asks for the if_field itself when it is missing.
                head = below[argument["if_field"]]
                assert head.get("required") or "default" in head, (path, check)
                assert "eq" not in argument["then_match"] or below[argument["then_field"]].get("required")
            if kind == "conditional_at_least_one_of":
                named += argument["then_at_least_one_of"]
                assert argument["then_err"].count("%s") == 1
            assert set(named) <= set(below), (path, check)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_kongs_schema_has_the_models_fields(plugin: str) -> None:
    ours = {f"config.{path}" for path, _ in walk(PLUGINS[plugin])}
    assert set(_fields(plugin_schema(plugin))) == ours | {"config"}


def test_secrets_are_marked() -> None:
    fields = _fields(plugin_schema("kong-ai-proxy"))
    secret = fields["config.auth.header_value"]
    assert secret["referenceable"] is True and secret["encrypted"] is True
    assert "encrypted" not in fields["config.auth.header_name"]


def test_defaults_of_logging_and_balancer_show_without_being_asked_for() -> None:
    fields = _fields(plugin_schema("kong-ai-proxy-advanced"))
    assert fields["config.targets[].logging"]["default"] == {"log_payloads": False, "log_statistics": False}
    expected = AdvancedConfig.model_construct(targets=[]).balancer.model_dump()
    assert fields["config.balancer"]["default"] == expected


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_lua_schema_is_the_same_schema(plugin: str) -> None:
    lua = lupa.LuaRuntime(unpack_returned_tuples=True)
    typedefs = 'function() return {protocols_http = "typedef"} end'
    lua.execute(f'package.preload["kong.db.schema.typedefs"] = {typedefs}')
    loaded = _plain(lua.execute(lua_schema(plugin)))
    expected = plugin_schema(plugin)
    expected["fields"].insert(0, {"protocols": "typedef"})
    assert loaded == json.loads(json.dumps(expected))


def _plain(value: Any) -> Any:
    if lupa.lua_type(value) != "table":
        return value
    keys = list(value.keys())
    if keys and all(isinstance(key, int) for key in keys):
        return [_plain(value[key]) for key in sorted(keys)]
    return {key: _plain(value[key]) for key in keys}


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_json_schema_is_a_schema(plugin: str) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(plugin))


@pytest.mark.parametrize(("config", "field"), REFUSED)
def test_the_json_schema_has_the_rules(config: dict[str, Any], field: str) -> None:
    if ":port" in config["model"]["options"].get("upstream_url", ""):
        pytest.skip("a pattern does not know ports")
    assert not jsonschema.Draft202012Validator(json_schema("kong-ai-proxy")).is_valid(config)
    advanced = {"targets": [target(), config]}
    assert not jsonschema.Draft202012Validator(json_schema("kong-ai-proxy-advanced")).is_valid(advanced)


@pytest.mark.parametrize("config", ACCEPTED)
def test_the_json_schema_takes_what_is_right(config: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(json_schema("kong-ai-proxy")).validate(config)
    jsonschema.Draft202012Validator(json_schema("kong-ai-proxy-advanced")).validate({"targets": [config]})


def test_the_json_schema_takes_nulls_where_kong_does() -> None:
    validator = jsonschema.Draft202012Validator(json_schema("kong-ai-proxy"))
    assert validator.is_valid({**target(), "auth": None, "logging": None})
    assert not validator.is_valid({**target(), "model": None})
    assert not validator.is_valid({**target(), "unknown": 1})


@pytest.mark.parametrize("plugin", PLUGINS)
def test_the_reference_has_every_field_and_no_dead_link(plugin: str) -> None:
    page = generated_files()["docs/configuration.md"]
    for path, spec in walk(PLUGINS[plugin]):
        if not path.endswith("[]"):
            assert f"| `{spec.name}` | " in page, path
    sections = {title.replace(" ", "-") for title in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", page)) <= sections

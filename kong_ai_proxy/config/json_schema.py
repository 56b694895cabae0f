"""JSON Schema (2020-12) of each plugin's `config`, for editors and CI."""

from __future__ import annotations

from typing import Any, Final

from .kong_schema import Json
from .models import AdvancedConfig, Record, Target
from .models.plugins import ProxyConfig
from .parse import PLUGINS
from .spec import Spec, fields_of

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_URL: Final = r"^(https?|wss?)://.|\$[({]"
"""Or a template, or a variable that another tool fills in."""
_REFERENCE: Final = r"^\{vault://.+\}$"


def json_schema(plugin: str) -> Json:
    """The schema of a plugin's `config`. Rules across fields are in it where JSON Schema can say them."""
    definitions: dict[str, Json] = {}
    root = _record(PLUGINS[plugin], definitions)
    return {
        "$schema": _DIALECT,
        "title": f"config of {plugin}",
        **root,
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def _record(model: type[Record], definitions: dict[str, Json]) -> Json:
    fields = fields_of(model)
    schema: Json = {
        "type": "object",
        "description": (model.__doc__ or "").strip(),
        "properties": {spec.name: _field(spec, definitions) for spec in fields},
        "additionalProperties": False,
    }
    if required := [spec.name for spec in fields if spec.required]:
        schema["required"] = required
    if model in (ProxyConfig, Target):
        schema["allOf"] = _rules()
    if model is AdvancedConfig:
        schema["allOf"] = [_semantic()]
    return schema


def _field(spec: Spec, definitions: dict[str, Json]) -> Json:
    schema = _typed(spec, definitions)
    if spec.default is not None:
        schema["default"] = spec.default
    if spec.description:
        schema["description"] = spec.description
    if spec.referenceable:
        schema["x-referenceable"] = True
    if spec.encrypted:
        schema["x-encrypted"] = True
    return schema


def _typed(spec: Spec, definitions: dict[str, Json]) -> Json:
    if spec.record:
        name = spec.record.__name__
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = _record(spec.record, definitions)
        return _optional({"$ref": f"#/$defs/{name}"}, spec)
    schema: Json = {"type": spec.kind}
    if spec.choices:
        schema["enum"] = list(spec.choices)
    if spec.minimum is not None:
        schema["minimum"] = spec.minimum
    if spec.maximum is not None:
        schema["maximum"] = spec.maximum
    if spec.min_length is not None:
        schema["minItems" if spec.kind == "array" else "minLength"] = spec.min_length
    if spec.name == "upstream_url":
        schema["pattern"] = _URL
    if spec.element:
        schema["items"] = _field(spec.element, definitions)
    if spec.referenceable and (spec.kind != "string" or spec.choices):
        schema = {"anyOf": [schema, {"type": "string", "pattern": _REFERENCE}]}
    return _optional(schema, spec)


def _optional(schema: Json, spec: Spec) -> Json:
    """Kong takes an explicit null for whatever is not required."""
    if not spec.nullable and not spec.expanded:
        return schema
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "anyOf" in schema:
        schema["anyOf"].append({"type": "null"})
        return schema
    schema["type"] = [schema["type"], "null"]
    if "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    return schema


def _if(condition: Json, consequence: Json) -> Json:
    return {"if": condition, "then": consequence}


def _is(field: str, *values: str) -> Json:
    """A condition: the (dotted) field is there and is one of the values."""
    return _at(field, {"const": values[0]} if len(values) == 1 else {"enum": list(values)})


def _at(field: str, schema: Json) -> Json:
    """A condition on a dotted field that must be there."""
    for name in reversed(field.split(".")):
        schema = {"type": "object", "properties": {name: schema}, "required": [name]}
    return schema


def _set(field: str) -> Json:
    """The field is there and is not null."""
    return _at(field, {"not": {"type": "null"}})


def _all_or_none(prefix: str, *names: str) -> list[Json]:
    return [
        _if(_set(f"{prefix}.{name}"), _set(f"{prefix}.{other}"))
        for name in names
        for other in names
        if other != name
    ]


def _rules() -> list[Json]:
    """The rules about one target."""
    url = "model.options.upstream_url"
    rules = [
        *_all_or_none("auth", "header_name", "header_value"),
        *_all_or_none("auth", "param_name", "param_value", "param_location"),
        *_all_or_none("model.options.gemini", "api_endpoint", "project_id", "location_id"),
    ]
    rules += [
        _if(_is("model.provider", "llama2", "ollama", "vllm"), _set(url)),
        _if(_is("model.provider", "llama2"), _set("model.options.llama2_format")),
        _if(
            {"allOf": [_is("model.provider", "mistral"), _is("model.options.mistral_format", "ollama")]},
            _set(url),
        ),
        *(
            _if(_is("model.provider", "azure"), {"anyOf": [_set(f"model.options.{name}"), _set(url)]})
            for name in ("azure_instance", "azure_deployment_id")
        ),
        _if(_is("model.provider", "gemini"), {"not": _at("auth.allow_override", {"const": True})}),
        _if(_is("model.provider", "anthropic"), {"not": _is("route_type", "llm/v1/embeddings")}),
        _if(
            {"allOf": [_is("route_type", "llm/v1/embeddings"), _is("model.provider", "llama2")]},
            {"not": _is("model.options.llama2_format", "raw")},
        ),
        _if(
            {
                "allOf": [
                    _is("route_type", "video/v1/videos/generations"),
                    _is("model.provider", "bedrock"),
                ]
            },
            _set("model.options.bedrock.video_output_s3_uri"),
        ),
        _if(
            {"allOf": [_is("route_type", "llm/v1/completions"), _is("model.provider", "anthropic")]},
            {"not": _at("logging.log_statistics", {"const": True})},
        ),
    ]
    return rules


def _semantic() -> Json:
    described: dict[str, Any] = {"items": _set("description")}
    return _if(
        _is("balancer.algorithm", "semantic"),
        {**_set("embeddings"), "allOf": [{"properties": {"targets": described}}]},
    )

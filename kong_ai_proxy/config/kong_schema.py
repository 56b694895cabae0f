"""Kong's own schema of each plugin: what the plugin server tells Kong, and what a control plane needs as Lua.

Kong's schema language: kong/db/schema/metaschema.lua at 3.9.3. What can be written as JSON of it is used; the
few rules it cannot express (see `rules`) are checked by the plugin server when an instance starts.
"""

from __future__ import annotations

from typing import Any, Final

from .. import __version__
from .models import AclMatch, AdvancedConfig, GeminiOptions, Judge, ProxyConfig, Record, Target
from .parse import PLUGINS
from .spec import Spec, fields_of

PRIORITY: Final = 770
"""That of Kong's ai-proxy: after authentication and rate limiting, before what looks at requests last."""
PHASES: Final = ("access", "response", "log")
LEAN: Final = ("access", "response")
"""Without `log`, for which Kong puts the whole log record together once more: a fifth of the plugin's time in
Kong. Tickets that nobody redeems are then dropped by age alone."""

_DEFAULTED: Final = {"logging", "balancer"}
"""Records whose defaults Kong shows when they are not given, as it does for its own plugin. A default instead
of `required`, so that an explicit null is taken as well."""

_URL: Final = {"patterns": ["^https?://.", "^wss?://.", "%$%("], "err": "must be an absolute URL"}
"""Lua patterns for a URL, or one with a template in it."""
_LOOSE: Final = {"type": "json", "json_schema": {"inline": {"type": ["object", "null"]}}}
"""Any object. Kong has no map of mixed values; an inline JSON schema is its way to say so."""

Json = dict[str, Any]


def plugin_info(plugin: str, *, lean: bool = False) -> Json:
    """What Kong's `query_cmd` is to print for a plugin, as one element of the list. `lean`: see `LEAN`."""
    return {
        "Name": plugin,
        "Version": __version__,
        "Priority": PRIORITY,
        "Phases": list(LEAN if lean else PHASES),
        "Schema": plugin_schema(plugin),
    }


def plugin_schema(plugin: str) -> Json:
    """The declarative schema. It names no `protocols`: Kong's default is then every HTTP protocol of its
    edition (the open source one has no ws and wss, and would refuse a default with them)."""
    return {"name": plugin, "fields": [{"config": {"required": True, **_record(PLUGINS[plugin])}}]}


def _record(model: type[Record]) -> Json:
    fields = {spec.name: _field(spec) for spec in fields_of(model)}
    for name in _ASKED_FOR_BY_CHECKS.get(model, ()):
        fields[name]["required"] = False
    schema: Json = {"type": "record", "fields": [{name: field} for name, field in fields.items()]}
    if checks := _ENTITY_CHECKS.get(model):
        schema["entity_checks"] = checks
    return schema


def _field(spec: Spec) -> Json:
    """One field, or an array's elements."""
    schema = _typed(spec)
    if spec.required:
        schema["required"] = True
    elif spec.record and (spec.nullable or spec.expanded):
        # Said aloud: Kong takes a plugin's records for required otherwise (kong/db/schema/entity.lua).
        schema["required"] = False
    if spec.record and spec.expanded and spec.name in _DEFAULTED:
        schema["default"] = _defaults(spec.record)
    elif spec.default is not None:
        schema["default"] = spec.default
    if spec.description:
        schema["description"] = spec.description
    return schema


def _typed(spec: Spec) -> Json:
    if spec.record:
        return _record(spec.record)
    if spec.kind == "object":
        return dict(_LOOSE)
    schema: Json = {"type": spec.kind}
    if spec.element:
        schema["elements"] = _field(spec.element)
        if spec.min_length is not None:
            schema["len_min"] = spec.min_length
    if spec.choices:
        schema["one_of"] = list(spec.choices)
    if spec.minimum is not None and spec.maximum is not None:
        schema["between"] = [spec.minimum, spec.maximum]
    # An empty string is refused without being told so.
    if spec.name == "upstream_url":
        schema["match_any"] = _URL
    if spec.referenceable:
        schema["referenceable"] = True
    if spec.encrypted:
        schema["encrypted"] = True
    return schema


def _defaults(model: type[Record]) -> Json:
    return {spec.name: spec.default for spec in fields_of(model) if spec.default is not None}


def _when(field: str, match: Json, then: str, then_match: Json, error: str) -> Json:
    """`field` must be a required one: Kong asks for it otherwise, though the condition does not hold."""
    return {
        "conditional": {
            "if_field": field,
            "if_match": match,
            "then_field": then,
            "then_match": then_match,
            "then_err": error,
        }
    }


def _needs(field: str, match: Json, *fields: str, error: str) -> Json:
    """`error` may hold one %s: the fields of which one is needed."""
    return {
        "conditional_at_least_one_of": {
            "if_field": field,
            "if_match": match,
            "then_at_least_one_of": list(fields),
            "then_err": error,
        }
    }


def _target_checks() -> list[Json]:
    """The rules of `rules` about one target, as far as Kong can express them: those with one condition.

    `ne` instead of `eq` wherever a missing value is fine: Kong compares a missing one too, and refuses it.
    """
    provider, options = "model.provider", "model.options"
    return [
        {"mutually_required": ["auth.header_name", "auth.header_value"]},
        {"mutually_required": ["auth.param_name", "auth.param_value", "auth.param_location"]},
        _when(
            provider,
            {"eq": "gemini"},
            "auth.allow_override",
            {"ne": True},
            "auth.allow_override must be false for provider gemini",
        ),
        *(
            _needs(
                provider,
                {"eq": name},
                f"{options}.upstream_url",
                error=f"must set %s for provider {name}, which has no default",
            )
            for name in ("llama2", "ollama", "vllm")
        ),
        _needs(
            provider,
            {"eq": "llama2"},
            f"{options}.llama2_format",
            error="must set %s for provider llama2",
        ),
        *(
            _needs(
                provider,
                {"eq": "azure"},
                f"{options}.{name}",
                f"{options}.upstream_url",
                error="must set one of %s for provider azure",
            )
            for name in ("azure_instance", "azure_deployment_id")
        ),
        _when(
            provider,
            {"eq": "anthropic"},
            "route_type",
            {"ne": "llm/v1/embeddings"},
            "provider anthropic has no llm/v1/embeddings",
        ),
    ]


def _proxy_checks() -> list[Json]:
    return [
        *_target_checks(),
        _when(
            "route_type",
            {"eq": "realtime/v1/realtime"},
            "route_type",
            {"ne": "realtime/v1/realtime"},
            "realtime/v1/realtime is served by kong-ai-proxy-advanced only",
        ),
        *(
            _when(
                "llm_format",
                {"eq": name},
                "model.provider",
                {"eq": name},
                f"llm_format {name} works with provider {name} only",
            )
            for name in ("cohere", "huggingface")
        ),
    ]


_ASKED_FOR_BY_CHECKS: Final[dict[type[Record], tuple[str, ...]]] = {
    ProxyConfig: ("model",),
    Target: ("model",),
    Judge: ("llm",),
}
"""Required records that Kong must not require as such: it fails ("An unexpected error occurred") on a check
of a field below a record that it found to be null. The checks of `model.provider` ask for it themselves."""

_ENTITY_CHECKS: Final[dict[type[Record], list[Json]]] = {
    ProxyConfig: _proxy_checks(),
    Target: _target_checks(),
    GeminiOptions: [{"mutually_required": ["api_endpoint", "project_id", "location_id"]}],
    AdvancedConfig: [
        _needs(
            "balancer.algorithm",
            {"eq": "semantic"},
            "embeddings",
            error="must set %s for balancer.algorithm semantic",
        )
    ],
    Judge: [
        {"at_least_one_of": ["llm"]},
        _when(
            "llm.route_type",
            {"ne": "llm/v1/chat"},
            "llm.route_type",
            {"eq": "llm/v1/chat"},
            "the judge's route_type must be llm/v1/chat",
        ),
        _needs(
            "llm.model.provider",
            {"ne": "azure"},
            "llm.model.name",
            error="must set %s: no client names the judge's model",
        ),
    ],
    AclMatch: [
        _when("type", {"eq": "header"}, "key", {"required": True}, "type header needs a key"),
        _when(
            "type",
            {"eq": "consumer"},
            "key",
            {"one_of": ["id", "username"]},
            "key must be id or username for type consumer",
        ),
        _when(
            "type",
            {"eq": "consumer_group"},
            "key",
            {"one_of": ["id", "name"]},
            "key must be id or name for type consumer_group",
        ),
    ],
}

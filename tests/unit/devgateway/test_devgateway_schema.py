"""The stand-in refuses the configurations that Kong refuses."""

from __future__ import annotations

from typing import Any

import pytest
from config_examples import Example, examples

from kong_ai_proxy.config.kong_schema import plugin_schema
from kong_ai_proxy.devgateway.declared import ConfigError, fill_defaults, read
from kong_ai_proxy.devgateway.schema import problems

PROXY, ADVANCED = "kong-ai-proxy", "kong-ai-proxy-advanced"
OPENAI: dict[str, Any] = {"provider": "openai"}


def found(config: dict[str, Any], plugin: str = PROXY) -> dict[str, str]:
    schema = plugin_schema(plugin)
    return dict(problems(schema, fill_defaults(schema, {"route_type": "llm/v1/chat", **config})))


@pytest.mark.parametrize(
    ("config", "path", "said"),
    [
        ({}, "model.provider", "field required for entity check"),
        ({"model": {}}, "model.provider", "required field missing"),
        ({"model": {"provider": "nobody"}}, "model.provider", "expected one of"),
        ({"model": OPENAI, "bogus": 1}, "bogus", "unknown field"),
        ({"model": OPENAI, "route_type": 3}, "route_type", "expected a string"),
        ({"model": OPENAI, "max_request_body_size": 1.5}, "max_request_body_size", "expected an integer"),
        ({"model": OPENAI, "logging": {"log_payloads": "yes"}}, "logging.log_payloads", "expected a boolean"),
        ({"model": {**OPENAI, "name": ""}}, "model.name", "at least 1"),
        (
            {"model": {**OPENAI, "options": {"temperature": 9}}},
            "model.options.temperature",
            "between 0 and 5",
        ),
        (
            {"model": {**OPENAI, "options": {"upstream_url": "x"}}},
            "model.options.upstream_url",
            "absolute URL",
        ),
        (
            {"model": {**OPENAI, "options": {"input_cost": "1"}}},
            "model.options.input_cost",
            "expected a number",
        ),
        ({"model": OPENAI, "auth": {"header_name": "a"}}, "", "all or none"),
        (
            {"model": {"provider": "azure"}},
            "",
            "'model.options.azure_deployment_id', 'model.options.upstream_url'",
        ),
        ({"model": {"provider": "vllm"}}, "", "must set 'model.options.upstream_url' for provider vllm"),
        (
            {"model": {"provider": "gemini"}, "auth": {"allow_override": True}},
            "auth.allow_override",
            "allow_override",
        ),
        (
            {"model": {"provider": "anthropic"}, "route_type": "llm/v1/embeddings"},
            "route_type",
            "embeddings",
        ),
        ({"model": OPENAI, "llm_format": "cohere"}, "model.provider", "works with provider cohere only"),
        (
            {"model": OPENAI, "route_type": "realtime/v1/realtime"},
            "route_type",
            "kong-ai-proxy-advanced only",
        ),
    ],
)
def test_refused(config: dict[str, Any], path: str, said: str) -> None:
    assert said in found(config)[path]


def test_advanced_ones() -> None:
    target = {"route_type": "llm/v1/chat", "model": OPENAI}
    schema = plugin_schema(ADVANCED)

    def of(config: dict[str, Any]) -> dict[str, str]:
        return dict(problems(schema, fill_defaults(schema, config)))

    assert of({"targets": [target]}) == {}
    assert "at least 1" in of({"targets": []})["targets"]
    assert of({"targets": "x"})["targets"] == "expected an array"
    assert of({"targets": [target, {"route_type": "llm/v1/chat"}]}) == {
        "targets[2].model.provider": "field required for entity check"
    }
    assert "embeddings" in of({"targets": [target], "balancer": {"algorithm": "semantic"}})[""]
    rule = {"allow": [{"match": [{"type": "header", "values": ["x"]}]}]}
    assert of({"targets": [target], "acls": rule}) == {
        "acls.allow[1].match[1].key": "type header needs a key"
    }


def test_kong_can_name_a_null_model() -> None:
    """Kong 3.9.3 fails on a check of `model.provider` where it has found `model` itself to be null."""
    for plugin, path in ((PROXY, "config"), (ADVANCED, "config.targets")):
        (field,) = plugin_schema(plugin)["fields"]
        record = field["config"]
        fields = {name: each for entry in record["fields"] for name, each in entry.items()}
        if path == "config.targets":
            record = fields["targets"]["elements"]
            fields = {name: each for entry in record["fields"] for name, each in entry.items()}
        assert fields["model"]["required"] is False
        checks = [check["conditional"] for check in record["entity_checks"] if "conditional" in check]
        assert "model.provider" in {check["if_field"] for check in checks}


def test_references_are_taken_as_they_are() -> None:
    auth = {"header_name": "{vault://env/name}", "header_value": "{vault://env/value}"}
    assert found({"model": OPENAI, "auth": auth}) == {}


def test_a_configuration_with_one_is_not_loaded() -> None:
    plugin = {"name": PROXY, "config": {"route_type": "llm/v1/chat", "model": {"provider": "ollama"}}}
    with pytest.raises(ConfigError, match=r"kong-ai-proxy: .*upstream_url"):
        read({"_format_version": "3.0", "plugins": [plugin]}, {PROXY: plugin_schema(PROXY)})
    assert problems({"fields": []}, {}) == []


@pytest.mark.skipif(not examples(), reason="no documented examples here")
@pytest.mark.parametrize("example", [pytest.param(each, id=each.id) for each in examples()])
def test_documented_examples_are_taken(example: Example) -> None:
    schema = plugin_schema(example.plugin)
    wrong = [each for config in example.configs for each in problems(schema, fill_defaults(schema, config))]
    assert bool(wrong) is example.invalid


ONE: dict[str, Any] = {"route_type": "llm/v1/chat", "model": {"provider": "openai", "name": "m"}}


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"llm": ONE}, ""),
        ({}, "non-empty: 'llm'"),
        ({"llm": {**ONE, "model": OPENAI}}, "'llm.model.name'"),
        ({"llm": {**ONE, "route_type": "llm/v1/embeddings"}}, "must be llm/v1/chat"),
    ],
)
def test_judges(judge: dict[str, Any], said: str) -> None:
    """As Kong does: tests/e2e/test_real_kong.py has the same ones."""
    schema = plugin_schema(ADVANCED)
    config = {"targets": [ONE], "kong_ai_proxy": {"judge": judge}}
    told = dict(problems(schema, fill_defaults(schema, config)))
    assert bool(told) == bool(said)
    assert said in " ".join(told.values()), told

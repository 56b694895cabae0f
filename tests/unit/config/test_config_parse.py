"""From what Kong sends to a checked configuration."""

from __future__ import annotations

import math
from typing import Any

import pytest

from kong_ai_proxy.config.errors import ConfigError, format_path
from kong_ai_proxy.config.models import AdvancedConfig, Auth, ProxyConfig
from kong_ai_proxy.config.parse import parse

SECRET = "sk-very-secret-0123456789"


def proxy(**changes: Any) -> dict[str, Any]:
    return {"route_type": "llm/v1/chat", "model": {"provider": "openai"}, **changes}


def advanced(*targets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"targets": list(targets) or [proxy()], **changes}


def problems(config: Any, plugin: str = "kong-ai-proxy") -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        parse(plugin, config)
    return dict(refused.value.problems)


def test_defaults_are_kongs() -> None:
    config = parse("kong-ai-proxy", proxy())
    assert isinstance(config, ProxyConfig)
    assert config.llm_format == "openai"
    assert config.max_request_body_size == 1048576
    assert config.model_name_header is True
    assert config.response_streaming == "allow"
    assert config.genai_category == "text/generation"
    assert config.model.options.azure_api_version == "2023-05-15"
    assert config.kong_ai_proxy.max_stream_duration is None
    assert config.kong_ai_proxy.max_frame_size == 16777216

    more = parse("kong-ai-proxy-advanced", advanced())
    assert isinstance(more, AdvancedConfig)
    assert more.balancer.failover_criteria == ["error", "timeout"]
    assert more.balancer.retries == 5
    assert more.targets[0].weight == 100


def test_one_target_is_seen_as_targets() -> None:
    config = parse("kong-ai-proxy", proxy(auth={"header_name": "a", "header_value": "b"}))
    (target,) = config.targets
    assert target.auth is config.auth
    assert target.model is config.model
    assert target.route_type == "llm/v1/chat"


def test_what_kong_adds_is_dropped() -> None:
    config = proxy(
        __plugin_id="5b9c", __key__="k", __seq__=3, __ws_id="w", route_id="r", service_id="s",
        consumer_id="c", plugin_instance_name="mine",
    )  # fmt: skip
    assert parse("kong-ai-proxy", config) == parse("kong-ai-proxy", proxy())


def test_null_is_missing_at_every_level() -> None:
    config = proxy(auth=None, logging=None, model={"provider": "openai", "name": None, "options": None})
    assert parse("kong-ai-proxy", config) == parse("kong-ai-proxy", proxy())


def test_empty_lua_tables_are_what_the_field_is() -> None:
    config = advanced(
        {
            **proxy(),
            "auth": [],
            "logging": [],
            "metadata": [],
            "model": {"provider": "openai", "options": []},
        },
        balancer={"failover_criteria": {}},
    )
    parsed = parse("kong-ai-proxy-advanced", config)
    assert isinstance(parsed, AdvancedConfig)
    assert parsed.targets[0].auth == Auth()
    assert parsed.targets[0].metadata == {}
    assert parsed.balancer.failover_criteria == []


def test_integers_may_come_as_floats() -> None:
    options = {"max_tokens": 512.0, "top_k": 40.0, "temperature": 1, "input_cost": 3}
    parsed = parse("kong-ai-proxy", proxy(model={"provider": "openai", "options": options}))
    assert parsed.targets[0].model.options.max_tokens == 512
    assert isinstance(parsed.targets[0].model.options.max_tokens, int)
    assert parsed.targets[0].model.options.temperature == 1.0


@pytest.mark.parametrize("value", [512.5, math.nan, math.inf, True, "512", [], {}])
def test_what_is_no_integer_is_refused(value: Any) -> None:
    config = proxy(model={"provider": "openai", "options": {"max_tokens": value}})
    assert "model.options.max_tokens" in problems(config)


@pytest.mark.parametrize("value", ["true", 1, 0, "yes"])
def test_booleans_are_booleans(value: Any) -> None:
    assert problems(proxy(model_name_header=value)) == {"model_name_header": "expected a boolean"}


def test_references_are_kept_with_what_they_gave() -> None:
    auth = {
        "header_name": "Authorization",
        "header_value": f"Bearer {SECRET}",
        "$refs": {"header_value": "{vault://env/openai}"},
    }
    one = parse("kong-ai-proxy", proxy(auth=auth))
    assert one.targets[0].auth.references == {"header_value": "{vault://env/openai}"}
    two = parse("kong-ai-proxy-advanced", advanced(proxy(), proxy(auth=auth)))
    assert two.targets[0].auth.references == {}
    assert two.targets[1].auth.references == {"header_value": "{vault://env/openai}"}


def test_a_reference_that_gave_nothing_keeps_the_instance() -> None:
    auth = {
        "header_name": "Authorization",
        "header_value": "",
        "$refs": {"header_value": "{vault://env/openai}", "other": 1},
    }
    parsed = parse("kong-ai-proxy", proxy(auth=auth))
    assert parsed.targets[0].auth.header_value == ""
    assert parsed.targets[0].auth.references == {"header_value": "{vault://env/openai}"}


def test_a_port_may_come_out_of_a_vault() -> None:
    vectordb = {
        "strategy": "redis", "dimensions": 8, "distance_metric": "cosine",
        "redis": {"port": "6380", "$refs": {"port": "{vault://env/port}"}},
    }  # fmt: skip
    parsed = parse("kong-ai-proxy-advanced", advanced(vectordb=vectordb))
    assert isinstance(parsed, AdvancedConfig)
    assert parsed.vectordb is not None and parsed.vectordb.redis is not None
    assert parsed.vectordb.redis.port == 6380


def test_errors_name_fields_as_kong_does() -> None:
    found = problems(
        advanced(proxy(weight=0), proxy(model={"provider": "opena"}), bogus=1), "kong-ai-proxy-advanced"
    )
    assert found["targets[1].weight"] == "value should be between 1 and 65535"
    assert found["targets[2].model.provider"].startswith("expected one of: anthropic, azure,")
    assert found["bogus"] == "unknown field"


def test_errors_say_what_was_probably_meant() -> None:
    found = problems(proxy(model={"provider": "openai", "options": {"temprature": 1}}))
    assert found == {"model.options.temprature": "unknown field (did you mean temperature?)"}


def test_missing_fields_are_named() -> None:
    assert problems({}) == {"model": "required field missing", "route_type": "required field missing"}
    assert problems([]) == problems({})
    assert problems({}, "kong-ai-proxy-advanced") == {"targets": "required field missing"}


@pytest.mark.parametrize("config", [None, 1, "x", [1], True])
def test_a_config_is_a_record(config: Any) -> None:
    assert problems(config) == {"": "expected a record"}


def test_unknown_plugins_are_refused() -> None:
    assert "kong-ai-proxy" in problems({}, "ai-proxy")[""]


@pytest.mark.parametrize(
    "config",
    [
        proxy(auth={"header_name": "Authorization", "header_value": [SECRET]}),
        proxy(auth={"header_value": SECRET}),
        proxy(auth={"param_location": SECRET, "param_value": SECRET}),
        proxy(auth={f"Bearer {SECRET}": 1}),
        proxy(model={"provider": SECRET, "options": {"upstream_url": f"//{SECRET}@host"}}),
        proxy(model={"provider": "openai", "options": {"upstream_url": f"//{SECRET}@host"}}),
        proxy(
            model={"provider": "openai", "options": {"temperature": SECRET, "azure_api_version": {SECRET: 1}}}
        ),
        {SECRET + " ": 1},
    ],
)
def test_no_value_is_in_an_error(config: Any) -> None:
    with pytest.raises(ConfigError) as refused:
        parse("kong-ai-proxy", config)
    assert SECRET not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_secrets_are_not_in_a_config_printed() -> None:
    parsed = parse("kong-ai-proxy", proxy(auth={"header_name": "Authorization", "header_value": SECRET}))
    assert SECRET not in repr(parsed)
    assert SECRET not in str(parsed.targets)


def test_paths_are_written_as_kong_does() -> None:
    assert format_path(("targets", 0, "model", "options")) == "targets[1].model.options"
    assert format_path(("a", 1, 2)) == "a[2][3]"
    assert format_path(()) == ""
    assert format_path(("some secret!",)) == "<unreadable name>"

"""Whatever stands in a configuration, `migrate` gives one or says why not, and prints no secret."""

from __future__ import annotations

import json
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kong_ai_proxy.config.check import check
from kong_ai_proxy.config.entries import UnreadableFile, read
from kong_ai_proxy.migrate import kong, litellm
from kong_ai_proxy.migrate.report import Report

SECRET = "sk-planted-0123456789"

_ODD: Any = (
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.text("ab/*.:{}$", max_size=6)
    | st.just([])
    | st.just({})
)
_MODELS = st.sampled_from(
    [
        "openai/gpt-4o",
        "azure/dep",
        "bedrock/us-east-1/x",
        "vertex_ai/gemini",
        "gpt-4o",
        "ollama/x",
        "*",
        "groq/*",
    ]
)
_VALUES = _ODD | st.just("os.environ/SOME_KEY") | st.just("https://host.example/v1")
_PARAMS = st.dictionaries(
    st.sampled_from(
        [
            "api_key",
            "api_base",
            "api_version",
            "rpm",
            "weight",
            "temperature",
            "aws_region_name",
            "vertex_project",
            "vertex_credentials",
            "tenant_id",
            "client_secret",
            "custom_llm_provider",
            "litellm_credential_name",
            "timeout",
        ]
    ),
    _VALUES,
    max_size=5,
)
_DEPLOYMENTS = st.lists(
    st.fixed_dictionaries(
        {"model_name": _ODD | st.sampled_from(["a", "b", "*"])},
        optional={
            "litellm_params": _ODD
            | st.builds(lambda params, model: {**params, "model": model}, _PARAMS, _MODELS | _ODD),
            "model_info": _ODD
            | st.dictionaries(st.sampled_from(["mode", "id", "input_cost_per_token"]), _ODD),
        },
    )
    | _ODD,
    max_size=4,
)
_SETTINGS = _ODD | st.dictionaries(
    st.sampled_from(
        [
            "fallbacks",
            "default_fallbacks",
            "model_group_alias",
            "num_retries",
            "timeout",
            "allowed_fails",
            "cooldown_time",
            "routing_strategy",
            "redis_host",
            "redis_port",
            "default_litellm_params",
            "master_key",
            "max_request_size_mb",
        ]
    ),
    _ODD | st.just([{"a": ["b"]}, {"b": "a"}]) | st.just({"c": "a"}),
    max_size=5,
)


@settings(max_examples=30, deadline=None)
@given(
    st.fixed_dictionaries(
        {"model_list": _DEPLOYMENTS | _ODD},
        optional={
            "router_settings": _SETTINGS,
            "litellm_settings": _SETTINGS,
            "general_settings": _SETTINGS,
            "credential_list": _ODD,
            "environment_variables": _ODD,
        },
    )
)
def test_any_litellm_configuration(data: Any) -> None:
    report = Report()
    result = litellm.migrate(yaml.safe_dump(data), relay="127.0.0.1:8125", report=report)
    check(read(result))
    json.loads(report.json("f"))


_CONFIG = _ODD | st.recursive(
    _ODD,
    lambda inner: st.dictionaries(
        st.sampled_from(
            ["auth", "model", "targets", "options", "provider", "header_value", "bogus", "embeddings"]
        ),
        inner | st.lists(inner, max_size=2),
        max_size=4,
    ),
    max_leaves=8,
)
_PLUGINS = _ODD | st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(
                ["ai-proxy", "ai-proxy-advanced", "ai-prompt-guard", "pre-function", "cors"]
            )
            | _ODD
        },
        optional={
            "config": _CONFIG,
            "enabled": _ODD,
            "ordering": _ODD,
            "route": _ODD,
            "service": _ODD,
            "_config": _ODD,
        },
    )
    | _ODD,
    max_size=3,
)
_ENTITIES = _ODD | st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["a", "b"])},
        optional={
            "url": st.just("http://x") | _ODD,
            "plugins": _PLUGINS,
            "read_timeout": _ODD,
            "host": _ODD,
            "path": _ODD,
            "routes": st.lists(st.fixed_dictionaries({"plugins": _PLUGINS}), max_size=2) | _ODD,
            "service": _ODD,
        },
    )
    | _ODD,
    max_size=2,
)


@settings(max_examples=30, deadline=None)
@given(
    st.fixed_dictionaries(
        {"plugins": _PLUGINS},
        optional={
            "services": _ENTITIES,
            "routes": _ENTITIES,
            "consumers": _ENTITIES,
            "_plugin_configs": _ODD,
        },
    ),
    st.booleans(),
)
def test_any_declarative_configuration(data: Any, flow: bool) -> None:
    data = json.loads(json.dumps(data))  # what is drawn may be shared
    planted = {"name": "ai-proxy", "config": {"auth": {"header_name": "x-api-key", "header_value": SECRET}}}
    if isinstance(data["plugins"], list):
        data["plugins"].append(planted)
    text = json.dumps(data) if flow else yaml.safe_dump(data)
    report = Report()
    try:
        result = kong.migrate(text, relay="127.0.0.1:8125", report=report)
    except UnreadableFile:
        return
    read(result)
    assert SECRET not in report.text("f") + report.json("f")
    if isinstance(data["plugins"], list):
        assert SECRET not in result

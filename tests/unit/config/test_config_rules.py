"""Rules about several fields: what is refused, and by the field it names."""

from __future__ import annotations

from typing import Any

import pytest
from config_cases import ACCEPTED, REFUSED, target

from kong_ai_proxy.config.errors import ConfigError
from kong_ai_proxy.config.parse import parse


def _refused(plugin: str, config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as refused:
        parse(plugin, config)
    return dict(refused.value.problems)


@pytest.mark.parametrize(("config", "field"), REFUSED)
def test_refused_by_name_in_both_plugins(config: dict[str, Any], field: str) -> None:
    assert field in _refused("kong-ai-proxy", config)
    advanced = {"targets": [target(), config]}
    assert f"targets[2].{field}" in _refused("kong-ai-proxy-advanced", advanced)


@pytest.mark.parametrize("config", ACCEPTED)
def test_accepted_by_both_plugins(config: dict[str, Any]) -> None:
    parse("kong-ai-proxy", config)
    parse("kong-ai-proxy-advanced", {"targets": [config]})


def test_realtime_is_for_the_advanced_plugin() -> None:
    realtime = target(route_type="realtime/v1/realtime")
    assert "kong-ai-proxy-advanced" in _refused("kong-ai-proxy", realtime)["route_type"]
    parse("kong-ai-proxy-advanced", {"targets": [realtime]})


@pytest.mark.parametrize("llm_format", ["cohere", "huggingface"])
def test_some_client_formats_need_their_provider(llm_format: str) -> None:
    parse("kong-ai-proxy", {**target(llm_format), "llm_format": llm_format})
    assert "model.provider" in _refused("kong-ai-proxy", {**target(), "llm_format": llm_format})
    config = {"llm_format": llm_format, "targets": [target(llm_format), target()]}
    assert list(_refused("kong-ai-proxy-advanced", config)) == ["targets[2].model.provider"]


@pytest.mark.parametrize("provider", ["openai", "azure", "bedrock", "gemini", "dashscope", "xai"])
def test_anthropics_format_goes_to_any_provider(provider: str) -> None:
    options = {"azure_instance": "i", "azure_deployment_id": "d"}
    parse("kong-ai-proxy", {**target(provider, options=options), "llm_format": "anthropic"})


def test_semantic_balancing_needs_embeddings_and_descriptions() -> None:
    described = {**target(), "description": "code"}
    embeddings = {"model": {"provider": "openai", "name": "text-embedding-3-small"}}
    semantic = {"balancer": {"algorithm": "semantic"}}
    found = _refused("kong-ai-proxy-advanced", {**semantic, "targets": [described, target()]})
    assert set(found) == {"embeddings", "targets[2].description"}
    # Without a vector database the vectors are kept in memory.
    parse("kong-ai-proxy-advanced", {**semantic, "targets": [described], "embeddings": embeddings})


def test_balancing_by_cost_needs_prices() -> None:
    balancer = {"algorithm": "lowest-usage", "tokens_count_strategy": "cost"}
    priced = target(options={"output_cost": 0})
    found = _refused("kong-ai-proxy-advanced", {"balancer": balancer, "targets": [priced, target()]})
    assert list(found) == ["targets[2].model.options.input_cost"]
    other = {**balancer, "algorithm": "round-robin"}
    parse("kong-ai-proxy-advanced", {"balancer": other, "targets": [target()]})


ACL_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"type": "header", "values": ["a"]}, "key"),
    ({"type": "consumer", "key": "name", "values": ["a"]}, "key"),
    ({"type": "consumer_group", "key": "username", "values": ["a"]}, "key"),
    ({"type": "ip", "values": ["10.0.0.1", "10.0.0.0/40"]}, "values[2]"),
    ({"type": "ip", "values": []}, "values"),
    ({"type": "team", "values": ["a"]}, "type"),
]


@pytest.mark.parametrize(("match", "field"), ACL_REFUSED)
def test_access_rules_that_can_never_hold_are_refused(match: dict[str, Any], field: str) -> None:
    config = {"targets": [target()], "acls": {"deny": [{"match": [match]}]}}
    assert list(_refused("kong-ai-proxy-advanced", config)) == [f"acls.deny[1].match[1].{field}"]


def test_access_rules_load() -> None:
    matches = [
        {"type": "header", "key": "x-team", "values": ["a"]},
        {"type": "consumer", "values": ["a"]},
        {"type": "consumer_group", "key": "name", "values": ["a"]},
        {"type": "ip", "values": ["10.0.0.1", "10.0.0.0/8", "2001:db8::/32"]},
    ]
    parse("kong-ai-proxy-advanced", {"targets": [target()], "acls": {"allow": [{"match": matches}]}})


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = _refused("kong-ai-proxy", target("azure", auth={"header_name": "api-key"}))
    assert set(found) == {
        "auth.header_value",
        "model.options.azure_instance",
        "model.options.azure_deployment_id",
    }


NODES = {"sentinel_nodes": [{"host": "s"}], "sentinel_master": "main"}
CLUSTER = {"cluster_nodes": [{"ip": "c"}]}
ELASTICACHE = {"auth_provider": "aws", "aws_cache_name": "c"}


@pytest.mark.parametrize(
    ("redis", "field"),
    [
        ({"sentinel_nodes": [{"host": "s"}]}, "sentinel_master"),
        ({**NODES, **CLUSTER}, "cluster_nodes"),
        ({**NODES, "connection_is_proxied": True}, "connection_is_proxied"),
        ({**CLUSTER, "connection_is_proxied": True}, "connection_is_proxied"),
        ({**CLUSTER, "ssl": True, "server_name": "n"}, "server_name"),
        ({"cloud_authentication": ELASTICACHE}, "username"),
        (
            {"cloud_authentication": {"auth_provider": "aws"}, "username": "u"},
            "cloud_authentication.aws_cache_name",
        ),
    ],
)  # fmt: skip
def test_redis_that_could_not_be_connected_to(redis: dict[str, Any], field: str) -> None:
    vectordb = {"strategy": "redis", "dimensions": 8, "distance_metric": "cosine", "redis": redis}
    config = {"targets": [target()], "vectordb": vectordb, "kong_ai_proxy": {"redis": redis}}
    assert set(_refused("kong-ai-proxy-advanced", config)) == {
        f"vectordb.redis.{field}",
        f"kong_ai_proxy.redis.{field}",
    }
    # Nobody connects to it.
    parse("kong-ai-proxy-advanced", {"targets": [target()], "vectordb": {**vectordb, "strategy": "pgvector"}})


@pytest.mark.parametrize(
    "redis",
    [
        NODES,
        {**CLUSTER, "ssl": True},
        {**NODES, "ssl": True, "server_name": "n"},
        {"connection_is_proxied": True, "database": 3},
        {"cloud_authentication": ELASTICACHE, "username": "u", "ssl": True},
        {"cloud_authentication": {"auth_provider": "gcp"}},
        {"cloud_authentication": {"auth_provider": "azure", "azure_client_id": "c"}, "username": "oid"},
        {"cloud_authentication": {}},
    ],
)
def test_redis_that_can_be_connected_to(redis: dict[str, Any]) -> None:
    parse("kong-ai-proxy-advanced", {"targets": [target()], "kong_ai_proxy": {"redis": redis}})

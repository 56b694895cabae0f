"""Both plugins' configurations in one form."""

from __future__ import annotations

import pytest
from exchange_support import advanced, proxy, target_config

from kong_ai_proxy.balancer.fixed import FixedTarget
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.weighted import Priority, RoundRobin
from kong_ai_proxy.exchange.instance import PROXY, Instance


def test_ai_proxy_is_one_target() -> None:
    instance = proxy(options={"temperature": 0.5}, model_name_header=False, max_request_body_size=0)
    (target,) = instance.targets
    assert target.model.options.temperature == 0.5
    assert (instance.plugin, instance.plugin_id) == ("kong-ai-proxy", "plugin-1")
    assert (instance.model_name_header, instance.max_request_body_size) == (False, 0)
    assert (instance.llm_format, instance.response_streaming) == ("openai", "allow")
    assert isinstance(instance.balancer, FixedTarget)
    assert (instance.retries, instance.acls) == (0, None)


def test_ai_proxy_advanced() -> None:
    rule = {"match": [{"type": "consumer", "key": "id", "values": ["c"]}]}
    instance = advanced(
        target_config(weight=3),
        target_config("anthropic", "claude-sonnet-4-5", weight=1),
        balancer={"algorithm": "priority", "retries": 2, "failover_criteria": ["http_429"]},
        acls={"deny": [rule]},
        kong_ai_proxy={"max_stream_duration": 1000},
    )
    assert (instance.plugin, instance.plugin_id) == ("kong-ai-proxy-advanced", "plugin-2")
    assert [target.weight for target in instance.targets] == [3, 1]
    assert isinstance(instance.balancer, Guarded)
    assert isinstance(instance.balancer.algorithm, Priority)
    assert (instance.retries, instance.failover_criteria) == (2, frozenset({"http_429"}))
    assert instance.acls is not None and instance.acls.deny
    assert instance.extensions.max_stream_duration == 1000


def test_defaults_of_the_balancer() -> None:
    instance = advanced(target_config())
    assert isinstance(instance.balancer, Guarded)
    assert isinstance(instance.balancer.algorithm, RoundRobin)
    assert (instance.retries, instance.failover_criteria) == (5, frozenset({"error", "timeout"}))


def test_a_plugin_without_id() -> None:
    config = target_config()
    assert Instance.from_config(PROXY, config).plugin_id == ""


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(ValueError, match="model"):
        Instance.from_config(PROXY, {"route_type": "llm/v1/chat"})

"""The `ai.proxy` record: which keys when, of what type (Kong's audit log reference)."""

from __future__ import annotations

from typing import Any

from kong_ai_proxy.accounting.record import (
    Timing,
    attempt_usage,
    log_record,
    tried_target,
    usage_record,
)
from kong_ai_proxy.config.models import Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest, Url
from kong_ai_proxy.core.usage import OtherModel, Usage, UsageSource


def call(provider: str = "openai", usage: Usage | None = None, **fields: Any) -> Call:
    logging = fields.pop("logging", {"log_statistics": True})
    options = fields.pop("options", {"input_cost": 1, "output_cost": 2})
    target = Target.model_validate(
        {
            "model": {"provider": provider, "name": "configured", "options": options},
            "route_type": "llm/v1/chat",
            "logging": logging,
        }
    )
    made = Call(
        target=target,
        options=target.model.options,
        model=fields.pop("model", "configured"),
        operation="chat",
        request=ClientRequest("POST", "/", "", {}),
        **fields,
    )
    if usage is not None:
        made.usage = usage
    return made


def recorded(made: Call, timing: Timing | None = None, **fields: Any) -> Any:
    given: dict[str, Any] = {"tried": [], "request": None, "response": None, **fields}
    return log_record(made, plugin_id="plugin-1", timing=timing or Timing(), **given)


USED = Usage(prompt_tokens=14, completion_tokens=21, source=UsageSource.REPORTED)


def test_a_whole_record() -> None:
    made = call(usage=USED, response_model="configured-2024")
    assert recorded(made, Timing(633.4, 631.9), tried=[{"provider": "openai"}]) == {
        "meta": {
            "provider_name": "openai",
            "plugin_id": "plugin-1",
            "request_mode": "oneshot",
            "request_model": "configured",
            "response_model": "configured-2024",
            "llm_latency": 633,
        },
        "usage": {
            "prompt_tokens": 14,
            "prompt_tokens_details": {},
            "completion_tokens": 21,
            "completion_tokens_details": {},
            "total_tokens": 35,
            "cost": 56 / 1_000_000,
            "time_per_token": 633 / 21,
            "time_to_first_token": 631,
        },
        "tried_targets": [{"provider": "openai"}],
    }


def test_types_are_those_of_kong() -> None:
    record = recorded(call(usage=USED), Timing(633.4, 631.9))
    assert type(record["meta"]["llm_latency"]) is int
    assert type(record["usage"]["time_to_first_token"]) is int
    assert type(record["usage"]["time_per_token"]) is float


def test_documented_relation_of_latency_and_time_per_token() -> None:
    """The documentation's samples: 1542 ms for 124 tokens are 12.435483870968 ms each."""
    used = Usage(prompt_tokens=11184, completion_tokens=124, source=UsageSource.REPORTED)
    usage = usage_record(used, call(), Timing(1542.9, 1542.9))
    assert round(usage["time_per_token"], 12) == 12.435483870968
    assert usage["total_tokens"] == 11308


def test_details_where_they_are_known() -> None:
    used = Usage(
        prompt_tokens=10, completion_tokens=5, cached_tokens=4, reasoning_tokens=0, audio_prompt_tokens=0
    )
    usage = usage_record(used, call(), Timing())
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "audio_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_no_output_has_no_time_per_token() -> None:
    usage = usage_record(Usage(prompt_tokens=3), call(), Timing(100, 100))
    assert "time_per_token" not in usage
    assert usage["completion_tokens"] == 0


def test_extra_reasoning_is_in_the_total() -> None:
    used = Usage(prompt_tokens=331, completion_tokens=11, reasoning_tokens=332, reasoning_is_extra=True)
    assert usage_record(used, call(), Timing())["total_tokens"] == 674


def test_cost_is_0_without_prices() -> None:
    assert usage_record(USED, call(options={}), Timing())["cost"] == 0


def test_only_numbers_that_are_not_the_providers_are_marked() -> None:
    for source, mark in (
        (UsageSource.REPORTED, None),
        (UsageSource.ESTIMATED, "estimated"),
        (UsageSource.PARTIAL, "partial"),
    ):
        usage = usage_record(Usage(prompt_tokens=1, source=source), call(), Timing())
        assert usage.get("source") == mark
        assert mark is None or type(usage["source"]) is str


def test_stream_mode() -> None:
    assert recorded(call(stream=True, usage=USED))["meta"]["request_mode"] == "stream"


def test_response_model_falls_back_to_the_request_model() -> None:
    assert recorded(call(usage=USED))["meta"]["response_model"] == "configured"


def test_no_model_at_all() -> None:
    meta = recorded(call(model=""))["meta"]
    assert "request_model" not in meta
    assert "response_model" not in meta


def test_azure_says_which_deployment() -> None:
    options = {"azure_instance": "unit", "azure_deployment_id": "chat", "azure_api_version": "2024-10-21"}
    meta = recorded(call("azure", options=options))["meta"]
    assert (meta["azure_instance_id"], meta["azure_deployment_id"], meta["azure_api_version"]) == (
        "unit",
        "chat",
        "2024-10-21",
    )
    assert not any(name.startswith("azure") for name in recorded(call())["meta"])


def test_no_answer_no_usage() -> None:
    assert "usage" not in recorded(call())


def test_what_is_switched_off_is_not_there() -> None:
    payload = {"request": b'{"a":1}', "response": b'{"b":2}'}
    assert recorded(call(logging={}, usage=USED), **payload) is None
    assert set(recorded(call(usage=USED), **payload)) == {"meta", "usage"}
    only = recorded(call(logging={"log_payloads": True}, usage=USED), **payload)
    assert only == {"payload": {"request": '{"a":1}', "response": '{"b":2}'}}
    assert recorded(call(logging={"log_payloads": True})) is None


def test_binary_has_no_place_in_a_log() -> None:
    logs = {"log_payloads": True}
    for binary in (b"\x00\x01", b"ID3\x04\xff\xfb\x90d", b"\xff\xd8\xff\xe0 jpeg", b""):
        assert recorded(call(logging=logs), request=b"{}", response=binary) == {"payload": {"request": "{}"}}


def test_text_that_was_cut_within_a_character_stays_text() -> None:
    whole = "naïve".encode()
    record = recorded(call(logging={"log_payloads": True}), response=whole[:3])
    assert record["payload"]["response"] == "na"


def test_tried_target() -> None:
    url = Url.parse("https://api.openai.com/v1/chat/completions?beta=true")
    assert tried_target(call(), url, "192.0.2.1") == {
        "provider": "openai",
        "model": "configured",
        "route_type": "llm/v1/chat",
        "upstream_scheme": "https",
        "host": "api.openai.com",
        "port": 443,
        "upstream_uri": "/v1/chat/completions?beta=true",
        "ip": "192.0.2.1",
    }


def test_model_is_left_out_where_none_is_configured_and_ip_where_none_is_known() -> None:
    made = call()
    made.target.model.name = None
    entry = tried_target(made, Url.parse("http://[::1]:8000/x"), None)
    assert "model" not in entry
    assert "ip" not in entry
    assert (entry["host"], entry["port"], entry["upstream_scheme"]) == ("::1", 8000, "http")


def test_other_models_are_told_without_a_price() -> None:
    advised = Usage(14, 21, other_models=(OtherModel("wise", 200, 40),), source=UsageSource.REPORTED)
    told = [{"model": "wise", "prompt_tokens": 200, "completion_tokens": 40}]
    made, plain = call(usage=advised), call(usage=USED)
    for usage, alone in (
        (recorded(made)["usage"], recorded(plain)["usage"]),
        (attempt_usage(made), attempt_usage(plain)),
    ):
        assert usage.pop("other_models") == told
        assert usage == alone
        assert "other_models" not in alone

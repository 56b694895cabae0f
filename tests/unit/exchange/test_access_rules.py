"""`config.acls`: deny first, then allow; conditions of a rule are ANDed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import advanced, client_request, target_config

from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.exchange.exchange import Exchange, error_response
from kong_ai_proxy.exchange.tickets import Ticket

MESSAGES = [{"role": "user", "content": "hi"}]
CONSUMER = {"id": "11111111-2222", "username": "alice", "custom_id": "c-1"}


def rule(*matches: tuple[str, str | None, list[str]]) -> dict[str, Any]:
    made = []
    for kind, key, values in matches:
        match: dict[str, Any] = {"type": kind, "values": values}
        if key:
            match["key"] = key
        made.append(match)
    return {"match": made}


def candidates(acls: dict[str, Any], **fields: Any) -> list[int] | int:
    """Indexes of the targets left, or the status of the refusal."""
    instance = advanced(
        target_config("openai", "gpt-4o", alias="smart"),
        target_config("anthropic", "claude-sonnet-4-5", alias="smart"),
        acls=acls,
    )
    body = {"messages": MESSAGES, "model": fields.pop("model", "smart")}
    headers = {"x-real-ip": "192.0.2.7", "x-forwarded-path": "/claimed", "x-team": "red"}
    request = client_request(body, headers={**headers, **fields.pop("headers", {})})
    ticket = Ticket(
        instance, filter_installed=True, buffered=False, path=fields.pop("path", "/ai/chat"),
        headers=fields.pop("told", {}), **fields,
    )  # fmt: skip
    try:
        return Exchange.open(ticket, request).plan.candidates
    except ApiError as error:
        assert error.code == "access_denied"
        assert json.loads(error_response(ticket, error).body)["error"]["type"] == "permission_error"
        return error.status


def known(**fields: Any) -> dict[str, Any]:
    return {"consumer": CONSUMER, "consumer_groups": ["gold", "group-id"], **fields}


@pytest.mark.parametrize(
    ("match", "hit"),
    [
        (("consumer", "username", ["alice"]), True),
        (("consumer", "id", ["11111111-2222"]), True),
        (("consumer", None, ["alice"]), True),
        (("consumer", "id", ["alice"]), False),
        (("consumer", "username", ["bob", "carol"]), False),
        (("consumer_group", "name", ["silver", "gold"]), True),
        (("consumer_group", "id", ["group-id"]), True),
        (("consumer_group", None, ["silver"]), False),
        (("header", "X-Team", ["red"]), True),
        (("header", "x-team", ["blue"]), False),
        (("header", "x-none", ["red"]), False),
        (("ip", None, ["192.0.2.7"]), True),
        (("ip", None, ["192.0.2.0/24", "2001:db8::/32"]), True),
        (("ip", None, ["198.51.100.0/24"]), False),
        (("model", None, ["smart"]), True),
        (("model", None, ["other"]), False),
        (("path", None, ["/ai/chat"]), True),
        (("path", None, ["/ai/*"]), True),
        (("path", None, ["/ai"]), False),
        (("path", None, ["/other"]), False),
        (("path", None, ["/claimed"]), False),
    ],
)
def test_each_kind_of_condition(match: Any, hit: bool) -> None:
    assert candidates({"deny": [rule(match)]}, **known()) == (403 if hit else [0, 1])
    assert candidates({"allow": [rule(match)]}, **known()) == ([0, 1] if hit else 403)


def test_provider_and_model_leave_the_other_targets() -> None:
    assert candidates({"deny": [rule(("provider", None, ["openai"]))]}) == [1]
    assert candidates({"allow": [rule(("provider", None, ["openai"]))]}) == [0]
    assert candidates({"deny": [rule(("model", None, ["claude-sonnet-4-5"]))]}) == [0], "by its real name"


def test_deny_wins() -> None:
    everyone = rule(("path", None, ["/*"]))
    assert candidates({"allow": [everyone], "deny": [everyone]}) == 403


def test_conditions_of_a_rule_are_anded_and_rules_are_ored() -> None:
    both = rule(("consumer", None, ["alice"]), ("header", "x-team", ["blue"]))
    assert candidates({"deny": [both]}, **known()) == [0, 1]
    assert candidates({"deny": [both]}, **known(headers={"x-team": "blue"})) == 403
    assert candidates({"deny": [both, rule(("consumer", None, ["alice"]))]}, **known()) == 403


def test_nobody_in_particular() -> None:
    alice = rule(("consumer", None, ["alice"]))
    assert candidates({"allow": [alice]}) == 403
    assert candidates({"deny": [alice]}) == [0, 1]
    nowhere = rule(("ip", None, ["0.0.0.0/0"]))
    assert candidates({"allow": [nowhere]}, headers={"x-real-ip": ""}) == 403


@pytest.mark.parametrize(
    "path", ["/ai/secret", "//ai/secret", "/ai/./secret/", "/ai/x/../secret", "/ai/%73ecret"]
)
def test_a_denied_path_however_it_is_written(path: str) -> None:
    acls = {"deny": [rule(("path", None, ["/ai/secret"]))]}
    assert candidates(acls, path=path) == 403
    assert candidates(acls, path=path, headers={"x-forwarded-path": "/ai/chat"}) == 403


def test_an_ipv4_client_on_an_ipv6_socket() -> None:
    acls = {"deny": [rule(("ip", None, ["192.0.2.0/24"]))]}
    assert candidates(acls, headers={"x-real-ip": "::ffff:192.0.2.7"}) == 403
    assert candidates(acls, headers={"x-real-ip": "::ffff:198.51.100.7"}) == [0, 1]


@pytest.mark.parametrize(
    "named", ["gpt-4o", "GPT-4o", " Gpt-4O ", "models/gpt-4o", "publishers/openai/models/GPT-4O"]
)
def test_a_model_that_is_denied_by_whatever_spelling(named: str) -> None:
    acls = {"deny": [rule(("model", None, ["gpt-4O"]))]}
    free = target_config("openai", None)
    instance = advanced({**free, "model": {**free["model"], "name": None}}, acls=acls)
    ticket = Ticket(instance, filter_installed=True, buffered=False)
    with pytest.raises(ApiError) as refused:
        Exchange.open(ticket, client_request({"messages": MESSAGES, "model": named}))
    assert refused.value.status == 403
    # What is allowed is what is written.
    assert candidates({"allow": [rule(("model", None, ["SMART"]))]}) == 403


def test_a_header_that_the_client_had_taken_away() -> None:
    """By its name in the `Connection` header: Kong takes it off after `access`."""
    anonymous = rule(("header", "X-Anonymous-Consumer", ["true"]))
    told = {"x-anonymous-consumer": "true"}
    assert candidates({"deny": [anonymous]}, told=told) == 403
    assert candidates({"allow": [anonymous]}, told=told) == [0, 1]
    # What a later plugin has set counts as well.
    assert candidates({"deny": [rule(("header", "x-team", ["red"]))]}, told={"x-team": "blue"}) == 403
    assert candidates({"deny": [rule(("header", "x-team", ["blue"]))]}, told={"x-team": "blue"}) == 403
    assert candidates({"deny": [rule(("header", "x-team", ["green"]))]}, told={"x-team": "blue"}) == [0, 1]


def test_several_values_of_one_header() -> None:
    assert candidates({"deny": [rule(("header", "x-team", ["red"]))]}, headers={"x-team": "blue, red"}) == 403

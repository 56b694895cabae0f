"""The phases of both plugins, driven as Kong drives them: what is asked of Kong, how often, what is filed."""

from __future__ import annotations

import io
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import pytest

from kong_ai_proxy import log
from kong_ai_proxy.devgateway.rpc import RpcClient
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.plugin import Context
from kong_ai_proxy.server.address import RelayAddress
from kong_ai_proxy.server.rpc import RpcServer
from kong_ai_proxy.server.serve import plugins

RELAY = {"protocol": "http", "host": "127.0.0.1", "port": 8125}
ANNOUNCED = {"v": 2, "captures": {}, "service": RELAY}
CHAT = {
    "route_type": "llm/v1/chat",
    "auth": {"header_name": "Authorization", "header_value": "Bearer k"},
    "model": {"provider": "openai", "name": "gpt-4o"},
}
ASK = b'{"messages":[{"role":"user","content":"hi"}]}'
STREAM = b'{"messages":[],"stream":true}'
RECORD = {"usage": {"total_tokens": 3}, "meta": {"provider_name": "openai"}}


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Kong:
    """One Kong with one route: runs phases, notes what it is asked."""

    client: RpcClient
    tickets: TicketStore
    clock: FakeClock
    log: io.StringIO

    def start(self, plugin: str = "kong-ai-proxy", **config: Any) -> int:
        body = {"__plugin_id": "p1", "__seq__": 1, "route_id": "r1", **config}
        return int(self.client.start_instance(plugin, body)["Id"])

    def run(self, instance: int, phase: str, **values: Any) -> list[tuple[str, list[Any]]]:
        """Run a phase; the values are Kong's answers by the last word of the method."""
        calls: list[tuple[str, list[Any]]] = []

        def pdk(method: str, args: list[Any]) -> Any:
            calls.append((method, args))
            return values.get({"get": "announced"}.get(word := method.rsplit(".", 1)[1], word))

        before = self.client.counters.round_trips
        self.client.handle_event(instance, phase, pdk)
        assert self.client.counters.round_trips - before == len(calls) + 1
        return calls

    def token(self, calls: list[tuple[str, list[Any]]]) -> str:
        [token] = [a[0]["x-kong-ai-ticket"] for m, a in calls if m == "kong.service.request.set_headers"]
        assert isinstance(token, str)
        return token

    def ticket(self, calls: list[tuple[str, list[Any]]]) -> Ticket:
        ticket = self.tickets.redeem(self.token(calls))
        assert ticket is not None
        return ticket


@pytest.fixture
def kong(tmp_path: Path) -> Iterator[Kong]:
    stream = io.StringIO()
    log.configure("debug", stream)
    clock = FakeClock()
    tickets = TicketStore(clock=clock)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s.sock"))
    server = RpcServer(plugins(Context(tickets, RelayAddress(("127.0.0.1", 8125)), clock)))
    server.listen(listener)
    client = RpcClient(str(tmp_path / "s.sock"), rotate=True)
    client.grow(3)
    with gevent.Timeout(20, AssertionError("the test hangs")):
        try:
            yield Kong(client, tickets, clock, stream)
        finally:
            client.close()
            server.close()
            log.configure("info", None)


def methods(calls: list[tuple[str, list[Any]]]) -> list[str]:
    return [method.removeprefix("kong.") for method, _ in calls]


FORM = b'--B\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--B--\r\n'


@pytest.mark.parametrize(
    ("route_type", "length", "read", "buffered"),
    [
        ("audio/v1/audio/transcriptions", str(len(FORM)), True, False),
        ("audio/v1/audio/transcriptions", "65536", True, False),
        ("audio/v1/audio/transcriptions", "65537", False, True),
        ("audio/v1/audio/transcriptions", "9" * 40, False, True),
        ("audio/v1/audio/transcriptions", None, False, True),
        ("audio/v1/audio/transcriptions", "-1", False, True),
        ("image/v1/images/edits", "3000000", False, True),
        ("audio/v1/audio/translations", "100", False, True),
        ("llm/v1/chat", "3000000", True, False),
    ],
)
def test_no_large_form_goes_over_the_rpc(
    kong: Kong, route_type: str, length: str | None, read: bool, buffered: bool
) -> None:
    instance = kong.start(**{**CHAT, "route_type": route_type})
    body = STREAM if "chat" in route_type else FORM
    access = kong.run(instance, "access", get_raw_body=body, get_header=length, get_service=RELAY)
    assert ("request.get_raw_body" in methods(access)) is read
    assert kong.ticket(access).buffered is buffered


TOKEN = "0123456789abcdef0123456789abcdef"


def test_with_the_filter_a_chat_takes_three_round_trips(kong):
    instance = kong.start(**CHAT)
    before = kong.client.counters.round_trips
    access = kong.run(instance, "access", announced={**ANNOUNCED, "ticket": TOKEN, "taken": True})
    assert methods(access) == ["ctx.shared.get"]
    ticket = kong.tickets.redeem(TOKEN)
    assert kong.run(instance, "log", get_header="the relay redeemed it") == []
    assert kong.client.counters.round_trips - before == 3
    assert ticket is not None
    assert ticket.filter_installed
    assert not ticket.buffered
    assert ticket.instance.plugin_id == "p1"


@pytest.mark.parametrize("given", [{"ticket": TOKEN}, {}, {"ticket": "short", "taken": True}, {"ticket": 7}])
def test_a_filter_that_cannot_take_the_request_leaves_that_to_the_plugin(kong, given):
    instance = kong.start(**CHAT)
    access = kong.run(instance, "access", announced={**ANNOUNCED, **given})
    assert methods(access) == ["ctx.shared.get", "service.request.set_headers", "nginx.set_ctx"]
    assert access[2][1] == ["buffered_proxying", False]
    token = kong.token(access)
    assert (token == TOKEN) is (given == {"ticket": TOKEN})
    assert kong.tickets.redeem(token) is not None


def test_a_request_that_was_taken_is_buffered_again_where_payloads_are_logged(kong):
    instance = kong.start(**CHAT, logging={"log_payloads": True})
    announced = {**ANNOUNCED, "ticket": TOKEN, "taken": True}
    access = kong.run(instance, "access", announced=announced, get_raw_body=ASK)
    assert access[-1] == ("kong.nginx.set_ctx", ["buffered_proxying", True])
    assert "service.request.set_headers" not in methods(access)
    ticket = kong.tickets.redeem(TOKEN)
    assert ticket is not None and ticket.buffered


def test_a_filter_of_another_version_counts_as_none(kong):
    instance = kong.start(**CHAT)
    old = {"v": 1, "length": "10", "captures": {}, "service": RELAY}
    access = kong.run(instance, "access", announced=old, get_raw_body=ASK, get_service=RELAY)
    ticket = kong.ticket(access)
    assert ticket.buffered
    assert not ticket.filter_installed
    assert "usage_filter_outdated" in kong.log.getvalue()


def test_without_the_filter_a_chat_takes_eight_round_trips(kong):
    instance = kong.start(**CHAT)
    kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY)  # asks for the service once
    kong.tickets.expire()
    before = kong.client.counters.round_trips
    access = kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY)
    token = kong.token(access)
    ticket = kong.tickets.redeem(token)
    kong.tickets.settle(token, RECORD)
    response = kong.run(instance, "response", get_header=token)
    after = kong.run(instance, "log")
    assert methods(access) == ["ctx.shared.get", "request.get_raw_body", "service.request.set_headers"]
    assert access[1][1] == [0], "with another size Kong's codec breaks on a body in a file"
    assert ticket is not None
    assert ticket.buffered
    assert not ticket.filter_installed
    assert response == [
        ("kong.request.get_header", ["x-kong-ai-ticket"]),
        ("kong.log.set_serialize_value", ["ai.proxy", RECORD]),
    ]
    assert after == []
    assert kong.client.counters.round_trips - before == 8
    assert kong.tickets.collect(token) is None


def test_without_the_filter_a_stream_is_not_buffered(kong):
    instance = kong.start(**CHAT)
    access = kong.run(instance, "access", get_raw_body=STREAM, get_service=RELAY)
    assert ("kong.nginx.set_ctx", ["buffered_proxying", False]) in access
    assert not kong.ticket(access).buffered


@pytest.mark.parametrize(
    ("config", "looks", "buffered"),
    [
        ({"response_streaming": "always"}, False, False),
        ({"response_streaming": "deny"}, False, True),
        ({"route_type": "llm/v1/files"}, False, False),
        ({"route_type": "audio/v1/audio/speech"}, False, False),
        ({}, True, False),
    ],
)
def test_the_body_is_read_only_where_it_decides(kong, config, looks, buffered):
    instance = kong.start(**{**CHAT, **config})
    access = kong.run(instance, "access", get_raw_body=STREAM, get_service=RELAY)
    assert ("request.get_raw_body" in methods(access)) == looks
    assert kong.ticket(access).buffered == buffered


@pytest.mark.parametrize(
    ("provider", "llm_format", "path", "body_read", "buffered"),
    [
        ("gemini", "gemini", "/v1beta/models/gemini-2.5-pro:streamGenerateContent", False, False),
        ("gemini", "gemini", "/v1beta/models/gemini-2.5-pro:generateContent", False, True),
        ("bedrock", "bedrock", "/model/x/converse-stream", False, False),
        ("bedrock", "bedrock", "/model/x/invoke-with-response-stream", False, False),
        ("bedrock", "bedrock", "/model/x/converse", False, True),
        ("huggingface", "huggingface", "/generate_stream", False, False),
        ("huggingface", "huggingface", "/generate", True, True),
    ],
)
def test_native_formats_ask_for_a_stream_by_the_path(kong, provider, llm_format, path, body_read, buffered):
    config = {**CHAT, "llm_format": llm_format, "model": {"provider": provider, "name": "m", "options": {}}}
    config["auth"] = {}
    if provider == "bedrock":
        config["auth"] = {"aws_access_key_id": "a", "aws_secret_access_key": "s"}
    instance = kong.start(**config)
    access = kong.run(instance, "access", get_path=path, get_raw_body=ASK, get_service=RELAY)
    assert ("request.get_raw_body" in methods(access)) == body_read
    assert kong.ticket(access).buffered == buffered


def test_payloads_go_through_the_response_phase_even_with_the_filter(kong):
    instance = kong.start(**CHAT, logging={"log_payloads": True})
    access = kong.run(instance, "access", announced=ANNOUNCED, get_raw_body=ASK)
    ticket = kong.ticket(access)
    assert ticket.buffered
    assert ticket.filter_installed
    access = kong.run(instance, "access", announced=ANNOUNCED, get_raw_body=STREAM)
    assert not kong.ticket(access).buffered


def test_a_clients_own_ticket_header_is_replaced(kong):
    instance = kong.start(**CHAT)
    tokens = {kong.token(kong.run(instance, "access", announced=ANNOUNCED)) for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) >= 32 for token in tokens)


@pytest.mark.parametrize(
    ("service", "calls"),
    [
        (RELAY, []),
        ({**RELAY, "host": "localhost"}, []),
        ({"protocol": "ws", "host": "127.0.0.1", "port": 8125}, []),
        ({"protocol": "http", "host": "api.test", "port": 80}, [("set_target", ["127.0.0.1", 8125])]),
        ({"protocol": "http", "host": "127.0.0.1", "port": 80}, [("set_target", ["127.0.0.1", 8125])]),
        (
            {"protocol": "https", "host": "127.0.0.1", "port": 8125},
            [("set_target", ["127.0.0.1", 8125]), ("request.set_scheme", ["http"])],
        ),
        (None, []),
    ],
)
@pytest.mark.parametrize("with_filter", [True, False])
def test_the_request_is_led_to_the_relay(kong, service, calls, with_filter):
    instance = kong.start(**CHAT)
    if with_filter:
        access = kong.run(instance, "access", announced={**ANNOUNCED, "service": service})
    else:
        access = kong.run(instance, "access", get_raw_body=ASK, get_service=service)
    made = [(m.removeprefix("kong.service."), a) for m, a in access if "set_target" in m or "scheme" in m]
    assert made == calls


def test_the_service_is_asked_for_again_after_a_while(kong):
    instance = kong.start(**CHAT)
    asked = []
    for wait in (0, 1, 3, 2, 1):
        kong.clock.now += wait
        access = kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY)
        asked.append("router.get_service" in methods(access))
    assert asked == [True, False, False, True, False]


def test_a_plugin_for_all_routes_asks_for_the_service_each_time(kong):
    body = {"__plugin_id": "p1", "__seq__": 1, **CHAT}
    instance = int(kong.client.start_instance("kong-ai-proxy", body)["Id"])
    for _ in range(2):
        access = kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY)
        assert "router.get_service" in methods(access)


PATIENT = {**RELAY, "connect_timeout": 1000, "write_timeout": 2000, "read_timeout": 60000}


@pytest.mark.parametrize("with_filter", [True, False])
@pytest.mark.parametrize(
    ("balancer", "service", "expected"),
    [
        ({"retries": 0}, PATIENT, None),
        ({"retries": 0, "read_timeout": 90000}, PATIENT, [1000, 2000, 90000]),
        ({"retries": 0, "read_timeout": 90000}, {**PATIENT, "read_timeout": 90000}, None),
        ({"retries": 4, "read_timeout": 10000, "connect_timeout": 10000}, PATIENT, None),
        ({"retries": 4, "read_timeout": 11000, "connect_timeout": 10000}, PATIENT, [1000, 2000, 61000]),
        (
            {
                "retries": 4,
                "read_timeout": 10000,
                "connect_timeout": 5000,
                "failover_criteria": ["error", "non_idempotent"],
            },
            PATIENT,
            [1000, 2000, 75000],
        ),
        ({"read_timeout": 2147483646}, {**RELAY, "read_timeout": 1}, [60000, 60000, 2147483646]),
        ({"read_timeout": 2147483646}, RELAY, None),
    ],
)
def test_kong_waits_as_long_as_the_plugin_does(kong, balancer, service, expected, with_filter):
    config = {"targets": [CHAT], "balancer": balancer}
    instance = kong.start("kong-ai-proxy-advanced", **config)
    announced = {**ANNOUNCED, "service": service} if with_filter else None
    access = kong.run(instance, "access", announced=announced, get_raw_body=ASK, get_service=service)
    assert [a for m, a in access if m == "kong.service.set_timeouts"] == ([expected] if expected else [])


def test_captures_come_from_the_filter_or_from_kong_only_where_wanted(kong):
    model = {"provider": "openai", "name": "$(uri_captures.model)"}
    instance = kong.start(**{**CHAT, "model": model})
    access = kong.run(instance, "access", announced={**ANNOUNCED, "captures": {"model": "gpt-4o", "n": 1}})
    assert "request.get_uri_captures" not in methods(access)
    assert kong.ticket(access).captures == {"model": "gpt-4o"}
    without = {"v": 2, "service": RELAY}
    access = kong.run(
        instance, "access", announced=without, get_uri_captures={"named": {"model": "o3"}, "unnamed": ["o3"]}
    )
    assert kong.ticket(access).captures == {"model": "o3"}
    access = kong.run(instance, "access", announced=without, get_uri_captures={"named": {}, "unnamed": {}})
    assert kong.ticket(access).captures == {}
    plain = kong.start(**CHAT)
    access = kong.run(plain, "access", announced=without)
    assert "request.get_uri_captures" not in methods(access)


def advanced(**more: Any) -> dict[str, Any]:
    return {"targets": [CHAT], **more}


def test_the_consumer_is_asked_for_only_where_a_rule_wants_it(kong):
    plain = kong.start("kong-ai-proxy-advanced", **advanced())
    assert kong.ticket(kong.run(plain, "access", announced=ANNOUNCED)).consumer is None
    rule = {"match": [{"type": "consumer", "key": "username", "values": ["ann"]}]}
    instance = kong.start("kong-ai-proxy-advanced", **advanced(acls={"allow": [rule]}))
    ann = {"id": "c1", "username": "ann"}
    access = kong.run(instance, "access", announced=ANNOUNCED, get_consumer=ann)
    assert kong.ticket(access).consumer == ann
    assert "client.get_consumer_groups" not in methods(access)
    access = kong.run(instance, "access", announced=ANNOUNCED)
    assert not kong.ticket(access).consumer


def test_kong_is_asked_who_it_is_where_the_client_says_so_itself(kong):
    """One round trip more for such a request; its word is worth nothing."""
    instance = kong.start(**CHAT)
    claiming = {**ANNOUNCED, "claims": True}
    access = kong.run(instance, "access", announced=claiming, get_consumer={"username": "ann"})
    assert methods(access).count("client.get_consumer") == 1
    ticket = kong.ticket(access)
    assert (ticket.unclaimed, ticket.consumer) == (False, {"username": "ann"})
    access = kong.run(instance, "access", announced=claiming)
    assert kong.ticket(access).consumer == {}
    for claims, unclaimed in (({"claims": False}, True), ({}, False)):
        access = kong.run(instance, "access", announced={**ANNOUNCED, **claims})
        assert "client.get_consumer" not in methods(access)
        assert kong.ticket(access).unclaimed is unclaimed


@pytest.mark.parametrize(
    "groups",
    [["gold", "silver"], [{"name": "gold"}, {"name": "silver"}], {"1": {"name": "gold"}, "2": "silver"}],
)
def test_consumer_groups_are_asked_for_where_a_rule_wants_them(kong, groups):
    rule = {"match": [{"type": "consumer_group", "key": "name", "values": ["gold"]}]}
    instance = kong.start("kong-ai-proxy-advanced", **advanced(acls={"deny": [rule]}))
    access = kong.run(instance, "access", announced=ANNOUNCED, get_consumer_groups=groups)
    assert kong.ticket(access).consumer_groups == ["gold", "silver"]
    access = kong.run(instance, "access", announced=ANNOUNCED)
    assert kong.ticket(access).consumer_groups == []


def test_the_path_is_asked_for_where_a_rule_wants_it(kong):
    rule = {"match": [{"type": "path", "values": ["/ai/*"]}]}
    instance = kong.start("kong-ai-proxy-advanced", **advanced(acls={"deny": [rule]}))
    access = kong.run(instance, "access", announced=ANNOUNCED, get_path="/ai/chat")
    assert kong.ticket(access).path == "/ai/chat"
    instance = kong.start("kong-ai-proxy-advanced", **advanced())
    access = kong.run(instance, "access", announced=ANNOUNCED, get_path="/ai/chat")
    assert kong.ticket(access).path is None


def test_headers_are_asked_for_where_a_rule_wants_them(kong):
    """For Kong takes away, after `access`, what the client's `Connection` header names."""
    keys = ("X-One", "x-two", "x-one")
    rules = [{"match": [{"type": "header", "key": key, "values": ["1"]}]} for key in keys]
    instance = kong.start("kong-ai-proxy-advanced", **advanced(acls={"deny": rules}))
    access = kong.run(instance, "access", announced=ANNOUNCED, get_header="1")
    assert [args for method, args in access if method == "kong.request.get_header"] == [["x-one"], ["x-two"]]
    assert kong.ticket(access).headers == {"x-one": "1", "x-two": "1"}
    assert kong.ticket(kong.run(instance, "access", announced=ANNOUNCED)).headers == {}


def test_the_missing_filter_is_said_once(kong):
    instance = kong.start(**CHAT)
    for _ in range(3):
        kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY)
    lines = [json.loads(line) for line in kong.log.getvalue().splitlines()]
    [said] = [line for line in lines if line["event"] == "usage_filter_missing"]
    assert "kong-ai-proxy usage-filter" in said["hint"]
    assert said["plugin_id"] == "p1"


def test_response_without_a_ticket_or_record_changes_nothing(kong):
    instance = kong.start(**CHAT)
    assert methods(kong.run(instance, "response")) == ["request.get_header"]
    assert methods(kong.run(instance, "response", get_header="forged")) == ["request.get_header"]


def test_long_payloads_are_cut_before_they_go_to_kong(kong):
    instance = kong.start(**CHAT, logging={"log_payloads": True})
    token = kong.token(kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY))
    record = {**RECORD, "payload": {"request": "short", "response": "é" * 1_000_000}}
    kong.tickets.settle(token, record)
    calls = kong.run(instance, "response", get_header=token)
    written = calls[-1][1][1]
    assert written["payload"] == {"request": "short", "response": "é" * 262_144 + "…[cut]"}
    assert written["usage"] == RECORD["usage"]
    assert len(record["payload"]["response"]) == 1_000_000


def test_a_failing_response_phase_keeps_the_answer(kong):
    instance = kong.start(**CHAT)
    token = kong.token(kong.run(instance, "access", get_raw_body=ASK, get_service=RELAY))
    kong.tickets.settle(token, {"usage": {"total_tokens": object()}})
    calls = kong.run(instance, "response", get_header=token)
    assert "response.exit" not in methods(calls)
    assert "record_not_written" in kong.log.getvalue()


def test_log_forgets_a_ticket_nobody_redeemed(kong):
    instance = kong.start(**CHAT)
    token = kong.token(kong.run(instance, "access", announced=ANNOUNCED))
    assert kong.run(instance, "log", get_header=token) == [], "fresh tickets are on their way"
    kong.clock.now += 2
    assert methods(kong.run(instance, "log", get_header="another")) == ["request.get_header"]
    assert len(kong.tickets) == 1
    kong.run(instance, "log", get_header=token)
    assert len(kong.tickets) == 0
    assert kong.tickets.redeem(token) is None
    assert "ticket_not_redeemed" in kong.log.getvalue()
    assert token not in kong.log.getvalue()


def test_an_access_that_fails_leaves_no_ticket(kong):
    instance = kong.start(**CHAT)
    call = kong.client.call
    step = call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    step = call("plugin.Step", {"EventId": step["EventId"], "Data": ANNOUNCED})
    assert len(kong.tickets) == 1
    step = call("plugin.StepError", {"EventId": step["EventId"], "Data": "no headers"})
    assert step["Data"]["Method"] == "kong.response.exit"
    assert step["Data"]["Args"][0] == 500
    assert len(kong.tickets) == 0


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        (b"", False),
        (None, False),
        (b'{"stream":true}', True),
        ('{"stream":true}', True),
        (b' \n{"a":1,"stream" : true}', True),
        (b'{"stream":false}', False),
        (b'{"stream":null}', False),
        (b'{"messages":[{"content":"say \\"stream\\": true"}]}', False),
        (b'{"tools":[{"stream":true}]}', False),
        (b'{"stream_options":{"include_usage":true}}', False),
        (b'{"stream_format":"sse"}', True),
        (b'{"stream_format":"audio"}', False),
        (b'{"stream":true', False),
        (b'["stream"]', False),
        (b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--b--\r\n', True),
        (b'--b\r\ncontent-disposition: form-data; name="stream"\r\nx-y: z\r\n\r\nTrue\r\n--b--\r\n', True),
        (b'--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\nfalse\r\n--b--\r\n', False),
        (b"\xff\xfe\x00", False),
    ],
)
def test_who_asks_for_a_stream(body, asks):
    from kong_ai_proxy.plugin import asks_for_stream

    assert asks_for_stream(body) is asks


def test_a_refused_credential_is_resolved_anew_by_the_next_request(kong):
    reference = "{vault://aws/key}"
    auth = {**CHAT["auth"], "$refs": {"header_value": reference}}
    instance = kong.start(**{**CHAT, "auth": auth})
    target = kong.ticket(kong.run(instance, "access", announced=ANNOUNCED)).instance.targets[0]
    ticket = kong.ticket(kong.run(instance, "access", announced=ANNOUNCED))
    ticket.instance.rotation.doubt(target)

    def vault(method, args):
        calls.append((method, args))
        return "Bearer rotated-secret" if method == "kong.vault.get" else ANNOUNCED

    calls: list[tuple[str, list[Any]]] = []
    kong.client.handle_event(instance, "access", vault)
    assert calls[0] == ("kong.vault.get", [reference])
    assert len(calls) == 4, "one round trip more than without"
    assert target.auth.header_value == "Bearer rotated-secret"
    log.get_logger("test").info("said", text="a rotated-secret")
    assert "rotated-secret" not in kong.log.getvalue()
    assert len(kong.run(instance, "access", announced=ANNOUNCED)) == 3


def test_a_vault_that_fails_does_not_stop_the_request(kong):
    auth = {"header_name": "a", "header_value": "old-value", "$refs": {"header_value": "{vault://aws/key}"}}
    instance = kong.start(**{**CHAT, "auth": auth})
    target = kong.ticket(kong.run(instance, "access", announced=ANNOUNCED)).instance.targets[0]
    ticket = kong.ticket(kong.run(instance, "access", announced=ANNOUNCED))
    ticket.instance.rotation.doubt(target)

    step = kong.client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    assert step["Data"]["Method"] == "kong.vault.get"
    failure = {"EventId": step["EventId"], "Data": "could not get value from external vault"}
    step = kong.client.call("plugin.StepError", failure)
    assert step["Data"]["Method"] == "kong.ctx.shared.get", "it goes on"
    assert target.auth.header_value == "old-value"


@pytest.mark.parametrize(
    ("provider", "llm_format", "place"),
    [("openai", "openai", "code"), ("anthropic", "anthropic", "type"), ("gemini", "gemini", "status")],
)
def test_a_failing_phase_answers_in_the_clients_format(kong, monkeypatch, provider, llm_format, place):
    model = {"provider": provider, "name": "m"}
    instance = kong.start(**{**CHAT, "model": model, "llm_format": llm_format})
    monkeypatch.setattr(kong.tickets, "file", None)
    step = kong.client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    while step["Data"] != "ret" and step["Data"]["Method"] != "kong.response.exit":
        step = kong.client.call("plugin.Step", {"EventId": step["EventId"], "Data": ANNOUNCED})
    status, body, headers = step["Data"]["Args"]
    assert (status, headers) == (500, {"content-type": "application/json"})
    assert json.loads(body)["error"][place]
    assert "Its log has the details" in json.loads(body)["error"]["message"]

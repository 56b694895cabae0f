"""Where the relay is, as Kong sees it."""

from __future__ import annotations

from typing import Any

import pytest

from kong_ai_proxy.server import address
from kong_ai_proxy.server.address import RelayAddress, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8125", ("127.0.0.1", 8125)),
        ("relay:0", ("relay", 0)),
        ("[::1]:80", ("::1", 80)),
        (":8125", ("", 8125)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", "host:x", "host:99999", "host:-1", "[::1]", "h:²"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match=r"HOST:PORT|not a port"):
        parse_address(text)


@pytest.mark.parametrize(("text", "host"), [("relay", "relay"), ("[::1]", "::1"), ("10.0.0.1", "10.0.0.1")])
def test_a_default_port(text, host):
    assert parse_address(text, default_port=7) == (host, 7)


def service(host: object, port: object = 8125, protocol: object = "http") -> dict[str, Any]:
    return {"host": host, "port": port, "protocol": protocol}


def names(monkeypatch: pytest.MonkeyPatch, known: dict[str, list[str]], own: set[str]) -> list[str]:
    looked_up: list[str] = []

    def resolve(host: str) -> list[str]:
        looked_up.append(host)
        return known.get(host, [host] if host[0].isdigit() else [])

    monkeypatch.setattr(address, "_resolve", resolve)
    monkeypatch.setattr(address, "_is_own", lambda ip: ip in own)
    monkeypatch.setattr(address, "own_address", lambda: "172.18.0.5")
    return looked_up


def test_a_relay_on_loopback(monkeypatch):
    names(monkeypatch, {"elsewhere": ["10.1.1.1"]}, {"127.0.0.1", "172.18.0.5"})
    relay = RelayAddress(("127.0.0.1", 8125))
    assert (relay.host, relay.port) == ("127.0.0.1", 8125)
    assert relay.leads_here(service("127.0.0.1"))
    assert relay.leads_here(service("localhost"))
    assert relay.leads_here(service("localhost", protocol="ws"))
    for other in (
        service("localhost", 80), service("localhost", protocol="https"), service("elsewhere"),
        service("172.18.0.5"), service("unknown"), service(None), service("localhost", "8125"),
        {}, None, [], "x",
    ):  # fmt: skip
        assert not relay.leads_here(other), other


def test_a_relay_on_all_addresses_of_a_container(monkeypatch):
    looked_up = names(
        monkeypatch, {"kong-ai-proxy": ["172.18.0.5"], "kong": ["172.18.0.4"]}, {"172.18.0.5", "127.0.0.1"}
    )
    now = [0.0]
    relay = RelayAddress(("0.0.0.0", 8125), clock=lambda: now[0])
    assert (relay.host, relay.port) == ("172.18.0.5", 8125)
    for _ in range(3):
        assert relay.leads_here(service("kong-ai-proxy"))
    assert looked_up == ["kong-ai-proxy"]
    now[0] += 61
    assert relay.leads_here(service("kong-ai-proxy"))
    assert looked_up == ["kong-ai-proxy"] * 2
    assert not relay.leads_here(service("kong"))
    assert not relay.leads_here(service("127.0.0.1")), "loopback is Kong's own"


def test_an_advertised_address(monkeypatch):
    names(monkeypatch, {"relay": ["10.0.0.9"]}, set())
    relay = RelayAddress(("0.0.0.0", 8125), ("relay", 9000))
    assert relay.leads_here(service("relay", 9000))
    assert not relay.leads_here(service("localhost", 8125))
    assert relay.target("a.service.name") == "relay"
    assert relay.target("10.0.0.1") == "10.0.0.9", "Kong resolves no name beside a service with an address"
    assert RelayAddress(("127.0.0.1", 1)).target("10.0.0.1") == "127.0.0.1"


def test_resolving_is_bounded_and_local():
    assert address._resolve("127.0.0.1") == ["127.0.0.1"]
    assert "127.0.0.1" in address._resolve("localhost")
    assert address._resolve("no-such-name.invalid") == []
    assert address._resolve("a" * 300) == []
    assert address._is_own("127.0.0.1")
    assert not address._is_own("192.0.2.7")
    assert address.own_address()

"""Hosts that an answer named: only addresses of the public internet are connected to."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from relay_support import Peer, every, provider_of
from upstream_support import SLOW

from kong_ai_proxy.core.http import UpstreamRequest, Url
from kong_ai_proxy.relay.networks import VARIABLE, allowed_networks, is_public
from kong_ai_proxy.relay.resolver import Resolver
from kong_ai_proxy.relay.upstream import UpstreamClient, UpstreamFailure
from kong_ai_proxy.server.serve import Options, serve

INSIDE = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "2001:db8::1", "2001:0:4136::1", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "3fff::1", "4000::1",
]  # fmt: skip
OUTSIDE = [
    "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111",
    "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::808:808",
]  # fmt: skip
NO_ADDRESSES = [
    "", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "::g", "[::1]", "١٢٧.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE + NO_ADDRESSES)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_public(address: str) -> None:
    assert is_public(address)


def test_networks_the_operator_allows_besides() -> None:
    allowed = allowed_networks({VARIABLE: " 10.1.0.0/16, fd00::/8,"})
    assert allowed == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7", "8.8.8.8"):
        assert is_public(address, allowed)
    for address in ("10.2.0.1", "::ffff:10.2.0.1", "127.0.0.1", "fe80::1"):
        assert not is_public(address, allowed)
    assert allowed_networks({}) == ()


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everything", "10.0.0.0/33"])
def test_what_is_no_network_is_refused_at_the_start(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=VARIABLE):
        UpstreamClient()
    assert serve(Options("/nowhere", ("127.0.0.1", 0))) == 1


class Names:
    """A name server of the attacker's: another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int, *_: object) -> list[Any]:
        found = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(10 if ":" in each else 2, 1, 6, "", (each, port)) for each in found]


def fetch(client: UpstreamClient, port: int, host: str = "files.example", *, public: bool = True) -> bytes:
    request = UpstreamRequest("GET", Url("http", host, port, "/f"), {}, public_only=public)
    return client.send(request, SLOW).read_all(100)


def hello(peer: Peer, head: bytes, body: bytes) -> None:
    peer.answer(b"hello")


@pytest.mark.parametrize("inside", ["127.0.0.1", "0.0.0.0", "::1", "::ffff:127.0.0.1"])
def test_a_name_that_leads_inside_is_not_connected_to(inside: str) -> None:
    with provider_of(every(hello)) as provider:
        client = UpstreamClient(resolver=Resolver(lookup=Names([inside])))
        with pytest.raises(UpstreamFailure, match="no public address") as failure:
            fetch(client, provider.port)
        assert failure.value.kind == "error" and inside not in str(failure.value)
        with pytest.raises(UpstreamFailure, match="no public address"):
            fetch(client, provider.port, inside)  # no name at all
        assert provider.connections == 0


def test_decimal_and_short_forms_are_judged_by_what_they_resolve_to() -> None:
    with provider_of(every(hello)) as provider:
        for form in ("2130706433", "127.1", "0x7f.1", "localhost"):
            with pytest.raises(UpstreamFailure, match=r"no public address|not be resolved"):
                fetch(UpstreamClient(), provider.port, form)
        assert provider.connections == 0


def test_the_address_that_was_judged_is_the_one_connected_to() -> None:
    """Public at first, this machine's a moment later: nothing is looked up between the two steps; and of
    several addresses the others are left out."""
    with provider_of(every(hello)) as provider:
        names = Names(["192.0.2.1", "127.0.0.1"], ["127.0.0.1"])
        client = UpstreamClient(resolver=Resolver(ttl=0, lookup=names))
        for _ in range(2):
            with pytest.raises(UpstreamFailure, match="no public address"):
                fetch(client, provider.port)
        assert names.asked == 2 and provider.connections == 0


def test_a_kept_connection_of_the_same_name_is_not_taken() -> None:
    with provider_of(every(hello)) as provider:
        client = UpstreamClient(resolver=Resolver(lookup=Names(["127.0.0.1"])))
        assert fetch(client, provider.port, public=False) == b"hello"
        assert client.idle_connections == 1
        with pytest.raises(UpstreamFailure, match="no public address"):
            fetch(client, provider.port)
        assert len(provider.requests) == 1
        client.close()


def test_allowed_networks_are_reached_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "127.0.0.0/8")
    with provider_of(every(hello)) as provider:
        client = UpstreamClient(resolver=Resolver(lookup=Names(["10.0.0.1", "127.0.0.1"])))
        for _ in range(2):
            assert fetch(client, provider.port) == b"hello"
        assert provider.connections == 1
        client.close()

"""Towards providers: TLS, and from names to addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gevent
import pytest
from relay_support import Peer, certificate, every, provider_of
from upstream_support import QUICK, SLOW, counting, say, send

from kong_ai_proxy.core.http import UpstreamRequest, Url
from kong_ai_proxy.relay.resolver import ResolveError, Resolver
from kong_ai_proxy.relay.upstream import UpstreamClient, UpstreamFailure

# TLS.


def test_tls_with_a_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path, "localhost", "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    client = UpstreamClient()
    big = b"x" * 3_000_000

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(big)

    with provider_of(every(script), tls=context) as provider:
        for host in ("localhost", "127.0.0.1", "localhost"):
            assert send(provider.port, scheme="https", host=host, client=client).read_all(4_000_000) == big
        assert provider.connections == 2  # by host, kept alive
        request = UpstreamRequest("POST", Url("https", "localhost", provider.port, "/"), {}, big)
        client.send(request, SLOW).read_all(4_000_000)
        assert provider.requests[-1][1] == big
        assert provider.connections == 2
    client.close()


def test_tls_in_a_process_that_gevent_patched(tmp_path: Path) -> None:
    """As the plugin server is: there `ssl` and `socket` are gevent's own."""
    certificate(tmp_path, "localhost", None)
    script = """
from gevent import monkey; monkey.patch_all()
import pathlib, sys
from relay_support import every, provider_of, server_context
from kong_ai_proxy.core.http import UpstreamRequest, Url
from kong_ai_proxy.exchange.exchange import Timeouts
from kong_ai_proxy.relay.upstream import UpstreamClient
body = b"x" * 1_000_000
tls = server_context(pathlib.Path(sys.argv[1]))
with provider_of(every(lambda peer, head, sent: peer.answer(sent)), tls=tls) as at:
    for _ in range(2):
        request = UpstreamRequest("POST", Url("https", "localhost", at.port, "/"), {}, body)
        client = UpstreamClient()
        assert client.send(request, Timeouts(5, 5, 5)).read_all(2_000_000) == body
        client.close()
print("same")
"""
    tests = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "PYTHONPATH": str(tests)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "same\n", done.stderr


def test_tls_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    context = certificate(tmp_path, "localhost", None)
    with provider_of(counting, tls=context) as provider:
        with pytest.raises(UpstreamFailure, match="certificate is not valid: self") as failure:
            send(provider.port, scheme="https", host="localhost")
        assert failure.value.kind == "error"


def test_tls_certificate_for_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificate(tmp_path, "elsewhere.example", None)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with provider_of(counting, tls=context) as provider:
        for host in ("localhost", "127.0.0.1"):
            with pytest.raises(UpstreamFailure, match="certificate is not valid") as failure:
                send(provider.port, scheme="https", host=host)
            assert host not in str(failure.value), "clients read it, and it may be an internal name"


def test_tls_with_a_server_that_has_none() -> None:
    with (
        provider_of(lambda peer: peer.send(b"HTTP/1.1 400 Bad\r\n\r\n")) as provider,
        pytest.raises(UpstreamFailure, match="TLS with the provider failed"),
    ):
        send(provider.port, scheme="https", host="localhost")


def test_tls_with_a_server_that_says_nothing() -> None:
    with provider_of(lambda peer: peer.wait_closed()) as provider:
        with gevent.Timeout(3), pytest.raises(UpstreamFailure) as failure:
            send(provider.port, QUICK, scheme="https", host="127.0.0.1")
        assert failure.value.kind == "timeout"
        assert provider.closed.wait(1)


def test_tls_connection_cut_without_goodbye(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bodies that last until the connection ends must not be cut short by somebody in the middle."""
    context = certificate(tmp_path, "localhost", None)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with (
        provider_of(say(b"HTTP/1.1 200 OK\r\n\r\nhello"), tls=context) as provider,
        pytest.raises(UpstreamFailure, match="broke off"),
    ):
        send(provider.port, scheme="https", host="localhost").read_all(100)


# Names.


def test_unknown_host() -> None:
    def lookup(*_: object) -> list[Any]:
        raise OSError("no such name")

    with pytest.raises(UpstreamFailure, match="could not be resolved") as failure:
        send(1, client=UpstreamClient(resolver=Resolver(lookup=lookup)), host="nowhere.example")
    assert failure.value.kind == "error"


def test_resolver_asks_once_for_many_and_again_later() -> None:
    now = [0.0]
    asked: list[str] = []
    fail = [False]

    def lookup(host: str, port: int, *_: object) -> list[Any]:
        asked.append(host)
        gevent.sleep(0.01)
        if fail[0]:
            raise OSError("server failure")
        return [(2, 1, 6, "", (f"192.0.2.{len(asked)}", port))]

    resolver = Resolver(ttl=5, stale=60, lookup=lookup, clock=lambda: now[0])
    waiting = [gevent.spawn(resolver.resolve, "a.example", 443, 1.0) for _ in range(5)]
    gevent.joinall(waiting, raise_error=True)
    assert [each.value for each in waiting] == [[(2, ("192.0.2.1", 443))]] * 5
    assert asked == ["a.example"]
    now[0] = 6.0
    assert resolver.resolve("a.example", 443, 1.0) == [(2, ("192.0.2.2", 443))]
    fail[0] = True
    now[0] = 20.0
    assert resolver.resolve("a.example", 443, 1.0) == [(2, ("192.0.2.2", 443))]  # rather old than none
    now[0] = 100.0
    with pytest.raises(ResolveError):
        resolver.resolve("a.example", 443, 1.0)
    with pytest.raises(gevent.Timeout):
        resolver.resolve("b.example", 443, 0.001)
    gevent.sleep(0.02)
    assert resolver.resolve("::1", 80, 1.0) == [(10, ("::1", 80, 0, 0))]


def test_next_address_where_the_first_refuses() -> None:
    with provider_of(counting) as provider:

        def lookup(host: str, port: int, *_: object) -> list[Any]:
            return [(2, 1, 6, "", ("127.0.0.2", 1)), (2, 1, 6, "", ("127.0.0.1", port))]

        client = UpstreamClient(resolver=Resolver(lookup=lookup))
        assert send(provider.port, host="a.example", client=client).read_all(1) == b"1"
    client.close()

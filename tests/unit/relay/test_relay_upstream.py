"""The client towards providers: connections, framing, and everything that can go wrong on the way."""

from __future__ import annotations

import gzip
import random
import socket
import ssl
import struct
import sys
import time
import zlib
from pathlib import Path

import gevent
import pytest
from relay_support import Peer, certificate, eventually, every, provider_of, relay_world
from upstream_support import QUICK, SLOW, counting, say, send

from kong_ai_proxy.core.http import UpstreamRequest, Url
from kong_ai_proxy.core.json import loads
from kong_ai_proxy.exchange.exchange import Timeouts
from kong_ai_proxy.relay.connection import Connection, TlsConnection
from kong_ai_proxy.relay.downstream import Limits
from kong_ai_proxy.relay.upstream import PoolLimits, UpstreamClient, UpstreamFailure

# Framing.


def test_interim_answers_are_skipped() -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"
    data += b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    with provider_of(say(data)) as provider:
        answer = send(provider.port)
        assert (answer.status, answer.headers, answer.read_all(10)) == (200, {"content-length": "2"}, b"ok")


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nt: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nserver: old\r\n\r\nhello",
        b"HTTP/1.1 200\r\ncontent-length: 5\r\n\r\nhello",
    ],
    ids=["length", "chunked", "until-close", "1.0", "no-reason"],
)
def test_bodies_in_pieces(data: bytes, step: int) -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for start in range(0, len(data), step):
            peer.send(data[start : start + step])
            gevent.sleep(0)

    with provider_of(script) as provider:
        answer = send(provider.port)
        assert answer.read_all(10) == b"hello"
        assert answer.read() == b""


def test_empty_answers() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        status = "204 No Content\r\n" if b"DELETE" in head else "200 OK\r\ncontent-length: 0\r\n"
        peer.send(f"HTTP/1.1 {status}\r\n".encode())

    client = UpstreamClient()
    with provider_of(every(script)) as provider:
        for method in ("POST", "DELETE", "POST"):
            assert send(provider.port, client=client, method=method).read_all(1) == b""
        assert provider.connections == 1
    client.close()


@pytest.mark.parametrize("framing", [b"1;", b"2\r\n{}\r\n0\r\na: "])
def test_an_answer_of_nothing_but_framing(framing: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framing
    with provider_of(say(head + b"x" * 1_000_000, close=False)) as provider:
        with pytest.raises(UpstreamFailure, match="framing"):
            send(provider.port).read_all(10)
        assert provider.closed.wait(1)


def test_headers_of_one_name_are_joined() -> None:
    with provider_of(say(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 0\r\n\r\n")) as provider:
        assert send(provider.port).headers["x-a"] == "1, 2"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ],
    ids=["ssh", "no-colon", "length", "lengths", "both", "te", "br", "endless", "interim", "101"],
)
def test_invalid_heads(data: bytes) -> None:
    with provider_of(say(data, close=False)) as provider:
        with pytest.raises(UpstreamFailure) as failure:
            send(provider.port)
        assert failure.value.kind == "invalid_header"
        assert provider.closed.wait(1)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "error"),
        (b"HTTP/1.1 200 OK\r\ncontent-len", "error"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell", "error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", "error"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX", "error"),
    ],
)
def test_broken_off(data: bytes, kind: str) -> None:
    with provider_of(say(data)) as provider, pytest.raises(UpstreamFailure) as failure:
        send(provider.port).read_all(10)
    assert failure.value.kind == kind


def test_answer_longer_than_the_limit() -> None:
    with provider_of(say(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 1000, close=False)) as provider:
        with pytest.raises(UpstreamFailure, match="longer than 999 bytes"):
            send(provider.port).read_all(999)
        assert provider.closed.wait(1)


# Time.


@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 200 OK\r\nx", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell"]
)
def test_read_timeout(data: bytes) -> None:
    with provider_of(say(data, close=False)) as provider:
        with gevent.Timeout(3), pytest.raises(UpstreamFailure) as failure:
            send(provider.port, QUICK).read_all(10)
        assert failure.value.kind == "timeout"
        assert provider.closed.wait(1)


def test_head_that_drips_in() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        for letter in b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100:
            peer.send(bytes([letter]))
            gevent.sleep(0.02)

    with provider_of(script) as provider, gevent.Timeout(3), pytest.raises(UpstreamFailure) as failure:
        send(provider.port, QUICK)
    assert failure.value.kind == "timeout"


def test_read_timeout_is_between_two_reads() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n")
        for letter in b"abcdef":
            gevent.sleep(0.12)
            peer.send(bytes([letter]))

    with provider_of(script) as provider:
        assert send(provider.port, Timeouts(0.6, 0.6, 0.6)).read_all(10) == b"abcdef"


def test_nobody_listens() -> None:
    with provider_of(say(b"")) as provider:
        port = provider.port
    with pytest.raises(UpstreamFailure, match="ECONNREFUSED") as failure:
        send(port)
    assert failure.value.kind == "error"


def test_connect_timeout() -> None:
    full = gevent.socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = []
    for _ in range(3):
        sock = gevent.socket.socket()
        sock.setblocking(False)
        sock.connect_ex(full.getsockname())
        fillers.append(sock)
    with gevent.Timeout(3), pytest.raises(UpstreamFailure) as failure:
        send(full.getsockname()[1], QUICK)
    assert failure.value.kind == "timeout"
    for sock in [*fillers, full]:
        sock.close()


# Kept-alive connections.


def test_connections_are_reused_and_the_address_is_told() -> None:
    client = UpstreamClient()
    told: list[str] = []
    with provider_of(counting) as provider:
        for expected in (b"1", b"2", b"3"):
            answer = send(provider.port, client=client, connected=lambda ip, seconds: told.append(ip))
            assert answer.read_all(10) == expected
        assert provider.connections == 1
        assert told == ["127.0.0.1"] * 3
        assert client.idle_connections == 1
    client.close()


def test_unread_and_closed_answers_are_not_reused() -> None:
    client = UpstreamClient()
    with provider_of(counting) as provider:
        send(provider.port, client=client).close()
        assert client.idle_connections == 0
        answer = send(provider.port, client=client)
        answer.discard()  # it had arrived whole
        assert client.idle_connections == 1
        assert answer.read() == b""
    client.close()


def test_pool_limit_age_and_idle_time() -> None:
    client = UpstreamClient(limits=PoolLimits(idle_per_host=2, idle_seconds=0.05))
    with provider_of(counting) as provider:
        answers = [send(provider.port, client=client) for _ in range(4)]
        for answer in answers:
            answer.read_all(1)
        assert client.idle_connections == 2
        gevent.sleep(0.06)
        send(provider.port, client=client).read_all(1)
        assert provider.connections == 5
        client.close()
        client = UpstreamClient(limits=PoolLimits(age_seconds=0.05))
        send(provider.port, client=client).read_all(1)
        gevent.sleep(0.06)
        send(provider.port, client=client).read_all(1)
        assert provider.connections == 7
    client.close()


def test_connection_that_the_provider_closed_while_idle() -> None:
    def script(peer: Peer) -> None:
        peer.request()
        peer.answer(b"1")

    client = UpstreamClient()
    with provider_of(script) as provider:
        for _ in range(3):
            assert send(provider.port, client=client).read_all(1) == b"1"
            gevent.sleep(0.01)
        assert provider.connections == 3
    client.close()


@pytest.mark.parametrize("reset_it", [False, True])
@pytest.mark.parametrize(
    ("method", "repeatable", "sent"),
    [("POST", False, 2), ("POST", True, 3), ("GET", False, 3), ("DELETE", False, 3), ("PATCH", False, 2)],
)
def test_what_may_have_been_acted_on_is_repeated_by_permission_only(
    method: str, repeatable: bool, sent: int, reset_it: bool
) -> None:
    """The provider reads the second request on its kept-alive connection and closes without a byte: nobody
    can tell what it did. RFC 9110, 9.2.2: a proxy must not repeat what is not idempotent; nginx does it with
    non_idempotent only, Go's client not at all."""
    seen: list[bytes] = []

    def script(peer: Peer) -> None:
        got = peer.request()
        assert got
        seen.append(got[1])
        peer.answer(b"1")
        got = peer.request()
        if got:
            seen.append(got[1])
            if reset_it:
                linger = struct.pack("ii", 1, 0)
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    client = UpstreamClient()
    with provider_of(script) as provider:
        assert send(provider.port, client=client).read_all(1) == b"1"
        if sent == 3:
            answer = send(provider.port, client=client, method=method, repeatable=repeatable)
            assert answer.read_all(1) == b"1"
        else:
            with pytest.raises(UpstreamFailure) as failure:
                send(provider.port, client=client, method=method, repeatable=repeatable)
            assert failure.value.kind == "error"
        assert (len(seen), provider.connections) == (sent, sent - 1)
    client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel what was acknowledged")
@pytest.mark.parametrize("tls", [False, True])
def test_what_never_arrived_is_repeated(tls: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider has closed its idle connection when the request sets out: no byte of it was received."""
    kept: list[Peer] = []

    def script(peer: Peer) -> None:
        while peer.request():
            kept.append(peer)
            peer.answer(b"1")

    context = certificate(tmp_path, None, "127.0.0.1") if tls else None
    trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem")) if tls else None
    client = UpstreamClient(tls=trusted)
    scheme = "https" if tls else "http"
    with provider_of(script, context) as provider:
        assert send(provider.port, client=client, scheme=scheme).read_all(1) == b"1"
        # The close crosses the request on its way: it has come, but nobody has looked yet.
        monkeypatch.setattr(Connection, "idle_and_open", lambda self: True)
        monkeypatch.setattr(TlsConnection, "idle_and_open", lambda self: True)
        kept[0].sock.close()
        gevent.sleep(0.01)
        assert send(provider.port, client=client, scheme=scheme).read_all(1) == b"1"
        assert provider.connections == 2
        assert len(kept) == 2, "the first connection had one request only"
    client.close()


def test_announced_end_of_an_idle_connection_is_kept_clear_of() -> None:
    """Node's servers say `Keep-Alive: timeout=5`: a request at its end would cross their close."""
    says = "keep-alive: timeout=2, max=100\r\ncontent-type: text/plain\r\n"

    def script(peer: Peer) -> None:
        while peer.request():
            peer.answer(b"1", headers=says)

    client = UpstreamClient()
    with provider_of(script) as provider:
        assert send(provider.port, client=client).read_all(1) == b"1"
        assert send(provider.port, client=client).read_all(1) == b"1"
        assert provider.connections == 1
        ((kept,),) = client._pool._idle.values()
        kept.idle_since -= 1.5
        assert send(provider.port, client=client).read_all(1) == b"1"
        assert provider.connections == 2
    client.close()


def test_answer_that_came_while_nobody_looked_is_no_timeout() -> None:
    """This process gets no time for longer than the time-out, and the answer comes meanwhile."""

    def late(peer: Peer) -> None:
        peer.answer(b"1")
        time.sleep(0.3)

    def script(peer: Peer) -> None:
        peer.request()
        gevent.spawn_later(0.01, late, peer)
        peer.wait_closed()

    with provider_of(script) as provider:
        assert send(provider.port, QUICK).read_all(1) == b"1"


def test_no_retry_after_the_first_byte_nor_on_a_new_connection() -> None:
    def partly(peer: Peer) -> None:
        peer.request()
        peer.answer(b"1")
        if peer.request():
            peer.send(b"H")

    client = UpstreamClient()
    with provider_of(partly) as provider:
        assert send(provider.port, client=client).read_all(1) == b"1"
        with pytest.raises(UpstreamFailure):
            send(provider.port, client=client)
        assert provider.connections == 1
    with provider_of(say(b"")) as provider:
        with pytest.raises(UpstreamFailure, match="without an answer"):
            send(provider.port, client=client)
        assert provider.connections == 1
    client.close()


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na<html>",
        b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
    ],
    ids=["close", "second-answer", "garbage-behind", "1.0"],
)
def test_connections_that_must_not_be_reused(data: bytes) -> None:
    client = UpstreamClient()
    with provider_of(say(data, close=False)) as provider:
        assert len(send(provider.port, client=client).read_all(1)) == 1
        assert client.idle_connections == 0
    client.close()


def test_many_at_once_each_gets_its_own_answer() -> None:
    def echo(peer: Peer, head: bytes, body: bytes) -> None:
        gevent.sleep(0.001 * (int(loads(body)["n"]) % 7))
        peer.answer(body)

    with relay_world() as world, provider_of(every(echo)) as provider:
        world.to(provider)

        def ask(lane: int) -> None:
            with world.connect() as client:
                for turn in range(10):
                    body = b'{"n":%d}' % (lane * 100 + turn)
                    assert client.post(body).body == body

        gevent.joinall([gevent.spawn(ask, lane) for lane in range(20)], raise_error=True)
        assert provider.connections <= 20


def test_early_answer_to_a_body_that_is_not_read() -> None:
    def refuse(peer: Peer) -> None:
        peer.sock.recv(1000)
        peer.answer(b"no", "413 Too Large", "connection: close\r\n")
        gevent.sleep(0.2)

    with provider_of(refuse) as provider:
        url = Url("http", "127.0.0.1", provider.port, "/")
        request = UpstreamRequest("POST", url, {}, b"x" * 30_000_000)
        answer = UpstreamClient().send(request, SLOW)
        assert (answer.status, answer.read_all(9)) == (413, b"no")


# Requests that must not be sent.


@pytest.mark.parametrize(
    ("headers", "path"),
    [({"x": "a\r\nb: c"}, "/"), ({"x": "a\nb"}, "/"), ({"x": "a\0"}, "/"), ({}, "/a b"), ({}, "/\r\nx: y")],
)
def test_injection(headers: dict[str, str], path: str) -> None:
    request = UpstreamRequest("POST", Url("http", "127.0.0.1", 1, path), headers)
    with pytest.raises(ValueError, match="break the request"):
        UpstreamClient().send(request, SLOW)


def test_injection_is_a_400_for_the_client() -> None:
    with relay_world() as world, provider_of(counting) as provider:
        world.to(provider)
        assert world.post(headers="x-inject: 1\r\n").status == 400
        assert provider.connections == 0


def test_framing_headers_are_the_clients_own_business_never() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b"")

    with provider_of(every(script)) as provider:
        headers = {"content-length": "99", "transfer-encoding": "chunked", "connection": "upgrade"}
        headers["host"] = "elsewhere.example"
        send(provider.port, headers=headers).read_all(1)
        head = provider.requests[0][0].decode()
        assert head.splitlines()[1:] == [
            f"host: 127.0.0.1:{provider.port}", "accept-encoding: identity", "content-length: 2"
        ]  # fmt: skip


# Compressed answers.


TEXT = b"".join(b'data: {"n":%d}\n\n' % n for n in range(40))


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


ENCODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
    "deflate": zlib.compress(TEXT),
    "Deflate": raw_deflate(TEXT),
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_compressed_answer(encoding: str) -> None:
    body = ENCODED[encoding]
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with provider_of(say(head + body)) as provider:
        answer = send(provider.port)
        assert answer.headers == {}
        assert answer.read_all(10_000) == TEXT


@pytest.mark.parametrize("body", [gzip.compress(TEXT)[:-3], b"no gzip at all", b"\x1f"])
def test_broken_compression(body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with provider_of(say(head + body)) as provider, pytest.raises(UpstreamFailure, match="compress"):
        send(provider.port).read_all(10_000)


def test_compressed_nothing() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n"
    with provider_of(say(head)) as provider:
        assert send(provider.port).read_all(1) == b""


# Failures as the client of the relay sees them.


def test_failover_and_the_last_error() -> None:
    def busy(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b'{"error":1}', "503 Busy")

    with (
        relay_world(timeouts=QUICK) as world,
        provider_of(say(b"garbage\r\n\r\n")) as broken,
        provider_of(lambda peer: peer.wait_closed()) as silent,
        provider_of(every(busy)) as full,
        provider_of(counting) as good,
    ):
        world.to(broken, silent, full, good)
        reply = world.post()
        assert (reply.status, reply.body) == (200, b"1")
        assert [event for event in world.exchanges[0].events if event[0] != "connected"] == [
            ("failed", "invalid_header"), ("failed", "timeout"), ("rejected", 503), ("first_output",),
            ("ended", False),
        ]  # fmt: skip
        world.to(full, broken, silent)
        reply = world.post()
        assert reply.status == 504
        assert b"openai: the provider did not answer in time" in reply.body
        world.to(silent, broken)
        assert world.post().status == 502


def test_whole_answer_that_breaks_off() -> None:
    half = say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab")
    with relay_world() as world, provider_of(half) as provider:
        world.to(provider)
        reply = world.post()
        assert reply.status == 502
        assert ("failed", "error") in world.exchanges[0].events


def test_too_many_streams_of_one_connection_do_not_leak() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world(Limits()) as world, provider_of(every(script)) as provider:
        world.to(provider)
        with world.connect() as client:
            for _ in range(20):
                assert client.post().complete
        assert provider.connections == 1
        eventually(lambda: world.relay.connections == 0)
        assert world.client.idle_connections == 1


def test_mangled_answers_end_in_a_failure_or_an_answer() -> None:
    """Whatever bytes come: an answer or UpstreamFailure, and never a connection left behind."""
    dice = random.Random(11)
    whole = b"HTTP/1.1 200 OK\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    current = [b""]

    def script(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(current[0])

    client = UpstreamClient()
    outcomes = {"answer": 0, "failure": 0}
    with provider_of(script) as provider:
        for _ in range(400):
            data = bytearray(whole)
            for _ in range(dice.randrange(1, 4)):
                at = dice.randrange(len(data))
                data[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
            current[0] = bytes(data)
            try:
                send(provider.port, client=client).read_all(100)
                outcomes["answer"] += 1
            except UpstreamFailure:
                outcomes["failure"] += 1
    assert min(outcomes.values()) > 20
    client.close()

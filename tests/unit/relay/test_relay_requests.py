"""What comes in from Kong: tickets, framing, limits, and everything that is not a request."""

from __future__ import annotations

import random
from contextlib import suppress

import gevent
import pytest
from gevent import socket
from relay_support import Client, Peer, World, eventually, every, provider_of, relay_world

from kong_ai_proxy.core.json import loads
from kong_ai_proxy.relay.downstream import _BULK, Limits
from kong_ai_proxy.relay.headers import _USUAL, _known, merged


def ok(peer: Peer, head: bytes, body: bytes) -> None:
    peer.answer(b"{}")


def raw(world: World, data: bytes) -> Client:
    client = world.connect()
    client.sock.sendall(data)
    return client


def test_without_ticket_nothing_is_sent() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        with world.connect() as client:
            for ticket in ("", "no-such-ticket", "a, b"):
                reply = client.post(b"{}", ticket=ticket)
                assert reply.status == 503
                error = loads(reply.body)["error"]
                assert error["code"] == "plugin_did_not_run"
                assert "did not pass the kong-ai-proxy plugin" in error["message"]
        assert provider.requests == []


def test_ticket_serves_once() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        token = world.ticket()
        with world.connect() as client:
            assert client.post(ticket=token).status == 200
            assert client.post(ticket=token).status == 503
        assert len(provider.requests) == 1


def test_expired_ticket() -> None:
    with relay_world(ttl=0.02) as world, provider_of(every(ok)) as provider:
        world.to(provider)
        token = world.ticket()
        gevent.sleep(0.03)
        with world.connect() as client:
            assert client.post(ticket=token).status == 503


def test_two_ticket_headers_are_none() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        token = world.ticket()
        with world.connect() as client:
            assert client.post(headers=f"x-kong-ai-ticket: {token}\r\n", ticket=token).status == 503


def test_health_needs_no_ticket() -> None:
    with relay_world() as world:
        client = raw(world, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        reply = client.read()
        assert (reply.status, loads(reply.body)) == (200, {"status": "ok"})
        client.sock.sendall(b"HEAD /health HTTP/1.1\r\nhost: a\r\n\r\n")
        status, headers = client.read_head()
        assert status == 200 and headers["content-length"] == "15"
        client.sock.sendall(b"POST /health HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        assert client.read().status == 503
        client.close()


def test_keep_alive_and_connection_close() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        with world.connect() as client:
            for _ in range(5):
                reply = client.post()
                assert reply.status == 200 and "connection" not in reply.headers
            reply = client.post(headers="connection: close\r\n")
            assert reply.headers["connection"] == "close"
            assert client.at_end()
        assert provider.connections == 1  # kept alive towards the provider, too


def test_http_1_0() -> None:
    def stream(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(stream)) as provider:
        world.to(provider)
        token = world.ticket()
        client = raw(
            world,
            f"POST / HTTP/1.0\r\nx-kong-ai-ticket: {token}\r\ncontent-length: 2\r\n"
            "content-type: application/json\r\n\r\n{}".encode(),
        )
        reply = client.read()
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["x-kong-ai-usage"].startswith("stream ")
        mark = f": kong-ai-usage {token} ".encode()
        assert reply.body == b"data: [DONE]\n\n" + mark + b"usage.partial=b0\n\n"


@pytest.mark.parametrize("step", [1, 7, 100])
def test_request_in_pieces_with_chunked_body_and_trailer(step: int) -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        data = (
            f"POST /a%20b?q=%C3%A9 HTTP/1.1\r\nhost: a\r\nX-Kong-AI-Ticket: {world.ticket()}\r\n"
            "X-A: 1\r\nx-a: 2\r\ncontent-type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            '3\r\n{"a\r\n4;ext=1\r\n":1}\r\n0\r\nx-trailer: t\r\n\r\n'
        ).encode()
        with world.connect() as client:
            for start in range(0, len(data), step):
                client.sock.sendall(data[start : start + step])
                gevent.sleep(0)
            assert client.read().status == 200
            assert client.post().status == 200  # the connection is in step
        request = world.exchanges[0].request
        assert provider.requests[0][1] == b'{"a":1}'
        assert (request.path, request.query) == ("/a%20b", "q=%C3%A9")
        assert request.headers["x-a"] == "1, 2"
        assert "x-trailer" not in request.headers


def test_header_values_that_are_not_ascii() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        token = world.ticket()
        client = raw(
            world,
            b"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: " + token.encode() + b"\r\n"
            b"x-u: gr\xc3\xbc\xc3\x9f\r\nx-l: gr\xfc\xdf\r\ncontent-length: 2\r\n\r\n{}",
        )
        assert client.read().status == 200
        headers = world.exchanges[0].request.headers
        assert headers["x-u"] == headers["x-l"] == "grüß"


def test_expect_continue() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        world.max_body = 10
        with world.connect() as client:
            head = f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\n"
            head += "expect: 100-continue\r\n"
            client.sock.sendall(f"{head}content-length: 2\r\n\r\n".encode())
            assert client.read_head() == (100, {})
            client.sock.sendall(b"{}")
            assert client.read().status == 200
            # Refused before the body was sent: no leave to send it, and the connection ends.
            head = head.replace(world_ticket(head), world.ticket())
            client.sock.sendall(f"{head}content-length: 11\r\n\r\n".encode())
            assert client.read().status == 413
            assert client.at_end()


def world_ticket(head: str) -> str:
    return head.partition("x-kong-ai-ticket: ")[2].partition("\r\n")[0]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [11, 3_000_000])
def test_body_over_the_limit_is_answered_and_the_connection_stays_in_step(chunked: bool, size: int) -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        world.max_body = 10
        with world.connect() as client:
            if chunked:
                client.sock.sendall(
                    f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\ncontent-type: "
                    f"application/json\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n".encode()
                )
                client.sock.sendall(b"x" * size + b"\r\n0\r\n\r\n")
                reply = client.read()
            else:
                reply = client.post(b"x" * size)
            assert reply.status == 413
            assert "too large" in loads(reply.body)["error"]["message"]
            assert client.post(b"{}").status == 200
        assert len(provider.requests) == 1


def test_body_over_the_limit_that_never_ends() -> None:
    limits = Limits(drain=100_000, drain_seconds=0.2, linger_seconds=0.2)
    with relay_world(limits) as world:
        world.max_body = 10
        client = raw(
            world,
            f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\n"
            f"content-length: 1000000000\r\n\r\n{'x' * 1000}".encode(),
        )

        def flood() -> None:
            try:
                while True:
                    client.sock.sendall(b"x" * 65536)
            except OSError:
                pass

        flooding = gevent.spawn(flood)
        reply = client.read()
        assert reply.status == 413 and reply.headers["connection"] == "close"
        flooding.join(3)
        client.close()


def test_20_mb_both_ways() -> None:
    big = random.Random(7).randbytes(20_000_000)

    def echo(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(body)

    with relay_world() as world, provider_of(every(echo)) as provider:
        world.to(provider)
        with world.connect() as client:
            for _ in range(2):
                reply = client.post(big)
                assert reply.status == 200 and reply.body == big


@pytest.mark.parametrize("left", [_BULK - 1, _BULK, _BULK + 1])
@pytest.mark.parametrize("with_head", [0, 7])
def test_what_is_read_past_the_parser_leaves_the_connection_in_step(left: int, with_head: int) -> None:
    def echo(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(body)

    body = bytes(range(256)) * (_BULK // 256) + b"x" * 8
    body = body[: left + with_head]
    with relay_world() as world, provider_of(every(echo)) as provider:
        world.to(provider)
        with world.connect() as client:
            for _ in range(2):
                head = f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\n"
                head += f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
                client.sock.sendall(head.encode() + body[:with_head])
                if not with_head:
                    assert client.read_head() == (100, {})
                client.sock.sendall(body[with_head:])
                reply = client.read()
                assert reply.status == 200 and reply.body == body
            assert client.post(b"{}").body == b"{}"


def test_long_names_of_headers_are_not_kept() -> None:
    kept = _known.cache_info().currsize
    assert merged([(b"X-" + b"A" * _USUAL, b"1")]) == {"x-" + "a" * _USUAL: "1"}
    assert _known.cache_info().currsize == kept


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"GET / HTTP/1.1\r\nhost a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2, 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: identity\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: " + b"0" * 5000 + b"2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\ncontent-length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 2\r\n\r\n{}",
        b"POST / HTTP/1.1\nhost: a\ncontent-length: 2\n\n{}",
        b"POST / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 1000,
    ],
)
def test_garbage_and_smuggling_get_400_and_the_connection_ends(data: bytes) -> None:
    with relay_world() as world:
        client = raw(world, data)
        reply = client.read()
        assert reply.status == 400
        assert loads(reply.body)["error"]["type"] == "invalid_request_error"
        assert reply.headers["connection"] == "close"
        assert client.at_end()
        client.close()
        assert raw(world, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").read().status == 200
        assert world.exchanges == []


@pytest.mark.parametrize("ticket", [True, False])
@pytest.mark.parametrize("flood", [b"1;" + b"x" * 65536, b"0\r\na: " + b"x" * 65536])
def test_a_body_of_nothing_but_framing(flood: bytes, ticket: bool) -> None:
    """Chunk extensions and trailers are nobody's data: no limit of a body would ever be reached."""
    with relay_world(Limits(linger_seconds=0.05)) as world:
        token = world.ticket() if ticket else ""
        head = f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {token}\r\ntransfer-encoding: chunked\r\n"
        client = raw(world, f"{head}content-type: application/json\r\n\r\n".encode() + flood)
        with suppress(OSError):
            for _ in range(64):
                client.sock.sendall(b"x" * 65536)
        eventually(lambda: world.relay.connections == 0)
        client.close()
        assert world.exchanges == []


def test_random_bytes_do_not_harm() -> None:
    dice = random.Random(3)
    with relay_world() as world:
        for _ in range(50):
            client = raw(world, dice.randbytes(dice.randrange(1, 3000)))
            client.sock.shutdown(socket.SHUT_WR)
            while client.sock.recv(65536):
                pass
            client.close()
        eventually(lambda: world.relay.connections == 0)
        assert raw(world, b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n").read().status == 200


@pytest.mark.parametrize(
    "head",
    [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000,
     b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"],
    ids=["target", "endless-value", "many"],
)  # fmt: skip
def test_head_too_long(head: bytes) -> None:
    with relay_world() as world:
        client = raw(world, head)
        reply = client.read()
        assert reply.status == 431
        client.close()


def test_request_that_does_not_arrive() -> None:
    with relay_world(Limits(head_seconds=0.05, body_seconds=0.05, idle_seconds=0.3)) as world:
        assert raw(world, b"GET / HT").read().status == 408
        head = f"POST / HTTP/1.1\r\nx-kong-ai-ticket: {world.ticket()}\r\ncontent-length: 5\r\n\r\n"
        assert raw(world, f"{head}{{}}".encode()).read().status == 408
        idle = world.connect()
        assert idle.at_end()  # after idle_seconds


def test_a_large_body_that_stops_coming() -> None:
    with relay_world(Limits(body_seconds=0.05)) as world:
        head = f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {{}}\r\ncontent-length: {1_000_000}\r\n\r\n"
        silent = raw(world, head.format(world.ticket()).encode() + b"x" * 400_000)
        assert silent.read().status == 408
        assert silent.at_end()
        gone = raw(world, head.format(world.ticket()).encode() + b"x" * 400_000)
        gone.close()
        eventually(lambda: world.relay.connections == 0)


@pytest.mark.parametrize("size", [2, 700_000])
def test_pipelined_request_is_not_served(size: int) -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        first, second = world.ticket(), world.ticket()
        data = "".join(
            f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {token}\r\ncontent-length: {size}\r\n\r\n"
            f"{'{}':<{size}}"
            for token in (first, second)
        )
        client = raw(world, data.encode())
        reply = client.read()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert client.at_end()
        assert len(provider.requests) == 1
        client.close()


def test_websocket_is_refused_for_now() -> None:
    with relay_world() as world:
        client = raw(
            world,
            f"GET / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\nconnection: upgrade\r\n"
            "upgrade: websocket\r\n\r\n".encode(),
        )
        assert client.read().status == 501
        client.close()


def test_bug_in_the_exchange_is_a_500(capsys: pytest.CaptureFixture[str]) -> None:
    with relay_world() as world:

        def broken(*_: object) -> object:
            raise KeyError("oops")

        world.open = broken  # type: ignore[method-assign]
        reply = world.post()
        assert reply.status == 500
        assert b"oops" not in reply.body
        assert "oops" in capsys.readouterr().out


def test_stop_lets_running_exchanges_end() -> None:
    def slow(peer: Peer, head: bytes, body: bytes) -> None:
        gevent.sleep(0.3)
        peer.answer(b"{}")

    with relay_world() as world, provider_of(every(slow)) as provider:
        world.to(provider)
        idle = world.connect()
        client = world.connect()
        client.send_request()
        eventually(lambda: len(provider.requests) == 1)
        stopping = gevent.spawn(world.relay.stop, 5.0)
        assert idle.at_end()
        reply = client.read()
        assert reply.status == 200 and reply.headers["connection"] == "close"
        stopping.get(timeout=2)
        with pytest.raises(OSError):
            world.connect()


def test_stop_breaks_off_what_takes_longer() -> None:
    def never(peer: Peer, head: bytes, body: bytes) -> None:
        peer.wait_closed()

    with relay_world() as world, provider_of(every(never)) as provider:
        world.to(provider)
        client = world.connect()
        client.send_request()
        eventually(lambda: len(provider.requests) == 1)
        gevent.spawn(world.relay.stop, 0.1).get(timeout=2)
        assert provider.closed.wait(1)
        assert client.at_end()
        assert len(world.logged) == 1
        assert world.relay.connections == 0

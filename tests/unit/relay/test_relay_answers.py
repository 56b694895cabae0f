"""Whole and streamed answers, their heads and their records."""

from __future__ import annotations

import re

import gevent
import gevent.event
import pytest
from relay_support import Peer, every, provider_of, relay_world

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import UpstreamRequest
from kong_ai_proxy.relay import telling


def ok(peer: Peer, head: bytes, body: bytes) -> None:
    peer.answer(b'{"a":1}', headers="content-type: application/json\r\nx-request-id: 7\r\nset-cookie: c\r\n")


def test_plain_answer_and_record_in_the_header() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        reply = world.post(b'{"q":1}')
        assert (reply.status, reply.body) == (200, b'{"a":1}')
        assert reply.headers == {
            "content-type": "application/json",
            "x-request-id": "7",
            "content-length": "7",
            "x-kong-ai-usage": "usage.partial=b0",
        }
        head, body = provider.requests[0]
        assert body == b'{"q":1}'
        assert head.startswith(b"POST /v1/chat HTTP/1.1\r\nhost: 127.0.0.1:")
        assert b"accept-encoding: identity" in head
        assert b"ticket" not in head
        exchange = world.exchanges[0]
        assert exchange.request.path == "/chat"
        assert exchange.request.query == "x=1"
        assert "x-kong-ai-ticket" not in exchange.request.headers
        assert exchange.events == [("connected", "127.0.0.1"), ("first_output",), ("ended", False)]


def test_stream_with_filter() -> None:
    step = gevent.event.Event()

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: 1\n\n")
        assert step.wait(5)
        peer.chunk(b"data: 2\n\n")
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        with world.connect() as client:
            client.send_request()
            status, headers = client.read_head()
            assert client.read_chunk() == b"data: 1\n\n"  # before the second was sent
            step.set()
            rest = b""
            while (chunk := client.read_chunk()) is not None:
                rest += chunk
        assert status == 200
        assert headers == {
            "content-type": "text/event-stream",
            "x-request-id": "r1",
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            "transfer-encoding": "chunked",
            "x-kong-ai-usage": "stream;padded usage.partial=b1",
        }
        assert rest == b"data: 2\n\ndata: [DONE]\n\n: kong-ai-usage usage.partial=b0\n\n"
        assert world.logged == []


def test_head_and_first_bytes_come_in_one_piece() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        gevent.sleep(0.05)
        peer.chunk(b"data: 1\n\n")
        gevent.sleep(0.05)
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        with world.connect() as client:
            client.send_request()
            first = client.sock.recv(65536)
            assert first.startswith(b"HTTP/1.1 200 OK\r\n")
            assert re.search(rb"\r\n\r\n9;-{10240}\r\ndata: 1\n\n\r\n$", first)


@pytest.mark.parametrize(
    ("filter_installed", "buffered", "kind"),
    [
        (False, False, "text/event-stream"),
        (True, False, "application/x-ndjson"),
        (False, True, "text/event-stream"),
    ],
)
def test_stream_whose_record_cannot_go_in_band(filter_installed: bool, buffered: bool, kind: str) -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.send(f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        world.filter_installed, world.buffered = filter_installed, buffered
        token = world.ticket()
        reply = world.post(ticket=token)
        assert reply.body == b"data: [DONE]\n\n"
        assert not reply.headers.keys() & {"x-kong-ai-ticket", "x-kong-ai-usage"}
        if buffered:
            record = world.tickets.collect(token)
            assert record is not None and record["usage"] == {"partial": False}
            assert world.logged == []
        else:
            assert [record["usage"] for record in world.logged] == [{"partial": False}]


def test_plain_answer_without_filter() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        world.filter_installed, world.buffered = False, True
        token = world.ticket()
        reply = world.post(ticket=token)
        assert not reply.headers.keys() & {"x-kong-ai-ticket", "x-kong-ai-usage"}
        assert world.tickets.collect(token) is not None
        assert world.tickets.collect(token) is None
        world.buffered = False
        reply = world.post()
        assert "x-kong-ai-ticket" not in reply.headers
        assert "x-kong-ai-usage" not in reply.headers
        assert len(world.logged) == 1


def test_no_target_and_refused_translation() -> None:
    with relay_world() as world, provider_of(every(ok)) as provider:
        world.to(provider)
        assert world.post(headers="x-refuse: 1\r\n").status == 400
        assert ("refused", 400) in world.exchanges[-1].events
        assert world.exchanges[-1].events[0][0] == "ended"
        world.no_target = ApiError(500, "no target is available")
        reply = world.post()
        assert reply.status == 500
        assert b"no target is available" in reply.body
        assert provider.connections == 0


def test_credentials_that_cannot_be_had() -> None:
    """The next target may have better ones; without a next, the client gets the error."""
    asked: list[str] = []

    def authenticate(request: UpstreamRequest, call: Call) -> None:
        asked.append(request.url.path)
        if len(asked) != 2:
            raise ApiError(500, "no token for the provider")

    with relay_world(authenticate=authenticate) as world, provider_of(every(ok)) as provider:
        world.to(provider, provider)
        assert world.post().status == 200
        world.to(provider)
        reply = world.post()
        assert reply.status == 500 and b"no token" in reply.body
        assert len(provider.requests) == 1


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_record_that_cannot_be_made_costs_nobody_his_answer(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b"data: [DONE]\n\n", headers=f"content-type: {kind}\r\n")

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        world.broken_record = True
        reply = world.post()
        assert reply.status == 200 and reply.complete and reply.body == b"data: [DONE]\n\n"
        assert "no log record could be made" in capsys.readouterr().out


def test_last_event_and_record_come_in_one_chunk() -> None:
    """Clients hang up at [DONE]: Kong must have read the record by then."""

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: 1\n\n")
        gevent.sleep(0.02)
        peer.chunk(b"data: [DONE]\n\n")
        gevent.sleep(0.02)
        peer.end()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        assert world.post().chunks == [
            b"data: 1\n\n", b"data: [DONE]\n\n", b": kong-ai-usage usage.partial=b0\n\n"
        ]  # fmt: skip


def test_provider_that_does_not_end_its_answer_after_the_last_event() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: [DONE]\n\n")
        peer.wait_closed()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        reply = world.post()
        assert reply.complete and reply.body.endswith(b"[DONE]\n\n: kong-ai-usage usage.partial=b0\n\n")
        assert provider.closed.wait(1)


def test_every_comment_has_padding_before_it_and_the_tickets_token() -> None:
    """What schema/usage-filter.lua knows them by."""

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        for n in range(4):
            peer.chunk(b"data: %d\n\n" % n)
            gevent.sleep(0.12)
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        token = world.ticket()
        with world.connect() as client:
            client.send_request(ticket=token)
            client.read_head()
            chunks = []
            while (chunk := client.read_chunk()) is not None:
                chunks.append((chunk, client.padding))
        told = (b": kong-ai-usage usage.partial=b0\n\n", [10240])
        change = (b": kong-ai-usage +usage.partial=b1\n\n", [10240])
        assert chunks[0] == (b"data: 0\n\n", [10240]), "shows that padding arrives"
        assert chunks[-2:] == [(b"data: [DONE]\n\n", []), told]
        assert change in chunks[2:-2]
        assert {token.encode()} == set(client.comments)
        assert all(not padding for chunk, padding in chunks[1:] if chunk.startswith(b"data"))


def test_a_client_that_leaves_has_its_usage_with_kong_already(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log has the record of one who left before Kong can have read that."""

    def script(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"data: 1\n\n")
        peer.wait_closed()

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        for surely_read, logged in ((60.0, 1), (-1.0, 1)):
            monkeypatch.setattr(telling, "_SURELY_READ", surely_read)
            with world.connect() as client:
                client.send_request()
                _, headers = client.read_head()
                assert headers["x-kong-ai-usage"] == "stream;padded usage.partial=b1"
                assert client.read_chunk() == b"data: 1\n\n"
            assert provider.closed.wait(1)
            provider.closed.clear()
            gevent.sleep(0.02)
            assert len(world.logged) == logged

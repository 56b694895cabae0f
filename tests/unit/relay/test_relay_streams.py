"""Streams that break, last too long, are compressed, binary or huge; and streamed uploads."""

from __future__ import annotations

import gzip
import random
import time
import tracemalloc
from collections.abc import Iterator

import gevent
import gevent.event
import gevent.socket
import pytest
from relay_support import Peer, World, eventually, every, provider_of, relay_world

from kong_ai_proxy.exchange.exchange import Timeouts
from kong_ai_proxy.relay import inflate
from kong_ai_proxy.relay.downstream import Limits
from kong_ai_proxy.relay.inflate import BadEncoding, Inflate, inflater

QUICK = Timeouts(0.2, 0.2, 0.2)
EVENTS = b"".join(b'data: {"n":%d,"t":"gr\xc3\xbc\xc3\x9fe"}\n\n' % n for n in range(12))
EVENTS += b"data: [DONE]\n\n"


def truncated(peer: Peer, head: bytes, body: bytes) -> None:
    """The body ends as HTTP has it, the answer does not."""
    peer.stream_head()
    peer.chunk(b"data: 1\n\n")
    peer.end()


def cut(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.chunk(b"data: 1\n\n")
    gevent.sleep(0.02)
    peer.sock.close()


def silent(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.chunk(b"data: 1\n\n")
    peer.wait_closed()


def broken_framing(peer: Peer, head: bytes, body: bytes) -> None:
    peer.stream_head()
    peer.chunk(b"data: 1\n\n")
    gevent.sleep(0.02)
    peer.send(b"xyz\r\n")
    peer.wait_closed()


@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (truncated, "truncated"),
        (cut, "openai: the provider closed the connection within its answer"),
        (silent, "openai: the provider fell silent within its answer"),
        (broken_framing, "framing is broken"),
    ],
)
def test_broken_stream_says_so_and_ends_in_order(handler: object, text: str) -> None:
    with relay_world(timeouts=QUICK) as world, provider_of(every(handler)) as provider:  # type: ignore[arg-type]
        world.to(provider)
        with world.connect() as client:
            reply = client.post()
            assert reply.status == 200 and reply.complete
            assert reply.body.startswith(b"data: 1\n\n")
            assert text.encode() in reply.body
            assert b"[DONE]" not in reply.body
            assert reply.body.endswith(b": kong-ai-usage usage.partial=b1\n\n")
            assert world.client.idle_connections == (handler is truncated)
            assert client.post().status == 200  # the connection from Kong is in step


def test_stream_that_breaks_before_its_first_byte_has_a_status() -> None:
    def nothing(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.sock.close()

    def overloaded(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(b"event: broken\n\n")
        peer.wait_closed()

    def fine(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        peer.chunk(EVENTS)
        peer.end()

    with (
        relay_world() as world,
        provider_of(every(nothing)) as cut_off,
        provider_of(every(overloaded)) as full,
        provider_of(every(fine)) as good,
    ):
        world.to(cut_off)
        reply = world.post()
        assert (reply.status, reply.headers["content-type"]) == (502, "application/json")
        world.to(full)
        reply = world.post()
        assert (reply.status, reply.headers["retry-after"]) == (529, "3")
        assert reply.headers["x-kong-ai-usage"] == "usage.partial=b1"
        assert full.closed.wait(1)
        world.to(cut_off, full, good)  # nothing went out yet: another may be tried
        reply = world.post()
        assert reply.status == 200 and reply.body.startswith(EVENTS)


def test_no_second_attempt_after_the_first_byte() -> None:
    with relay_world() as world, provider_of(every(cut)) as one, provider_of(every(truncated)) as two:
        world.to(one, two)
        reply = world.post()
        assert reply.status == 200
        assert two.connections == 0


def test_error_to_a_streaming_request_keeps_status_and_type() -> None:
    def limited(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b'{"error":{}}', "429 Slow Down", "content-type: application/problem+json\r\n")

    with relay_world() as world, provider_of(every(limited)) as provider:
        world.to(provider)
        reply = world.post()
        assert (reply.status, reply.headers["content-type"]) == (429, "application/problem+json")
        assert reply.body == b'{"error":{}}'


def test_stream_that_takes_too_long() -> None:
    def endless(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        while True:
            peer.chunk(b"data: x\n\n")
            gevent.sleep(0.01)

    with relay_world(Limits(stream_seconds=0.15)) as world, provider_of(every(endless)) as provider:
        world.to(provider)
        began = time.monotonic()
        reply = world.post()
        assert 0.1 < time.monotonic() - began < 2
        assert reply.complete and b"the stream took longer than 0.15 seconds" in reply.body
        assert b"[DONE]" not in reply.body


def test_silent_stream_that_takes_too_long() -> None:
    with relay_world(Limits(stream_seconds=0.15)) as world, provider_of(every(silent)) as provider:
        world.to(provider)
        reply = world.post()
        assert reply.complete and b"took longer" in reply.body
        assert provider.closed.wait(1)


@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_gzip_stream(chunk: int) -> None:
    packed = gzip.compress(EVENTS)

    def zipped(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head("content-encoding: gzip\r\n")
        for start in range(0, len(packed), chunk):
            peer.chunk(packed[start : start + chunk])
        peer.end()

    with relay_world() as world, provider_of(every(zipped)) as provider:
        world.to(provider)
        reply = world.post()
        assert "content-encoding" not in reply.headers
        assert reply.body.startswith(EVENTS + b": kong")


def test_gzip_split_everywhere() -> None:
    packed = gzip.compress(EVENTS)
    for at in range(len(packed) + 1):
        whole = Inflate("gzip")
        assert b"".join([*whole.feed(packed[:at]), *whole.feed(packed[at:])]) == EVENTS
        whole.finish()
        half = Inflate("gzip")
        list(half.feed(packed[:at]))
        if 0 < at < len(packed):
            with pytest.raises(BadEncoding):
                half.finish()


def test_compressed_bomb_comes_in_small_pieces() -> None:
    bomb = gzip.compress(b"\0" * 60_000_000, 9)
    size = 0
    tracemalloc.start()
    try:
        with pytest.raises(BadEncoding, match="far longer"):
            for piece in Inflate("gzip").feed(bomb):
                size += len(piece)
                assert len(piece) <= 65536
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert size < 50_000_000, "and it is given up"


def test_what_compresses_well_is_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = gzip.compress(b"\0" * 100_000, 9)
    assert sum(map(len, Inflate("gzip").feed(zeros))) == 100_000
    monkeypatch.setattr(inflate, "_RATIO_FROM", 50_000)
    with pytest.raises(BadEncoding):
        list(Inflate("gzip").feed(zeros))
    text = b"".join(b"%d," % (number * number) for number in range(20_000))
    assert sum(map(len, Inflate("gzip").feed(gzip.compress(text)))) == len(text) > 150_000


@pytest.mark.parametrize(("name", "found"), [("", None), ("identity", None), (" GZIP ", Inflate)])
def test_content_encodings(name: str, found: type | None) -> None:
    assert type(inflater(name)) is (found or type(None))


def test_flushed_compression_does_not_hold_events_back() -> None:
    """A provider that flushes after each event: the client has it before the next is sent."""
    import zlib

    packer = zlib.compressobj(wbits=31)
    go = gevent.event.Event()

    def zipped(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head("content-encoding: gzip\r\n")
        peer.chunk(packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH))
        assert go.wait(5)
        peer.chunk(packer.compress(b"data: [DONE]\n\n") + packer.flush())
        peer.end()

    with relay_world() as world, provider_of(every(zipped)) as provider, world.connect() as client:
        world.to(provider)
        client.send_request()
        client.read_head()
        assert client.read_chunk() == b"data: 1\n\n"
        go.set()
        assert (client.read_chunk() or b"").startswith(b"data: [DONE]\n\n")


def test_slow_client_slows_the_provider_and_memory_stays_small() -> None:
    sent = [0]
    piece = b"data: " + b"x" * 8000 + b"\n\n"

    def flood(peer: Peer, head: bytes, body: bytes) -> None:
        peer.sock.setsockopt(gevent.socket.SOL_SOCKET, gevent.socket.SO_SNDBUF, 65536)
        peer.stream_head()
        for _ in range(5000):
            peer.chunk(piece)
            sent[0] += len(piece)
        peer.chunk(b"data: [DONE]\n\n")
        peer.end()

    with relay_world() as world, provider_of(every(flood)) as provider:
        world.to(provider)
        client = world.connect(receive_buffer=65536)
        client.send_request()
        client.read_head()
        eventually(lambda: sent[0] > 0)
        last = -1
        while last != sent[0]:
            last = sent[0]
            gevent.sleep(0.1)
        assert sent[0] < 20_000_000  # of 40; what the sockets' buffers took
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            total = 0
            while total < 20_000_000:
                total += len(client.read_chunk() or b"")
            # Relay, provider and client together.
            assert tracemalloc.get_traced_memory()[0] - before < 512 * 1024
        finally:
            tracemalloc.stop()
        while (chunk := client.read_chunk()) is not None:
            total += len(chunk)
        assert total > 40_000_000
        assert ("ended", False) in world.exchanges[0].events


def test_memory_of_many_stalled_streams() -> None:
    """Less than 256 KiB for each; the provider's and the client's objects are counted, too."""
    piece = b"data: " + b"x" * 8000 + b"\n\n"
    streams = 20

    def flood(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        while True:
            peer.chunk(piece)

    with relay_world() as world, provider_of(every(flood)) as provider:
        world.to(provider)
        with world.connect() as client:
            client.send_request()
            client.read_head()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(streams):
                world.connect(receive_buffer=65536).send_request()
            gevent.sleep(1.0)
            assert len(world.exchanges) == streams + 1
            assert tracemalloc.get_traced_memory()[0] - before < streams * 256 * 1024
        finally:
            tracemalloc.stop()


def test_client_that_takes_nothing_is_given_up() -> None:
    def flood(peer: Peer, head: bytes, body: bytes) -> None:
        peer.stream_head()
        try:
            while True:
                peer.chunk(b"x" * 60000)
        except OSError:
            peer.provider.closed.set()

    with relay_world(Limits(send_seconds=0.2)) as world, provider_of(every(flood)) as provider:
        world.to(provider)
        world.connect().send_request()
        assert provider.closed.wait(3)
        eventually(lambda: len(world.logged) == 1)


def test_binary_answer_passes_through_without_being_held() -> None:
    piece = random.Random(1).randbytes(65536)

    def audio(peer: Peer, head: bytes, body: bytes) -> None:
        size = len(piece) * 320
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(320):
            peer.send(piece)

    with relay_world() as world, provider_of(every(audio)) as provider, world.connect() as client:
        world.to(provider)
        client.send_request()
        status, headers = client.read_head()
        assert (status, headers["content-type"]) == (200, "audio/mpeg")
        assert "x-kong-ai-usage" not in headers
        size = 0
        while (chunk := client.read_chunk()) is not None:
            size += len(chunk)
        assert size == len(piece) * 320
        assert len(world.logged) == 1  # binary has no comment


def _upload(world: World, pieces: Iterator[bytes], length: int | None) -> object:
    client = world.connect()
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    client.sock.sendall(
        f"POST / HTTP/1.1\r\nhost: a\r\nx-kong-ai-ticket: {world.ticket()}\r\n"
        f"content-type: multipart/form-data; boundary=b\r\n{framing}\r\n\r\n".encode()
    )
    for piece in pieces:
        client.sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if length is None else piece)
    if length is None:
        client.sock.sendall(b"0\r\n\r\n")
    return client.read()


@pytest.mark.parametrize("chunked", [False, True])
def test_upload_of_20_mb_is_streamed(chunked: bool) -> None:
    piece = random.Random(2).randbytes(50_000)

    def sizes(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b"%d" % len(body))

    with relay_world() as world, provider_of(every(sizes)) as provider:
        world.to(provider)
        reply = _upload(world, (piece for _ in range(400)), None if chunked else 400 * 50_000)
        assert reply.body == b"20000000"  # type: ignore[attr-defined]
        assert provider.requests[0][1] == piece * 400
        assert (b"transfer-encoding: chunked" in provider.requests[0][0]) == chunked
        assert world.exchanges[0].request.body == b""


def test_upload_is_not_sent_twice() -> None:
    def busy(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b"{}", "503 Busy")

    with relay_world() as world, provider_of(every(busy)) as one, provider_of(every(busy)) as two:
        world.to(one, two)
        reply = _upload(world, iter([b"a", b"b"]), None)
        assert reply.status == 503  # type: ignore[attr-defined]
        assert two.connections == 0


def test_upload_over_the_limit() -> None:
    with relay_world() as world, provider_of(every(truncated)) as provider:
        world.to(provider)
        world.max_body = 1000
        reply = _upload(world, iter([b"a" * 600, b"b" * 600]), None)
        assert reply.status == 413  # type: ignore[attr-defined]
        assert provider.requests == []


def test_client_that_leaves_after_an_upload() -> None:
    def wait(peer: Peer, head: bytes, body: bytes) -> None:
        peer.wait_closed()

    with relay_world() as world, provider_of(every(wait)) as provider:
        world.to(provider)
        client = world.connect()
        uploading = gevent.spawn(_upload, world, iter([b"a"]), None)
        client.close()
        eventually(lambda: len(provider.requests) == 1)
        world.clients[-1].close()
        assert provider.closed.wait(1)
        uploading.kill()

"""Nobody keeps the loop to himself, and the collector's pauses stay out of the way."""

from __future__ import annotations

import gc
import json
import time

import gevent
import pytest
from exchange_support import openai_answer, proxy
from relay_support import Peer, every, provider_of, relay_world

from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest
from kong_ai_proxy.exchange.carry import Carrier
from kong_ai_proxy.exchange.exchange import Attempt, Exchange
from kong_ai_proxy.exchange.plan import Plan
from kong_ai_proxy.relay import memory
from kong_ai_proxy.relay.connection import Connection, StdSocket


def test_endless_stream_lets_others_run() -> None:
    """Both ends are always ready: without a turn for others this would never come back to the loop."""
    ours, theirs = gevent.socket.socketpair()
    ours_fd, theirs_fd = ours.detach(), theirs.detach()
    reader = Connection(StdSocket(fileno=ours_fd))
    writer = StdSocket(fileno=theirs_fd)
    turns = [0]
    turns_before = []

    def other() -> None:
        while True:
            turns[0] += 1
            gevent.sleep(0)

    running = gevent.spawn(other)
    gevent.sleep(0)
    for _ in range(200):
        writer.send(b"x" * 100)
        assert len(reader.recv(100, 1.0)) == 100
        turns_before.append(turns[0])
    running.kill()
    reader.close()
    writer.close()
    assert turns_before[-1] - turns_before[0] >= 10


def test_large_answers_do_not_stall_small_ones() -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        if body == b"big":
            peer.stream_head()
            for _ in range(300):
                peer.chunk(b"x" * 100_000)
            peer.end()
        else:
            peer.answer(b"{}")

    with relay_world() as world, provider_of(every(script)) as provider:
        world.to(provider)
        big = gevent.spawn(world.post, b"big")
        worst = 0.0
        with world.connect() as client:
            while not big.ready():
                began = time.monotonic()
                assert client.post(b"{}").status == 200
                worst = max(worst, time.monotonic() - began)
        assert len(big.value.body) > 30_000_000
        assert worst < 1


def test_settling_at_few_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    settled = []
    settling = memory.Settling()
    monkeypatch.setattr(memory, "settle", lambda: settled.append(settling._exchanges))
    for _ in range(5000):
        settling.exchanged()
    assert settled == [1, 16, 256, 4096]


def test_settle_exempts_what_is_loaded() -> None:
    before, threshold = gc.get_freeze_count(), gc.get_threshold()
    loaded: list[list[int]] = [[] for _ in range(2000)]
    try:
        memory.settle()
        assert gc.get_freeze_count() >= before + len(loaded)
        assert gc.get_threshold() == (100_000, *threshold[1:])
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)
        if before:
            gc.freeze()  # as it was for the whole run of tests


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("script", ["is not asked", "answers", "hangs up", "streams", "fails", "breaks off"])
def test_nothing_of_an_exchange_is_left_to_the_collector(provider: str, script: str) -> None:
    """Bodies may be large, and the collector does not know it."""
    answer = json.dumps(openai_answer()).encode()  # which Anthropic's reader makes an error of
    streamed = script in ("streams", "fails", "breaks off")
    messages = [] if script == "is not asked" else [{"role": "user", "content": "x"}]
    asked = json.dumps({"messages": messages, "stream": streamed}).encode()

    def reply(peer: Peer, head: bytes, body: bytes) -> None:
        if script == "answers":
            peer.answer(answer)
        elif script == "hangs up":
            peer.sock.close()
        else:
            peer.stream_head()
            if script == "streams":
                peer.chunk(b'data: {"choices":[{"index":0,"delta":{"content":"x"}}]}\n\ndata: [DONE]\n\n')
            elif script == "fails":
                peer.chunk(b'data: {"type":"error","error":{"message":"no"}}\n\n')
            if script == "breaks off":
                peer.sock.close()
            else:
                peer.end()

    with provider_of(every(reply)) as place, relay_world(real=True) as world, world.connect() as client:
        url = f"http://127.0.0.1:{place.port}/"
        world.instance = proxy(provider, "m", options={"upstream_url": url})
        client.post(asked)
        gc.collect()
        others = _of_exchanges()  # which other tests have left
        gc.disable()
        try:
            for _ in range(3):
                client.post(asked)
            gevent.sleep(0)
            assert not _of_exchanges().keys() - others.keys()
        finally:
            gc.enable()


def _of_exchanges() -> dict[int, object]:
    kinds = (Exchange, Attempt, Carrier, Plan, ClientRequest, UpstreamRequest)
    return {id(each): each for each in gc.get_objects() if isinstance(each, kinds)}

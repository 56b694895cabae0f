"""The relay tells its telemetry of each exchange, once, whole answers, streams and WebSockets alike."""

from __future__ import annotations

import json
from typing import Any

import pytest
from exchange_support import openai_answer, proxy
from gevent import sleep
from relay_support import Peer, eventually, every, provider_of, relay_world
from websocket_support import Session, connect, realtime_instance, realtime_provider, realtime_target

from kong_ai_proxy.core.http import UpstreamRequest
from kong_ai_proxy.exchange.exchange import Attempt, Exchange


class Told:
    """A telemetry that writes down what it is told."""

    def __init__(self) -> None:
        self.begun: list[Exchange] = []
        self.sent: list[Attempt] = []
        self.over: list[Exchange] = []
        self.attempts: list[Attempt] = []
        self.ended = 0

    def begin(self, exchange: Exchange) -> Any:
        self.begun.append(exchange)
        told = self

        class Trace:
            def sent(self, attempt: Attempt, request: UpstreamRequest) -> None:
                told.sent.append(attempt)
                request.headers["traceparent"] = "00-trace"

            def ended(self, exchange: Exchange) -> None:
                told.over.append(exchange)
                told.attempts.extend(getattr(exchange, "attempts", ()))

        return Trace()

    def shutdown(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("answered", [True, False])
def test_a_request(answered: bool) -> None:
    heads: list[bytes] = []

    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        heads.append(head)
        if answered:
            peer.answer(json.dumps(openai_answer()).encode())
        else:
            peer.sock.close()

    told = Told()
    with provider_of(every(answer)) as provider, relay_world(real=True, telemetry=told) as world:
        url = f"http://127.0.0.1:{provider.port}/v1/chat/completions"
        world.instance = proxy(options={"upstream_url": url})
        reply = world.post(json.dumps({"messages": [{"role": "user", "content": "x"}]}).encode())
        assert reply.status == (200 if answered else 502)
        assert told.begun == told.over and len(told.over) == 1
        assert set(told.sent) == set(told.attempts) and len(told.attempts) == 1
        assert b"traceparent: 00-trace" in heads[0].lower()
        assert told.attempts[0].failure == (None if answered else "error")
    assert told.ended == 1


def test_a_session() -> None:
    seen: list[Session] = []

    def talk(session: Session) -> None:
        seen.append(session)
        session.accept()
        session.event()

    told = Told()
    with realtime_provider(talk) as provider, relay_world(real=True, telemetry=told) as world:
        world.instance = realtime_instance(realtime_target(f"ws://127.0.0.1:{provider.port}", name="m"))
        world.filter_installed = False
        client = connect(world)
        assert client.status == 101 and not told.over
        assert seen[0].headers["traceparent"] == "00-trace"
        client.sock.close()
        sleep(0)
        eventually(lambda: len(told.over) == 1)
        assert told.begun == told.over and len(told.sent) == 1

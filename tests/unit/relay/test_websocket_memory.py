"""Sessions leave nothing to the garbage collector, however they end (see `relay.memory`)."""

from __future__ import annotations

import gc
from typing import Any

import gevent
import pytest
from relay_support import Provider, eventually, every, provider_of, relay_world
from websocket_support import Session, connect, realtime_instance, realtime_provider, realtime_target
from wsproto.events import CloseConnection

from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.http import ClientRequest, UpstreamRequest
from kong_ai_proxy.exchange.attempt import Attempt
from kong_ai_proxy.exchange.exchange import Exchange
from kong_ai_proxy.exchange.plan import Plan
from kong_ai_proxy.exchange.realtime import SessionCarrier
from kong_ai_proxy.formats.realtime import Session as ReadAlong
from kong_ai_proxy.relay.carry import Journey
from kong_ai_proxy.relay.websocket_tunnel import Tunnel, _Direction

KINDS = (
    Attempt, Call, ClientRequest, Exchange, Journey, Plan, ReadAlong, SessionCarrier, Tunnel, UpstreamRequest,
    _Direction,
)  # fmt: skip


def left() -> dict[int, Any]:
    return {id(each): each for each in gc.get_objects() if isinstance(each, KINDS)}


def talk(session: Session) -> None:
    session.accept()
    while (event := session.event()) is not None:
        if isinstance(event, CloseConnection):
            session.send(event.response())
            return
        session.text({"type": "response.created", "response": {}})
        if event.data == "go":
            session.sock.close()
            return


@pytest.mark.parametrize("end", ["client closes", "client gone", "provider gone", "broken", "refused"])
def test_nothing_of_a_session_is_left_to_the_collector(end: str) -> None:
    def refuse(peer: Any, head: bytes, body: bytes) -> None:
        peer.answer(b'{"error":{"message":"no"}}', "429 Too Many Requests")

    def place() -> Any:
        return provider_of(every(refuse)) if end == "refused" else realtime_provider(talk)

    provider: Provider
    with place() as provider, relay_world(real=True) as world:
        world.instance = realtime_instance(realtime_target(f"ws://127.0.0.1:{provider.port}", name="m"))

        def session() -> None:
            client = connect(world)
            if end != "refused":
                assert client.status == 101
                client.text("go" if end == "provider gone" else "x")
                client.event()
            if end == "client closes":
                client.send(CloseConnection(code=1000))
                client.event()
            elif end == "broken":
                client.sock.sendall(b"\xff\xff")
                client.event()
            elif end == "provider gone":
                client.event()
            client.sock.close()
            eventually(lambda: not world.relay._connections)

        session()
        gc.collect()
        others = left()
        gc.disable()
        try:
            for _ in range(2):
                session()
            gevent.sleep(0)
            found = [each for key, each in left().items() if key not in others]
            assert not found, [type(each).__name__ for each in found]
        finally:
            gc.enable()

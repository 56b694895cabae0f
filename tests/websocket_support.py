"""Both ends of a WebSocket for tests of the relay, by wsproto: not the code that the relay runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gevent import socket
from relay_support import Peer, Provider, World, provider_of
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from kong_ai_proxy.config.models import Target
from kong_ai_proxy.exchange.instance import ADVANCED, Instance


class End:
    """One end of a WebSocket."""

    def __init__(self, sock: Any, kind: ConnectionType) -> None:
        self.sock = sock
        self.ws = WSConnection(kind)
        self._events: list[Event] = []

    def send(self, event: Event) -> None:
        self.sock.sendall(self.ws.send(event))

    def text(self, value: Any) -> None:
        self.send(TextMessage(data=value if isinstance(value, str) else json.dumps(value)))

    def event(self) -> Event | None:
        """The next event; None when the peer hung up without a Close."""
        while not self._events:
            data = self.sock.recv(65536)
            self.ws.receive_data(data or None)
            self._events += list(self.ws.events())
            if not data:
                break
        if not self._events:
            return None
        event = self._events.pop(0)
        if isinstance(event, CloseConnection) and event.code == 1006:
            return None
        return event

    def message(self) -> Any:
        """The next message, put together."""
        parts: list[Any] = []
        while True:
            event = self.event()
            assert isinstance(event, Message), event
            parts.append(event.data)
            if event.message_finished:
                return b"".join(parts) if isinstance(event, BytesMessage) else "".join(parts)

    def json(self) -> Any:
        return json.loads(self.message())

    def closed(self) -> tuple[int, str]:
        """The Close that comes next."""
        event = self.event()
        assert isinstance(event, CloseConnection), event
        return event.code, event.reason or ""

    def gone(self) -> bool:
        """The peer hangs up."""
        try:
            return not self.sock.recv(65536)
        except ConnectionResetError:
            return True


class Session(End):
    """The provider's end."""

    request: Request
    headers: dict[str, str]

    def accept(self, **options: Any) -> Session:
        self.send(AcceptConnection(**options))
        return self


def session(peer: Peer) -> Session:
    """Reads the request for an upgrade."""
    end = Session(peer.sock, ConnectionType.SERVER)
    event = end.event()
    assert isinstance(event, Request), event
    end.request = event
    end.headers = {name.decode(): value.decode() for name, value in event.extra_headers}
    return end


@contextmanager
def realtime_provider(talk: Callable[[Session], None], tls: Any = None) -> Iterator[Provider]:
    """A provider that holds sessions; `talk` begins with the request read."""
    with provider_of(lambda peer: talk(session(peer)), tls) as provider:
        yield provider


class Client(End):
    """Kong's end, as it is for a client of Kong's."""

    status: int
    headers: dict[str, str]
    body: bytes = b""
    subprotocol: str | None = None


def connect(
    world: World,
    target: str = "/realtime?model=m",
    headers: dict[str, str] | None = None,
    subprotocols: list[str] | None = None,
    ticket: str | None = None,
    **_: Any,
) -> Client:
    """Asks the relay for a WebSocket; `status` is 101 where it is there."""
    sock = socket.create_connection(("127.0.0.1", world.relay.port))
    sock.settimeout(10)
    world.clients.append(sock)
    client = Client(sock, ConnectionType.CLIENT)
    client.token = token = world.ticket() if ticket is None else ticket  # type: ignore[attr-defined]
    extra = [(b"x-kong-ai-ticket", token.encode())]
    extra += [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request(host="relay", target=target, extra_headers=extra, subprotocols=subprotocols or [])
    client.send(request)
    event = client.event()
    if isinstance(event, RejectConnection):
        client.status = event.status_code
        client.headers = {name.decode(): value.decode() for name, value in event.headers}
        while isinstance(event := client.event(), RejectData):
            client.body += event.data
            if event.body_finished:
                break
        return client
    assert isinstance(event, AcceptConnection), event
    client.status = 101
    client.headers = {name.decode(): value.decode() for name, value in event.extra_headers}
    client.subprotocol = event.subprotocol
    return client


def realtime_target(url: str, provider: str = "openai", **model: Any) -> dict[str, Any]:
    options = {"upstream_url": url, "input_cost": 1.0, "output_cost": 10.0, **model.pop("options", {})}
    return {
        "route_type": "realtime/v1/realtime",
        "auth": {"header_name": "Authorization", "header_value": "Bearer configured"},
        "logging": {"log_statistics": True},
        "model": {"provider": provider, "options": options, **model},
    }


def realtime_instance(*targets: dict[str, Any], **config: Any) -> Instance:
    """An instance of ai-proxy-advanced."""
    return Instance.from_config(ADVANCED, {"targets": list(targets), "__plugin_id": "p", **config})


__all__ = [
    "Client", "End", "Ping", "Pong", "Session", "Target", "connect", "realtime_instance", "realtime_provider",
    "realtime_target",
]  # fmt: skip

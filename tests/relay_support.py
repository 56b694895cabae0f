"""For tests of the relay: a scripted provider, a client, and an exchange that passes everything through.

All in one process and one gevent loop, without patching: every socket here is gevent's own.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from gevent import socket
from gevent.event import Event
from gevent.server import StreamServer

from kong_ai_proxy.config.models import Model, Target
from kong_ai_proxy.core.call import Call
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.http import ClientRequest, ClientResponse, Headers, UpstreamRequest, Url
from kong_ai_proxy.core.json import Json, dumps
from kong_ai_proxy.exchange.exchange import Timeouts
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.relay.downstream import Limits
from kong_ai_proxy.relay.server import RelayServer
from kong_ai_proxy.relay.upstream import PoolLimits, UpstreamClient

Script = Callable[["Peer"], None]


class Peer:
    """One connection at the scripted provider."""

    def __init__(self, sock: Any, provider: Provider) -> None:
        self.sock = sock
        self.provider = provider
        self._buffer = b""

    def request(self) -> tuple[bytes, bytes] | None:
        """Head and body of the next request; None when the relay closed."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return None
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            return head, self._chunked()
        length = 0
        for line in lower.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        parts = [self._buffer]
        have = len(self._buffer)
        while have < length:
            data = self.sock.recv(1 << 20)
            if not data:
                return None
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self._buffer = whole[length:]
        return head, whole[:length]

    def _chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                self._buffer += self.sock.recv(1 << 20)
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line, 16)
            while len(self._buffer) < size + 2:
                self._buffer += self.sock.recv(1 << 20)
            body += self._buffer[:size]
            self._buffer = self._buffer[size + 2 :]
            if not size:
                return body

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(
        self, body: bytes, status: str = "200 OK", headers: str = "content-type: application/json\r\n"
    ) -> None:
        self.send(f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body)

    def stream_head(self, headers: str = "") -> None:
        self.send(
            f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{headers}"
            "transfer-encoding: chunked\r\n\r\n".encode()
        )

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.send(b"0\r\n\r\n")

    def wait_closed(self) -> None:
        """Until the relay closes; notes when."""
        try:
            while self.sock.recv(65536):
                pass
        except OSError:
            pass
        self.provider.closed_at = time.monotonic()
        self.provider.closed.set()


class Provider:
    """Runs `script` for every connection."""

    def __init__(self, script: Script, tls: Any = None) -> None:
        self.connections = 0
        self.closed = Event()
        self.closed_at = 0.0
        self.requests: list[tuple[bytes, bytes]] = []
        self._script = script
        options = {"ssl_context": tls} if tls else {}
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **options)
        self._server.start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def _serve(self, sock: Any, _address: Any) -> None:
        self.connections += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._script(Peer(sock, self))
        except OSError:
            pass
        finally:
            sock.close()

    def stop(self) -> None:
        self._server.stop(timeout=0)


def every(handle: Callable[[Peer, bytes, bytes], None]) -> Script:
    """A script that answers request after request on a connection."""

    def script(peer: Peer) -> None:
        while (got := peer.request()) is not None:
            peer.provider.requests.append(got)
            handle(peer, *got)

    return script


class PassStream:
    """Bytes as they come; complete when the last event is `data: [DONE]`."""

    binary = False

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type
        self.headers: Headers = {"x-request-id": "r1"}
        self.failed: ApiError | None = None
        self.fed = 0
        self._tail = b""
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        self.fed += 1
        self._tail = (self._tail + data)[-32:]
        if b"event: broken" in data:
            self.failed = ApiError(529, "overloaded", headers={"retry-after": "3"})
        return data

    def finish(self) -> bytes:
        self._ended = True
        if self.content_type == "text/event-stream" and not self._tail.rstrip().endswith(b"[DONE]"):
            return self._fail(ApiError(502, "truncated"))
        return b""

    def abort(self, error: ApiError) -> bytes:
        return b"" if self._ended or self.failed else self._fail(error)

    def _fail(self, error: ApiError) -> bytes:
        self.failed = error
        return b'data: {"error":"%b"}\n\n' % error.message.encode()


class FakeTranslation:
    def __init__(self, call: Call, url: Url) -> None:
        self.call = call
        self.url = url
        self.stream_of: PassStream | None = None

    def request(self) -> UpstreamRequest:
        request = self.call.request
        headers = {"content-type": request.headers.get("content-type", "application/json")}
        if "x-refuse" in request.headers:
            raise ApiError(400, "this provider cannot do that")
        if "x-inject" in request.headers:
            headers["x-inject"] = "a\r\nb: c"
        return UpstreamRequest(request.method, self.url, headers, request.body, request.upload)

    def response(self, status: int, headers: Headers, body: bytes) -> ClientResponse:
        kept = {name: headers[name] for name in ("content-type", "x-request-id") if name in headers}
        return ClientResponse(status, kept, body)

    def further(self, status: int, headers: Headers, body: bytes) -> None:
        return None

    def stream(self, status: int, headers: Headers) -> PassStream | None:
        kind = headers.get("content-type", "")
        if status != 200 or kind not in ("text/event-stream", "audio/mpeg", "application/x-ndjson"):
            return None
        self.stream_of = PassStream(kind)
        return self.stream_of


class FakeAttempt:
    def __init__(self, exchange: FakeExchange, target: Target, url: Url) -> None:
        self.exchange = exchange
        self.call = Call(target, target.model.options, "m", "chat", exchange.request)
        self.translation = FakeTranslation(self.call, url)
        self.timeouts = exchange.world.timeouts
        self.repeatable = False

    def connected(self, ip: str, elapsed: float) -> None:
        self.exchange.events.append(("connected", ip))
        assert elapsed >= 0

    def doubt_credential(self) -> None:
        self.exchange.events.append(("credential doubted",))

    def failed(self, kind: str) -> bool:
        self.exchange.events.append(("failed", kind))
        return True

    def reads_refusal(self, status: int) -> bool:
        return False

    def rejected(self, status: int, headers: Headers, refusal: bytes | None = None) -> bool:
        if status >= 500:
            self.exchange.events.append(("rejected", status))
            return bool(self.exchange.urls)
        return False

    def first_output(self) -> None:
        self.exchange.events.append(("first_output",))

    def ended(self, *, partial: bool = False) -> None:
        self.exchange.events.append(("ended", partial))


class FakeExchange:
    """Tries the world's providers in order, each once."""

    def __init__(self, world: World, ticket: Ticket, request: ClientRequest) -> None:
        self.world = world
        self.ticket = ticket
        self.request = request
        self.events: list[tuple[Any, ...]] = []
        self.urls = list(world.urls)
        self.stream = True

    def itself(self) -> ClientResponse | None:
        return None

    def next_attempt(self) -> FakeAttempt | None:
        if self.world.no_target is not None:
            raise self.world.no_target
        if not self.urls:
            return None
        attempt = FakeAttempt(self, self.world.target, self.urls.pop(0))
        self.world.attempts.append(attempt)
        return attempt

    def refuse(self, error: ApiError) -> ClientResponse:
        self.events.append(("refused", error.status))
        return refusal(error)

    def record_if_left(self) -> Json | None:
        if self.world.broken_record:
            raise KeyError("record")
        return {"usage": {"partial": True}}

    def record(self) -> Json | None:
        if self.world.broken_record:
            raise KeyError("record")
        partial = ("ended", True) in self.events
        return {"usage": {"partial": partial}, "events": len(self.events)}

    def close(self) -> None:
        """What it is asked for is looked at afterwards."""


def refusal(error: ApiError) -> ClientResponse:
    body = {"error": {"message": error.message, "code": error.code}}
    return ClientResponse(error.status, {"content-type": "application/json", **error.headers}, dumps(body))


@dataclass
class World:
    """A relay, its tickets, and what it saw."""

    relay: RelayServer
    tickets: TicketStore
    client: UpstreamClient
    timeouts: Timeouts
    urls: list[Url] = field(default_factory=list)
    exchanges: list[FakeExchange] = field(default_factory=list)
    attempts: list[FakeAttempt] = field(default_factory=list)
    logged: list[Json] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)
    no_target: ApiError | None = None
    broken_record: bool = False
    instance: Instance | None = None
    """For the real exchange."""
    max_body: int = 0
    filter_installed: bool = True
    buffered: bool = False
    target: Target = field(
        default_factory=lambda: Target(model=Model(provider="openai", name="m"), route_type="llm/v1/chat")
    )

    def ticket(self) -> str:
        instance = self.instance or Instance(
            plugin="kong-ai-proxy", plugin_id="p", targets=[self.target], llm_format="openai",
            response_streaming="allow", max_request_body_size=self.max_body, model_name_header=True,
            genai_category="text/generation", config={},
        )  # fmt: skip
        return self.tickets.file(
            Ticket(instance=instance, filter_installed=self.filter_installed, buffered=self.buffered)
        )

    def to(self, *providers: Provider, tls: bool = False, host: str = "127.0.0.1") -> None:
        """Attempts go to these, in this order."""
        self.urls = [Url("https" if tls else "http", host, each.port, "/v1/chat") for each in providers]

    def open(self, ticket: Ticket, request: ClientRequest) -> Any:
        exchange = FakeExchange(self, ticket, request)
        self.exchanges.append(exchange)
        return exchange

    def connect(self, receive_buffer: int = 0) -> Client:
        client = Client(self, receive_buffer)
        self.clients.append(client)
        return client

    def post(self, body: bytes = b"{}", headers: str = "", ticket: str | None = None) -> Reply:
        with self.connect() as client:
            return client.post(body, headers, ticket)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes]
    complete: bool = True


class Client:
    """Kong, as the relay sees it."""

    def __init__(self, world: World, receive_buffer: int = 0) -> None:
        self.world = world
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect(("127.0.0.1", world.relay.port))
        except OSError:
            sock.close()
            raise
        sock.settimeout(10)
        self.sock = sock
        self._buffer = b""
        self.padding: list[int] = []
        """Lengths of the last chunk's extensions."""
        self.comments: list[bytes] = []
        """The tokens of the comments for the filter; they are left out of what is read."""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send_request(self, body: bytes = b"{}", headers: str = "", ticket: str | None = None) -> None:
        token = self.world.ticket() if ticket is None else ticket
        if "content-type" not in headers:
            headers += "content-type: application/json\r\n"
        self.sock.sendall(
            f"POST /chat?x=1 HTTP/1.1\r\nhost: relay\r\nx-kong-ai-ticket: {token}\r\n{headers}"
            f"content-length: {len(body)}\r\n\r\n".encode() + body
        )

    def post(self, body: bytes = b"{}", headers: str = "", ticket: str | None = None) -> Reply:
        self.send_request(body, headers, ticket)
        return self.read()

    def fill(self) -> bool:
        data = self.sock.recv(65536)
        self._buffer += data
        return bool(data)

    def read_head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            if not self.fill():
                raise EOFError(self._buffer)
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name not in headers, f"{name} twice"
            headers[name] = value
        return int(first.split()[1]), headers

    def read_chunk(self) -> bytes | None:
        """None at the end of the body. Raises EOFError where it breaks off."""
        while b"\r\n" not in self._buffer:
            if not self.fill():
                raise EOFError
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        length, *extensions = line.split(b";")
        self.padding = [len(extension) for extension in extensions]
        size = int(length, 16)
        while len(self._buffer) < size + 2:
            if not self.fill():
                raise EOFError
        data, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
        self.comments += re.findall(rb"(?m)^: kong-ai-usage (\S+) ", data)
        return re.sub(rb"(?m)^(: kong-ai-usage )\S+ ", rb"\1", data) or None

    def read(self) -> Reply:
        status, headers = self.read_head()
        if headers.get("transfer-encoding") == "chunked":
            chunks = []
            try:
                while (chunk := self.read_chunk()) is not None:
                    chunks.append(chunk)
            except EOFError:
                return Reply(status, headers, b"".join(chunks), chunks, complete=False)
            return Reply(status, headers, b"".join(chunks), chunks)
        if "content-length" in headers:
            length = int(headers["content-length"])
            while len(self._buffer) < length:
                if not self.fill():
                    return Reply(status, headers, self._buffer, [], complete=False)
            body, self._buffer = self._buffer[:length], self._buffer[length:]
            return Reply(status, headers, body, [])
        while self.fill():
            pass
        body, self._buffer = self._buffer, b""
        return Reply(status, headers, body, [])

    def at_end(self) -> bool:
        """The relay closes the connection, with nothing more to say."""
        return not self._buffer and not self.sock.recv(1)


@contextmanager
def relay_world(
    limits: Limits | None = None,
    pool: PoolLimits | None = None,
    timeouts: Timeouts | None = None,
    tls: Any = None,
    ttl: float = 60.0,
    real: bool = False,
    **options: Any,
) -> Iterator[World]:
    """A relay with the fake exchange, or the real one."""
    tickets = TicketStore(ttl)
    client = UpstreamClient(limits=pool, tls=tls)
    logged: list[Json] = []
    world: World

    def opened(ticket: Ticket, request: ClientRequest) -> Any:
        return world.open(ticket, request)

    given: dict[str, Any] = {"log_usage": logged.append}
    if not real:
        given |= {
            "open": opened,
            "authenticate": lambda request, call: None,
            "encode": lambda record, limit: "usage.partial=b" + "01"[record["usage"]["partial"]],
        }
    relay = RelayServer(("127.0.0.1", 0), tickets, limits=limits, client=client, **(given | options))
    relay.start()
    world = World(relay, tickets, client, timeouts or Timeouts(5.0, 5.0, 5.0), logged=logged)
    try:
        yield world
    finally:
        for each in world.clients:
            each.close()
        relay.stop(0)


@contextmanager
def provider_of(script: Script, tls: Any = None) -> Iterator[Provider]:
    provider = Provider(script, tls)
    try:
        yield provider
    finally:
        provider.stop()


def eventually(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        gevent.sleep(0.005)


def certificate(directory: Path, name: str | None, address: str | None) -> ssl.SSLContext:
    """A certificate that vouches for itself: `ca.pem` for who shall trust it; the server's context."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a provider")])
    names: list[x509.GeneralName] = []
    if name:
        names.append(x509.DNSName(name))
    if address:
        names.append(x509.IPAddress(ipaddress.ip_address(address)))
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who).issuer_name(who).public_key(key.public_key()).serial_number(7)
        .not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "ca.pem").write_bytes(pem)
    (directory / "server.pem").write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return server_context(directory)


def server_context(directory: Path) -> ssl.SSLContext:
    """Of a server with the certificate made there."""
    from gevent.ssl import SSLContext

    context = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    return context

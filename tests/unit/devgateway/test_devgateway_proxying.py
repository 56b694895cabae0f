"""The gateway's HTTP: what goes to the service and what comes back, as nginx and Kong do it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, LogFile, free_port
from kong_ai_proxy.mockllm import Answer, Drop, Gate, Hang, MockLLM, Pause, Received, Reset

Start = Callable[..., EmbeddedGateway]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway for services and plugins."""
    running: list[EmbeddedGateway] = []

    def start(services: list[Any], plugins: list[Any] | None = None, **more: Any) -> EmbeddedGateway:
        log = {"name": "file-log", "config": {"path": str(tmp_path / "log")}}
        document = {
            "_format_version": "3.0",
            "services": services,
            "plugins": [log, *(plugins or [])],
            **more,
        }
        running.append(EmbeddedGateway(document, tmp_path).start())
        return running[-1]

    yield start
    for gateway in running:
        gateway.stop()


@pytest.fixture
def service() -> Iterator[MockLLM]:
    """A service that answers what it heard."""

    def echo(received: Received) -> Answer:
        return Answer.json({"path": received.raw_path, "size": len(received.body)})

    with MockLLM(handler=echo) as mock:
        yield mock


def one(url: str, *, route: Any = None, plugins: Any = None, **service: Any) -> list[Any]:
    return [
        {
            "name": "s",
            "url": url,
            **service,
            "routes": [{"name": "r", "paths": ["/r"], "plugins": plugins or [], **(route or {})}],
        }
    ]


def send(
    gateway: EmbeddedGateway, path: str = "/r", method: str = "GET", body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=10)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given, encode_chunked="transfer-encoding" in given)
        with connection.getresponse() as answer:
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_headers_towards_the_service(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url + "/base"))
    send(
        gateway,
        "/r/x?q=1",
        connection="keep-alive, x-hop",
        x_hop="1",
        te="trailers",
        x_forwarded_for="10.0.0.1",
        x_real_ip="1.1.1.1",
        keep_alive="timeout=5",
        proxy="evil",
    )
    received = service.last
    headers = received.headers
    assert received.raw_path == "/base/x?q=1"
    assert headers["host"] == f"127.0.0.1:{service.port}"
    assert headers["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert headers["x-forwarded-path"] == "/r/x"
    assert headers["x-forwarded-prefix"] == "/r"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-real-ip"] == "127.0.0.1"
    assert headers["via"].startswith("1.1 kong/")
    assert len(headers["x-kong-request-id"]) == 32
    assert headers["te"] == "trailers"
    assert headers["connection"] == "keep-alive"
    assert not {"x-hop", "keep-alive", "proxy", "upgrade"} & set(headers)


def test_preserve_host(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url, route={"preserve_host": True}))
    send(gateway, host="my.example:9")
    assert service.last.headers["host"] == "my.example:9"


def test_headers_towards_the_client(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    service.answer(
        Answer(
            201,
            {
                "content-type": "text/x",
                "connection": "x-hop",
                "x-hop": "1",
                "x-accel-buffering": "no",
                "via": "1.0 a",
            },
            b"body",
        )
    )
    status, headers, body = send(gateway)
    assert (status, body) == (201, b"body")
    assert headers["content-length"] == "4"
    assert headers["via"].startswith("1.0 a, 1.1 kong/")
    assert int(headers["x-kong-upstream-latency"]) >= 0
    assert int(headers["x-kong-proxy-latency"]) >= 0
    assert headers["x-kong-request-id"] == service.last.headers["x-kong-request-id"]
    assert not {"x-hop", "x-accel-buffering"} & set(headers)


@pytest.mark.parametrize("size", [0, 5, 8193, 3 << 20])
def test_bodies_pass(start: Start, service: MockLLM, size: int) -> None:
    gateway = start(one(service.url))
    status, _, body = send(gateway, "/r", "POST", b"x" * size)
    assert (status, json.loads(body)["size"]) == (200, size)
    assert "transfer-encoding" not in service.last.headers


def test_chunked_body_gets_a_length(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    status, _, body = send(gateway, "/r", "POST", iter([b"ab", b"cd"]), transfer_encoding="chunked")
    assert (status, json.loads(body)["size"]) == (200, 4)
    assert service.last.headers["content-length"] == "4"


def test_unbuffered_request_keeps_its_framing(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url, route={"request_buffering": False}))
    send(gateway, "/r", "POST", iter([b"ab", b"cd"]), transfer_encoding="chunked")
    assert service.last.headers["transfer-encoding"] == "chunked"
    assert service.last.body == b"abcd"


def test_expect_continue(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
        sock.sendall(b"POST /r HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100")
        sock.sendall(b"ok")
        assert sock.recv(1000).startswith(b"HTTP/1.1 200")


def test_pipelined_requests(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
        sock.sendall(
            b"POST /r/1 HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\nab"
            b"GET /r/2 HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n"
        )
        data = b""
        while received := sock.recv(65536):
            data += received
    assert data.count(b"HTTP/1.1 200") == 2
    assert [r.raw_path for r in service.requests] == ["/1", "/2"]


def test_not_http(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
        sock.sendall(b"nonsense\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400")


def test_nginx_buffers_unless_told_otherwise(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    for headers, at_once in (({}, False), ({"x-accel-buffering": "no"}, True)):
        gate = Gate(timeout=0.3)
        service.answer(Answer.stream([b"first", gate, b"second"], headers=headers))
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
            sock.sendall(b"GET /r HTTP/1.1\r\nhost: g\r\n\r\n")
            data = b""
            while b"first" not in data:
                data += sock.recv(65536)
            assert (b"second" not in data) is at_once
            gate.open()
            while b"0\r\n\r\n" not in data:
                data += sock.recv(65536)


@pytest.mark.parametrize("before", [[Reset()], [Drop()]])
def test_service_that_breaks(start: Start, service: MockLLM, before: Any) -> None:
    gateway = start(one(service.url))
    service.answer(Answer(before=before), times=10)
    status, headers, body = send(gateway, "/r", "POST", b"{}", accept="application/json")
    assert status == 502
    assert json.loads(body)["message"] == "An invalid response was received from the upstream server"
    assert json.loads(body)["request_id"] == headers["x-kong-request-id"]
    assert len(service.requests) == 1, "a POST that was sent is not tried again"


def test_idempotent_requests_are_tried_again(start: Start, service: MockLLM, tmp_path: Path) -> None:
    gateway = start(one(service.url, retries=2))
    service.answer(Answer(before=[Reset()]), times=2)
    assert send(gateway)[0] == 200
    record = LogFile(tmp_path / "log").wait(1)[0]
    assert [attempt.get("code") for attempt in record["tries"]] == [502, 502, None]


def test_no_service_there(start: Start, tmp_path: Path) -> None:
    gateway = start(one(f"http://127.0.0.1:{free_port()}", retries=3))
    assert send(gateway, "/r", "POST", b"{}")[0] == 502
    assert len(LogFile(tmp_path / "log").wait(1)[0]["tries"]) == 4


def test_silent_service_times_out(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url, read_timeout=200, retries=0))
    service.answer(Answer(before=[Hang()]))
    status, _, body = send(gateway, accept="text/html")
    assert status == 504
    assert b"The upstream server is timing out" in body and b"<html>" in body


@pytest.mark.parametrize(
    "answer",
    [
        Answer.stream([b"abc", Drop()]),
        Answer(200, {"content-length": "10", "x": "y"}, b"abc", head_cut=60),
    ],
)
def test_truncated_answers_stay_truncated(start: Start, service: MockLLM, answer: Answer) -> None:
    gateway = start(one(service.url))
    service.answer(answer)
    with pytest.raises((http.client.IncompleteRead, AssertionError)):
        status, _, _ = send(gateway, "/r", "POST", b"")
        assert status != 502


@pytest.mark.parametrize("answer", [Answer(before=[Hang()]), Answer.stream([b"a" * 5000, Hang()])])
def test_client_that_leaves(start: Start, service: MockLLM, answer: Answer, tmp_path: Path) -> None:
    gateway = start(one(service.url))
    service.answer(answer)
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
        sock.sendall(b"GET /r HTTP/1.1\r\nhost: g\r\n\r\n")
        service.wait_for(1)
        if answer.steps:
            sock.recv(100)
    left = time.monotonic()
    assert service.last.closed.wait(2)
    assert service.last.closed_at is not None and service.last.closed_at - left < 0.5
    assert LogFile(tmp_path / "log").wait(1)[0]["response"]["status"] == (200 if answer.steps else 499)


def test_slow_client_slows_the_service(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    blocks: list[Any] = [b"x" * 65536 for _ in range(400)]
    service.answer(Answer.stream(blocks))
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /r HTTP/1.1\r\nhost: g\r\n\r\n")
        time.sleep(0.4)
        assert len(service.last.sent_at) < 400
        assert not service.last.finished.is_set()


def test_upgrade_is_a_tunnel(start: Start) -> None:
    def upgrade(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        with peer:
            head = peer.recv(65536)
            assert b"Upgrade: websocket" in head and b"keep-alive, Upgrade" in head
            peer.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello"
            )
            while data := peer.recv(100):
                peer.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=upgrade, args=(listener,))
        thread.start()
        gateway = start(one(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        with socket.create_connection(("127.0.0.1", gateway.port), 5) as sock:
            sock.sendall(b"GET /r HTTP/1.1\r\nhost: g\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            data = b""
            while not data.endswith(b"hello"):
                data += sock.recv(1000)
            assert data.startswith(b"HTTP/1.1 101")
            sock.sendall(b"abc")
            assert sock.recv(100) == b"ABC"
        thread.join(5)
        assert not thread.is_alive()


def test_record(start: Start, service: MockLLM, tmp_path: Path) -> None:
    gateway = start(one(service.url, route={"tags": ["t"]}))
    send(gateway, "/r/x?a=1&a=2&flag", "POST", b"body", authorization="Bearer secret", x_odd="caf\xe9")
    record = LogFile(tmp_path / "log").wait(1)[0]
    assert record["request"]["method"] == "POST"
    assert record["request"]["uri"] == "/r/x?a=1&a=2&flag"
    assert record["request"]["querystring"] == {"a": ["1", "2"], "flag": True}
    assert record["request"]["headers"]["authorization"] == "REDACTED"
    assert record["upstream_uri"] == "/x?a=1&a=2&flag"
    assert record["upstream_status"] == "200"
    assert record["response"]["status"] == 200
    assert record["service"]["name"] == "s" and record["route"]["name"] == "r"
    assert record["client_ip"] == "127.0.0.1"
    assert record["source"] == "upstream"
    assert set(record["latencies"]) == {"kong", "proxy", "request", "receive"}
    assert record["tries"][0]["port"] == service.port


def test_key_auth(start: Start, service: MockLLM, tmp_path: Path) -> None:
    gateway = start(
        one(service.url),
        [{"name": "key-auth", "config": {"key_names": ["apikey"], "hide_credentials": True}}],
        consumers=[{"username": "alice", "custom_id": "a1", "keyauth_credentials": [{"key": "k1"}]}],
    )
    status, headers, body = send(gateway)
    assert (status, headers["www-authenticate"]) == (401, "Key")
    assert json.loads(body)["message"] == "No API key found in request"
    assert json.loads(send(gateway, apikey="wrong")[2])["message"] == "Unauthorized"
    assert service.requests == []
    assert send(gateway, "/r?apikey=k1&b=2")[0] == 200
    assert service.last.raw_path == "/?b=2"
    assert send(gateway, apikey="k1", x_consumer_username="forged")[0] == 200
    assert "apikey" not in service.last.headers
    assert service.last.headers["x-consumer-username"] == "alice"
    assert service.last.headers["x-consumer-custom-id"] == "a1"
    record = LogFile(tmp_path / "log").wait(4)[3]
    assert record["consumer"]["username"] == "alice"
    assert record["authenticated_entity"]["consumer_id"] == record["consumer"]["id"]


def test_http_log(start: Start, service: MockLLM) -> None:
    with MockLLM(handler=lambda received: Answer(204)) as collector:
        endpoint = {"http_endpoint": f"{collector.url}/logs", "headers": {"x-token": "t"}}
        gateway = start(one(service.url), [{"name": "http-log", "config": endpoint}])
        send(gateway)
        received = collector.wait_for(1)[0]
    assert received.path == "/logs" and received.headers["x-token"] == "t"
    assert received.json["request"]["uri"] == "/r"


def test_request_termination_and_service_less_route(start: Start, service: MockLLM) -> None:
    stop = [{"name": "request-termination", "config": {"status_code": 418, "message": "tea"}}]
    gateway = start(one(service.url, plugins=stop), routes=[{"name": "lonely", "paths": ["/lonely"]}])
    status, headers, body = send(gateway)
    assert (status, json.loads(body)) == (418, {"message": "tea"})
    assert int(headers["x-kong-response-latency"]) >= 0
    assert "x-kong-upstream-latency" not in headers
    assert send(gateway, "/lonely")[0] == 503


def test_slow_requests_do_not_hold_up_others(start: Start, service: MockLLM) -> None:
    gateway = start(one(service.url))
    service.answer(Answer(before=[Pause(1.0)]))
    slow = threading.Thread(target=send, args=(gateway,))
    slow.start()
    service.wait_for(1)
    started = time.monotonic()
    assert send(gateway)[0] == 200
    assert time.monotonic() - started < 0.5
    slow.join()

"""/health and /metrics of the relay: what they say, and that no client gets there through Kong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from relay_support import Client, Peer, eventually, every, provider_of, relay_world

from kong_ai_proxy.devgateway.rpc import RpcClient
from kong_ai_proxy.relay.server import RelayServer
from kong_ai_proxy.server.serve import Options, Server


def ask(world: Any, head: str) -> Any:
    with Client(world) as client:
        client.sock.sendall(head.encode())
        return client.read()


def metrics(world: Any) -> dict[str, float]:
    reply = ask(world, "GET /metrics HTTP/1.1\r\nhost: relay\r\n\r\n")
    assert reply.status == 200
    return samples(reply.body)


def samples(body: bytes) -> dict[str, float]:
    lines = [line for line in body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_what_it_tells() -> None:
    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b"{}")

    with relay_world() as world, provider_of(every(answer)) as provider:
        world.to(provider)
        assert world.post().status == 200
        world.ticket()
        reply = ask(world, "GET /metrics HTTP/1.1\r\nhost: relay\r\n\r\n")
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        told = samples(reply.body)
        assert told['kong_ai_proxy_relay_requests_total{ticket="valid"}'] == 1
        assert told['kong_ai_proxy_relay_requests_total{ticket="none"}'] == 0
        assert told["kong_ai_proxy_upstream_idle_connections"] == 1
        assert told["kong_ai_proxy_relay_exchanges_running"] == 1
        assert told["kong_ai_proxy_relay_streams_open"] == 0
        assert told["process_resident_memory_bytes"] > 1e6
        assert told["process_open_fds"] > 3


def test_open_streams_are_counted() -> None:
    def stream(peer: Peer) -> None:
        peer.request()
        peer.stream_head()
        peer.chunk(b"data: {}\n\n")
        peer.wait_closed()

    with relay_world() as world, provider_of(stream) as provider:
        world.to(provider)
        client = world.connect()
        client.send_request()
        client.read_head()
        assert metrics(world)["kong_ai_proxy_relay_streams_open"] == 1
        client.close()
        eventually(lambda: metrics(world)["kong_ai_proxy_relay_streams_open"] == 0)


KONGS = (
    "x-real-ip: 10.0.0.1", "X-Forwarded-For: 10.0.0.1", "x-forwarded-proto: http", "via: 1.1 kong/3.9.0",
    "x-kong-request-id: 1", "x-consumer-username: alice", "Forwarded: for=10.0.0.1",
    "x-forwarded-prefix: /chat", "x-kong-ai-ticket: guessed",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/metrics", "/health"])
@pytest.mark.parametrize("header", KONGS)
def test_a_request_through_kong_does_not_get_there(path: str, header: str) -> None:
    with relay_world() as world:
        reply = ask(world, f"GET {path} HTTP/1.1\r\nhost: relay\r\n{header}\r\n\r\n")
        assert reply.status == 503
        assert b"plugin_did_not_run" in reply.body
        assert b"kong_ai_proxy_" not in reply.body


def test_a_ticket_leads_to_the_provider_whatever_the_path() -> None:
    def answer(peer: Peer, head: bytes, body: bytes) -> None:
        peer.answer(b'{"from": "provider"}')

    with relay_world() as world, provider_of(every(answer)) as provider:
        world.to(provider)
        reply = ask(
            world, f"GET /metrics HTTP/1.1\r\nhost: relay\r\nx-kong-ai-ticket: {world.ticket()}\r\n\r\n"
        )
        assert reply.body == b'{"from": "provider"}'


@pytest.mark.parametrize("line", ["POST /metrics", "GET /metrics/", "GET //metrics", "GET /Metrics", "GET /"])
def test_nothing_else_is_answered(line: str) -> None:
    with relay_world() as world:
        reply = ask(world, f"{line} HTTP/1.1\r\nhost: relay\r\ncontent-length: 0\r\n\r\n")
        assert reply.status == 503
        assert metrics(world)['kong_ai_proxy_relay_requests_total{ticket="none"}'] == 1


def test_one_broken_collector_hides_nothing_else() -> None:
    def broken() -> Any:
        raise RuntimeError("no number")

    with relay_world() as world:
        world.relay.collectors.insert(0, broken)
        assert "kong_ai_proxy_relay_connections" in metrics(world)


def test_the_whole_process(tmp_path: Any) -> None:
    server = Server(Options(str(tmp_path), ("127.0.0.1", 0), grace=0.1), RelayServer)
    server.start()
    try:
        world = SimpleNamespace(relay=server.relay)
        rpc = RpcClient(str(tmp_path / "kong-ai-proxy.sock"), read_timeout=5.0)
        config = {"route_type": "llm/v1/chat", "model": {"provider": "openai", "name": "m"}}
        rpc.start_instance("kong-ai-proxy", config)
        told = metrics(world)
        assert told["kong_ai_proxy_instances"] == 1
        assert told["kong_ai_proxy_configurations"] == 1
        assert told["kong_ai_proxy_rpc_connections"] == 1
        assert told["kong_ai_proxy_rpc_round_trips_total"] == 0
        assert told["kong_ai_proxy_tickets_open"] == 0
        assert told["kong_ai_proxy_tickets_expired_total"] == 0
        rpc.close()
    finally:
        server.shutdown()

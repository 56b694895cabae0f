"""How Redis is connected to: every field of `redis` that says so, against a real server."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis_support import free_port, redis_server
from relay_support import certificate

from kong_ai_proxy.config.models import Redis, RedisNode, SentinelNode
from kong_ai_proxy.redis_client import connect

pytest.importorskip("redis")
NAME = "redis.internal"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("tls")
    certificate(made, NAME, None)
    return made


@pytest.fixture
def trusted(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(directory / "ca.pem"))


@pytest.fixture(scope="module")
def port(directory: Path) -> Iterator[int]:
    """A server with TLS, whose certificate is for a name that its address is not."""
    port = free_port()
    with redis_server(directory, *tls_options(directory, port)):
        yield port


def tls_options(directory: Path, port: int) -> list[str]:
    pem = str(directory / "server.pem")
    files = ["--tls-cert-file", pem, "--tls-key-file", pem, "--tls-ca-cert-file", pem]
    return ["--tls-port", str(port), *files, "--tls-auth-clients", "no"]


def ping(**settings: Any) -> None:
    with closing(connect(Redis(**settings))) as client:
        assert client.ping()


@pytest.mark.usefixtures("trusted")
def test_server_name_is_what_the_certificate_is_for(port: int) -> None:
    import redis

    ping(port=port, ssl=True, server_name=NAME)
    ping(port=port, ssl=True, ssl_verify=False)
    for settings in ({}, {"server_name": "other.internal"}):
        with pytest.raises(redis.ConnectionError, match="certificate"):
            ping(port=port, ssl=True, **settings)


def test_a_certificate_that_nobody_vouches_for(port: int) -> None:
    import redis

    with pytest.raises(redis.ConnectionError, match="certificate"):
        ping(port=port, ssl=True, server_name=NAME)


@pytest.mark.usefixtures("trusted")
def test_server_name_goes_to_the_server(directory: Path) -> None:
    """As server name indication: what stands before a Redis chooses by it."""
    named: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    context.sni_callback = lambda sock, name, context: named.append(name)
    with spoken(lambda data: b"+PONG\r\n" * data.count(b"*"), context) as (port, _):
        ping(port=port, ssl=True, server_name=NAME)
    assert named == [NAME]


@pytest.mark.usefixtures("trusted")
def test_sentinels_speak_tls_where_redis_does(directory: Path, tmp_path: Path, port: int) -> None:
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {port} 1\n")
    own = free_port()
    options = [*tls_options(directory, own), "--tls-replication", "yes"]
    with redis_server(tmp_path, *options, config=config):
        nodes = [SentinelNode(host="127.0.0.1", port=own)]
        ping(port=1, ssl=True, server_name=NAME, sentinel_nodes=nodes, sentinel_master="main")


def test_database(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        with closing(connect(Redis(port=server.port, database=3))) as client:
            client.set("here", "1")
        with closing(connect(Redis(port=server.port))) as client:
            assert client.get("here") is None
        # Behind a proxy nobody chooses a database, whatever the number says.
        with closing(connect(Redis(port=server.port, database=3, connection_is_proxied=True))) as client:
            assert client.get("here") is None


def test_a_proxy_hears_no_command_that_it_may_not_know() -> None:
    """Envoy's has neither SELECT nor HELLO:
    https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/other_protocols/redis."""
    with spoken(lambda data: b"+PONG\r\n" * data.count(b"*")) as (port, heard):
        ping(port=port, database=3, connection_is_proxied=True)
    said = b"".join(heard).upper()
    assert b"PING" in said
    assert b"SELECT" not in said and b"HELLO" not in said


def test_redirections_of_a_cluster(tmp_path: Path) -> None:
    import redis

    with redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as node:
        with redis.Redis("127.0.0.1", node.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        nodes = [RedisNode(ip="127.0.0.1", port=node.port)]
        with closing(connect(Redis(cluster_nodes=nodes, cluster_max_redirections=2))) as cluster:
            assert cluster.RedisClusterRequestTTL == 2


@contextmanager
def spoken(answer: Any, tls: ssl.SSLContext | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers what it hears, on one connection after the other."""
    heard: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                sock = listener.accept()[0]
                with tls.wrap_socket(sock, server_side=True) if tls else sock as connection:
                    while data := connection.recv(65536):
                        heard.append(data)
                        connection.sendall(answer(data))
        except OSError:
            return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()

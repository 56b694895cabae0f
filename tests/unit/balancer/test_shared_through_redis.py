"""Nodes tell each other through a real Redis; without it each goes on alone."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from balancer_support import answer, failure, guarded
from exchange_support import Clock, advanced, target_config
from redis_support import RedisServer, free_port, redis_server
from relay_support import eventually

from kong_ai_proxy import log
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.balancer.shared import RedisSharing
from kong_ai_proxy.balancer.states import States
from kong_ai_proxy.config.models import Redis, RedisNode, SentinelNode
from kong_ai_proxy.redis_client import connect

FAIL_TIMEOUT = 10.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    pytest.importorskip("redis")
    with redis_server(tmp_path_factory.mktemp("redis"), "--requirepass", "not-a-secret") as running:
        yield running


def settings(port: int) -> Redis:
    return Redis(port=port, password="not-a-secret", connect_timeout=300, read_timeout=300)


class Node:
    """A process of its own, as far as the balancer can see."""

    def __init__(self, port: int, plugin_id: str, *, max_fails: int = 3, at: float = 0.0) -> None:
        self.clock = Clock()
        self.clock.now += at  # no two nodes' clocks show the same
        # Never looked at by its own loop: tests say when.
        self.sharing = RedisSharing(lambda: connect(settings(port)), interval=3600, clock=self.clock)
        self.sharing._loop = "not running"
        self.balancer: Guarded = guarded(
            [1, 1], self.clock, States(), self.sharing, plugin_id,
            max_fails=max_fails, fail_timeout=int(FAIL_TIMEOUT * 1000),
        )  # fmt: skip

    def fail(self, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.balancer.started(0)
            self.balancer.ended(0, failure(**more))

    def succeed(self) -> None:
        self.balancer.started(0)
        self.balancer.ended(0, answer(1.0))

    @property
    def up(self) -> bool:
        return self.balancer.available(0, self.clock.now)

    @property
    def fails(self) -> int:
        return self.balancer.states[0].fails


def two(server: RedisServer, name: str, **more: Any) -> tuple[Node, Node]:
    return Node(server.port, name, **more), Node(server.port, name, at=5e6, **more)


def exchange(*nodes: Node) -> None:
    for node in nodes:
        node.sharing.exchange()


def test_failures_of_all_nodes_add_up(server: RedisServer) -> None:
    one, other = two(server, "add-up")
    one.fail(2)
    other.fail(1)
    assert one.up and other.up
    exchange(one, other, one)
    assert not one.up and not other.up
    assert one.fails == other.fails == 3
    for node in (one, other):
        node.clock.now += FAIL_TIMEOUT - 1
        assert not node.up
        node.clock.now += 2
        assert node.up, "due for a trial"


def test_a_recovery_is_everybodys(server: RedisServer) -> None:
    one, other = two(server, "recovery", max_fails=1)
    one.balancer.fail_timeout = other.balancer.fail_timeout = 0.05
    one.fail()
    exchange(one, other)
    assert not other.up
    time.sleep(0.06)  # Redis's clock is not ours to move
    one.clock.now += 0.06
    one.succeed()
    exchange(one, other)
    assert one.up and other.up
    assert one.fails == other.fails == 0


def test_a_recovery_too_early_for_others_failures_is_none(server: RedisServer) -> None:
    one, other = two(server, "too-early", max_fails=1)
    one.fail()
    exchange(one)
    one.clock.now += FAIL_TIMEOUT
    other.fail()
    exchange(other)
    one.succeed()
    assert one.up
    exchange(one)
    assert not one.up, "the other node saw it fail a moment ago"


def test_retry_after_is_everybodys(server: RedisServer) -> None:
    one, other = two(server, "retry-after", max_fails=0)
    one.fail(retry_after_s=30.0, status=429)
    exchange(one, other)
    assert not other.up
    other.clock.now += 28
    assert not other.up
    other.clock.now += 3
    assert other.up


def test_scores_of_all_nodes_make_one_average(server: RedisServer) -> None:
    one, other = two(server, "scores", max_fails=0)
    for score in (60, 60, 60):
        one.balancer.scored(0, score)
    for score in (90, 90, 90):
        other.balancer.scored(0, score)
    exchange(one, other, one)
    for node in (one, other):
        accuracy = node.balancer.states[0].accuracy
        assert accuracy.scores == 6 and accuracy.mean == pytest.approx(75, abs=0.01)
        assert node.balancer.states[1].accuracy.scores == 0
    later = Node(server.port, "scores", max_fails=0)
    exchange(later)
    assert later.balancer.states[0].accuracy.known, "a node that starts later knows them as well"
    one.balancer.scored(0, 10)
    assert one.balancer.states[0].accuracy.mean == pytest.approx(75 - 65 / 7)
    exchange(one, other)
    assert other.balancer.states[0].accuracy.mean == pytest.approx(75 - 65 / 7, abs=0.01)


def test_scores_are_kept_while_redis_is_away_and_none_is_lost_meanwhile(server: RedisServer) -> None:
    one, other = two(server, "scores-away", max_fails=0)
    send = one.sharing._send
    one.sharing._send = lambda messages: ConnectionError("away")  # type: ignore[method-assign,assignment]
    for score in range(150):
        one.balancer.scored(0, 50 + score % 2)
    with pytest.raises(ConnectionError):
        exchange(one)
    one.balancer.scored(0, 50)

    def slowly(messages: Any) -> Any:
        answers = send(messages)
        one.balancer.scored(0, 100)
        return answers

    one.sharing._send = slowly  # type: ignore[method-assign]
    exchange(one)
    one.sharing._send = send  # type: ignore[method-assign]
    assert one.balancer.states[0].accuracy.mean == pytest.approx(55.45, abs=0.3)
    exchange(one, other)
    accuracy = other.balancer.states[0].accuracy
    assert accuracy.scores == 101, "older ones than a hundred make no difference"
    assert accuracy.mean == pytest.approx(55.45, abs=0.3)


def test_what_happens_during_an_exchange_is_not_lost(server: RedisServer) -> None:
    one, other = two(server, "meanwhile", max_fails=9)
    one.fail(2)
    send = one.sharing._send

    def slowly(messages: Any) -> Any:
        answers = send(messages)
        one.fail(3)
        return answers

    one.sharing._send = slowly  # type: ignore[method-assign]
    exchange(one)
    one.sharing._send = send  # type: ignore[method-assign]
    assert one.fails == 5
    exchange(one, other)
    assert one.fails == other.fails == 5


def test_redis_away_and_back(tmp_path: Path, server: RedisServer) -> None:
    own = RedisServer(tmp_path)
    node = Node(own.port, "away")
    node.fail(2)
    with pytest.raises(Exception, match="refused"):
        exchange(node)
    node.fail(1)
    assert not node.up, "it goes by what it sees itself"
    own.start("--requirepass", "not-a-secret")
    try:
        late = Node(own.port, "away", at=77.0)
        exchange(node, late)
        assert late.fails == node.fails == 3, "what was not told is told now"
    finally:
        own.stop()


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    log.configure("info", stream)
    yield stream
    log.configure("info", None)


def test_one_warning_while_redis_is_away(logged: io.StringIO) -> None:
    pytest.importorskip("redis")
    sharing = RedisSharing(lambda: connect(settings(free_port())), interval=0.01)
    balancer = guarded([1], Clock(), States(), sharing, max_fails=3)
    began = time.monotonic()
    while time.monotonic() - began < 0.4:
        gevent.sleep(0.05)
        balancer.started(0)
        balancer.ended(0, answer())
    assert logged.getvalue().count("redis_away") == 1
    assert "not-a-secret" not in logged.getvalue()
    del balancer
    eventually(lambda: sharing._loop is None)


def test_the_loop_shares_by_itself_and_ends_with_the_last_instance(server: RedisServer) -> None:
    def node() -> tuple[RedisSharing, Guarded]:
        sharing = RedisSharing(lambda: connect(settings(server.port)), interval=0.02)
        clock = Clock()
        return sharing, guarded([1], clock, States(), sharing, "loop", max_fails=2)

    (first, one), (_, other) = node(), node()
    for _ in range(2):
        one.started(0)
        one.ended(0, failure())
    eventually(lambda: other.states[0].fails == 2)
    del one
    eventually(lambda: first._loop is None)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, logged: io.StringIO) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    sharing = RedisSharing(lambda: connect(settings(1)), interval=0.01)
    balancer = guarded([1], Clock(), States(), sharing, max_fails=1)
    gevent.sleep(0.2)
    assert logged.getvalue().count("redis_library_missing") == 1
    balancer.started(0)
    balancer.ended(0, failure())
    assert not balancer.available(0, 1000.0)


def told(settings: Redis, name: str) -> None:
    """A failure on one node, seen by another."""
    nodes = []
    for at in (0.0, 9.0):
        node = Node(settings.port, name, max_fails=1, at=at)
        node.sharing._connect = lambda: connect(settings)
        nodes.append(node)
    one, other = nodes
    one.fail()
    exchange(one, other)
    assert not other.up


def test_a_cluster(tmp_path: Path) -> None:
    redis = pytest.importorskip("redis")
    with redis_server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())) as node:
        with redis.Redis("127.0.0.1", node.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            eventually(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 10)
        told(Redis(port=1, cluster_nodes=[RedisNode(ip="127.0.0.1", port=node.port)]), "cluster")


def test_behind_sentinels(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    (tmp_path / "master").mkdir()
    with redis_server(tmp_path / "master") as master:
        config = tmp_path / "sentinel.conf"
        config.write_text(f"sentinel monitor main 127.0.0.1 {master.port} 1\n")
        with redis_server(tmp_path, config=config) as sentinel:
            nodes = [SentinelNode(host="127.0.0.1", port=sentinel.port)]
            told(Redis(port=1, sentinel_nodes=nodes, sentinel_master="main"), "sentinel")


def test_by_configuration(server: RedisServer) -> None:
    block = {"redis": {"host": "127.0.0.1", "port": server.port, "password": "not-a-secret"}}
    instances = [
        advanced(target_config(name=name), balancer={"max_fails": 1}, kong_ai_proxy=block)
        for name in ("a", "b")
    ]
    sharings = {id(instance.balancer._sharing) for instance in instances}  # type: ignore[attr-defined]
    assert len(sharings) == 1, "one connection for all instances"
    sharing = instances[0].balancer._sharing  # type: ignore[attr-defined]
    assert isinstance(sharing, RedisSharing)
    sharing.exchange()

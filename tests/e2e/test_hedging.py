"""A second target is asked when the first is slow: the first answer wins, the other is cancelled and paid."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import gevent
import pytest
from exchange_support import advanced, target_config
from plain_relay import plain_relay, upstream_to
from relay_support import Client, Peer, Provider, Reply, eventually, provider_of

from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.relay.server import RelayServer

pytestmark = pytest.mark.in_process("teaches the relay's own estimates; for workers see test_relay_workers")

SLOW = 1.0


class Target:
    """Answers at once, unless told to be slow or to fail."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.status = "200 OK"
        self.asked = 0
        self.left = 0
        """Times the relay closed the connection before there was an answer."""

    def serve(self, peer: Peer) -> None:
        while (got := peer.request()) is not None:
            self.asked += 1
            if self.seconds:
                with gevent.Timeout(self.seconds, False):
                    peer.wait_closed()
                    self.left += 1
                    return
            if self.status == "reset":
                return
            usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
            if json.loads(got[1]).get("stream"):
                peer.stream_head()
                delta = {"index": 0, "delta": {"content": "ok"}, "finish_reason": "stop"}
                for event in ({"choices": [delta]}, {"choices": [], "usage": usage}):
                    peer.chunk(b"data: %b\n\n" % json.dumps({"id": "c", "model": "m", **event}).encode())
                peer.chunk(b"data: [DONE]\n\n")
                peer.end()
                continue
            choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
            peer.answer(json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode(), self.status)


class World:
    def __init__(self, instance: Instance, targets: list[Target], ports: list[int], relay: RelayServer):
        self.instance, self.targets, self.ports, self.relay = instance, targets, ports, relay
        self.logged: list[Any] = []

    def ticket(self) -> str:
        return self.tickets.file(Ticket(self.instance, filter_installed=True, buffered=False))

    tickets: TicketStore

    def post(self, *, stream: bool = False) -> tuple[Reply, Any]:
        """The reply and its record."""
        body = {"messages": [{"role": "user", "content": "x" * 40}], "stream": stream}
        with Client(self) as client:  # type: ignore[arg-type]
            reply = client.post(json.dumps(body).encode())
        record = reply.headers["x-kong-ai-usage"]
        if record.startswith("stream"):
            record = reply.body.rpartition(b": kong-ai-usage ")[2].decode()
        return reply, json.loads(record)

    def learn(self, *, stream: bool = False) -> None:
        """It knows that the first target takes 20 ms."""
        assert self.instance.hedging is not None
        for _ in range(30):
            self.instance.hedging.observe(0, stream, 0.02)
        for _ in range(10):
            assert self.instance.hedging.delay(0, stream) == 0.02

    def idle(self) -> bool:
        assert isinstance(self.instance.balancer, Guarded)
        return all(state.in_flight == 0 for state in self.instance.balancer.states)


@contextmanager
def hedged(**balancer: Any) -> Iterator[World]:
    """Two targets; the first goes first."""
    with ExitStack() as stack:
        targets = [Target(), Target()]
        providers: list[Provider] = [stack.enter_context(provider_of(target.serve)) for target in targets]
        instance = advanced(
            *(
                target_config(
                    name=f"m{number}",
                    weight=2 - number,
                    options=upstream_to(provider.port),
                )
                for number, provider in enumerate(providers)
            ),
            balancer={"algorithm": "priority", **balancer},
            kong_ai_proxy={"hedge_quantile": 0.9},
        )
        tickets = TicketStore()
        relay, logged = stack.enter_context(plain_relay(tickets))
        world = World(instance, targets, [provider.port for provider in providers], relay)
        world.tickets, world.logged = tickets, logged
        yield world


def tried(world: World, record: Any) -> list[int]:
    return [world.ports.index(entry["port"]) for entry in record["tried_targets"]]


def test_the_faster_one_wins_and_the_other_is_cancelled_and_metered() -> None:
    for stream in (False, True):
        with hedged() as world:
            world.learn(stream=stream)
            world.targets[0].seconds = SLOW
            began = time.monotonic()
            reply, record = world.post(stream=stream)
            assert time.monotonic() - began < SLOW / 2
            assert reply.status == 200 and b"ok" in reply.body
            eventually(lambda w=world: w.targets[0].left == 1)  # type: ignore[misc]
            assert world.targets[1].asked == 1
            assert tried(world, record) == [0, 1], "the one that answered is last"
            loser, winner = record["tried_targets"]
            assert loser["usage"]["prompt_tokens"] == 10, "estimated from the request"
            assert "usage" not in winner
            assert record["usage"]["total_tokens"] == 12
            assert record["meta"]["request_model"] == "m1"
            assert world.idle()


def test_the_first_may_win_after_all() -> None:
    with hedged() as world:
        world.learn()
        world.targets[0].seconds, world.targets[1].seconds = 0.1, SLOW
        reply, record = world.post()
        assert reply.status == 200
        eventually(lambda: world.targets[1].left == 1)
        assert tried(world, record) == [1, 0]
        assert record["meta"]["request_model"] == "m0"
        assert world.idle()


def test_a_second_one_that_fails_changes_nothing() -> None:
    for status in ("reset", "429 Too Many Requests"):
        criteria = ["error", "http_429", "non_idempotent"]
        with hedged(failover_criteria=criteria, max_fails=1) as world:
            world.learn()
            world.targets[0].seconds, world.targets[1].status = 0.2, status
            reply, record = world.post()
            assert reply.status == 200
            assert tried(world, record) == [1, 0]
            assert world.instance.balancer.states[1].fails == 1  # type: ignore[attr-defined]
            assert world.idle()


def test_both_fail() -> None:
    with hedged(failover_criteria=["http_429"]) as world:
        world.learn()
        world.targets[0].seconds, world.targets[0].status = 0.1, "429 Too Many Requests"
        world.targets[1].status = "429 Too Many Requests"
        reply, record = world.post()
        assert reply.status == 429
        assert tried(world, record) == [1, 0]
        assert world.idle()


def test_a_client_that_leaves_cancels_both() -> None:
    with hedged() as world:
        world.learn()
        for target in world.targets:
            target.seconds = SLOW
        client = Client(world)  # type: ignore[arg-type]
        client.send_request(json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode())
        eventually(lambda: world.targets[1].asked == 1)
        client.close()
        eventually(lambda: [target.left for target in world.targets] == [1, 1])
        eventually(world.idle)
        eventually(lambda: len(world.logged) == 1)


def test_not_without_the_setting() -> None:
    with hedged() as world:
        world.learn()
        world.targets[0].seconds = 0.1
        world.instance.hedging = None
        assert world.post()[0].status == 200
        assert world.targets[1].asked == 0


def test_a_slow_time_does_not_double_the_load() -> None:
    with hedged() as world:
        world.learn()
        world.targets[0].seconds = 0.05
        for _ in range(60):
            assert world.post()[0].status == 200
        assert 1 <= world.targets[1].asked <= 10

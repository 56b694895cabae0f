"""Kong's documented balancing examples against the targets they describe: every request goes through the
relay to a simulated provider per target. The relay is this process, or two workers beside it, which one
request after the other goes to in turn."""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from config_examples import examples
from gevent.pool import Pool
from redis_support import free_port, redis_server
from relay_support import Client, Peer, Provider, Reply, eventually, every, provider_of

from kong_ai_proxy.balancer.states import STATES
from kong_ai_proxy.exchange.instance import ADVANCED, Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.relay.server import RelayServer
from kong_ai_proxy.workers.pool import WorkerPool

POOL: list[tuple[WorkerPool, TicketStore]] = []
"""What carries the running test's requests, if it is not this process."""


@pytest.fixture(scope="module")
def two_workers() -> Iterator[tuple[WorkerPool, TicketStore]]:
    tickets = TicketStore()
    pool = WorkerPool(("127.0.0.1", 0), tickets, workers=2)
    pool.start()
    try:
        yield pool, tickets
    finally:
        pool.stop(0)


@pytest.fixture
def with_workers(two_workers: tuple[WorkerPool, TicketStore]) -> Iterator[None]:
    POOL.append(two_workers)
    yield
    POOL.clear()


@pytest.fixture
def alone() -> None:
    """This process carries the requests."""


@pytest.fixture(params=["alone", "with_workers"])
def either(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue(request.param)


either_way = pytest.mark.usefixtures("either")


class Target:
    """A simulated provider: how it answers, and what it was asked."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.status = "200 OK"
        self.tokens = 10
        self.error: Any = None
        """Instead of an answer."""
        self.models: list[str] = []
        self.at_once = 0
        self.most = 0

    def serve(self, peer: Peer, head: bytes, body: bytes) -> None:
        model = json.loads(body)["model"]
        self.models.append(model)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        if self.seconds:
            gevent.sleep(self.seconds)
        self.at_once -= 1
        if self.error is not None:
            peer.answer(json.dumps({"error": self.error}).encode(), self.status)
            return
        message = {"role": "assistant", "content": model}
        usage = {"prompt_tokens": self.tokens, "completion_tokens": 5, "total_tokens": self.tokens + 5}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
        peer.answer(json.dumps(answer).encode(), self.status)


class Setup:
    """An example's instance behind a relay."""

    def __init__(
        self, instance: Instance, targets: list[Target], relay: RelayServer | WorkerPool, tickets: TicketStore
    ) -> None:
        self.instance, self.targets, self.relay, self._tickets = instance, targets, relay, tickets

    def ticket(self) -> str:
        return self._tickets.file(Ticket(self.instance, filter_installed=True, buffered=False))

    def post(self, headers: str = "", **body: Any) -> Reply:
        request = {"messages": [{"role": "user", "content": "hi"}], **body}
        with Client(self) as client:  # type: ignore[arg-type]
            return client.post(json.dumps(request).encode(), headers)

    def many(self, count: int, at_once: int = 1) -> Counter[int]:
        """How many of these requests each target got."""
        before = [len(target.models) for target in self.targets]
        pool = Pool(at_once)
        for _ in range(count):
            pool.spawn(self._ok)
        pool.join(raise_error=True)
        return Counter(
            {index: len(target.models) - before[index] for index, target in enumerate(self.targets)}
        )

    def _ok(self) -> None:
        assert self.post().status == 200


@contextmanager
def example(
    slug: str, *, extensions: Any = None, plugin_id: str = "", costs: tuple[int, ...] = (), **balancer: Any
) -> Iterator[Setup]:
    """`costs`: of a token, for each target."""
    found = next((each for each in examples() if each.id == f"{ADVANCED}/{slug}"), None)
    if found is None:
        pytest.skip("Kong's examples are not here")
    config = copy.deepcopy(found.configs[0])
    if balancer:
        config["balancer"] = {**config.get("balancer", {}), **balancer}
    if extensions:
        config["kong_ai_proxy"] = extensions
    for cost, described in zip(costs, config["targets"], strict=False):
        described["model"].setdefault("options", {}).update(input_cost=cost, output_cost=cost)
    if plugin_id:
        config["__plugin_id"] = plugin_id
    with ExitStack() as stack:
        targets, providers = [Target() for _ in config["targets"]], list[Provider]()
        for target, described in zip(targets, config["targets"], strict=True):
            provider = stack.enter_context(provider_of(every(target.serve)))
            providers.append(provider)
            options = described["model"].setdefault("options", {})
            options["upstream_url"] = f"http://127.0.0.1:{provider.port}/v1/chat/completions"
        yield stack.enter_context(node(config, targets))


@contextmanager
def node(config: Any, targets: list[Target]) -> Iterator[Setup]:
    """A relay with an instance of its own, which knows nothing of others'."""
    STATES.forget()
    instance = Instance.from_config(ADVANCED, config)
    if POOL:
        pool, tickets = POOL[0]
        pool.opened(instance)
        yield Setup(instance, targets, pool, tickets)
        pool.closed(instance)
        return
    tickets = TicketStore()
    relay = RelayServer(
        ("127.0.0.1", 0), tickets, authenticate=lambda request, call: None, log_usage=lambda record: None
    )
    relay.start()
    try:
        yield Setup(instance, targets, relay, tickets)
    finally:
        relay.stop(0)


@either_way
def test_round_robin() -> None:
    with example("round-robin") as setup:
        assert setup.many(100) == {0: 70, 1: 25, 2: 5}
        assert setup.targets[0].models[0] == "gpt-4"


@either_way
def test_priority() -> None:
    with example("priority", max_fails=1, failover_criteria=["http_503", "non_idempotent"]) as setup:
        assert setup.many(20) == {0: 10, 1: 10, 2: 0}
        setup.targets[0].status = "503 Service Unavailable"
        counted = setup.many(20)
        assert counted[1] == 20, "the group's other target takes over"
        assert (counted[0], counted[2]) == (1, 0)
        setup.targets[1].status = "503 Service Unavailable"
        assert setup.many(20)[2] == 20, "the next group, when all of the first are away"


@either_way
def test_least_connections() -> None:
    with example("least-connections") as setup:
        for target in setup.targets:
            target.seconds = 0.02
        counted = setup.many(80, at_once=8)
        assert counted[0] == pytest.approx(40, abs=4)
        assert max(target.most for target in setup.targets) <= 5


@either_way
def test_least_connections_fails_over_on_429() -> None:
    with example("least-connections") as setup:
        setup.targets[0].status = "429 Too Many Requests"
        assert setup.many(10)[1] == 10


@either_way
def test_consistent_hashing() -> None:
    with example("consistent-hashing") as setup:
        places = {}
        for turn in range(2):
            for user in range(30):
                reply = setup.post(f"x-hashing-header: user-{user}\r\n")
                model = json.loads(reply.body)["model"]
                assert places.setdefault(user, model) == model, turn
        assert len(set(places.values())) == len(setup.targets)


@either_way
def test_lowest_latency() -> None:
    with example("lowest-latency") as setup:
        setup.targets[0].seconds, setup.targets[1].seconds = 0.1, 0.002
        setup.many(20)
        counted = setup.many(60)
        assert counted[1] / counted.total() > 0.85


@either_way
def test_lowest_usage() -> None:
    with example("lowest-usage") as setup:
        setup.targets[0].tokens, setup.targets[1].tokens = 300, 100
        counted = setup.many(80, at_once=2)
        used = [counted[index] * setup.targets[index].tokens for index in (0, 1)]
        assert used[0] / used[1] == pytest.approx(1, abs=0.15)


@either_way
@pytest.mark.parametrize(("counted", "shares"), [("total-tokens", (1, 3)), ("cost", (2, 1))])
def test_lowest_usage_by_what_is_counted(counted: str, shares: tuple[int, int]) -> None:
    """The first answers with three times the tokens, and costs a sixth for each."""
    with example("lowest-usage", tokens_count_strategy=counted, costs=(1, 6)) as setup:
        for target, tokens in zip(setup.targets, (295, 95), strict=True):
            target.tokens = tokens
        got = setup.many(80, at_once=4)
    assert got[0] / got[1] == pytest.approx(shares[0] / shares[1], rel=0.2)


@either_way
def test_circuit_breaker() -> None:
    with example("circuit-breaker", fail_timeout=700) as setup:
        first, second = setup.targets
        first.status = "500 Internal Server Error"
        statuses = [setup.post().status for _ in range(20)]
        assert statuses.count(500) == 3, "without non_idempotent no POST is repeated: three fail, then none"
        assert (len(first.models), len(second.models)) == (3, 17)
        second.status = "502 Bad Gateway"
        for _ in range(3):
            assert setup.post().status == 502
        reply = setup.post()
        assert reply.status == 500, "all targets are unhealthy"
        assert json.loads(reply.body)["error"]["message"] == "all targets are unhealthy"
        assert (len(first.models), len(second.models)) == (3, 20)
        first.status = second.status = "200 OK"
        gevent.sleep(0.75)
        assert [setup.post().status for _ in range(6)] == [200] * 6
        assert (len(first.models), len(second.models)) == (6, 23)


@either_way
def test_a_target_without_budget() -> None:
    with example("round-robin", extensions={"budget_failover": True}) as setup:
        first = setup.targets[0]
        first.status, first.error = "429 Too Many Requests", {"code": "insufficient_quota"}
        assert setup.many(20).total() == 21
        assert first.models == ["gpt-4"], "asked once, and left alone from then on"
    with example("round-robin", extensions={"budget_failover": True}) as setup:
        for target in setup.targets:
            target.status, target.error = "402 Payment Required", {"message": "Insufficient Balance"}
        reply = setup.post()
        assert reply.status == 402, "the last one's own words"
        assert json.loads(reply.body)["error"]["message"] == "Insufficient Balance"
        reply = setup.post()
        assert (reply.status, reply.headers["retry-after"]) == (429, "300")
        assert sum(len(target.models) for target in setup.targets) == 3


@either_way
def test_model_aliases() -> None:
    with example("model-alias-routing") as setup:
        for alias, target in (("powerful", "gpt-4o"), ("fast", "gpt-4o-mini")):
            assert json.loads(setup.post(model=alias).body)["model"] == target
        reply = setup.post(model="unknown")
        assert reply.status == 400
        assert json.loads(reply.body)["error"]["message"] == "model not configured"


def test_no_request_waits_for_redis_or_fails_without_it() -> None:
    """Two nodes with the example's breaker, and a Redis that is not there: each goes by what it sees."""
    away = {"redis": {"host": "127.0.0.1", "port": free_port(), "connect_timeout": 5000}}
    with (
        example("circuit-breaker", extensions=away) as one,
        example("circuit-breaker", extensions=away) as other,
    ):
        one.targets[0].status = "500 Internal Server Error"
        began = time.monotonic()
        statuses = [one.post().status for _ in range(20)]
        assert statuses.count(500) == 3 and statuses.count(200) == 17
        assert other.many(20) == {0: 10, 1: 10}
        assert time.monotonic() - began < 5, "nobody waited for a connection"


def test_nodes_learn_from_each_other_through_redis(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with redis_server(tmp_path) as redis:
        there = {"redis": {"host": "127.0.0.1", "port": redis.port}}
        with (
            example("circuit-breaker", extensions=there, plugin_id="p") as one,
            node(one.instance.config, one.targets) as other,
        ):
            # As in two processes: what one learnt is not known to the other by itself.
            states = [setup.instance.balancer.states for setup in (one, other)]  # type: ignore[attr-defined]
            assert states[0][0] is not states[1][0] and states[0][0].name == states[1][0].name
            one.targets[0].status = "500 Internal Server Error"
            assert [one.post().status for _ in range(8)].count(500) == 3
            eventually(lambda: states[1][0].fails == 3, seconds=5)
            assert [other.post().status for _ in range(8)] == [200] * 8
            assert len(one.targets[0].models) == 3, "it asked the healthy one only"

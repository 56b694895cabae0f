"""What the plugin server keeps and a worker asks for; both ends in one process here."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from exchange_support import Clock, advanced, client_request, open_exchange, proxy, target_config
from gevent.event import Event
from relay_support import eventually

from kong_ai_proxy import log
from kong_ai_proxy.balancer.base import Asked, Outcome, Scored
from kong_ai_proxy.core.errors import ApiError
from kong_ai_proxy.core.usage import Usage, UsageSource
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.metrics.exposition import Family
from kong_ai_proxy.workers import channel as channels
from kong_ai_proxy.workers import wire
from kong_ai_proxy.workers.channel import Channel, ChannelClosed
from kong_ai_proxy.workers.desk import Desk, Visitor
from kong_ai_proxy.workers.merge import merged
from kong_ai_proxy.workers.remote import Instances, RemoteTickets


class Worker:
    """A worker's end, and the desk's of the same channel."""

    def __init__(self, desk: Desk) -> None:
        ours, theirs = channels.pair()
        answers: dict[str, Any] = {}
        self.left = False

        def gone(reason: str) -> None:
            self.left = True
            desk.leave(self.visitor)

        self.desk_end = Channel(ours, answers, slow=("vectors",), on_closed=gone)
        self.visitor = Visitor(self.desk_end)
        answers.update(desk.handlers(self.visitor))
        told: dict[str, Any] = {}
        self.channel = Channel(theirs, told, on_closed=lambda reason: None)
        self.instances = Instances(self.channel)
        told.update(
            configure=self.instances.configure, retire=self.instances.retire, renew=self.instances.renew
        )
        self.tickets = RemoteTickets(self.channel, self.instances)
        desk.enter(self.visitor)

    def close(self) -> None:
        self.channel.close()
        gevent.sleep(0.01)


class Node:
    def __init__(self) -> None:
        self.tickets = TicketStore()
        self.exchanged = 0
        self.desk = Desk(self.tickets, self.count)
        self.workers = [Worker(self.desk) for _ in range(2)]

    def count(self) -> None:
        self.exchanged += 1

    def file(self, instance: Instance, **more: Any) -> str:
        return self.tickets.file(Ticket(instance, filter_installed=True, buffered=False, **more))

    def redeemed(self, instance: Instance, worker: int = 0) -> Instance:
        """The instance as a worker has it."""
        ticket = self.workers[worker].tickets.redeem(self.file(instance))
        assert ticket is not None
        return ticket.instance


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    with gevent.Timeout(10, AssertionError("the test hangs")):
        yield made
    for worker in made.workers:
        worker.close()


def two(**balancer: Any) -> Instance:
    return advanced(target_config(name="a"), target_config(name="b"), balancer=balancer)


def test_a_ticket_comes_as_it_was_filed(node: Node) -> None:
    instance = proxy(name="m-1")
    node.desk.opened(instance)
    consumer = {"id": "c-1", "username": "alice", "tags": None}
    token = node.file(
        instance, captures={"model": "x"}, consumer=consumer, consumer_groups=["g"], path="/as/called"
    )
    one, other = node.workers
    ticket = one.tickets.redeem(token)
    assert ticket is not None
    assert (ticket.filter_installed, ticket.buffered, ticket.captures) == (True, False, {"model": "x"})
    assert (ticket.consumer, ticket.consumer_groups, ticket.path) == (consumer, ["g"], "/as/called")
    assert ticket.instance is not instance and ticket.instance.targets == instance.targets
    assert other.tickets.redeem(token) is None and one.tickets.redeem(token) is None
    assert one.tickets.redeem("none of ours") is None
    assert node.redeemed(instance) is ticket.instance
    assert node.exchanged == 2


def test_a_worker_that_comes_later_knows_all(node: Node) -> None:
    instance = proxy()
    node.desk.opened(instance)
    late = Worker(node.desk)
    node.workers.append(late)
    eventually(lambda: len(late.instances) == 1)
    assert node.redeemed(instance, 2).targets == instance.targets


def test_a_closed_instance_goes_when_nobody_needs_it(node: Node) -> None:
    instance = two()
    node.desk.opened(instance)
    held = node.redeemed(instance)
    node.redeemed(instance, 1)
    late = node.file(instance)
    node.desk.closed(instance)
    node.desk.closed(instance)  # of no account
    eventually(lambda: not any(len(worker.instances) for worker in node.workers))
    gc.collect()
    eventually(lambda: len(node.desk) == 1)
    # The request that runs goes on choosing.
    assert held.balancer.pick([0, 1], [], Asked(client_request())) is not None
    # One that Kong let through before is served, by a worker that forgets it at once.
    ticket = node.workers[1].tickets.redeem(late)
    assert ticket is not None and ticket.instance.targets == instance.targets
    assert len(node.workers[1].instances) == 0 and len(node.desk) == 2
    del held, ticket
    gc.collect()
    eventually(lambda: len(node.desk) == 0)


def test_the_secrets_of_a_configuration_go_with_it(node: Node) -> None:
    secret = "planted-workers-secret"
    auth = {"header_name": "Authorization", "header_value": secret}
    instance = proxy(auth=auth)
    node.desk.opened(instance)
    eventually(lambda: secret not in log.redact(secret))
    node.desk.closed(instance)
    gc.collect()
    eventually(lambda: log.redact(secret) == secret)


def test_turns_are_taken_by_all_workers_together(node: Node) -> None:
    instance = two(algorithm="round-robin")
    node.desk.opened(instance)
    remotes = [node.redeemed(instance, worker).balancer for worker in (0, 1)]
    asked = Asked(client_request())
    picked = []
    for number in range(8):
        balancer = remotes[number % 2]
        target = balancer.pick([0, 1], [], asked)
        assert target is not None
        balancer.started(target)
        balancer.ended(target, Outcome(ok=True, status=200))
        picked.append(target)
    assert picked in ([0, 1] * 4, [1, 0] * 4)


def states(instance: Instance) -> list[Any]:
    return list(instance.balancer.states)  # type: ignore[attr-defined]


def test_a_first_try_begins_with_its_choice(node: Node) -> None:
    instance = two(algorithm="least-connections")
    node.desk.opened(instance)
    one, other = (node.redeemed(instance, worker).balancer for worker in (0, 1))
    asked = Asked(client_request())
    # Nothing is told between two choices, and yet the second knows of the first.
    assert {one.pick([0, 1], [], asked), other.pick([0, 1], [], asked)} == {0, 1}
    assert [state.in_flight for state in states(instance)] == [1, 1]
    for balancer, target in ((one, 0), (one, 1)):
        if balancer._begun.get(target):  # type: ignore[attr-defined]
            balancer.started(target)
    gevent.sleep(0.01)
    assert [state.in_flight for state in states(instance)] == [1, 1], "it had begun already"
    retried = one.pick([0, 1], [0], asked)
    assert retried == 1
    gevent.sleep(0.01)
    assert states(instance)[1].in_flight == 1, "a retry begins when it is told to"
    one.started(1)
    eventually(lambda: states(instance)[1].in_flight == 2)
    one.ended(1, Outcome(ok=True, status=200))
    eventually(lambda: states(instance)[1].in_flight == 1)


def test_a_choice_that_nobody_waited_for_is_given_back(node: Node) -> None:
    instance = two(algorithm="least-connections")
    node.desk.opened(instance)
    balancer = node.redeemed(instance).balancer
    asking = gevent.spawn(balancer.pick, [0, 1], [], Asked(client_request()))
    gevent.sleep(0)
    asking.kill()
    assert node.workers[0].channel.ask("redeem", "a later message") is None
    gevent.sleep(0.01)
    assert [state.in_flight for state in states(instance)] == [0, 0]
    balancer._give_back(None)  # type: ignore[attr-defined]


def test_an_attempt_that_cannot_be_made_is_given_back(node: Node) -> None:
    instance = two(algorithm="least-connections")
    node.desk.opened(instance)
    exchange = open_exchange(node.redeemed(instance), clock=Clock())

    def impossible(index: int) -> Any:
        raise ApiError(501, "not here")

    exchange._attempt = impossible  # type: ignore[method-assign]
    with pytest.raises(ApiError):
        exchange.next_attempt()
    gevent.sleep(0.01)
    assert [state.in_flight for state in states(instance)] == [0, 0]


def test_what_a_dead_worker_had_under_way_is_over(node: Node) -> None:
    instance = two(algorithm="least-connections", max_fails=1, fail_timeout=1)
    node.desk.opened(instance)
    worker = node.workers[0]
    balancer = node.redeemed(instance).balancer
    asked = Asked(client_request())
    for tried in ([], [0], [0]):
        target = balancer.pick([0], tried, asked)
        assert target == 0
        balancer.started(0)
    eventually(lambda: states(instance)[0].in_flight == 3)
    worker.close()
    eventually(lambda: worker.left)
    assert states(instance)[0].in_flight == 0 and states(instance)[0].fails == 0
    with pytest.raises(ChannelClosed):
        balancer.pick([0], [], asked)
    node.desk.closed(instance)
    gc.collect()
    eventually(lambda: len(node.desk) == 0)


def test_a_dead_worker_after_its_instance(node: Node) -> None:
    instance = two()
    node.desk.opened(instance)
    held = [node.redeemed(instance, worker) for worker in (0, 1)]
    node.desk.closed(instance)
    gevent.sleep(0.01)
    assert len(node.desk) == 1
    for worker in node.workers:
        worker.close()
    eventually(lambda: len(node.desk) == 0)
    assert held


def test_failures_and_trials_are_told(node: Node) -> None:
    instance = two(algorithm="priority", max_fails=1, fail_timeout=20)
    node.desk.opened(instance)
    one, other = (node.redeemed(instance, worker).balancer for worker in (0, 1))
    asked = Asked(client_request())
    target = one.pick([0], [], asked)
    assert target == 0
    one.started(0)
    one.ended(0, Outcome(ok=False, status=500, retry_after_s=0.001))
    with pytest.raises(ApiError) as refused:
        one.pick([0], [], asked)
    assert refused.value.code == "no_healthy_target" and "retry-after" in refused.value.headers
    gevent.sleep(0.03)
    assert one.pick([0], [], asked) == 0, "a trial"
    one.started(0)
    with pytest.raises(ApiError):
        other.pick([0], [], asked)
    one.answering(0)
    eventually(lambda: states(instance)[0].fails == 0)
    assert other.pick([0], [], asked) == 0
    one.ended(0, Outcome(ok=True, status=200))


def test_a_balancer_without_a_breaker_is_not_told_of_answers(node: Node) -> None:
    instance = two(algorithm="round-robin")
    node.desk.opened(instance)
    balancer = node.redeemed(instance).balancer
    seen: list[int] = []
    instance.balancer.answering = seen.append  # type: ignore[method-assign]
    balancer.answering(0)
    gevent.sleep(0.01)
    assert not seen


def test_an_end_without_a_beginning_changes_nothing(node: Node) -> None:
    stream = io.StringIO()
    log.configure("info", stream)
    try:
        instance = two()
        node.desk.opened(instance)
        balancer = node.redeemed(instance).balancer
        balancer.ended(0, Outcome(ok=False, status=500))
        gevent.sleep(0.01)
    finally:
        log.configure("info", None)
    assert "an attempt ended that did not begin" in stream.getvalue()
    assert (states(instance)[0].in_flight, states(instance)[0].fails) == (0, 0)


def test_hashing_goes_by_the_header(node: Node) -> None:
    instance = advanced(
        *(target_config(name=name) for name in "abcd"),
        balancer={"algorithm": "consistent-hashing", "hash_on_header": "X-Session"},
    )
    node.desk.opened(instance)
    here, there = instance.balancer, node.redeemed(instance).balancer
    for session in ("one", "two", "three", "four", "five"):
        asked = Asked(client_request(headers={"x-session": session, "authorization": "Bearer planted"}))
        assert there.pick([0, 1, 2, 3], [], asked) == here.pick([0, 1, 2, 3], [], asked)
        assert there._headers(asked) == {"x-session": session}  # type: ignore[attr-defined]


def test_usage_counts_wherever_it_was_seen(node: Node) -> None:
    instance = two(algorithm="lowest-usage", tokens_count_strategy="total-tokens")
    node.desk.opened(instance)
    one, other = (node.redeemed(instance, worker).balancer for worker in (0, 1))
    asked = Asked(client_request())
    target = one.pick([0, 1], [], asked)
    assert target is not None
    one.started(target)
    used = Usage(prompt_tokens=900, completion_tokens=100, source=UsageSource.REPORTED)
    one.ended(target, Outcome(ok=True, status=200, latency_ms=10.0, usage=used))
    gevent.sleep(0.01)
    assert other.pick([0, 1], [], asked) == 1 - target


def test_scores_count_wherever_answers_were_judged(node: Node) -> None:
    auth = {"header_name": "Authorization", "header_value": "{vault://env/judge}"}
    auth["$refs"] = {"header_value": "{vault://env/judge}"}  # type: ignore[assignment]
    instance = advanced(
        target_config(name="a"),
        target_config(name="b"),
        balancer={"algorithm": "lowest-usage", "tokens_count_strategy": "llm-accuracy"},
        kong_ai_proxy={"judge": {"llm": target_config(name="j", auth=auth)}},
    )
    node.desk.opened(instance)
    held = [node.redeemed(instance, worker) for worker in (0, 1)]
    for known, score in zip(held, (30, 40), strict=True):
        assert isinstance(known.balancer, Scored)
        known.balancer.scored(1, score)
    eventually(lambda: states(instance)[1].accuracy.scores == 2)
    assert states(instance)[1].accuracy.mean == 35
    assert known.judge is not None
    known.rotation.doubt(known.judge.llm)
    eventually(lambda: instance.rotation.due() == ["{vault://env/judge}"])
    node.desk.closed(instance)
    known.balancer.scored(1, 50)  # a request that was let through before
    eventually(lambda: states(instance)[1].accuracy.scores == 3)
    node.desk.scored(node.workers[0].visitor, 4711, 0, 50)  # nobody knows it any longer
    node.desk.opened(single := proxy())
    node.desk.scored(node.workers[0].visitor, max(node.desk._known), 0, 50)
    assert not isinstance(single.balancer, Scored)


def test_a_rotated_secret_reaches_all_workers(node: Node) -> None:
    auth = {
        "header_name": "Authorization",
        "header_value": "Bearer old",
        "$refs": {"header_value": "{vault://env/key}"},
    }
    instance = proxy(auth=auth)
    assert instance.targets[0].auth.references, "the configuration names its reference"
    node.desk.opened(instance)
    one, other = (node.redeemed(instance, worker) for worker in (0, 1))
    one.rotation.doubt(one.targets[0])
    eventually(lambda: bool(instance.rotation._doubtful))
    (reference,) = instance.rotation.due()
    assert instance.rotation.renew(reference, "Bearer new-secret")
    eventually(lambda: other.targets[0].auth.header_value == "Bearer new-secret")
    assert one.targets[0].auth.header_value == "Bearer new-secret"
    assert "new-secret" not in log.redact("new-secret")
    late = Worker(node.desk)
    node.workers.append(late)
    assert node.redeemed(instance, 2).targets[0].auth.header_value == "Bearer new-secret"
    node.workers[0].instances.renew(12345, reference, "Bearer new-secret")  # an instance that has gone


def test_a_target_without_references_is_beyond_doubt(node: Node) -> None:
    instance = proxy()
    node.desk.opened(instance)
    here = node.redeemed(instance)
    here.rotation.doubt(here.targets[0])
    gevent.sleep(0.01)
    assert not instance.rotation.due()


def test_a_record_is_there_when_settle_returns(node: Node) -> None:
    record = {"usage": {"total_tokens": 3}, "payload": {"response": "\ud83d text"}}
    node.workers[1].tickets.settle("token", record)
    assert node.tickets.collect("token") == record
    stream = io.StringIO()
    log.configure("info", stream)
    try:
        node.workers[1].tickets.settle("token", {"number": 2**80})
    finally:
        log.configure("info", None)
    assert "record_not_settled" in stream.getvalue()


def test_descriptions_are_given_to_all(node: Node) -> None:
    from kong_ai_proxy.balancer.semantic import Semantic

    embeddings = {
        "auth": {"header_name": "Authorization", "header_value": "Bearer x"},
        "model": {"provider": "openai", "name": "text-embedding-3-small"},
    }
    instance = advanced(
        target_config(name="a", description="fish"),
        target_config(name="b", description="stars"),
        balancer={"algorithm": "semantic"},
        embeddings=embeddings,
    )
    ready = Event()
    prepared = 0

    class Matcher:
        def distances(self, text: str) -> list[float]:
            raise AssertionError

        def prepare(self) -> list[tuple[float, ...]]:
            nonlocal prepared
            prepared += 1
            ready.wait()
            return [(1.0, 0.0), (0.0, 1.0)]

    algorithm = instance.balancer.algorithm  # type: ignore[attr-defined]
    assert isinstance(algorithm, Semantic)
    algorithm.matcher = Matcher()
    node.desk.opened(instance)
    balancer: Any = node.redeemed(instance).balancer
    matcher = balancer._semantic.matcher
    matcher._embedder.embed = lambda texts: [(0.0, 1.0) for _ in texts]
    asked = Asked(client_request(), {"messages": [{"role": "user", "content": "a star"}]})
    choosing = gevent.spawn(balancer.pick, [0, 1], [], asked)
    gevent.sleep(0.01)
    assert node.tickets.collect("meanwhile") is None and not choosing.ready()
    ready.set()
    assert choosing.get(timeout=5) == 1
    assert balancer.pick([0, 1], [1], asked) == 0
    assert balancer.pick([0, 1], [], Asked(client_request(), asked.body)) == 1
    assert prepared == 1


def test_without_embeddings_there_is_an_error(node: Node) -> None:
    from kong_ai_proxy.config.models import AdvancedConfig
    from kong_ai_proxy.config.parse import parse
    from kong_ai_proxy.semantic.shared import attach_shared
    from kong_ai_proxy.workers.remote import _semantic

    config = parse("kong-ai-proxy-advanced", {"targets": [target_config()]})
    assert isinstance(config, AdvancedConfig)
    assert _semantic(node.workers[0].channel, 1, config) is None
    assert attach_shared(None, config, list) is None  # type: ignore[arg-type]


def test_outcomes_keep_what_balancers_need() -> None:
    usage = Usage(prompt_tokens=3, completion_tokens=2**70, total_tokens=-1, cached_tokens=2)
    outcome = Outcome(False, 1.5, 2.5, None, usage, 0.25, 3.0, 503, True)
    told = wire.unpack_outcome(wire.pack_outcome(outcome))
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens, told.usage.total) == (3, 2**62, 0)
    told.usage = outcome.usage
    assert told == outcome
    assert wire.unpack_outcome(wire.pack_outcome(Outcome(True))) == Outcome(True)


def test_metrics_of_several_processes_are_added_up() -> None:
    def families(number: int) -> list[Family]:
        start = Family("process_start_time_seconds", "gauge", "h").add(100 + number)
        requests = Family("requests_total", "counter", "h").add(number, {"a": "1"}).add(1, {"a": str(number)})
        return [start, requests, Family("empty", "gauge", "h")]

    sent = [wire.unpack_families(wire.pack_families(families(number))) for number in (2, 3)]
    found = {family.name: family.samples for family in merged(sent)}
    assert found["process_start_time_seconds"] == {(): 102}
    assert found["requests_total"] == {(("a", "1"),): 5, (("a", "2"),): 1, (("a", "3"),): 1}
    assert found["empty"] == {}

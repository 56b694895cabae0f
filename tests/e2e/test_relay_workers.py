"""Two relay workers, real processes, behind the one that files tickets: this test's own."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gevent
import pytest
from auth_support import token_server
from documented_support import a_google_key
from exchange_support import advanced, proxy, target_config
from gateway_support import document
from gevent.pool import Pool
from http_support import RawClient, call
from otlp_support import Collector
from relay_support import Client, Peer, Provider, Reply, eventually, every, provider_of

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, LogFile, PluginServer, free_port
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.mockllm import MockLLM
from kong_ai_proxy.mockllm.answers import Answer, Gate
from kong_ai_proxy.workers import pool as pools
from kong_ai_proxy.workers.pool import WorkerPool

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}
USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


class Target:
    """A provider: how it answers, and what it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = "200 OK"
        self.seconds = 0.0
        self.at_once = self.most = 0
        self.hold: gevent.event.Event | None = None
        """Between the two tokens of a stream."""

    def serve(self, peer: Peer, head: bytes, body: bytes) -> None:
        self.asked += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        gevent.sleep(self.seconds)
        self.at_once -= 1
        if json.loads(body).get("stream"):
            peer.stream_head()
            for number in range(2):
                delta = {"index": 0, "delta": {"content": f"token {number}"}, "finish_reason": None}
                peer.chunk(event({"id": "c", "model": "m", "choices": [delta]}))
                if self.hold is not None:
                    self.hold.wait()
            peer.chunk(event({"id": "c", "model": "m", "choices": [], "usage": USAGE}) + b"data: [DONE]\n\n")
            peer.end()
            return
        choice = {"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}
        peer.answer(json.dumps({"id": "c", "choices": [choice], "usage": USAGE}).encode(), self.status)


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


class Node:
    """A pool, as the plugin server has it, and Kong, which knows its tickets."""

    def __init__(self) -> None:
        self.tickets = TicketStore()
        self.relay = WorkerPool(("127.0.0.1", 0), self.tickets, workers=2)
        self.relay.start()
        self.instance: Instance = proxy()
        self.filter_installed, self.buffered = True, False

    def ticket(self) -> str:
        return self.tickets.file(Ticket(self.instance, self.filter_installed, self.buffered))

    @contextmanager
    def serving(self, instance: Instance) -> Iterator[Instance]:
        """While Kong has this plugin."""
        self.relay.opened(instance)
        self.instance = instance
        self.filter_installed, self.buffered = True, False
        try:
            yield instance
        finally:
            self.relay.closed(instance)

    @contextmanager
    def clients(self, count: int) -> Iterator[list[Client]]:
        """Connections of Kong's, kept alive; one after the other, so that each worker has as many."""
        with ExitStack() as stack:
            made = []
            for _ in range(count):
                before = self.relay._handed
                made.append(stack.enter_context(Client(self)))  # type: ignore[arg-type]
                eventually(lambda: self.relay._handed > before)  # noqa: B023
            yield made

    def post(self, client: Client, **body: Any) -> Reply:
        return client.post(json.dumps(BODY | body).encode())

    def metrics(self) -> str:
        return self.get("/metrics").body.decode()

    def get(self, path: str) -> Reply:
        with Client(self) as client:  # type: ignore[arg-type]
            client.sock.sendall(f"GET {path} HTTP/1.1\r\nhost: relay\r\n\r\n".encode())
            return client.read()

    def redeemed(self) -> list[float]:
        """Requests that each worker has carried."""
        return [
            sum(
                value
                for family in families or ()
                if family.name == "kong_ai_proxy_relay_requests_total"
                for labels, value in family.samples.items()
                if ("ticket", "valid") in labels
            )
            for families in self.relay._collected()
        ]


@pytest.fixture(scope="module")
def running() -> Iterator[Node]:
    node = Node()
    try:
        yield node
    finally:
        node.relay.stop(0)


@pytest.fixture
def node(running: Node) -> Iterator[Node]:
    """With two workers that are idle."""
    eventually(lambda: len(running.relay.pids) == 2, 30)
    eventually(lambda: all(not worker.connections for worker in running.relay._workers), 5)
    with gevent.Timeout(60, AssertionError("the test hangs")):
        yield running


@pytest.fixture
def targets() -> Iterator[list[tuple[Target, Provider]]]:
    with ExitStack() as stack:
        made = [Target() for _ in range(3)]
        yield [(target, stack.enter_context(provider_of(every(target.serve)))) for target in made]


def at(provider: Provider, **changes: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{provider.port}/v1/chat/completions"
    return target_config(options={"upstream_url": url}, **changes)


def test_every_worker_carries_chats_and_streams(node: Node, targets: Any) -> None:
    (_, provider), *_ = targets
    before = node.redeemed()
    options = {"upstream_url": f"http://127.0.0.1:{provider.port}/v1/chat/completions"}
    with node.serving(proxy(options=options)), node.clients(2) as clients:
        for client in clients:
            for _ in range(2):
                reply = node.post(client)
                assert reply.status == 200
                assert "usage.total_tokens=n12" in reply.headers["x-kong-ai-usage"]
                reply = node.post(client, stream=True)
                assert reply.complete and b"token 1" in reply.body
                assert b": kong-ai-usage " in reply.body and b"usage.total_tokens=n12" in reply.body
            used = client.post(ticket="no-ticket-of-ours")
            assert used.status == 503 and b"plugin_did_not_run" in used.body
        carried = [after - was for after, was in zip(node.redeemed(), before, strict=True)]
        assert carried == [4, 4]
        text = node.metrics()
    total = f'kong_ai_proxy_relay_requests_total{{ticket="valid"}} {sum(node.redeemed()):.0f}\n'
    assert total in text
    assert "kong_ai_proxy_relay_connections 3\n" in text
    assert text.count('kong_ai_proxy_worker_up{worker="1"} 1\n') == 1
    assert text.count("\nprocess_resident_memory_bytes ") == 1


def test_a_ticket_is_redeemed_once_by_whichever_worker(node: Node, targets: Any) -> None:
    (target, provider), *_ = targets
    with node.serving(advanced(at(provider))), node.clients(2) as (one, other):
        ticket = node.ticket()
        statuses = sorted(
            reply.status
            for reply in (client.post(json.dumps(BODY).encode(), ticket=ticket) for client in (one, other))
        )
    assert statuses == [200, 503]
    assert target.asked == 1


def test_a_buffered_answers_record_is_there_before_the_answer(node: Node, targets: Any) -> None:
    (_, provider), *_ = targets
    with node.serving(advanced(at(provider))), node.clients(2) as clients:
        node.filter_installed, node.buffered = False, True
        for client in clients:
            token = node.ticket()
            client.post(json.dumps(BODY).encode(), ticket=token)
            record = node.tickets.collect(token)
            assert record is not None and record["usage"]["total_tokens"] == 12


def test_round_robin_is_exact(node: Node, targets: Any) -> None:
    instance = advanced(
        *(at(provider, weight=weight) for (_, provider), weight in zip(targets, (70, 25, 5), strict=True)),
        balancer={"algorithm": "round-robin"},
    )
    with node.serving(instance), node.clients(4) as clients:
        pool = Pool(len(clients))
        for client in clients:
            pool.spawn(lambda client: [node.post(client) for _ in range(25)], client)
        pool.join(raise_error=True)
    assert Counter({place: target.asked for place, (target, _) in enumerate(targets)}) == {0: 70, 1: 25, 2: 5}


def test_least_connections_counts_all_workers_attempts(node: Node, targets: Any) -> None:
    instance = advanced(
        *(at(provider) for _, provider in targets), balancer={"algorithm": "least-connections"}
    )
    for target, _ in targets:
        target.seconds = 0.03
    with node.serving(instance), node.clients(6) as clients:
        pool = Pool(len(clients))
        for client in clients:
            pool.spawn(lambda client: [node.post(client) for _ in range(5)], client)
        pool.join(raise_error=True)
        assert [state.in_flight for state in instance.balancer.states] == [0, 0, 0]  # type: ignore[attr-defined]
    assert [target.asked for target, _ in targets] == pytest.approx([10, 10, 10], abs=1)
    assert max(target.most for target, _ in targets) <= 3


def test_the_breaker_counts_failures_of_all_workers(node: Node, targets: Any) -> None:
    (bad, bad_provider), (good, good_provider), _ = targets
    bad.status = "503 Service Unavailable"
    instance = advanced(
        at(bad_provider, weight=100),
        at(good_provider, weight=1),
        balancer={
            "algorithm": "priority", "max_fails": 4, "fail_timeout": 300, "retries": 1,
            "failover_criteria": ["http_503", "non_idempotent"],
        },
    )  # fmt: skip
    with node.serving(instance), node.clients(2) as clients:
        for number in range(6):
            assert node.post(clients[number % 2]).status == 200
        assert bad.asked == 4, "two failures from each worker, and then no more"
        assert good.asked == 6
        bad.status = "200 OK"
        gevent.sleep(0.3)
        assert node.post(clients[0]).status == 200
        assert bad.asked == 5, "a trial"
        assert node.post(clients[1]).status == 200
        assert bad.asked == 6, "its success is known to the other worker"


def test_errors_of_the_balancer_reach_the_client(node: Node, targets: Any) -> None:
    (target, provider), *_ = targets
    target.status = "429 Too Many Requests"
    balancer = {"retries": 0, "max_fails": 1, "fail_timeout": 30000, "failover_criteria": ["http_429"]}
    with node.serving(advanced(at(provider), balancer=balancer)), node.clients(2) as (one, other):
        assert node.post(one).status == 429
        reply = node.post(other)
    assert reply.status == 500 and b"no_healthy_target" in reply.body
    assert int(reply.headers["retry-after"]) in (29, 30)


def test_descriptions_are_embedded_once(node: Node, targets: Any) -> None:
    (first, one), (second, other), _ = targets
    inputs: list[Any] = []

    def embed(peer: Peer, head: bytes, body: bytes) -> None:
        texts = json.loads(body)["input"]
        inputs.append(texts)
        vectors = [[1.0, 0.0] if "fish" in text else [0.0, 1.0] for text in texts]
        data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        peer.answer(json.dumps({"data": data, "model": "e", "usage": USAGE}).encode())

    from kong_ai_proxy.semantic import attach

    with provider_of(every(embed)) as embeddings:
        instance = advanced(
            at(one, description="fish and sea"),
            at(other, description="stars"),
            balancer={"algorithm": "semantic"},
            embeddings={
                "auth": {"header_name": "Authorization", "header_value": "Bearer embeddings-key"},
                "model": {
                    "provider": "openai",
                    "name": "text-embedding-3-small",
                    "options": {"upstream_url": f"http://127.0.0.1:{embeddings.port}/v1/embeddings"},
                },
            },
        )
        assert instance.semantic is not None
        attach(instance.balancer.algorithm, instance.semantic)  # type: ignore[attr-defined]
        with node.serving(instance), node.clients(2) as clients:
            for client in clients:
                for text in ("a fish", "a star"):
                    assert node.post(client, messages=[{"role": "user", "content": text}]).status == 200
    assert (first.asked, second.asked) == (2, 2)
    assert sorted(inputs, key=len)[-1] == ["fish and sea", "stars"]
    assert len(inputs) == 1 + 4


def sums(node: Node) -> Counter[str]:
    """What /metrics says of all requests, whatever their labels."""
    found: Counter[str] = Counter()
    for line in node.metrics().splitlines():
        name, _, value = line.rpartition(" ")
        if name.startswith("kong_ai_proxy_") and ('le="' not in name or 'le="+Inf"' in name):
            found[name.partition("{")[0].removeprefix("kong_ai_proxy_")] += float(value)  # type: ignore[assignment]
    return found


def test_metrics_are_those_of_all_workers(node: Node, targets: Any) -> None:
    (target, provider), *_ = targets
    with node.serving(advanced(at(provider))), node.clients(4) as clients:
        before = sums(node)
        for number, client in enumerate(clients):
            for turn in range(3):
                assert node.post(client, stream=(number + turn) % 2 == 0).status == 200
        eventually(lambda: sums(node)["llm_requests_total"] == before["llm_requests_total"] + 12)
        grown = sums(node)
        grown.subtract(before)
    assert target.asked == 12
    assert grown["relay_requests_total"] == 12
    assert grown["llm_tokens_total"] == 12 * 12
    for name in ("llm_duration_seconds", "llm_time_to_first_token_seconds"):
        counted = 12 if name == "llm_duration_seconds" else 6
        assert (grown[f"{name}_count"], grown[f"{name}_bucket"]) == (counted, counted)
        assert grown[f"{name}_sum"] > 0


def test_each_worker_learns_by_itself_what_is_slow(node: Node, targets: Any) -> None:
    (slow, one), (fast, other), _ = targets
    instance = advanced(
        at(one, weight=2), at(other, weight=1),
        balancer={"algorithm": "priority"}, kong_ai_proxy={"hedge_quantile": 0.9},
    )  # fmt: skip
    with node.serving(instance), node.clients(2) as (first, second):
        for _ in range(21):
            assert node.post(first).status == 200
        slow.seconds = 0.3
        assert (node.post(second).status, fast.asked) == (200, 0), "it has not seen the target before"
        began = time.monotonic()
        for _ in range(6):
            assert node.post(first).status == 200
        assert 1 <= fast.asked <= 1 + 27 // 10, "a tenth of this worker's requests, and one"
        assert time.monotonic() - began < 6 * 0.3
        eventually(lambda: not any(state.in_flight for state in instance.balancer.states))  # type: ignore[attr-defined]


def test_each_worker_fetches_access_tokens_for_itself(node: Node) -> None:
    seen: list[bytes] = []

    def gemini(peer: Peer, head: bytes, body: bytes) -> None:
        seen.extend(line for line in head.split(b"\r\n") if line.lower().startswith(b"authorization:"))
        part = {"content": {"role": "model", "parts": [{"text": "ok"}]}, "finishReason": "STOP"}
        peer.answer(json.dumps({"candidates": [part]}).encode())

    with token_server() as tokens, provider_of(every(gemini)) as provider:
        auth = {"gcp_use_service_account": True, "gcp_service_account_json": a_google_key(tokens.url)}
        url = f"http://127.0.0.1:{provider.port}/v1beta/models/m:generateContent"
        instance = proxy("gemini", "m", auth=auth, options={"upstream_url": url})
        before = sums(node)["token_fetches_total"]
        with node.serving(instance), node.clients(2) as clients:
            for client in clients * 3:
                assert node.post(client).status == 200
        assert len(tokens.asked) == 2
        assert sums(node)["token_fetches_total"] == before + 2
    assert len(seen) == 6 and len(set(seen)) == 2


def test_a_killed_worker_takes_its_requests_only(node: Node, targets: Any) -> None:
    (target, provider), *_ = targets
    target.hold = gevent.event.Event()
    instance = advanced(at(provider), balancer={"algorithm": "least-connections"})
    state = instance.balancer.states[0]  # type: ignore[attr-defined]
    with node.serving(instance), node.clients(2) as (doomed, other):
        for client in (doomed, other):
            client.send_request(json.dumps(BODY | {"stream": True}).encode())
            assert client.read_head()[0] == 200
            assert b"token 0" in (client.read_chunk() or b"")
        assert state.in_flight == 2
        victim = node.relay._workers[0] if node.relay._workers[0].last < node.relay._workers[1].last else None
        victim = victim or node.relay._workers[1]
        assert victim.process is not None
        os.kill(victim.process.pid, signal.SIGKILL)
        with pytest.raises((EOFError, ConnectionError)):
            while doomed.read_chunk() is not None:
                pass
        eventually(lambda: state.in_flight == 1)
        health = json.loads(node.get("/health").body)
        target.hold.set()
        rest = b""
        while (chunk := other.read_chunk()) is not None:
            rest += chunk
        assert b"[DONE]" in rest and b": kong-ai-usage " in rest
        eventually(lambda: state.in_flight == 0)
        eventually(lambda: len(node.relay.pids) == 2, 30)
        with node.clients(2) as fresh:
            assert [node.post(client).status for client in fresh] == [200, 200]
        assert f'kong_ai_proxy_worker_restarts_total{{worker="{victim.number}"}} 1\n' in node.metrics()
    assert health == {"status": "degraded", "workers": {"wanted": 2, "up": 1}}
    assert json.loads(node.get("/health").body)["status"] == "ok"


def test_a_restarted_worker_gets_its_share_of_kept_connections(node: Node, targets: Any) -> None:
    (_, provider), *_ = targets
    with node.serving(advanced(at(provider))), node.clients(6) as clients:
        assert [node.post(client).status for client in clients] == [200] * 6
        doomed, other = node.relay._workers
        assert doomed.process is not None
        os.kill(doomed.process.pid, signal.SIGKILL)
        eventually(lambda: not doomed.ready)
        eventually(lambda: doomed.ready and (doomed.connections, other.connections) == (1, 2), 30)
        served = 0
        for client in clients:
            with suppress(EOFError, ConnectionError):
                assert node.post(client).status == 200, "on the connection that it has had all along"
                served += 1
        assert served == 3
        assert node.redeemed()[0] == 1, "what is left of the dead worker's connections is not served"


def test_without_any_worker_a_connection_waits_for_one(
    node: Node, targets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_HOLD_SECONDS", 30.0)  # on a busy machine a worker takes its time
    (_, provider), *_ = targets
    with node.serving(advanced(at(provider))):
        for worker in node.relay._workers:
            assert worker.process is not None
            os.kill(worker.process.pid, signal.SIGKILL)
        eventually(lambda: not node.relay.pids)
        with Client(node) as client:  # type: ignore[arg-type]
            client.sock.settimeout(30)
            assert node.post(client).status == 200


def test_a_configuration_changes_while_streams_run(node: Node, targets: Any) -> None:
    (old_target, old), (new_target, new), _ = targets
    old_target.hold = gevent.event.Event()
    with node.clients(2) as (one, other):
        with node.serving(advanced(at(old))) as before:
            one.send_request(json.dumps(BODY | {"stream": True}).encode())
            assert b"token 0" in read_first(one)
            late = node.ticket()
        with node.serving(advanced(at(new))):
            assert node.post(other).status == 200
            assert new_target.asked == 1
            # Let through by `access` before the reload.
            old_target.hold.set()
            reply = other.post(json.dumps(BODY).encode(), ticket=late)
            assert reply.status == 200 and old_target.asked == 2
            rest = b""
            while (chunk := one.read_chunk()) is not None:
                rest += chunk
            assert b"[DONE]" in rest
            assert node.post(one).status == 200
    assert before.balancer.states[0].in_flight == 0  # type: ignore[attr-defined]


def read_first(client: Client) -> bytes:
    assert client.read_head()[0] == 200
    return client.read_chunk() or b""


class Served:
    """`kong-ai-proxy serve --workers 2` and a gateway."""

    def __init__(self, prefix: Path, mock: MockLLM) -> None:
        self.relay = f"127.0.0.1:{free_port()}"
        self.prefix = prefix
        self.output = (prefix / "plugin-server.log").open("w+")
        arguments = ("--workers", "2", "--grace", "5", "--log-level", "debug")
        self.server = PluginServer(prefix, self.relay, output=self.output, arguments=arguments)
        self.log = LogFile(prefix / "records.jsonl")
        self.gateway = EmbeddedGateway(document(self.relay, mock.url, self.log.path), prefix)

    def workers(self) -> list[int]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                pid, _, rest = entry.read_text().partition(" (")
                if int(rest.rpartition(") ")[2].split()[1]) == self.server.pid:
                    found.append(int(pid))
        return found


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Where spans go."""
    made = Collector()
    made.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield made
    made.stop()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Served, MockLLM]]:
    with MockLLM() as mock, TemporaryDirectory(prefix="kap") as folder:
        made = Served(Path(folder), mock)
        try:
            made.server.start()
            made.gateway.start()
            yield made, mock
        finally:
            made.gateway.stop()
            made.server.kill()
            made.output.close()


def test_the_command_with_workers(collector: Collector, served: tuple[Served, MockLLM]) -> None:
    setup, mock = served
    pids = setup.workers()
    assert len(pids) == 2
    for pid in pids:
        # Nothing but numbers: arguments can be read by everybody on the machine.
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:-1]
        assert words[:2] == [b"-m", b"kong_ai_proxy.workers.process"]
        assert all(word.isdigit() for word in words[2:])
    url = setup.gateway.url
    # One worker has a stream all the time, so that the other carries what follows.
    gate = threading.Event()
    events = [b'data: {"choices": [{"index": 0, "delta": {"content": "%d"}}]}\n\n' % n for n in range(2)]
    steps = [events[0], Gate(gate, 30.0), events[1], b"data: [DONE]\n\n"]
    mock.answer(Answer(200, {"content-type": "text/event-stream"}, steps=steps))
    client = RawClient(url)
    client.post("/openai", {"model": "m", **BODY, "stream": True})
    client.read_until(b'"0"')
    for path in ("/openai", "/bare/openai", "/keyed"):
        for streamed in (False, True):
            headers = {"x-gateway-key": "alice-key"}
            answer = call(url, path, {"model": "gpt-4o", **BODY, "stream": streamed}, headers=headers)
            assert answer.status == 200
            assert b"kong-ai-usage" not in answer.body
    records = [record for record in setup.log.wait(6) if "ai" in record]
    assert len(records) == 5, "that of a stream without the filter is in the plugin server's log"
    assert all(record["ai"]["proxy"]["usage"]["total_tokens"] > 0 for record in records)
    assert call(url, "/openai", b"{", headers={}).status == 400

    # The end: what runs may end, what is new is refused.
    os.kill(setup.server.pid, signal.SIGTERM)
    os.kill(pids[0], signal.SIGTERM)  # as service managers do; it is not the worker's to decide
    time.sleep(0.2)
    gate.set()
    client.read_until(b"[DONE]")
    client.leave()
    setup.server.stop()
    assert setup.server._process is not None and setup.server._process.returncode == 0
    assert not any(alive(pid) for pid in pids)
    setup.output.seek(0)
    said = [json.loads(line) for line in setup.output]
    assert [line["event"] for line in said][-1] == "stopped"
    assert not any("worker_killed" in line["event"] or line["level"] == "error" for line in said)
    usage = [line for line in said if line["event"] == "usage"]
    assert len(usage) == 1 and usage[0]["worker"] in (1, 2)
    traced = [span for span in collector.spans if span.kind == 3]
    assert len(traced) == 7, "of each attempt, also of those that ended last"
    assert len(collector.instances) == 2, "workers tell for themselves"
    assert usage[0]["ai"]["proxy"]["usage"]["total_tokens"] > 0
    assert "secret-openai" not in json.dumps(said)


def test_workers_end_with_the_plugin_server(served: tuple[Served, MockLLM]) -> None:
    setup, _ = served
    pids = setup.workers()
    assert len(pids) == 2
    setup.server.kill()
    until = time.monotonic() + 5
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until, "a worker is left"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Not one that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False

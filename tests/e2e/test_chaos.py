"""Four providers that fail, hang, reset, answer slowly or with 429, and 64 clients at once, streamed and not.

Everything but the providers is the real thing: relay, exchange, balancer, breaker. Every provider notes what
it did with which request; afterwards that has to agree, request by request, with what the clients got, what
the log records say, and what the balancer was told.
"""

from __future__ import annotations

import io
import json
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import pytest
from exchange_support import advanced, target_config
from gateway_support import WORKERS
from gevent import socket
from gevent.pool import Pool
from plain_relay import plain_relay, upstream_to
from relay_support import Client, Peer, Provider, eventually, provider_of

from kong_ai_proxy import log
from kong_ai_proxy.balancer.base import Asked, Outcome
from kong_ai_proxy.balancer.guard import Guarded
from kong_ai_proxy.exchange.instance import Instance
from kong_ai_proxy.exchange.tickets import Ticket, TicketStore
from kong_ai_proxy.relay.server import RelayServer
from kong_ai_proxy.workers import pool as pools
from kong_ai_proxy.workers.pool import WorkerPool

CLIENTS = 64
SECONDS = 6.0
PHASE = 1.0
"""Seconds; two of the four providers misbehave, the next one and the one after it in the next phase."""
PAUSE = 0.1
"""Seconds between a client's requests."""
READ_TIMEOUT = 2.0
"""Seconds."""
MAX_FAILS = 6
FAIL_TIMEOUT = 0.3

GOOD, GIVEN, FAILED, STALE = "good", "given", "failed", "stale"
"""How a provider's work on one request ended: whole answer; broken off within the answer's text; no answer; a
kept-alive connection closed without a byte, which looks like an idle one that is closed: the relay sends
again, as part of the same attempt, for the criteria allow it.

On a machine under load a provider may be slower than the relay's time-out. It sees that like any other: its
connection is closed before its last byte is out. All of them share one thread, so nothing happens between its
looking and its sending."""
CRITERIA = ["error", "timeout", "invalid_header", "http_500", "http_502", "http_429", "non_idempotent"]

KINDS = {
    "fails": ["error500", "closes", "refuses_midway", "whole", "whole"],
    "hangs": ["hangs", "whole", "whole", "whole", "slow", "slow"],
    "resets": ["resets", "half_a_head", "breaks_off", "whole", "whole"],
    "limits": ["limited", "limited_long", "slow", "slow", "whole"],
}
"""Provider → what it may do in its bad times."""
WELL = ["whole", "whole", "slow"]


@dataclass
class Work:
    """What one provider did with one request."""

    target: int
    kind: str
    end: str
    late: bool
    """The relay had given up when the request was read."""
    tokens: int = 0
    at: float = field(default_factory=time.monotonic)


@dataclass
class Journal:
    works: dict[str, list[Work]] = field(default_factory=dict)
    """By the request's id, in order."""
    rng: random.Random = field(default_factory=lambda: random.Random(20))
    began: float = field(default_factory=time.monotonic)

    def kind(self, target: int, bad: list[str]) -> str:
        phase = int((time.monotonic() - self.began) / PHASE) % 4
        return self.rng.choice(bad if target in (phase, (phase + 1) % 4) else WELL)

    def note(self, request: str, work: Work) -> Work:
        self.works.setdefault(request, []).append(work)
        return work


def text_of(request: str, tokens: int) -> str:
    return f"answer to {request}, number {tokens}"


def whole(request: str, tokens: int) -> bytes:
    message = {"role": "assistant", "content": text_of(request, tokens)}
    return json.dumps(
        {
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
        }
    ).encode()  # fmt: skip


def pieces(request: str, tokens: int) -> list[bytes]:
    """A stream's events: text in three parts, the end, usage."""
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    text = text_of(request, tokens)
    third = len(text) // 3
    parts = [text[:third], text[third : 2 * third], text[2 * third :]]
    choices: list[Any] = [[{"index": 0, "delta": {"content": part}, "finish_reason": None}] for part in parts]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "stop"}])
    events = [{**base, "choices": each} for each in choices]
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    events.append({**base, "choices": [], "usage": usage})
    return [b"data: %b\n\n" % json.dumps(event).encode() for event in events] + [b"data: [DONE]\n\n"]


def behave(peer: Peer, journal: Journal, target: int, kinds: list[str], body: bytes, used: bool) -> bool:
    """Serve one request; whether the connection stays. `used`: it served one before."""
    asked = json.loads(body)
    request, stream = asked["messages"][0]["content"], bool(asked.get("stream"))
    kind = journal.kind(target, kinds)
    tokens = 10 + sum(map(len, journal.works.values()))
    work = journal.note(request, Work(target, kind, FAILED, given_up(peer)))
    if kind == "error500":
        peer.answer(b'{"error":{"message":"broken"}}', "500 Internal Server Error")
        return True
    if kind in ("limited", "limited_long"):
        wait = "20" if kind == "limited" else "150"
        peer.answer(
            b'{"error":{"message":"slow down"}}',
            "429 Too Many Requests",
            f"content-type: application/json\r\nretry-after-ms: {wait}\r\n",
        )
        return True
    if kind == "hangs":
        peer.wait_closed()
        return False
    if kind == "half_a_head":
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-ty")
        reset(peer)
        return False
    if kind in ("resets", "closes"):
        work.end = STALE if used and not work.late else FAILED
        if kind == "resets":
            reset(peer)
        return False
    if kind == "refuses_midway":
        # The head of an answer, and nothing that a client could see.
        if stream:
            peer.stream_head()
        else:
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{")
        reset(peer)
        return False
    if kind == "slow":
        gevent.sleep(journal.rng.uniform(0.02, 0.2))
    if given_up(peer):
        return False
    work.tokens = tokens
    if not stream:
        if kind == "breaks_off":
            peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9000\r\n\r\n{")
            reset(peer)
            work.tokens = 0
            return False
        work.end = GOOD
        peer.answer(whole(request, tokens))
        return True
    peer.stream_head()
    events = pieces(request, tokens)
    peer.chunk(events[0])
    work.end = GIVEN
    if kind == "breaks_off":
        gevent.sleep(0.03)  # so that it is read before the reset is
        reset(peer)
        return False
    for event in events[1:]:
        if kind == "slow":
            gevent.sleep(0.01)
        if given_up(peer):
            return False
        peer.chunk(event)
    work.end = GOOD
    peer.end()
    return True


def given_up(peer: Peer) -> bool:
    """Whether the relay has closed this connection."""
    peer.sock.setblocking(False)
    try:
        return not peer.sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        peer.sock.setblocking(True)


def reset(peer: Peer) -> None:
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.sock.close()


def personality(journal: Journal, target: int, kinds: list[str]) -> Any:
    def script(peer: Peer) -> None:
        used = False
        while (got := peer.request()) is not None:
            if not behave(peer, journal, target, kinds, got[1], used):
                return
            used = True

    return script


class Watched:
    """The instance's balancer, and everything it was told."""

    def __init__(self, inner: Guarded) -> None:
        self.inner = inner
        self.started_at: Counter[int] = Counter()
        self.outcomes: list[tuple[int, Outcome]] = []
        self.fails = [0] * 4
        self.failed_at = [float("-inf")] * 4
        self.opened = 0
        self.wrong: list[str] = []

    def pick(self, candidates: list[int], tried: list[int], asked: Asked) -> int | None:
        target = self.inner.pick(candidates, tried, asked)
        # The breaker's rule, told once more: closed, or fail_timeout after the last failure.
        if target is not None and self.fails[target] >= MAX_FAILS:
            since = time.monotonic() - self.failed_at[target]
            if since < FAIL_TIMEOUT - 0.01:
                self.wrong.append(f"{target} was chosen {since:.3f} s after it became unhealthy")
        return target

    def started(self, target: int) -> None:
        self.started_at[target] += 1
        self.inner.started(target)

    def answering(self, target: int) -> None:
        self.inner.answering(target)
        self._follow(target)

    def ended(self, target: int, outcome: Outcome) -> None:
        self.outcomes.append((target, outcome))
        if not outcome.ok:
            self.fails[target] += 1
            self.failed_at[target] = time.monotonic()
            self.opened += self.fails[target] == MAX_FAILS
        self.inner.ended(target, outcome)
        self._follow(target)

    def _follow(self, target: int) -> None:
        state = self.inner.states[target]
        if state.fails == 0 and self.fails[target]:
            if time.monotonic() - self.failed_at[target] < FAIL_TIMEOUT - 0.01:
                self.wrong.append(f"{target} was forgiven too early")
            self.fails[target] = 0
        elif state.fails != self.fails[target]:
            self.wrong.append(f"{target} has {state.fails} failures, not {self.fails[target]}")


@dataclass
class Got:
    """What one client got for one request."""

    stream: bool
    status: int
    body: bytes
    record: dict[str, Any] | None
    complete: bool


@dataclass
class Chaos:
    instance: Instance
    tickets: TicketStore
    relay: RelayServer | WorkerPool
    logged: Callable[[], list[Any]]
    """Records that did not go back with their answers."""
    got: dict[str, Got] = field(default_factory=dict)

    def ticket(self) -> str:
        return self.tickets.file(Ticket(self.instance, filter_installed=True, buffered=False))

    def client(self, number: int) -> None:
        until, turn = time.monotonic() + SECONDS, 0
        while time.monotonic() < until:
            turn += 1
            name = f"request-{number}-{turn}"
            stream = (number + turn) % 2 == 0
            body = {"messages": [{"role": "user", "content": name}], "stream": stream}
            with Client(self) as client:  # type: ignore[arg-type]
                client.sock.settimeout(20)
                reply = client.post(json.dumps(body).encode())
            text, record = reply.body, reply.headers.get("x-kong-ai-usage")
            if record and record.startswith("stream"):
                text, _, comment = text.rpartition(b": kong-ai-usage ")
                record = comment.decode()
            parsed = json.loads(record) if record else None
            assert name not in self.got
            self.got[name] = Got(stream, reply.status, text, parsed, reply.complete)
            gevent.sleep(PAUSE)

    def leave(self, number: int) -> None:
        """Ask, and hang up before the answer can be complete, or while it comes."""
        rng = random.Random(number)
        for turn in range(4):
            message = {"role": "user", "content": f"left-{number}-{turn}"}
            body = {"messages": [message], "stream": bool(turn % 2)}
            with Client(self) as client:  # type: ignore[arg-type]
                client.send_request(json.dumps(body).encode())
                gevent.sleep(rng.uniform(0, 0.15))


@contextmanager
def chaos(journal: Journal, algorithm: str) -> Iterator[tuple[Chaos, Watched, list[Provider]]]:
    with ExitStack() as stack:
        providers = [
            stack.enter_context(provider_of(personality(journal, target, kinds)))
            for target, kinds in enumerate(KINDS.values())
        ]
        instance = advanced(
            *(target_config(name="m", options=upstream_to(each.port)) for each in providers),
            balancer={
                "algorithm": algorithm,
                "retries": 5,
                "read_timeout": int(READ_TIMEOUT * 1000),
                "max_fails": MAX_FAILS,
                "fail_timeout": int(FAIL_TIMEOUT * 1000),
                "failover_criteria": CRITERIA,
            },
        )
        assert isinstance(instance.balancer, Guarded)
        watched = Watched(instance.balancer)
        instance.balancer = watched
        tickets = TicketStore()
        carried = by_workers if int(WORKERS) > 1 else by_this_process
        with carried(tickets, instance) as (relay, logged):
            yield Chaos(instance, tickets, relay, logged), watched, providers


@contextmanager
def by_this_process(tickets: TicketStore, instance: Instance) -> Iterator[Any]:
    with plain_relay(tickets) as (relay, logged):
        yield relay, lambda: logged


@contextmanager
def by_workers(tickets: TicketStore, instance: Instance) -> Iterator[Any]:
    said = io.StringIO()
    log.configure("info", said)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "PROGRAM", (str(Path(__file__).parent / "plain_worker.py"),))
        pool = WorkerPool(("127.0.0.1", 0), tickets, workers=int(WORKERS))
        pool.opened(instance)
        pool.start()
    try:
        yield pool, lambda: [line for line in said.getvalue().splitlines() if '"event": "usage"' in line]
    finally:
        pool.stop(0)
        log.configure("info", None)


def run(algorithm: str) -> tuple[Counter[str], Watched]:
    journal = Journal()
    with chaos(journal, algorithm) as (world, watched, providers):
        clients = Pool(CLIENTS)
        for number in range(CLIENTS):
            clients.spawn(world.client, number)
        clients.join(timeout=SECONDS + 20, raise_error=True)
        assert not len(clients), "a client still waits"
        eventually(lambda: sum(watched.started_at.values()) == len(watched.outcomes))
        eventually(lambda: seen(journal) == watched.started_at, seconds=5)
        ports = [each.port for each in providers]
        kinds: Counter[str] = Counter()
        for name, got in world.got.items():
            kinds[check(name, got, attempts(journal.works.get(name, [])), ports)] += 1
        assert kinds["answered"] > 0.8 * len(world.got), kinds
        assert not watched.wrong, watched.wrong[:5]
        agree(journal, watched)
        assert not world.logged(), "every record went back with its answer"
        assert len(world.tickets) == 0
        return kinds, watched


def seen(journal: Journal) -> Counter[int]:
    """Attempts that the providers know of, by target."""
    return Counter(work.target for each in journal.works.values() for work in attempts(each))


def attempts(works: list[Work]) -> list[Work]:
    return [work for work in works if work.end != STALE]


def check(name: str, got: Got, works: list[Work], ports: list[int]) -> str:
    """Exactly one complete answer, or one clear error; and the record says what the providers saw."""
    context = f"{name}: {got}, {works}"
    assert got.complete, context
    good = [work for work in works if work.end == GOOD]
    given = [work for work in works if work.end == GIVEN]
    assert len(good) + len(given) <= 1, f"answered twice: {context}"
    in_time = [work for work in works if not work.late]
    if good or given:
        assert in_time[-1] in (good + given), f"tried on after an answer: {context}"
    if got.record is not None:
        tried = [entry["port"] for entry in got.record.get("tried_targets", [])]
        assert Counter(tried) == Counter(ports[work.target] for work in works), context
        # Who was late read the request after others that were tried afterwards.
        for work in in_time:
            at = tried.index(ports[work.target])
            del tried[: at + 1]
        used = got.record.get("usage", {})
    else:
        assert not works, f"no record: {context}"
        used = {}
    if good:
        assert got.status == 200, context
        assert said(got) == text_of(name, good[0].tokens), context
        assert used["completion_tokens"] == good[0].tokens, context
        assert used.get("source") is None, context
        return "answered"
    if given:
        assert got.status == 200, context
        assert got.stream, context
        assert b"[DONE]" not in got.body, context
        last = [json.loads(line[6:]) for line in got.body.split(b"\n\n") if line.startswith(b"data: ")][-1]
        assert last["error"]["message"], context
        assert text_of(name, given[0].tokens).startswith(streamed(got.body)), context
        assert used["source"] == "partial", context
        return "broken"
    assert got.status in (429, 500, 502, 503, 504), context
    assert json.loads(got.body)["error"]["message"], context
    assert not used.get("completion_tokens"), context
    return f"refused {got.status}"


def said(got: Got) -> str:
    if not got.stream:
        return str(json.loads(got.body)["choices"][0]["message"]["content"])
    assert got.body.count(b"data: [DONE]") == 1
    return streamed(got.body)


def streamed(body: bytes) -> str:
    text = ""
    for line in body.split(b"\n\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                text += choice["delta"].get("content") or ""
    return text


def agree(journal: Journal, watched: Watched) -> None:
    """The balancer was told of every request a provider saw, and how it went."""
    works = [work for each in journal.works.values() for work in attempts(each)]
    assert seen(journal) == watched.started_at
    # A stream that breaks off is the target's failure too, though nothing else is tried.
    failed = Counter(work.target for work in works if work.end != GOOD)
    assert failed == Counter(target for target, outcome in watched.outcomes if not outcome.ok)
    for state in watched.inner.states:
        assert (state.in_flight, state.probes) == (0, 0)


def test_round_robin_through_chaos() -> None:
    kinds, watched = run("round-robin")
    assert kinds["broken"], "no stream broke off"
    assert watched.opened, "the breaker had nothing to do"


def connections(relay: RelayServer | WorkerPool) -> int:
    if isinstance(relay, RelayServer):
        return relay.connections
    return sum(worker.connections for worker in relay._workers)


def test_clients_that_leave_leave_nothing_behind() -> None:
    journal = Journal()
    with chaos(journal, "least-connections") as (world, watched, _):
        clients = Pool(CLIENTS)
        for number in range(CLIENTS):
            clients.spawn(world.leave, number)
        clients.join(timeout=20, raise_error=True)
        eventually(lambda: connections(world.relay) == 0, seconds=10)
        assert sum(watched.started_at.values()) == len(watched.outcomes)
        assert [(state.in_flight, state.probes) for state in watched.inner.states] == [(0, 0)] * 4
        assert not watched.wrong, watched.wrong[:5]


def test_lowest_latency_through_chaos() -> None:
    run("lowest-latency")

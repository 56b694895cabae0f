"""A relay whose instance has a judge; targets and judge are scripted providers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.event
from exchange_support import advanced, openai_answer, target_config
from relay_support import Peer, Provider, World, eventually, every, provider_of, relay_world

from kong_ai_proxy import log
from kong_ai_proxy.core.json import Json
from kong_ai_proxy.judge import Judging

JUDGE_KEY = "Bearer sk-judges-own-0123456789"


class Bench:
    """A judge at OpenAI's API: gives `replies` in turn, the last one again and again."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies) or ["80"]
        self.seen: list[Json] = []
        self.heads: list[str] = []
        self.hold = gevent.event.Event()
        self.hold.set()
        self.busy = self.most = 0

    def __call__(self, peer: Peer, head: bytes, body: bytes) -> None:
        self.seen.append(json.loads(body))
        self.heads.append(head.decode())
        self.busy += 1
        self.most = max(self.most, self.busy)
        self.hold.wait()
        self.busy -= 1
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, tuple):
            status, headers, text = reply
            peer.answer(text.encode(), status, headers + "content-type: application/json\r\n")
            return
        answer = openai_answer(
            reply, usage={"prompt_tokens": 200, "completion_tokens": 2, "total_tokens": 202}
        )
        peer.answer(json.dumps(answer).encode())

    @property
    def material(self) -> Json:
        """What the last question was about."""
        found: Json = json.loads(self.seen[-1]["messages"][-1]["content"])
        return found


def judge_config(port: int, provider: str = "openai", **changes: Any) -> Json:
    options = {
        "upstream_url": f"http://127.0.0.1:{port}/v1/chat/completions",
        "input_cost": 10.0,
        "output_cost": 100.0,
    }
    llm = target_config(
        provider,
        "the-judge",
        options={**options, **changes.pop("options", {})},
        auth={"header_name": "Authorization", "header_value": JUDGE_KEY},
        logging={"log_statistics": True},
    )
    return {"llm": llm, **changes}


class Court:
    """The relay, the judge, and what came of it."""

    def __init__(self, world: World, bench: Bench, lines: io.StringIO) -> None:
        self.world = world
        self.bench = bench
        self._lines = lines

    @property
    def judging(self) -> Judging:
        return self.world.relay._judging

    def metrics(self, name: str) -> dict[str, float]:
        """Samples of `kong_ai_proxy_judge_<name>`, by their last label's value."""
        for family in self.judging.counts.collect():
            if family.name == f"kong_ai_proxy_judge_{name}":
                return {labels[-1][1] if labels else "": value for labels, value in family.samples.items()}
        return {}

    def outcomes(self) -> dict[str, float]:
        return self.metrics("answers_total")

    def settled(self, answers: int = 1) -> dict[str, float]:
        """Waits until so many answers were judged, or not; nothing is held any more then."""
        eventually(lambda: sum(self.outcomes().values()) >= answers)
        eventually(lambda: not self.judging.counts.running)
        assert self.judging.counts.held == 0
        return self.outcomes()

    def accuracy(self, target: int = 0) -> tuple[int, float]:
        assert self.world.instance is not None
        found = self.world.instance.balancer.states[target].accuracy  # type: ignore[attr-defined]
        return found.scores, found.mean

    def said(self) -> list[Json]:
        """Lines of the plugin server's log."""
        return [json.loads(line) for line in self._lines.getvalue().splitlines()]

    def events(self, name: str) -> list[Json]:
        return [line for line in self.said() if line["event"] == name]

    def ask(self, body: Any = None, path: str = "/chat", headers: str = "") -> Any:
        asked = {"messages": [{"role": "user", "content": "What is two and two?"}]} if body is None else body
        with self.world.connect() as client:
            token = self.world.ticket()
            data = json.dumps(asked).encode()
            client.sock.sendall(
                f"POST {path} HTTP/1.1\r\nhost: relay\r\nx-kong-ai-ticket: {token}\r\n{headers}"
                f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n".encode()
                + data
            )
            return client.read()


@contextmanager
def court(
    answer: Any,
    bench: Bench | None = None,
    *,
    target: Json | None = None,
    judge: Json | None = None,
    relay: Json | None = None,
    **top: Any,
) -> Iterator[Court]:
    """`answer`: a handler of the target's requests, or the JSON that it answers. `target` and `judge`:
    changes to their configuration; `relay`: options."""
    bench = bench or Bench()

    def handle(peer: Peer, head: bytes, body: bytes) -> None:
        if callable(answer):
            answer(peer, head, body)
        else:
            peer.answer(json.dumps(answer).encode())

    lines = io.StringIO()
    log.configure("debug", lines)
    try:
        with (
            provider_of(every(handle)) as provider,
            provider_of(every(bench)) as judging,
            relay_world(real=True, **(relay or {})) as world,
        ):
            world.instance = advanced(
                target_of(provider, **(target or {})),
                balancer={"algorithm": "lowest-usage", "tokens_count_strategy": "llm-accuracy"},
                kong_ai_proxy={"judge": judge_config(judging.port, **(judge or {}))},
                **top,
            )
            yield Court(world, bench, lines)
    finally:
        log.configure("info")


def target_of(server: Provider, **changes: Any) -> Json:
    name = changes.pop("provider", "openai")
    path = changes.pop("path", "/v1/chat/completions")
    options = {"upstream_url": f"http://127.0.0.1:{server.port}{path}", **changes.pop("options", {})}
    return target_config(name, "m", options=options, **changes)

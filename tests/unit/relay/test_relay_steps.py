"""Several requests within one attempt, carried by the relay: order, waits, time-outs, clients that leave."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from relay_support import Client, Peer, Provider, Reply, World, eventually, every, provider_of, relay_world

from kong_ai_proxy.core.http import Url
from kong_ai_proxy.exchange.instance import ADVANCED, PROXY, Instance
from kong_ai_proxy.formats.steps import Asked, Step, Steps, Streamed, Whole
from kong_ai_proxy.providers import provider as provider_named

MIB = 1024 * 1024


def job(asked: Asked) -> Steps:
    created = yield Step("POST", "/jobs", {"of": [each.filename for each in asked.files]})
    wait = float(asked.body.get("wait", 0))
    while True:
        reply = yield Step("GET", f"/jobs/{json.loads(created.body)['id']}", after=wait)
        if json.loads(reply.body).get("done"):
            break
    yield Step("GET", "/open", credentials=False, streams=True)
    return Streamed("video/mp4")


def whole(asked: Asked) -> Steps:
    yield Step("POST", "/jobs", {})
    yield Step("GET", "/missing")
    return Whole({})


@contextmanager
def world_of(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, translation: Any = job, **top: Any
) -> Iterator[World]:
    kind = type(provider_named("cohere"))
    monkeypatch.setattr(kind, "operations", kind.operations | {"image.edits"})
    monkeypatch.setattr(kind, "steps", lambda self, call: translation)
    url = Url("http", "127.0.0.1", provider.port, "/")
    monkeypatch.setattr(
        kind, "step_url", lambda self, call, step: Url(url.scheme, url.host, url.port, step.path)
    )
    config = {
        "__plugin_id": "p-1",
        "max_request_body_size": 0,
        "route_type": "image/v1/images/edits",
        "logging": {"log_statistics": True},
        "auth": {"header_name": "Authorization", "header_value": "Bearer key-of-mine"},
        "model": {"provider": "cohere", "name": "m"},
        **top,
    }
    with relay_world(real=True) as world:
        world.instance = Instance.from_config(PROXY, config)
        yield world


def form(wait: str = "0", size: int = 3) -> bytes:
    file = b'--B\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + bytes(size)
    field = b'\r\n--B\r\nContent-Disposition: form-data; name="wait"\r\n\r\n' + wait.encode()
    return file + field + b"\r\n--B--\r\n"


def post(world: World, body: bytes) -> Reply:
    return world.post(body, "content-type: multipart/form-data; boundary=B\r\n")


class Jobs:
    """A provider with jobs that take `looks` looks."""

    def __init__(self, looks: int = 2, size: int = 10) -> None:
        self.looks = looks
        self.size = size
        self.seen: list[tuple[str, bool]] = []

    def __call__(self, peer: Peer, head: bytes, body: bytes) -> None:
        path = head.split()[1].decode()
        self.seen.append((path, b"key-of-mine" in head))
        if path == "/open":
            peer.answer(bytes(self.size), headers="content-type: application/octet-stream\r\n")
        elif path == "/missing":
            peer.answer(b'{"message":"no such job"}', "404 Not Found")
        elif path == "/jobs":
            peer.answer(b'{"id":"j1"}')
        else:
            self.looks -= 1
            peer.answer(b'{"done":%b}' % (b"true" if self.looks == 0 else b"false"))


def test_steps_go_to_the_provider_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(size=2 * MIB)
    with provider_of(every(jobs)) as provider, world_of(provider, monkeypatch) as world:
        began = time.monotonic()
        reply = post(world, form("0.05", 2 * MIB))
        assert time.monotonic() - began >= 0.1
        assert (reply.status, reply.headers["content-type"]) == (200, "video/mp4")
        assert len(reply.body) == 2 * MIB and reply.complete
        assert json.loads(provider.requests[0][1]) == {"of": ["a.png"]}
        assert jobs.seen == [("/jobs", True), ("/jobs/j1", True), ("/jobs/j1", True), ("/open", False)]
        assert provider.connections == 1
        record = reply.headers["x-kong-ai-usage"]
        assert "tried_targets.1.upstream_uri=s/jobs&" in record and "tried_targets.2" not in record


def test_a_later_steps_error_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with provider_of(every(Jobs())) as provider, world_of(provider, monkeypatch, whole) as world:
        reply = post(world, form())
        assert reply.status == 404
        assert json.loads(reply.body)["error"]["message"] == "no such job"


def test_a_later_step_that_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def script(peer: Peer, head: bytes, body: bytes) -> None:
        if b"POST" in head:
            peer.answer(b'{"id":"j1"}')
        else:
            peer.sock.close()

    with provider_of(every(script)) as provider, world_of(provider, monkeypatch, whole) as world:
        reply = post(world, form())
        assert reply.status == 502
        assert json.loads(reply.body)["error"]["code"] == "upstream_error"


def test_waiting_takes_no_longer_than_the_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    timeouts = {"balancer": {"read_timeout": 100}}
    with provider_of(every(Jobs(100))) as provider, world_of(provider, monkeypatch) as world:
        target = {"model": {"provider": "cohere", "name": "m"}, "route_type": "image/v1/images/edits"}
        world.instance = Instance.from_config(ADVANCED, {"targets": [target], **timeouts})
        began = time.monotonic()
        reply = post(world, form("0.04"))
        assert reply.status == 504
        assert json.loads(reply.body)["error"]["code"] == "upstream_timeout"
        assert time.monotonic() - began < 1.0


def test_a_client_that_leaves_ends_the_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs()
    with provider_of(every(jobs)) as provider, world_of(provider, monkeypatch) as world:
        client: Client = world.connect()
        client.send_request(form("30"), "content-type: multipart/form-data; boundary=B\r\n")
        eventually(lambda: bool(jobs.seen))
        client.close()
        eventually(lambda: world.relay.connections == 0)
        assert [path for path, _ in jobs.seen] == ["/jobs"]
        assert world.logged[0]["tried_targets"][0]["upstream_uri"] == "/jobs"


def test_a_file_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        provider_of(every(Jobs())) as provider,
        world_of(provider, monkeypatch, max_request_body_size=MIB) as world,
    ):
        body = form(size=2 * MIB)
        assert post(world, body).status == 413
        assert not provider.requests

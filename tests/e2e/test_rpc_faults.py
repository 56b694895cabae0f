"""What may go wrong between Kong and the plugin server: no hang, no leak, an answer for each."""

from __future__ import annotations

import contextlib
import gc
import json
import resource
from itertools import pairwise
from typing import Any

import gevent
import msgpack
import pytest
from gevent import socket
from greenlet import greenlet
from served_support import served

from kong_ai_proxy.devgateway.rpc import ExternalPlugin, LuaError, RpcClient, RpcError

__all__ = ["served"]

pytestmark = pytest.mark.in_process("is about the plugin server's sockets, which workers do not have")

EXIT = "kong.response.exit"


class Exited(Exception):
    """Kong leaves the phase: no further step."""


class Gateway:
    def __init__(self, value: Any = None) -> None:
        self.value = value
        self.calls: list[tuple[str, list[Any]]] = []

    def __call__(self, method: str, args: list[Any]) -> Any:
        self.calls.append((method, args))
        if method == EXIT:
            raise Exited
        return self.value(method) if callable(self.value) else self.value


def run(client: RpcClient, instance: int, phase: str, gateway: Gateway | None = None) -> Gateway:
    gateway = gateway or Gateway()
    with contextlib.suppress(Exited):
        client.handle_event(instance, phase, gateway)
    return gateway


def handler_greenlets() -> int:
    from kong_ai_proxy.server.pdk import HandlerGreenlet

    # Idle ones wait for the next phase.
    # By type: isinstance looks through weak proxies, also of what is gone.
    found = [thing for thing in gc.get_objects() if issubclass(type(thing), HandlerGreenlet)]
    return sum(1 for thing in found if getattr(thing, "event", None) is not None)


def rss_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 1024


class Unpackable:
    pass


FAILURES = [RuntimeError, KeyError, SystemExit, KeyboardInterrupt, BaseException, RecursionError, MemoryError]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("pdk_calls", [0, 1, 2])
@pytest.mark.parametrize("phase", ["rewrite", "access", "response"])
def test_a_failing_handler_answers_500_json(served, phase, pdk_calls, failure):
    def fail(kong: Any) -> None:
        for _ in range(pdk_calls):
            kong.request.get_header("x")
        raise failure("secret-in-message")

    served.phase(phase, fail)
    client = served.client()
    instance = served.instance(client)
    gateway = run(client, instance, phase)
    method, args = gateway.calls[-1]
    assert len(gateway.calls) == pdk_calls + 1
    assert method == EXIT
    status, body, headers = args
    error = json.loads(body)["error"]
    assert status == 500
    assert headers["content-type"] == "application/json"
    assert set(error) == {"message", "type", "param", "code"}
    assert "secret" not in body, "the exception is for the log, not for the client"
    [line] = served.lines("handler_failed")
    assert failure.__name__ in line["traceback"]
    assert line["phase"] == phase
    assert len(served.server.events) == 0
    served.phase(phase, lambda kong: None)
    assert run(client, instance, phase).calls == [], "the next request is served"


@pytest.mark.parametrize("phase", ["certificate", "log"])
def test_where_there_is_no_client_to_answer_a_failure_is_logged(served, phase):
    def fail(kong: Any) -> None:
        raise ValueError("x")

    served.phase(phase, fail)
    client = served.client()
    assert run(client, served.instance(client), phase).calls == []
    assert served.lines("handler_failed")


@pytest.mark.parametrize("value", [Unpackable(), 1 << 70, {"a": {1, 2}}])
def test_a_value_that_cannot_be_sent_fails_the_handler_only(served, value):
    served.phase("access", lambda kong: kong.service.request.set_header("x", value))
    client = served.client()
    instance = served.instance(client)
    assert run(client, instance, "access").calls[-1][0] == EXIT
    served.phase("access", lambda kong: kong.request.get_path() and None)
    assert run(client, instance, "access").calls == [("kong.request.get_path", [])]


def test_failures_reveal_no_configured_secret(served):
    def fail(kong: Any) -> None:
        raise RuntimeError("cannot use Bearer 0123-very-secret here")

    served.phase("access", fail)
    client = served.client()
    run(client, served.instance(client, auth={"header_value": "Bearer 0123-very-secret"}), "access")
    assert "very-secret" not in served.log.getvalue()
    assert "***" in served.lines("handler_failed")[0]["traceback"]


def test_a_thousand_exits_leave_nothing_behind(served):
    served.phase("access", lambda kong: kong.response.exit(403, "x" * 1000))
    client = served.client(rotate=True)
    client.grow(8)
    instance = served.instance(client)
    sizes: list[int] = []
    for _ in range(4):
        for _ in range(1000):
            assert run(client, instance, "access").calls[0][0] == EXIT
        assert len(served.server.events) == 0
        assert handler_greenlets() == 0
        sizes.append(rss_kib())
    # The first thousand fill caches and pools. What leaks grows every time; the allocator grows now and then.
    assert min(after - before for before, after in pairwise(sizes[1:])) < 256, f"KiB: {sizes}"


def test_a_thousand_failures_leave_nothing_behind(served):
    def fail(kong: Any) -> None:
        kong.request.get_path()
        raise RuntimeError

    served.phase("access", fail)
    client = served.client()
    instance = served.instance(client)
    for _ in range(1000):
        run(client, instance, "access")
    assert len(served.server.events) == 0
    assert handler_greenlets() == 0


def test_abandoned_events_are_given_up(served):
    unwound: list[str] = []

    def access(kong: Any) -> None:
        try:
            kong.request.get_path()
        finally:
            unwound.append("access")

    served.phase("access", access)
    client = served.client()
    instance = served.instance(client)
    for _ in range(50):
        client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})
    assert len(served.server.events) == 50
    gevent.sleep(0.4)
    gevent.get_hub().loop.run_callback(served.server.events.sweep)
    gevent.sleep(0.05)
    assert len(served.server.events) == 0
    assert unwound == ["access"] * 50
    assert handler_greenlets() == 0
    assert len(served.lines("event_abandoned")) == 50
    run(client, instance, "access", Gateway("/"))


def test_a_slow_body_is_waited_for_longer(served):
    served.phase("access", lambda kong: kong.request.get_raw_body(0))
    client = served.client()
    step = client.call("plugin.HandleEvent", {"InstanceId": served.instance(client), "EventName": "access"})
    gevent.sleep(0.4)  # longer than another call is waited for in this test
    gevent.get_hub().loop.run_callback(served.server.events.sweep)
    gevent.sleep(0.02)
    assert client.call("plugin.Step", {"EventId": step["EventId"], "Data": b"{}"})["Data"] == "ret"


def test_a_body_kong_cannot_send_breaks_that_request_only(served):
    served.phase("access", lambda kong: kong.request.get_raw_body())
    client = served.client()
    instance = served.instance(client)
    with pytest.raises(LuaError, match="nil value"):
        client.handle_event(instance, "access", Gateway(None))
    assert run(client, instance, "access", Gateway(b"{}")).calls


@pytest.mark.parametrize("cut", ["before_answer", "before_step", "half_a_message"])
def test_a_connection_killed_mid_event(served, cut):
    started = gevent.event.Event()
    resume = gevent.event.Event()
    ends: list[str] = []

    def access(kong: Any) -> None:
        try:
            if cut == "before_answer":
                started.set()
                resume.wait(5)
            kong.request.get_path()
            ends.append("went on")
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    served.phase("access", access)
    client = served.client()
    instance = served.instance(client)
    request = msgpack.packb([0, 1, "plugin.HandleEvent", [{"InstanceId": instance, "EventName": "access"}]])
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(served.path))
    if cut == "half_a_message":
        sock.sendall(request[:-5])
        sock.close()
        gevent.sleep(0.05)
        assert len(served.server.events) == 0
        assert len(served.server.connections) == 1
        return
    sock.sendall(request)
    if cut == "before_answer":
        assert started.wait(5)
        sock.close()
        gevent.sleep(0.02)
        resume.set()
        gevent.sleep(0.02)
        assert ends == ["EventEnded"], "nobody hears the call: the handler is unwound at once"
        assert len(served.server.events) == 0
    else:
        message = next(iter_messages(sock))
        sock.close()
        gevent.sleep(0.02)
        # Kong goes on with the same event on another connection.
        answer = client.call("plugin.Step", {"EventId": message[3]["EventId"], "Data": "/"})
        assert answer["Data"] == "ret"
        assert ends == ["went on"]


def iter_messages(sock: socket.socket) -> Any:
    unpacker = msgpack.Unpacker()
    while data := sock.recv(65536):
        unpacker.feed(data)
        yield from unpacker


def test_twenty_megabytes_both_ways(served):
    size = 20 * 1024 * 1024
    seen: list[int] = []

    def access(kong: Any) -> None:
        body = kong.request.get_raw_body(0)
        seen.append(len(body))
        kong.service.request.set_raw_body(body)

    served.phase("access", access)
    client = served.client()
    other = served.client()
    instance = served.instance(client)
    gateway = Gateway(lambda method: b"\xff" * size if method.endswith("get_raw_body") else None)
    big = gevent.spawn(client.handle_event, instance, "access", gateway)
    served.phase("log", lambda kong: kong.request.get_path() and None)
    while not big.ready():
        run(other, instance, "log", Gateway("/"))  # others are served meanwhile
        gevent.sleep(0)
    big.get()
    assert seen == [size]
    assert len(gateway.calls[-1][1][0]) == size


def test_no_connection_keeps_a_buffer_of_its_largest_messages_size(served):
    size = 10 * 1024 * 1024
    served.phase("access", lambda kong: kong.request.get_raw_body(0) and None)
    client = served.client(rotate=True)
    client.grow(12)
    instance = served.instance(client)
    gateway = Gateway(b"\xff" * size)
    client.handle_event(instance, "access", gateway)
    before = rss_kib()
    for _ in range(11):
        client.handle_event(instance, "access", gateway)
    assert rss_kib() - before < 3 * size // 1024


def test_a_client_that_does_not_read_its_answers_blocks_nobody(served):
    served.phase("access", lambda kong: kong.service.request.set_raw_body(b"x" * 4_000_000))
    client = served.client()
    instance = served.instance(client)
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(served.path))
    request = msgpack.packb([0, 1, "plugin.HandleEvent", [{"InstanceId": instance, "EventName": "access"}]])
    sock.sendall(request * 20)
    gevent.sleep(0.1)
    assert run(client, instance, "access").calls[-1][0] == "kong.service.request.set_raw_body"
    received = sum(1 for _ in zip(range(20), iter_messages(sock), strict=False))
    assert received == 20
    sock.close()


def test_a_message_too_large_ends_its_connection(served):
    served.server.max_message = 100_000
    served.phase("access", lambda kong: kong.request.get_raw_body(0))
    client = served.client()
    instance = served.instance(client)
    with pytest.raises(RpcError, match="no data"):
        client.handle_event(instance, "access", Gateway(b"x" * 1_000_000))
    assert served.lines("rpc_broken")
    run(client, instance, "log")


def test_connections_that_go_are_forgotten(served):
    client = served.client()
    client.grow(100)
    gevent.sleep(0.05)
    assert len(served.server.connections) == 100
    client.close()
    gevent.sleep(0.05)
    assert len(served.server.connections) == 0


def test_while_stopping_new_requests_get_503_and_the_rest_goes_on(served):
    served.phase("access", lambda kong: kong.response.set_header("p", kong.request.get_path()))
    served.phase("response", lambda kong: kong.response.set_header("r", "1"))
    client = served.client()
    client.grow(3)
    instance = served.instance(client)

    def path(method: str) -> Any:
        if method == "kong.request.get_path":
            served.server.stop_accepting()
            return "/"
        return None

    assert run(client, instance, "access", Gateway(path)).calls[-1] == (
        "kong.response.set_header",
        ["p", "/"],
    )
    method, args = run(client, instance, "access").calls[-1]
    assert (method, args[0], args[2]["retry-after"]) == (EXIT, 503, "1")
    assert json.loads(args[1])["error"]["code"] == "shutting_down"
    assert run(client, instance, "response").calls[-1][1] == ["r", "1"]
    with pytest.raises(RpcError, match="connect"):
        served.client().call("plugin.GetStatus")
    assert served.server.drain(1.0)


def test_closing_unwinds_what_still_runs(served):
    ends: list[str] = []

    def access(kong: Any) -> None:
        try:
            kong.request.get_path()
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    def blocked(kong: Any) -> None:
        try:
            gevent.sleep(60)
        except BaseException as error:
            ends.append(type(error).__name__)
            raise

    served.phase("access", access)
    served.phase("rewrite", blocked)
    client = served.client()
    instance = served.instance(client)
    client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "access"})

    def wait() -> str:
        try:
            client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "rewrite"})
        except RpcError as error:
            return str(error)
        return "answered"

    waiting = gevent.spawn(wait)
    gevent.sleep(0.05)
    assert not served.server.drain(0.1)
    served.server.close()
    assert ends == ["EventEnded", "EventEnded"]
    assert waiting.get(timeout=2) == "no data"
    assert handler_greenlets() == 0


def test_a_plugin_that_forgot_its_instances_is_given_them_again(served):
    plugin = ExternalPlugin("scripted", served.client())
    conf = {"__plugin_id": "p1", "__seq__": 1}
    served.phase("access", lambda kong: kong.response.set_header("x", "1"))
    for running in served.server.instances.all():
        served.server.instances.close(running.id)
    gateway = Gateway()
    plugin.handle_event(conf, "access", gateway)
    for running in served.server.instances.all():
        served.server.instances.close(running.id)
    plugin.handle_event(conf, "access", gateway)
    assert len(gateway.calls) == 2


def test_a_new_configuration_replaces_the_old_instance(served):
    plugin = ExternalPlugin("scripted", served.client())
    plugin.handle_event({"__plugin_id": "p1", "__seq__": 1, "a": 1}, "access", Gateway())
    plugin.handle_event({"__plugin_id": "p1", "__seq__": 2, "a": 2}, "access", Gateway())
    assert len(served.server.instances) == 1
    with pytest.raises(LuaError, match=r"config\.model"):
        plugin.handle_event({"__plugin_id": "p1", "__seq__": 3, "model": 1}, "access", Gateway())


def test_many_workers_in_disorder(served):
    """Failures, exits, abandoned events and broken connections at once, from many greenlets."""
    served.phase("rewrite", lambda kong: 1 / 0)
    served.phase("access", lambda kong: kong.response.exit(400, kong.request.get_path()))
    served.phase("response", lambda kong: [kong.request.get_header(str(n)) for n in range(3)] and None)
    answered: list[str] = []

    def worker(n: int) -> None:
        client = served.client(rotate=True)
        instance = served.instance(client, worker=n % 4)
        for turn in range(20):
            phase = ("rewrite", "access", "response", "log")[(n + turn) % 4]
            if (n + turn) % 7 == 0:
                client.call("plugin.HandleEvent", {"InstanceId": instance, "EventName": "response"})
                client.close()
            run(client, instance, phase, Gateway("/"))
            answered.append(phase)
        client.close_instance(instance)

    gevent.joinall([gevent.spawn(worker, n) for n in range(30)], raise_error=True)
    assert len(answered) == 600
    gevent.sleep(0.4)
    gevent.get_hub().loop.run_callback(served.server.events.sweep)
    gevent.sleep(0.05)
    assert len(served.server.events) == 0
    assert len(served.server.instances) == served.server.instances.configurations == 0
    assert handler_greenlets() == 0
    assert isinstance(gevent.getcurrent(), greenlet)

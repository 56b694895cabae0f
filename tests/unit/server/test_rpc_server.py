"""The RPC server against a client that behaves as Kong's Lua does."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

import gevent
import msgpack
import pytest
from gevent import socket

from kong_ai_proxy.devgateway.rpc import RpcClient, RpcError


class Exited(Exception):
    """What `kong.response.exit` does in Kong: the phase is left, no further step comes."""


class Gateway:
    """A PDK that knows a few things and notes what is asked."""

    def __init__(self, **values: Any) -> None:
        self.values = {name.replace("__", "."): value for name, value in values.items()}
        self.calls: list[tuple[str, list[Any]]] = []

    def __call__(self, method: str, args: list[Any]) -> Any:
        self.calls.append((method, args))
        if method in ("kong.response.exit", "kong.response.error"):
            raise Exited
        value = self.values.get(method)
        return value(*args) if callable(value) else value


def run(client: RpcClient, instance: int, phase: str, gateway: Gateway) -> Gateway:
    with contextlib.suppress(Exited):
        client.handle_event(instance, phase, gateway)
    return gateway


def test_an_empty_phase_is_one_round_trip(served):
    client = served.client()
    instance = served.instance(client)
    before = client.counters.round_trips
    client.handle_event(instance, "access", Gateway())
    assert client.counters.round_trips - before == 1
    assert len(served.server.events) == 0


def test_pdk_calls_reach_kong_and_their_values_come_back(served):
    seen: dict[str, Any] = {}

    def access(kong: Any) -> None:
        seen["header"] = kong.request.get_header("host")
        seen["query"] = kong.request.get_query()
        seen["headers"] = kong.request.get_headers()
        seen["body"] = kong.request.get_raw_body(0)
        seen["nothing"] = kong.ctx.shared.get("missing")
        seen["empty"] = kong.router.get_route()
        kong.service.request.set_headers({"x-a": ["1", "2"], "x-b": []})

    served.phase("access", access)
    client = served.client(rotate=True)
    client.grow(5)
    gateway = Gateway(
        kong__request__get_header="api.test",
        kong__request__get_query={"a": "1", "flag": True, "many": ["x", "y"]},
        kong__request__get_headers={},
        kong__request__get_raw_body=b"\x00\xff{}",
        kong__router__get_route={},
    )
    client.handle_event(served.instance(client), "access", gateway)
    assert seen == {
        "header": "api.test",
        "query": {"a": ["1"], "flag": [], "many": ["x", "y"]},
        "headers": {},
        "body": b"\x00\xff{}",
        "nothing": None,
        "empty": [],
    }
    assert gateway.calls[-1] == ("kong.service.request.set_headers", [{"x-a": ["1", "2"], "x-b": []}])
    assert client.counters.connections == 5, "the steps came on different connections"


def test_many_events_interleave_over_few_connections(served):
    def access(kong: Any) -> None:
        mine = kong.request.get_header("n")
        for _ in range(5):
            assert kong.request.get_header("n") == mine
        kong.response.set_header("n", mine)

    served.phase("access", access)
    client = served.client(rotate=True)
    instance = served.instance(client)
    done: list[int] = []

    def one(n: int) -> None:
        def header(name: str) -> str:
            gevent.sleep(0.001 * (n % 3))
            return str(n)

        gateway = run(client, instance, "access", Gateway(kong__request__get_header=header))
        assert gateway.calls[-1] == ("kong.response.set_header", ["n", str(n)])
        done.append(n)

    gevent.joinall([gevent.spawn(one, n) for n in range(60)], raise_error=True)
    assert sorted(done) == list(range(60))


def test_a_handler_may_block_without_stopping_others(served):
    released = gevent.event.Event()

    def access(kong: Any) -> None:
        if kong.request.get_header("wait"):
            assert released.wait(5)
            kong.response.set_header("waited", "yes")

    served.phase("access", access)
    client = served.client()
    instance = served.instance(client)
    slow = gevent.spawn(run, client, instance, "access", Gateway(kong__request__get_header="1"))
    gevent.sleep(0.02)
    run(client, instance, "access", Gateway())  # returns while the other waits
    assert not slow.ready()
    released.set()
    assert slow.get(timeout=5).calls[-1] == ("kong.response.set_header", ["waited", "yes"])


def test_bytes_that_are_not_utf8_survive_both_ways(served):
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    served.phase("access", lambda kong: kong.response.set_header("echo", kong.request.get_header("x")))
    client = served.client()
    gateway = Gateway(kong__request__get_header=b"caf\xe9")
    client.handle_event(served.instance(client), "access", gateway)
    assert gateway.calls[-1] == ("kong.response.set_header", ["echo", odd])


@pytest.mark.parametrize("method", ["kong.response.exit", "kong.response.error"])
def test_nothing_runs_after_exit(served, method):
    after: list[str] = []

    def access(kong: Any) -> None:
        try:
            getattr(kong.response, method.rsplit(".", 1)[1])(403, "no")
            after.append("returned")
        except Exception:
            after.append("caught")
        finally:
            try:
                kong.log.err("never sent")
            except BaseException as error:
                after.append(type(error).__name__)
                raise

    served.phase("access", access)
    client = served.client()
    gateway = run(client, served.instance(client), "access", Gateway())
    assert gateway.calls == [(method, [403, "no"])]
    assert after == ["EventEnded"]
    assert len(served.server.events) == 0


def test_unknown_instances_are_reported_in_kongs_words(served):
    client = served.client()
    for call in (
        lambda: client.handle_event(123, "access", Gateway()),
        lambda: client.close_instance(123),
        lambda: client.call("plugin.InstanceStatus", 123),
        lambda: client.handle_event("x", "access", Gateway()),  # type: ignore[arg-type]
    ):
        with pytest.raises(RpcError, match=r"^no plugin instance #"):
            call()


def test_ids_of_an_earlier_server_do_not_fit(served):
    from kong_ai_proxy.server.instances import Instances

    starts = {Instances({})._last_id for _ in range(5)} | {served.server.instances._last_id}
    assert len(starts) == 6, "ids start at a random point"
    client = served.client()
    with pytest.raises(RpcError, match="no plugin instance"):
        client.handle_event(0, "access", Gateway())


def test_unknown_phases_events_and_methods_are_errors(served):
    client = served.client()
    instance = served.instance(client)
    with pytest.raises(RpcError, match="has no phase 'header_filter'"):
        client.handle_event(instance, "header_filter", Gateway())
    with pytest.raises(RpcError, match="has no phase '__init__'"):
        client.handle_event(instance, "__init__", Gateway())
    with pytest.raises(RpcError, match="event id 77 not found"):
        client.call("plugin.Step", {"EventId": 77, "Data": 1})
    with pytest.raises(RpcError, match="not found"):
        client.call("plugin.Step", "nonsense")
    with pytest.raises(RpcError, match="not found"):
        client.call("plugin.StepError", None)
    with pytest.raises(RpcError, match="not supported"):
        client.call("plugin.__class__", {})
    with pytest.raises(RpcError, match="without an event"):
        client.call("plugin.HandleEvent", [])
    with pytest.raises(RpcError, match="without a configuration"):
        client.call("plugin.StartInstance", None)
    client.handle_event(instance, "access", Gateway())


def test_a_step_error_is_raised_in_the_handler(served):
    seen: list[str] = []

    def access(kong: Any) -> None:
        from kong_ai_proxy.server.pdk import PdkError

        try:
            kong.client.get_consumer()
        except PdkError as error:
            seen.append(str(error))

    served.phase("access", access)
    client = served.client()
    step = client.call("plugin.HandleEvent", {"InstanceId": served.instance(client), "EventName": "access"})
    answer = client.call("plugin.StepError", {"EventId": step["EventId"], "Data": "no consumer"})
    assert answer["Data"] == "ret"
    assert seen == ["kong.client.get_consumer: no consumer"]


def test_a_second_step_for_one_call_is_refused(served):
    released = gevent.event.Event()

    def access(kong: Any) -> None:
        kong.request.get_path()
        released.wait(5)

    served.phase("access", access)
    client = served.client()
    step = client.call("plugin.HandleEvent", {"InstanceId": served.instance(client), "EventName": "access"})
    first = gevent.spawn(client.call, "plugin.Step", {"EventId": step["EventId"], "Data": "/"})
    gevent.sleep(0.02)
    with pytest.raises(RpcError, match="waits for no step"):
        client.call("plugin.Step", {"EventId": step["EventId"], "Data": "/"})
    released.set()
    assert first.get(timeout=5)["Data"] == "ret"


def test_bad_configurations_name_the_field_and_no_secret(served):
    client = served.client()
    with pytest.raises(RpcError, match=r"^scripted: config\.model: expected a string$"):
        served.instance(client, model=3)
    with pytest.raises(RpcError, match="instance not started: RuntimeError: boom"):
        served.instance(client, crash=True)
    for text in ("", "[]", "{", "null"):
        with pytest.raises(RpcError, match="not a JSON object"):
            client.call("plugin.StartInstance", {"Name": "scripted", "Config": text})
    with pytest.raises(RpcError, match="no plugin 'other'"):
        client.call("plugin.StartInstance", {"Name": "other", "Config": "{}"})
    assert len(served.server.instances) == 0
    assert served.lines("config_refused")


def test_workers_share_an_instance_until_the_last_closes_it(served):
    from served_support import Scripted

    client = served.client()
    one = served.instance(client, name="a", __seq__=1)
    two = served.instance(client, name="a", __seq__=2)
    other = served.instance(client, name="b", __seq__=2)
    assert len({one, two, other}) == 3
    assert served.server.instances.configurations == 2
    client.close_instance(one)
    assert Scripted.closed == []
    client.handle_event(two, "access", Gateway())
    client.close_instance(two)
    assert Scripted.closed == ["a"]
    client.close_instance(other)
    assert len(served.server.instances) == served.server.instances.configurations == 0


def test_an_instance_may_be_closed_while_a_phase_of_it_runs(served):
    served.phase("access", lambda kong: kong.response.set_header("p", kong.request.get_path()))
    client = served.client()
    instance = served.instance(client)

    def path() -> str:
        client.close_instance(instance)
        return "/x"

    gateway = Gateway(kong__request__get_path=path)
    client.handle_event(instance, "access", gateway)
    assert gateway.calls[-1] == ("kong.response.set_header", ["p", "/x"])


def test_log_arguments_are_made_packable(served):
    served.phase("log", lambda kong: kong.log.warn("x", None, object, {"a": 1}))
    client = served.client()
    gateway = run(client, served.instance(client), "log", Gateway())
    method, args = gateway.calls[0]
    assert method == "kong.log.warn"
    assert args == ["x", "None", "<class 'object'>", {"a": 1}]


def test_a_pdk_call_outside_of_a_phase_is_refused(served):
    from kong_ai_proxy.server.pdk import kong

    with pytest.raises(RuntimeError, match=r"kong\.request\.get_path called outside of a phase"):
        kong.request.get_path()


def test_status_tells_counts_and_no_configuration(served):
    client = served.client()
    served.instance(client, header_value="Bearer very-secret")
    status = client.call("plugin.GetStatus")
    assert [i["Name"] for i in status["Instances"]] == ["scripted"]
    assert "very-secret" not in repr(status)


@pytest.mark.parametrize(
    "garbage",
    [b"\xc1", b"GET / HTTP/1.1\r\n\r\n", msgpack.packb([0, 1, "plugin.GetStatus"]), msgpack.packb({"a": 1}),
     msgpack.packb([1, 2, 3, 4]), b"\x91" * 5000,
     # Lists and a table that say they are huge.
     b"\x94\x00\x01\xa1m\xdd\x03\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\x03\xff\xff\xff"],
)  # fmt: skip
def test_garbage_ends_its_connection_only(served, garbage):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(served.path))
    sock.sendall(garbage)
    assert sock.recv(10) == b""
    sock.close()
    client = served.client()
    client.handle_event(served.instance(client), "access", Gateway())


def test_requests_sent_at_once_are_all_answered(served):
    client = served.client()
    instance = served.instance(client)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(5)
    sock.connect(str(served.path))
    many = b"".join(
        msgpack.packb([0, n, "plugin.HandleEvent", [{"InstanceId": instance, "EventName": "access"}]])
        for n in range(500)
    )
    sock.sendall(many[:-3])
    gevent.sleep(0.01)
    sock.sendall(many[-3:])
    unpacker = msgpack.Unpacker()
    ids: list[int] = []
    while len(ids) < 500:
        unpacker.feed(sock.recv(65536))
        ids += [message[1] for message in unpacker]
    assert ids == list(range(500))
    sock.close()


def test_without_file_descriptors_accepting_pauses(served):
    client = served.client()
    client.grow(1)
    gevent.sleep(0.01)

    class Full:
        def accept(self) -> Any:
            raise OSError(errno.EMFILE, "too many open files")

    class Watcher:
        calls: list[str] = []  # noqa: RUF012

        def stop(self) -> None:
            self.calls.append("stop")

        def start(self, *args: Any) -> None:
            self.calls.append("start")

    watcher = Watcher()
    served.server._accept(Full(), watcher)  # type: ignore[arg-type]
    assert watcher.calls == ["stop"]
    gevent.sleep(0.6)
    assert watcher.calls == ["stop", "start"]
    assert served.lines("accept_failed")


def test_instances_kong_forgot_are_dropped_in_the_end(served):
    client = served.client()
    old = served.instance(client, name="old")
    used = served.instance(client, name="used")
    served.server.instances._idle_ttl = 0.05
    gevent.sleep(0.1)
    client.handle_event(used, "access", Gateway())
    served.instance(client, name="new")
    with pytest.raises(RpcError, match="no plugin instance"):
        client.handle_event(old, "access", Gateway())
    client.handle_event(used, "access", Gateway())
    assert served.server.instances.configurations == 2


def test_a_close_that_fails_is_logged_only(served):
    from served_support import Scripted

    client = served.client()
    instance = served.instance(client)

    class Broken(list):  # type: ignore[type-arg]
        def append(self, item: Any) -> None:
            raise RuntimeError("no")

    Scripted.closed = Broken()
    client.close_instance(instance)
    assert served.lines("instance_close_failed")
    assert len(served.server.instances) == 0

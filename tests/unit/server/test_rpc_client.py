"""Kong's side of the RPC, as the development gateway and the tests play it.

The expected values were taken from lua-MessagePack 0.5 and Kong 3.9's mp_rpc.lua run in LuaJIT.
"""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from kong_ai_proxy.devgateway.rpc import (
    STEP_METHODS,
    LuaError,
    MissingMethod,
    RpcError,
    as_lua,
    fix_multi_map,
    lua_args,
    to_wire,
)


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        ({}, []),
        ([1, 2], [1, 2]),
        ({"a": 1}, {"a": 1}),
        ([1, None, 3], {1: 1, 3: 3}),
        ([1, None], [1]),
        ({1: "a", 2: "b"}, ["a", "b"]),
        ({2: "b"}, {2: "b"}),
        ({"a": {}, "b": [{}]}, {"a": [], "b": [[]]}),
        ({"x": None}, []),
        (1.0, 1),
        (2.0**40, 2**40),
        (2.0**53, 2.0**53),
        (-5e9, -5_000_000_000),
        (1.5, 1.5),
        (b"\xff", "\udcff"),
        (True, True),
        (None, None),
    ],
)
def test_values_as_luas_messagepack_sends_them(value, arrives):
    got = as_lua(value)
    assert got == arrives
    assert type(got) is type(arrives)


def test_headers_and_queries():
    assert fix_multi_map({"a": "1", "b": True, "c": ["x", "y"], "d": b"\xff", "e": 5}) == {
        "a": ["1"], "b": [], "c": ["x", "y"], "d": ["\udcff"], "e": 5,
    }  # fmt: skip
    assert to_wire("kong.request.get_query", {}) == {}
    with pytest.raises(LuaError):
        to_wire("kong.request.get_headers", None)


def test_raw_bodies():
    assert to_wire("kong.request.get_raw_body", "é") == "é".encode()
    assert to_wire("kong.request.get_raw_body", b"\xff") == b"\xff"
    with pytest.raises(LuaError, match="nil"):
        to_wire("kong.request.get_raw_body", None)


def test_arguments_end_at_the_first_nil():
    assert lua_args([200, None, {"a": "b"}]) == [200]
    assert lua_args(["key", None]) == ["key"]
    assert lua_args([]) == []
    assert lua_args(None) == []
    assert lua_args("x") == ["x"]


def test_steps_are_named_by_what_was_asked(served):
    served.phase("access", lambda kong: [kong.client.get_consumer(), kong.request.get_query(), kong.a.b()])
    client = served.client(record_methods=True)

    def pdk(method: str, args: list[Any]) -> Any:
        if method == "kong.a.b":
            raise MissingMethod(method)
        return {}

    client.handle_event(served.instance(client), "access", pdk)
    assert client.counters.methods == [
        "plugin.StartInstance",
        "plugin.HandleEvent",
        "kong.client.get_consumer",
        "plugin.StepConsumer",
        "kong.request.get_query",
        "plugin.StepMultiMap",
        "kong.a.b",
        "plugin.Step",
    ]
    assert STEP_METHODS["kong.router.get_route"] == "plugin.StepRoute"


def test_an_idle_connection_that_was_closed_is_not_used(served):
    client = served.client()
    instance = served.instance(client)
    for connection in list(served.server.connections):
        gevent.get_hub().loop.run_callback(connection.close)
    gevent.sleep(0.02)
    client.handle_event(instance, "access", lambda method, args: None)


def test_a_slow_plugin_server_times_out(served):
    served.phase("access", lambda kong: gevent.sleep(0.5))
    client = served.client()
    instance = served.instance(client)
    client.close()
    client.read_timeout = 0.05
    with pytest.raises(RpcError, match="no data"):
        client.handle_event(instance, "access", lambda method, args: None)


def test_no_plugin_server():
    from kong_ai_proxy.devgateway.rpc import RpcClient

    with pytest.raises(RpcError, match="trying to connect"):
        RpcClient("/nowhere.sock").call("plugin.GetStatus")

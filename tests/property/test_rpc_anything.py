"""Whatever comes over the RPC socket, the plugin server lives and serves the next connection."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
from fuzz_support import examples
from gevent import socket
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from served_support import Served, served

__all__ = ["served"]

ANYTIME = {"suppress_health_check": [HealthCheck.function_scoped_fixture]}
METHODS = st.sampled_from([
    "plugin.GetStatus", "plugin.GetPluginInfo", "plugin.StartInstance", "plugin.InstanceStatus",
    "plugin.CloseInstance", "plugin.HandleEvent", "plugin.Step", "plugin.StepError", "plugin.SetKongPid",
    "plugin.Nothing", "plugin.", "", "__class__", "plugin.__init__",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.binary(max_size=8),
    st.sampled_from(["access", "log", "scripted", "kong-ai-proxy"]),
)
MEMBERS = st.sampled_from(["Name", "Config", "InstanceId", "EventName", "Params", "Data", "EventId", "Args"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(MEMBERS, inner, max_size=4),
        st.dictionaries(LEAVES.filter(lambda key: key == key), inner, max_size=2),
    ),
    max_leaves=8,
)
REQUESTS = st.tuples(
    st.sampled_from([0, 1, 2, -1, None, "0"]), LEAVES, METHODS | LEAVES, st.lists(VALUES, max_size=3) | VALUES
).map(list)
MESSAGES = st.one_of(
    st.binary(max_size=64),
    VALUES.map(msgpack.packb),
    REQUESTS.map(msgpack.packb),
    st.tuples(REQUESTS.map(msgpack.packb), st.integers(1, 40)).map(lambda pair: pair[0][: pair[1]]),
)


def send(served: Served, data: bytes) -> bytes:
    """What the server says to these bytes until it has nothing more to say."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(served.path))
        said = b""
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while piece := sock.recv(65536):
                said += piece
        return said


@given(messages=st.lists(MESSAGES, min_size=1, max_size=4))
@examples(80, **ANYTIME)
def test_the_server_outlives_any_bytes(served: Served, messages: list[bytes]):
    send(served, b"".join(messages))
    client = served.client()
    try:
        assert client.start_instance("scripted", {"__plugin_id": "after"})["Id"]
    finally:
        client.close()
    assert len(served.server.events) == 0, "no phase is left waiting"


@given(method=METHODS, args=st.lists(VALUES, max_size=2))
@examples(80, **ANYTIME)
def test_each_request_gets_one_answer(served: Served, method: str, args: list[Any]):
    said = send(served, msgpack.packb([0, 7, method, args]))
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(said)
    answers = list(unpacker)
    assert len(answers) <= 1, "one at most: the connection may be gone before an instance is closed"
    for kind, msgid, error, result in answers:
        assert (kind, msgid) == (1, 7)
        assert error is None or (isinstance(error, str) and result is None)

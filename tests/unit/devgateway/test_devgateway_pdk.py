"""The PDK functions of the development gateway, checks and errors included, and the JSON of the log
record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kong_ai_proxy.devgateway.client import _Message
from kong_ai_proxy.devgateway.context import Context, Exit
from kong_ai_proxy.devgateway.declared import read
from kong_ai_proxy.devgateway.errors import error_body
from kong_ai_proxy.devgateway.headers import Headers, utf8, wire
from kong_ai_proxy.devgateway.pdk import Pdk, resolve_vault, save
from kong_ai_proxy.devgateway.record import query_table, serialize, to_json
from kong_ai_proxy.devgateway.router import Router
from kong_ai_proxy.devgateway.rpc import LuaError, MissingMethod, to_wire


class Connection:
    """A client connection that has nothing more to say."""

    address = ("10.0.0.9", 4711)
    upgraded = b""


class Writer:
    chunked = False
    started = False
    sent = 0


_made: list[Context] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().request.close()


def context(body: bytes = b"", uri: str = "/r/x?a=1&a=2&b", **headers: str) -> Context:
    from kong_ai_proxy.devgateway.client import ClientRequest

    message = _Message(url=uri.encode("latin-1"), method="POST", complete=True, ready=True)
    message.headers = [("Host", "gateway:8000"), *((k.replace("_", "-"), v) for k, v in headers.items())]
    if body:
        message.chunks.append(body)
    declared = read(
        {
            "_format_version": "3.0",
            "services": [
                {"name": "s", "url": "http://h", "routes": [{"name": "r", "paths": ["~/r/(?<n>.)"]}]}
            ],
            "consumers": [{"username": "alice"}],
        }
    )
    connection: Any = Connection()
    writer: Any = Writer()
    made = Context(ClientRequest(connection, message), writer, declared, 8000)
    _made.append(made)
    made.phase = "access"
    made.match = Router(declared).match("POST", made.raw_path, "gateway", made.request.headers)
    return made


def call(context: Context, method: str, *args: Any) -> Any:
    return Pdk(context, "test")(method, list(args))


@pytest.mark.parametrize(
    ("method", "args", "expected"),
    [
        ("kong.request.get_method", [], "POST"),
        ("kong.request.get_path", [], "/r/x"),
        ("kong.request.get_path_with_query", [], "/r/x?a=1&a=2&b"),
        ("kong.request.get_raw_query", [], "a=1&a=2&b"),
        ("kong.request.get_query", [], {"a": ["1", "2"], "b": True}),
        ("kong.request.get_query_arg", ["a"], "1"),
        ("kong.request.get_query_arg", ["none"], None),
        ("kong.request.get_header", ["X-One"], "1"),
        ("kong.request.get_header", ["x_one"], "1"),
        ("kong.request.get_header", ["none"], None),
        ("kong.request.get_host", [], "gateway"),
        ("kong.request.get_port", [], 8000),
        ("kong.request.get_scheme", [], "http"),
        ("kong.request.get_http_version", [], 1.1),
        ("kong.request.get_raw_body", [], b"body"),
        ("kong.request.get_uri_captures", [], {"named": {"n": "x"}, "unnamed": ["x"]}),
        ("kong.client.get_ip", [], "10.0.0.9"),
        ("kong.client.get_consumer", [], None),
        ("kong.nginx.get_var", ["request_uri"], "/r/x?a=1&a=2&b"),
        ("kong.nginx.get_var", ["http_x_one"], "1"),
        ("kong.nginx.get_var", ["arg_a"], "1"),
        ("kong.nginx.get_var", ["content_length"], None),
        ("kong.nginx.get_var", ["no_such_variable"], None),
        ("kong.nginx.get_ctx", ["nothing"], None),
        ("kong.ctx.shared.get", ["nothing"], None),
        ("kong.vault.get", ["plain"], None),
        ("kong.ip.is_trusted", ["10.0.0.9"], False),
    ],
)
def test_reading(method: str, args: list[Any], expected: Any) -> None:
    assert call(context(b"body", x_one="1"), method, *args) == expected


def test_bytes_on_the_wire_are_utf8_to_plugins() -> None:
    made = context(x_cafe="caf\xc3\xa9", x_odd="\xff")
    assert call(made, "kong.request.get_header", "x-cafe") == "café"
    assert call(made, "kong.request.get_header", "x-odd") == "\udcff"
    call(made, "kong.service.request.set_header", "x-set", "é\udcff")
    assert made.request.headers.get("x-set") == "\xc3\xa9\xff"
    assert wire(utf8("\xc3\xa9\xff")) == "\xc3\xa9\xff"


def test_a_body_on_disk_breaks_the_codec() -> None:
    made = context(b"x" * 9000)
    assert call(made, "kong.request.get_raw_body") is None
    with pytest.raises(LuaError):
        to_wire("kong.request.get_raw_body", None)
    assert call(made, "kong.request.get_raw_body", 8999) is None
    assert len(call(made, "kong.request.get_raw_body", 9000)) == 9000
    assert len(call(made, "kong.request.get_raw_body", 0)) == 9000


@pytest.mark.parametrize(
    ("phase", "method", "args"),
    [
        ("access", "kong.service.set_target", ["h", 1.5]),
        ("access", "kong.service.set_target", ["h", 70000]),
        ("access", "kong.service.set_target", [1, 80]),
        ("access", "kong.service.request.set_scheme", ["ftp"]),
        ("access", "kong.service.request.set_path", ["no-slash"]),
        ("access", "kong.service.request.set_method", ["NONSENSE"]),
        ("access", "kong.service.request.set_header", ["x", {"a": 1}]),
        ("access", "kong.service.request.set_headers", ["text"]),
        ("access", "kong.service.set_timeouts", [0, 1, 1]),
        ("access", "kong.request.get_header", [1]),
        ("access", "kong.request.get_headers", [0]),
        ("access", "kong.response.exit", ["text"]),
        ("access", "kong.response.exit", [999]),
        ("access", "kong.response.get_status", []),
        ("access", "kong.service.response.get_raw_body", []),
        ("access", "kong.log.set_serialize_value", [1, 1]),
        ("access", "kong.log.serialize", []),
        ("access", "kong.client.load_consumer", ["not-a-uuid"]),
        ("response", "kong.service.request.set_header", ["x", "1"]),
        ("response", "kong.service.set_target", ["h", 80]),
        ("log", "kong.request.get_raw_body", []),
        ("log", "kong.response.set_header", ["x", "1"]),
        ("header_filter", "kong.request.get_raw_body", []),
    ],
)
def test_wrong_calls_throw(phase: str, method: str, args: list[Any]) -> None:
    made = context()
    made.phase = phase
    with pytest.raises(LuaError):
        call(made, method, *args)


def test_unknown_functions_are_missing() -> None:
    with pytest.raises(MissingMethod):
        call(context(), "kong.client.get_consumer_groups_of_enterprise")


def test_changing_the_request() -> None:
    made = context(x_one="1")
    call(made, "kong.service.set_target", "other", 9)
    call(
        made,
        "kong.service.request.set_headers",
        {"x-one": [], "x-two": ["a", "b"], "x-three": 5, "host": "h2"},
    )
    call(made, "kong.service.request.set_path", "/p q")
    call(made, "kong.service.request.set_raw_body", "new")
    assert made.target == ("other", 9)
    assert "x-one" not in made.request.headers
    assert made.request.headers.all("x-two") == ["a", "b"]
    assert made.request.headers.get("x-three") == "5"
    assert made.variables["upstream_uri"] == "/p%20q"
    assert made.variables["upstream_host"] == "h2"
    assert made.request.body() == b"new"


def test_query_arguments_are_set_in_order() -> None:
    made = context()
    call(made, "kong.service.request.set_query", {"b": "x y", "a": [1, "é"], "flag": True, "off": False})
    assert made.args == "a=%C3%A9&a=1&b=x%20y&flag"
    call(made, "kong.service.request.clear_query_arg", "a")
    assert made.args == "b=x%20y&flag"


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("application/json; charset=utf-8", b'{"a": [1, null], "b": null}', {"a": [1, None]}),
        ("application/json", b"{", None),
        ("application/json", b"5", None),
        ("application/x-www-form-urlencoded", b"a=1&b=x+y", {"a": "1", "b": "x y"}),
        ("text/plain", b"{}", None),
    ],
)
def test_parsed_body(kind: str, body: bytes, expected: Any) -> None:
    assert call(context(body, content_type=kind), "kong.request.get_body") == expected


def test_exit_leaves_the_phase() -> None:
    with pytest.raises(Exit) as left:
        call(context(), "kong.response.exit", 400, {"message": "no"}, {"x": "1"})
    assert (left.value.status, left.value.body, left.value.headers) == (400, {"message": "no"}, {"x": "1"})


def test_the_log_timer_has_only_what_was_saved() -> None:
    made = context(x_one="1")
    made.phase = "log"
    made.response.status = 201
    made.response.headers = Headers([("X-Out", "1")])
    made.ctx["k"] = "v"
    made.shared.set("s", 1)
    timer = Pdk(made, "test", save(made))
    assert timer("kong.request.get_header", ["x-one"]) == "1"
    assert timer("kong.response.get_status", []) == 201
    assert timer("kong.response.get_header", ["x-out"]) == "1"
    assert timer("kong.nginx.get_ctx", ["k"]) == "v"
    assert timer("kong.ctx.shared.get", ["s"]) == 1
    assert '"method":"POST"' in timer("kong.log.serialize", [])
    for method in ("kong.request.get_method", "kong.nginx.get_var", "kong.request.get_path"):
        with pytest.raises(LuaError):
            timer(method, ["x"])


def test_serialized_values() -> None:
    made = context()
    for key, value, options in (
        (
            "ai.proxy.usage",
            {"a": 1, "gone": None, "cost": 0.1 + 0.2, "whole": 3.0, "empty": [], "x": {}},
            None,
        ),
        ("request.method", "PATCH", {"mode": "add"}),
        ("request.headers.host", "h", {"mode": "replace"}),
        ("nothing.there", 1, {"mode": "replace"}),
        ("client_ip", None, None),
    ):
        call(made, "kong.log.set_serialize_value", key, value, options)
    record = serialize(made)
    assert record["request"]["method"] == "POST"
    assert record["request"]["headers"]["host"] == "h"
    assert "nothing" not in record and "client_ip" not in record
    assert b'"usage":{"a":1,"cost":0.3,"whole":3,"empty":{},"x":{}}' in to_json(record)
    call(made, "kong.log.set_serialize_value", "request.method.below", 1)
    with pytest.raises(LuaError):
        serialize(made)


@pytest.mark.parametrize(
    ("query", "table"),
    [
        ("", {}),
        ("a=1", {"a": "1"}),
        ("a=1&a=2&a", {"a": ["1", "2", True]}),
        ("a+b=%20c%2B", {"a b": " c+"}),
        ("=x&&b=", {"b": ""}),
        ("x=%ff", {"x": "\udcff"}),
    ],
)
def test_query(query: str, table: Any) -> None:
    assert query_table(query) == table


def test_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "value")
    assert resolve_vault("{vault://env/my-key}") == "value"
    assert resolve_vault("{vault://env/other-key}") is None
    assert resolve_vault("{vault://aws/my-key}") is None
    assert resolve_vault(5) is None


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("text/html, */*", "text/html"),
        ("text/plain", "text/plain"),
        ("*/*", "application/json"),
    ],
)
def test_errors_in_the_clients_format(accept: str | None, kind: str) -> None:
    content_type, body = error_body(502, accept, "id-1")
    assert content_type.startswith(kind)
    assert "An invalid response was received from the upstream server" in body and "id-1" in body

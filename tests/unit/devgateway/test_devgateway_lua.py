"""pre-function snippets in LuaJIT: what they see, what they may change, and what they must not break."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lupa")

from kong_ai_proxy.devgateway.embedded import EmbeddedGateway, LogFile
from kong_ai_proxy.devgateway.rpc import lua_args
from kong_ai_proxy.mockllm import Answer, MockLLM

Run = Callable[..., tuple[int, dict[str, str], bytes]]


@pytest.fixture
def service() -> Iterator[MockLLM]:
    with MockLLM(
        handler=lambda received: Answer(200, {"x-up": "1", "content-type": "text/x"}, b"body")
    ) as mock:
        yield mock


@pytest.fixture
def run(tmp_path: Path, service: MockLLM) -> Iterator[Run]:
    """Runs snippets around one request."""
    running: list[EmbeddedGateway] = []

    def run(
        body: bytes = b"", path: str = "/r/abc?q=1", **snippets: str
    ) -> tuple[int, dict[str, str], bytes]:
        document = {
            "_format_version": "3.0",
            "services": [
                {"name": "s", "url": service.url, "routes": [{"name": "r", "paths": ["~/r/(?<tail>.*)"]}]}
            ],
            "plugins": [
                {"name": "pre-function", "config": {phase: [text] for phase, text in snippets.items()}},
                {"name": "file-log", "config": {"path": str(tmp_path / "log")}},
            ],
        }
        gateway = EmbeddedGateway(document, tmp_path).start()
        running.append(gateway)
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        try:
            connection.request("POST", path, body, {"x-in": "caf\xe9"})
            with connection.getresponse() as answer:
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    yield run
    for gateway in running:
        gateway.stop()


def record(tmp_path: Path) -> Any:
    return LogFile(tmp_path / "log").wait(1)[0]


def test_what_a_snippet_sees(run: Run, tmp_path: Path) -> None:
    run(
        b"hello",
        access="""
        kong.log.set_serialize_value("seen", {
          method = kong.request.get_method(), path = kong.request.get_path(),
          query = kong.request.get_query_arg("q"), header = kong.request.get_header("x-in"),
          capture = kong.request.get_uri_captures().named.tail,
          service = kong.router.get_service().name, route = kong.router.get_route().name,
          body = kong.request.get_raw_body(), length = ngx.var.content_length,
          uri = ngx.var.upstream_uri, missing = ngx.var.no_such == nil, phase = ngx.get_phase(),
          list = { 1, 2, "three" }, number = 1.5, whole = 3,
        })
        """,
    )
    assert record(tmp_path)["seen"] == {
        "method": "POST", "path": "/r/abc", "query": "1", "header": "caf\ufffd", "capture": "abc",
        "service": "s", "route": "r", "body": "hello", "length": "5", "uri": "/", "missing": True,
        "phase": "access", "list": [1, 2, "three"], "number": 1.5, "whole": 3,
    }  # fmt: skip


def test_headers_and_bodies(run: Run) -> None:
    status, headers, body = run(
        header_filter="""
        ngx.header["content-length"] = nil
        kong.response.set_header("x-new", "v")
        kong.response.clear_header("x-up")
        ngx.header["x-many"] = { "a", "b" }
        """,
        body_filter="""
        return function()
          local chunk, eof = ngx.arg[1], ngx.arg[2]
          if eof then ngx.arg[1] = (chunk or "") .. "!" else ngx.arg[1] = string.upper(chunk) end
        end
        """,
    )
    assert (status, body) == (200, b"BODY!")
    assert headers["transfer-encoding"] == "chunked"
    assert headers["x-new"] == "v"
    assert headers["x-many"] in ("a, b", "b")
    assert "x-up" not in headers


def test_any_byte_survives_a_body_filter(run: Run, service: MockLLM) -> None:
    data = bytes(range(256)) * 20
    service.answer(Answer(200, {"content-type": "a/b"}, data))
    assert run(body_filter="ngx.arg[1] = ngx.arg[1]")[2] == data


def test_state_through_the_phases(run: Run, tmp_path: Path) -> None:
    run(
        access="kong.ctx.shared.kong_ai = { count = 1 }; ngx.ctx.mine = 'x'",
        header_filter="kong.ctx.shared.kong_ai.count = kong.ctx.shared.kong_ai.count + 1",
        log="""
        local count = kong.ctx.shared.kong_ai.count
        kong.log.set_serialize_value("state",
          { count = count, mine = ngx.ctx.mine, status = kong.response.get_status() })
        """,
    )
    assert record(tmp_path)["state"] == {"count": 2, "mine": "x", "status": 200}


def test_an_inner_function_is_compiled_once(run: Run) -> None:
    _, headers, _ = run(
        access="local n = 0; return function() n = n + 1; kong.ctx.shared.n = n end",
        header_filter="kong.response.set_header('x-n', tostring(kong.ctx.shared.n))",
    )
    assert headers["x-n"] == "1"


def test_exit(run: Run, service: MockLLM) -> None:
    status, headers, body = run(
        access="return kong.response.exit(403, { message = 'no' }, { ['x-why'] = 'lua' })"
    )
    assert (status, json.loads(body), headers["x-why"]) == (403, {"message": "no"}, "lua")
    assert service.requests == []


@pytest.mark.parametrize(
    "broken",
    [
        "error('boom')",
        "local x = nil + 1",
        "kong.no.such.thing()",
        "require 'os'",
        "os.execute('true')",
        "io.open('/etc/passwd')",
    ],
)
def test_an_error_in_access_is_a_500(run: Run, service: MockLLM, broken: str) -> None:
    status, _, body = run(access=broken)
    assert (status, json.loads(body)) == (500, {"message": "An unexpected error occurred"})
    assert service.requests == []


def test_a_snippet_that_does_not_compile(run: Run) -> None:
    assert run(access="this is no lua")[0] == 500


def test_pcall_catches_what_kong_throws(run: Run) -> None:
    _, headers, _ = run(
        access="local ok, problem = pcall(kong.service.request.set_path, 'no-slash'); "
        "kong.ctx.shared.result = tostring(ok)",
        header_filter="kong.response.set_header('x-ok', kong.ctx.shared.result)",
    )
    assert headers["x-ok"] == "false"


def test_set_target_leads_elsewhere_with_the_bare_host(run: Run, service: MockLLM) -> None:
    with MockLLM(handler=lambda received: Answer(204)) as other:
        assert run(access=f"kong.service.set_target('127.0.0.1', {other.port})")[0] == 204
        assert other.last.headers["host"] == "127.0.0.1"
    assert service.requests == []


def test_shared_dictionary(run: Run) -> None:
    _, headers, _ = run(
        access="""
        local d = ngx.shared.kong
        d:set('k', 'v', 60)
        d:set('gone', 1, 0.000001)
        kong.ctx.shared.r = tostring(d:get('k')) .. tostring(d:add('k', 1)) .. tostring(d:incr('n', 2, 5))
          .. tostring(d:get('missing'))
        d:delete('k')
        """,
        header_filter="""
        kong.response.set_header('x-r', kong.ctx.shared.r .. tostring(ngx.shared.kong:get('k')))
        """,
    )
    assert headers["x-r"] == "vfalse7nilnil"


def test_a_large_body_is_nil_as_in_kong(run: Run) -> None:
    _, headers, _ = run(
        b"x" * 9000,
        access="""
        local small, whole = kong.request.get_raw_body(), kong.request.get_raw_body(0)
        kong.ctx.shared.r = tostring(small == nil) .. #whole
        """,
        header_filter="kong.response.set_header('x-r', kong.ctx.shared.r)",
    )
    assert headers["x-r"] == "true9000"


def test_arguments_with_nil_are_cut_where_lua_cuts_them() -> None:
    from itertools import product

    from lupa.luajit21 import LuaRuntime

    count = LuaRuntime().execute(
        "return function(pattern) local t = {} for i = 1, #pattern do "
        "if pattern:byte(i) == 49 then t[i] = i else t[i] = nil end end return select('#', unpack(t)) end"
    )
    for size in range(1, 5):
        for bits in product("01", repeat=size):
            pattern = "".join(bits)
            values = [1 if bit == "1" else None for bit in bits]
            ours, theirs = lua_args(values), count(pattern)
            # What is nil at the end makes no difference to a function.
            assert _trimmed(ours) == _trimmed(values[:theirs]), pattern


def _trimmed(values: list[Any]) -> list[Any]:
    while values and values[-1] is None:
        values = values[:-1]
    return values

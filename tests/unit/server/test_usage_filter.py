"""The usage filter: the real Lua, in LuaJIT, in an environment as narrow as Kong's sandbox."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzz_support import examples
from hypothesis import given
from hypothesis import strategies as st
from lupa import luajit21

from kong_ai_proxy.server import usage_filter

ROOT = Path(__file__).resolve().parents[3]

# What kong-lua-sandbox leaves, as far as the filter might want it: no require, metatables, debug or io.
SANDBOX = """
return function(kong, ngx, name, code)
  local env = {
    kong = kong, ngx = ngx, assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs,
    pcall = pcall, select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
    string = { byte = string.byte, char = string.char, find = string.find, format = string.format,
               gmatch = string.gmatch, gsub = string.gsub, len = string.len, lower = string.lower,
               match = string.match, rep = string.rep, reverse = string.reverse, sub = string.sub,
               upper = string.upper },
    table = { concat = table.concat, insert = table.insert, remove = table.remove, sort = table.sort },
    math = { floor = math.floor, max = math.max, min = math.min },
  }
  local chunk = assert(load(code, name, "t", env))
  local run = chunk()
  assert(type(run) == "function", "pre-function runs the function a text returns")
  return run
end
"""

WORLD = """
return function(request_headers, response_headers)
  local world = { set = {}, warned = {}, exited = nil, stored = {} }
  local kong = { ctx = { shared = {} }, router = {}, request = {}, response = {}, log = {} }
  world.kong = kong
  world.response_headers = response_headers
  function kong.router.get_service() return world.service end
  function kong.request.get_uri_captures() return { named = world.captures or {}, unnamed = {} } end
  function kong.request.get_header(name) return request_headers[name] end
  function kong.request.get_raw_body() return world.body end
  kong.version_num = 3009003
  kong.service = { request = { set_header = function(name, value) request_headers[name] = value end } }
  function kong.response.get_header(name) return response_headers[name] end
  function kong.response.clear_header(name) response_headers[name] = nil end
  function kong.response.exit(status) world.exited = status end
  function kong.log.set_serialize_value(key, value, options)
    if world.broken then error("no") end
    world.set[key] = value == nil and "nil" or value
    world.mode = options and options.mode
  end
  function kong.log.warn(...) world.warned[#world.warned + 1] = table.concat({...}) end
  local dict = {}
  function dict:get(key) return world.stored[key] end
  function dict:delete(key) world.stored[key] = nil end
  function dict:safe_set(key, value, seconds)
    if world.full then return nil, "no memory" end
    world.stored[key] = value
    world.seconds = seconds
    return true
  end
  world.ngx = { arg = {}, var = { request_id = "R" }, ctx = { buffered_proxying = true }, status = 200,
    shared = { kong = dict } }
  return world
end
"""

MARK = b": kong-ai-usage T "
RECORD = b"usage.prompt_tokens=n12&tried_targets.1.host=sapi.openai.com"
EVENTS = b'data: {"a":"\\n: kong-ai-usage x"}\n\ndata: [DONE]\n\n'


class Filter:
    """One request through the filter."""

    runtime = luajit21.LuaRuntime(encoding="latin-1")
    compile = runtime.execute(SANDBOX)
    world_of = runtime.execute(WORLD)

    def __init__(
        self,
        answer: dict[str, str] | None = None,
        *,
        ticket: bool = True,
        asked: dict[str, str] | None = None,
    ) -> None:
        table = self.runtime.table_from
        asked = {**({"x-kong-ai-ticket": "T"} if ticket else {}), **(asked or {})}
        self.world = self.world_of(table(asked), table(answer or {}))
        self.phases = {
            phase: [self.compile(self.world.kong, self.world.ngx, phase, text) for text in texts]
            for phase, texts in usage_filter.config().items()
        }
        self.touched = 0

    def run(self, phase: str) -> None:
        for function in self.phases[phase]:
            function()

    def chunk(self, data: bytes | None, eof: bool = False) -> bytes:
        arg = self.runtime.table_from({1: data and data.decode("latin-1"), 2: eof})
        if data == b"":
            arg[1] = ""
        self.world.ngx.arg = arg
        self.run("body_filter")
        out = arg[1]
        return b"" if out is None else out.encode("latin-1")

    @property
    def record(self) -> Any:
        """As the log has it; None for none."""
        if "ai.proxy" not in list(self.world.set):
            self.run("log")
        return plain(self.world.set["ai.proxy"])

    def stream(self, chunks: list[bytes], *, eof_alone: bool = False) -> bytes:
        self.run("access")
        self.run("header_filter")
        out = [self.chunk(data, eof=not eof_alone and n == len(chunks)) for n, data in enumerate(chunks, 1)]
        if eof_alone:
            out.append(self.chunk(b"", eof=True))
        return b"".join(out)


def streaming() -> Filter:
    run = Filter({"x-kong-ai-usage": "stream"})
    run.run("access")
    return run


def plain(value: Any) -> Any:
    """A Lua table as Python's: lists where the keys are 1, 2, …"""
    if luajit21.lua_type(value) != "table":
        return value.encode("latin-1").decode() if isinstance(value, str) else value
    items = {key: plain(item) for key, item in value.items()}
    if items and set(items) == set(range(1, len(items) + 1)):
        return [items[n] for n in range(1, len(items) + 1)]
    return items


def test_access_announces_and_hides_the_ticket():
    run = Filter()
    table = run.runtime.table_from
    service = {"protocol": "http", "host": "127.0.0.1", "port": 8125, "path": "/x", "read_timeout": 60000}
    run.world.service = table(service)
    run.world.captures = table({"model": "gpt-4o"})
    run.run("access")
    announced = run.world.kong.ctx.shared.kong_ai
    taken, announced.taken = announced.taken, None
    assert plain(announced) == {
        "v": 2,
        "ticket": "R",
        "captures": {"model": "gpt-4o"},
        "claims": False,
        "service": {"protocol": "http", "host": "127.0.0.1", "port": 8125, "read_timeout": 60000},
    }
    assert run.world.ngx.ctx.buffered_proxying is True, "a route without the plugin is left alone"
    packed = run.runtime.table()
    taken(packed)
    assert list(packed.values()) == ["\xc3"], "true in MessagePack"
    assert run.world.ngx.ctx.buffered_proxying is False
    assert run.world.kong.request.get_header("x-kong-ai-ticket") == "R"
    assert run.world.set["request.headers.x-kong-ai-ticket"] == "nil"
    assert run.world.mode == "replace"


@pytest.mark.parametrize("name", ["x-consumer-username", "x-consumer-custom-id", "x-consumer-id"])
def test_access_tells_that_the_client_itself_says_who_it_is(name):
    run = Filter(asked={name: "root"})
    run.run("access")
    assert run.world.kong.ctx.shared.kong_ai.claims is True
    assert run.world.kong.request.get_header(name) == "root", "other plugins may go by it"


def test_texts_load_without_a_kong():
    """`kong config parse` runs them so."""
    for phase, texts in usage_filter.config().items():
        for text in texts:
            assert Filter.compile(None, None, phase, text) is not None


def test_access_without_a_service():
    run = Filter()
    run.run("access")
    assert run.world.kong.ctx.shared.kong_ai.service is None


@pytest.mark.parametrize("version", [None, 3010000, 4000000])
def test_a_kong_that_is_not_known_to_pack_functions_is_given_none(version):
    run = Filter()
    run.world.kong.version_num = version
    run.run("access")
    assert plain(run.world.kong.ctx.shared.kong_ai) == {
            "v": 2, "ticket": "R", "captures": {}, "claims": False,
        }  # fmt: skip


def test_a_whole_answers_record_leaves_the_header_for_the_log():
    run = Filter(
        {
            "x-kong-ai-usage": "meta.request_model=sgpt-4o%20%C3%A9%26%3D&usage.cost=n0.00125"
            "&usage.tiny=n1e-05&usage.stream=b1&usage.no=b0&usage.completion_tokens_details=o&tried_targets.1.port=n443"
            "&tried_targets.2.port=n8443&tried_targets.1.host=sa.b"
        }
    )
    run.run("access")
    run.run("header_filter")
    assert run.record == {
        "meta": {"request_model": "gpt-4o é&="},
        "usage": {
            "cost": 0.00125, "tiny": 1e-05, "stream": True, "no": False, "completion_tokens_details": {},
        },
        "tried_targets": [{"port": 443, "host": "a.b"}, {"port": 8443}],
    }  # fmt: skip
    assert run.world.response_headers["x-kong-ai-usage"] is None
    assert run.chunk(b"{}: kong-ai-usage x\n\n", eof=True) == b"{}: kong-ai-usage x\n\n"


def test_another_upstreams_header_is_removed_and_not_believed():
    run = Filter({"x-kong-ai-usage": "usage.cost=n9"}, ticket=False)
    run.run("access")
    run.run("header_filter")
    assert run.world.set["ai.proxy"] is None
    assert run.world.response_headers["x-kong-ai-usage"] is None


def test_answers_of_other_routes_are_left_alone():
    run = Filter()
    run.run("header_filter")  # access did not run: a certificate or rewrite phase answered
    assert run.chunk(MARK + b"x\n\n") == MARK + b"x\n\n"
    run.run("log")
    assert run.world.set["ai.proxy"] is None


@pytest.mark.parametrize(
    "text", ["", "&&&", "=s", "nonsense", "a.b=q1", "a=n", "a=nxyz", ".=s1", "a=s1&a.b=s2", "%zz=s%zz"]
)
def test_odd_records_never_raise(text):
    run = Filter({"x-kong-ai-usage": text})
    run.run("access")
    run.run("header_filter")


def test_a_log_that_refuses_does_not_break_the_answer():
    run = Filter({"x-kong-ai-usage": RECORD.decode()})
    run.run("access")
    run.world.broken = True
    run.run("header_filter")
    assert "unreadable usage" in run.world.warned[1]


@pytest.mark.parametrize("eof_alone", [False, True])
@pytest.mark.parametrize("before", [b"", EVENTS, b"\n"])
@pytest.mark.parametrize("after", [b"", b"data: later\n\n", b"\n\nx"])
def test_the_comment_is_taken_out_at_every_split(before, after, eof_alone):
    data = before + MARK + RECORD + b"\n\n" + after
    for at in range(len(data) + 1):
        run = streaming()
        assert run.stream([data[:at], data[at:]], eof_alone=eof_alone) == before + after, at
        assert run.record["usage"] == {"prompt_tokens": 12}, at


def test_byte_by_byte():
    data = EVENTS + MARK + RECORD + b"\n\n"
    run = streaming()
    assert run.stream([data[n : n + 1] for n in range(len(data))]) == EVENTS
    assert run.record["tried_targets"] == [{"host": "api.openai.com"}]


def test_every_comment_is_taken_and_the_last_one_counts():
    run = streaming()
    data = MARK + b"usage.cost=n1&a=n1\n\n" + EVENTS + MARK + b"usage.cost=n2\n\n"
    assert run.stream([data]) == EVENTS
    assert run.record == {"usage": {"cost": 2}}


def test_a_comment_right_behind_another():
    run = streaming()
    assert run.stream([b"x", b"\n" + MARK + b"a=n1\n\n" + MARK + b"a=n2\n\n"]) == b"x\n"
    assert run.record == {"a": 2}


@examples(100)
@given(
    st.lists(
        st.sampled_from(
            [
                b"\n",
                b"\n\n",
                b":",
                b": kong",
                b": kong-ai-usage",
                b": kong-ai-usage X ",
                MARK,
                b"data: x\n\n",
                b"x",
                b"\xff\x00",
                b" ",
            ]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
    st.booleans(),
)
def test_any_stream_split_anyhow_comes_out_as_it_does_whole(parts, cuts, ours, eof_alone):
    data = b"".join(parts) + (b"\n" + MARK + RECORD + b"\n\n" if ours else b"")
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(points)] or [b""]
    whole, split = streaming(), streaming()
    expected = whole.stream([data])
    assert split.stream(pieces, eof_alone=eof_alone) == expected
    assert expected == reference(data)
    assert plain(split.world.set["ai.proxy"]) == plain(whole.world.set["ai.proxy"])
    if ours:
        assert split.record["usage"] == {"prompt_tokens": 12}


def reference(data: bytes) -> bytes:
    """The filter in one regular expression; a comment without its end is lost."""
    return re.sub(MARK + rb"[^\n]*(?:\n\n?|\Z)", b"", data)


def test_no_more_is_held_back_than_may_become_the_comment():
    run = streaming()
    run.run("access")
    run.run("header_filter")
    assert run.chunk(b"data: a\n\n") == b"data: a\n\n"
    assert run.chunk(b"data: b\n\n: kong") == b"data: b\n\n"
    assert run.chunk(b"-pong\n\n") == b": kong-pong\n\n"
    assert run.chunk(b"data: kong-ai-us: kong-ai-usage ") == b"data: kong-ai-us"
    assert run.chunk(b"t x: k\n: ") == b": kong-ai-usage t x: k\n"
    assert run.chunk(b"", eof=True) == b": ", "what was held goes out at the end"


def test_chunks_without_a_comment_are_not_written_to():
    run = streaming()
    run.run("access")
    run.run("header_filter")
    guarded = run.runtime.execute(
        """
        return function(data)
          return setmetatable({}, { __index = function(_, key) if key == 1 then return data end end,
                                    __newindex = function() error("written to") end })
        end
        """
    )
    run.world.ngx.arg = guarded("data: x\n\n")
    run.run("body_filter")


def test_a_comment_that_never_ends_is_given_back():
    run = streaming()
    run.run("access")
    run.run("header_filter")
    sent = [MARK + b"x" * 600_000, b"y" * 600_000, b"z\n\n"]
    assert b"".join(run.chunk(data) for data in sent) == b"".join(sent)


def test_what_is_known_at_the_beginning_is_logged_where_nothing_follows():
    run = Filter({"x-kong-ai-usage": "stream meta.a=s1&usage.cost=n1"})
    assert run.stream([EVENTS]) == EVENTS
    assert "ai.proxy" not in list(run.world.set), "not before the end"
    assert run.record == {"meta": {"a": "1"}, "usage": {"cost": 1}}


def test_what_changes_is_added_and_the_last_record_replaces_it_all():
    run = Filter({"x-kong-ai-usage": "stream meta.a=s1&usage.cost=n1&usage.source=spartial"})
    change = MARK + b"+usage.cost=n%d&usage.n=n%d\n\n"
    assert run.stream([change % (2, 1), EVENTS, change % (3, 2)]) == EVENTS
    assert run.record == {"meta": {"a": "1"}, "usage": {"cost": 3, "source": "partial", "n": 2}}
    run.world.set["ai.proxy"] = None
    assert run.chunk(MARK + b"usage.cost=n4\n\n") == b""
    assert run.record == {"usage": {"cost": 4}}


def test_a_stream_of_which_nothing_is_known_has_no_record():
    run = streaming()
    run.stream([EVENTS])
    run.run("log")
    assert "ai.proxy" not in list(run.world.set)


PAD = 10240


class Wire:
    """What nginx reads from the relay, and how it calls the filter: with the data it has read since the last
    call, if there is any, after it has counted all it read."""

    def __init__(self, *, padded: bool = True, stripped: bool = False, live: bool = True) -> None:
        self.filter = Filter({"x-kong-ai-usage": "stream;padded" if padded else "stream"})
        self.filter.run("access")
        self.filter.run("header_filter")
        self.bytes: list[int] = []
        """A data byte, or -1 for one of framing."""
        self.stripped, self.live = stripped, live
        self.read: list[bytes] = []
        """The chunks the filter looked at."""
        self._guarded = self.filter.runtime.execute(
            """
            return function(data, note)
              local written
              return setmetatable({}, {
                __index = function(_, key)
                  if key == 1 then note(data) return data end
                  if key == "out" then return written or data end
                end,
                __newindex = function(_, key, value) written = value end,
              })
            end
            """
        )

    def send(self, data: bytes, *, pad: bool = False) -> None:
        framing = 6 + (PAD if pad and not self.stripped else 0)
        self.bytes += [-1] * framing + list(data)

    def run(self, cuts: list[int]) -> bytes:
        """Reads up to each of the cuts, and the rest."""
        out, at = b"", 0
        for cut in [*cuts, len(self.bytes)]:
            data = bytes(byte for byte in self.bytes[at:cut] if byte >= 0)
            at = max(at, cut)
            if self.live:
                self.filter.world.ngx.var.upstream_response_length = str(at)
            if data:
                arg = self._guarded(
                    data.decode("latin-1"), lambda text: self.read.append(text.encode("latin-1"))
                )
                self.filter.world.ngx.arg = arg
                self.filter.run("body_filter")
                out += arg["out"].encode("latin-1")
        return out


TOKENS = [b"data: %d\n\n" % n for n in range(6)]


def wire(**how: bool) -> tuple[Wire, bytes]:
    """A stream with a change in its middle and the record at its end."""
    over = Wire(**how)
    for n, token in enumerate(TOKENS):
        over.send(token, pad=n == 0)
        if n == 3:
            over.send(MARK + b"+usage.cost=n1\n\n", pad=True)
    over.send(MARK + RECORD + b"\n\n", pad=True)
    return over, b"".join(TOKENS)


def test_only_chunks_that_may_hold_a_comment_are_read():
    over, expected = wire()
    reads = [n for n in range(1, len(over.bytes)) if over.bytes[n - 1] >= 0 > over.bytes[n]]
    assert over.run(reads) == expected
    assert over.read == [TOKENS[0], MARK + b"+usage.cost=n1\n\n", MARK + RECORD + b"\n\n"]
    assert over.filter.record["usage"] == {"prompt_tokens": 12}


def test_nothing_gets_by_however_it_is_cut():
    bytes_ = wire()[0].bytes
    turns = [n for n in range(1, len(bytes_)) if (bytes_[n] < 0) != (bytes_[n - 1] < 0)]
    near = {at + by for at in turns for by in (-PAD // 2, -1, 0, 1, 17)}
    points = sorted(point for point in near if 0 < point < len(bytes_))
    for first in points:
        for second in points[::7]:
            over, expected = wire()
            assert over.run(sorted((first, second))) == expected, (first, second)
            assert over.filter.record["usage"] == {"prompt_tokens": 12}, (first, second)


@pytest.mark.parametrize("how", [{"stripped": True}, {"padded": False}, {"live": False}])
@pytest.mark.parametrize("size", [1, 9, 4096, 100_000])
def test_without_padding_or_a_count_every_chunk_is_read(how, size):
    over, expected = wire(**how)
    calls = list(range(size, len(over.bytes), size))
    assert over.run(calls) == expected
    assert b"".join(over.read).count(b"data:") == len(TOKENS)
    assert over.filter.record["usage"] == {"prompt_tokens": 12}


@examples(40)
@given(st.lists(st.integers(1, 45_000), max_size=8), st.integers(1, 8192))
def test_any_reads_give_the_same_stream(cuts, step):
    over, expected = wire()
    assert over.run(sorted({*cuts, *range(step, 45_000, max(step, 400))})) == expected
    assert over.filter.record["usage"] == {"prompt_tokens": 12}


def test_a_websockets_record_waits_for_log():
    run = Filter()
    deposit = run.compile(run.world.kong, run.world.ngx, "deposit", usage_filter.deposit()["access"][0])
    run.world.body = RECORD.decode()
    deposit()
    assert (run.world.exited, run.world.seconds) == (204, 60)
    run.run("access")
    run.world.ngx.status = 101
    run.run("log")
    assert run.record["usage"] == {"prompt_tokens": 12}
    assert list(run.world.stored.keys()) == []


def test_a_judges_record_is_logged_with_the_request_that_brings_it():
    run = Filter(ticket=False, asked={"x-kong-ai-judged": "1"})
    deposit = run.compile(run.world.kong, run.world.ngx, "deposit", usage_filter.deposit()["access"][0])
    run.world.body = "usage.llm_accuracy=n88&meta.request_model=sgpt-4o"
    deposit()
    assert run.world.exited == 204
    told = plain(run.world.set["ai.ai-llm-as-judge"])
    assert told == {"usage": {"llm_accuracy": 88}, "meta": {"request_model": "gpt-4o"}}
    assert list(run.world.stored.keys()) == []
    run.world.body = "usage.llm_accuracy=n88&usage=s%zz&usage.x.y=n1"
    deposit()
    assert run.world.exited in (204, 400), "whatever it is, there is an end"


def test_without_ticket_or_judge_there_is_no_deposit():
    run = Filter(ticket=False)
    run.world.body = RECORD.decode()
    run.compile(run.world.kong, run.world.ngx, "deposit", usage_filter.deposit()["access"][0])()
    assert run.world.exited == 400


@pytest.mark.parametrize("body", [None, "", "x" * 70000])
def test_a_deposit_without_a_record_is_refused(body):
    run = Filter()
    run.world.body = body
    run.compile(run.world.kong, run.world.ngx, "deposit", usage_filter.deposit()["access"][0])()
    assert run.world.exited == 400


def test_a_full_store_is_said():
    run = Filter()
    run.world.body = RECORD.decode()
    run.world.full = True
    run.compile(run.world.kong, run.world.ngx, "deposit", usage_filter.deposit()["access"][0])()
    assert run.world.exited == 507


def test_what_accounting_encodes_is_read_back():
    from kong_ai_proxy.accounting.encoding import encode

    record = {
        "meta": {"request_model": "gpt-4o é\n&=%. ", "plugin_id": "a-b", "llm_latency": 900},
        "usage": {
            "cost": 0.0000125,
            "completion_tokens_details": {},
            "total_tokens": 15,
            "x": True,
            "y": False,
        },
        "tried_targets": [{"host": "a", "port": 1}, {"host": "b", "port": 2}],
        "payload": {"request": '{"a":"\\n: kong-ai-usage "}'},
    }
    run = Filter({"x-kong-ai-usage": encode(record)})
    run.run("access")
    run.run("header_filter")
    assert run.record == record


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("a.b=s1&&=sx&nonsense&c=", {"a": {"b": "1"}}),  # what is no pair says nothing
        ("a&b=s2", {"b": "2"}),  # nor does it take the next one's value
        ("a=q1&b=n&c=nxyz&d=S1&e=s", {"e": ""}),
        ("a=sx=y%3D%zz%2", {"a": "x=y=%zz%2"}),
        ("a.2e.02.%32=s1", {"a": {"2e": {2: {"2": "1"}}}}),
        ("a..b=n1&.c=n2", {"a": {"b": 1}, "c": 2}),
        ("a=s1&a.b=s2", {"a": {"b": "2"}}),
    ],
)
def test_records_are_read_pair_by_pair(text, record):
    run = Filter({"x-kong-ai-usage": text})
    for phase in ("access", "header_filter", "header_filter"):
        run.world.response_headers["x-kong-ai-usage"] = text
        run.run(phase)
    assert run.record == record


def test_any_number_of_different_paths_is_read():
    """Paths are remembered, up to a number; tables of one record never are another's."""
    run = Filter()
    run.run("access")
    before = None
    for number in range(600):
        run.world.response_headers["x-kong-ai-usage"] = f"usage.a{number}.n=n{number}&usage.same=o"
        run.run("header_filter")
        record = run.world.set["ai.proxy"]
        assert plain(record) == {"usage": {f"a{number}": {"n": number}, "same": {}}}
        assert before is None or record["usage"]["same"] != before
        before = record["usage"]["same"]


def test_the_committed_filter_and_snippet_are_current():
    assert (ROOT / "schema/usage-filter.lua").read_text() == usage_filter.lua()
    assert (ROOT / "schema/usage-filter.yml").read_text() == usage_filter.snippet()


def test_the_snippet_is_yaml_of_a_pre_function():
    entry = yaml.safe_load(usage_filter.snippet())["plugins"][0]
    assert entry["name"] == "pre-function"
    assert entry["config"] == usage_filter.config()
    assert set(entry["config"]) == {"access", "header_filter", "body_filter", "log"}
    assert yaml.safe_load(usage_filter.plugin_entry(indent=6)) == [entry]

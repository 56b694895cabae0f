"""Kong's pre-function plugin: Lua snippets from the configuration, run in LuaJIT through lupa.

The snippets see `kong` and `ngx` as far as a sandboxed snippet needs them, for the request at hand. One
Lua state serves all requests; a snippet never waits inside Lua: what must wait (reading a request's body)
suspends its coroutine.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import msgpack
from lupa.luajit21 import LuaError as LupaError
from lupa.luajit21 import LuaRuntime, lua_type

from ..core.json import Json
from .context import Context, Exit
from .handler import Handler
from .headers import Headers, wire
from .pdk import Pdk
from .rpc import LuaError

log = logging.getLogger(__name__)

_PHASES = ("rewrite", "access", "header_filter", "body_filter", "log")

_PRELUDE = """
local py, unwrap = ...

local function lazy(call, prefix)
  -- kong.a.b.c(...) becomes call("kong.a.b.c", ...)
  return setmetatable({}, {
    __index = function(self, name)
      local path = prefix .. "." .. name
      local node = lazy_node(call, path)
      rawset(self, name, node)
      return node
    end,
  })
end

function lazy_node(call, path)
  return setmetatable({}, {
    __index = function(self, name)
      local node = lazy_node(call, path .. "." .. name)
      rawset(self, name, node)
      return node
    end,
    __call = function(_, ...)
      return unwrap(call(path, select("#", ...), ...))
    end,
  })
end

local kong = {
  version = "3.9.3", version_num = 3009003,
  ctx = setmetatable({}, { __index = function(_, name)
    if name == "shared" then return py.shared() end
    if name == "plugin" then return py.plugin_ctx() end
  end }),
  request = lazy_node(py.call, "kong.request"),
  response = lazy_node(py.call, "kong.response"),
  service = lazy_node(py.call, "kong.service"),
  router = lazy_node(py.call, "kong.router"),
  client = lazy_node(py.call, "kong.client"),
  log = lazy_node(py.call, "kong.log"),
  node = lazy_node(py.call, "kong.node"),
  plugin = lazy_node(py.call, "kong.plugin"),
}

local function bag(get, set)
  return setmetatable({}, {
    __index = function(_, name) return get(name) end,
    __newindex = function(_, name, value) set(name, value) end,
  })
end

local shm = {}
local function dict(name)
  local values, expiry = {}, {}
  local self = {}
  local function live(key)
    if expiry[key] and expiry[key] <= py.now() then values[key], expiry[key] = nil, nil end
    return values[key]
  end
  function self:get(key) return live(key) end
  function self:set(key, value, ttl)
    values[key] = value
    expiry[key] = (ttl and ttl > 0) and (py.now() + ttl) or nil
    return true
  end
  function self:add(key, value, ttl)
    if live(key) ~= nil then return false, "exists" end
    return self:set(key, value, ttl)
  end
  function self:delete(key) values[key], expiry[key] = nil, nil end
  function self:incr(key, by, init)
    local value = live(key)
    if value == nil then
      if init == nil then return nil, "not found" end
      value = init
    end
    values[key] = value + by
    return values[key]
  end
  self.safe_set, self.safe_add = self.set, self.add
  return self
end

local ngx = {
  null = py.null, OK = 0, ERROR = -1, HTTP_OK = 200, HTTP_NO_CONTENT = 204,
  STDERR = 0, EMERG = 1, ALERT = 2, CRIT = 3, ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8,
  var = bag(py.get_var, py.set_var),
  ctx = bag(py.get_ctx, py.set_ctx),
  header = bag(py.get_header, py.set_header),
  arg = bag(py.get_arg, py.set_arg),
  shared = setmetatable({}, { __index = function(_, name)
    shm[name] = shm[name] or dict(name)
    return shm[name]
  end }),
  req = {
    get_headers = function() return kong.request.get_headers() end,
    get_method = function() return kong.request.get_method() end,
    get_uri_args = function() return kong.request.get_query() end,
    set_header = function(name, value) return kong.service.request.set_header(name, value) end,
    clear_header = function(name) return kong.service.request.clear_header(name) end,
    read_body = function() end,
    get_body_data = function() return py.body_data() end,
  },
  resp = { get_headers = function() return kong.response.get_headers() end },
  now = py.now, time = function() return math.floor(py.now()) end,
  log = function(level, ...) py.log(level, select("#", ...), ...) end,
  exit = function(status) return kong.response.exit(status) end,
  get_phase = py.phase,
  encode_base64 = py.encode_base64, decode_base64 = py.decode_base64,
  unescape_uri = py.unescape_uri, escape_uri = py.escape_uri,
}
setmetatable(ngx, { __index = function(_, name) if name == "status" then return py.status() end end })

-- What Kong's sandbox lets a snippet see.
local globals = {
  assert = assert, error = error, ipairs = ipairs, next = next, pairs = pairs, pcall = pcall,
  select = select, tonumber = tonumber, tostring = tostring, type = type, unpack = unpack,
  xpcall = xpcall, setmetatable = setmetatable, getmetatable = getmetatable, rawget = rawget,
  rawset = rawset, rawequal = rawequal, _VERSION = _VERSION,
  coroutine = { create = coroutine.create, resume = coroutine.resume, status = coroutine.status,
    wrap = coroutine.wrap, yield = coroutine.yield, running = coroutine.running },
  string = { byte = string.byte, char = string.char, find = string.find, format = string.format,
    gmatch = string.gmatch, gsub = string.gsub, len = string.len, lower = string.lower,
    match = string.match, rep = string.rep, reverse = string.reverse, sub = string.sub,
    upper = string.upper },
  table = { concat = table.concat, insert = table.insert, remove = table.remove, sort = table.sort,
    maxn = table.maxn },
  math = math, os = { clock = os.clock, date = os.date, difftime = os.difftime, time = os.time },
  require = function(name) error("require '" .. tostring(name) .. "' not allowed within sandbox") end,
}
globals._G = globals

return function(source)
  local env = setmetatable({ kong = kong, ngx = ngx }, { __index = globals })
  local chunk, err = loadstring(source, "=(snippet)")
  if not chunk then error(err) end
  setfenv(chunk, env)
  local started, run = false, chunk
  return function()
    if started then return run() end
    started = true
    local result = chunk()
    if type(result) == "function" then
      run = result
      return run()
    end
  end
end
"""


class PreFunction(Handler):
    """Kong's pre-function: first in every phase."""

    name = "pre-function"
    priority = 1000000
    phases = frozenset({"access", "header_filter", "body_filter", "log"})

    def __init__(self) -> None:
        self._engine = _Engine()
        self._compiled: dict[tuple[str, str], list[Snippet]] = {}

    def access(self, context: Context, conf: Json) -> None:
        self._run(context, conf, "access")

    def header_filter(self, context: Context, conf: Json) -> None:
        self._run(context, conf, "header_filter")

    def body_filter(self, context: Context, conf: Json, chunk: bytes, eof: bool) -> bytes:
        if not conf.get("body_filter"):
            return chunk
        return self._engine.filter(context, self._functions(conf, "body_filter"), chunk, eof)

    def log(self, context: Context, conf: Json) -> None:
        self._run(context, conf, "log")

    def _run(self, context: Context, conf: Json, phase: str) -> None:
        if conf.get(phase):
            self._engine.run(context, self._functions(conf, phase))

    def _functions(self, conf: Json, phase: str) -> list[Snippet]:
        key = (conf["__key__"], phase)
        if key not in self._compiled:
            self._compiled[key] = [self._engine.compile(source) for source in conf[phase]]
        return self._compiled[key]


class PostFunction(PreFunction):
    """Kong's post-function: last in every phase."""

    name = "post-function"
    priority = -1000

    def join(self, other: PreFunction) -> None:
        """Run in the other's Lua: what `ngx.shared` holds is common to both."""
        self._engine = other._engine


class Snippet(NamedTuple):
    """A compiled snippet: a Lua function that gives the text of its error, if any."""

    function: Any
    reads_body: bool


_SPEAKS_OF_BODY = re.compile(r"get_raw_body|get_body|read_body")


class _Arg:
    """`ngx.arg` of one body filter call."""

    __slots__ = ("chunk", "eof")

    def __init__(self, chunk: bytes | None = None, eof: bool = False) -> None:
        self.chunk = chunk
        self.eof = eof


class _Engine:
    """One Lua state and the request it runs for at the moment."""

    def __init__(self) -> None:
        # Byte strings as latin-1: any byte survives the way into Lua and back.
        self._lua = LuaRuntime(encoding="latin-1", unpack_returned_tuples=False, register_eval=False)
        self._lock = threading.RLock()
        self._context: Context | None = None
        self._arg = _Arg()
        self._exit: Exit | None = None
        self._plugin_ctx: Any = None
        unwrap = self._lua.execute("return function(box) return box[1] end")
        load = self._lua.execute("return function(source) return loadstring(source) end")
        prelude = load(_PRELUDE)
        self._protect = self._lua.execute(
            "return function(fn) return function() local ok, what = pcall(fn); "
            "if not ok then return tostring(what) end end end"
        )
        self._compile = prelude(self._api(), unwrap)

    # -- running
    # ---------------------------------------------------------------------------------------------

    def compile(self, source: str) -> Snippet:
        """Raises LuaError."""
        try:
            return Snippet(self._protect(self._compile(wire(source))), bool(_SPEAKS_OF_BODY.search(source)))
        except LupaError as error:
            raise LuaError(str(error)) from error

    def run(self, context: Context, snippets: list[Snippet]) -> None:
        """Raises Exit, LuaError."""
        for snippet in snippets:
            if snippet.reads_body and context.phase == "access":
                context.request.read_body()
            self._enter(context, snippet, _Arg())

    def filter(self, context: Context, snippets: list[Snippet], chunk: bytes, eof: bool) -> bytes:
        """The chunk as the body filters leave it."""
        for snippet in snippets:
            arg = _Arg(chunk, eof)
            self._enter(context, snippet, arg)
            chunk = arg.chunk or b""
        return chunk

    def _enter(self, context: Context, snippet: Snippet, arg: _Arg) -> None:
        """Run a snippet to its end. No greenlet switch happens in here."""
        with self._lock:
            self._context, self._exit, self._arg = context, None, arg
            problem = snippet.function()
            exit_, self._exit, self._context = self._exit, None, None
        if exit_ is not None:
            raise exit_
        if problem is not None:
            raise LuaError(str(problem))

    # -- what Lua sees
    # ---------------------------------------------------------------------------------------

    def _api(self) -> Any:
        import base64
        import time
        from urllib.parse import quote, unquote

        api: dict[str, Callable[..., Any]] = {
            "call": self._call,
            "shared": self._shared,
            "plugin_ctx": self._plugin_table,
            "get_var": lambda name: self._current.variable(name),
            "set_var": self._set_var,
            "get_ctx": lambda name: self.to_lua(self._current.ctx.get(name)),
            "set_ctx": lambda name, value: self._current.ctx.__setitem__(name, self.from_lua(value)),
            "get_header": self._get_header,
            "set_header": self._set_header,
            "get_arg": self._get_arg,
            "set_arg": self._set_arg,
            "now": time.time,
            "phase": lambda: self._current.phase,
            "status": lambda: self._current.response.status,
            "body_data": lambda: (
                None if self._current.request.spooled else _bytes(self._current.request.body())
            ),
            "log": self._log,
            "encode_base64": lambda text: base64.b64encode(text.encode("latin-1")).decode(),
            "decode_base64": lambda text: base64.b64decode(text).decode("latin-1"),
            "unescape_uri": lambda text: unquote(text.replace("+", " "), encoding="latin-1"),
            "escape_uri": lambda text: quote(text.encode("latin-1"), safe="-._~"),
        }
        table = self._lua.table()
        for name, function in api.items():
            table[name] = function
        table["null"] = self._lua.execute("return newproxy and newproxy() or {}")
        return table

    @property
    def _current(self) -> Context:
        if self._context is None:
            raise RuntimeError("no request found")
        return self._context

    def _call(self, method: str, count: float, *args: Any) -> Any:
        values = [self.from_lua(arg) for arg in args] + [None] * (int(count) - len(args))
        try:
            value = Pdk(self._current, "pre-function")(method, values)
        except Exit as answer:
            self._exit = answer
            raise
        box = self._lua.table()
        box[1] = self.to_lua(value)
        return box

    def _shared(self) -> Any:
        context = self._current
        shared = context.shared
        if shared.table is not None:
            return shared.table
        return shared.move(self._lua.table(), self.to_lua, partial(self._pack, context))

    def _pack(self, context: Context, value: Any) -> Any:
        """A value on its way to a plugin server. Functions in it are called, as Kong's MessagePack does."""
        with self._lock:
            before, self._context = self._context, context
            try:
                return self.from_lua(value)
            finally:
                self._context = before

    def _packed_by(self, function: Any) -> Any:
        buffer = self._lua.table()
        function(buffer)
        return msgpack.unpackb("".join(buffer.values()).encode("latin-1"))

    def _plugin_table(self) -> Any:
        context = self._current
        if "_plugin_ctx" not in context.ctx:
            context.ctx["_plugin_ctx"] = self._lua.table()
        return context.ctx["_plugin_ctx"]

    def _set_var(self, name: str, value: Any) -> None:
        self._current.variables[name] = "" if value is None else _text(value)

    def _headers(self) -> Headers:
        return self._current.response.headers

    def _get_header(self, name: str) -> Any:
        values = self._headers().all(name.replace("_", "-"))
        return self.to_lua(values) if len(values) > 1 else (values[0] if values else None)

    def _set_header(self, name: str, value: Any) -> None:
        given = self.from_lua(value)
        name = name.replace("_", "-")
        if given is None or given == []:
            self._headers().remove(name)
        else:
            self._headers().set(name, [_text(v) for v in given] if isinstance(given, list) else _text(given))

    def _get_arg(self, index: float) -> Any:
        return _bytes(self._arg.chunk) if index == 1 else self._arg.eof

    def _set_arg(self, index: float, value: Any) -> None:
        if index == 1:
            self._arg.chunk = None if value is None else _text(value).encode("latin-1")
        else:
            self._arg.eof = bool(value)

    def _log(self, level: float, count: float, *parts: Any) -> None:
        log.log(_LEVELS.get(int(level), logging.INFO), "[pre-function] %s", "".join(map(_text, parts)))

    # -- values
    # ----------------------------------------------------------------------------------------------

    def to_lua(self, value: Any) -> Any:
        """Python's dicts and lists as tables."""
        if isinstance(value, dict):
            table = self._lua.table()
            for key, item in value.items():
                table[wire(key) if isinstance(key, str) else key] = self.to_lua(item)
            return table
        if isinstance(value, (list, tuple)):
            table = self._lua.table()
            for index, item in enumerate(value, 1):
                table[index] = self.to_lua(item)
            return table
        if isinstance(value, bytes):
            return value.decode("latin-1")
        return wire(value) if isinstance(value, str) else value

    def from_lua(self, value: Any) -> Any:
        """Tables as dicts, or as lists where their keys are 1 to n."""
        if lua_type(value) == "table":
            items = dict(value.items())
            if not items:
                return {}
            if all(isinstance(k, (int, float)) for k in items) and set(items) == set(
                range(1, len(items) + 1)
            ):
                return [self.from_lua(items[index]) for index in range(1, len(items) + 1)]
            return {_utf8(key): self.from_lua(item) for key, item in items.items()}
        if lua_type(value) == "function":
            return self._packed_by(value)
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        return _utf8(value)


_LEVELS = {4: logging.ERROR, 5: logging.WARNING, 6: logging.INFO, 7: logging.INFO, 8: logging.DEBUG}


def _utf8(value: Any) -> Any:
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1").decode("utf-8", "surrogateescape")
    return value


def _bytes(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "nil" if value is None else str(value)

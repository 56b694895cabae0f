"""What the usage filter costs per chunk of a stream, in LuaJIT: the real text, stand-ins for Kong's tables.

    python benchmarks/rpc_filter.py

A chunk is one SSE event of a chat stream, about 300 bytes. "off" is an answer that is no stream of ours,
"on" one that is, with padding before its comments ("not read") and without; the difference to the empty
loop is the filter's own work. What it costs to make a string of a chunk, and to ask nginx for a count, is
not in it.
"""

from __future__ import annotations

import sys

from lupa import luajit21

from kong_ai_proxy.server import usage_filter

_SETUP = """
return function(text, streaming, chunk, count)
  local state = { mark = ": kong-ai-usage T ", known = "", received = 0, left = 0 }
  state.quiet = streaming == "padded"
  local ours = { stream = streaming ~= "" and state or nil }
  local kong = { ctx = { shared = { kong_ai = ours } }, log = {} }
  local ngx = { arg = {}, var = { upstream_response_length = "0" } }
  local env = setmetatable({ kong = kong, ngx = ngx }, { __index = _G })
  local run = text and assert(load(text, "body_filter", "t", env))() or function() end
  local arg = ngx.arg
  local clock = os.clock
  local begun = clock()
  for number = 1, count do
    arg[1] = chunk
    ngx.var.upstream_response_length = number * 300
    run()
  end
  return (clock() - begun) / count * 1e9
end
"""


def main() -> int:
    lua = luajit21.LuaRuntime()
    measure = lua.execute(_SETUP)
    text = usage_filter.config()["body_filter"][0]
    event = 'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-4o",' + (
        '"choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}'
    )
    chunk = event + " " * (298 - len(event)) + "\n\n"
    count = 2_000_000
    print("| body filter | ns a chunk |")
    print("|---|---|")
    rows = [("empty loop", None, ""), ("off", text, "")]
    rows += [("on, not read", text, "padded"), ("on, read", text, "bare")]
    for name, code, streaming in rows:
        print(f"| {name} | {min(measure(code, streaming, chunk, count) for _ in range(3)):.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())

-- The usage filter of kong-ai-proxy.
--
-- External plugins have no header_filter and no body_filter. These few lines, run by Kong's bundled pre-function
-- plugin (sandboxed, with nothing to install), do there what they cannot: they take the usage that the relay sends
-- along with an answer and put it into the log record, and they save the plugin round trips in access.
--
-- Each section below is one text for one phase of pre-function; `shared` goes in front of the three after it.
-- `kong-ai-proxy usage-filter` prints them as configuration.

-- section: access
-- Announces the filter to the plugin, with what the plugin would have to ask Kong for.
local kong, ngx = kong, ngx
local MODE = { mode = "replace" }
local VERSION = 2
local TRUE = string.char(0xc3) -- in MessagePack
-- Up to 3.9, Kong's MessagePack calls functions that it finds in what it packs (since 2.3, in
-- kong/runloop/plugin_servers/rpc/mp_rpc.lua). So the plugin, when it asks for the announcement, takes the request in
-- the same round trip. Later versions are not known to; there the plugin needs two more.
local NOT_KNOWN_TO_PACK_FUNCTIONS = 3010000

return function()
  local service = kong.router.get_service()
  local header = kong.request.get_header
  local ticket = ngx.var.request_id
  local taken
  if kong.version_num and kong.version_num < NOT_KNOWN_TO_PACK_FUNCTIONS then
    taken = function(buffer)
      kong.service.request.set_header("x-kong-ai-ticket", ticket)
      ngx.ctx.buffered_proxying = false
      buffer[#buffer + 1] = TRUE
    end
  end
  kong.ctx.shared.kong_ai = {
    v = VERSION,
    ticket = ticket,
    taken = taken,
    captures = kong.request.get_uri_captures().named,
    -- Whether the client itself says who it is. Else what the relay gets under these names is of Kong's authentication,
    -- which runs after this.
    claims = (header("x-consumer-username") or header("x-consumer-custom-id") or header("x-consumer-id")) ~= nil,
    service = service and {
      protocol = service.protocol,
      host = service.host,
      port = service.port,
      connect_timeout = service.connect_timeout,
      write_timeout = service.write_timeout,
      read_timeout = service.read_timeout,
    },
  }
  -- The plugin's own header is no business of whoever reads the log.
  kong.log.set_serialize_value("request.headers.x-kong-ai-ticket", nil, MODE)
end

-- section: shared
-- Reads a record: `path=<type><value>` pairs joined by "&", the path dotted, numbers in it list indexes.
-- Every answer has one, so this is written for LuaJIT: it compiles plain `find`, `byte` and `sub`, but nothing that
-- has a pattern.
local kong, ngx = kong, ngx
local pcall, tonumber, type = pcall, tonumber, type
local byte, char, find, gmatch = string.byte, string.char, string.find, string.gmatch
local gsub, match, sub = string.gsub, string.match, string.sub
local STRING, NUMBER, BOOLEAN, EMPTY = byte("snbo", 1, 4)
-- Paths are the same in one record after another; but models and tokens' kinds, which providers name, are in some.
local MOST_PATHS = 256
local paths, known = {}, 0

local function unhex(digits)
  return char(tonumber(digits, 16))
end

local function plain(text)
  return find(text, "%", 1, true) and gsub(text, "%%(%x%x)", unhex) or text
end

local function value_of(kind, text)
  if kind == NUMBER then
    return tonumber(text)
  elseif kind == STRING then
    return plain(text)
  elseif kind == BOOLEAN then
    return text == "1"
  elseif kind == EMPTY then
    return {}
  end
end

local function keys_of(path)
  local keys = paths[path]
  if not keys then
    keys = {}
    for part in gmatch(path, "[^.]+") do
      keys[#keys + 1] = match(part, "^%d+$") and tonumber(part) or plain(part)
    end
    if known == MOST_PATHS then
      paths, known = {}, 0
    end
    paths[path], known = keys, known + 1
  end
  return keys
end

local function put(record, keys, value)
  local node, last = record, #keys
  for i = 1, last - 1 do
    local key = keys[i]
    local below = node[key]
    if type(below) ~= "table" then
      below = {}
      node[key] = below
    end
    node = below
  end
  node[keys[last]] = value
end

local function decode(text)
  local record = {}
  local from, size = 1, #text
  while from <= size do
    local stop = find(text, "&", from, true) or size + 1
    local equals = find(text, "=", from, true)
    if equals and equals > from and equals < stop then
      local value = value_of(byte(text, equals + 1), sub(text, equals + 2, stop - 1))
      if value ~= nil then
        put(record, keys_of(sub(text, from, equals - 1)), value)
      end
    end
    from = stop + 1
  end
  return record
end

local function set(text)
  kong.log.set_serialize_value("ai.proxy", decode(text))
end

-- Never let a record that cannot be read spoil an answer.
local function report(text)
  local ok, problem = pcall(set, text)
  if not ok then
    kong.log.warn("kong-ai-proxy: unreadable usage: ", problem)
  end
end

-- section: header_filter
-- A whole answer brings its record in a header. A stream says there what is known of it at its beginning; the rest
-- follows in its body (see body_filter), and the log phase reports what came last.
return function()
  local usage = kong.response.get_header("x-kong-ai-usage")
  if not usage then
    return
  end
  kong.response.clear_header("x-kong-ai-usage")
  local ours = kong.ctx.shared.kong_ai
  local ticket = ours and kong.request.get_header("x-kong-ai-ticket")
  if not ticket then
    return -- some other upstream's header
  end
  local padded, known = match(usage, "^stream(;?%a*) ?(.*)$")
  if padded then
    ours.stream = {
      mark = ": kong-ai-usage " .. ticket .. " ",
      padded = padded == ";padded",
      known = known,
      received = 0,
      left = 0,
    }
  else
    report(usage)
  end
end

-- section: body_filter
-- Takes the comments `: kong-ai-usage <ticket> <record>`, with the blank line after them, out of a stream: "+" and what
-- changed, now and then, and the whole record at the end. They stand anywhere and may come in pieces; nobody else knows
-- the ticket.
--
-- Reading a chunk makes a Lua string of it, which costs the more the more of them there were: of strings of 128 bytes
-- and more, LuaJIT's hash (SSE 4.2) looks at little more than the first half, and the chunks of a stream begin alike.
-- So a chunk is not read unless it may hold a comment. The relay puts PAD bytes that are no data (a chunk extension of
-- HTTP/1.1) before each, and before the first data, to show that they arrive here. nginx counts them and calls the
-- filter only with data; so, however the bytes are split, at most one call's end lies within a comment's padding, and
-- either this call or the one before it saw half of it. Where padding does not arrive, or nginx does not count at
-- once, every chunk is read.
local NEWLINE = 10
local PLUS = 43
local LONGEST = 1048576
local PAD = 10240
local JUMP = PAD / 2

-- Bytes of the answer's body that came from the upstream so far, framing included.
local function received_so_far()
  local text = ngx.var.upstream_response_length
  return text and (tonumber(text) or tonumber(match(text, "(%d+)$"))) or 0
end

-- Where at the end of `data` a beginning of the mark begins.
local function partial_in(data, mark)
  local size = #data
  if byte(data, size) == NEWLINE then
    return nil -- the usual case: the mark has none
  end
  local at = find(data, ":", size > #mark and size - #mark + 2 or 1, true)
  while at do
    if sub(mark, 1, size - at + 1) == sub(data, at) then
      return at
    end
    at = find(data, ":", at + 1, true)
  end
end

local function keep(state, text)
  if byte(text, 1) == PLUS then
    state.change = sub(text, 2)
  else
    state.known, state.change = text, nil
  end
end

-- One step: gives what can be passed on, keeps the rest in `state`.
local function step(state, data, eof)
  local out, mark = "", state.mark
  while true do
    if state.blank and data ~= "" then
      -- The empty line that ends the comment.
      state.blank = nil
      if byte(data, 1) == NEWLINE then
        data = sub(data, 2)
      end
    end
    if state.taking then
      local stop = find(data, "\n", 1, true)
      if not stop then
        data = state.taking .. data
        if #data > LONGEST then
          state.taking = nil -- no record of ours
          return out .. mark .. data
        end
        state.taking = data
        return out
      end
      keep(state, state.taking .. sub(data, 1, stop - 1))
      state.taking = nil
      state.blank = true
      data = sub(data, stop + 1)
    else
      local at = find(data, mark, 1, true)
      if not at then
        break
      end
      out = out .. sub(data, 1, at - 1)
      state.taking = ""
      state.found = state.found + 1
      data = sub(data, at + #mark)
    end
  end
  local held = not eof and partial_in(data, mark)
  if held then
    state.held = sub(data, held)
    data = sub(data, 1, held - 1)
  end
  return out .. data
end

return function()
  local ours = kong.ctx.shared.kong_ai
  local state = ours and ours.stream
  if not state then
    return
  end
  local received = received_so_far()
  local more = received - state.received
  state.received = received
  -- `left`: at most so much of what came before was padding that the next data belongs to.
  local left = state.left
  if
    state.quiet
    and more > 0
    and more < JUMP
    and left < JUMP
    and not (state.taking or state.held or state.blank)
  then
    state.left = more
    return
  end
  local arg = ngx.arg
  local chunk, eof = arg[1] or "", arg[2]
  local data = chunk
  local size = #chunk
  local held = state.held
  state.found = 0
  if state.padded and size > 0 then
    state.quiet = received - size >= PAD
    state.found = 1
    state.padded = nil
  end
  if held then
    state.held = nil
    data = held .. chunk
  elseif size == 0 then
    return
  end
  local out = step(state, data, eof)
  local found = state.found
  left = found > 0 and more - size - found * PAD + left or more - size
  state.left = left > 0 and left or 0
  if out ~= chunk then
    arg[1] = out
  end
end

-- section: log
-- Reports what a stream said last of itself, whoever ended it.
-- No filter runs over a WebSocket: the relay leaves its record with Kong (see `deposit`) before it closes.
return function()
  local offered = kong.request.get_header("sec-websocket-protocol")
  if offered and find(offered, "openai-insecure-api-key.", 1, true) then
    kong.log.set_serialize_value("request.headers.sec-websocket-protocol", "REDACTED") -- a browser's key
  end
  local ours = kong.ctx.shared.kong_ai
  local state = ours and ours.stream
  if state and state.known ~= "" then
    report(state.change and state.known .. "&" .. state.change or state.known)
  end
  if ngx.status ~= 101 then
    return
  end
  local token = kong.request.get_header("x-kong-ai-ticket")
  local shared = ngx.shared and ngx.shared.kong
  local usage = token and shared and shared:get("kong-ai-proxy:" .. token)
  if usage then
    shared:delete("kong-ai-proxy:" .. token)
    report(usage)
  end
end

-- section: deposit
-- For the access phase of a route of its own that only the relay can reach: keeps a session's record until `log` comes
-- for it. The request carries the session's ticket and, as its body, the record. A judge's record belongs to no request
-- of a client's, so it goes into the log of the request that brings it.
local SECONDS = 60
local LONGEST = 65536

return function()
  local token = kong.request.get_header("x-kong-ai-ticket")
  local judged = kong.request.get_header("x-kong-ai-judged")
  local usage = kong.request.get_raw_body()
  if not (token or judged) or token and #token > 64 or not usage or #usage == 0 or #usage > LONGEST then
    return kong.response.exit(400, { message = "no record" })
  end
  if judged then
    local ok, record = pcall(decode, usage)
    if ok then
      kong.log.set_serialize_value("ai.ai-llm-as-judge", record)
    end
    return kong.response.exit(ok and 204 or 400)
  end
  local ok = ngx.shared.kong:safe_set("kong-ai-proxy:" .. token, usage, SECONDS)
  return kong.response.exit(ok and 204 or 507)
end

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

return function()
  local service = kong.router.get_service()
  kong.ctx.shared.kong_ai = {
    v = 1,
    length = ngx.var.content_length,
    captures = kong.request.get_uri_captures().named,
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
local kong, ngx = kong, ngx
local pcall, tonumber, type = pcall, tonumber, type
local byte, char, find, gmatch = string.byte, string.char, string.find, string.gmatch
local gsub, match, sub = string.gsub, string.match, string.sub

local function unhex(digits)
  return char(tonumber(digits, 16))
end

local function plain(text)
  return (gsub(text, "%%(%x%x)", unhex))
end

local function value_of(kind, text)
  if kind == "n" then
    return tonumber(text)
  elseif kind == "s" then
    return plain(text)
  elseif kind == "b" then
    return text == "1"
  elseif kind == "o" then
    return {}
  end
end

local function decode(text)
  local record = {}
  for pair in gmatch(text, "[^&]+") do
    local path, kind, rest = match(pair, "^([^=]+)=(%a)(.*)$")
    local value
    if path then
      value = value_of(kind, rest)
    end
    if value ~= nil then
      local node, key = record, nil
      for part in gmatch(path, "[^.]+") do
        if key ~= nil then
          local below = node[key]
          if type(below) ~= "table" then
            below = {}
            node[key] = below
          end
          node = below
        end
        key = match(part, "^%d+$") and tonumber(part) or plain(part)
      end
      node[key] = value
    end
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
-- A whole answer brings its record in a header; a stream announces a comment.
return function()
  local usage = kong.response.get_header("x-kong-ai-usage")
  if not usage then
    return
  end
  kong.response.clear_header("x-kong-ai-usage")
  local ours = kong.ctx.shared.kong_ai
  if not ours or not kong.request.get_header("x-kong-ai-ticket") then
    return -- some other upstream's header
  end
  if usage == "stream" then
    ours.stream = { newline = true }
  else
    report(usage)
  end
end

-- section: body_filter
-- Takes the comment `: kong-ai-usage <record>` and the blank line after it out of a stream. It stands at the beginning
-- of a line, and may come in pieces. While there is none, a chunk costs one search and is passed on untouched; of its
-- end no more is held back than what may be the beginning of the comment.
local MARK = ": kong-ai-usage "
local MARK_LEN = #MARK
local NEWLINE = 10
local LONGEST = 1048576

-- Where a comment begins in `data`, at a line's beginning.
local function mark_in(data, newline)
  local at = find(data, MARK, 1, true)
  while at do
    if at == 1 then
      if newline then
        return at
      end
    elseif byte(data, at - 1) == NEWLINE then
      return at
    end
    at = find(data, MARK, at + 1, true)
  end
end

-- Where an unfinished line at the end of `data` begins that may become the mark.
local function partial_in(data, newline)
  local size = #data
  local from = size
  while from > 0 and size - from < MARK_LEN - 1 and byte(data, from) ~= NEWLINE do
    from = from - 1
  end
  if from == size then
    return nil -- ends with a newline: the usual case
  end
  if from == 0 then
    if not newline then
      return nil
    end
  elseif byte(data, from) ~= NEWLINE then
    return nil
  end
  if sub(MARK, 1, size - from) == sub(data, from + 1) then
    return from + 1
  end
end

-- One step: gives what can be passed on, keeps the rest in `state`.
local function step(state, data, eof)
  local out = ""
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
          state.newline = false
          return out .. MARK .. data
        end
        state.taking = data
        return out
      end
      report(state.taking .. sub(data, 1, stop - 1))
      state.taking = nil
      state.blank = true
      state.newline = true
      data = sub(data, stop + 1)
    else
      local at = mark_in(data, state.newline)
      if not at then
        break
      end
      out = out .. sub(data, 1, at - 1)
      state.taking = ""
      data = sub(data, at + MARK_LEN)
    end
  end
  local held = not eof and partial_in(data, state.newline)
  if held then
    state.held = sub(data, held)
    data = sub(data, 1, held - 1)
    state.newline = true
  elseif data ~= "" then
    state.newline = byte(data, -1) == NEWLINE
  end
  return out .. data
end

return function()
  local ours = kong.ctx.shared.kong_ai
  local state = ours and ours.stream
  if not state then
    return
  end
  local arg = ngx.arg
  local chunk, eof = arg[1] or "", arg[2]
  local data = chunk
  local held = state.held
  if held then
    state.held = nil
    data = held .. chunk
  elseif chunk == "" then
    return
  end
  local out = step(state, data, eof)
  if out ~= chunk then
    arg[1] = out
  end
  if eof then
    ours.stream = nil
  end
end

-- section: log
-- No filter runs over a WebSocket: the relay leaves its record with Kong (see `deposit`) before it closes.
return function()
  local offered = kong.request.get_header("sec-websocket-protocol")
  if offered and find(offered, "openai-insecure-api-key.", 1, true) then
    kong.log.set_serialize_value("request.headers.sec-websocket-protocol", "REDACTED") -- a browser's key
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
-- for it. The request carries the session's ticket and, as its body, the record.
local kong, ngx = kong, ngx
local SECONDS = 60
local LONGEST = 65536

return function()
  local token = kong.request.get_header("x-kong-ai-ticket")
  local usage = kong.request.get_raw_body()
  if not token or #token > 64 or not usage or #usage == 0 or #usage > LONGEST then
    return kong.response.exit(400, { message = "no record" })
  end
  local ok = ngx.shared.kong:safe_set("kong-ai-proxy:" .. token, usage, SECONDS)
  return kong.response.exit(ok and 204 or 507)
end

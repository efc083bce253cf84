-- What does wrk send? One request again and again, or a random one of all paths × all tokens.
-- Given PATHS and TOKENS (files, one a line) by the environment; prints one JSON line at the end.
-- Never builds a request while measuring: each is formatted once, before the first is sent.
local function lines(variable)
  local found = {}
  for line in io.lines(os.getenv(variable)) do found[#found + 1] = line end
  return found
end

local paths, tokens = lines("PATHS"), lines("TOKENS")
wrk.headers["User-Agent"] = "bench/1"
wrk.headers["Accept"] = "application/json"
wrk.path = paths[1]
wrk.headers["Authorization"] = "Bearer " .. tokens[1]

-- wrk sends one ready-made request without calling Lua unless `request` is defined.
if #paths * #tokens > 1 then
  local ready = {}
  function init()
    for _, token in ipairs(tokens) do
      wrk.headers["Authorization"] = "Bearer " .. token
      for _, path in ipairs(paths) do ready[#ready + 1] = wrk.format("GET", path) end
    end
  end
  local random, any = math.random, #paths * #tokens
  function request() return ready[random(any)] end
end

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"seconds":%f,"bytes":%d,"failed":%d,"p50_ms":%f,"p99_ms":%f}\n',
    summary.requests, summary.duration / 1e6, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end

-- Tells all nodes to end connections, again and again until they have answered, and looks who has (time.lua, live.lua).
--
-- KEYS: the leases, the answers, the kicks of the last time by when they were told. ARGV: the time; the control channel;
-- PUBLISH or SPUBLISH; the message, or nothing when it is too soon to say it again; for how many microseconds kicks are kept
-- for nodes that hear nothing now; how many are kept at most. Answers the incarnations that are alive, and the answers by node.

local now, message = micros(ARGV[1]), ARGV[4]
if message ~= '' then
  local function oldest(to, len) return call('ZRANGEBYSCORE', KEYS[3], '-inf', to, 'LIMIT', 0, len) end
  local function forget(kicks) if #kicks > 0 then call('ZREM', KEYS[3], unpack(kicks)) end end
  forget(oldest(string.format('(%.0f', now - ARGV[5]), ARGV[6]))
  -- When it is said again, it is not told later: who hears only that learns how long ago it was.
  local is_new = call('ZADD', KEYS[3], 'NX', string.format('%.0f', now), message) == 1
  local told = not is_new and call('ZSCORE', KEYS[3], message)
  if #call('ZRANGEBYSCORE', KEYS[3], '-inf', '+inf', 'LIMIT', ARGV[6], 1) > 0 then forget(oldest('+inf', 1)) end
  call('PEXPIREAT', KEYS[3], string.format('%.0f', math.ceil((now + ARGV[5]) / 1000)))
  if told then message = message .. '\n' .. string.format('%.0f', now - told) end
  call(ARGV[3], ARGV[2], message)
end
return { live(now), call('HGETALL', KEYS[2]) }

-- The clock for a reader: what the scripts that read begin with.
--
-- KEYS[1]: the clock. ARGV: the position to read after; how many microseconds a position may be before the time.
--
-- A reader may have seen a position that this log has not: one of a master whose last ticks no replica had when it died.
-- If the time has got there, the clock is pushed to it, so that nothing is ever appended before what was seen. What is
-- further ahead was never given.

local call = redis.call

local function clock()
  local value = call('GET', KEYS[1])
  if not value then return value end
  local last, update = string.match(value, '^(%d+) (%d+)$')
  last, update = last or value, update or value
  if ARGV[1] + 0 <= last + 0 then return value end
  local time = call('TIME')
  if ARGV[1] + 0 > time[1] * 1000000 + time[2] + ARGV[2] then return value end
  value = ARGV[1] .. ' ' .. update
  call('SET', KEYS[1], value)
  return value
end


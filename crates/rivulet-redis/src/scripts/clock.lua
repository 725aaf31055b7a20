-- The clock for a reader: what the scripts that read begin with (void.lua).
--
-- KEYS: the clock, the birth. ARGV: the position to read after; how many microseconds a position may be before the time.
--
-- A reader may have seen a position that this log has not: one of a master whose last ticks no replica had when it died.
-- If the time has got there, the clock is pushed past it, so that nothing is ever appended before what was seen. What is
-- further ahead was never given. The clock is pushed up to the time, as by a tick: readers who come one after another, each
-- a little later, would hide a void by pushing it a piece at a time.

local function clock()
  local value = call('GET', KEYS[1])
  if not value then return value end
  local last, update = string.match(value, '^(%d+) (%d+)$')
  last, update = last or value, update or value
  if ARGV[1] + 0 <= last + 0 then return value end
  local time = call('TIME')
  local now = time[1] * 1000000 + time[2]
  if ARGV[1] + 0 > now + ARGV[2] then return value end
  local position = math.max(now, ARGV[1] + 1)
  move(KEYS[2], last + 0, position)
  value = format('%.0f', position) .. ' ' .. update
  call('SET', KEYS[1], value)
  return value
end


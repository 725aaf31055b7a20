-- Reads the clock, makes every later append stand after what it read, and announces it on a node's own channel.
--
-- KEYS: the clock, the birth. ARGV: the least position; the channel. Answers the position.
--
-- The clock has to be written: Redis' time may be set back before the next append. The last update's position is kept
-- beside the tick's, since announcements and index entries are chained by it.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local least = ARGV[1] + 0
if now < least then now = least end

local last = redis.call('GET', KEYS[1])
local update = '0'
if last then
  local number
  number, update = string.match(last, '^(%d+) (%d+)$')
  if not number then number, update = last, last end
  if number + 0 > now then now = number + 0 end
else
  redis.call('SET', KEYS[2], string.format('%.0f', now))
end

local position = string.format('%.0f', now)
redis.call('SET', KEYS[1], position .. ' ' .. update)
redis.call('PUBLISH', ARGV[2], 'T' .. position)
return position

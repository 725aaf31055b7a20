-- Reads the clock, makes every later append stand after what it read, and announces it on a node's own channel (void.lua).
--
-- KEYS: the clock, the birth, the index. ARGV: the least position; the node's channel; the last update that the node
-- knows of, or 0; the control channel; PUBLISH or SPUBLISH. Answers the position.
--
-- The clock has to be written: Redis' time may be set back before the next append. The last update's position is kept
-- beside the tick's, since announcements and index entries are chained by it.
--
-- The chain also tells whether the update that the node knows of is in this log. If it is not, the log has lost what
-- was acknowledged: a replica was promoted that did not have it, or an older copy was restored. Then the birth moves
-- to now, since nobody can say what else was lost before it, and all nodes are told.

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local least = ARGV[1] + 0
if now < least then now = least end

local last = call('GET', KEYS[1])
local update, lost = '0', not last
if last then
  local number
  number, update = string.match(last, '^(%d+) (%d+)$')
  if not number then number, update = last, last end
  if number + 0 > now then now = number + 0 end
  local known = ARGV[3] + 0
  if known > 0 and known > string.match(call('GET', KEYS[2]) or '0', '^%d+') + 0 then
    local after = call('XRANGE', KEYS[3], '(' .. ARGV[3] .. '-0', '+', 'COUNT', 1)[1]
    lost = (after and after[2][2] or update) + 0 < known
  end
  if not lost then move(KEYS[2], number + 0, now) end
end

local position = format('%.0f', now)
call('SET', KEYS[1], position .. ' ' .. update)
if lost then
  call('SET', KEYS[2], position)
  call(ARGV[5], ARGV[4], 'B' .. position)
end
call(ARGV[5], ARGV[2], 'T' .. position)
return position

-- Lets a log know in which epoch its server is the primary, and lets its clock jump if that is a later one than was
-- known: once for each failover, whoever comes first.
--
-- KEYS: the clock, the epoch. ARGV: the epoch; the jump in microseconds. Answers whether the clock has jumped.

local call = redis.call
local known, last = call('GET', KEYS[2]), call('GET', KEYS[1])
if known and known + 0 >= ARGV[1] + 0 then return 0 end
call('SET', KEYS[2], ARGV[1])
if not known or not last then return 0 end

local number, update = string.match(last, '^(%d+) (%d+)$')
number, update = number or last, update or last
local time = call('TIME')
local now = math.max(time[1] * 1000000 + time[2], number + 0) + ARGV[2]
call('SET', KEYS[1], string.format('%.0f', now) .. ' ' .. update)
return 1

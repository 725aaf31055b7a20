-- Lets a staged incarnation take the place of earlier ones of its node, in one step; or gives these up, when the node
-- leaves (time.lua, live.lua).
--
-- KEYS: the leases, the new incarnation's hash, the hashes of the earlier ones. ARGV: the time; the lease in milliseconds;
-- all connections of the node; the new incarnation, or nothing when the node leaves (then its key is that of the leases
-- again); the earlier ones.
-- Answers 1, or 'lapsed' where nothing is staged: a switch that arrives too late brings nobody back to life.

local now = micros(ARGV[1])
local ms, new, began = math.floor(now / 1000), ARGV[4], now
if new ~= '' and not call('HGET', KEYS[2], 'v') then return 'lapsed' end
for i = 5, #ARGV do
  call('ZREM', KEYS[1], ARGV[i])
  call('DEL', KEYS[i - 2])
end
if new == '' then return 1 end

local hashes = string.sub(KEYS[2], 1, -#new - 1)
for _, node in ipairs(live(now)) do
  began = math.max(began, (call('HGET', hashes .. node, 's') or 0) + 1)
end
call('HSET', KEYS[2], 's', string.format('%.0f', began), 'c', ARGV[3])
call('PEXPIREAT', KEYS[2], ms + ARGV[2])
call('ZADD', KEYS[1], ms + ARGV[2], new)
-- Longer than any lease: nodes may have been told of different ones.
call('PEXPIREAT', KEYS[1], ms + 600000)
return 1

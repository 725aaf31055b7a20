-- Renews the lease of an incarnation, says how many connections its node has and whether it leaves, and clears away who is
-- dead (time.lua, live.lua).
--
-- KEYS: the leases, the incarnation's hash, when the set of leases began. ARGV: the time; the lease in milliseconds; the
-- incarnation; all connections of its node; 1 if it takes no new ones any more, else 0. Answers { 'lapsed' }, or { 'ok', the
-- number of changes, how many nodes are alive, the connections of the others, how many others take new ones, the
-- connections of those }.

local now = micros(ARGV[1])
local ms, own, incarnation = math.floor(now / 1000), KEYS[2], ARGV[3]
local hashes = string.sub(own, 1, -#incarnation - 1)

local changes, lease = call('HGET', own, 'v'), call('ZSCORE', KEYS[1], incarnation)
local nodes, others, open, of_open = live(now), 0, 0, 0
for _, node in ipairs(nodes) do
  if node ~= incarnation then
    local said = call('HMGET', hashes .. node, 'c', 'l')
    local connections = said[1] or 0
    others = others + connections
    if not said[2] then open, of_open = open + 1, of_open + connections end
  end
end

for _, node in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, 64)) do
  call('DEL', hashes .. node)
  call('ZREM', KEYS[1], node)
end
if not changes or not lease or lease + 0 <= ms then return { 'lapsed' } end
call('HSET', own, 'c', ARGV[4])
if ARGV[5] == '1' then call('HSET', own, 'l', 1) end
call('ZADD', KEYS[1], ms + ARGV[2], incarnation)
call('PEXPIREAT', KEYS[1], ms + 600000)
call('PEXPIREAT', KEYS[3], ms + 600000)
call('PEXPIREAT', own, ms + ARGV[2])
return { 'ok', changes + 0, #nodes, others, open, of_open }

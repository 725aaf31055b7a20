-- Renews the lease of an incarnation, says how many connections its node has, and clears away who is dead (time.lua,
-- live.lua).
--
-- KEYS: the leases, the incarnation's hash, when the set of leases began. ARGV: the time; the lease in milliseconds; the
-- incarnation; all connections of its node. Answers { 'lapsed' }, or { 'ok', the number of changes, how many nodes are alive, the connections of the
-- others }.

local now = micros(ARGV[1])
local ms, own, incarnation = math.floor(now / 1000), KEYS[2], ARGV[3]
local hashes = string.sub(own, 1, -#incarnation - 1)

local changes, lease = call('HGET', own, 'v'), call('ZSCORE', KEYS[1], incarnation)
local nodes, others = live(now), 0
for _, node in ipairs(nodes) do
  if node ~= incarnation then others = others + (call('HGET', hashes .. node, 'c') or 0) end
end

for _, node in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, 64)) do
  call('DEL', hashes .. node)
  call('ZREM', KEYS[1], node)
end
if not changes or not lease or lease + 0 <= ms then return { 'lapsed' } end
call('HSET', own, 'c', ARGV[4])
call('ZADD', KEYS[1], ms + ARGV[2], incarnation)
call('PEXPIREAT', KEYS[1], ms + 600000)
call('PEXPIREAT', KEYS[3], ms + 600000)
call('PEXPIREAT', own, ms + ARGV[2])
return { 'ok', changes + 0, #nodes, others }

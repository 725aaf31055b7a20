-- Lets the connection through each rate and takes a place in each quota, or takes no place (time.lua, live.lua, gcra.lua).
--
-- The rates come first: a connection that finds a quota full has used them, else asking again and again would cost nothing.
-- One that a rate refuses has used none.
--
-- KEYS: the leases, the incarnation's hash, a key per rate. ARGV: the time; the incarnation; the number of quotas; for
-- each quota its scope and how many connections there may be; for each rate what `pass` needs.
-- Answers { 'ok', the number of changes }, what `pass` says, { 'full', the first quota that is }, or { 'lapsed' } where
-- the incarnation's lease has ended: then nobody counts what it holds, and nothing was used.

local now = micros(ARGV[1])
local own, incarnation, quotas = KEYS[2], ARGV[2], ARGV[3] + 0
local hashes = string.sub(own, 1, -#incarnation - 1)

local scopes, sums = {}, {}
for i = 1, quotas do
  scopes[i], sums[i] = ARGV[2 + 2 * i], 0
end
local lapsed = true
for _, node in ipairs(live(now)) do
  if node == incarnation then lapsed = false end
  if quotas > 0 then
    local counts = call('HMGET', hashes .. node, unpack(scopes))
    for i = 1, quotas do sums[i] = sums[i] + (counts[i] or 0) end
  end
end
if lapsed then return { 'lapsed' } end
local fast = pass(3, 4 + 2 * quotas, #KEYS - 2, now)
if fast then return fast end
for i = 1, quotas do
  if sums[i] >= ARGV[3 + 2 * i] + 0 then return { 'full', i } end
end

for i = 1, quotas do call('HINCRBY', own, scopes[i], 1) end
return { 'ok', call('HINCRBY', own, 'v', 1) }

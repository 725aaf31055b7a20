-- Says how many connections the incarnations hold that began before this one: where they and this one are too many together,
-- it is this one that has to end some. So of several nodes that come back together each excess is ended by one (time.lua,
-- live.lua).
--
-- KEYS: the leases, the incarnation's hash. ARGV: the time; the incarnation; scopes. Answers a number for each scope, or
-- 'lapsed'.

local now, incarnation = micros(ARGV[1]), ARGV[2]
local hashes = string.sub(KEYS[2], 1, -#incarnation - 1)
local began = call('HGET', KEYS[2], 's')
local scopes, sums, lapsed = {}, {}, true
for i = 3, #ARGV do scopes[i - 2], sums[i - 2] = ARGV[i], 0 end
for _, node in ipairs(live(now)) do
  if node == incarnation then
    lapsed = false
  elseif began and (call('HGET', hashes .. node, 's') or 0) + 0 < began + 0 then
    local counts = call('HMGET', hashes .. node, unpack(scopes))
    for i = 1, #scopes do sums[i] = sums[i] + (counts[i] or 0) end
  end
end
if lapsed or not began then return 'lapsed' end
return sums

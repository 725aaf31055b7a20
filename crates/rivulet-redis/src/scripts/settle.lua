-- Tells what has changed of what an incarnation holds: places given back, or taken while Redis was away (time.lua).
--
-- KEYS: the leases, the incarnation's hash. ARGV: the time; the incarnation; for each scope its name and the change.
-- Answers the number of changes, or 'lapsed'.

local lease = call('ZSCORE', KEYS[1], ARGV[2])
if not lease or lease + 0 <= math.floor(micros(ARGV[1]) / 1000) then return 'lapsed' end
for i = 3, #ARGV, 2 do
  if call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 1]) <= 0 then call('HDEL', KEYS[2], ARGV[i]) end
end
return call('HINCRBY', KEYS[2], 'v', 1)

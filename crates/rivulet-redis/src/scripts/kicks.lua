-- Says which kicks were told of late, for a node that may not have heard them (time.lua).
--
-- KEYS: the kicks of the last time by when they were told. ARGV: the time; for how many microseconds they are kept.
-- Answers how many microseconds ago each was told, and its message, the oldest first.

local now = micros(ARGV[1])
local after = string.format('%.0f', now - ARGV[2])
local kicks = call('ZRANGEBYSCORE', KEYS[1], after, '+inf', 'WITHSCORES')
local ages = {}
for i = 1, #kicks, 2 do
  ages[i], ages[i + 1] = string.format('%.0f', now - kicks[i + 1]), kicks[i]
end
return ages

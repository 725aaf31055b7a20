-- Reads a piece of the index together with the clock and the birth.
--
-- KEYS: the clock, the birth, the index. ARGV: the position to read after; how many entries. Answers clock, birth,
-- entries.

local call = redis.call
return {
  call('GET', KEYS[1]), call('GET', KEYS[2]),
  call('XRANGE', KEYS[3], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])
}

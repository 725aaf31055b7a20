-- Reads a piece of the index together with the clock (clock.lua) and the birth.
--
-- KEYS: the clock, the birth, the index. ARGV: the position to read after; how far it may be before the time; how many
-- entries. Answers clock, birth, entries.

return {
  clock(), call('GET', KEYS[2]),
  call('XRANGE', KEYS[3], '(' .. ARGV[1] .. '-0', '+', 'COUNT', ARGV[3])
}

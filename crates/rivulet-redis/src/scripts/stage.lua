-- Writes down a part of what an incarnation holds that is to take another's place, before anybody counts it (time.lua).
--
-- KEYS: the new incarnation's hash. ARGV: the time; the lease in milliseconds; 1 for the first part, which makes the hash;
-- for each scope its name and how many connections.
-- Answers 1, or 'lapsed' where the hash is gone: a part that arrives too late makes no hash that nobody knows of.

if ARGV[3] == '1' then
  call('HSET', KEYS[1], 'v', 0)
elseif not call('HGET', KEYS[1], 'v') then
  return 'lapsed'
end
for i = 4, #ARGV, 2 do call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
call('PEXPIREAT', KEYS[1], math.floor(micros(ARGV[1]) / 1000) + ARGV[2])
return 1

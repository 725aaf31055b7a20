-- Lets one thing through some rates or takes nothing from any, or takes back that it was let through (time.lua, gcra.lua).
--
-- KEYS: the rates. ARGV: the time; 'take' or 'back'; for each rate what `pass` needs. Answers { 'ok' } or what `pass` says.

local now = micros(ARGV[1])
if ARGV[2] == 'take' then return pass(1, 3, #KEYS, now) or { 'ok' } end
for i = 1, #KEYS do
  local arrival = (call('GET', KEYS[i]) or 0) - ARGV[2 * i + 1]
  if arrival > now then use(KEYS[i], arrival) else call('DEL', KEYS[i]) end
end
return { 'ok' }

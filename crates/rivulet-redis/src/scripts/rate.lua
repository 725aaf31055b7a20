-- Lets one thing through some rates or takes nothing from any, or takes back that it was let through (time.lua, gcra.lua).
--
-- KEYS: the rates. ARGV: the time; 'take' and for each rate what `pass` needs, or 'back' and for each rate how long one takes
-- and what 'take' has answered for it. Answers { 'ok', until when each rate is used up }, or what `pass` says.
--
-- Only the last one that was let through can be taken back, and no more of it than is left: what has passed was time in which
-- others could be let through, and it would be given out twice. What is not taken back comes back with time.

local now = micros(ARGV[1])
if ARGV[2] == 'take' then
  local fast, arrivals = pass(1, 3, #KEYS, now)
  if fast then return fast end
  for i = 1, #arrivals do arrivals[i] = format('%.0f', arrivals[i]) end
  return { 'ok', unpack(arrivals) }
end
for i = 1, #KEYS do
  local taken = ARGV[2 * i + 2]
  if call('GET', KEYS[i]) == taken then
    local arrival = taken - ARGV[2 * i + 1]
    if arrival > now then use(KEYS[i], arrival) else call('DEL', KEYS[i]) end
  end
end
return { 'ok' }

-- Lets a staged incarnation take the place of earlier ones of its node, in one step; or gives these up, when the node
-- leaves (time.lua, live.lua).
--
-- KEYS: the leases, the new incarnation's hash, the time in milliseconds at which the set of leases began, the hashes of the
-- earlier ones. ARGV: the time; the lease in milliseconds; all connections of the node; the new incarnation, or nothing when
-- the node leaves (then its key is that of the leases again); for how many milliseconds a set of leases is young; when the
-- node began, or 0 where it is to come last; the earlier ones.
-- Answers { 'ok', how many nodes are alive, the age of the set in milliseconds, when the node began }, or { 'lapsed' } where
-- nothing is staged: a switch that arrives too late brings nobody back to life.
--
-- All that reads comes before all that writes: while a slot is moved, reading a hash that has gone already fails, and what
-- was written until then would stay.

local now = micros(ARGV[1])
local ms, new = math.floor(now / 1000), ARGV[4]
if new ~= '' and not call('HGET', KEYS[2], 'v') then return { 'lapsed' } end
local earlier = {}
for i = 7, #ARGV do earlier[ARGV[i]] = true end
local began, others, goes_on = now, 0, false
if new ~= '' then
  local hashes = string.sub(KEYS[2], 1, -#new - 1)
  for _, node in ipairs(live(now)) do
    if earlier[node] then
      goes_on = true
    elseif node ~= new then
      others = others + 1
      began = math.max(began, (call('HGET', hashes .. node, 's') or 0) + 1)
    end
  end
end
local since = call('GET', KEYS[3])

for i = 7, #ARGV do
  call('ZREM', KEYS[1], ARGV[i])
  call('DEL', KEYS[i - 3])
end
if new == '' then
  if #call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf', 'LIMIT', 0, 1) == 0 then call('DEL', KEYS[3]) end
  return { 'ok' }
end

-- Longer than any lease: nodes may have been told of different ones.
local kept = ms + 600000
if not since or since + 0 > ms or (others == 0 and not goes_on) then since = ms end
call('SET', KEYS[3], since, 'PXAT', kept)
local age = ms - since
-- Where leases were lost, or the node was counted all the time, nobody was given its places: it stands where it stood.
if ARGV[6] ~= '0' and (goes_on or age < ARGV[5] + 0) then began = ARGV[6] + 0 end
began = string.format('%.0f', began)
call('HSET', KEYS[2], 's', began, 'c', ARGV[3])
call('PEXPIREAT', KEYS[2], ms + ARGV[2])
call('ZADD', KEYS[1], ms + ARGV[2], new)
call('PEXPIREAT', KEYS[1], kept)
return { 'ok', others + 1, age, began }

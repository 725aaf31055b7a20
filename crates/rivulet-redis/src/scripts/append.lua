-- Appends one update to the log of those of its topics that stand in one partition, and announces it, in one atomic step.
--
-- KEYS: the clock, the birth, the index, the id of the update, its idempotency key (each is the clock's key again where
-- there is none: all keys of a call stand in one slot), a stream per distinct topic, and in the same order a key per
-- topic that holds its last position; then a key per rate. A stream's key is the name of its topic's channel too.
-- ARGV: the envelope; the topics, joined by newlines; the least position that this update may get; the firehose; the
-- control channel; PUBLISH or SPUBLISH; what tells this content from another; for how many milliseconds an idempotency
-- key is kept; updates kept per topic; index entries kept; the age in microseconds; the slice in microseconds; the
-- expiry in milliseconds, longer than age and slice together; for each rate what `pass` needs (gcra.lua, which stands
-- before this where there are any).
-- Answers the position; { 'again', the position } where it was appended before with this idempotency key; 'reused' where
-- the key stands for another content; or what `pass` says, and then nothing has changed.
--
-- An announcement is '<position> <previous in the partition> <previous in each topic…>\n<envelope>', with 0 where
-- nothing older is known.
--
-- Scripts of two versions may work on the same keys at once, each called by its own digest. So what the keys and messages
-- mean is what has a version, not the scripts: docs/upgrades.md says what a later one may add, and where.
--
-- What an append can leave to a later one (expiry of streams, trimming by age) is done by the first append of a topic in
-- each slice of time: done each time it would cost as much as the append itself. The last position of a topic has a key
-- of its own, since asking the stream for its last entry costs three times as much.

local call, format = redis.call, string.format
local clock, index, envelope = KEYS[1], KEYS[3], ARGV[1]
local publish, content = ARGV[6], ARGV[7]
local age, slice, expiry = ARGV[11], ARGV[12], ARGV[13]
local rates = (#ARGV - 13) / 2
local topics = (#KEYS - 5 - rates) / 2

if KEYS[5] ~= clock then
  local used = call('GET', KEYS[5])
  if used then
    -- Something is written, so that who waits for replicas afterwards waits for the first append as well.
    call('PEXPIRE', KEYS[5], ARGV[8])
    local at, of = string.match(used, '^(%d+) (.*)$')
    return of == content and { 'again', at } or 'reused'
  end
end

-- Numbers in Lua are doubles: exact up to 2^53, but only '%.0f' writes them so.
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if rates > 0 then
  local fast = pass(6 + 2 * topics, 14, rates, now)
  if fast then return fast end
end
local least = ARGV[3] + 0
if now < least then now = least end
local position = format('%.0f', now)

-- The clock holds the last position, or after a tick '<the tick's position> <the last update's>'.
local previous = call('SET', clock, position, 'GET')
if previous then
  local last = tonumber(previous)
  if not last then
    local tick, update = string.match(previous, '^(%d+) (%d+)$')
    last, previous = tick + 0, update
  end
  if last >= now then
    now = last + 1
    position = format('%.0f', now)
    call('SET', clock, position)
  elseif now - last > 60000000 then
    -- A void: what `move` does (void.lua), which would have to be defined for each append.
    local noted = call('GET', KEYS[2])
    if noted then
      noted = noted .. format(' %.0f-%.0f', last, now - 1)
      if #noted > 560 then noted = string.gsub(noted, '^(%d+) %S+', '%1') end
      call('SET', KEYS[2], noted)
    end
  end
else
  -- Nothing is known of what was before. Who is connected has to hear it before the update.
  previous = '0'
  local birth = format('%.0f', now - 1)
  call('SET', KEYS[2], birth)
  call(publish, ARGV[5], 'B' .. birth)
end

local entry = position .. '-0'
local slice_start = now - now % slice
local head = position .. ' ' .. previous

for i = 6, 5 + topics do
  local before = call('SET', KEYS[i + topics], position, 'PX', expiry, 'GET') or '0'
  call('XADD', KEYS[i], 'MAXLEN', '~', ARGV[9], entry, 'p', before, 'e', envelope)
  if before + 0 < slice_start then
    call('XTRIM', KEYS[i], 'MINID', '~', format('%.0f', now - age))
    call('PEXPIRE', KEYS[i], expiry)
  end
  head = head .. ' ' .. before
end

call('XADD', index, 'MAXLEN', '~', ARGV[10], entry, 'p', previous, 't', ARGV[2], 'n', #envelope)
if previous + 0 < slice_start then
  call('XTRIM', index, 'MINID', '~', format('%.0f', now - age))
  call('PEXPIRE', index, expiry)
end

-- The earliest use of an id wins, as long as it is kept. What it names is a stream of this partition.
if KEYS[4] ~= clock then
  local used = position .. ' ' .. KEYS[6]
  if not call('SET', KEYS[4], used, 'NX', 'PX', expiry) then
    local at, stream = string.match(call('GET', KEYS[4]), '^(%d+) (.*)$')
    if #call('XRANGE', stream, at .. '-0', at .. '-0') == 0 then
      call('SET', KEYS[4], used, 'PX', expiry)
    end
  end
end
if KEYS[5] ~= clock then
  call('SET', KEYS[5], position .. ' ' .. content, 'PX', ARGV[8])
end

local announcement = head .. '\n' .. envelope
for i = 6, 5 + topics do
  call(publish, KEYS[i], announcement)
end
call(publish, ARGV[4], announcement)
return position

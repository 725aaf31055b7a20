-- Lets a log know which server is its primary. The clock of one that took another's place jumps, once, whoever comes first.
--
-- KEYS: the clock, the primary, the primaries before it, the birth. ARGV: the server; how far before the time the clock
-- jumps, in microseconds; the server that this node has kept to until now, or nothing if it comes from none; the last tick
-- that it was answered there; how far beyond a tick subscribers may have got; the control channel; PUBLISH or SPUBLISH.
--
-- The primary's key holds the server and to where its clock has jumped: '<server> <jump>'. That of those before it holds the
-- same of each, the newest last, some ten.
--
-- A node that comes from one of them and may have shown positions beyond the next one's jump has gone on there for too long:
-- what was appended by that time may stand before the cursors of its subscribers, who will never see it. Then the birth
-- moves to now, and all nodes are told.
--
-- Up to now it may be a void (void.lua), where an older copy was restored on another server, or the replica lagged for long.
-- From now to where the clock jumps it is none: there the old primary may give positions.

local last, known = call('GET', KEYS[1]), call('GET', KEYS[2])
if not last or not known then
  call('SET', KEYS[2], ARGV[1] .. ' 0')
  call('SET', KEYS[3], '')
  return 0
end

local number, update = string.match(last, '^(%d+) (%d+)$')
number, update = (number or last) + 0, update or last
local time = call('TIME')
local now, ticked, beyond = time[1] * 1000000 + time[2], ARGV[4] + 0, ARGV[5] + 0
local before = call('GET', KEYS[3])
local jumps = string.match(known, '^%S+') ~= ARGV[1]

-- It is there even if it holds nothing: while a slot moves, no script runs on keys of which some are missing.
if not before then
  before = ''
  call('SET', KEYS[3], before)
end

if jumps then
  move(KEYS[4], number, now)
  -- A clock that stands before the time, since it has jumped a moment ago, moves by one with each append: in a second of it
  -- is room for a million that this server has not heard of. Who was answered a tick after one of them comes in time.
  number = math.max(now + ARGV[2], math.max(number, ticked) + beyond + 1000000)
  before = before .. ' ' .. known
  if #before > 512 then before = string.gsub(before, '^ %S+ %S+', '') end
  known = ARGV[1] .. format(' %.0f', number)
  call('SET', KEYS[1], format('%.0f ', number) .. update)
  call('SET', KEYS[2], known)
  call('SET', KEYS[3], before)
end

-- The jump of the one that took the place of the node's server; of the last one, if that is not known.
local jump, is_next = string.match(known, '%d+$') + 0, false
for server, to in string.gmatch(before .. ' ' .. known, '(%S+) (%d+)') do
  if is_next then jump = to + 0 end
  is_next = server == ARGV[3]
end
if ARGV[3] ~= '' and jump > 0 and ticked + beyond > jump then
  local birth = format('%.0f', math.max(now, number, ticked + beyond))
  call('SET', KEYS[1], birth .. ' ' .. update)
  call('SET', KEYS[4], birth)
  call(ARGV[7], ARGV[6], 'B' .. birth)
end
return jumps and 1 or 0

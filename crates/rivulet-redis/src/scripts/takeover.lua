-- Lets a log know which server is its primary. The clock of one that took another's place jumps, once, whoever comes first.
--
-- KEYS: the clock, the primary, the birth. ARGV: the server; how far before the time the clock jumps, in microseconds; the
-- last tick that this node was answered while it kept to another server, or 0; how far beyond a tick subscribers may have
-- got; the control channel; PUBLISH or SPUBLISH.
--
-- The primary's key holds the server and to where its clock has jumped. A node that comes later and may have shown positions
-- beyond that has gone on elsewhere for too long: what was appended here meanwhile may stand before the cursors of its
-- subscribers, who will never see it. Then the birth moves to now, and all nodes are told.
--
-- Up to now it may be a void (void.lua), where an older copy was restored on another server, or the replica lagged for long.
-- From now to where the clock jumps it is none: there the old primary may give positions.

local last, known = call('GET', KEYS[1]), call('GET', KEYS[2])
if not last then
  call('SET', KEYS[2], ARGV[1] .. ' 0')
  return 0
end

local number, update = string.match(last, '^(%d+) (%d+)$')
number, update = number or last, update or last
local time = call('TIME')
local now, ticked, beyond = time[1] * 1000000 + time[2], ARGV[3] + 0, ARGV[4] + 0
local server, jumped = string.match(known or '', '^(%S+) (%d+)$')

if not server then
  call('SET', KEYS[2], ARGV[1] .. ' 0')
elseif server ~= ARGV[1] then
  move(KEYS[3], number + 0, now)
  -- A clock that stands before the time, since it has jumped a moment ago, moves by one with each append or tick: in a
  -- second of it is room for a million that this server has not heard of. Who was answered one of them comes in time.
  local jump = format('%.0f', math.max(now + ARGV[2], math.max(number + 0, ticked) + beyond + 1000000))
  call('SET', KEYS[1], jump .. ' ' .. update)
  call('SET', KEYS[2], ARGV[1] .. ' ' .. jump)
  return 1
elseif jumped + 0 > 0 and ticked + beyond > jumped + 0 then
  local birth = format('%.0f', math.max(now, number + 0, ticked + beyond))
  call('SET', KEYS[1], birth .. ' ' .. update)
  call('SET', KEYS[3], birth)
  call(ARGV[6], ARGV[5], 'B' .. birth)
end
return 0

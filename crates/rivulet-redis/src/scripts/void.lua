-- Voids, for the scripts that move the clock: intervals of positions that this log has given to nobody.
--
-- Nodes tick every few seconds. So a clock moves on by more than a minute only where no node ran, or Redis was away. Who
-- has a position from well within has it from another log: of which an older copy was restored, or which a replica had
-- lost long before it was promoted. What that one held is not known.
--
-- move(birth, from, to): the clock moves. A void is noted behind the birth in that one's key, as '<from>-<to>': readers
-- ask for that key anyway, and a birth that moves makes all voids before it moot. The newest comes last, some sixteen stay.

local call, format = redis.call, string.format

local function move(birth, from, to)
  if to - from <= 60000000 then return end
  local noted = call('GET', birth)
  if not noted then return end
  noted = noted .. format(' %.0f-%.0f', from, to)
  if #noted > 560 then noted = string.gsub(noted, '^(%d+) %S+', '%1') end
  call('SET', birth, noted)
end


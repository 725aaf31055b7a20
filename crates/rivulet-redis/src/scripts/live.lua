-- Leases, for the scripts that count.
--
-- KEYS[1]: the leases, a sorted set; its members are incarnations of nodes, the scores the ends of their leases in
-- milliseconds. What an incarnation holds stands in a hash, whose name ends with the incarnation: connections by scope,
-- and under 'v' the number of changes, under 'c' all its connections, under 'l' that its node leaves, if it does, under
-- 's' when its node began, which ranks it: a node that others may have taken places of comes last.
--
-- live(now): the incarnations whose leases have not ended.

local function live(now)
  return call('ZRANGEBYSCORE', KEYS[1], '(' .. math.floor(now / 1000), '+inf')
end


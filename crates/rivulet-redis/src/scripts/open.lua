-- Writes down how this prefix is laid out, once, and answers how it is: the newest format that a node has begun with here, the
-- oldest that a node must know, the number of partitions.
--
-- KEYS: the layout. ARGV: the format that the node who asks knows; the number of partitions that it was told; the oldest
-- format that a node must know which is to read what this one writes; the oldest that this one can read. A node that must
-- not take part here changes nothing. Fields that a newer version adds stay as they are.

local call, layout = redis.call, KEYS[1]
local knows, must, oldest = ARGV[1] + 0, ARGV[3] + 0, ARGV[4] + 0
if call('HSETNX', layout, 'format', ARGV[1]) == 1 then call('HSETNX', layout, 'reader', ARGV[3]) end
call('HSETNX', layout, 'partitions', ARGV[2])
local found = call('HMGET', layout, 'format', 'reader', 'partitions')
-- The first nodes of format 2 said nothing of readers.
local format, reader = found[1], found[2] or found[1]
local newest, needed = tonumber(format), tonumber(reader)
if newest and needed and needed >= oldest and needed <= knows and found[3] == ARGV[2] then
  if newest < knows then format = ARGV[1] end
  if needed < must then reader = ARGV[3] end
  call('HSET', layout, 'format', format, 'reader', reader)
end
return { format, reader, found[3] }

-- Writes down how this prefix is laid out, once, and answers how it is: the format, the number of partitions.
--
-- KEYS: the layout. ARGV: the format and the number of partitions of who asks.

redis.call('HSETNX', KEYS[1], 'format', ARGV[1])
redis.call('HSETNX', KEYS[1], 'partitions', ARGV[2])
return redis.call('HMGET', KEYS[1], 'format', 'partitions')

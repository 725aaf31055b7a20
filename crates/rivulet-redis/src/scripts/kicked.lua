-- Says how many connections a node has ended. KEYS: the answers. ARGV: the node; how many; for how many milliseconds the
-- answers are kept.

redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])

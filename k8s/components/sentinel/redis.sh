#!/bin/sh
# Starts the server HOST as what the last failover has made of it, not as a second master with an older log.
set -eu
master=$(sh /etc/redis/master.sh)
set -- /etc/redis/redis.conf --port 6379 --replica-announce-ip "$HOST" --replica-announce-port 6379
if [ "$master" != "$HOST" ]; then set -- "$@" --replicaof "$master" 6379; fi
exec redis-server "$@"

#!/bin/sh
# Starts a server as what the Sentinels say that it is. Only if none of them answers, which is the first start of all,
# it is pod 0 that begins as master: later it would come up as a second master, with an old log.
set -eu
host="$POD_NAME.redis"
master=$(redis-cli -h sentinel -p 26379 -t 3 sentinel get-master-addr-by-name rivulet 2>/dev/null | head -n 1 || true)
case "$master" in
*redis*) ;;
*) master=redis-0.redis ;;
esac
set -- /etc/redis/redis.conf --port 6379 --replica-announce-ip "$host" --replica-announce-port 6379
if [ "$master" != "$host" ]; then set -- "$@" --replicaof "$master" 6379; fi
exec redis-server "$@"

#!/bin/sh
# Sentinels write what they know into their configuration: it lies in a directory of the pod's own.
set -eu
if [ ! -e /sentinel/sentinel.conf ]; then
    master=$(redis-cli -h sentinel -p 26379 -t 3 sentinel get-master-addr-by-name rivulet 2>/dev/null | head -n 1 || true)
    case "$master" in
    *redis*) ;;
    *) master=redis-0.redis ;;
    esac
    # The same identity after a restart: Sentinels never forget one, and count all that they know for a majority.
    myid=$(printf %s "$POD_NAME" | sha1sum | cut -c 1-40)
    # Names, not addresses: a pod that comes back has another address.
    cat >/sentinel/sentinel.conf <<CONF
port 26379
dir /sentinel
protected-mode no
sentinel myid $myid
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $POD_NAME.redis
sentinel monitor rivulet $master 6379 2
sentinel down-after-milliseconds rivulet 5000
sentinel failover-timeout rivulet 30000
CONF
fi
exec redis-sentinel /sentinel/sentinel.conf

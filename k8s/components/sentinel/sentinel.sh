#!/bin/sh
# Starts the Sentinel of the server HOST. What it knows it writes into its configuration, which is made here the first time.
set -eu
file=/data/sentinel/sentinel.conf
if [ ! -e "$file" ]; then
    mkdir -p /data/sentinel
    master=$(sh /etc/redis/master.sh)
    # The same identity wherever it runs: Sentinels never forget one, and count all that they know for a majority.
    myid=$(printf %s "$HOST" | sha1sum | cut -c 1-40)
    # Names, not addresses: a pod that comes back has another address.
    cat >"$file.new" <<CONF
port 26379
dir /data/sentinel
protected-mode no
sentinel myid $myid
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $HOST
sentinel monitor rivulet $master 6379 2
sentinel down-after-milliseconds rivulet 5000
sentinel failover-timeout rivulet 30000
CONF
    # As a whole: half of one would be read at every start.
    mv "$file.new" "$file"
fi
exec redis-sentinel "$file"

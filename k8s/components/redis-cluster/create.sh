#!/bin/sh
# Joins the six servers to a cluster, if they are none yet. Run again until it succeeds.
set -eu
servers=
for index in 0 1 2 3 4 5; do
    host="redis-$index.redis"
    redis-cli -h "$host" -t 3 ping >/dev/null
    servers="$servers $host:6379"
done
if redis-cli -h redis-0.redis cluster info | grep -q '^cluster_state:ok'; then
    echo 'there is a cluster already'
    exit 0
fi
# shellcheck disable=SC2086 # each server is an argument
redis-cli --cluster create $servers --cluster-replicas 1 --cluster-yes

#!/bin/sh
# Joins the six SERVERS to a cluster, if they are none yet. Run again until it succeeds.
set -eu
addresses=
for server in $SERVERS; do
    # redis-cli would wait for ever.
    timeout 3 redis-cli -h "$server" ping >/dev/null
    addresses="$addresses $server:6379"
done
if timeout 3 redis-cli -h "${SERVERS%% *}" cluster info | grep -q '^cluster_state:ok'; then
    echo 'there is a cluster already'
    exit 0
fi
# shellcheck disable=SC2086 # each server is an argument
redis-cli --cluster create $addresses --cluster-replicas 1 --cluster-yes

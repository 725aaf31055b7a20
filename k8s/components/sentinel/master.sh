#!/bin/sh
# Prints which of SERVERS is the master. Each has a Sentinel beside it, and all of them are asked.
#
# The one that knows of the latest failover is right: a Sentinel that was away meanwhile has yet to hear of it. What this pod's
# own has written down counts like an answer, since none may answer where all pods start together. If nobody knows anything it
# is the first start of all, and the first server begins.
set -eu
known() {
    for server in $SERVERS; do
        # redis-cli would wait for ever. What it complains of is for the pod's log.
        timeout 3 redis-cli -h "$server" -p 26379 sentinel master rivulet | awk '
            NR % 2 { name = $0; next }
            { value[name] = $0 }
            END { if ("ip" in value) print value["config-epoch"], value["ip"] }'
    done
    if [ -e /data/sentinel/sentinel.conf ]; then
        awk '
            /^sentinel config-epoch rivulet / { epoch = $4 }
            /^sentinel monitor rivulet / { master = $4 }
            END { print epoch + 0, master }' /data/sentinel/sentinel.conf
    fi
}
master=$(known | sort -rn | head -n 1 | cut -d ' ' -f 2)
echo "${master:-${SERVERS%% *}}"

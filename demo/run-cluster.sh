#!/usr/bin/env bash
# A cluster of separate processes on this machine, its logs on the screen, each line with its process.
# Ends with Ctrl-C. Usage: demo/run-cluster.sh [number of storage nodes, 3]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$DEMO/cluster.sh"

NODES="${1:-3}"
LOG_LEVEL=info
# Each log is followed from its beginning, and the lines carry the name of their process.
follow() {
    : > "$WORK/$1.log"
    tail -n +1 -F "$WORK/$1.log" 2>/dev/null > >(sed -u "s/^/$(printf '%-12s' "$1")| /") &
    CHILDREN+=($!)
}
follow coordinator
for ((number = 1; number <= NODES; number++)); do follow "node-$number"; done
start_cluster "$NODES"

echo "cluster ready at $COORDINATOR_URL"
for ((number = 1; number <= NODES; number++)); do echo "node-$number at ${NODE_URL[$number]}"; done
echo "data in $WORK; end with Ctrl-C"
wait "${CHILDREN[0]}"

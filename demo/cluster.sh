# A cluster of separate processes for the demos; sourced after common.sh.

# shellcheck shell=bash
# start_cluster NODES: sets COORDINATOR_URL, and NODE_PID and NODE_URL by number from 1.
start_cluster() {
    NODE_PID=()
    NODE_URL=()
    start_server coordinator coordinator --host 127.0.0.1 --data-dir "$WORK/coordinator"
    COORDINATOR_URL="$URL"
    local number
    for ((number = 1; number <= $1; number++)); do start_node "$number"; done
    await_active "$1"
}

# start_node NUMBER: starts or restarts a storage node on its own directory.
start_node() {
    start_server "node-$1" storage-node --host 127.0.0.1 --data-dir "$WORK/node-$1" \
        --node-id "node-$1" --coordinator "$COORDINATOR_URL"
    NODE_PID[$1]="$PID"
    NODE_URL[$1]="$URL"
}

# stop_node NUMBER: asks a storage node to end, and waits until it has, at most 30 seconds.
stop_node() {
    local pid="${NODE_PID[$1]}" deadline=$((SECONDS + 30))
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null && ((SECONDS < deadline)); do sleep 0.1; done
}

# await_active COUNT: waits until so many nodes are active, at most 30 seconds.
await_active() {
    local deadline=$((SECONDS + 30))
    until [[ "$("$POLYLITE" nodes --coordinator "$COORDINATOR_URL" --output csv | grep -c ',active,')" -ge "$1" ]]; do
        if ((SECONDS > deadline)); then
            echo "not $1 active storage nodes after 30 seconds" >&2
            exit 1
        fi
        sleep 0.2
    done
}

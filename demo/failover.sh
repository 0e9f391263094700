#!/usr/bin/env bash
# Storage nodes are killed, paused, added and drained, and a partition is split, while clients write and a checker
# counts: no acknowledged row is ever missing.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$DEMO/cluster.sh"

WRITERS=4
# How long anything may take on a slow machine, in seconds.
PATIENCE=60

say "a coordinator and four storage nodes, each a process; every partition has three replicas"
start_cluster 4
COORDINATOR=(--coordinator "$COORDINATOR_URL")
run create-database "${COORDINATOR[@]}" --name bank
run sql "${COORDINATOR[@]}" --db-name bank "CREATE TABLE entries (id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)"

# Inserts rows until told to stop; an id is written down once its insert was acknowledged.
write_rows() {
    local id="$1" body
    while [[ ! -e "$WORK/stop" ]]; do
        body="{\"sql\":\"INSERT INTO entries VALUES (?, ?)\",\"params\":[$id,$((id % 100))]}"
        if curl --silent --fail --max-time 15 --output /dev/null -H 'Content-Type: application/json' \
            -d "$body" "$COORDINATOR_URL/databases/bank/sql"; then
            echo "$id" >> "$WORK/acknowledged.$1"
        fi
        id=$((id + WRITERS))
    done
}
# None at first.
acknowledged() { { cat "$WORK"/acknowledged.* 2>/dev/null || true; } | wc -l; }

# Counts rows until told to stop: there must be as many as were acknowledged before it asked.
check_rows() {
    local before found
    while [[ ! -e "$WORK/stop" ]]; do
        before="$(acknowledged)"
        found="$(curl --silent --fail --max-time 15 -H 'Content-Type: application/json' \
            -d '{"sql":"SELECT count(*) AS n FROM entries"}' "$COORDINATOR_URL/databases/bank/sql?cache=bypass" |
            sed -n 's/.*"rows":\[\[\([0-9]*\)\]\].*/\1/p' || true)"
        # Without an answer there is nothing to compare.
        if [[ -n "$found" ]]; then
            echo "$found" >> "$WORK/counted"
            if ((found < before)); then echo "$before were acknowledged, $found are there" >> "$WORK/missing"; fi
        fi
        sleep 0.2
    done
}

say "$WRITERS clients write, and one counts what they have written"
CLIENT_PIDS=()
for ((writer = 1; writer <= WRITERS; writer++)); do
    write_rows "$writer" &
    CLIENT_PIDS+=($!)
done
check_rows &
CLIENT_PIDS+=($!)
CHILDREN+=("${CLIENT_PIDS[@]}")

# await_writes: waits until 50 more inserts are acknowledged.
await_writes() {
    local goal=$(($(acknowledged) + 50)) begun="$SECONDS"
    until [[ "$(acknowledged)" -ge "$goal" ]]; do
        if ((SECONDS > begun + PATIENCE)); then
            echo "$(acknowledged) acknowledged inserts after $PATIENCE seconds instead of $goal" >&2
            exit 1
        fi
        sleep 0.1
    done
    echo "50 more inserts were acknowledged within $((SECONDS - begun + 1)) s"
}
await_writes

say "node-1 is killed (kill -9)"
kill -9 "${NODE_PID[1]}"
await_writes
say "node-1 comes back under its old id"
start_node 1
await_active 4

say "node-2 is paused for 5 s (SIGSTOP): longer than an election takes"
kill -STOP "${NODE_PID[2]}"
STOPPED="$SECONDS"
await_writes
while ((SECONDS < STOPPED + 5)); do sleep 0.2; done
kill -CONT "${NODE_PID[2]}"
await_active 4

say "node-5 joins and is given its share"
start_node 5
await_active 5
run rebalance "${COORDINATOR[@]}"
await_writes

say "node-3 is drained, stopped and removed"
run drain-node "${COORDINATOR[@]}" --node-id node-3
stop_node 3
run remove-node "${COORDINATOR[@]}" --node-id node-3
await_writes

say "a partition is split while all of this goes on"
FIRST="$("$POLYLITE" partitions "${COORDINATOR[@]}" --db-name bank --output json |
    sed -n 's/.*"id": *"\([^"]*\)".*/\1/p' | head -n 1)"
run split-partition "${COORDINATOR[@]}" --partition-id "$FIRST"
await_writes

touch "$WORK/stop"
wait "${CLIENT_PIDS[@]}"
TOTAL="$(acknowledged)"
say "$TOTAL inserts were acknowledged; is every one of them there, and was it all the time?"
"$POLYLITE" sql "${COORDINATOR[@]}" --db-name bank --output csv "SELECT id FROM entries" | tail -n +2 | sort > "$WORK/found"
sort "$WORK"/acknowledged.* > "$WORK/wanted"
LOST="$(comm -23 "$WORK/wanted" "$WORK/found" | wc -l)"
DOUBLED="$(uniq -d "$WORK/found" | wc -l)"
cat "$WORK/missing" 2>/dev/null || true
expect 0 "$LOST" "the number of lost rows"
expect 0 "$DOUBLED" "the number of rows that are there twice"
expect "no" "$([[ -e "$WORK/missing" ]] && echo yes || echo no)" "whether a count was too small"
echo "lost: $LOST, counted $(wc -l < "$WORK/counted") times meanwhile and never too few"
run nodes "${COORDINATOR[@]}"

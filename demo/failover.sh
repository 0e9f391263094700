#!/usr/bin/env bash
# Kills a storage node while clients write, and shows that no acknowledged row is lost.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$DEMO/cluster.sh"

WRITERS=4
say "a coordinator and three storage nodes, each a process"
start_cluster 3
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

say "$WRITERS clients write"
WRITER_PIDS=()
for ((writer = 1; writer <= WRITERS; writer++)); do
    write_rows "$writer" &
    WRITER_PIDS+=($!)
    CHILDREN+=($!)
done
acknowledged() { cat "$WORK"/acknowledged.* 2>/dev/null | wc -l; }

# await_acknowledged COUNT: waits until so many inserts are acknowledged, at most 30 seconds.
await_acknowledged() {
    local deadline=$((SECONDS + 30))
    until [[ "$(acknowledged)" -ge "$1" ]]; do
        if ((SECONDS > deadline)); then
            echo "$(acknowledged) acknowledged inserts after 30 seconds instead of $1" >&2
            exit 1
        fi
        sleep 0.1
    done
}

await_acknowledged 100
BEFORE="$(acknowledged)"
say "node-1 is killed (kill -9) after $BEFORE acknowledged inserts"
kill -9 "${NODE_PID[1]}"
STARTED="$SECONDS"
await_acknowledged $((BEFORE + 100))
echo "100 more were acknowledged within $((SECONDS - STARTED + 1)) s"

touch "$WORK/stop"
wait "${WRITER_PIDS[@]}"
TOTAL="$(acknowledged)"
say "$TOTAL inserts were acknowledged; is every one of them there?"
"$POLYLITE" sql "${COORDINATOR[@]}" --db-name bank --output csv "SELECT id FROM entries" | tail -n +2 | sort > "$WORK/found"
sort "$WORK"/acknowledged.* > "$WORK/wanted"
LOST="$(comm -23 "$WORK/wanted" "$WORK/found" | wc -l)"
expect 0 "$LOST" "the number of lost rows"
echo "lost: $LOST"

say "node-1 comes back under its old id"
start_node 1
await_active 3
run nodes "${COORDINATOR[@]}"

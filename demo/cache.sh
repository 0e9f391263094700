#!/usr/bin/env bash
# The cache: repeated questions are answered without their work, and never with an old answer.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say "one process: a coordinator and three storage nodes"
start_server dev dev --ephemeral
COORDINATOR=(--coordinator "$URL")
run create-database "${COORDINATOR[@]}" --name shop
run sql "${COORDINATOR[@]}" --db-name shop "CREATE TABLE sales (id INTEGER PRIMARY KEY, shop INTEGER, price REAL)"

say "a hundred thousand sales"
run sql "${COORDINATOR[@]}" --db-name shop \
    "INSERT INTO sales WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
     SELECT i, i % 50, (i * 7919) % 1000 / 10.0 FROM n"

QUESTION="SELECT a.shop, count(*) AS sales, round(sum(a.price), 2) AS total FROM sales AS a GROUP BY a.shop HAVING sum(a.price) >
    (SELECT avg(t) FROM (SELECT sum(price) AS t FROM sales GROUP BY shop)) ORDER BY total DESC LIMIT 3"

# ask: asks the question; sets CACHE to what the header X-Cache says, ANSWER to the rows, and shows both.
ask() {
    local body="{\"sql\": \"${QUESTION//$'\n'/ }\"}" head="$WORK/head"
    ANSWER="$(curl --silent --show-error --fail-with-body --dump-header "$head" -H 'Content-Type: application/json' \
        -d "$body" "$URL/databases/shop/sql${1:-}")"
    CACHE="$(tr -d '\r' < "$head" | sed -n 's/^x-cache: //p')"
    local milliseconds
    milliseconds="$(sed 's/.*"time_ms":\([0-9.]*\).*/\1/' <<< "$ANSWER")"
    ANSWER="$(sed 's/.*"rows":\(\[.*\]\),"truncated".*/\1/' <<< "$ANSWER")"
    printf 'X-Cache: %-7s %10s ms   %s\n' "$CACHE" "$milliseconds" "$ANSWER"
}

say "which shops sell more than the average one? The first answer is work, the next ones are not"
ask
FIRST="$ANSWER"
expect miss "$CACHE" "the first X-Cache"
for _ in 1 2 3; do ask; expect hit "$CACHE" "a repeated X-Cache"; done
expect "$FIRST" "$ANSWER" "the answer from the cache"

say "a write ends it at once: nobody is told an old answer"
run sql "${COORDINATOR[@]}" --db-name shop "UPDATE sales SET price = price + 100000 WHERE id = 1"
ask
expect miss "$CACHE" "X-Cache after the update"
[[ "$ANSWER" != "$FIRST" ]] || { echo "the answer is the old one" >&2; exit 1; }
ask
expect hit "$CACHE" "X-Cache after that"

say "?cache=bypass asks the data themselves, and says the same"
CACHED="$ANSWER"
ask '?cache=bypass'
expect bypass "$CACHE" "X-Cache with ?cache=bypass"
expect "$CACHED" "$ANSWER" "the answer without the cache"

say "query objects say so in their answer"
for _ in 1 2; do
    curl --silent --show-error --fail-with-body -H 'Content-Type: application/json' "$URL/query/shop" \
        -d '{"operation": "query", "table": "sales", "where": {"id": 7}}'
    echo
done

say "what the cache has done so far"
run cache "${COORDINATOR[@]}"
run cache clear "${COORDINATOR[@]}"
ask
expect miss "$CACHE" "X-Cache after the cache was cleared"

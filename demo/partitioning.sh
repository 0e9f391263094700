#!/usr/bin/env bash
# Partitioning: the same orders spread by rows, by columns and by both; where they lie, what a query touches,
# and that a row is whole again when it comes back.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
source "$DEMO/cluster.sh"

say "a coordinator and three storage nodes, each a process"
start_cluster 3
COORDINATOR=(--coordinator "$COORDINATOR_URL")
sql() { run sql "${COORDINATOR[@]}" --db-name "$@"; }

# create NAME TYPE EXTRA…: makes a database of orders; EXTRA are further fields of the request.
create() {
    local body
    body='{"name": "'$1'", "db_type": "SQL", "partition_type": "'$2'"'${3:+, $3}', "replication_factor": 2, "tables": [{"name": "orders",
    "columns": [{"name": "id", "data_type": "INTEGER", "primary_key": true}, {"name": "region", "data_type": "TEXT"},
                {"name": "price", "data_type": "REAL"}, {"name": "notes", "data_type": "TEXT"}]}]}'
    printf '$ curl -X POST /databases -d %s\n' "$body"
    curl --silent --show-error --fail-with-body -H 'Content-Type: application/json' -d "$body" \
        --output /dev/null "$COORDINATOR_URL/databases"
}

ROWS="INSERT INTO orders VALUES (1, 'north', 9.5, 'first'), (2, 'south', 20, NULL), (3, 'east', 7.25, 'gift'),
    (4, 'west', 120, 'fragile'), (5, 'north', 3, NULL), (6, 'south', 64, 'call first')"

# check NAME: the rows are inserted, all come back, whole and once.
check() {
    sql "$1" "$ROWS"
    sql "$1" "SELECT * FROM orders ORDER BY id"
    local found
    found="$("$POLYLITE" sql "${COORDINATOR[@]}" --db-name "$1" --output json \
        "SELECT count(*) AS orders, sum(price) AS total, count(notes) AS notes FROM orders")"
    expect '[{"orders":6,"total":223.75,"notes":4}]' "$found" "the orders of $1"
}

say "HORIZONTAL: a row lies where the hash of its region says"
create by_rows HORIZONTAL '"partition_key": "region", "partitions": 4'
check by_rows
run partitions "${COORDINATOR[@]}" --db-name by_rows

say "a query that names the region goes to one partition; one that does not goes to all"
sql by_rows "EXPLAIN QUERY PLAN SELECT sum(price) FROM orders WHERE region = 'north'"
sql by_rows "EXPLAIN QUERY PLAN SELECT region, sum(price) FROM orders GROUP BY region"

say "HORIZONTAL by ranges: split points instead of a hash"
create by_ranges HORIZONTAL '"partition_key": "id", "partition_method": "range", "split_points": [3, 5]'
check by_ranges
run partitions "${COORDINATOR[@]}" --db-name by_ranges

say "VERTICAL: what is counted lies apart from what is only shown"
create by_columns VERTICAL '"column_groups": {"counted": ["region", "price"], "shown": ["notes"]}'
check by_columns
run partitions "${COORDINATOR[@]}" --db-name by_columns
curl --silent --fail "$COORDINATOR_URL/databases/by_columns" > "$WORK/described"
grep -q '"shown"' "$WORK/described" || { echo "the column groups are not told" >&2; exit 1; }

say "a condition on columns of both groups"
sql by_columns "SELECT id, price, notes FROM orders WHERE price > 5 AND notes LIKE '%first%' ORDER BY id"

say "MIXED: by the hash of the region, and each of these by columns"
create by_both MIXED '"partition_key": "region", "partitions": 2, "column_groups": {"counted": ["price"], "shown": ["notes"]}'
check by_both
run partitions "${COORDINATOR[@]}" --db-name by_both

say "an update over several partitions is one transaction"
sql by_both "UPDATE orders SET price = price * 2, notes = coalesce(notes, 'doubled')"
FOUND="$("$POLYLITE" sql "${COORDINATOR[@]}" --db-name by_both --output json \
    "SELECT count(*) AS orders, sum(price) AS total, count(notes) AS notes FROM orders")"
expect '[{"orders":6,"total":447.5,"notes":6}]' "$FOUND" "the orders after the update"
echo "all six orders changed: $FOUND"

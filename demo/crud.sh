#!/usr/bin/env bash
# Tables: a coordinator and three storage nodes; rows are inserted, queried, updated and deleted.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say "one process: a coordinator and three storage nodes"
start_server dev dev --ephemeral
COORDINATOR=(--coordinator "$URL")
query() { run query "${COORDINATOR[@]}" --db-name demo_db --operation sql --query-file "$DEMO/queries/$1.json"; }

say "a database of two tables, spread by id"
run create-database "${COORDINATOR[@]}" --name demo_db --schema-file "$DEMO/schema.json" --partition-key id
run list-databases "${COORDINATOR[@]}"

say "five inserts"
for row in insert_ann insert_bob insert_laptop insert_mouse insert_desk; do query "$row"; done

say "all users, all orders, the orders of one user"
query all_users
query all_orders
query orders_of_ann

say "an update is seen at once"
query birthday_of_ann
query all_users
AGE="$("$POLYLITE" sql "${COORDINATOR[@]}" --db-name demo_db --output json "SELECT age FROM users WHERE id = 1")"
expect '[{"age":31}]' "$AGE" "the age of Ann"

say "a deleted row is gone"
query delete_mouse
query all_orders
LEFT="$("$POLYLITE" sql "${COORDINATOR[@]}" --db-name demo_db --output json "SELECT count(*) AS n FROM orders")"
expect '[{"n":2}]' "$LEFT" "the number of orders"

say "SQL over all partitions"
run sql "${COORDINATOR[@]}" --db-name demo_db \
    "SELECT username, count(*) AS orders, sum(price) AS total FROM users JOIN orders ON user_id = users.id GROUP BY username ORDER BY username"

say "where the rows lie"
run partitions "${COORDINATOR[@]}" --db-name demo_db

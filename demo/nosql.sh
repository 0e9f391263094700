#!/usr/bin/env bash
# Documents: created, found, changed and deleted, by query objects and over HTTP.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

say "one process: a coordinator and three storage nodes"
start_server dev dev --ephemeral
COORDINATOR=(--coordinator "$URL")

# call METHOD PATH [BODY]: shows a request and its answer, which is left in ANSWER.
call() {
    printf '$ curl -X %s %s %s\n' "$1" "$2" "${3:-}"
    ANSWER="$(curl --silent --show-error --fail-with-body -X "$1" "$URL$2" ${3:+-H 'Content-Type: application/json' -d "$3"})"
    printf '%s\n' "$ANSWER"
}

say "a database of documents; a collection comes to be with its first document"
run create-database "${COORDINATOR[@]}" --name notes --type nosql
for query in insert_document find_documents; do
    run query "${COORDINATOR[@]}" --db-name notes --operation nosql --query-file "$DEMO/queries/$query.json"
done

PEOPLE=/databases/notes/collections/people
say "documents by id"
call POST "$PEOPLE/documents" '{"_id": "bob", "name": "Bob", "role": "Ops", "age": 25}'
call GET "$PEOPLE/documents/bob"
call PATCH "$PEOPLE/documents/bob" '{"age": 26, "city": "Rome"}'

say "documents by what they hold"
call POST "$PEOPLE/find" '{"filter": {"age": {"$gt": 25}}}'
[[ "$ANSWER" == *'"Rome"'* ]] || { echo "the changed document was not found" >&2; exit 1; }
call POST "$PEOPLE/count" '{"filter": {}}'
[[ "$ANSWER" == *'"count":2'* ]] || { echo "not two documents" >&2; exit 1; }

say "real data: earthquakes, one document a line"
run import "${COORDINATOR[@]}" --db-name notes --collection earthquakes "$DEMO/data/earthquakes.ndjson"
call POST /databases/notes/collections/earthquakes/count '{"filter": {}}'
[[ "$ANSWER" == *'"count":1707'* ]] || { echo "not 1707 earthquakes" >&2; exit 1; }

say "deleted"
call DELETE "$PEOPLE/documents/bob"
call POST "$PEOPLE/count" '{"filter": {}}'
[[ "$ANSWER" == *'"count":1'* ]] || { echo "not one document" >&2; exit 1; }

#!/usr/bin/env bash
# Removes what demos have left behind that could not tidy up after themselves. A demo that still runs is left
# alone, and so is everything else: no process is ended here.
set -euo pipefail

shopt -s nullglob
removed=0
for folder in "${TMPDIR:-/tmp}"/polylite-demo.*; do
    pid="$(cat "$folder/demo.pid" 2>/dev/null || true)"
    if [[ -n "$pid" ]] && kill -0 "$pid" 2>/dev/null; then
        echo "in use by process $pid: $folder"
        continue
    fi
    rm -rf "$folder"
    removed=$((removed + 1))
done
echo "removed: $removed"

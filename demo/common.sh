# Shared by the demos; sourced, not run. Servers take free ports, keep their data in a folder of the demo's
# own, and end with the demo. POLYLITE names the binary.

# shellcheck shell=bash
set -euo pipefail

DEMO="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# The binary: POLYLITE, else the newest build of this checkout, else the one that is installed.
find_binary() {
    if [[ -n "${POLYLITE:-}" ]]; then return; fi
    local target="${CARGO_TARGET_DIR:-$DEMO/../target}" newest=""
    for candidate in "$target/release/polylite" "$target/debug/polylite"; do
        if [[ -x "$candidate" && ( -z "$newest" || "$candidate" -nt "$newest" ) ]]; then newest="$candidate"; fi
    done
    POLYLITE="${newest:-$(command -v polylite || true)}"
    if [[ -z "$POLYLITE" ]]; then
        echo "no polylite binary: run 'make build', or set POLYLITE" >&2
        exit 1
    fi
}

find_binary
WORK="$(mktemp -d "${TMPDIR:-/tmp}/polylite-demo.XXXXXX")"
echo $$ > "$WORK/demo.pid"
CHILDREN=()

# Ends the servers that this demo has started, and removes its folder. With KEEP=1 the folder stays.
end_demo() {
    local status=$?
    trap - EXIT
    for child in ${CHILDREN[@]+"${CHILDREN[@]}"}; do kill "$child" 2>/dev/null || true; done
    for child in ${CHILDREN[@]+"${CHILDREN[@]}"}; do wait "$child" 2>/dev/null || true; done
    if [[ $status -ne 0 ]]; then
        echo "the demo failed; the servers' last words:" >&2
        tail -n 5 "$WORK"/*.log >&2 2>/dev/null || true
    fi
    if [[ -n "${KEEP:-}" ]]; then echo "kept: $WORK"; else rm -rf "$WORK"; fi
    exit "$status"
}
trap end_demo EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start_server NAME ROLE FLAG…: starts a server and waits until it is ready; sets URL and PID.
start_server() {
    local name="$1" role="$2" line=""
    shift 2
    exec {READY}< <(exec "$POLYLITE" "$role" --port 0 --log-level "${LOG_LEVEL:-warn}" "$@" 2>>"$WORK/$name.log")
    PID=$!
    CHILDREN+=("$PID")
    read -r line <&"$READY" || true
    if [[ "$line" != "polylite $role ready at "* ]]; then
        echo "$name did not start: $(cat "$WORK/$name.log")" >&2
        exit 1
    fi
    URL="${line##* }"
}

say() { printf '\n== %s\n' "$*"; }

# Shows a command and runs it.
run() {
    printf '$ polylite %s\n' "$*"
    "$POLYLITE" "$@"
}

# expect WANTED FOUND WHAT: ends the demo if they differ.
expect() {
    if [[ "$1" != "$2" ]]; then
        echo "expected $3 to be '$1', found '$2'" >&2
        exit 1
    fi
}

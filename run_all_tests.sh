#!/usr/bin/env bash
# Runs the graded suite, all of it or the categories that are named: ./run_all_tests.sh [category …] [--json]
# Builds what it needs first. The exit code is 0 for all points.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec cargo run --release --quiet --package tests --bin graded -- "$@"

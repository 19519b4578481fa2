#!/usr/bin/env bash
# Soaks the release build: mixed load with faults at random, against a real
# Redis and a server of Qdrant's protocol, for 20 minutes if not told otherwise.
#
#   scripts/soak.sh [--minutes N] [--seed S] [--rate R]      --help tells all
#
# Needs what scripts/test.sh needs, and Linux (memory is read from /proc). Prints
# a line a minute and a report, which is left in target/soak with the server's log.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis

# Program and driver are built together, and the driver knows where both are.
driver=$(
  cargo test --release --locked --no-run --test soak --message-format=json-render-diagnostics |
    sed -n 's/.*"name":"soak".*"executable":"\([^"]*\)".*/\1/p'
)

# Redis writes through to its file for every event. Where that is in memory, no
# slow disk looks like a fault; a killed process loses nothing there either.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
exec "$driver" "$@"

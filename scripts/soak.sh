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
need_driver soak test --release --test soak

# Redis writes through to its file for every event. Where that is in memory, no
# slow disk looks like a fault; a killed process loses nothing there either.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
exec "$driver" "$@"

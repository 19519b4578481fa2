#!/usr/bin/env bash
# Runs the release build under mixed load and random faults, against a real Redis and a
# server of Qdrant's protocol, for 20 minutes by default.
#
#   scripts/soak.sh [--minutes N] [--seed S] [--rate R]      see --help
#   scripts/soak.sh --attack     attacks on its memory, under a hard limit of 512 MiB
#
# Needs what scripts/test.sh needs, and Linux (memory is read from /proc). Prints a line
# a minute, and writes a report and the server's log to target/soak.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis
need_driver soak test --release --test soak

# Redis syncs its file; in memory, a slow disk does not look like a fault.
if [ -z "${TMPDIR:-}" ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi
exec "$driver" "$@"

#!/usr/bin/env bash
# Measures every RPC of the build that is shipped (profile dist), and of a minimal
# server of the same shape, over a real Redis and a server of Qdrant's protocol. Starts
# all of them. Prints a table with ratios, and writes it as JSON to target/bench.
#
#   scripts/bench.sh [--seconds N] [--rounds N] [--only TEXT]      see --help
#
# Needs what scripts/test.sh needs, and Linux (processor time is read from /proc).
# Run nothing else meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis
need_driver rig bench --profile dist --bench rig
exec "$driver" "$@"

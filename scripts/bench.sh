#!/usr/bin/env bash
# Measures every RPC of the build that is shipped (profile dist), and of a minimal
# server of the same shape, over a real Redis, which it starts. Prints a table with
# ratios, and writes it as JSON to target/bench.
#
#   scripts/bench.sh [--seconds N] [--rounds N] [--only TEXT]      see --help
#   scripts/bench.sh --qdrant http://127.0.0.1:6334
#
# With --qdrant, loads over Qdrant use that server, which must be on this machine, and
# its collections recsys-bench and recsys-bench-large. Otherwise they use a stand-in,
# which gives the same replies but does not cost what Qdrant costs: its rows say so.
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

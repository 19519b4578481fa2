#!/usr/bin/env bash
# Measures every RPC of the release build and the least server of its shape in the
# same run, over a real Redis and a server of Qdrant's protocol, all started here.
# Prints a table with ratios and leaves it as JSON in target/bench.
#
#   scripts/bench.sh [--seconds N] [--rounds N] [--only TEXT]      --help tells all
#
# Needs what scripts/test.sh needs, and Linux (processor time is read from /proc).
# Nothing else should run meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis
need_driver rig bench --bench rig
exec "$driver" "$@"

#!/usr/bin/env bash
# Runs all tests; arguments go to `cargo test`. Needs a Rust toolchain, a C compiler,
# and redis-server 7, which it installs with the system's package manager if it can.
# REDIS_SERVER names another server to test with, such as valkey-server.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis

# Most tests wait for servers, not for processors.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$((2 * $(getconf _NPROCESSORS_ONLN)))}"
cargo test --locked "$@"

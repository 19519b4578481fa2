#!/usr/bin/env bash
# Runs all tests. Needs a Rust toolchain and a C compiler, nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."

need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "scripts/test.sh: $1 is missing. $2" >&2
    exit 1
  }
}
need cargo "Install Rust 1.95 or newer with rustup or your system's packages."
need cc "Install a C compiler: on Debian or Ubuntu 'apt-get install gcc libc6-dev'."

# The lock file says which versions are tested.
cargo test --locked "$@"

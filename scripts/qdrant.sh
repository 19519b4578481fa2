#!/usr/bin/env bash
# Tries recsys on real Qdrant servers, which it starts from a binary: one node, then a
# cluster of three nodes that keeps two copies of each point. Runs the contract tests of
# the catalogue on them; then collections of other kinds (with an alias, named vectors,
# quantised, on disk, of an older recsys), a collection that is recreated under load, and
# nodes that are killed under load. Prints what each gave, and fails if any is wrong.
# docs/operate/faults.md has the results.
#
#   scripts/qdrant.sh path/to/qdrant [--no-contract] [--only TEXT] [--keep DIRECTORY]
#
# The binary is that of a release of https://github.com/qdrant/qdrant, 1.18 or newer.
# RECSYS names another program than the debug build. Needs Python 3.10.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
[ -x "${1:-}" ] || {
  echo "usage: scripts/qdrant.sh path/to/qdrant [--no-contract] [--only TEXT] [--keep DIRECTORY]" >&2
  exit 2
}
need python3 "Install Python 3.10 or newer."
need_rust
need_program
RECSYS=$program exec python3 scripts/qdrant.py "$@"

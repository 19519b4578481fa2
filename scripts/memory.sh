#!/usr/bin/env bash
# Measures what docs/operations.md says of memory: users in a Redis, items in the
# process. Prints a table of each. RECSYS names the program; without it, the release
# build is taken. Needs Python 3 and redis-server, which it installs if it can.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need python3 "Install Python 3."
need_redis
program=${RECSYS:-${CARGO_TARGET_DIR:-target}/release/recsys}
[ -x "$program" ] || cargo build --release --locked
program=$(realpath "$program")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || {
  echo "$name: Python's venv is missing: 'apt-get install python3-venv'" >&2
  exit 1
}
"$work/venv/bin/pip" install --quiet --disable-pip-version-check grpcio grpcio-tools
mkdir "$work/stubs"
"$work/venv/bin/python" -m grpc_tools.protoc -Iproto \
  --python_out="$work/stubs" --grpc_python_out="$work/stubs" proto/recsys/v1/*.proto
"$work/venv/bin/python" -B scripts/memory_client.py "$program" "$work"

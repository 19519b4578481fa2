#!/usr/bin/env bash
# Checks that a client in another language gets in as the README says, and is
# kept out where it must be: scripts/security_client.py, with stubs made from
# proto/. RECSYS names the program; without it, the debug build is taken.
set -euo pipefail
cd "$(dirname "$0")/.."

need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "scripts/security_clients.sh: $1 is missing. $2" >&2
    exit 1
  }
}
need python3 "Install Python 3."
need openssl "Install OpenSSL: it makes the certificates."
target=${CARGO_TARGET_DIR:-target}
program=${RECSYS:-$target/debug/recsys}
[ -x "$program" ] || cargo build --locked
program=$(realpath "$program")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv" || {
  echo "scripts/security_clients.sh: Python's venv is missing: 'apt-get install python3-venv'" >&2
  exit 1
}
"$work/venv/bin/pip" install --quiet --disable-pip-version-check grpcio grpcio-tools grpcio-status
mkdir "$work/stubs"
"$work/venv/bin/python" -m grpc_tools.protoc -Iproto \
  --python_out="$work/stubs" --grpc_python_out="$work/stubs" proto/recsys/v1/*.proto
# The library itself would tell of each connection that is refused, as it must be.
GRPC_VERBOSITY=NONE "$work/venv/bin/python" scripts/security_client.py "$program" "$work"

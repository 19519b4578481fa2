#!/usr/bin/env bash
# Calls recsys with Connect's clients for Node and browsers. The calls of
# docs/guides/json.md with curl run in scripts/docs.sh. RECSYS names the program; the
# default is the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need node "Install Node.js 20.11 or newer."
need npm "It comes with Node.js."
need_buf
need_program

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$buf" build -o "$work/api.binpb"
"$buf" build examples/web/proto -o "$work/errors.binpb"
(cd scripts/connect && npm ci --silent --no-fund --no-audit)
node scripts/connect/client.js "$program" "$work"

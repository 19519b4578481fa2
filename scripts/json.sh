#!/usr/bin/env bash
# Calls recsys with JSON: runs the commands of docs/guides/json.md with curl and compares
# their output with the page, then calls it with Connect's clients for Node and browsers.
# RECSYS names the program; the default is the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need curl "Install curl."
need python3 "Install Python 3.10 or newer."
need node "Install Node.js 20.11 or newer."
need npm "It comes with Node.js."
need_buf
need_program

python3 scripts/walkthrough.py docs/guides/json.md "$program"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$buf" build -o "$work/api.binpb"
"$buf" build examples/web/proto -o "$work/errors.binpb"
(cd scripts/json && npm ci --silent --no-fund --no-audit)
node scripts/json/client.js "$program" "$work"

#!/usr/bin/env bash
# Checks the contract in proto/: format, lint, and that no client of the last
# release breaks (proto/released). `--release` replaces what it is compared with: run
# it when a version is released, and commit the file. Needs Node.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_buf

released=proto/released/recsys.binpb
if [[ ${1:-} == --release ]]; then
  "$buf" build --exclude-source-info -o "$released"
  exit
fi
"$buf" format --diff --exit-code
"$buf" lint
"$buf" breaking --against "$released"

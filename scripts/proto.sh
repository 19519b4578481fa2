#!/usr/bin/env bash
# Checks the contract in proto/: format, lint, and that no client of the last
# release breaks (proto/released). `--release` renews what that release was: run
# it when a version is released, and commit the file. Needs Node.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_buf

released=proto/released/recsys.binpb
if [[ ${1:-} == --release ]]; then
  "$buf" build --exclude-source-info -o "$released"
  echo "$name: $released is the contract as it is now"
  exit 0
fi

"$buf" format --diff --exit-code
"$buf" lint
"$buf" breaking --against "$released"

# A check that lets everything pass would look the same: it must see these.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
must_break() {
  local what=$1 edit=$2 file=$3
  rm -rf "$work/proto"
  cp -r buf.yaml proto "$work"
  sed -i.before "$edit" "$work/proto/recsys/v1/$file"
  if cmp -s "$work/proto/recsys/v1/$file"{,.before}; then
    echo "$name: nothing to edit for: $what" >&2
    exit 1
  fi
  rm "$work/proto/recsys/v1/$file.before"
  if "$buf" breaking "$work" --against "$released" >"$work/told"; then
    echo "$name: buf breaking lets this pass: $what" >&2
    exit 1
  fi
  echo "seen as breaking: $what: $(sed 's/^[^:]*:[0-9]*:[0-9]*://' "$work/told" | head -1)"
}
must_break "a field renumbered" 's/uint32 limit = 2;/uint32 limit = 20;/' recommender.proto
must_break "a field renamed" 's/string content_id = 7;/string item_id = 7;/' types.proto
must_break "a field of another type" 's/uint32 rank = 2;/uint64 rank = 2;/' recommender.proto
must_break "a call removed" '/rpc DeleteItems/d' catalog.proto

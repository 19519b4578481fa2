#!/usr/bin/env bash
# Measures imports with the build that is shipped (profile dist): items of 384 numbers
# into a server of Qdrant's protocol, events into a server in memory, and the memory of
# reading a gigabyte of CSV. Exits with 1 below 5,000 items or 40,000 events a second,
# or above 256 MB.
#
#   scripts/import_speed.sh [ITEMS] [EVENTS] [MEGABYTES]
#
# Needs Linux (memory is read from /proc). Run nothing else meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need awk "Install it with your system's packages."
need_driver rig bench --profile dist --bench rig
items=${1:-30000}
events=${2:-1000000}
megabytes=${3:-1000}
program=$(dirname "$driver")/../recsys
[ -x "$program" ] || program=${CARGO_TARGET_DIR:-target}/dist/recsys

folder=$(mktemp -d)
started=()
trap 'kill "${started[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
failed=0

# report WHAT COUNT SECONDS TARGET
report() {
  awk -v what="$1" -v count="$2" -v seconds="$3" -v target="$4" 'BEGIN {
    rate = count / seconds
    printf "%s: %d in %.1f s, %d/s (target %d/s)\n", what, count, seconds, rate, target
    exit rate < target
  }' || failed=1
}

# Sets `seconds` to the time that a command takes.
timed() {
  local from
  from=$(date +%s.%N)
  "$@" >"$folder/output" 2>&1 || { cat "$folder/output" >&2; exit 1; }
  seconds=$(awk -v from="$from" -v to="$(date +%s.%N)" 'BEGIN { print to - from }')
  head -n 1 "$folder/output"
}

awk -v items="$items" 'BEGIN {
  srand(1)
  for (item = 0; item < items; item++) {
    printf "{\"id\":%d,\"title\":\"Item %d\",\"tags\":\"A%d|B%d\",\"vector\":[%.6f", item, item, item % 40, item % 7, rand() - .5
    for (n = 1; n < 384; n++) printf ",%.6f", rand() - .5
    print "]}"
  }
}' >"$folder/items.jsonl"
"$driver" qdrant >"$folder/qdrant" &
started+=($!)
until [ -s "$folder/qdrant" ]; do sleep 0.1; done
QDRANT_API_URL=$(cat "$folder/qdrant")
export QDRANT_API_URL
COLLECTION_NAME=imported timed "$program" catalog import "$folder/items.jsonl"
report "catalogue import" "$items" "$seconds" 5000
unset QDRANT_API_URL

awk -v events="$events" -v now="$(date +%s)" 'BEGIN {
  srand(2)
  print "user,item,action,timestamp"
  for (event = 0; event < events; event++)
    printf "u%d,%d,%s,%d\n", rand() * events / 20, 2001 + rand() * 100, (event % 5 ? "view" : "purchase"), now - events + event
}' >"$folder/events.csv"
export RECSYS_LISTEN_ADDR=127.0.0.1:50871
export EMBEDDED_STATE_MAX_BYTES=4000000000
EVENT_WINDOW_DAYS=365 "$program" serve >"$folder/log" 2>&1 &
started+=($!)
until "$program" healthcheck >/dev/null 2>&1; do sleep 0.1; done
timed "$program" events import "$folder/events.csv"
report "events import" "$events" "$seconds" 40000

# As many rows as fill the megabytes, through a pipe: nothing is written to disk.
rows=$((megabytes * 1000000 / 40))
awk -v rows="$rows" 'BEGIN {
  print "user,item,action,timestamp"
  for (row = 0; row < rows; row++) printf "user%08d,item%06d,view,%010d\n", row % 500000, row % 90000, 1790000000 + row / 100
}' | {
  "$program" events import - --dry-run <&0 >"$folder/output" 2>&1 &
  import=$!
  while grep VmHWM "/proc/$import/status" >"$folder/peak.new" 2>/dev/null && [ -s "$folder/peak.new" ]; do
    mv "$folder/peak.new" "$folder/peak"
    sleep 0.2
  done
  wait "$import"
}
head -n 1 "$folder/output"
awk '{
  printf "memory of %d MB of CSV: %d MB at most (target 256 MB)\n", '"$megabytes"', $2 / 1000
  exit $2 > 256000
}' "$folder/peak" || failed=1
exit "$failed"

#!/usr/bin/env bash
# What takes too long for every change: once a night, or by hand. Each job says
# what it found; the script fails if one of them did.
#
#   FUZZ_SECONDS    how long each fuzz target runs; 300
#   FUZZ_TARGETS    which ones, separated by spaces; all
#   FUZZ_TOOLCHAIN  a nightly toolchain; nightly
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-300}
toolchain=${FUZZ_TOOLCHAIN:-nightly}
summary=()
failures=0

stop() {
  echo "scripts/nightly.sh: $1" >&2
  exit 1
}

passed() { summary+=("ok      $1"); }

failed() {
  summary+=("FAILED  $1")
  failures=$((failures + 1))
}

# Jobs: each ends with passed or failed.

fuzz() {
  [[ $seconds =~ ^[1-9][0-9]*$ ]] || stop "FUZZ_SECONDS must be a whole number above 0"
  cargo "+$toolchain" --version >/dev/null 2>&1 ||
    stop "no toolchain '$toolchain': rustup toolchain install nightly --profile minimal"
  command -v c++ >/dev/null 2>&1 ||
    stop "c++ is missing, to build libFuzzer: on Debian or Ubuntu 'apt-get install g++'"
  cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

  # The versions that the product is built of.
  cp Cargo.lock fuzz/Cargo.lock
  mkdir -p fuzz/logs
  echo "== fuzz: building"
  if ! cargo "+$toolchain" fuzz build; then
    failed "fuzz: does not build"
    return
  fi
  local target
  for target in ${FUZZ_TARGETS:-$(cargo "+$toolchain" fuzz list)}; do fuzz_target "$target"; done
}

fuzz_target() {
  local target=$1 log="fuzz/logs/$1.log"
  local run="cargo +$toolchain fuzz run $target"
  echo "== fuzz $target for $seconds s; log: $log"
  if $run -- -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -max_len=16384 \
    -print_final_stats=1 >"$log" 2>&1; then
    passed "fuzz $target: nothing found in $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs"
    return
  fi
  tail -n 30 "$log"
  local input
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  input=${input#"$PWD/"}
  if [ -n "$input" ]; then
    failed "fuzz $target: kept in $input; again: $run $input"
  else
    failed "fuzz $target: see $log"
  fi
}

# Known holes in dependencies: they come without a change of ours. Needs the
# network, for the RustSec database.
advisories() {
  cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
  if cargo deny --locked check advisories; then
    passed "advisories"
  else
    failed "advisories: see above"
  fi
}

advisories
fuzz

echo "== summary"
printf '%s\n' "${summary[@]}"
exit $((failures > 0))

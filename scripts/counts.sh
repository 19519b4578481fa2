#!/usr/bin/env bash
# Counts the instructions of each case in benches/core/cases.rs and compares them with
# benches/counts.<architecture>.txt. Exits with 1 if a case takes more than the tolerance
# allows, or if the cases differ. Reports a case that takes much less: the file should
# be renewed then.
#
#   --renew  writes the file
#
# Counts do not depend on the load of the machine. Needs valgrind, which it installs if
# it can.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_valgrind

# In per cent. Random seeds of hash maps move most cases by 0.3 % and reading a model by
# 3.4 %; the least of three counts moves by less than 2 %. Another compiler, C library or
# processor (AVX2 selects another memcpy) makes other code of the same source.
tolerance=3
tolerance_of_other_tools=10
runs=3

baseline=benches/counts.$(uname -m).txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools="$(rustc --version | cut -d' ' -f1,2), $(getconf GNU_LIBC_VERSION), $(valgrind --version)"
need_driver counts bench --profile dist --bench counts

# Counts what runs inside `counted`, without the start and the making of inputs.
count() {
  for ((run = 0; run < runs; run++)); do
    valgrind --tool=callgrind --toggle-collect='*counted*' --callgrind-out-file="$work/out" \
      --log-file="$work/log" "$driver" "$1" </dev/null || {
      cat "$work/log" >&2
      exit 1
    }
    sed -n 's/^totals: //p' "$work/out"
  done | sort -n | head -1
}

"$driver" --list >"$work/cases"
while read -r case; do
  instructions=$(count "$case")
  if [ "${instructions:-0}" -eq 0 ]; then
    echo "$name: nothing was counted of: $case" >&2
    exit 1
  fi
  printf '%12d  %s\n' "$instructions" "$case" >>"$work/counts"
done <"$work/cases"

if [ "${1:-}" = --renew ]; then
  {
    echo "# Instructions of each case, by scripts/counts.sh --renew, with:"
    echo "# $tools"
    cat "$work/counts"
  } >"$baseline"
  cat "$baseline"
  exit
fi

if [ ! -f "$baseline" ]; then
  echo "$name: $baseline is missing; make it with --renew on a commit that is known to be good" >&2
  exit 1
fi
before=$(sed -n '2s/^# //p' "$baseline")
if [ "$before" != "$tools" ]; then
  tolerance=$tolerance_of_other_tools
  echo "other tools than those of $baseline; the tolerance is $tolerance %:"
  echo "  here   $tools"
  echo "  there  $before"
fi
awk -v tolerance="$tolerance" -v baseline="$baseline" '
  { count = $1; sub(/^ *[0-9]+ +/, "") }
  FILENAME == baseline { if ($0 !~ /^#/) before[$0] = count; next }
  { now[$0] = count; order[++cases] = $0 }
  END {
    printf "%12s %12s %8s  case\n", "before", "now", "change"
    for (i = 1; i <= cases; i++) {
      name = order[i]
      if (!(name in before)) {
        printf "%12s %12d %8s  %s\n", "-", now[name], "", name
        wrong = wrong "\n  is not in " baseline ": " name
        continue
      }
      change = 100 * (now[name] / before[name] - 1)
      printf "%12d %12d %+7.1f%%  %s\n", before[name], now[name], change, name
      if (change > tolerance) wrong = wrong "\n  takes more than it did: " name
      if (change < -tolerance) cheaper = cheaper "\n  " name
    }
    for (name in before) if (!(name in now)) wrong = wrong "\n  is only in " baseline ": " name
    if (cheaper) print "cheaper than before; to keep it so, run scripts/counts.sh --renew:" cheaper
    if (!wrong) { print "no case takes over " tolerance " % more than before"; exit }
    print "wrong; if it is meant, run scripts/counts.sh --renew:" wrong
    exit 1
  }
' "$baseline" "$work/counts"

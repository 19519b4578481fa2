#!/usr/bin/env bash
# Compares the metrics of `recsys eval` with those of an independent library
# (scripts/metrics_check.py). Needs Python with venv; without it, checks nothing and says
# so, or with --required, fails. RECSYS names the program; the default is the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
  echo "$name: NOT CHECKED: there is no Python with venv ('apt-get install python3 python3-venv')" >&2
  [[ ${1-} != --required ]]
  exit
fi
need_program
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  pytrec-eval-terrier==0.5.11 numpy==2.4.6
"$work/venv/bin/python" scripts/metrics_check.py "$program" "$work"

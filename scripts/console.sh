#!/usr/bin/env bash
# Tests the console's page in a headless Chromium, with recsys servers of its own: every
# view, hostile data, a lost Redis, roles, the keyboard, accessibility, long tasks and the
# size of the page. RECSYS names the program, by default the debug build; CHROMIUM names
# the browser. Screenshots are written to target/console. With DOCS=1 it also renews the
# pictures in docs/images. With TIMING=1 it fails if the page misses its targets of time,
# which it otherwise only prints.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need node "Install Node.js 20.11 or newer."
need npm "It comes with Node.js."
chromium=${CHROMIUM:-chromium}
command -v "$chromium" >/dev/null 2>&1 ||
  install_packages chromium chromium --no-install-recommends chromium || true
need "$chromium" "Install Chromium ('apt-get install chromium'), or name it in CHROMIUM."
need_redis
need_program

pictures=$(realpath -m "${CARGO_TARGET_DIR:-target}/console")
rm -rf "$pictures"
mkdir -p "$pictures"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd scripts/console && npm ci --silent --no-fund --no-audit)
node scripts/console/drive.js "$program" "$(command -v "$chromium")" "$work" "$pictures"

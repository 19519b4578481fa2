#!/usr/bin/env bash
# Drives the page of examples/web in a headless Chromium, which calls recsys with its
# generated client from another origin. RECSYS names the program, by default the debug
# build; CHROMIUM names the browser.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

need node "Install Node.js 20.11 or newer."
need npm "It comes with Node.js."
chromium=${CHROMIUM:-chromium}
command -v "$chromium" >/dev/null 2>&1 ||
  install_packages chromium chromium --no-install-recommends chromium || true
need "$chromium" "Install Chromium ('apt-get install chromium'), or name it in CHROMIUM."
need_program

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd examples/web
npm ci --silent --no-fund --no-audit
npm run --silent build
node drive.js "$program" "$(command -v "$chromium")" "$work"

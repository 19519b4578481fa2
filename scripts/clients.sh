#!/usr/bin/env bash
# Builds the clients of examples/clients as their READMEs say, runs them against real
# servers (scripts/clients.py), and compares what they print. Needs Python, Go, Node,
# and Java with Maven. `--skip LANGUAGE` leaves one out. RECSYS names the program; the
# default is the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

languages=(python go node java)
while (($#)); do
  [[ $1 == --skip && $# -ge 2 ]] || {
    echo "usage: $name [--skip LANGUAGE]..." >&2
    exit 2
  }
  languages=("${languages[@]/#$2/}")
  shift 2
done
read -ra languages <<<"${languages[*]}"

need python3 "Install Python 3.10 or newer, with venv: 'apt-get install python3 python3-venv'."
need openssl "Install OpenSSL: it makes the certificates."
for language in "${languages[@]}"; do
  case $language in
  go) need go "Install Go 1.26 or newer, or leave it out with --skip go." ;;
  node) need node "Install Node 20 or newer, or leave it out with --skip node." ;;
  java)
    need javac "Install a JDK 17 or newer: 'apt-get install openjdk-17-jdk-headless', or leave it out with --skip java."
    need mvn "Install Maven: 'apt-get install maven'."
    ;;
  esac
done
need_redis
need_program
# The READMEs take buf for granted.
need_buf
PATH=$(dirname "$(realpath "$buf")"):$PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy, so that nothing is built in the tree and nothing is reused from it.
mkdir -p "$work/repo/target/release"
tar -c --exclude={node_modules,.venv,stubs,go/gen,go/client,java/target} proto examples |
  tar -x -C "$work/repo"
ln -s "$program" "$work/repo/target/release/recsys"

for language in "${languages[@]}"; do
  at=$work/repo/examples/clients/$language
  python3 scripts/walkthrough.py "$at/README.md" "$program" "$at"
done

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r examples/clients/python/requirements.txt
# grpcio would log every connection that ends.
GRPC_VERBOSITY=NONE "$work/venv/bin/python" scripts/clients.py \
  "$program" "$(command -v "$REDIS_SERVER")" "$work/repo/examples/clients" "$work" "${languages[@]}"

#!/usr/bin/env bash
# Checks what orchestrators are told of a server's health, by name and port:
# scripts/probes.py, with grpc-health-probe and as the kubelet asks. Needs Python, Go
# (it brings the probe) and OpenSSL. RECSYS names the program; without it, the debug
# build is taken.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need python3 "Install Python 3.10 or newer, with venv: 'apt-get install python3 python3-venv'."
need openssl "Install OpenSSL: it makes the certificates."
need_go_tool probe github.com/grpc-ecosystem/grpc-health-probe v0.4.61
need_redis
need_program

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check \
  grpcio==1.85.1 grpcio-health-checking==1.85.1
# The library itself would tell of each connection that is ended.
GRPC_VERBOSITY=NONE "$work/venv/bin/python" scripts/probes.py \
  "$program" "$(command -v "$REDIS_SERVER")" "$probe" "$work"

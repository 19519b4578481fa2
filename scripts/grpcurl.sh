#!/usr/bin/env bash
# Runs every command of docs/reference/grpcurl.md and compares the output with the page. Needs
# Python, Go (it builds grpcurl) and OpenSSL. RECSYS names the program; the default is
# the debug build.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need python3 "Install Python 3.10 or newer."
need openssl "Install OpenSSL: it makes the certificate."
need_go_tool grpcurl github.com/fullstorydev/grpcurl v1.9.4 github.com/fullstorydev/grpcurl/cmd/grpcurl
need_program

grep -q "cmd/grpcurl@v1.9.4 " docs/reference/grpcurl.md || {
  echo "$name: docs/reference/grpcurl.md installs another version" >&2
  exit 1
}
for call in $(sed -n 's/^  rpc \([A-Za-z]*\)(.*/\1/p' proto/recsys/v1/*.proto); do
  grep -q "recsys.v1.[A-Za-z]*Service/$call$" docs/reference/grpcurl.md || {
    echo "$name: docs/reference/grpcurl.md does not call $call" >&2
    exit 1
  }
done
PATH=$(dirname "$grpcurl"):$PATH python3 scripts/walkthrough.py docs/reference/grpcurl.md "$program"

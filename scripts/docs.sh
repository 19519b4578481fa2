#!/usr/bin/env bash
# Runs the commands of the README and of the pages in docs/, and compares their output with
# what the pages show: scripts/docs.sh [--all] [PAGE...]. With --all also commands that take
# minutes, and the links to other sites. Needs Python, Go (it builds grpcurl), OpenSSL, curl
# and Redis. RECSYS names the program; the default is the debug build. Links between pages
# are checked by tests/it/docs.rs.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

all=()
if [[ ${1:-} == --all ]]; then
  all=(--all)
  shift
fi
pages=("$@")
if ((!$#)); then mapfile -t pages < <(grep -l '^ *```sh' README.md docs/*/*.md); fi

need python3 "Install Python 3.10 or newer."
need openssl "Install OpenSSL: it makes the certificate."
need curl "Install it: 'apt-get install curl' or 'dnf install curl'."
need_redis
need_go_tool grpcurl github.com/fullstorydev/grpcurl v1.9.4 github.com/fullstorydev/grpcurl/cmd/grpcurl
need_program

grep -q "cmd/grpcurl@v1.9.4 " docs/reference/grpcurl.md || {
  echo "$name: docs/reference/grpcurl.md installs another version" >&2
  exit 1
}

# Links to other sites, except to examples.
external() {
  local link failed=0
  while read -r link; do
    curl --silent --location --max-time 30 --output /dev/null --fail "$link" || {
      echo "$name: $link does not answer" >&2
      failed=1
    }
  done < <(grep -oh '](https://[^)#]*' README.md docs/*/*.md | cut -c3- | sort -u)
  return $failed
}

PATH=$(dirname "$grpcurl"):$PATH
failed=()
for page in "${pages[@]}"; do
  python3 scripts/walkthrough.py ${all[@]+"${all[@]}"} "$page" "$program" || failed+=("$page")
done
if ((${#all[@]})) && ! external; then failed+=("links to other sites"); fi
if ((${#failed[@]})); then
  printf '%s: failed: %s\n' "$name" "${failed[*]}" >&2
  exit 1
fi

#!/usr/bin/env bash
# Exercises the Dockerfile as far as a machine without a container engine allows
# (scripts/image_check.py): its text against what it does; the layer of dependencies
# in a folder that has only what it copies; the same build command; and the program
# in an empty root, as the image's user, with only what the image has in it: its
# version, its health, and TLS to a Redis by the bundle of authorities.
#
#   --full  builds in that folder, too, what the second layer builds: takes as long
#           as a release build of recsys without its dependencies
#
# Needs a Rust toolchain, Python 3.11, openssl, redis-server, and to be root or to be
# allowed user namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_redis
need python3 "Install Python 3.11 or later."
need openssl "Install OpenSSL: it makes the certificates."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The image's user has to get there.
chmod 755 "$work"
python3 -B scripts/image_check.py "$work" "$target" "$@"

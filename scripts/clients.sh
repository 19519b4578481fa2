#!/usr/bin/env bash
# Builds and tests the packages of clients/ as their READMEs say, checks that generated
# files are current, installs each package as its users do, and runs its examples against
# real servers (scripts/clients.py). Needs Python, Go, Node, and Java with Maven. `--skip
# LANGUAGE` leaves one out. RECSYS names the program; the default is the debug build.
# `--generate` writes the generated files that are committed, and does nothing else.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# Makes the files of the Go package that are made from others, in a clients/go.
generate_go() {
  need go "Install Go 1.26 or newer, or leave it out with --skip go."
  need_buf
  local buf_program
  buf_program=$(realpath "$buf")
  (cd "$1" && "$buf_program" generate && cp ../service_config.json .)
}

if [[ ${1:-} == --generate ]]; then
  generate_go clients/go
  exit
fi

languages=(python go node java)
while (($#)); do
  [[ $1 == --skip && $# -ge 2 ]] || {
    echo "usage: $name [--generate | --skip LANGUAGE...]" >&2
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
  node) need node "Install Node 20 or newer, or leave it out with --skip node." ;;
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
# A copy, so that nothing is built in the tree and nothing is reused from it.
clients=$work/repo/clients
mkdir -p "$work/repo/target/release"
tar -c --exclude={node_modules,.venv,python/build,node/generated,java/target} proto clients |
  tar -x -C "$work/repo"
ln -s "$program" "$work/repo/target/release/recsys"

# Replaces what is packed by the source distribution, which the README then installs.
pack_python() {
  local setuptools
  setuptools=$(sed -n 's/^requires = .*"\(setuptools==[0-9.]*\)".*/\1/p' clients/python/pyproject.toml)
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$setuptools"
  (cd "$clients/python" && "$work/venv/bin/python" setup.py --quiet sdist --dist-dir "$work/dist")
  rm -r "$clients"/python/{src,pyproject.toml,setup.py}
  tar -xzf "$work"/dist/*.tar.gz --strip-components=1 -C "$clients/python"
}

# The example, in a module of its own that imports the package.
install_go() {
  local module
  module=$(sed -n 's/^module //p' "$clients/go/go.mod")
  mkdir "$work/go"
  cp "$clients/go/examples/shop/main.go" "$clients/go/go.sum" "$work/go"
  (
    cd "$work/go"
    go mod init shop
    go mod edit -require "$module@v0.0.0" -replace "$module=$clients/go"
    go build -mod=mod -o shop .
  ) 2>"$work/build.log" || { cat "$work/build.log" >&2 && return 1; }
}

# The archive that is published.
install_node() {
  mkdir "$work/node"
  (cd "$clients/node" && npm pack --silent --pack-destination "$work/node") >/dev/null
  cp "$clients/node/examples/shop.js" "$work/node/shop.mjs"
  npm install --silent --no-audit --no-fund --prefix "$work/node" "$work"/node/*.tgz
}

# The jar that is published, and the jars that it names.
install_java() {
  mkdir "$work/java"
  cp "$clients"/java/target/recsys-client-*.jar "$clients"/java/target/lib/*.jar "$work/java"
  javac -d "$work/java" -cp "$work/java/*" "$clients/java/examples/Shop.java"
}

pack_python
python=$clients/python/.venv/bin
# scripts/clients.py needs the package for Python, too.
[[ ${languages[0]} == python ]] || {
  python3 -m venv "$clients/python/.venv"
  "$python/pip" install --quiet --disable-pip-version-check "$clients/python"
}
for language in "${languages[@]}"; do
  if [[ $language == go ]]; then
    generate_go "$clients/go"
    diff -r clients/go "$clients/go" || {
      echo "$name: clients/go is not current: run '$0 --generate'" >&2
      exit 1
    }
  fi
  python3 scripts/walkthrough.py "$clients/$language/README.md" "$program" "$clients/$language"
  [[ $language == python ]] || "install_$language"
done

# grpcio would log every connection that ends.
GRPC_VERBOSITY=NONE "$python/python" scripts/clients.py \
  "$program" "$(command -v "$REDIS_SERVER")" "$clients" "$work" "${languages[@]}"

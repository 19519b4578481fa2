# The tools of scripts/chart.sh, which sources this after `set -euo pipefail`, with
# `work` set to a folder of its own. Leaves their names in helm, unittest, promtool
# and python. What is missing is fetched by name and kept where go keeps programs;
# on a fresh machine with two cores that takes some three minutes.

helm_version=v3.22.0
unittest_version=v1.1.2
kubernetes_validate_version=1.37.0
promtool_version=v0.316.0

need() {
  command -v "$1" >/dev/null 2>&1 || {
    echo "scripts/chart.sh: $1 is missing. $2" >&2
    exit 1
  }
}

# Where go keeps programs. Takes what would do instead of go, if something does.
go_bin() {
  need go "Install Go${1:+, or $1}."
  echo "$(go env GOPATH)/bin"
}

# Another major version may lint and render differently.
find_helm() {
  helm=helm
  [[ $(helm version --template '{{.Version}}' 2>/dev/null || true) != v3.* ]] || return 0
  local bin
  bin=$(go_bin "helm 3")
  helm=$bin/helm
  [[ $("$helm" version --template '{{.Version}}' 2>/dev/null || true) != v3.* ]] || return 0
  echo "== building helm $helm_version"
  GOBIN=$bin go install "helm.sh/helm/v3/cmd/helm@$helm_version"
}

# The plugin by itself, which needs no helm around it. "go install" refuses a module
# that replaces another one, so it is built as a dependency, with the same
# replacement.
find_unittest() {
  local bin
  bin=$(go_bin "")
  unittest=$bin/helm-unittest-$unittest_version
  [[ ! -x $unittest ]] || return 0
  echo "== building helm-unittest $unittest_version"
  local module=github.com/helm-unittest/helm-unittest paths=github.com/vmware-labs/yaml-jsonpath
  mkdir -p "$work/unittest" "$bin"
  (
    cd "$work/unittest"
    go mod init unittest
    go mod edit -replace "$paths=github.com/helm-unittest/yaml-jsonpath@v0.4.0"
    go get "$module/cmd/helm-unittest@$unittest_version"
    go build -o "$unittest" "$module/cmd/helm-unittest"
  ) >"$work/unittest.log" 2>&1 || {
    cat "$work/unittest.log" >&2
    exit 1
  }
}

# Debian's package is there within seconds; from source it takes ten minutes.
find_promtool() {
  promtool=promtool
  ! command -v promtool >/dev/null 2>&1 || return 0
  local bin
  bin=$(go_bin "promtool, a part of Prometheus")
  promtool=$bin/promtool
  [[ ! -x $promtool ]] || return 0
  mkdir -p "$work/prometheus" "$bin"
  if command -v apt-get >/dev/null 2>&1 && fetch_promtool >"$work/promtool.log" 2>&1; then
    echo "== promtool out of the package prometheus"
    install "$work/prometheus/usr/bin/promtool" "$promtool"
    return
  fi
  echo "== building promtool $promtool_version, which takes long"
  GOBIN=$bin go install "github.com/prometheus/prometheus/cmd/promtool@$promtool_version"
}

# Unpacked, not installed: that would start a Prometheus.
fetch_promtool() (
  cd "$work/prometheus"
  # A new machine has no lists of packages yet.
  apt-get download prometheus || { apt-get update && apt-get download prometheus; }
  dpkg --extract prometheus_*.deb .
  ./usr/bin/promtool --version
)

# kubernetes-validate has the schemas of all Kubernetes versions within.
find_python() {
  need python3 "Install Python 3."
  python3 -m venv "$work/venv" || {
    echo "scripts/chart.sh: python3 cannot make a venv. On Debian or Ubuntu 'apt-get install python3-venv'." >&2
    exit 1
  }
  python=$work/venv/bin/python
  "$work/venv/bin/pip" install --quiet --disable-pip-version-check \
    "kubernetes-validate==$kubernetes_validate_version"
}

find_helm
find_unittest
find_promtool
find_python

#!/usr/bin/env bash
# Checks helm/recsys: lint, unit tests (helm/recsys/tests), every file of values in
# helm/recsys/tests/values rendered and validated for the oldest and the newest
# Kubernetes, the alerts, the dashboard's queries, and that docs/guides/kubernetes/recsys.yaml
# is what the chart renders. Needs Go 1.26 and Python 3.11; installs the rest.
#
#   --write-plain  writes docs/guides/kubernetes/recsys.yaml
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/lib.sh

# The first is what Chart.yaml promises, the second the newest that was tried.
kubernetes_versions=(1.27 1.37)
newest=${kubernetes_versions[-1]}.0
helm_version=v3.22.0
unittest_version=v1.1.2
chart=helm/recsys
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}/tools")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One module for both, so that they share what they are built of. helm-unittest cannot
# be installed by name: it replaces one of its dependencies.
install_helm() {
  need go "Install Go 1.26 or newer."
  helm=$tools/helm-$helm_version unittest=$tools/helm-unittest-$unittest_version
  [[ -x $helm && -x $unittest ]] || (
    mkdir -p "$work/tools" "$tools"
    cd "$work/tools"
    go mod init tools
    go mod edit -replace github.com/vmware-labs/yaml-jsonpath=github.com/helm-unittest/yaml-jsonpath@v0.4.0
    go get "helm.sh/helm/v3/cmd/helm@$helm_version" \
      "github.com/helm-unittest/helm-unittest/cmd/helm-unittest@$unittest_version"
    go build -o "$helm" helm.sh/helm/v3/cmd/helm
    go build -o "$unittest" github.com/helm-unittest/helm-unittest/cmd/helm-unittest
  ) >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    exit 1
  }
}

# Debian's package, unpacked: an installed one would start a Prometheus.
install_promtool() {
  promtool=promtool
  ! command -v promtool >/dev/null || return 0
  promtool=$tools/promtool
  [[ ! -x $promtool ]] || return 0
  mkdir -p "$tools"
  (
    cd "$work"
    apt-get download prometheus || { apt-get update && apt-get download prometheus; }
    dpkg --extract prometheus_*.deb .
    install usr/bin/promtool "$promtool"
  ) >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    echo "$name: promtool is missing: install Prometheus" >&2
    exit 1
  }
}

install_helm
install_promtool
# It has the schemas of all Kubernetes versions in it.
need_pip_tool validate kubernetes-validate kubernetes-validate 1.37.0

echo "== unit tests"
"$unittest" --strict "$chart"

for version in "${kubernetes_versions[@]}"; do
  echo "== Kubernetes $version: lint, render, validate"
  "$helm" lint --strict --quiet --kube-version "$version.0" "$chart"
  for values in "$chart"/tests/values/*.yaml docs/guides/kubernetes/values.yaml; do
    "$helm" template demo "$chart" --namespace shop --kube-version "$version.0" --values "$values" >"$work/rendered.yaml"
    "$validate" --quiet --strict -k "$version" "$work/rendered.yaml" || {
      echo "$name: with $values the chart is not valid for Kubernetes $version" >&2
      exit 1
    }
  done
done

echo "== alerts and dashboard"
"$promtool" check rules "$chart/files/alerts.yaml"
"$promtool" test rules "$chart/tests/promtool/alerts.yaml"
# The dashboard's queries as recording rules, which promtool parses.
python3 - "$chart/files/dashboard.json" >"$work/dashboard.yaml" <<'END'
import json, re, sys
panels = json.load(open(sys.argv[1]))["panels"]
queries = [target["expr"] for panel in panels for target in panel.get("targets", [])]
rules = [{"record": f"panel:query:{i}", "expr": re.sub(r"\$__(rate_interval|range)", "5m", q)} for i, q in enumerate(queries)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, sys.stdout)
END
"$promtool" check rules "$work/dashboard.yaml"

echo "== docs/guides/kubernetes/recsys.yaml"
# Without what only Helm uses.
"$helm" template recsys "$chart" --namespace recsys --kube-version "$newest" \
  --values docs/guides/kubernetes/values.yaml --skip-tests |
  sed -e '/^# Source: /d' -e '/helm\.sh\/chart:/d' -e '/managed-by: Helm/d' \
    -e '/^      annotations:$/,/checksum\/secret:/d' >"$work/plain.yaml"
if [[ ${1:-} == --write-plain ]]; then cp "$work/plain.yaml" docs/guides/kubernetes/recsys.yaml; fi
diff docs/guides/kubernetes/recsys.yaml "$work/plain.yaml" || {
  echo "$name: docs/guides/kubernetes/recsys.yaml is outdated; run scripts/chart.sh --write-plain" >&2
  exit 1
}

version=$(sed -n 's/^appVersion: *"\(.*\)"$/\1/p' "$chart/Chart.yaml")
grep -qx "version = \"$version\"" Cargo.toml || {
  echo "$name: appVersion $version is not the version in Cargo.toml" >&2
  exit 1
}

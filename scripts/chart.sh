#!/usr/bin/env bash
# Checks helm/recsys: lints it, runs its unit tests (helm/recsys/tests) and shows that
# they notice careless changes, renders every variant, validates the manifests
# strictly against the oldest and the newest Kubernetes it is for (those of the
# Prometheus operator by scripts/chart_custom.py), and asserts what must hold of all
# of them (scripts/chart_facts.py, with chart_callers.py and chart_web.py). A stand-in
# for a cluster (scripts/chart_cluster.py) shows what an upgrade keeps. promtool checks
# and tries the alerts and parses the dashboard's queries (scripts/chart_watch.py). Needs
# go (1.26 or later) and python3 (3.11 or later); scripts/chart_tools.sh fetches what
# else is missing.
#
#   --write-plain  writes docs/kubernetes/recsys.yaml anew, which is made of the chart
set -euo pipefail
cd "$(dirname "$0")/.."

# Chart.yaml promises the first; the second is the newest that we looked at.
kubernetes_versions=(1.27 1.37)
newest=${kubernetes_versions[-1]}.0

chart=helm/recsys
work=$(mktemp -d)
cluster=
trap '[[ -z $cluster ]] || kill "$cluster"; rm -rf "$work"' EXIT

. scripts/chart_tools.sh

cat >"$work/ranking.toml" <<'END'
half_life_days = 7.0

[fusion]
tag = 0.6
END

cat >"$work/everything.yaml" <<'END'
global: {shared: true}
fullnameOverride: a-name-that-is-so-long-that-it-has-to-be-cut-before-it-is-used
replicaCount: 3
image:
  repository: registry.example/recsys
  tag: 1.2.3
  digest: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
imagePullSecrets: [{name: registry}]
log: info,recsys=debug
drainDelaySeconds: 20
drainTimeoutSeconds: 45
ranking: "half_life_days = 7.0"
extraEnv:
  - {name: CATALOG_PATH, value: /catalogue/items.jsonl}
  - {name: QDRANT_GRPC_PORT, value: "16334"}
  - {name: REDIS_KEY_PREFIX, valueFrom: {configMapKeyRef: {name: shop, key: prefix}}}
extraVolumes: [{name: catalogue, configMap: {name: catalogue}}]
extraVolumeMounts: [{name: catalogue, mountPath: /catalogue, readOnly: true}]
podAnnotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090", prometheus.io/path: /metrics}
podLabels: {team: shop}
nodeSelector: {kubernetes.io/arch: amd64}
tolerations: [{key: shop, operator: Exists, effect: NoSchedule}]
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 1
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector: {matchLabels: {app.kubernetes.io/component: server}}
auth: {tenant: shop-2}
qdrant: {url: "http://qdrant.shop.svc:6333", collectionName: 'the "shop"'}
redis:
  persistence: {size: 20Gi, storageClass: fast, accessModes: [ReadWriteOncePod]}
  podAnnotations: {team: shop}
  podLabels: {team: shop}
  nodeSelector: {kubernetes.io/arch: amd64}
  tolerations: [{key: shop, operator: Exists}]
  affinity: {nodeAffinity: {}}
logFormat: json
otlp: {endpoint: "https://collector.example"}
autoscaling:
  enabled: true
  minReplicas: 3
  maxReplicas: 12
  metrics:
    - type: Pods
      pods:
        metric: {name: recsys_calls_in_flight}
        target: {type: AverageValue, averageValue: "100"}
podDisruptionBudget: {maxUnavailable: 25%}
topologySpreadConstraints:
  - {topologyKey: topology.kubernetes.io/zone, maxSkew: 1, minDomains: 2, whenUnsatisfiable: DoNotSchedule}
networkPolicy:
  enabled: true
  api: {from: [{namespaceSelector: {matchLabels: {team: shop}}, podSelector: {matchLabels: {app: web}}}]}
  extraEgress: [{to: [{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 443, protocol: TCP}]}]
serviceMonitor: {enabled: true, interval: 15s, labels: {release: prometheus}}
prometheusRule: {enabled: true, labels: {release: prometheus}, runbookUrl: "https://wiki.example/recsys"}
dashboard: {enabled: true, labels: {grafana: shop}, annotations: {grafana_folder: shop}}
END

cat >"$work/confined.yaml" <<'END'
redis: {enabled: false}
externalRedis: {existingSecret: shop-redis}
qdrant: {url: "https://qdrant.example:6334"}
otlp: {endpoint: "http://collector.observability:4317"}
networkPolicy:
  enabled: true
  redis: {ports: [6380], to: [{ipBlock: {cidr: 10.0.0.0/8}}]}
  qdrant: {to: [{ipBlock: {cidr: 10.0.0.0/8}}]}
  otlp: {to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: observability}}}]}
END

cat >"$work/qdrant.yaml" <<'END'
qdrant:
  url: https://qdrant.example:6334
  existingSecret: shop-qdrant
  tls: {existingSecret: shop-qdrant-tls}
END

cat >"$work/client-certificates.yaml" <<'END'
auth: {mode: existingSecret, existingSecret: shop-tenants, existingSecretKey: shop.toml}
tls:
  existingSecret: shop-tls
  clientCaSecret: shop-clients
  clientCaSecretKey: clients.crt
  clientNames: [web.shop.example, "spiffe://shop.example/web"]
reflection: false
END

cat >"$work/sentinel.yaml" <<'END'
redis: {enabled: false}
externalRedis:
  existingSecret: shop-redis
  mode: sentinel
  sentinelMaster: shop
  sentinelAuth: {username: recsys, existingSecret: shop-sentinel}
  tls: {existingSecret: shop-redis-tls, clientCertificate: true}
  waitReplicas: 1
END

cat >"$work/webhook.yaml" <<'END'
webhook:
  enabled: true
  port: 8888
  ingress: {enabled: true, className: nginx, host: events.shop.example, tlsSecret: events-tls, annotations: {cert-manager.io/issuer: shop}}
grpcWeb: {enabled: true, allowOrigins: ["https://shop.example", "http://localhost:5173"]}
networkPolicy: {enabled: true}
END

cat >"$work/webhook-secret.yaml" <<'END'
auth: {mode: none}
webhook: {enabled: true, existingSecret: shop-webhook, existingSecretKey: deliveries}
grpcWeb: {enabled: true}
END

cat >"$work/webhook-tls.yaml" <<'END'
tls: {existingSecret: shop-tls}
webhook: {enabled: true, ingress: {enabled: true, host: events.shop.example, annotations: {nginx.ingress.kubernetes.io/backend-protocol: HTTPS}}}
END

# A helm that go installed takes Kubernetes for 1.20, so every call says which.
template() {
  local version=$1
  shift
  "$helm" template demo "$chart" --namespace shop --kube-version "$version" "$@"
}

# What the chart may be installed with; scripts/chart_facts.py knows the names.
variants() {
  "$1" default
  "$1" own-password --set redis.auth.existingSecret=shop-redis --set redis.auth.existingSecretKey=pass
  "$1" external-url --set redis.enabled=false --set externalRedis.url=rediss://:hunter2@redis.example:6380/0
  "$1" external-secret --set redis.enabled=false --set externalRedis.existingSecret=shop-redis
  "$1" sentinel --values "$work/sentinel.yaml"
  "$1" cluster --set redis.enabled=false --set 'externalRedis.url=rediss://:hunter2@r-1.example:6379\,r-2.example:6379' \
    --set externalRedis.mode=cluster --set externalRedis.tls.existingSecret=shop-redis-tls
  "$1" qdrant --values "$work/qdrant.yaml"
  "$1" in-memory --set redis.enabled=false --set allowInMemory=true
  "$1" ranking --set-file "ranking=$work/ranking.toml"
  "$1" no-admin --set admin.enabled=false --set podDisruptionBudget.enabled=false --set topologySpreadConstraints=null
  "$1" own-tenants --set auth.mode=existingSecret --set auth.existingSecret=shop-tenants
  "$1" no-keys --set auth.mode=none
  "$1" tls --set tls.existingSecret=shop-tls
  "$1" client-certificates --values "$work/client-certificates.yaml"
  "$1" everything --values "$work/everything.yaml"
  "$1" autoscaled --set autoscaling.enabled=true
  "$1" confined --values "$work/confined.yaml"
  "$1" watched --set serviceMonitor.enabled=true --set prometheusRule.enabled=true --set dashboard.enabled=true \
    --set prometheusRule.runbookUrl=https://wiki.example/recsys
  for webhook in webhook webhook-secret webhook-tls; do "$1" "$webhook" --values "$work/$webhook.yaml"; done
  "$1" plain --values docs/kubernetes/values.yaml
}

render_and_validate() {
  local name=$1
  shift
  template "$version.0" "$@" >"$work/rendered/$name.yaml"
  "$python" -B scripts/chart_custom.py "$work/rendered/$name.yaml" "$work/others.yaml"
  "$work/venv/bin/kubernetes-validate" --quiet --strict -k "$version" "$work/others.yaml" || {
    echo "scripts/chart.sh: variant $name is not valid for Kubernetes $version" >&2
    exit 1
  }
}

echo "== unit tests, and that they notice careless changes"
"$unittest" --strict "$chart"
# Each line: a file of the chart, and what sed makes of it.
careless=(
  'templates/deployment.yaml s/service: liveness/service: readiness/'
  'templates/deployment.yaml s/service: readiness/service: liveness/'
  'templates/deployment.yaml s/ternary 9090 50051/ternary 50051 50051/'
  'templates/deployment.yaml s/failureThreshold: 3$/failureThreshold: 1/'
  'templates/deployment.yaml s/startupProbe:/livenessProbe:/'
  'templates/deployment.yaml s/maxUnavailable: 0/maxUnavailable: 1/'
  'templates/deployment.yaml s/drainTimeoutSeconds 15/drainTimeoutSeconds 5/'
  'templates/deployment.yaml s/add .Values.drainDelaySeconds .Values.drainTimeoutSeconds 15/30/'
  'templates/deployment.yaml s/automountServiceAccountToken: false/automountServiceAccountToken: true/'
  'templates/deployment.yaml s/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/'
  'templates/deployment.yaml s/allowPrivilegeEscalation: false/allowPrivilegeEscalation: true/'
  'templates/deployment.yaml s/drop: .ALL./drop: [NET_RAW]/'
  'templates/deployment.yaml s/runAsNonRoot: true/runAsNonRoot: false/'
  'templates/deployment.yaml s/type: RuntimeDefault/type: Unconfined/'
  'templates/deployment.yaml s/runAsUser: 65532/runAsUser: 0/'
  'templates/deployment.yaml s/defaultMode: 0440/defaultMode: 0444/'
  'templates/deployment.yaml s/items: *$/optional: true/'
  'templates/redis/statefulset.yaml s/type: RuntimeDefault/type: Unconfined/'
  'templates/redis/statefulset.yaml s/readOnlyRootFilesystem: true/readOnlyRootFilesystem: false/'
  'templates/redis/statefulset.yaml s/terminationGracePeriodSeconds: 60/terminationGracePeriodSeconds: 1/'
  'templates/redis/statefulset.yaml s/requirepass/protected-mode/'
  'templates/secret.yaml s/kind: Secret/kind: ConfigMap/'
  'templates/redis/secret.yaml s/randAlphaNum 32/randAlphaNum 3/'
  'templates/auth/secret.yaml s/resource-policy: keep/resource-policy: delete/'
  'templates/scaling/disruption.yaml s/maxUnavailable:/minAvailable:/'
  'templates/network/server.yaml s/policyTypes: .Ingress, Egress./policyTypes: [Ingress]/'
  'templates/network/server.yaml s/port: webhook/port: grpc/'
  'templates/network/ingress.yaml s,/v1/webhooks,/,'
  'templates/network/ingress.yaml s/name: webhook/name: grpc/'
  'templates/_helpers.tpl s/if and $webhook.existingSecret $keyed/if false/'
  'templates/_helpers.tpl s/(not $webhook.existingSecret) (not $keyed)/false/'
  'templates/deployment.yaml s/with .Values.webhook.existingSecret/with ""/'
  'templates/deployment.yaml s/if include "recsys.grpcWeb" ./if true/'
  'templates/_helpers.tpl s/if has .name $names/if false/'
  'templates/_helpers.tpl s/if not .Values.prometheusRule.runbookUrl/if false/'
  'templates/network/redis.yaml s/selectorLabels/commonLabels/'
  'values.schema.json s/"RECSYS_DRAIN_TIMEOUT",//'
  'values.schema.json s/"RECSYS_WEBHOOK_ADDR",//'
  'values.schema.json s/"additionalProperties": false/"additionalProperties": true/'
)
for change in "${careless[@]}"; do
  file=${change%% *}
  rm -rf "$work/careless"
  cp -r "$chart" "$work/careless"
  sed -i "${change#* }" "$work/careless/$file"
  if cmp --silent "$chart/$file" "$work/careless/$file"; then
    echo "scripts/chart.sh: there is nothing to change carelessly: $change" >&2
    exit 1
  fi
  if "$unittest" --strict "$work/careless" >/dev/null 2>&1; then
    echo "scripts/chart.sh: the unit tests do not notice: $change" >&2
    exit 1
  fi
done
echo "${#careless[@]} careless changes are noticed"

echo "== alerts and dashboard"
"$promtool" check rules "$chart/files/alerts.yaml"
"$promtool" test rules "$chart/tests/promtool/alerts.yaml"
"$python" -B scripts/chart_watch.py "$chart" "$work/dashboard.yaml"
"$promtool" check rules "$work/dashboard.yaml"

for version in "${kubernetes_versions[@]}"; do
  echo "== for Kubernetes $version: lint, render every variant, validate, assert the facts"
  "$helm" lint --strict --quiet --kube-version "$version.0" "$chart"
  mkdir -p "$work/rendered"
  variants render_and_validate
  "$python" -B scripts/chart_facts.py "$work/rendered" "$work/ranking.toml"
done

echo "== what must be refused is, and says why"
refused() {
  local why=$1 said
  shift
  if said=$(template "$newest" "$@" 2>&1); then
    echo "scripts/chart.sh: should have been refused: $*" >&2
    exit 1
  fi
  grep -qF -- "$why" <<<"$said" || {
    printf 'scripts/chart.sh: refused, but without "%s": %s\n%s\n' "$why" "$*" "$said" >&2
    exit 1
  }
}
refused "no Redis: set redis.enabled=true" --set redis.enabled=false
refused "replicaCount must be 1" --set redis.enabled=false --set allowInMemory=true --set replicaCount=2
refused "two Redis are given" --set externalRedis.existingSecret=shop-redis
refused "both given" --set redis.enabled=false --set externalRedis.url=redis://h:1 --set externalRedis.existingSecret=s
refused "replicas" --set replicas=2
refused "enbled" --set redis.enbled=false
refused "pattern" --set redis.enabled=false --set externalRedis.url=http://redis:6379
refused "extraEnv" --set 'extraEnv[0].name=REDIS_URL' --set 'extraEnv[0].value=redis://:secret@h:6379'
refused "extraEnv" --set 'extraEnv[0].name=RECSYS_ADMIN_ADDR' --set 'extraEnv[0].value=0.0.0.0:1'
refused "extraEnv has TZ twice" --set 'extraEnv[0].name=TZ' --set 'extraEnv[1].name=TZ'
refused "enbled" --set admin.enbled=false
refused "podAntiAfinity" --set-json 'affinity={"podAntiAfinity": {}}'
refused "nodeAfinity" --set-json 'redis.affinity={"nodeAfinity": {}}'
refused "preferred" --set-json 'affinity={"podAffinity": {"preferred": []}}'
for name in RECSYS_{TENANTS_PATH,INSECURE_ALLOW_UNAUTHENTICATED,REFLECTION} \
  RECSYS_TLS_{CERT_FILE,KEY_FILE,CLIENT_CA_FILE,CLIENT_NAMES}; do
  refused "extraEnv" --set "extraEnv[0].name=$name" --set 'extraEnv[0].value=x'
done
refused "auth/mode" --set auth.mode=off
refused "auth/tenant" --set auth.tenant=Shop
refused "auth/tenant" --set auth.tenant=evt
refused "exstingSecret" --set auth.exstingSecret=shop-tenants
refused "name it in auth.existingSecret" --set auth.mode=existingSecret
refused "auth.existingSecret is not used" --set auth.existingSecret=shop-tenants
refused "auth.existingSecret is not used" --set auth.mode=none --set auth.existingSecret=shop-tenants
tls=(--set tls.existingSecret=shop-tls)
refused "exstingSecret" --set tls.exstingSecret=shop-tls
refused "the probes need the admin port" "${tls[@]}" --set admin.enabled=false
refused "in tls.existingSecret" --set tls.clientCaSecret=shop-clients
refused "in tls.clientCaSecret" "${tls[@]}" --set 'tls.clientNames={web.shop.example}'
refused "clientNames" "${tls[@]}" --set tls.clientCaSecret=c --set 'tls.clientNames[0]=a\,b'
refused "externalRedis/mode" --set externalRedis.mode=sentinels
refused "waitReplicas" --set externalRedis.waitReplicas=-1
refused "exstingSecret" --set externalRedis.tls.exstingSecret=shop-redis-tls
refused "pasword" --set externalRedis.sentinelAuth.pasword=hunter2
external=(--set redis.enabled=false --set externalRedis.url=redis://h:1)
refused "rediss://" "${external[@]}" --set externalRedis.tls.existingSecret=shop-redis-tls
refused "name it in" "${external[@]}" --set externalRedis.tls.clientCertificate=true
refused "name its Secret" "${external[@]}" --set externalRedis.sentinelAuth.username=recsys
for name in QDRANT_API_URL QDRANT_API_KEY QDRANT_TLS_CA_FILE COLLECTION_NAME; do
  refused "extraEnv" --set "extraEnv[0].name=$name" --set 'extraEnv[0].value=x'
done
refused "apiKey" --set qdrant.apiKey=hunter2
refused "exstingSecret" --set qdrant.tls.exstingSecret=shop-qdrant-tls
refused "qdrant/url" --set qdrant.url=grpc://qdrant:6334
refused "qdrant/url" --set qdrant.url=https://:hunter2@qdrant:6334
refused "begin qdrant.url" --set qdrant.url=http://qdrant:6334 --set qdrant.tls.existingSecret=shop-qdrant-tls
refused "set qdrant.url" --set qdrant.existingSecret=shop-qdrant
refused "set qdrant.url" --set qdrant.tls.existingSecret=shop-qdrant-tls
refused "terminationGracePeriodSeconds" --set terminationGracePeriodSeconds=5
refused "logFormat" --set logFormat=xml
refused "otlp/endpoint" --set otlp.endpoint=collector:4317
refused "otlp/endpoint" --set otlp.endpoint=https://:hunter2@collector:4317
refused "maxReplicas is less" --set autoscaling.enabled=true --set autoscaling.maxReplicas=1
refused "needs a measure" --set autoscaling.enabled=true --set autoscaling.targetCPUUtilizationPercentage=0
refused "without Redis" --set autoscaling.enabled=true --set redis.enabled=false --set allowInMemory=true
refused "podDisruptionBudget/maxUnavailable" --set podDisruptionBudget.maxUnavailable=0
refused "labelSelector" --set 'topologySpreadConstraints[0].labelSelector.matchLabels.a=b'
refused "networkPolicy/api/from" --set networkPolicy.enabled=true --set-json networkPolicy.api.from='[]'
refused "ports" --set networkPolicy.enabled=true --set-json networkPolicy.redis.ports='[]'
refused "scrapes the admin port" --set serviceMonitor.enabled=true --set admin.enabled=false
refused "serviceMonitor/interval" --set serviceMonitor.interval=often
refused "dashboard/labels" --set dashboard.enabled=true --set dashboard.labels.grafana_dashboard=null
refused "runbookUrl" --set prometheusRule.runbookUrl=https://wiki.example/#a
refused "runbookUrl" --set prometheusRule.runbookUrl=docs/runbook.md
refused "set prometheusRule.runbookUrl to its URL" --set prometheusRule.enabled=true
for name in RECSYS_LOG{,_FORMAT} OTEL_EXPORTER_OTLP_ENDPOINT RECSYS_DRAIN_{DELAY,TIMEOUT}; do
  refused "extraEnv" --set "extraEnv[0].name=$name" --set 'extraEnv[0].value=x'
done
refused "name a Secret in webhook.existingSecret" --set auth.mode=none --set webhook.enabled=true
refused "leave webhook.existingSecret empty" --set webhook.enabled=true --set webhook.existingSecret=shop-webhook
refused "set webhook.enabled=true" --set auth.mode=none --set webhook.existingSecret=shop-webhook
refused "set webhook.enabled=true" --set webhook.ingress.enabled=true --set webhook.ingress.host=events.example
refused "set webhook.ingress.host" --set webhook.enabled=true --set webhook.ingress.enabled=true
refused "webhook/ingress/host" --set webhook.enabled=true --set webhook.ingress.host=https://events.example
for port in 0 443 9090 50051 65536; do refused "webhook/port" --set webhook.enabled=true --set "webhook.port=$port"; done
refused "secret" --set webhook.enabled=true --set webhook.secret=hunter2
refused "networkPolicy/webhook/from" --set webhook.enabled=true --set-json networkPolicy.webhook.from='[]'
refused "set grpcWeb.enabled=true" --set 'grpcWeb.allowOrigins={https://shop.example}'
for origin in shop.example https://shop.example/ https://Shop.example https://*.example 'https://a.example\,https://b.example' null; do
  refused "grpcWeb/allowOrigins" --set grpcWeb.enabled=true --set "grpcWeb.allowOrigins[0]=$origin"
done
refused "grpcWeb/allowOrigins" --set grpcWeb.enabled=true --set 'grpcWeb.allowOrigins={*,https://shop.example}'
for name in RECSYS_WEBHOOK_{ADDR,SECRET} RECSYS_GRPC_WEB RECSYS_CORS_ALLOW_ORIGINS; do
  refused "extraEnv" --set "extraEnv[0].name=$name" --set 'extraEnv[0].value=x'
done
refused "incompatible with Kubernetes" --kube-version 1.26.0

echo "== an upgrade keeps what was made at the installation"
made=(--show-only templates/auth/secret.yaml --show-only templates/redis/secret.yaml)
template "$newest" "${made[@]}" >"$work/installed.yaml"
coproc "$python" -B scripts/chart_cluster.py "$work/installed.yaml"
cluster=$COPROC_PID
read -r address <&"${COPROC[0]}"
upgrade() {
  KUBECONFIG=/dev/null template "$newest" "${made[@]}" --dry-run=server --kube-apiserver "$address" "$@"
}
upgrade >"$work/upgraded.yaml"
diff "$work/installed.yaml" "$work/upgraded.yaml" || {
  echo "scripts/chart.sh: an upgrade makes another key or password" >&2
  exit 1
}
upgrade --set auth.tenant=shop >"$work/upgraded.yaml"
[[ $(grep '^  key:' "$work/installed.yaml") == $(grep '^  key:' "$work/upgraded.yaml") ]] || {
  echo "scripts/chart.sh: an upgrade with another tenant makes another key" >&2
  exit 1
}
if cmp --silent "$work/installed.yaml" "$work/upgraded.yaml"; then
  echo "scripts/chart.sh: an upgrade does not heed another tenant" >&2
  exit 1
fi

echo "== the notes name what was installed"
# helm template leaves the notes out, so a copy of the chart shows them.
cp -r "$chart" "$work/chart"
cat >"$work/chart/templates/notes.yaml" <<'END'
apiVersion: v1
kind: ConfigMap
metadata: {name: notes}
data:
  notes: |
    {{- include (print $.Template.BasePath "/NOTES.txt") . | nindent 4 }}
END
noted() {
  local notes line lines=()
  while [[ $1 != -- ]]; do
    lines+=("$1")
    shift
  done
  shift
  notes=$(chart=$work/chart template "$newest" --show-only templates/notes.yaml "$@")
  for line in "${lines[@]}"; do
    grep -qF -- "$line" <<<"$notes" || {
      echo "scripts/chart.sh: the notes lack \"$line\": $*" >&2
      exit 1
    }
  done
}
noted 'grpcurl -plaintext -H "authorization: Bearer $KEY"' \
  "KEY=\$(kubectl -n shop get secret demo-recsys-auth -o jsonpath='{.data.key}' | base64 -d)" \
  'exec deployment/demo-recsys -- recsys healthcheck' 'helm -n shop test demo' 'demo-recsys-headless.shop.svc:50051' 'delete pvc data-demo-recsys-redis-0' \
  'port-forward service/demo-recsys-metrics 9090:9090' 'WARNING: there is no Qdrant' --
noted 'https://qdrant.example:6334, collection items' \
  'exec deployment/demo-recsys -- recsys catalog import /catalogue/items.jsonl' -- --values "$work/qdrant.yaml"
noted 'WARNING: there are no keys (auth.mode=none). EVERYONE' -- --set auth.mode=none
noted 'one of those in Secret shop-tenants (shop.toml)' 'reflection is off' 'Secret shop-tls' \
  'grpcurl -cacert ca.crt -authority demo-recsys.shop.svc -cert client.crt -key client.key -import-path' \
  -- --values "$work/client-certificates.yaml"
noted 'port-forward service/demo-recsys 8888:8888' \
  'curl -i -H "x-api-key: $KEY" http://127.0.0.1:8888/v1/webhooks/rudderstack' \
  'Pipelines deliver to https://events.shop.example/v1/webhooks/rudderstack' 'networkPolicy.webhook.from must' \
  "Pages of https://shop.example, http://localhost:5173 may call" 'the role serve alone' -- --values "$work/webhook.yaml"
noted 'WARNING: webhook.ingress.tlsSecret is empty' 'curl --insecure -i -H' 'https://127.0.0.1:8080/v1' -- --values "$work/webhook-tls.yaml"
noted "get secret shop-webhook -o go-template='{{index .data \"deliveries\" | base64decode}}'" \
  "Pages of the API's own origin may call" 'So may' -- --values "$work/webhook-secret.yaml"
noted 'fill each with --collection-name' -- --values "$work/qdrant.yaml" --values "$work/client-certificates.yaml"

echo "== the plain manifests are the chart's"
# Without what only helm has a use for.
"$helm" template recsys "$chart" --namespace recsys --kube-version "$newest" \
  --values docs/kubernetes/values.yaml --skip-tests |
  sed -e '/^# Source: /d' -e '/helm\.sh\/chart:/d' -e '/managed-by: Helm/d' \
    -e '/^      annotations:$/,/checksum\/secret:/d' >"$work/plain.yaml"
if [[ ${1:-} == --write-plain ]]; then cp "$work/plain.yaml" docs/kubernetes/recsys.yaml; fi
diff docs/kubernetes/recsys.yaml "$work/plain.yaml" || {
  echo "scripts/chart.sh: docs/kubernetes/recsys.yaml is not what the chart makes: scripts/chart.sh --write-plain" >&2
  exit 1
}

echo "== the chart installs this version"
app_version=$(sed -n 's/^appVersion: *"\(.*\)"$/\1/p' "$chart/Chart.yaml")
if [[ -f Cargo.toml ]] && ! grep -qx "version = \"$app_version\"" Cargo.toml; then
  echo "scripts/chart.sh: appVersion $app_version is not the version in Cargo.toml" >&2
  exit 1
fi
echo "the chart passes"

{{/* The chart's name. */}}
{{- define "recsys.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{/*
The release's full name. 46 characters leave room for "-redis" within the 52 that
a StatefulSet's name may have (its pods' labels append a hash of 11).
*/}}
{{- define "recsys.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else if contains (include "recsys.name" .) .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "recsys.name" .) | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "recsys.redis.fullname" -}}
{{- include "recsys.fullname" . }}-redis
{{- end -}}

{{/* What selects pods: never changes, since selectors cannot be changed. */}}
{{- define "recsys.selectorLabels" -}}
app.kubernetes.io/name: {{ include "recsys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "recsys.redis.selectorLabels" -}}
app.kubernetes.io/name: {{ include "recsys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: redis
{{- end -}}

{{/* What selects the pod of "helm test". */}}
{{- define "recsys.test.selectorLabels" -}}
app.kubernetes.io/name: {{ include "recsys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* What selects the Service for metrics, and no other one. */}}
{{- define "recsys.metrics.selectorLabels" -}}
app.kubernetes.io/name: {{ include "recsys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: metrics
{{- end -}}

{{- define "recsys.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ include "recsys.name" . }}
{{- end -}}

{{- define "recsys.labels" -}}
{{ include "recsys.commonLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
{{ include "recsys.selectorLabels" . }}
{{- end -}}

{{- define "recsys.redis.labels" -}}
{{ include "recsys.commonLabels" . }}
{{ include "recsys.redis.selectorLabels" . }}
{{- end -}}

{{/* An image by tag, and by digest if there is one. Takes repository, tag, digest. */}}
{{- define "recsys.image" -}}
{{- .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The image of recsys. */}}
{{- define "recsys.server.image" -}}
{{- include "recsys.image" (dict "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion) "digest" .Values.image.digest) -}}
{{- end -}}

{{/* The port that a URL names. Takes url and otherwise, for a URL that names none. */}}
{{- define "recsys.port" -}}
{{- $host := index (splitList "/" (regexReplaceAll "^[a-z]+://" .url "")) 0 -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default .otherwise -}}
{{- end -}}

{{/* The port on which recsys speaks gRPC to Qdrant, by its own rule. */}}
{{- define "recsys.qdrant.port" -}}
{{- $port := include "recsys.port" (dict "url" .Values.qdrant.url "otherwise" "6334") -}}
{{- if eq $port "6333" }}{{ $port = "6334" }}{{ end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "QDRANT_GRPC_PORT" }}{{ $port = .value | default $port }}{{ end -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{/* Further variables, each once: a list with a name twice is not applied as written. */}}
{{- define "recsys.extraEnv" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv has %s twice: leave one of them" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.extraEnv }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The URL of the runbook, which alerts lead to. */}}
{{- define "recsys.runbookUrl" -}}
{{- if not .Values.prometheusRule.runbookUrl -}}
{{- fail "alerts lead to the runbook: put docs/runbook.md where those who are called read it, and set prometheusRule.runbookUrl to its URL" -}}
{{- end -}}
{{- .Values.prometheusRule.runbookUrl -}}
{{- end -}}

{{/* Who may call: generated, existingSecret or none. */}}
{{- define "recsys.auth" -}}
{{- if and (eq .Values.auth.mode "existingSecret") (not .Values.auth.existingSecret) -}}
{{- fail "auth.mode=existingSecret needs a Secret: name it in auth.existingSecret" -}}
{{- else if and .Values.auth.existingSecret (ne .Values.auth.mode "existingSecret") -}}
{{- fail "auth.existingSecret is not used: set auth.mode=existingSecret, or leave it empty" -}}
{{- end -}}
{{- .Values.auth.mode -}}
{{- end -}}

{{/* The Secret with the tenants file. */}}
{{- define "recsys.auth.secretName" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "recsys.fullname" .)) -}}
{{- end -}}

{{/*
The tenants file of one tenant with one key. Takes Values, key. JSON's way of
quoting is also TOML's.
*/}}
{{- define "recsys.auth.tenants" -}}
[tenants.{{ .Values.auth.tenant }}]
collection = {{ .Values.qdrant.collectionName | toJson }}
# None: data that was stored before there were tenants is this one's.
key_prefix = ""

[[tenants.{{ .Values.auth.tenant }}.keys]]
id = {{ index (splitList "_" .key) 1 | quote }}
hash = "sha256:{{ sha256sum .key }}"
roles = ["ingest", "serve", "read-profile", "catalog", "erase"]
{{ end -}}

{{/* Whether the API's port has TLS: true, or nothing. */}}
{{- define "recsys.tls" -}}
{{- if and .Values.tls.clientCaSecret (not .Values.tls.existingSecret) -}}
{{- fail "tls.clientCaSecret is of no use without TLS: name a certificate's Secret in tls.existingSecret" -}}
{{- else if and .Values.tls.clientNames (not .Values.tls.clientCaSecret) -}}
{{- fail "tls.clientNames are looked for in clients' certificates: name the Secret of their authority in tls.clientCaSecret" -}}
{{- else if and .Values.tls.existingSecret (not .Values.admin.enabled) -}}
{{- fail "with tls.existingSecret the probes need the admin port, since they know no TLS: set admin.enabled=true" -}}
{{- else if .Values.tls.existingSecret -}}
true
{{- end -}}
{{- end -}}

{{/* Whether there is a webhook: true, or nothing. */}}
{{- define "recsys.webhook" -}}
{{- $webhook := .Values.webhook -}}
{{- $keyed := ne (include "recsys.auth" .) "none" -}}
{{- if and $webhook.existingSecret (not $webhook.enabled) -}}
{{- fail "webhook.existingSecret is of no use without a webhook: set webhook.enabled=true" -}}
{{- else if and $webhook.ingress.enabled (not $webhook.enabled) -}}
{{- fail "webhook.ingress leads to nothing: set webhook.enabled=true" -}}
{{- else if and $webhook.ingress.enabled (not $webhook.ingress.host) -}}
{{- fail "webhook.ingress needs a name that the world knows: set webhook.ingress.host" -}}
{{- else if and $webhook.existingSecret $keyed -}}
{{- fail "with keys a delivery carries one of them, and recsys refuses a secret beside them: leave webhook.existingSecret empty, or set auth.mode=none" -}}
{{- else if and $webhook.enabled (not $webhook.existingSecret) (not $keyed) -}}
{{- fail "with auth.mode=none everyone who reaches the webhook could deliver events: name a Secret in webhook.existingSecret, or set auth.mode=generated or existingSecret" -}}
{{- else if $webhook.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* Whether browser pages may call: true, or nothing. */}}
{{- define "recsys.grpcWeb" -}}
{{- if .Values.grpcWeb.enabled -}}
true
{{- else if .Values.grpcWeb.allowOrigins -}}
{{- fail "grpcWeb.allowOrigins has no effect while pages cannot call: set grpcWeb.enabled=true" -}}
{{- end -}}
{{- end -}}

{{/* The Secret with the URL of an external Redis. */}}
{{- define "recsys.externalRedis.secretName" -}}
{{- .Values.externalRedis.existingSecret | default (include "recsys.fullname" .) -}}
{{- end -}}

{{/* The Secret with the password of the bundled Redis. */}}
{{- define "recsys.redis.secretName" -}}
{{- .Values.redis.auth.existingSecret | default (include "recsys.redis.fullname" .) -}}
{{- end -}}

{{/* Where items are kept: qdrant or memory. */}}
{{- define "recsys.items" -}}
{{- if .Values.qdrant.url -}}
{{- if and (not (hasPrefix "https://" .Values.qdrant.url)) .Values.qdrant.tls.existingSecret -}}
{{- fail "qdrant.tls is of no use without TLS: begin qdrant.url with https://" -}}
{{- end -}}
qdrant
{{- else if or .Values.qdrant.existingSecret .Values.qdrant.tls.existingSecret -}}
{{- fail "qdrant.existingSecret and qdrant.tls are of no use without a Qdrant: set qdrant.url" -}}
{{- else -}}
memory
{{- end -}}
{{- end -}}

{{/* Where users' state is kept: bundled, external or memory. */}}
{{- define "recsys.state" -}}
{{- $external := or .Values.externalRedis.url .Values.externalRedis.existingSecret -}}
{{- if and .Values.redis.enabled $external -}}
{{- fail "two Redis are given: set redis.enabled=false to use externalRedis, or leave externalRedis empty to use the bundled one" -}}
{{- else if and .Values.externalRedis.url .Values.externalRedis.existingSecret -}}
{{- fail "externalRedis.url and externalRedis.existingSecret are both given: leave one empty" -}}
{{- else if and (hasPrefix "redis://" .Values.externalRedis.url) .Values.externalRedis.tls.existingSecret -}}
{{- fail "externalRedis.tls is of no use without TLS: begin externalRedis.url with rediss://" -}}
{{- else if and .Values.externalRedis.tls.clientCertificate (not .Values.externalRedis.tls.existingSecret) -}}
{{- fail "externalRedis.tls.clientCertificate is in a Secret: name it in externalRedis.tls.existingSecret" -}}
{{- else if and .Values.externalRedis.sentinelAuth.username (not .Values.externalRedis.sentinelAuth.existingSecret) -}}
{{- fail "externalRedis.sentinelAuth.username has a password: name its Secret in externalRedis.sentinelAuth.existingSecret" -}}
{{- else if .Values.redis.enabled -}}
bundled
{{- else if $external -}}
external
{{- else if not .Values.allowInMemory -}}
{{- fail "no Redis: set redis.enabled=true, externalRedis.existingSecret or externalRedis.url; or allowInMemory=true to lose users' state whenever the pod ends" -}}
{{- else if gt (int .Values.replicaCount) 1 -}}
{{- fail "replicaCount must be 1 without Redis: replicas would not know of each other's users" -}}
{{- else -}}
memory
{{- end -}}
{{- end -}}

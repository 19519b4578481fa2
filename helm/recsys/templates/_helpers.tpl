{{/* The chart's name. */}}
{{- define "recsys.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{/*
The release's full name. 46 characters leave room for "-redis" within the limit of
52 for a StatefulSet's name (a label of its pods appends a hash of 11).
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

{{/* Selector of the pods. It must never change, because selectors are immutable. */}}
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

{{/* Selector of the pod of "helm test". */}}
{{- define "recsys.test.selectorLabels" -}}
app.kubernetes.io/name: {{ include "recsys.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: test
{{- end -}}

{{/* Selector of the Service for metrics only. */}}
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

{{/* An image with its tag, and its digest if set. Parameters: repository, tag, digest. */}}
{{- define "recsys.image" -}}
{{- .repository }}:{{ .tag }}{{ with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* The image of recsys. */}}
{{- define "recsys.server.image" -}}
{{- include "recsys.image" (dict "repository" .Values.image.repository "tag" (.Values.image.tag | default .Chart.AppVersion) "digest" .Values.image.digest) -}}
{{- end -}}

{{/* The port of a URL. Parameters: url; otherwise, the default port. */}}
{{- define "recsys.port" -}}
{{- $host := index (splitList "/" (regexReplaceAll "^[a-z]+://" .url "")) 0 -}}
{{- regexFind ":[0-9]+$" $host | trimPrefix ":" | default .otherwise -}}
{{- end -}}

{{/* Qdrant's gRPC port, derived in the same way as recsys does. */}}
{{- define "recsys.qdrant.port" -}}
{{- $port := include "recsys.port" (dict "url" .Values.qdrant.url "otherwise" "6334") -}}
{{- if eq $port "6333" }}{{ $port = "6334" }}{{ end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "QDRANT_GRPC_PORT" }}{{ $port = .value | default $port }}{{ end -}}
{{- end -}}
{{- $port -}}
{{- end -}}

{{/* Further variables. Duplicate names fail: Kubernetes does not apply them as written. */}}
{{- define "recsys.extraEnv" -}}
{{- $names := list -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv has %s twice: remove one of them" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- with .Values.extraEnv }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/* The URL of the runbook, which alerts link to. */}}
{{- define "recsys.runbookUrl" -}}
{{- if not .Values.prometheusRule.runbookUrl -}}
{{- fail "alerts link to the runbook: publish docs/operate/runbook.md where on-call staff can read it, and set prometheusRule.runbookUrl to its URL" -}}
{{- end -}}
{{- .Values.prometheusRule.runbookUrl -}}
{{- end -}}

{{/* Authentication: generated, existingSecret or none. */}}
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
The tenants file of one tenant with one key. Parameters: Values, key. Strings quoted
as JSON are valid TOML.
*/}}
{{- define "recsys.auth.tenants" -}}
[tenants.{{ .Values.auth.tenant }}]
collection = {{ .Values.qdrant.collectionName | toJson }}
# Empty: the tenant uses the data that was stored without tenants.
key_prefix = ""

[[tenants.{{ .Values.auth.tenant }}.keys]]
id = {{ index (splitList "_" .key) 1 | quote }}
hash = "sha256:{{ sha256sum .key }}"
{{- $generated := .Values.auth.generated }}
roles = {{ $generated.roles | toJson }}
{{- with int $generated.callsPerSecond }}
calls_per_second = {{ . }}
{{- with int $generated.callsBurst }}
calls_burst = {{ . }}
{{- end }}
{{- end }}
{{- with int $generated.eventsPerSecond }}
events_per_second = {{ . }}
{{- with int $generated.eventsBurst }}
events_burst = {{ . }}
{{- end }}
{{- end }}
# end
{{ end -}}

{{/* A quarter of the memory limit in bytes; empty without a limit. */}}
{{- define "recsys.bufferedBytes" -}}
{{- $limit := toString (get (get .Values.resources "limits" | default dict) "memory" | default "") -}}
{{- $number := regexFind "^[0-9]+" $limit -}}
{{- $unit := trimPrefix $number $limit -}}
{{- $units := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- if and $number (hasKey $units $unit) -}}
{{- div (mul (int64 $number) (int64 (get $units $unit))) 4 -}}
{{- end -}}
{{- end -}}

{{/* Whether the API's port has TLS: true, or empty. */}}
{{- define "recsys.tls" -}}
{{- if and .Values.tls.clientCaSecret (not .Values.tls.existingSecret) -}}
{{- fail "tls.clientCaSecret requires TLS: name the certificate's Secret in tls.existingSecret" -}}
{{- else if and .Values.tls.clientNames (not .Values.tls.clientCaSecret) -}}
{{- fail "tls.clientNames requires client certificates: name the Secret of their CA in tls.clientCaSecret" -}}
{{- else if and .Values.tls.existingSecret (not .Values.admin.enabled) -}}
{{- fail "with tls.existingSecret the probes need the admin port, because they do not support TLS: set admin.enabled=true" -}}
{{- else if .Values.tls.existingSecret -}}
true
{{- end -}}
{{- end -}}

{{/* Whether the webhook is enabled: true, or empty. */}}
{{- define "recsys.webhook" -}}
{{- $webhook := .Values.webhook -}}
{{- $keyed := ne (include "recsys.auth" .) "none" -}}
{{- if and $webhook.existingSecret (not $webhook.enabled) -}}
{{- fail "webhook.existingSecret has no effect without the webhook: set webhook.enabled=true" -}}
{{- else if and $webhook.ingress.enabled (not $webhook.enabled) -}}
{{- fail "webhook.ingress has no backend: set webhook.enabled=true" -}}
{{- else if and $webhook.ingress.enabled (not $webhook.ingress.host) -}}
{{- fail "webhook.ingress needs a public host name: set webhook.ingress.host" -}}
{{- else if and $webhook.existingSecret $keyed -}}
{{- fail "with keys, deliveries use one of them, and recsys does not accept a secret as well: leave webhook.existingSecret empty, or set auth.mode=none" -}}
{{- else if and $webhook.enabled (not $webhook.existingSecret) (not $keyed) -}}
{{- fail "with auth.mode=none anyone who can reach the webhook could deliver events: name a Secret in webhook.existingSecret, or set auth.mode=generated or existingSecret" -}}
{{- else if $webhook.enabled -}}
true
{{- end -}}
{{- end -}}

{{/* Where the console listens: "everywhere", in the "pod" alone, or empty if it is off. */}}
{{- define "recsys.console" -}}
{{- $mode := include "recsys.auth" . -}}
{{- if .Values.console.enabled -}}
{{- if eq $mode "none" -}}
{{- fail "the console shows any user: it needs keys, so set auth.mode=generated or existingSecret" -}}
{{- else if and .Values.webhook.enabled (eq (int .Values.webhook.port) (int .Values.console.port)) -}}
{{- fail "console.port is the webhook's port: set another one" -}}
{{- else if eq $mode "generated" -}}
{{- $roles := .Values.auth.generated.roles -}}
{{- if not (and (has "serve" $roles) (has "read-profile" $roles)) -}}
{{- fail "nobody could log in to the console: add the roles serve and read-profile to auth.generated.roles, or name your own keys in auth.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- ternary "everywhere" "pod" (eq (include "recsys.tls" .) "true") -}}
{{- end -}}
{{- end -}}

{{/* Whether browser pages may call: true, or empty. */}}
{{- define "recsys.grpcWeb" -}}
{{- if .Values.grpcWeb.enabled -}}
true
{{- else if .Values.grpcWeb.allowOrigins -}}
{{- fail "grpcWeb.allowOrigins has no effect without gRPC-Web: set grpcWeb.enabled=true" -}}
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

{{/* Storage of items: qdrant or memory. */}}
{{- define "recsys.items" -}}
{{- if .Values.qdrant.url -}}
{{- if and (not (hasPrefix "https://" .Values.qdrant.url)) .Values.qdrant.tls.existingSecret -}}
{{- fail "qdrant.tls requires TLS: begin qdrant.url with https://" -}}
{{- end -}}
qdrant
{{- else if or .Values.qdrant.existingSecret .Values.qdrant.tls.existingSecret -}}
{{- fail "qdrant.existingSecret and qdrant.tls have no effect without Qdrant: set qdrant.url" -}}
{{- else -}}
memory
{{- end -}}
{{- end -}}

{{/* Storage of users' state: bundled, external or memory. */}}
{{- define "recsys.state" -}}
{{- $external := or .Values.externalRedis.url .Values.externalRedis.existingSecret -}}
{{- if and .Values.redis.enabled $external -}}
{{- fail "two Redis are given: set redis.enabled=false to use externalRedis, or leave externalRedis empty to use the bundled one" -}}
{{- else if and .Values.externalRedis.url .Values.externalRedis.existingSecret -}}
{{- fail "externalRedis.url and externalRedis.existingSecret are both given: leave one empty" -}}
{{- else if and (hasPrefix "redis://" .Values.externalRedis.url) .Values.externalRedis.tls.existingSecret -}}
{{- fail "externalRedis.tls requires TLS: begin externalRedis.url with rediss://" -}}
{{- else if and .Values.externalRedis.tls.clientCertificate (not .Values.externalRedis.tls.existingSecret) -}}
{{- fail "externalRedis.tls.clientCertificate needs a Secret with the certificate: name it in externalRedis.tls.existingSecret" -}}
{{- else if and .Values.externalRedis.sentinelAuth.username (not .Values.externalRedis.sentinelAuth.existingSecret) -}}
{{- fail "externalRedis.sentinelAuth.username needs a password: name its Secret in externalRedis.sentinelAuth.existingSecret" -}}
{{- else if .Values.redis.enabled -}}
bundled
{{- else if $external -}}
external
{{- else if not .Values.allowInMemory -}}
{{- fail "no Redis: set redis.enabled=true, externalRedis.existingSecret or externalRedis.url; or allowInMemory=true to accept that users' state is lost when the pod stops" -}}
{{- else if gt (int .Values.replicaCount) 1 -}}
{{- fail "replicaCount must be 1 without Redis: replicas would not share users' state" -}}
{{- else -}}
memory
{{- end -}}
{{- end -}}

{{- define "notellm.fullname" -}}
{{- $name := .Values.fullnameOverride | default (ternary .Release.Name (printf "%s-notellm" .Release.Name) (contains "notellm" .Release.Name)) -}}
{{- $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "notellm.qdrantName" -}}
{{ include "notellm.fullname" . }}-qdrant
{{- end -}}

{{- /* Takes a list of the root and a component. */ -}}
{{- define "notellm.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: notellm
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "notellm.labels" -}}
{{- $root := index . 0 -}}
{{ include "notellm.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- /* Takes a list of the root and an image's values. */ -}}
{{- define "notellm.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The address of the Qdrant server; empty with the embedded index. */ -}}
{{- define "notellm.qdrantUrl" -}}
{{- if .Values.qdrant.own.enabled -}}
http://{{ include "notellm.qdrantName" . }}:6333
{{- else -}}
{{ .Values.qdrant.url }}
{{- end -}}
{{- end -}}

{{- define "notellm.qdrantGrpcPort" -}}
{{ ternary 6334 .Values.qdrant.grpcPort .Values.qdrant.own.enabled }}
{{- end -}}

{{- define "notellm.embeddedClaim" -}}
{{ .Values.embedded.existingClaim | default (printf "%s-index" (include "notellm.fullname" .)) }}
{{- end -}}

{{- /* The value of an environment variable. Helm reads numbers as floats and would write 4194304 as 4.194304e+06. */ -}}
{{- define "notellm.scalar" -}}
{{- if and (kindIs "float64" .) (eq (float64 .) (floor .)) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- /* Takes a list of the root and the text of a rule file, in which each runbook_url is a path in this repository. */ -}}
{{- define "notellm.rules" -}}
{{- $base := (index . 0).Values.prometheusRules.runbookBase | trimSuffix "/" -}}
{{- $key := "runbook_url: " -}}
{{- ternary (replace (print $key "docs/") (printf "%s%s/docs/" $key $base) (index . 1)) (index . 1) (ne $base "") -}}
{{- end -}}

{{- /* The port of the collector's address, or the default port of its scheme. */ -}}
{{- define "notellm.collectorPort" -}}
{{- $address := urlParse .Values.tracing.endpoint -}}
{{- regexFind ":[0-9]+$" $address.host | trimPrefix ":" | default (ternary "443" "80" (eq $address.scheme "https")) -}}
{{- end -}}

{{- define "notellm.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "notellm.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Takes a list of the root and a component. Spreads pods where there is room; pods of the service are spread within each rollout. */ -}}
{{- define "notellm.topologySpread" -}}
{{- $root := index . 0 -}}
{{- $selector := include "notellm.selector" . -}}
{{- $rolled := eq (index . 1) "service" -}}
{{- with $root.Values.topologySpread }}
topologySpreadConstraints:
  {{- range . }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
    {{- if $rolled }}
    matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "notellm.imagePullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

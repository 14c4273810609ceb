{{- define "notellm.env" -}}
{{- include "notellm.ownEnv" . }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The environment variables that follow from the values. Each NOTELLM_* variable is a setting in service/settings/settings.py. */ -}}
{{- define "notellm.ownEnv" -}}
- name: HOME
  value: /tmp
- name: NOTELLM_CHECKPOINT
  value: {{ printf "/checkpoint/%s" .Values.checkpoint.path | trimSuffix "/" | quote }}
- name: NOTELLM_HOST
  value: "0.0.0.0"
- name: NOTELLM_PORT
  value: "8000"
- name: NOTELLM_ENGINE
  value: {{ .Values.engine.kind }}
{{- if eq .Values.engine.kind "vllm" }}
- name: NOTELLM_VLLM_TENSOR_PARALLEL
  value: {{ .Values.engine.tensorParallel | quote }}
{{- end }}
- name: NOTELLM_SHUTDOWN_SECONDS
  value: {{ .Values.shutdown.seconds | quote }}
- name: NOTELLM_CANARY_SECONDS
  value: {{ .Values.probes.canarySeconds | quote }}
{{- if .Values.auth.keysSecret }}
- name: NOTELLM_API_KEYS_FILE
  value: /etc/notellm/keys/{{ .Values.auth.keysName }}
{{- else }}
- name: NOTELLM_ALLOW_ANONYMOUS
  value: "true"
{{- end }}
{{- if .Values.blocklist.configMap }}
- name: NOTELLM_HASHTAG_BLOCKLIST
  value: /etc/notellm/blocklist/{{ .Values.blocklist.name }}
{{- end }}
{{- include "notellm.indexEnv" . }}
{{- include "notellm.tracingEnv" . }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ include "notellm.scalar" $value | quote }}
{{- end }}
{{- end -}}

{{- define "notellm.indexEnv" -}}
{{- $server := include "notellm.qdrantUrl" . -}}
{{- if $server }}
- name: NOTELLM_QDRANT_URL
  value: {{ $server | quote }}
- name: NOTELLM_QDRANT_GRPC_PORT
  value: {{ include "notellm.qdrantGrpcPort" . | quote }}
- name: NOTELLM_QDRANT_COLLECTION
  value: {{ .Values.qdrant.collection | quote }}
- name: NOTELLM_QDRANT_TIMEOUT_SECONDS
  value: {{ .Values.qdrant.timeoutSeconds | quote }}
{{- if .Values.qdrant.keySecret }}
- name: NOTELLM_QDRANT_API_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.qdrant.keySecret | quote }}
      key: {{ .Values.qdrant.keyName | quote }}
- name: NOTELLM_QDRANT_PLAIN_API_KEY
  value: {{ .Values.qdrant.plainKey | quote }}
{{- end }}
{{- if .Values.qdrant.caSecret }}
- name: NOTELLM_QDRANT_CA_FILE
  value: /etc/notellm/qdrant-ca/{{ .Values.qdrant.caName }}
{{- end }}
{{- else }}
- name: NOTELLM_DATA_DIR
  value: /data
{{- end }}
{{- end -}}

{{- /* OpenTelemetry's standard variables: service/observability/tracing.py. */ -}}
{{- define "notellm.tracingEnv" -}}
{{- if .Values.tracing.endpoint }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .Values.tracing.endpoint | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ .Values.tracing.serviceName | default (include "notellm.fullname" .) | quote }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ include "notellm.spanAttributes" . | quote }}
{{- if .Values.tracing.headersSecret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef:
      name: {{ .Values.tracing.headersSecret | quote }}
      key: {{ .Values.tracing.headersName | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "notellm.spanAttributes" -}}
k8s.namespace.name={{ .Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- range $name, $value := .Values.tracing.attributes -}}
,{{ $name }}={{ $value | urlquery | replace "+" "%20" }}
{{- end -}}
{{- end -}}

{{- define "notellm.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if gt (int .Values.gpu.count) 0 -}}
{{- $_ := set $resources "limits" (merge (dict .Values.gpu.resource (toString .Values.gpu.count)) (default dict $resources.limits)) -}}
{{- end -}}
{{ toYaml $resources }}
{{- end -}}

{{- /* A kept checkpoint is in the volume of the index, because the index matches exactly these files: they are removed together. */ -}}
{{- define "notellm.checkpointMount" -}}
- name: {{ ternary "index" "checkpoint" .Values.checkpoint.image.keep }}
  mountPath: /checkpoint
  {{- if .Values.checkpoint.image.keep }}
  subPath: checkpoint
  {{- end }}
{{- end -}}

{{- /* Keys are mounted as a directory: a single mounted file would never change, but the service reads changed keys without a restart. */ -}}
{{- define "notellm.volumeMounts" -}}
{{ include "notellm.checkpointMount" . }}
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- if not (include "notellm.qdrantUrl" .) }}
- name: index
  mountPath: /data
{{- end }}
{{- if .Values.auth.keysSecret }}
- name: keys
  mountPath: /etc/notellm/keys
  readOnly: true
{{- end }}
{{- if .Values.qdrant.caSecret }}
- name: qdrant-ca
  mountPath: /etc/notellm/qdrant-ca
  readOnly: true
{{- end }}
{{- if .Values.blocklist.configMap }}
- name: blocklist
  mountPath: /etc/notellm/blocklist
  readOnly: true
{{- end }}
{{- if eq .Values.engine.kind "vllm" }}
- name: shm
  mountPath: /dev/shm
{{- end }}
{{- end -}}

{{- define "notellm.volumes" -}}
- name: tmp
  emptyDir:
    {{- if .Values.tmp.inMemory }}
    medium: Memory
    {{- end }}
    sizeLimit: {{ .Values.tmp.sizeLimit }}
{{- if not .Values.checkpoint.image.keep }}
- name: checkpoint
  {{- if .Values.checkpoint.existingClaim }}
  persistentVolumeClaim:
    claimName: {{ .Values.checkpoint.existingClaim | quote }}
    readOnly: true
  {{- else if .Values.checkpoint.hostPath }}
  hostPath:
    path: {{ .Values.checkpoint.hostPath | quote }}
    type: Directory
  {{- else }}
  emptyDir:
    sizeLimit: {{ .Values.checkpoint.image.sizeLimit }}
  {{- end }}
{{- end }}
{{- if not (include "notellm.qdrantUrl" .) }}
- name: index
  persistentVolumeClaim:
    claimName: {{ include "notellm.embeddedClaim" . | quote }}
{{- end }}
{{- if .Values.auth.keysSecret }}
- name: keys
  secret:
    secretName: {{ .Values.auth.keysSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.qdrant.caSecret }}
- name: qdrant-ca
  secret:
    secretName: {{ .Values.qdrant.caSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.blocklist.configMap }}
- name: blocklist
  configMap:
    name: {{ .Values.blocklist.configMap | quote }}
{{- end }}
{{- if eq .Values.engine.kind "vllm" }}
- name: shm
  emptyDir:
    medium: Memory
    sizeLimit: {{ .Values.shm.sizeLimit }}
{{- end }}
{{- end -}}

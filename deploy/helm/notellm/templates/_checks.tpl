{{- /* Checks that a schema cannot express: values that contradict each other. Each message says what to change. */ -}}
{{- define "notellm.checks" -}}
{{- include "notellm.checkIndex" . -}}
{{- include "notellm.checkEngine" . -}}
{{- include "notellm.checkCheckpoint" . -}}
{{- include "notellm.checkAccess" . -}}
{{- include "notellm.checkTracing" . -}}
{{- include "notellm.checkEnv" . -}}
{{- end -}}

{{- define "notellm.checkIndex" -}}
{{- $qdrant := .Values.qdrant -}}
{{- if and $qdrant.url $qdrant.own.enabled -}}
{{- fail "qdrant.url and qdrant.own.enabled contradict each other: remove one" -}}
{{- end -}}
{{- $server := include "notellm.qdrantUrl" . -}}
{{- if and (not $server) (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}
{{- fail "only one process can open an embedded index, so there can be only one pod: set qdrant.url or qdrant.own.enabled=true, or replicas=1 and autoscaling.enabled=false" -}}
{{- end -}}
{{- if and (not $server) (or $qdrant.keySecret $qdrant.caSecret) -}}
{{- fail "qdrant.keySecret and qdrant.caSecret need a Qdrant server: set qdrant.url or qdrant.own.enabled=true, or remove them" -}}
{{- end -}}
{{- if and $qdrant.own.readKeyName (not (and $qdrant.own.enabled $qdrant.keySecret)) -}}
{{- fail "qdrant.own.readKeyName names a key in qdrant.keySecret for this release's own Qdrant: set qdrant.own.enabled=true and qdrant.keySecret, or remove it" -}}
{{- end -}}
{{- if and $qdrant.caSecret (not (hasPrefix "https://" $server)) -}}
{{- fail "qdrant.caSecret is set without an https:// qdrant.url: change the address, or remove qdrant.caSecret" -}}
{{- end -}}
{{- if and $qdrant.keySecret (hasPrefix "http://" $server) (not $qdrant.plainKey) -}}
{{- fail "the key of qdrant.keySecret would cross the network unencrypted: set an https:// qdrant.url, or qdrant.plainKey=true if nobody else can read that network" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is below autoscaling.minReplicas: raise it" -}}
{{- end -}}
{{- if and $server (eq (int .Values.rollout.maxSurge) 0) (eq (int .Values.rollout.maxUnavailable) 0) -}}
{{- fail "rollout.maxSurge and rollout.maxUnavailable are both 0, so no pod could ever be replaced: raise one of them" -}}
{{- end -}}
{{- end -}}

{{- define "notellm.checkEngine" -}}
{{- $gpus := int .Values.gpu.count -}}
{{- $parallel := int .Values.engine.tensorParallel -}}
{{- if eq .Values.engine.kind "vllm" -}}
{{- if ne $gpus $parallel -}}
{{- fail (printf "gpu.count=%d and engine.tensorParallel=%d differ: vLLM splits the layers over all GPUs of a pod, so set both to the same number" $gpus $parallel) -}}
{{- end -}}
{{- if .Values.settings.NOTELLM_EMBEDDING_INT8 -}}
{{- fail "settings.NOTELLM_EMBEDDING_INT8 is set with engine.kind=vllm, which embeds with vLLM's own weights: remove one" -}}
{{- end -}}
{{- else if or (gt $gpus 1) (gt $parallel 1) -}}
{{- fail "the local engine uses at most one GPU: set engine.kind=vllm, or gpu.count=1 and engine.tensorParallel=1" -}}
{{- end -}}
{{- end -}}

{{- define "notellm.checkCheckpoint" -}}
{{- $checkpoint := .Values.checkpoint -}}
{{- if ne 1 (len (compact (list $checkpoint.existingClaim $checkpoint.image.repository $checkpoint.hostPath))) -}}
{{- fail "set exactly one of checkpoint.existingClaim, checkpoint.image.repository and checkpoint.hostPath as the source of the checkpoint" -}}
{{- end -}}
{{- if and $checkpoint.image.keep (not $checkpoint.image.repository) -}}
{{- fail "checkpoint.image.keep is set without checkpoint.image.repository: set the repository, or remove keep" -}}
{{- end -}}
{{- if and $checkpoint.image.keep (include "notellm.qdrantUrl" .) -}}
{{- fail "checkpoint.image.keep keeps the files in the volume of the embedded index, but with a Qdrant server there is no such volume: remove keep, and use an image that contains the files or a checkpoint.existingClaim" -}}
{{- end -}}
{{- end -}}

{{- define "notellm.checkAccess" -}}
{{- $auth := .Values.auth -}}
{{- if and $auth.keysSecret $auth.allowAnonymous -}}
{{- fail "auth.keysSecret and auth.allowAnonymous contradict each other: remove one" -}}
{{- end -}}
{{- if not (or $auth.keysSecret $auth.allowAnonymous) -}}
{{- fail "everyone who can reach the service could read and write everything: set auth.keysSecret to a secret with a file of API keys, or auth.allowAnonymous=true if something else controls who can reach it" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled $auth.keysSecret (not .Values.serviceMonitor.keySecret) -}}
{{- fail "with auth.keysSecret, Prometheus needs a key too: set serviceMonitor.keySecret to a secret with a key that has the scope metrics" -}}
{{- end -}}
{{- end -}}

{{- define "notellm.checkTracing" -}}
{{- $tracing := .Values.tracing -}}
{{- if and $tracing.headersSecret (not $tracing.endpoint) -}}
{{- fail "tracing.headersSecret is set without a collector: set tracing.endpoint, or remove tracing.headersSecret" -}}
{{- end -}}
{{- if and $tracing.endpoint (eq "4317" (include "notellm.collectorPort" .)) -}}
{{- fail "tracing.endpoint has port 4317, where collectors expect gRPC, but spans are sent by OTLP over HTTP: set the collector's port for that, usually 4318" -}}
{{- end -}}
{{- end -}}

{{- define "notellm.checkEnv" -}}
{{- $names := list -}}
{{- range include "notellm.ownEnv" . | fromYamlArray -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}
{{- fail (printf "extraEnv has %s, which is already set: remove it from extraEnv, or remove the value that sets it" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

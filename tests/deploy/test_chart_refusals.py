"""Wrong values are refused before anything is installed, and the message says what to change."""

import pytest

from tests.deploy.chart import LEAST, QDRANT, Chart, of_kind, only

OWN = (*LEAST, "qdrant.own.enabled=true")
PLAIN = (*LEAST, "qdrant.url=http://qdrant:6333")
TRACED = (*LEAST, "tracing.endpoint=http://collector:4318")
VLLM = (*LEAST, "engine.kind=vllm")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((*LEAST, "replicas=2"), "there can be only one pod: set qdrant.url or qdrant.own.enabled=true, or replicas=1"),
        ((*LEAST, "autoscaling.enabled=true"), "there can be only one pod"),
        ((*OWN, "qdrant.url=https://q:6333"), "contradict each other"),
        ((*LEAST, "qdrant.keySecret=q"), "need a Qdrant server"),
        ((*LEAST, "qdrant.caSecret=q"), "need a Qdrant server"),
        ((*PLAIN, "qdrant.caSecret=q"), "without an https:// qdrant.url"),
        ((*PLAIN, "qdrant.keySecret=q"), "unencrypted: set an https:// qdrant.url, or qdrant.plainKey=true"),
        ((*OWN, "qdrant.keySecret=q"), "unencrypted"),
        ((*OWN, "qdrant.own.readKeyName=r"), "set qdrant.own.enabled=true and qdrant.keySecret, or remove it"),
        (
            (*QDRANT, "qdrant.keySecret=q", "qdrant.own.readKeyName=r"),
            "names a key in qdrant.keySecret for this release's own Qdrant",
        ),
        ((*QDRANT, "autoscaling.enabled=true", "autoscaling.maxReplicas=1"), "below autoscaling.minReplicas"),
        ((*QDRANT, "rollout.maxSurge=0"), "no pod could ever be replaced"),
        ((*VLLM, "gpu.count=2"), "gpu.count=2 and engine.tensorParallel=1"),
        (VLLM, "gpu.count=0 and engine.tensorParallel=1"),
        ((*VLLM, "gpu.count=1", "settings.NOTELLM_EMBEDDING_INT8=true"), "embeds with vLLM's own weights"),
        ((*LEAST, "gpu.count=2"), "at most one GPU: set engine.kind=vllm"),
        ((*LEAST, "engine.tensorParallel=2"), "at most one GPU"),
        (("auth.keysSecret=keys",), "exactly one of checkpoint.existingClaim, checkpoint.image.repository"),
        ((*LEAST, "checkpoint.hostPath=/models"), "exactly one of"),
        ((*LEAST, "checkpoint.image.keep=true"), "without checkpoint.image.repository"),
        (
            (*QDRANT, "checkpoint.existingClaim=", "checkpoint.image.repository=m", "checkpoint.image.keep=true"),
            "remove keep, and use an image",
        ),
        (("checkpoint.existingClaim=models",), "set auth.keysSecret to a secret with a file of API keys"),
        ((*LEAST, "auth.allowAnonymous=true"), "contradict each other"),
        ((*LEAST, "serviceMonitor.enabled=true"), "a key that has the scope metrics"),
        ((*LEAST, "tracing.headersSecret=t"), "without a collector: set tracing.endpoint"),
        ((*LEAST, "tracing.endpoint=http://collector:4317"), "spans are sent by OTLP over HTTP"),
        ((*LEAST, "extraEnv[0].name=HOME", "extraEnv[0].value=/data"), "extraEnv has HOME, which is already set"),
        (
            (*LEAST, "extraEnv[0].name=A", "extraEnv[0].value=b", "extraEnv[1].name=A", "extraEnv[1].value=b"),
            "extraEnv has A, which is already set",
        ),
        (
            (*TRACED, "extraEnv[0].name=OTEL_RESOURCE_ATTRIBUTES", "extraEnv[0].value=a=b"),
            "extraEnv has OTEL_RESOURCE_ATTRIBUTES, which is already set",
        ),
    ],
)
def test_values_that_contradict_each_other(chart: Chart, values: tuple[str, ...], message: str) -> None:
    assert message in chart.refusal(*values)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ("replica=2", "replica"),
        ("qdrant.apiKey=s3cret", "apiKey"),
        ("auth.keys=s3cret", "keys"),
        ("settings.NOTELLM_MAX_BATCH_TOKEN=512", "NOTELLM_MAX_BATCH_TOKEN"),
        ("settings.NOTELLM_PORT=80", "NOTELLM_PORT"),
        ("settings.NOTELLM_QDRANT_API_KEY=s3cret", "NOTELLM_QDRANT_API_KEY"),
        ("settings.NOTELLM_REMOTE_URL=http://h", "NOTELLM_REMOTE_URL"),
        ("settings.NOTELLM_MAX_BATCH_TOKENS=1", "NOTELLM_MAX_BATCH_TOKENS"),
        ("settings.NOTELLM_LOG_LEVEL=LOUD", "NOTELLM_LOG_LEVEL"),
        ("settings.NOTELLM_THREADS=many", "NOTELLM_THREADS"),
        ("replicas=many", "replicas"),
        ("engine.kind=remote", "kind"),
        ("image.digest=latest", "digest"),
        ("qdrant.url=qdrant:6333", "url"),
        ("qdrant.url=https://user:s3cret@qdrant", "url"),
        ("checkpoint.path=../etc", "path"),
        ("checkpoint.path=/models", "path"),
        ("checkpoint.hostPath=models", "hostPath"),
        ("resources.limits=null", "limits"),
        ("podDisruptionBudget.maxUnavailable=0", "maxUnavailable"),
        ("service.type=ExternalName", "type"),
        ("tmp.sizeLimit=much", "sizeLimit"),
        ("tracing.endpoint=collector:4318", "endpoint"),
        ("tracing.endpoint=https://user:s3cret@collector:4318", "endpoint"),
        ("tracing.protocol=grpc", "protocol"),
        ("extraEnv[0].name=NOTELLM_PORT,extraEnv[0].value=a", "extraEnv"),
        ("extraEnv[0].name=A", "extraEnv"),
        ("extraEnv[0].name=A,extraEnv[0].value=a,extraEnv[0].valueFrom.fieldRef.fieldPath=metadata.name", "extraEnv"),
        ("prometheusRules.runbookBase=docs", "runbookBase"),
    ],
)
def test_values_that_the_schema_does_not_know(chart: Chart, value: str, place: str) -> None:
    refusal = chart.refusal(*QDRANT, value)
    assert "values don't meet the specifications of the schema" in refusal
    assert place in refusal


@pytest.mark.parametrize(
    "values",
    [
        (*QDRANT, "qdrant.keySecret=q", "qdrant.caSecret=ca"),
        (*PLAIN, "qdrant.keySecret=q", "qdrant.plainKey=true"),
        (*OWN, "qdrant.keySecret=q", "qdrant.plainKey=true", "replicas=5"),
        (*VLLM, "gpu.count=4", "engine.tensorParallel=4"),
        (*LEAST, "gpu.count=1"),
        (*LEAST, "rollout.maxSurge=0"),
        (*LEAST, "serviceMonitor.enabled=true", "serviceMonitor.keySecret=k"),
        ("checkpoint.hostPath=/models", "auth.allowAnonymous=true", "serviceMonitor.enabled=true"),
    ],
)
def test_what_they_ask_for_is_taken(chart: Chart, values: tuple[str, ...]) -> None:
    assert only(chart.template(values=values), "Deployment")


def test_subchart_globals_are_taken(chart: Chart) -> None:
    assert of_kind(chart.template(values=(*LEAST, "global.x=y")), "Deployment")

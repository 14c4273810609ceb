"""The chart's objects fit the schemas of Kubernetes, each other, and the application that they run."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from service.http.routes import operations
from service.settings import Settings
from tests.deploy.chart import (
    CHART,
    EXAMPLES,
    LEAST,
    QDRANT,
    ROOT,
    Chart,
    Object,
    containers,
    environment_of,
    of_kind,
    only,
    pods,
    service_container,
)

CRDS = {"ServiceMonitor", "PrometheusRule"}
VERSIONS = ("1.30", "1.34", "1.37")
everywhere = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


def covers(selector: Object, labels: Object) -> bool:
    return selector.items() <= labels.items()


def test_there_is_an_example_of_each_kind() -> None:
    assert [path.stem for path in EXAMPLES] == ["embedded", "gpu-vllm", "qdrant-own", "qdrant"]


@everywhere
def test_lint_has_nothing_to_say(chart: Chart, example: Path) -> None:
    outcome = chart.run("lint", "--strict", str(CHART), "--values", str(example))
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in outcome.stdout
    assert "[WARNING]" not in outcome.stdout + outcome.stderr


@pytest.mark.parametrize("version", VERSIONS)
@everywhere
def test_every_object_fits_the_schemas_of_kubernetes(chart: Chart, example: Path, version: str) -> None:
    objects = chart.example(example)
    assert {"Deployment", "Service", "ServiceAccount", "NetworkPolicy", "PodDisruptionBudget"} <= {o["kind"] for o in objects}
    for item in objects:
        if item["kind"] not in CRDS:
            assert kubernetes_validate.validate(item, version, strict=True) == version


def test_the_schemas_notice_a_mistake(chart: Chart) -> None:
    deployment = yaml.safe_load(yaml.safe_dump(only(chart.example(EXAMPLES[0]), "Deployment")))
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@everywhere
def test_names_are_unique(chart: Chart, example: Path) -> None:
    names = [(item["kind"], item["metadata"]["name"]) for item in chart.example(example)]
    assert len(names) == len(set(names))


@everywhere
def test_selectors_match_the_pods_that_are_meant(chart: Chart, example: Path) -> None:
    objects = chart.example(example)
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(objects)}
    for item in objects:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            own = f"{item['kind']}/{item['metadata']['name']}"
            assert [name for name in labels if covers(item["spec"]["selector"]["matchLabels"], labels[name])] == [own]
        elif item["kind"] in {"Service", "PodDisruptionBudget", "NetworkPolicy"}:
            spec = item["spec"]
            selector = spec["podSelector" if item["kind"] == "NetworkPolicy" else "selector"]
            (meant,) = [name for name in labels if covers(selector.get("matchLabels", selector), labels[name])]
            assert ("qdrant" in meant) == ("qdrant" in item["metadata"]["name"])
    for _, pod in pods(objects):
        for spread in pod["spec"]["topologySpreadConstraints"]:
            assert covers(spread["labelSelector"]["matchLabels"], pod["metadata"]["labels"])


@everywhere
def test_ports_lead_somewhere(chart: Chart, example: Path) -> None:
    objects = chart.example(example)
    ports = {name: {port["name"] for one in containers(pod) for port in one.get("ports", [])} for name, pod in pods(objects)}
    for service in of_kind(objects, "Service"):
        workload = "StatefulSet/notellm-qdrant" if "qdrant" in service["metadata"]["name"] else "Deployment/notellm"
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports[workload]
    container = service_container(objects)
    assert container["ports"] == [{"name": "http", "containerPort": int(environment_of(container)["NOTELLM_PORT"])}]


@everywhere
def test_probes_ask_what_the_application_has(chart: Chart, example: Path) -> None:
    routes = {route.path for route in operations.router.routes}  # type: ignore[attr-defined]
    container = service_container(chart.example(example))
    asked = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready",
    }  # fmt: skip
    assert {probe["path"] for probe in asked.values()} <= routes
    assert {probe["port"] for probe in asked.values()} == {"http"}


@pytest.mark.parametrize("values", [(), ("probes.canarySeconds=90", "shutdown.seconds=300", "qdrant.timeoutSeconds=20")])
@everywhere
def test_kubernetes_waits_longer_than_the_service_does(chart: Chart, example: Path, values: tuple[str, ...]) -> None:
    objects = chart.example(example, *values)
    container, pod = service_container(objects), only(objects, "Deployment")["spec"]["template"]["spec"]
    settings = Settings.model_validate(
        {name.removeprefix("NOTELLM_").lower(): value for name, value in environment_of(container).items() if "NOTELLM" in name}
    )
    assert container["livenessProbe"]["timeoutSeconds"] > settings.canary_seconds
    assert container["readinessProbe"]["timeoutSeconds"] > settings.qdrant_timeout_seconds
    slept = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert slept > 0
    assert pod["terminationGracePeriodSeconds"] >= slept + settings.shutdown_seconds + 10
    start = container["startupProbe"]
    assert only(objects, "Deployment")["spec"]["progressDeadlineSeconds"] > start["failureThreshold"] * start["periodSeconds"]


@pytest.mark.parametrize(("seconds", "times"), [(5, 1), (600, 120), (601, 121)])
def test_a_start_may_take_as_long_as_was_said(chart: Chart, seconds: int, times: int) -> None:
    probe = service_container(chart.template(values=(*LEAST, f"probes.startSeconds={seconds}")))["startupProbe"]
    assert (probe["failureThreshold"], probe["periodSeconds"]) == (times, 5)


def test_the_embedded_index_has_one_pod_and_a_volume_that_stays(chart: Chart) -> None:
    objects = chart.template(values=LEAST)
    deployment = only(objects, "Deployment")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    claim = only(objects, "PersistentVolumeClaim", "notellm-index")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    container, volumes = service_container(objects), deployment["template"]["spec"]["volumes"]
    (mount,) = [
        mount for mount in container["volumeMounts"] if mount["mountPath"] == environment_of(container)["NOTELLM_DATA_DIR"]
    ]
    assert mount == {"name": "index", "mountPath": "/data"}
    assert {"name": "index", "persistentVolumeClaim": {"claimName": "notellm-index"}} in volumes


def test_a_claim_of_ones_own_is_used_for_the_index(chart: Chart) -> None:
    objects = chart.template(values=(*LEAST, "embedded.existingClaim=mine"))
    assert not of_kind(objects, "PersistentVolumeClaim")
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "index", "persistentVolumeClaim": {"claimName": "mine"}} in volumes


def test_a_qdrant_server_has_several_pods_and_no_volume(chart: Chart) -> None:
    objects = chart.template(values=(*QDRANT, "replicas=3"))
    deployment = only(objects, "Deployment")["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert not of_kind(objects, "PersistentVolumeClaim")
    container = service_container(objects)
    assert "NOTELLM_DATA_DIR" not in environment_of(container)
    assert [mount["name"] for mount in container["volumeMounts"]] == ["checkpoint", "tmp", "keys"]


def test_the_whole_volume_of_checkpoints_is_mounted_read_only(chart: Chart) -> None:
    objects = chart.template(values=(*LEAST, "checkpoint.path=llama/2026-11-20"))
    container = service_container(objects)
    assert environment_of(container)["NOTELLM_CHECKPOINT"] == "/checkpoint/llama/2026-11-20"
    assert {"name": "checkpoint", "mountPath": "/checkpoint", "readOnly": True} in container["volumeMounts"]
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "checkpoint", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in volumes
    assert environment_of(service_container(chart.template(values=LEAST)))["NOTELLM_CHECKPOINT"] == "/checkpoint"


def test_an_image_fills_the_checkpoint_before_the_service_starts(chart: Chart) -> None:
    pod = only(chart.example(CHART / "examples" / "qdrant-own.yaml"), "Deployment")["spec"]["template"]["spec"]
    (init,) = pod["initContainers"]
    assert init["command"] == ["cp", "-R", "/model/.", "/checkpoint/"]
    assert {"name": "checkpoint", "mountPath": "/checkpoint"} in init["volumeMounts"]
    assert {"name": "checkpoint", "emptyDir": {"sizeLimit": "4Gi"}} in pod["volumes"]
    assert {"name": "checkpoint", "mountPath": "/checkpoint", "readOnly": True} in pod["containers"][0]["volumeMounts"]


def test_the_demo_image_runs_its_own_command_to_where_the_service_looks(chart: Chart) -> None:
    objects = chart.example(CHART / "examples" / "embedded.yaml")
    (init,) = only(objects, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    assert "command" not in init
    place = environment_of(service_container(objects))["NOTELLM_CHECKPOINT"]
    assert f'CMD ["python", "-m", "demo.checkpoint", "{place}"]' in (ROOT / "Dockerfile").read_text()


def test_files_that_are_made_anew_each_time_are_kept_beside_the_index(chart: Chart) -> None:
    """The index belongs to their bits, which the demo's image makes on the machine on which it runs."""
    pod = only(chart.example(CHART / "examples" / "embedded.yaml"), "Deployment")["spec"]["template"]["spec"]
    assert {"name": "index", "persistentVolumeClaim": {"claimName": "notellm-index"}} in pod["volumes"]
    assert [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume] == ["tmp"]
    (init,), (container,) = pod["initContainers"], pod["containers"]
    kept = {"name": "index", "subPath": "checkpoint", "mountPath": "/checkpoint"}
    assert kept in init["volumeMounts"]
    assert kept | {"readOnly": True} in container["volumeMounts"]
    assert {"name": "index", "mountPath": "/data"} in container["volumeMounts"]
    assert "/data" not in {mount["mountPath"] for mount in init["volumeMounts"]}


def test_a_directory_of_the_node_serves_for_trials(chart: Chart) -> None:
    objects = chart.template(values=("auth.keysSecret=keys", "checkpoint.hostPath=/srv/models"))
    volumes = only(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "checkpoint", "hostPath": {"path": "/srv/models", "type": "Directory"}} in volumes


def test_an_image_is_named_by_its_tag_or_its_digest(chart: Chart) -> None:
    digest = "sha256:" + "0" * 64
    assert service_container(chart.template(values=LEAST))["image"] == "notellm-service:0.1.0"
    assert service_container(chart.template(values=(*LEAST, "image.tag=1.2")))["image"] == "notellm-service:1.2"
    assert service_container(chart.template(values=(*LEAST, f"image.digest={digest}")))["image"] == f"notellm-service@{digest}"


def test_gpus_are_asked_for_and_shared_by_vllm(chart: Chart) -> None:
    objects = chart.example(CHART / "examples" / "gpu-vllm.yaml", "gpu.count=4", "engine.tensorParallel=4")
    container, pod = service_container(objects), only(objects, "Deployment")["spec"]["template"]["spec"]
    variables = environment_of(container)
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "4", "cpu": "16", "memory": "64Gi"}
    assert (variables["NOTELLM_ENGINE"], variables["NOTELLM_VLLM_TENSOR_PARALLEL"]) == ("vllm", "4")
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}} in pod["volumes"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_the_version_is_that_of_the_package() -> None:
    described = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f'version = "{described["appVersion"]}"' in (ROOT / "pyproject.toml").read_text()

"""Scaling, monitoring, disruptions, and how Qdrant's nodes find each other."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from service.http.routes import operations
from service.observability import Metrics
from tests.deploy.chart import CHART, LEAST, QDRANT, ROOT, Chart, Object, of_kind, only, service_container
from tests.deploy.cluster import answering_cluster

ADAPTER = ROOT / "deploy" / "helm" / "prometheus-adapter.yaml"
METRIC = "notellm_queue_tokens"
HEADLESS = "notellm-qdrant-headless"
RULES = """groups:
  - name: notellm
    rules:
      - alert: KeysAreStale
        expr: notellm_api_keys_stale == 1
        annotations:
          summary: "keys of {{ $labels.pod }} cannot be read"
"""


def test_pods_are_scaled_by_a_metric_that_there_is(chart: Chart) -> None:
    values = (*QDRANT, "autoscaling.enabled=true", "autoscaling.queueTokens=2000000")
    objects = chart.template(values=values)
    scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "notellm"}
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert scaler["metrics"] == [
        {"type": "Pods", "pods": {"metric": {"name": METRIC}, "target": {"type": "AverageValue", "averageValue": "2000000"}}}
    ]
    assert "replicas" not in only(objects, "Deployment")["spec"], "an upgrade would undo what the scaler has done"


@pytest.mark.parametrize(("running", "written"), [(7, 7), (1, 2), (0, 2), (None, None)], ids=str)
def test_the_scaler_takes_over_as_many_pods_as_run(chart: Chart, running: int | None, written: int | None) -> None:
    """Without the number an upgrade from a fixed one would leave one pod; with the scaler's least, too few."""
    path = "apis/apps/v1/namespaces/notes/deployments/notellm"
    owner = {
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"meta.helm.sh/release-name": "notellm", "meta.helm.sh/release-namespace": "notes"},
    }
    metadata = {"name": "notellm", "namespace": "notes", **owner}
    live = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": running}}
    with answering_cluster({} if running is None else {path: live}) as address:
        objects = chart.template(
            "--dry-run=server", "--kube-apiserver", address, "--disable-openapi-validation",
            values=(*QDRANT, "autoscaling.enabled=true"),
        )  # fmt: skip
    assert only(objects, "Deployment")["spec"].get("replicas") == written


def test_the_adapter_makes_that_metric_of_each_pod() -> None:
    (rule,) = yaml.safe_load(ADAPTER.read_text())["rules"]["custom"]
    assert rule["seriesQuery"].startswith(METRIC + "{")
    assert rule["resources"]["overrides"] == {"namespace": {"resource": "namespace"}, "pod": {"resource": "pod"}}
    metrics = Metrics()
    metrics.queue_tokens.labels("embed").set(5)
    assert re.search(rf'^{METRIC}{{queue="embed"}} 5', generate_latest(metrics.registry).decode(), re.MULTILINE)


def test_without_scaling_there_is_none(chart: Chart) -> None:
    assert not of_kind(chart.template(values=LEAST), "HorizontalPodAutoscaler")


def test_prometheus_scrapes_the_service_with_its_own_key(chart: Chart) -> None:
    objects = chart.example(CHART / "examples" / "qdrant.yaml", "serviceMonitor.labels.release=prometheus")
    monitor = only(objects, "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint == {
        "port": "http", "path": "/metrics", "interval": "15s",
        "authorization": {"type": "Bearer", "credentials": {"name": "notellm-metrics-key", "key": "key"}},
    }  # fmt: skip
    assert endpoint["path"] in {route.path for route in operations.router.routes}  # type: ignore[attr-defined]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    (service,) = [item for item in of_kind(objects, "Service") if selector <= item["metadata"]["labels"].items()]
    assert [port["name"] for port in service["spec"]["ports"]] == ["http"]
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "notellm"


def scraped(objects: list[Object], monitor: str) -> list[tuple[str, str]]:
    """Service and port of each of a monitor's targets, as the operator finds them."""
    spec = only(objects, "ServiceMonitor", monitor)["spec"]
    selector, wanted = spec["selector"]["matchLabels"].items(), {endpoint["port"] for endpoint in spec["endpoints"]}
    return [
        (service["metadata"]["name"], port["name"])
        for service in of_kind(objects, "Service")
        if selector <= service["metadata"]["labels"].items()
        for port in service["spec"]["ports"]
        if port["name"] in wanted
    ]


def test_a_qdrant_of_ones_own_is_scraped_as_another_job(chart: Chart) -> None:
    """Alerts of the job notellm count its targets and their starts."""
    values = ("serviceMonitor.enabled=true", "serviceMonitor.keySecret=k", "serviceMonitor.labels.release=prometheus")
    objects = chart.example(CHART / "examples" / "qdrant-own.yaml", *values)
    assert scraped(objects, "notellm") == [("notellm", "http")]
    assert scraped(objects, "notellm-qdrant") == [("notellm-qdrant", "http")]
    monitor = only(objects, "ServiceMonitor", "notellm-qdrant")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert only(objects, "Service", "notellm-qdrant")["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "qdrant"
    assert monitor["spec"]["endpoints"] == [
        {
            "port": "http", "path": "/metrics", "interval": "15s",
            "authorization": {"type": "Bearer", "credentials": {"name": "notellm-qdrant", "key": "read-key"}},
        }
    ]  # fmt: skip
    one_key = chart.example(CHART / "examples" / "qdrant-own.yaml", *values, "qdrant.own.readKeyName=")
    (endpoint,) = only(one_key, "ServiceMonitor", "notellm-qdrant")["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"]["key"] == "api-key"


def test_a_qdrant_without_a_key_is_scraped_without_one(chart: Chart) -> None:
    watched = ("serviceMonitor.enabled=true", "serviceMonitor.keySecret=k")
    own = chart.template(values=(*LEAST, "qdrant.own.enabled=true", *watched))
    (endpoint,) = only(own, "ServiceMonitor", "notellm-qdrant")["spec"]["endpoints"]
    assert "authorization" not in endpoint
    (monitor,) = of_kind(chart.template(values=(*QDRANT, *watched)), "ServiceMonitor")
    assert monitor["metadata"]["name"] == "notellm", "a server elsewhere is for others to watch"


def test_rule_files_become_objects(chart: Chart, tmp_path: Path) -> None:
    """That of this test, and those of this repository."""
    written = tmp_path / "rules.yml"
    written.write_text(RULES)
    files = [written, *sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))]
    arguments = [
        part for number, file in enumerate(files) for part in ("--set-file", f"prometheusRules.files.r{number}={file}")
    ]
    objects = chart.template(*arguments, values=(*LEAST, "prometheusRules.labels.release=prometheus"))
    for number, file in enumerate(files):
        rule = only(objects, "PrometheusRule", f"notellm-r{number}")
        assert rule["spec"] == yaml.safe_load(file.read_text())
        assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert "{{ $labels.pod }}" in str(only(objects, "PrometheusRule", "notellm-r0")["spec"])


def test_runbooks_get_the_address_of_the_repository(chart: Chart) -> None:
    alerts = ("--set-file", f"prometheusRules.files.alerts={ROOT / 'deploy' / 'prometheus' / 'rules' / 'notellm.yml'}")
    for base in ("https://git.example.com/notellm/blob/main", "https://git.example.com/notellm/blob/main/"):
        objects = chart.template(*alerts, values=(*LEAST, f"prometheusRules.runbookBase={base}"))
        groups = only(objects, "PrometheusRule", "notellm-alerts")["spec"]["groups"]
        runbooks = {rule["annotations"]["runbook_url"] for group in groups for rule in group["rules"] if "alert" in rule}
        assert len(runbooks) == 18
        assert "https://git.example.com/notellm/blob/main/docs/operations.md#notellmnotready" in runbooks
        assert all(runbook.startswith("https://git.example.com/notellm/blob/main/docs/") for runbook in runbooks)


def test_dashboards_become_what_grafanas_sidecar_looks_for(chart: Chart) -> None:
    file = ROOT / "deploy" / "grafana" / "dashboards" / "notellm.json"
    given = ("--set-file", f"grafanaDashboards.files.notellm={file}")
    objects = chart.template(*given, values=(*LEAST, "grafanaDashboards.labels.team=feed"))
    board = only(objects, "ConfigMap", "notellm-dashboard-notellm")
    assert board["data"] == {"notellm.json": file.read_text(encoding="utf-8")}
    assert json.loads(board["data"]["notellm.json"])["uid"] == "notellm"
    assert {"grafana_dashboard": "1", "team": "feed"}.items() <= board["metadata"]["labels"].items()
    assert not of_kind(chart.template(values=LEAST), "ConfigMap")


def test_the_sidecars_label_can_be_another(chart: Chart, tmp_path: Path) -> None:
    (tmp_path / "board.json").write_text("{}")
    label = ("--set-string", "grafanaDashboards.labels.grafana_dashboard=feed")
    objects = chart.template(*label, "--set-file", f"grafanaDashboards.files.b={tmp_path / 'board.json'}", values=LEAST)
    assert only(objects, "ConfigMap", "notellm-dashboard-b")["metadata"]["labels"]["grafana_dashboard"] == "feed"


def test_a_drained_node_takes_one_pod_at_a_time(chart: Chart) -> None:
    objects = chart.template(values=(*LEAST, "qdrant.own.enabled=true"))
    for name in ("notellm", "notellm-qdrant"):
        assert only(objects, "PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
    assert not of_kind(chart.template(values=(*LEAST, "podDisruptionBudget.enabled=false")), "PodDisruptionBudget")


def test_spreading_tells_a_new_rollout_from_the_old(chart: Chart) -> None:
    pod = only(chart.template(values=LEAST), "Deployment")["spec"]["template"]["spec"]
    assert [(spread["topologyKey"], spread["matchLabelKeys"]) for spread in pod["topologySpreadConstraints"]] == [
        ("topology.kubernetes.io/zone", ["pod-template-hash"]),
        ("kubernetes.io/hostname", ["pod-template-hash"]),
    ]


@pytest.mark.parametrize(
    ("pod", "arguments"),
    [
        ("notellm-qdrant-0", f"--uri http://notellm-qdrant-0.{HEADLESS}:6335"),
        (
            "notellm-qdrant-10",
            f"--bootstrap http://notellm-qdrant-0.{HEADLESS}:6335 --uri http://notellm-qdrant-10.{HEADLESS}:6335",
        ),
    ],
)
def test_qdrants_first_node_begins_and_the_others_join(chart: Chart, tmp_path: Path, pod: str, arguments: str) -> None:
    """The real start script, with an entry point that shows how it is called."""
    objects = chart.template(values=(*LEAST, "qdrant.own.enabled=true"))
    server = only(objects, "StatefulSet", "notellm-qdrant")["spec"]
    (container,) = server["template"]["spec"]["containers"]
    entrypoint = tmp_path / "entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\necho "$@"\n')
    entrypoint.chmod(0o755)
    command = [*container["command"], *container["args"]]
    environment = {"HOSTNAME": pod, "PATH": os.environ["PATH"]}
    shown = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert shown.stdout.strip() == arguments
    assert server["serviceName"] == only(objects, "Service", HEADLESS)["metadata"]["name"]
    assert only(objects, "Service", HEADLESS)["spec"]["publishNotReadyAddresses"] is True


def test_further_labels_and_annotations_reach_the_pods(chart: Chart) -> None:
    values = (*LEAST, "podLabels.team=feed", "podAnnotations.note=x", "runtimeClassName=nvidia", "priorityClassName=high")
    pod = only(chart.template(values=values), "Deployment")["spec"]["template"]
    assert pod["metadata"]["labels"]["team"] == "feed"
    assert pod["metadata"]["annotations"] == {"note": "x"}
    assert (pod["spec"]["runtimeClassName"], pod["spec"]["priorityClassName"]) == ("nvidia", "high")


def test_without_a_pause_before_the_stop_there_is_no_hook(chart: Chart) -> None:
    assert "lifecycle" not in service_container(chart.template(values=(*LEAST, "shutdown.preStopSeconds=0")))

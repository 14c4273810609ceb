"""Commands of the documentation: run where they need no cluster, and else with values that the chart takes."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.security import KeyRing, Scope
from tests.deploy.chart import (
    CHART,
    LEAST,
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

PAGE = ROOT / "docs" / "kubernetes.md"
TRAINING = ROOT / "deploy" / "training" / "README.md"
NEEDS = re.compile(r"# needs (a cluster|a registry|GPUs|GPUs; sbatch needs Slurm)\n")


def blocks_of(page: Path) -> list[str]:
    """Its commands, each on one line."""
    found: list[str] = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [block.replace("\\\n", " ") for block in found]


BLOCKS = blocks_of(PAGE)
OFFLINE = [block for block in BLOCKS if not NEEDS.match(block)]
ONLINE = [line for block in BLOCKS if NEEDS.match(block) for line in block.splitlines()[1:]]
INSTALLS = [line for line in ONLINE if line.startswith("helm upgrade --install") and "deploy/helm/notellm " in line]
# What a reader writes into which file.
SNIPPETS = re.findall(r"```yaml\n# (\w+\.yaml)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
CREATIONS = [line for line in ONLINE if line.startswith("kubectl ") and " create " in line]
# These have not run where this was written.
FOREIGN = re.compile(
    r"(docker push|sbatch|torchrun|deploy/training/torchrun\.sh|helm (?!lint|template)\w+|kubectl (?!.*--dry-run=client)\S+) \S"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: in the repository, with an alert file of their own."""
    for name in ("deploy", "training"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "alerts.yml").write_text("groups: []\n")
    return tmp_path


def shell(chart: Chart, script: str, folder: Path) -> str:
    environment = dict(chart.environment) | {
        "METRICS_KEY": "m",
        "QDRANT_KEY": "q",
        "QDRANT_READ_KEY": "r",
        "COLLECTOR_KEY": "c",
    }
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", script]
    outcome = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert outcome.returncode == 0, f"{script}\n{outcome.stdout[-2000:]}{outcome.stderr[-2000:]}"
    return outcome.stdout


def merge(values: Object, more: Object) -> None:
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(name), dict):
            merge(values[name], value)
        else:
            values[name] = value


@pytest.fixture
def followed(chart: Chart, folder: Path) -> Path:
    """Where somebody stands who has followed the whole page, but for what needs a cluster."""
    for block in OFFLINE:
        if "keygen" not in block:
            shell(chart, block, folder)
    for name, text in SNIPPETS:
        file = folder / name
        values = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else {}
        merge(values, yaml.safe_load(text))
        file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return folder


def rendered(chart: Chart, folder: Path, line: str) -> list[Object]:
    """What an installation makes."""
    text = shell(chart, line.replace("upgrade --install", "template", 1), folder)
    return [item for item in yaml.safe_load_all(text) if item]


def test_there_are_commands_of_both_kinds() -> None:
    assert len(OFFLINE) == 3
    assert len(INSTALLS) == 5
    assert len(CREATIONS) == 5
    assert [name for name, _ in SNIPPETS] == ["mine.yaml"] * 3 + ["next.yaml"] + ["mine.yaml"] * 3


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").glob("*.md")), TRAINING], ids=lambda page: page.stem)
def test_commands_that_have_not_run_say_what_they_need(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for block in blocks_of(page):
        assert NEEDS.match(block) or not re.search(rf"^{FOREIGN.pattern}", block, re.MULTILINE), block
    assert not [code for code in re.findall(r"`([^`\n]+)`", text) if FOREIGN.match(code)], "put it into a block with a mark"


def test_every_snippet_says_which_file_it_belongs_to() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```yaml\n") == len(SNIPPETS)


@pytest.mark.parametrize("line", INSTALLS)
def test_no_installation_forgets_what_an_earlier_one_has_set(line: str) -> None:
    """An upgrade has the values that it names, and no others; the two here are of the moment, and end with the next one."""
    assert "--values mine.yaml" in line
    assert set(re.findall(r"--set\S* (\S+)", line)) <= {"replicas=0", "autoscaling.enabled=false"}


@pytest.mark.parametrize("line", sorted(set(INSTALLS)))
def test_an_installation_is_waited_for_as_long_as_the_chart_lets_it_take(chart: Chart, folder: Path, line: str) -> None:
    """No timeout fits all: pods start one after another, each in the time that its values give it. Only the Deployment knows it."""
    assert "--wait" not in line
    assert "--timeout" not in line
    workload = "statefulset/notellm-qdrant" if "replicas=0" in line else f"deployment/{shlex.split(line)[3]}"
    after = {ONLINE[place + 1] for place, other in enumerate(ONLINE) if other == line}
    assert after == {f"kubectl --namespace notellm rollout status {workload}"}
    example = "qdrant-own.yaml" if "statefulset" in workload else "qdrant.yaml"
    for name in ("mine.yaml", "next.yaml"):
        (folder / name).write_text((CHART / "examples" / example).read_text())
    names = {f"{item['kind'].lower()}/{item['metadata']['name']}" for item in rendered(chart, folder, line)}
    assert workload in names


def test_all_that_the_page_has_written_down_is_installed_at_once(chart: Chart, followed: Path) -> None:
    values = yaml.safe_load((followed / "mine.yaml").read_text(encoding="utf-8"))
    assert values.keys() >= yaml.safe_load((CHART / "examples" / "qdrant.yaml").read_text()).keys()
    objects = rendered(chart, followed, INSTALLS[0])
    variables = environment_of(service_container(objects))
    assert variables["NOTELLM_CHECKPOINT"] == "/checkpoint/2026-12-01"
    assert variables["NOTELLM_QDRANT_COLLECTION"] == "notes-2026-12-01"
    assert variables["OTEL_EXPORTER_OTLP_ENDPOINT"] == "https://collector.example.com:4318"
    assert variables["OTEL_TRACES_SAMPLER_ARG"] == "0.01"
    assert only(objects, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 20
    assert only(objects, "ServiceMonitor")["metadata"]["labels"]["release"] == "prometheus"
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "notellm.yml").read_text())
    installed = only(objects, "PrometheusRule", "notellm-alerts")["spec"]
    assert [group["name"] for group in installed["groups"]] == [group["name"] for group in rules["groups"]]
    board = only(objects, "ConfigMap", "notellm-dashboard-notellm")["data"]["notellm.json"]
    assert board == (ROOT / "deploy" / "grafana" / "dashboards" / "notellm.json").read_text(encoding="utf-8")


def test_a_second_release_serves_the_new_pair_and_alerts_nobody_twice(chart: Chart, followed: Path) -> None:
    (line,) = [line for line in INSTALLS if " notellm-next " in line]
    objects = rendered(chart, followed, line)
    assert {item["metadata"]["name"] for item in of_kind(objects, "Deployment")} == {"notellm-next"}
    assert not of_kind(objects, "PrometheusRule")
    assert not of_kind(objects, "ConfigMap")
    (deployment,) = of_kind(objects, "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert environment_of(container)["NOTELLM_QDRANT_COLLECTION"] == "notes-2026-12-01"


def test_qdrant_comes_up_alone_at_first(chart: Chart, folder: Path) -> None:
    (folder / "mine.yaml").write_text((CHART / "examples" / "qdrant-own.yaml").read_text() + "autoscaling: {enabled: true}\n")
    (line,) = [line for line in INSTALLS if "replicas=0" in line]
    objects = rendered(chart, folder, line)
    assert only(objects, "Deployment")["spec"]["replicas"] == 0
    assert only(objects, "StatefulSet", "notellm-qdrant")["spec"]["replicas"] == 3
    (asked,) = {found for line in ONLINE for found in re.findall(r"port-forward service/(notellm-qdrant) 6333:6333", line)}
    assert 6333 in {port["port"] for port in only(objects, "Service", asked)["spec"]["ports"]}


def test_the_namespace_is_there_before_what_is_put_into_it() -> None:
    assert ONLINE.index("kubectl create namespace notellm") < min(
        ONLINE.index(line) for line in ONLINE if "--namespace" in line
    )
    without = re.compile(r"kubectl (create namespace|get --raw) |helm repo |docker |curl |notellm-serve |kill ")
    for line in ONLINE:
        assert without.match(line) or "--namespace notellm" in line or "--namespace monitoring" in line, line


def created(chart: Chart, folder: Path) -> list[Any]:
    """What the page has kubectl make."""
    (folder / "keys.toml").write_text("")
    lines = [f"{line} --dry-run=client --output yaml" for line in CREATIONS]
    return [yaml.safe_load(shell(chart, line, folder)) for line in lines]


def test_secrets_are_made_where_the_installation_looks_for_them(chart: Chart, folder: Path) -> None:
    namespace, *secrets = created(chart, folder)
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "notellm")
    assert {(item["kind"], item["metadata"]["namespace"]) for item in secrets} == {("Secret", "notellm")}
    made = {(item["metadata"]["name"], key) for item in secrets for key in item["data"]}
    elsewhere, own = (chart.example(CHART / "examples" / name) for name in ("qdrant.yaml", "qdrant-own.yaml"))
    (endpoint,) = only(elsewhere, "ServiceMonitor")["spec"]["endpoints"]
    references = [
        variable["valueFrom"]["secretKeyRef"]
        for _, pod in (*pods(elsewhere), *pods(own))
        for container in containers(pod)
        for variable in container["env"]
        if "valueFrom" in variable and "secretKeyRef" in variable["valueFrom"]
    ]
    looked_for = {(one["name"], one["key"]) for one in [*references, endpoint["authorization"]["credentials"]]}
    assert made == looked_for | {("notellm-keys", "keys.toml"), ("notellm-traces", "headers")}


@pytest.mark.parametrize("block", [block for block in BLOCKS if "--url" in block], ids=lambda block: block.splitlines()[-2])
def test_a_port_that_is_asked_leads_to_a_pod_that_runs(block: str) -> None:
    """It is forwarded to one pod, in the background: a rollout ends it, and it listens only after a moment."""
    forwarded: dict[str, str] = {}
    ready: set[str] = set()
    for line in block.splitlines():
        if forward := re.match(r"kubectl .*port-forward service/(\S+) (\d+):8000 & \w+=\$!$", line):
            forwarded[forward[2]] = forward[1]
        elif rolled := re.match(r"helm (?:upgrade --install|rollback|uninstall) (\S+)", line):
            assert rolled[1] not in forwarded.values(), line
        elif waits := re.match(r"curl .*--retry-all-errors http://127\.0\.0\.1:(\d+)/health/ready$", line):
            ready.add(waits[1])
        elif asks := re.match(r"notellm-serve .*--url http://127\.0\.0\.1:(\d+) ", line):
            assert asks[1] in forwarded, line
            assert asks[1] in ready, line
    assert re.fullmatch(r"kill( \"\$\w+\")+", block.splitlines()[-1])
    assert block.splitlines()[-1].count("$") == len(forwarded)


def test_claims_that_stay_are_found_by_the_label_that_is_shown(chart: Chart) -> None:
    (label,) = {found for line in ONLINE for found in re.findall(r"persistentvolumeclaims --selector (\S+)$", line)}
    name, _, value = label.partition("=")
    embedded = chart.template(values=LEAST)
    assert only(embedded, "PersistentVolumeClaim", "notellm-index")["metadata"]["labels"][name] == value
    own = chart.template(values=(*LEAST, "qdrant.own.enabled=true"))
    (claim,) = only(own, "StatefulSet", "notellm-qdrant")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"][name] == value


def test_the_key_file_that_is_shown_lets_in_whom_it_says(chart: Chart, folder: Path) -> None:
    (block,) = [block for block in OFFLINE if "keygen" in block]
    shell(chart, block, folder)
    written = (folder / "keys.toml").read_text()
    assert len(KeyRing.parse(written)) == 3
    scopes = {name: set(client["scopes"]) for name, client in tomllib.loads(written).items()}
    assert scopes == {
        "feed": {Scope.READ.value, Scope.WRITE.value},
        "prometheus": {Scope.METRICS.value},
        # A migration needs the first, an import that embeds the notes again all of them.
        "operator": {Scope.ADMIN.value, Scope.READ.value, Scope.WRITE.value},
    }


def training_job() -> Object:
    objects = yaml.safe_load_all((ROOT / "deploy" / "training" / "job.yaml").read_text())
    (job,) = of_kind(list(objects), "Job")
    return job


def test_the_training_job_finds_what_its_config_map_holds(chart: Chart, folder: Path) -> None:
    (command,) = [line for block in blocks_of(TRAINING) for line in block.splitlines() if "create configmap" in line]
    shown = yaml.safe_load(shell(chart, f"{command} --dry-run=client --output yaml", folder))
    assert shown["data"].keys() == {"torchrun.sh", "config.yaml"}
    job = training_job()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    called = [*container["command"], *container["args"]]
    assert [Path(part).name for part in called if part.startswith("/config/")] == ["torchrun.sh", "config.yaml"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["config"] == "/config"
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == shown["metadata"]["name"]


def test_the_training_job_waits_for_its_data_and_is_then_let_go() -> None:
    (block,) = [block for block in blocks_of(TRAINING) if "create configmap" in block]
    lines = block.splitlines()
    apply, *copies, remove, patch = [line for line in lines if re.match(r"kubectl (apply|cp|delete|patch) ", line)]
    assert "-f deploy/training/job.yaml -f deploy/training/fill.yaml" in apply
    assert {shlex.split(line)[2] for line in copies} == {"notes.parquet", "events.parquet", "huggingface"}
    assert remove == "kubectl delete -f deploy/training/fill.yaml"
    words, job = shlex.split(patch), training_job()
    assert words[:4] == ["kubectl", "patch", "job", job["metadata"]["name"]]
    assert job["spec"]["suspend"] is True
    assert json.loads(words[-1]) == {"spec": {"suspend": False}}


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target

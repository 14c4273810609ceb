"""Commands of the documentation: run where they need no cluster, and else with values that the chart takes."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from service.keys import KeyRing, Scope
from tests.deploy.chart import ROOT, Chart

PAGE = ROOT / "docs" / "kubernetes.md"
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
NEEDS = re.compile(r"# needs a (cluster|registry)\n")
OFFLINE = [block for block in BLOCKS if not NEEDS.match(block)]
INSTALLS = [
    line
    for block in BLOCKS
    if NEEDS.match(block)
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("helm upgrade --install") and "deploy/helm/notellm " in line
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader stands: in the repository, with an alert file of their own."""
    for name in ("deploy", "training"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "alerts.yml").write_text("groups: []\n")
    return tmp_path


def shell(chart: Chart, script: str, folder: Path) -> str:
    environment = dict(chart.environment) | {"METRICS_KEY": "m", "QDRANT_KEY": "q"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["bash", "-euo", "pipefail", "-c", script]
    outcome = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert outcome.returncode == 0, f"{script}\n{outcome.stdout[-2000:]}{outcome.stderr[-2000:]}"
    return outcome.stdout


def test_there_are_commands_of_both_kinds() -> None:
    assert len(OFFLINE) == 3
    assert len(INSTALLS) == 6


@pytest.mark.parametrize(
    "block", [block for block in OFFLINE if "keygen" not in block], ids=lambda block: shlex.split(block)[0]
)
def test_a_command_that_needs_no_cluster_runs(chart: Chart, folder: Path, block: str) -> None:
    assert shell(chart, block, folder)


@pytest.mark.parametrize("line", INSTALLS)
def test_an_installation_has_values_that_the_chart_takes(chart: Chart, folder: Path, line: str) -> None:
    rendered = shell(chart, line.replace("upgrade --install", "template", 1), folder)
    assert "kind: Deployment" in rendered


def test_the_key_file_that_is_shown_lets_in_whom_it_says(chart: Chart, folder: Path) -> None:
    (block,) = [block for block in OFFLINE if "keygen" in block]
    secret = yaml.safe_load(shell(chart, block, folder))
    assert (secret["kind"], secret["metadata"]["name"], list(secret["data"])) == ("Secret", "notellm-keys", ["keys.toml"])
    ring = KeyRing.parse((folder / "keys.toml").read_text())
    assert len(ring) == 2
    assert f'scopes = ["{Scope.METRICS.value}"]' in (folder / "keys.toml").read_text()


def test_the_training_job_finds_what_its_config_map_holds(chart: Chart, folder: Path) -> None:
    page = (ROOT / "deploy" / "training" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"^kubectl create configmap notellm-training .*$", page, re.MULTILINE)
    shown = yaml.safe_load(shell(chart, f"{command} --dry-run=client --output yaml", folder))
    assert shown["data"].keys() == {"torchrun.sh", "config.yaml"}
    (job,) = [
        item for item in yaml.safe_load_all((ROOT / "deploy" / "training" / "job.yaml").read_text()) if item["kind"] == "Job"
    ]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    called = [*container["command"], *container["args"]]
    assert [Path(part).name for part in called if part.startswith("/config/")] == ["torchrun.sh", "config.yaml"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts["config"] == "/config"
    volumes = {volume["name"]: volume for volume in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == shown["metadata"]["name"]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGE.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (PAGE.parent / target).exists(), target

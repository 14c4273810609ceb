"""The Kubernetes job of training: what the API takes, what torchrun.sh needs, and what the run may need on the disk."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.chart import ROOT, Object
from training.config import TrainingConfig

FOLDER = ROOT / "deploy" / "training"
CONFIG = ROOT / "training" / "configs" / "llama2-7b-a100x8.yaml"


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return list(yaml.safe_load_all((FOLDER / "job.yaml").read_text()))


@pytest.fixture(scope="module")
def pod(objects: list[Object]) -> Any:
    (job,) = [item for item in objects if item["kind"] == "Job"]
    return job["spec"]["template"]


@pytest.fixture(scope="module")
def filler() -> Any:
    return yaml.safe_load((FOLDER / "fill.yaml").read_text())


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_it_fits_the_schemas_of_kubernetes(objects: list[Object], filler: Any, version: str) -> None:
    assert [item["kind"] for item in objects] == ["PersistentVolumeClaim", "PersistentVolumeClaim", "Job"]
    for item in (*objects, filler):
        assert kubernetes_validate.validate(item, version, strict=True) == version


def test_it_is_locked_down(pod: Any, filler: Any) -> None:
    for spec in (pod["spec"], filler["spec"]):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_files_are_put_where_the_job_finds_them(pod: Any, filler: Any) -> None:
    (job,), (container,) = pod["spec"]["containers"], filler["spec"]["containers"]
    (mount,) = container["volumeMounts"]
    (volume,) = filler["spec"]["volumes"]
    assert volume in pod["spec"]["volumes"]
    assert mount | {"readOnly": True} in job["volumeMounts"]
    assert container["image"] == job["image"]
    assert filler["spec"]["securityContext"] == pod["spec"]["securityContext"]
    copies = re.findall(rf"kubectl cp \S+ {filler['metadata']['name']}:(\S+)", (FOLDER / "README.md").read_text())
    assert len(copies) == 3
    assert all(place.startswith(mount["mountPath"]) for place in copies)


def test_it_has_as_many_gpus_as_torchrun_starts_processes(pod: Any) -> None:
    (container,) = pod["spec"]["containers"]
    (default,) = re.findall(r"--nproc-per-node \"\$\{GPUS:-(\d+)\}\"", (FOLDER / "torchrun.sh").read_text())
    assert int(container["resources"]["limits"]["nvidia.com/gpu"]) == int(default)
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]


def test_volumes_are_there(objects: list[Object], pod: Any) -> None:
    (container,) = pod["spec"]["containers"]
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
    claims = {item["metadata"]["name"] for item in objects if item["kind"] == "PersistentVolumeClaim"}
    used = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "persistentVolumeClaim" in volume}
    assert used == claims
    places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert volumes[places["/dev/shm"]]["emptyDir"]["medium"] == "Memory"


def test_the_configuration_finds_its_data_and_the_output_its_volume(pod: Any) -> None:
    """Paths of the configuration are relative to the working directory."""
    (container,) = pod["spec"]["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    config = TrainingConfig.model_validate(yaml.safe_load(CONFIG.read_text()))
    for path in (config.data.notes, config.data.events, container["args"][1]):
        assert f"{container['workingDir']}/{path}".rsplit("/", 1)[0] in mounted, path


def test_it_is_the_image_that_the_dockerfile_makes(pod: Any) -> None:
    (container,) = pod["spec"]["containers"]
    assert container["image"].startswith("notellm-training:")
    assert "--target training --tag " + container["image"] in (FOLDER / "README.md").read_text()

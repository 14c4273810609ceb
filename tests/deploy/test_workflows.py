"""GitHub's workflows, as far as can be told without GitHub: actionlint, what they may do, and the script that they call."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tests.commands import ROOT, run
from tests.requirements import missing

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE_NOTES = ROOT / ".github" / "release-notes"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
# By major version: a tag that the action's authors move. Full commits would be stricter, and could not be looked up here.
PINNED = re.compile(r"^[\w-]+/[\w-]+@v\d+$")


def read(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def jobs() -> list[Any]:
    return [pytest.param(job, id=f"{file.stem}-{name}") for file in WORKFLOWS for name, job in read(file)["jobs"].items()]


def test_actionlint_finds_nothing() -> None:
    """Syntax, expressions, and the inputs and runtimes of the actions."""
    beside = Path(sys.executable).parent
    command = shutil.which("actionlint", path=f"{beside}{os.pathsep}{os.environ['PATH']}")
    run(command or missing("actionlint is missing: make install-dev"), "-no-color", *map(str, WORKFLOWS))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_nothing_may_be_written_but_the_release(file: Path) -> None:
    content = read(file)
    assert content["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in content["jobs"].items() if "permissions" in job} == (
        {"release": {"contents": "write"}} if file.stem == "release" else {}
    )


@pytest.mark.parametrize("job", jobs())
def test_actions_and_images_are_pinned_and_no_job_runs_for_ever(job: dict[str, Any]) -> None:
    if "uses" in job:
        assert job == {"uses": "./.github/workflows/ci.yml"}
        return
    assert job["timeout-minutes"] <= 90
    for step in job["steps"]:
        assert PINNED.match(step.get("uses", "owner/action@v1")), step
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}
        # What others choose (names of branches, titles) must not become code.
        assert "${{" not in step.get("run", "")


def test_a_change_passes_what_it_passes_here() -> None:
    steps = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["tests"]["steps"]
    assert [step["run"] for step in steps if "run" in step][-1].endswith(" .ci/run")


def test_a_fork_is_not_asked_for_a_variable_that_it_is_not_given() -> None:
    """GitHub passes the repository's variables to no pull request of another one."""
    steps = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["tests"]["steps"]
    (asking,) = [step for step in steps if "::error::" in step.get("run", "")]
    own = "github.event.pull_request.head.repo.full_name == github.repository"
    assert asking.get("if") == f"github.event_name != 'pull_request' || {own}"


def test_root_has_the_variables_that_the_script_reads() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    own = {"EUID", *re.findall(r"\b([A-Z_]+)=", script)}
    read_by_script = set(re.findall(r"\$\{?([A-Z_]+)", script)) - own
    assert "GITHUB_ACTIONS" in read_by_script
    last = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["tests"]["steps"][-1]["run"]
    (kept,) = re.findall(r"--preserve-env=(\S+)", last)
    # make and what it starts read the others.
    assert set(kept.split(",")) == read_by_script | {"CI", "PYTHON", "TORCH_INDEX"}


def test_every_python_that_is_supported_is_tested() -> None:
    """With the unit tests, and by `make` from that one on, which the job sets up."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    workflow = read(ROOT / ".github" / "workflows" / "ci.yml")
    assert workflow["env"]["PYTHON"] == "python3"
    assert workflow["jobs"]["python"]["strategy"]["matrix"]["python"] == named
    assert project["requires-python"] == f">={named[0]}"
    taken = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert taken
    assert taken[1].split() == [*(f"python{release}" for release in reversed(named)), "python3"]


def test_the_script_types_the_commands_of_the_readme_before_it_installs_anything_else() -> None:
    """But make, which the README names."""
    script = (ROOT / ".ci" / "run").read_text().partition("git clone")[2]
    readme = (ROOT / "README.md").read_text()
    first = script.index("make demo ARGS=")
    second = script.index("make test\n")
    assert first < second < min(script.index(word) for word in ("need ", "make install", "make test-rest"))
    for command in ("make demo", "make test"):
        assert re.search(rf"^{command}\b", readme, re.MULTILINE), command


def make_python(folder: Path, **variables: str) -> str:
    """The Python that make takes with these stand-ins for interpreters, and what it says."""
    done = subprocess.run(
        ["make", "--no-print-directory", f"VENV={folder}/none", "--dry-run", f"{folder}/none/bin/pip"], cwd=ROOT,
        env={"PATH": f"{folder}:/usr/bin:/bin"} | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (command,) = re.findall(r"^(.*) -m venv ", done.stdout, re.MULTILINE)
    return str(command)


@pytest.mark.parametrize(
    ("works", "broken", "taken"),
    [
        (["python3.13", "python3.12", "python3"], [], "python3.13"),
        (["python3.11"], ["python3.13", "python3.12"], "python3.11"),
        (["python3"], ["python3.13", "python3.12", "python3.11"], "python3"),
    ],
    ids=["the newest", "the newest that works", "no other"],
)
def test_make_takes_the_newest_python_that_works(works: list[str], broken: list[str], taken: str, tmp_path: Path) -> None:
    """A version manager puts commands on the PATH that only say which versions there are."""
    for name in works:
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    for name in broken:
        (tmp_path / name).write_text("#!/bin/sh\nexit 127\n")
    for command in tmp_path.iterdir():
        command.chmod(0o755)
    assert make_python(tmp_path) == str(tmp_path / taken)
    assert make_python(tmp_path, PYTHON="python3.99") == "python3.99"


def test_the_index_is_tested_with_the_server_that_is_shipped() -> None:
    server = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["qdrant"]["services"]["qdrant"]
    assert server["image"] == read(ROOT / "docker-compose.yml")["services"]["qdrant"]["image"]


def test_the_rules_are_tested_with_the_prometheus_that_is_shipped() -> None:
    (step,) = [
        step["run"] for step in read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["rules"]["steps"] if "run" in step
    ]
    assert f" {read(ROOT / 'docker-compose.yml')['services']['prometheus']['image']} " in step


def test_nothing_is_released_that_has_not_passed() -> None:
    release, checks = (read(ROOT / ".github" / "workflows" / f"{name}.yml") for name in ("release", "ci"))
    needs = {name: job.get("needs", []) for name, job in release["jobs"].items()}
    assert needs == {"tests": [], "packages": "tests", "image": "packages", "release": ["packages", "image"]}
    assert "workflow_call" in checks[cast("str", True)], "YAML 1.1 reads `on` so"


def test_release_notes_are_the_section_of_the_changelog() -> None:
    notes = run(str(RELEASE_NOTES), VERSION)
    section = (ROOT / "CHANGELOG.md").read_text().partition(f"\n## {VERSION}")[2].partition("\n## ")[0].partition("\n")[2]
    assert notes == section.strip()
    assert "### Added" in notes


@pytest.mark.parametrize("version", ["0.0.1", "0", "", "Unreleased"])
def test_a_version_without_notes_is_not_released(version: str) -> None:
    done = subprocess.run([RELEASE_NOTES, version], capture_output=True, text=True, check=False)
    assert done.returncode
    assert done.stdout == ""


@pytest.mark.slow("installs a package from an index")
def test_a_release_lists_what_is_installed(tmp_path: Path) -> None:
    steps = [step.get("run", "") for step in read(ROOT / ".github" / "workflows" / "release.yml")["jobs"]["packages"]["steps"]]
    assert ".github/sbom environment dist/notellm.cdx.json" in steps
    assert any('${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}' in step for step in steps), "as the image"
    script = subprocess.run(
        [ROOT / ".github" / "sbom", sys.prefix, tmp_path / "sbom.json"], capture_output=True, text=True, check=False
    )
    if script.returncode and "No matching distribution" in script.stderr:
        missing("no package index can be reached: connect this machine to one")
    assert script.returncode == 0, script.stderr
    held = json.loads((tmp_path / "sbom.json").read_text())
    assert (held["metadata"]["component"]["name"], held["metadata"]["component"]["version"]) == ("notellm", VERSION)
    versions = {part["name"].lower(): part["version"] for part in held["components"]}
    for package in ("torch", "transformers", "fastapi", "qdrant-client", "opentelemetry-sdk"):
        assert versions[package] == version(package)
    licensed = [part for part in held["components"] if part.get("licenses")]
    assert len(licensed) > 0.9 * len(held["components"])

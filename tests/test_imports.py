"""The import rules of pyproject.toml, between packages and between the floors of a package: they hold, and notice a breach."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter.configuration import configure
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.layers import LayersContract

from harness.processes import run_python

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")
RULES: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS = [contract for contract in RULES["contracts"] if contract["type"] == "layers"]


def floors(contract: dict[str, Any]) -> list[list[str]]:
    """Returns the floors from the top down, each as the list of its rooms."""
    (package,) = contract["containers"]
    return [[f"{package}.{room}" for room in line.split(" | ")] for line in contract["layers"]]


def breaches() -> Iterator[tuple[str, str, str]]:
    """Yields forbidden imports: for each room one of the floor above, and both directions between rooms of the same floor."""
    for contract in LAYERS:
        drawn = floors(contract)
        for upper, lower in pairwise(drawn):
            for room in lower:
                yield contract["name"], room, upper[0]
        for floor in drawn:
            for one, other in combinations(floor, 2):
                yield contract["name"], one, other
                yield contract["name"], other, one


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    configure()
    return grimp.build_graph(*RULES["root_packages"], include_external_packages=True, cache_dir=None)


def is_kept(name: str, graph: grimp.ImportGraph) -> bool:
    (options,) = [contract for contract in RULES["contracts"] if contract["name"] == name]
    kinds = {"layers": LayersContract, "forbidden": ForbiddenContract}
    contract = kinds[options["type"]](
        name=name,
        session_options={"root_packages": RULES["root_packages"], "include_external_packages": "True"},
        contract_options={
            key: str(value) if isinstance(value, bool) else value
            for key, value in options.items()
            if key not in {"name", "type"}
        },
    )
    # The check takes imports that are ignored out of the graph.
    kept: bool = contract.check(deepcopy(graph) if "ignore_imports" in options else graph, verbose=False).kept
    return kept


def test_the_import_rules_hold() -> None:
    outcome = subprocess.run([LINTER, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_every_package_has_its_floors() -> None:
    assert [contract["containers"] for contract in LAYERS] == [["service"], ["notellm"], ["training"]]
    assert all(contract["exhaustive"] for contract in LAYERS), "a new module at the root of a package must be given a floor"


@pytest.mark.parametrize(("name", "importer", "imported"), list(breaches()))
def test_a_breach_of_the_floors_is_noticed(name: str, importer: str, imported: str, graph: grimp.ImportGraph) -> None:
    assert is_kept(name, graph)
    broken = deepcopy(graph)
    broken.add_import(importer=importer, imported=imported)
    assert not is_kept(name, broken)


@pytest.mark.parametrize(
    ("name", "importer", "imported"),
    [
        ("The model package imports neither, and no HTTP, index or dataset library", "notellm.note", "fastapi"),
        ("The model package imports neither, and no HTTP, index or dataset library", "notellm.encoder", "httpx"),
        ("Nothing that is shipped or measured imports the tests", "benchmarks.speed", "tests.qdrant"),
        (
            "What is shipped imports neither the demo, nor the harness, nor the benchmarks",
            "service.notes.service",
            "harness.service",
        ),
        (
            "HTTP knows no engine and no index: it reaches them through notes and serving",
            "service.http.routes.notes",
            "service.engines.local",
        ),
    ],
)
def test_a_forbidden_import_is_noticed(name: str, importer: str, imported: str, graph: grimp.ImportGraph) -> None:
    assert is_kept(name, graph)
    broken = deepcopy(graph)
    if imported not in broken.modules:
        broken.add_module(imported, is_squashed=True)
    broken.add_import(importer=importer, imported=imported)
    assert not is_kept(name, broken)


@pytest.mark.parametrize(
    "command", ["service.cli", "service.bulk", "service.notes", "service.serving", "service.http", "notellm"]
)
def test_nothing_heavy_is_imported_before_it_is_used(command: str) -> None:
    """torch and transformers take seconds to import: `--help` and commands that use a running service must not wait for them."""
    run_python("-c", f"import sys, {command}; assert not {{'torch', 'transformers'}} & sys.modules.keys()", seconds=300)

"""The walls between the packages, as pyproject.toml draws them, and that they would notice a breach."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import run_python

ROOT = Path(__file__).parents[1]
LINTER = Path(sys.executable).with_name("lint-imports")


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINTER, "--no-cache"], cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False
    )


def test_the_import_rules_hold() -> None:
    outcome = lint(ROOT)
    assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("service/notes/service.py", "import training.model.initialize"),
        ("training/model/initialize.py", "import service.settings"),
        ("notellm/note.py", "import fastapi"),
        ("service/http/routes/notes.py", "import service.engines.local"),
    ],
)
def test_a_breach_is_noticed(file: str, line: str, tmp_path: Path) -> None:
    for package in ("notellm", "service", "training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")
    outcome = lint(tmp_path)
    assert outcome.returncode == 1
    assert "BROKEN" in outcome.stdout


def test_commands_do_not_wait_for_torch() -> None:
    """It takes seconds to import: whoever asks a running service, or has a wrong setting, is answered before that."""
    run_python("-c", "import sys, service.cli; assert not {'torch', 'transformers'} & sys.modules.keys()", seconds=300)

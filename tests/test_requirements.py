"""What is missing is skipped and told, and fails where it was promised. Each case is a pytest run of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.requirements import REQUIRE_ALL, REQUIREMENTS, ROOT

# A name that no machine has as a program, and one that a variable stands for.
TESTS = """
import pytest
from tests import requirements

requirements.REQUIREMENTS["nothing"] = requirements._program("notellm-no-such-program", "nothing")

@pytest.mark.needs("nothing")
@pytest.mark.parametrize("number", range(3))
def test_program(number):
    raise AssertionError("its program is missing")

@pytest.mark.needs("qdrant")
def test_server():
    raise AssertionError("its server is missing")

def test_without_a_mark():
    with pytest.raises(pytest.fail.Exception, match=r'mark this test with @pytest.mark.needs\\("nothing"\\)'):
        requirements.need("nothing")

@pytest.mark.needs("strace")
def test_another_mark():
    with pytest.raises(pytest.fail.Exception):
        requirements.need("nothing")
"""


def pytest_run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Without this project's conftest, which takes seconds to import."""
    (folder / "test_made_up.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = needs\nasyncio_default_fixture_loop_scope = function\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTELLM_TEST_")}
    plugins = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "tests.requirements")
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, "--rootdir", folder, folder], cwd=ROOT,
        env=environment | variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("options", [(), ("--numprocesses", "2")], ids=["one process", "two processes"])
def test_the_end_says_how_many_are_skipped_and_what_brings_them(options: tuple[str, ...], tmp_path: Path) -> None:
    done = pytest_run(tmp_path, *options, PATH=os.defpath, CI="true")
    assert done.returncode == 0, done.stdout
    assert "tests skipped: what they need, and what brings it" in done.stdout
    assert "\n    3  notellm-no-such-program is not installed: apt-get install nothing\n" in done.stdout
    assert f"\n    1  {REQUIREMENTS['qdrant'].reason}\n" in done.stdout


def test_where_everything_is_required_what_was_promised_fails(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, "-k", "program or server", **{REQUIRE_ALL: "1"})
    assert done.returncode == 1
    assert "1 skipped, 2 deselected, 3 errors" in done.stdout, "nobody promises a Qdrant server"
    assert f"apt-get install nothing ({REQUIRE_ALL} is set)" in done.stdout


@pytest.mark.slow("imports everything that tests import, in another process")
def test_nothing_is_printed_after_the_summary() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"{__file__}::{test_each_says_what_is_missing_and_what_brings_it.__name__}",
    ]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False
    )
    assert done.stdout.splitlines()[-1].startswith("1 passed in "), done.stdout


def test_each_says_what_is_missing_and_what_brings_it() -> None:
    for name, requirement in REQUIREMENTS.items():
        assert requirement.missing, name
        assert requirement.command, name
        assert requirement.is_here() in (True, False)

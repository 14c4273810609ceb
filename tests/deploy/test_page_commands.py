"""Every command of the documentation is run by a test, or its block says what it needs.

tests/test_operations_page.py and tests/deploy/test_documents.py do this for operations.md and kubernetes.md, and
tests/deploy/test_new_pages.py for the pages that came with the site. This file does it for all others.
"""

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.service import running_service
from tests.commands import ROOT

DOCS = ROOT / "docs"
OTHERS = {"operations.md", "kubernetes.md", "start.md", "train.md", "serve.md"}
BLOCK = re.compile(r"^( *)```(?:console|sh|bash)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
NEEDS = re.compile(
    r"# needs (a GPU|GPUs|an hour|half an hour|the files of MicroLens-50k|the internet|libjemalloc2|a package index that has notellm)\n"
)


def blocks_of(page: str) -> list[str]:
    """Its blocks of commands, without the spaces before all lines."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [re.sub(rf"^{lead}", "", block, flags=re.MULTILINE) for lead, block in BLOCK.findall(text)]


PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
TO_RUN = {page: [block for block in blocks_of(page) if not NEEDS.match(block)] for page in PAGES if page not in OTHERS}
# Blocks that other tests run with paths of their own: the file of the test, and the code in it that does.
ELSEWHERE = {
    ("api.md", "curl -s http://127.0.0.1:8000/v1/embeddings"): ("tests/integration/test_clients.py", 'program("curl", keyed)'),
    ("checkpoint.md", "notellm-train init-checkpoint"): ("tests/training/model/test_initialize.py", '"init-checkpoint",'),
    ("data.md", "notellm-train convert microlens"): ("tests/training/commands/test_data.py", '"convert", "microlens"'),
    ("evaluation.md", "notellm-train evaluate CONFIG"): ("tests/training/commands/test_evaluate.py", '"evaluate",'),
}
# Pages whose other blocks the tests below run.
HERE = {"api.md", "data.md", "security.md", "results/reliability.md"}


def elsewhere(page: str, block: str) -> tuple[str, str] | None:
    return next((test for (other, start), test in ELSEWHERE.items() if page == other and block.startswith(start)), None)


def own(page: str) -> list[str]:
    return [block for block in TO_RUN[page] if not elsewhere(page, block)]


def typed(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    beside = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{beside}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        ["bash", "-ec", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_every_block_is_run_or_says_what_it_needs() -> None:
    assert {page for page in TO_RUN if own(page)} == HERE
    for (page, start), (test, literal) in ELSEWHERE.items():
        assert [block for block in TO_RUN[page] if block.startswith(start)], start
        assert literal in (ROOT / test).read_text(encoding="utf-8"), (test, literal)


@pytest.mark.integration
@pytest.mark.needs("curl")
def test_the_calls_of_the_api_are_answered(tiny_path: Path, tmp_path: Path) -> None:
    with running_service(tiny_path, tmp_path / "data") as running:
        for block in own("api.md"):
            assert block.startswith("curl -s "), block
            done = typed(block.replace("http://127.0.0.1:8000", running.url), tmp_path)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["model"] == "tiny", done.stdout


@pytest.mark.slow("each command of the page is a process")
def test_the_commands_about_data_print_what_the_page_shows(tmp_path: Path) -> None:
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    with gzip.open(ROOT / "demo" / "notes.jsonl.gz", "rt", encoding="utf-8") as notes:
        (tmp_path / "some.jsonl").write_text(
            "".join(line for _, line in zip(range(300), notes, strict=False)), encoding="utf-8"
        )
    assert len(own("data.md")) == 4
    for block in own("data.md"):
        command, _, shown = block.removeprefix("$ ").partition("\n")
        done = typed(command, tmp_path)
        assert done.stdout + done.stderr == shown, command


@pytest.mark.integration
@pytest.mark.needs("curl")
def test_the_key_of_the_page_lets_its_client_in(tiny_path: Path, tmp_path: Path) -> None:
    """The service that the second command starts is the tests' own, since the command does not end."""
    (block,) = own("security.md")
    keygen, serve, ask = block.splitlines()
    assert serve == "NOTELLM_API_KEYS_FILE=keys.toml NOTELLM_HOST=0.0.0.0 notellm-serve"
    made = typed(keygen, tmp_path)
    assert made.returncode == 0, made.stderr
    (key,) = re.findall(r"[\w-]{40,}", made.stderr)
    keys = tmp_path / "keys.toml"
    with running_service(tiny_path, tmp_path / "data", NOTELLM_API_KEYS_FILE=str(keys), NOTELLM_HOST="0.0.0.0") as running:
        answers = [typed(ask.replace("http://host:8000", running.url), tmp_path, KEY=given).stdout for given in (key, "wrong")]
    assert json.loads(answers[0])["name"] == "tiny"
    assert json.loads(answers[1])["status"] == 401


def test_the_checks_of_reliability_are_tests() -> None:
    for line in "".join(own("results/reliability.md")).splitlines():
        command = re.fullmatch(r"(?:NOTELLM_TEST_\w+=\S+ )*python -m pytest (.*?)(?: +#.*)?", line)
        assert command, line
        for word in command[1].split():
            assert word in {"-m", "faults", "-s"} or (ROOT / word).exists(), line
        for variable in re.findall(r"NOTELLM_TEST_\w+", line):
            used = subprocess.run(["grep", "-rlw", variable, "tests"], cwd=ROOT, capture_output=True, text=True, check=False)
            assert used.stdout, variable

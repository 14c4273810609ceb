"""The commands as an operator runs them, with a running service and without one."""

import asyncio
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.service import RunningService, free_port, running_service
from notellm import Checkpoint, Note
from notellm.checkpoint import vector_name_of
from service.cli import main
from service.index import Description, EdgeIndex, IndexedNote, ModelVectors, Move
from tests.service.bulk.files import note, read_lines, write_lines

DOCS = Path(__file__).parents[3] / "docs"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `notellm-serve ARGUMENTS` in this process, which has already loaded torch."""

    def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        command = ["notellm-serve", *map(str, arguments)]
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("NOTELLM_")]:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", command)
            with pytest.raises(SystemExit) as ended:
                main()
        output = capsys.readouterr()
        return subprocess.CompletedProcess(command, int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, tiny_path: Path) -> Iterator[RunningService]:
    with running_service(tiny_path, tmp_path_factory.mktemp("data")) as service:
        yield service


def documented(command: str) -> list[list[str]]:
    """Returns the lines of docs/operations.md that run a command, as arguments."""
    lines = (DOCS / "operations.md").read_text(encoding="utf-8").splitlines()
    return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith(f"notellm-serve {command}")]


def test_the_documented_commands_through_a_service(run_command: Run, running: RunningService, tmp_path: Path) -> None:
    port = running.url.rpartition(":")[2]
    write_lines(tmp_path / "notes.jsonl", [*(note(number) for number in range(100)), "{broken"])
    [take_in, with_hashtags], [take_out], [bring_back, embed_again] = map(documented, ("ingest", "export", "import"))
    assert (with_hashtags, embed_again) == (["notes.jsonl", "--hashtags"], ["backup.jsonl.gz", "--embed"])
    for command, arguments, output in (
        ("ingest", take_in, "100 stored, 1 rejected"),
        ("ingest", with_hashtags, "100 unchanged, 1 rejected"),
        ("export", take_out, "100 notes"),
        ("import", bring_back, "100 unchanged"),
        ("import", embed_again, "100 unchanged"),
    ):
        file, *options = arguments
        outcome = run_command(command, tmp_path / file, *options, NOTELLM_PORT=port)
        assert outcome.returncode == 0, outcome.stderr
        assert output in outcome.stdout
        assert f"using the service at {running.url}" in outcome.stderr
    assert running.get("/model").json()["notes"] == 100
    again = run_command("ingest", tmp_path / "notes.jsonl", "--strict", "--url", running.url)
    assert again.returncode == 1
    assert "rejected rows: " in again.stdout
    metrics = running.get("/metrics").text
    assert 'notellm_notes_total{status="stored"} 100.0' in metrics
    assert 'notellm_notes_total{status="unchanged"}' in metrics


def test_without_a_service(run_command: Run, tiny_path: Path, tmp_path: Path) -> None:
    # API keys and rate limits apply to clients of a service only, so they must not get in the way here.
    keys = tmp_path / "keys.toml"
    keys.write_text(run_command("keygen", "feed", "--scope", "read").stdout)
    environment = {
        "NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_ENGINE": "local", "NOTELLM_PORT": str(free_port()),
        "NOTELLM_API_KEYS_FILE": str(keys), "NOTELLM_REQUESTS_PER_SECOND": "0.1",
    }  # fmt: skip
    first, second = (environment | {"NOTELLM_DATA_DIR": str(tmp_path / name)} for name in ("first", "second"))
    path = write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(100)])
    backup, again = tmp_path / "backup.jsonl", tmp_path / "again.jsonl"
    for arguments, data, output in (
        (["ingest", path], first, "100 stored"),
        (["export", backup], first, "100 notes"),
        (["import", backup], second, "100 stored"),
        (["export", again], second, "100 notes"),
    ):
        outcome = run_command(*arguments, **data)
        assert outcome.returncode == 0, outcome.stderr
        assert output in outcome.stdout
        assert "opening the index directly" in outcome.stderr
    assert [line.get("note") for line in read_lines(backup)] == [line.get("note") for line in read_lines(again)]


async def moving_index(directory: Path, source: Path, target: Path, *, switched: bool) -> None:
    """Makes an index of three notes that is moving to another model; two of the notes already have its vectors."""
    models = [
        ModelVectors(vector=vector_name_of(found), dimensions=found.manifest.dimensions, checkpoint=str(found.path))
        for found in map(Checkpoint.open, (source, target))
    ]
    payloads = [Note.model_validate(note(number)).payload() for number in range(3)]
    answering = models[1 if switched else 0]
    vectors = [np.eye(model.dimensions, dtype=np.float32)[0] for model in models]
    index = EdgeIndex.open(directory, vector_name=models[0].vector, dimensions=models[0].dimensions)
    await index.upsert([IndexedNote(payload, vectors[0]) for payload in payloads])
    move = Move(source=models[0], target=models[1])
    await index.describe_as(Description(vector=answering.vector, dimensions=answering.dimensions, migration=move))
    await index.of_model(models[1].vector).fill([IndexedNote(payload, vectors[1]) for payload in payloads[:2]])
    await index.close()


@pytest.mark.parametrize("switched", [False, True])
@pytest.mark.parametrize("configured", ["source", "target"])
def test_without_a_service_a_backup_is_of_the_model_that_answers(
    switched: bool, configured: str, run_command: Run, tiny_path: Path, next_path: Path, tmp_path: Path
) -> None:
    """The result is the same whichever of the two models the settings name."""
    asyncio.run(moving_index(tmp_path / "index", tiny_path, next_path, switched=switched))
    environment = {
        "NOTELLM_CHECKPOINT": str(tiny_path if configured == "source" else next_path),
        "NOTELLM_DATA_DIR": str(tmp_path), "NOTELLM_PORT": str(free_port()),
    }  # fmt: skip
    backup = tmp_path / "backup.jsonl"
    outcome = run_command("export", backup, **environment)
    assert outcome.returncode == 0, outcome.stderr
    header, *lines, footer = read_lines(backup)
    answering = Checkpoint.open(next_path if switched else tiny_path)
    assert (header["vector_name"], header["dimensions"]) == (vector_name_of(answering), answering.manifest.dimensions)
    assert sum(line["vector"] is None for line in lines) == footer["without_vector"] == switched
    assert ("notes without a vector: 1. import" in outcome.stdout) == switched
    assert "3 notes" in outcome.stdout
    outcome = run_command("import", backup, **environment)
    assert ("2 unchanged, 1 rejected" if switched else "3 unchanged") in outcome.stdout, outcome.stderr


def test_the_index_has_one_owner(run_command: Run, running: RunningService, tiny_path: Path, tmp_path: Path) -> None:
    environment = {
        "NOTELLM_CHECKPOINT": str(tiny_path), "NOTELLM_DATA_DIR": str(running.log.parent), "NOTELLM_PORT": str(free_port()),
    }  # fmt: skip
    outcome = run_command("export", tmp_path / "backup.jsonl", **environment)
    assert outcome.returncode == 1
    assert "another process has the index" in outcome.stderr
    assert not (tmp_path / "backup.jsonl").exists()


def test_what_is_wrong_is_one_line(run_command: Run, running: RunningService, tiny_path: Path, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "notes.jsonl", [note(1)])
    backup = tmp_path / "backup.jsonl"
    header = {"format": "notellm-backup", "format_version": 1, "vector_name": "other-1", "dimensions": 4}
    write_lines(backup, [json.dumps(header), json.dumps({"notes": 0})])
    nobody = f"http://127.0.0.1:{free_port()}"
    for arguments, environment, message in (
        (["ingest", path, "--url", nobody], {}, f"nothing answers at {nobody}"),
        (["ingest", path], {"NOTELLM_PORT": nobody.rpartition(":")[2]}, "NOTELLM_CHECKPOINT: Field required"),
        (["ingest", tmp_path / "none.jsonl", "--url", running.url], {}, "none.jsonl is missing"),
        (["import", backup, "--url", running.url], {}, "add --embed to embed the notes again"),
        (["import", path, "--url", running.url], {}, "is not a backup that this release can read"),
    ):
        outcome = run_command(*arguments, **environment)
        assert outcome.returncode == 1
        last = outcome.stderr.strip().splitlines()[-1]
        assert last.startswith("notellm-serve: ")
        assert message in last
        assert "Traceback" not in outcome.stderr

"""What is kept of a run over a file. `test_ingest.py` and the other commands' tests show what it is good for."""

from collections import Counter
from pathlib import Path

import pytest

from notellm.note_files import Row
from service.bulk.batches import Reject
from service.bulk.progress import Progress
from service.errors import CommandError
from tests.service.bulk.files import note, read_lines, write_lines
from tests.service.disk_log import log_disk


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "notes.jsonl", [note(number) for number in range(4)])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def test_progress_is_on_the_disk_before_the_rejects_and_so_are_their_names(
    source: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut could take the progress away that a killed process leaves."""
    with Progress(source, "ingest", place) as progress:
        log = log_disk(monkeypatch)
        progress.commit(2, Counter(stored=1), [Reject(Row(2, {}), "no title")])
    name = "notes.jsonl.progress.json"
    assert log == [f"sync {name}.partial", f"rename {name}.partial to {name}", "sync state", "sync notes.jsonl.rejects.jsonl"]


def test_another_run_goes_on_before_the_last_batch_and_rejects_are_told_once(source: Path, place: Path) -> None:
    with Progress(source, "ingest", place) as progress:
        progress.commit(2, Counter(stored=1), [Reject(Row(2, {}), "no title")])
        progress.commit(4, Counter(stored=1), [Reject(Row(3, {}), "too long")])
    with Progress(source, "ingest", place) as progress:
        assert (progress.state.rows, progress.state.counts) == (2, {"stored": 1, "rejected": 1})
        progress.restart(progress.state)
        assert [line["reason"] for line in read_lines(progress.rejects)] == ["no title"]


def test_a_place_that_cannot_be_written_any_more_is_told(source: Path, place: Path) -> None:
    with Progress(source, "ingest", place) as progress:
        (place / "notes.jsonl.progress.json").mkdir()
        with pytest.raises(CommandError, match=r"progress cannot be kept in .*Choose another directory with --state-dir"):
            progress.commit(2, Counter(stored=2), [])

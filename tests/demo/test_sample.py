"""The committed sample is what its notice says, and what the script makes of the dumps."""

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from demo import build_sample
from demo.sample import sample_notes
from tests.requirements import STACKEXCHANGE
from training.data import read_notes

DEMO = Path(build_sample.__file__).parent
FILES = ("notes.jsonl.gz", "events.csv.gz", "attribution.csv.gz")


def rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DEMO / name, "rt", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_sample_is_whole_and_attributed() -> None:
    notes = list(read_notes(DEMO / "notes.jsonl.gz"))
    assert Counter(note.category for note in notes) == {
        "ai": 421, "beer": 591, "coffee": 225, "matheducators": 397, "quantumcomputing": 612,
    }  # fmt: skip
    ids = [note.id for note in notes]
    assert [row["note"] for row in rows("attribution.csv.gz")] == ids
    assert all(row["author"] and row["author_url"] and row["url"].startswith("https://") for row in rows("attribution.csv.gz"))
    assert {row["note"] for row in rows("events.csv.gz")} <= set(ids)
    assert {row["event"] for row in rows("events.csv.gz")} == {"ask", "answer", "comment", "favourite", "link"}
    assert sum((DEMO / name).stat().st_size for name in FILES) < 4 * 2**20
    assert "CC BY-SA" in (DEMO / "README.md").read_text(encoding="utf-8")


def test_the_adapter_is_small() -> None:
    """Of the whole checkpoint only this is in the repository: adapters, projection, and the row of [EMB] among them."""
    assert sum(path.stat().st_size for path in (DEMO / "adapter").iterdir()) < 12 * 2**20


def test_the_demo_takes_as_many_notes_of_each_site() -> None:
    assert set(Counter(note.category for note in sample_notes(60)).values()) == {60}
    assert len({note.id for note in sample_notes(225)}) == 5 * 225


@pytest.mark.needs("stackexchange")
def test_the_script_makes_the_committed_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(build_sample, "HERE", tmp_path)
    build_sample.main(STACKEXCHANGE)
    for name in FILES:
        assert gzip.decompress((tmp_path / name).read_bytes()) == gzip.decompress((DEMO / name).read_bytes())

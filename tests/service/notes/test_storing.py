"""What is planned for a note, by what is stored under its id."""

from dataclasses import replace

import pytest

from service.index import Entry, IndexedNote, Tombstone
from service.notes.storing import StoredResult, plan, to_write
from tests.service.index.backends import indexed, vector

STORED = indexed(1, version=2)
BARE = replace(STORED, vector=None)


@pytest.mark.parametrize(
    ("note", "found", "status", "kept"),
    [
        (BARE, None, "stored", False),
        (BARE, STORED, "unchanged", True),
        (BARE, BARE, "stored", False),  # during a migration: it has no vector of the model that answers
        (indexed(1, version=3, category="tea"), STORED, "stored", True),
        (indexed(1, version=2, title="other"), STORED, "stored", False),
        (indexed(1, version=1), STORED, "stale", False),
        (indexed(1, version=1), BARE, "stale", False),
        (indexed(1), STORED, "stored", True),
        (BARE, Tombstone("n1", 1), "stored", False),
        (BARE, Tombstone("n1", 2), "stale", False),
        (indexed(1), Tombstone("n1", 2), "stored", False),
    ],
)
def test_plan(note: IndexedNote, found: Entry | None, status: str, kept: bool) -> None:
    planned = plan(note, found)
    assert planned.status == status
    assert planned.vector is (STORED.vector if kept else None)
    assert planned.lacks_vector == (status == "stored" and not kept)
    assert (planned.tokens, planned.truncated) == (0, ())


def test_only_what_is_to_be_stored_is_written() -> None:
    notes = [replace(indexed(number), vector=None) for number in range(3)]
    results = {
        "n0": StoredResult("stored", vector(5)), "n1": StoredResult("unchanged", vector(6)), "n2": StoredResult("stored", vector(7)),
    }  # fmt: skip
    first, second = to_write(notes, results, {"n2": {"m-2": vector(8)}})
    assert (first.payload, first.vector, dict(first.others)) == (notes[0].payload, results["n0"].vector, {})
    assert (second.id, list(second.others)) == ("n2", ["m-2"])

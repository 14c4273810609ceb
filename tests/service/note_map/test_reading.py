"""What a map reads from an index."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from notellm.note import Note
from service.index import IndexedNote
from service.note_map.reading import MOST_TITLE, MapNote, read_notes
from tests.service.note_map.archives import archive_of, clusters, stored


async def test_it_reads_every_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.note_map.reading.PAGE_NOTES", 7)
    said: list[float] = []
    async with archive_of(tmp_path, stored(30)) as archive:
        read = await read_notes(archive, report=said.append)
    assert (read.vector_name, read.total) == ("m-1", 30)
    assert {note.id for note in read.notes} == {f"n{number}" for number in range(30)}
    one = next(note for note in read.notes if note.id == "n4")
    assert (one.title, one.category, one.hashtags) == ("Note 4", "coffee", ("coffee",))
    np.testing.assert_allclose(one.vector, clusters(30)[4], atol=1e-6)
    assert said == sorted(said)
    assert 0 < said[0] < said[-1] <= 1


async def test_a_sample_is_even_and_the_same_each_time(tmp_path: Path) -> None:
    async with archive_of(tmp_path, stored(400)) as archive:
        read = await read_notes(archive, most=100)
        again = await read_notes(archive, most=100)
        everything = [note.id for note in (await read_notes(archive)).notes]
    ids = [note.id for note in read.notes]
    assert (read.total, len(set(ids)), ids) == (400, 100, [note.id for note in again.notes])
    later = sum(everything.index(one) >= 200 for one in ids)
    assert 30 <= later <= 70


async def test_an_empty_index_is_read(tmp_path: Path) -> None:
    async with archive_of(tmp_path, []) as archive:
        assert (await read_notes(archive)).notes == []


async def test_notes_without_a_vector_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with archive_of(tmp_path, stored(5)) as archive:
        page = await archive.page(None, 10)
        page.notes[2] = replace(page.notes[2], vector=None)

        async def halfway(*_: object) -> object:
            return page

        monkeypatch.setattr(archive, "page", halfway)
        read = await read_notes(archive)
        assert (len(read.notes), read.total, read.counted) == (4, 4, 5)


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": "  two\n words "}, "two words"),
        ({"content": "only text"}, "only text"),
        ({"hashtags": ("tag",)}, "x"),
        ({"title": "a" * 2000}, "a" * (MOST_TITLE - 1) + "…"),
        ({"title": "مرحبا"}, "مرحبا"),
    ],
)
def test_every_note_has_a_title(fields: dict[str, object], title: str) -> None:
    vector = np.ones(2, dtype=np.float32)
    note = Note.model_validate({"id": "x", **fields})
    assert MapNote.of(IndexedNote(note.payload(), vector), vector).title == title

"""Pages of the list by nearness, on every index: each note is on one of them, also among equally near ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from service.index import IndexedNote, NoteFilter, NoteIndex, ScoredNote
from service.notes.nearest import nearest_page
from tests.service.index.backends import DIMENSIONS, indexed, vector

# Reposts: many notes with one vector, in the midst of others.
REPOSTED = 60
NOTES = [
    replace(indexed(number % 20, id=f"n{number}"), vector=vector(777 if number % 5 < 2 else number))
    for number in range(5 * REPOSTED // 2)
]
QUERY = (vector(777) + 3 * vector(999)) / np.linalg.norm(vector(777) + 3 * vector(999))


async def page(index: NoteIndex, size: int, offset: int, where: NoteFilter) -> list[ScoredNote]:
    return await nearest_page(index, QUERY, where=where, limit=size, offset=offset, min_score=None)


async def store(index: NoteIndex, notes: Sequence[IndexedNote]) -> None:
    for start in range(0, len(notes), 50):
        await index.upsert(notes[start : start + 50])


@pytest.mark.parametrize("where", [NoteFilter(), NoteFilter(category="odd", exclude=["n1", "n5", "n9"])])
async def test_pages_of_any_size_make_up_one_list(where: NoteFilter, index: NoteIndex) -> None:
    await store(index, NOTES)
    counted = [note for note in NOTES if note.id not in where.exclude and where.category in {None, note.payload["category"]}]
    reposts = sorted(note.id for note in counted if int(note.id[1:]) % 5 < 2)
    whole = [note.id for note in await page(index, len(NOTES), 0, where)]
    assert set(whole) == {note.id for note in counted}
    begin = whole.index(reposts[0])
    assert 0 < begin < len(whole) - len(reposts), "they are in the midst"
    assert whole[begin : begin + len(reposts)] == reposts
    for size in (1, 7, 10, 25, 64):
        paged = [note.id for offset in range(0, len(whole) + size, size) for note in await page(index, size, offset, where)]
        assert paged == whole


async def test_a_page_among_different_notes_is_one_question(index: NoteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    await store(index, NOTES)
    asked, search = [], type(index).search

    async def counting(self: NoteIndex, *arguments: object, **options: object) -> list[ScoredNote]:
        asked.append(options["limit"])
        found: list[ScoredNote] = await search(self, *arguments, **options)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(type(index), "search", counting)
    found = await page(index, 3, 0, NoteFilter())
    assert [note.score for note in found] == sorted({note.score for note in found}, reverse=True), "no reposts"
    assert asked == [4]


async def test_behind_the_last_note_there_is_nothing(index: NoteIndex) -> None:
    assert await page(index, 10, 0, NoteFilter()) == []
    await store(index, NOTES)
    assert await page(index, 10, len(NOTES), NoteFilter()) == []
    assert len(await page(index, 10, len(NOTES) - 4, NoteFilter())) == 4


async def test_a_least_score_is_within_the_range(index: NoteIndex) -> None:
    """Who gives back a score that was answered finds that note again. These cosines are eighths, without rounding."""
    signs = np.random.default_rng(5).choice([-0.25, 0.25], (40, DIMENSIONS)).astype(np.float32)
    await store(index, [replace(note, vector=one) for note, one in zip(NOTES, signs[1:], strict=False)])
    whole = await index.search(signs[0], where=NoteFilter(), limit=40)
    for least in sorted({note.score for note in whole}):
        found = await index.search(signs[0], where=NoteFilter(), limit=40, min_score=least)
        assert [note.score for note in found] == [note.score for note in whole if note.score >= least]
    assert await index.search(signs[0], where=NoteFilter(), limit=40, min_score=whole[0].score + 0.01) == []

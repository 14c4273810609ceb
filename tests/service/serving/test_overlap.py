"""The notes by which two models are compared: as many as are asked for, wherever in the index they lie."""

from dataclasses import replace
from uuid import UUID

import pytest

from service.index import IndexedNote, NoteIndex, Tombstone
from service.serving import overlap
from service.serving.overlap import neighbour_overlap, notes_of_both
from tests.service.index.backends import NOTES
from tests.service.index.test_models import MOVING, new_vector

BOTH = NOTES[:12]


@pytest.fixture
async def models(index: NoteIndex, monkeypatch: pytest.MonkeyPatch) -> tuple[NoteIndex, NoteIndex]:
    """An index of 12 notes with vectors of both models, 8 with one, and 200 that were deleted; it is read in many pages."""
    monkeypatch.setattr(overlap, "PAGE", 7)
    await index.describe_as(MOVING)
    await index.upsert([*map(of_both, BOTH), *NOTES[len(BOTH) :]])
    await index.bury([Tombstone(f"gone {number}", 1) for number in range(200)])
    return index, index.of_model("m-2")


def of_both(note: IndexedNote) -> IndexedNote:
    return replace(note, others={"m-2": new_vector(note)})


async def test_deleted_notes_and_those_of_one_model_do_not_count(models: tuple[NoteIndex, NoteIndex]) -> None:
    assert (await neighbour_overlap(*models, sample=10, k=3)).notes == 10
    compared = await neighbour_overlap(*models, sample=1000, k=3)
    assert compared.notes == len(BOTH)
    assert compared.mean is not None
    assert 0 < compared.mean <= 1


@pytest.mark.parametrize("place", [0, 2**127, 2**128 - 1], ids=["first", "middle", "last"])
async def test_it_goes_round_the_index(
    place: int, models: tuple[NoteIndex, NoteIndex], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "uuid4", lambda: UUID(int=place))
    assert (await notes_of_both(*models, 1000)).keys() == {note.id for note in BOTH}
    assert len(await notes_of_both(*models, 5)) == 5


async def test_not_always_the_same_notes_are_compared(models: tuple[NoteIndex, NoteIndex]) -> None:
    samples = {tuple(await notes_of_both(*models, 2)) for _ in range(30)}
    assert len(samples) > 2


async def test_without_vectors_of_both_nothing_is_compared(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    await index.describe_as(MOVING)
    compared = await neighbour_overlap(index, index.of_model("m-2"), sample=10, k=3)
    assert (compared.notes, compared.mean) == (0, None)

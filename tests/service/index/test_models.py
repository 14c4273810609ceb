"""Two models in one index, and what stays of deleted notes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import IndexUnavailable, InvalidRequest, StartupError
from service.index import EdgeIndex, IndexedNote, NoteFilter, NoteIndex, Tombstone, Vector
from service.index.description import Description, ModelVectors, Move
from tests.service.index.backends import DIMENSIONS, NOTES, STRICT_BACKENDS, deleted_versions, indexed, open_index, vector

OLD = ModelVectors(vector="m-1", dimensions=DIMENSIONS, checkpoint="/checkpoints/1")
NEW = ModelVectors(vector="m-2", dimensions=4, checkpoint="/checkpoints/2")
MOVING = Description(vector=OLD.vector, dimensions=OLD.dimensions, migration=Move(source=OLD, target=NEW))


def new_vector(note: IndexedNote) -> Vector:
    assert note.vector is not None
    cut = note.vector[: NEW.dimensions]
    return cut / np.linalg.norm(cut)


def by_new(notes: list[IndexedNote]) -> list[IndexedNote]:
    return [replace(note, vector=new_vector(note)) for note in notes]


async def ids(index: NoteIndex, *, lacking: bool = False) -> list[str]:
    found: list[str] = []
    start, first = None, True
    while first or start:
        page = await index.scroll(start=start, limit=7, lacking=lacking)
        found += [note.id for note in page.notes]
        start, first = page.next, False
    return sorted(found)


async def test_an_index_knows_whose_vectors_it_holds(index: NoteIndex) -> None:
    assert await index.describe() == Description(vector="m-1", dimensions=DIMENSIONS)
    await index.describe_as(MOVING)
    await index.describe_as(MOVING)
    assert await index.describe() == MOVING
    switched = MOVING.answering(NEW)
    await index.describe_as(switched)
    assert (await index.describe()).served == NEW
    assert (await index.describe()).other == OLD


async def test_vectors_of_another_model_are_filled_in(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    await index.describe_as(MOVING)
    new = index.of_model("m-2")
    assert await new.count(lacking=True) == len(NOTES)
    assert await ids(new, lacking=True) == sorted(note.id for note in NOTES)
    await new.fill(by_new(NOTES[:15]))
    assert await ids(new, lacking=True) == sorted(note.id for note in NOTES[15:])
    assert await new.count(lacking=True) == 5
    assert await index.count(lacking=True) == 0
    query = new_vector(NOTES[3])
    found = await new.search(query, where=NoteFilter(), limit=100, with_vectors=True)
    expected = sorted(((float(new_vector(note) @ query), note.id) for note in NOTES[:15]), reverse=True)
    assert [hit.id for hit in found] == [note_id for _, note_id in expected]
    np.testing.assert_allclose([hit.score for hit in found], [score for score, _ in expected], atol=1e-4)
    assert all(hit.vector is not None and hit.vector.shape == (NEW.dimensions,) for hit in found)
    old = await index.get(["n3"], with_vectors=True)
    np.testing.assert_allclose(old["n3"].vector, vector(3), atol=1e-6)  # type: ignore[arg-type]
    assert (await new.get(["n19"], with_vectors=True))["n19"].vector is None


async def test_filling_brings_nothing_back_and_overwrites_nothing(index: NoteIndex) -> None:
    await index.upsert([*NOTES[:4], indexed(4, version=2), indexed(5)])
    await index.describe_as(MOVING)
    new = index.of_model("m-2")
    page = (await new.scroll(limit=10, lacking=True)).notes
    await index.delete(["n1", "n4"])
    await index.upsert([indexed(2, title="another text")])
    await new.fill([replace(note, vector=np.array([1, 0, 0, 0], dtype=np.float32)) for note in page])
    assert await ids(index) == ["n0", "n2", "n3", "n5"]
    assert await ids(new, lacking=True) == ["n2"]
    assert (await index.get(["n2"]))["n2"].payload["title"] == "another text"


async def test_a_note_is_stored_with_vectors_of_both(index: NoteIndex) -> None:
    await index.upsert(NOTES[:2])
    await index.describe_as(MOVING)
    new = index.of_model("m-2")
    await index.upsert([replace(note, others={"m-2": new_vector(note)}) for note in NOTES[1:4]])
    assert await ids(new, lacking=True) == ["n0"]
    stored = (await new.get(["n2"], with_vectors=True))["n2"].vector
    np.testing.assert_allclose(stored, new_vector(NOTES[2]), atol=1e-6)  # type: ignore[arg-type]
    await new.upsert([replace(by_new(NOTES[:1])[0], others={"m-1": vector(0)})])
    assert await ids(new, lacking=True) == await ids(index, lacking=True) == []
    await index.upsert([indexed(3, title="changed")])
    assert await ids(new, lacking=True) == ["n3"], "an old vector would be that of another text"


async def test_a_model_is_dropped(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    await index.describe_as(MOVING)
    new = index.of_model("m-2")
    await new.fill(by_new(NOTES))
    await index.describe_as(Description(vector="m-2", dimensions=4, checkpoint="/checkpoints/2", dropping="m-1"))
    await index.drop("m-1")
    assert await index.describe() == Description(vector="m-2", dimensions=4, checkpoint="/checkpoints/2")
    assert await new.count() == len(NOTES)
    assert len(await new.search(new_vector(NOTES[0]), where=NoteFilter(), limit=100)) == len(NOTES)
    assert (await index.get(["n3"], with_vectors=True))["n3"].vector is None
    page = await index.scroll(limit=100)
    assert {note.vector for note in page.notes} == {None}
    assert await ids(index, lacking=True) == sorted(note.id for note in NOTES)
    assert await index.count(lacking=True) == len(NOTES)
    # and can be added again
    await index.describe_as(MOVING.answering(NEW))
    assert await ids(index, lacking=True) == sorted(note.id for note in NOTES)


@pytest.mark.parametrize("index", STRICT_BACKENDS, indirect=True)
async def test_a_replica_that_still_follows_a_model_that_is_gone(index: NoteIndex) -> None:
    """Another replica has ended the migration meanwhile."""
    await index.upsert(NOTES[:5])
    await index.describe_as(MOVING)
    new = index.of_model("m-2")
    await new.fill(by_new(NOTES[:5]))
    await index.describe_as(Description(vector="m-2", dimensions=4, checkpoint="/checkpoints/2", dropping="m-1"))
    await index.drop("m-1")
    await index.drop("m-1")
    with pytest.raises(InvalidRequest, match="the served model has changed since this request began: send it again") as refused:
        await index.search(vector(1), where=NoteFilter(), limit=3)
    assert [error.rule for error in refused.value.errors] == ["another_model"]
    both = [
        replace(indexed(5), others={"m-2": new_vector(NOTES[5])}),
        replace(indexed(1), others={"m-2": new_vector(NOTES[9])}),
    ]
    assert await index.upsert(both) == ["stored", "stored"]
    stored = await new.get(["n5", "n1"], with_vectors=True)
    np.testing.assert_allclose(stored["n5"].vector, new_vector(NOTES[5]), atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(stored["n1"].vector, new_vector(NOTES[9]), atol=1e-6)  # type: ignore[arg-type]
    for write in (index.upsert([indexed(6)]), index.restore([indexed(7)]), index.fill(NOTES[:2])):
        with pytest.raises(IndexUnavailable):
            await write
    assert await ids(new) == ["n0", "n1", "n2", "n3", "n4", "n5"]


async def test_a_deleted_note_comes_back_by_a_newer_version_only(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=3), indexed(2, version=3), indexed(3, version=3), indexed(4), indexed(5, version=0)])
    await index.delete(["n1", "n2", "n3", "n4", "n5"])
    assert await index.count() == 0
    assert await ids(index) == []
    assert await index.get(["n1", "n4"], with_vectors=True) == {}
    assert await index.search(vector(1), where=NoteFilter(), limit=10) == []
    await index.upsert([indexed(1, version=2), indexed(2, version=3), indexed(5, version=0)])
    assert await index.get(["n1", "n2", "n5"]) == {}, "a replay of what was deleted"
    await index.delete(["n1"])
    await index.restore([indexed(1, version=3), indexed(2)])
    assert await index.get(["n1", "n2"]) == {}
    await index.upsert([indexed(1, version=4), indexed(4), indexed(3)])
    await index.restore([indexed(2, version=4)])
    assert sorted(await index.get(["n1", "n2", "n3", "n4"])) == ["n1", "n2", "n3", "n4"]
    assert await index.count() == 4
    assert await ids(index) == ["n1", "n2", "n3", "n4"]
    assert len(await index.search(vector(1), where=NoteFilter(), limit=10)) == 4


async def test_tombstones_are_in_the_pages_and_can_be_stored_elsewhere(index: NoteIndex, tmp_path: Path) -> None:
    await index.upsert([*NOTES, indexed(21, version=3), indexed(22, version=0), indexed(23)])
    await index.delete(["n21", "n22", "n23"])
    found: list[Tombstone] = []
    start, first = None, True
    while first or start:
        page = await index.scroll(start=start, limit=7)
        found += page.deleted
        start, first = page.next, False
    left = [Tombstone("n21", 3), Tombstone("n22", 0)]
    assert sorted(found, key=lambda one: one.id) == left
    assert await deleted_versions(index, ["n21", "n22", "n23", "n1", "n99"]) == {"n21": 3, "n22": 0}
    assert (await index.scroll(limit=100, lacking=True)).deleted == []
    async with open_index("edge", tmp_path / "other") as other:
        await other.bury(found)
        await other.bury([])
        assert await other.count() == 0
        await other.upsert([indexed(21, version=3), indexed(22, version=0), indexed(23)])
        assert sorted(await other.get(["n21", "n22", "n23"])) == ["n23"]


async def test_a_tombstone_takes_the_place_of_nothing_that_is_newer(index: NoteIndex) -> None:
    versions: list[int | None] = [2, 3, 4, None]
    await index.upsert([indexed(number, version=version) for number, version in enumerate(versions)])
    await index.upsert([indexed(number, version=version) for number, version in enumerate([2, 3, 4], start=10)])
    await index.delete(["n10", "n11", "n12"])
    await index.bury([Tombstone(f"n{number}", 3) for number in (0, 1, 2, 3, 10, 11, 12, 13)])
    assert await deleted_versions(index, [f"n{number}" for number in range(20)]) == {
        "n0": 3, "n1": 3, "n10": 3, "n11": 3, "n12": 4, "n13": 3,
    }  # fmt: skip
    assert sorted(await index.get(["n0", "n1", "n2", "n3"])) == await ids(index) == ["n2", "n3"]
    assert {hit.id for hit in await index.search(vector(0), where=NoteFilter(), limit=10)} == {"n2", "n3"}
    assert await index.count() == 2
    assert await index.count(lacking=True) == 0
    await index.upsert([indexed(0, version=4)])
    assert await ids(index) == ["n0", "n2", "n3"]


async def test_an_embedded_index_with_tombstones_of_elsewhere_is_opened_again(tmp_path: Path) -> None:
    async with open_index("edge", tmp_path) as index:
        await index.upsert([indexed(number, version=1) for number in range(5)])
        await index.bury([Tombstone(f"n{number}", 2) for number in range(3, 8)])
    async with open_index("edge", tmp_path) as index:
        assert await ids(index) == ["n0", "n1", "n2"]
        assert await index.count() == 3
        assert len(await deleted_versions(index, [f"n{number}" for number in range(10)])) == 5


async def test_deleting_does_not_undo_a_later_version(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=3)])
    await index.delete(["n1"])
    await index.delete(["n1"])
    await index.upsert([indexed(1, version=5)])
    assert (await index.get(["n1"]))["n1"].version == 5


async def test_an_embedded_index_is_opened_in_every_state(tmp_path: Path) -> None:
    """As after a kill between any two steps."""

    def opened(name: str = "m-1", dimensions: int = DIMENSIONS) -> EdgeIndex:
        return EdgeIndex.open(tmp_path, vector_name=name, dimensions=dimensions)

    index = opened()
    await index.upsert([*NOTES, indexed(30, version=1)])
    await index.delete(["n30"])
    await index.close()
    file = tmp_path / "index.json"
    assert set(Description.read(file.read_bytes(), "").model_dump(exclude_none=True)) == {"format", "vector", "dimensions"}
    file.write_text(MOVING.write())  # noted down, and the vectors not yet added
    index = opened("m-2", 4)
    assert await index.count(lacking=True) == len(NOTES)
    await index.fill(by_new(NOTES))
    await index.close()
    ended = Description(vector="m-2", dimensions=4, dropping="m-1")
    file.write_text(ended.write())  # noted down, and not yet dropped
    with pytest.raises(StartupError, match="holds vectors of m-2 and the checkpoint is m-1"):
        opened()
    index = opened("m-2", 4)
    assert (await index.describe()).dropping == "m-1", "not before every note has a vector that stays"
    with pytest.raises(IndexUnavailable, match="the vectors of m-2 are in use"):
        await index.drop("m-2")
    await index.drop("m-1")
    assert (await index.describe()).dropping is None
    assert await index.count(lacking=True) == 0
    await index.close()
    file.write_text(ended.write())  # dropped, and not yet crossed off
    index = opened("m-2", 4)
    assert await index.count() == len(NOTES)
    await index.close()


async def test_what_a_later_release_writes_is_refused(tmp_path: Path) -> None:
    await EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS).close()
    (tmp_path / "index.json").write_text('{"format": 2, "vector": "m-1", "dimensions": 16}')
    with pytest.raises(StartupError, match=r"index\.json is not readable: format"):
        EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)

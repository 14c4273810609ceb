"""`optimize_index`: what the graph finds, what may be done to an index that has one, and what an interruption leaves."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import CommandError, StartupError
from service.index import EdgeIndex, IndexedNote, NoteFilter, Vector
from service.index.description import Description, ModelVectors, Move
from service.index.edge import optimize as optimize_module, search
from service.index.edge.integrity import Ledger
from service.index.edge.optimize import Graph, Optimized, optimize_index
from service.index.edge.swap import OPTIMIZING, REPLACED, SHARD
from tests.service.index.backends import deleted_versions
from tests.service.index.notes import DIMENSIONS, indexed_notes

NAME = "tiny-0"
NOTES = 3000
# So small a set would be scanned in any case, which is exact: the graph is what is meant here.
GRAPH = Graph(m=16, ef_construct=64, threads=1, full_scan_kib=1)


def open_index(directory: Path, vector_name: str = NAME) -> EdgeIndex:
    return EdgeIndex.open(directory, vector_name=vector_name, dimensions=DIMENSIONS)


async def optimize(directory: Path, **settings: int) -> Optimized:
    return await asyncio.to_thread(optimize_index, directory, vector_name=NAME, dimensions=DIMENSIONS, graph=GRAPH, **settings)


async def filled(directory: Path, notes: Sequence[IndexedNote]) -> None:
    index = open_index(directory)
    for start in range(0, len(notes), 500):
        await index.upsert(notes[start : start + 500])
    await index.close()


def tea_and_beer() -> list[IndexedNote]:
    """A quarter of them is of the category beer."""
    notes = enumerate(indexed_notes(NOTES))
    return [replace(note, payload=note.payload | {"category": "tea" if number % 4 else "beer"}) for number, note in notes]


def vector_of(note: IndexedNote) -> Vector:
    assert note.vector is not None
    return note.vector


def queries(count: int) -> Sequence[Vector]:
    vectors = np.random.default_rng(9).standard_normal((count, DIMENSIONS)).astype(np.float32)
    return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


async def recall(
    index: EdgeIndex, notes: Sequence[IndexedNote], asked: Sequence[Vector], where: NoteFilter | None = None
) -> float:
    """Share of the ten nearest by brute force that a search finds."""
    matrix, hits = np.stack([vector_of(note) for note in notes]), 0
    for query in asked:
        nearest = {notes[number].id for number in np.argsort(-(matrix @ query))[:10]}
        hits += len(nearest & {found.id for found in await index.search(query, where=where or NoteFilter(), limit=10)})
    return hits / (10 * len(asked))


def graphs(directory: Path) -> list[Path]:
    return [file for file in (directory / SHARD).rglob("*links*") if file.stat().st_size > NOTES]


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


async def assert_holds(directory: Path, notes: Sequence[IndexedNote]) -> None:
    index = open_index(directory)
    found = await index.get([note.id for note in notes], with_vectors=True)
    assert len(found) == len(notes) == await index.count() == Ledger(directory / "notes.ledger").least()
    for note in notes:
        assert found[note.id].payload == note.payload
        np.testing.assert_allclose(vector_of(found[note.id]), vector_of(note), atol=1e-6)
    await index.close()


async def test_the_graph_finds_what_a_scan_finds(tmp_path: Path) -> None:
    notes = indexed_notes(NOTES)
    await filled(tmp_path, notes)
    assert graphs(tmp_path) == []
    done = await optimize(tmp_path)
    assert (done.notes, done.indexed) == (NOTES, NOTES)
    assert graphs(tmp_path)
    assert names(tmp_path) == {SHARD, "index.json", "notes.ledger"}
    await assert_holds(tmp_path, notes)
    index = open_index(tmp_path)
    assert index.indexed == NOTES
    assert await recall(index, notes, queries(100)) >= 0.97
    coffee = await index.search(queries(1)[0], where=NoteFilter(category="coffee", exclude=[notes[0].id]), limit=NOTES)
    assert len(coffee) == NOTES - 1
    assert not await index.search(queries(1)[0], where=NoteFilter(category="beer"), limit=10)
    await index.close()


async def test_the_graph_finds_what_a_filter_leaves(tmp_path: Path) -> None:
    """`benchmarks.edge_index` measures it where it is hard."""
    notes = tea_and_beer()
    await filled(tmp_path, notes)
    await optimize(tmp_path)
    index = open_index(tmp_path)
    assert await recall(index, notes[::4], queries(100), NoteFilter(category="beer")) >= 0.97
    await index.close()


async def test_what_a_filter_leaves_few_of_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = tea_and_beer()
    await filled(tmp_path, notes)
    await optimize(tmp_path)
    monkeypatch.setattr(search, "_CANDIDATES", 10)  # the graph misses much then
    index = open_index(tmp_path)
    beer = NoteFilter(category="beer", exclude=["nobody"])
    assert await recall(index, notes[::4], queries(100), beer) == 1
    assert await recall(index, notes, queries(100), NoteFilter(exclude=["nobody"])) < 1
    monkeypatch.setattr(search, "_FEW_NOTES", 0)
    assert await recall(index, notes[::4], queries(100), beer) < 1
    await index.close()


async def test_writes_after_it_are_searched_exactly_and_kept(tmp_path: Path) -> None:
    notes = indexed_notes(NOTES + 40)
    await filled(tmp_path, notes[:NOTES])
    await optimize(tmp_path)
    index = open_index(tmp_path)
    await index.upsert(notes[NOTES:])
    rewritten = [replace(note, payload=note.payload | {"title": "anew", "version": 7}) for note in notes[:20]]
    await index.upsert(rewritten)
    await index.upsert([replace(note, payload=note.payload | {"title": "late", "version": 6}) for note in notes[:20]])
    await index.delete([note.id for note in notes[20:60]])
    kept = [*rewritten, *notes[60:]]
    for note in [*notes[NOTES:], *rewritten]:
        nearest = (await index.search(vector_of(note), where=NoteFilter(), limit=1))[0]
        assert (nearest.id, nearest.payload["title"]) == (note.id, note.payload["title"])
    assert not {note.id for note in notes[20:60]} & {
        found.id for note in notes[20:60] for found in await index.search(vector_of(note), where=NoteFilter(), limit=5)
    }
    assert await recall(index, kept, queries(50)) >= 0.97
    assert await index.count() == len(kept)
    await index.close()
    await assert_holds(tmp_path, kept)
    assert (await optimize(tmp_path)).indexed == len(kept)
    await assert_holds(tmp_path, kept)


async def test_notes_with_vectors_of_two_models_are_counted_once(tmp_path: Path) -> None:
    notes = indexed_notes(NOTES)
    await filled(tmp_path, notes)
    index = open_index(tmp_path)
    old = ModelVectors(vector=NAME, dimensions=DIMENSIONS)
    new = ModelVectors(vector="tiny-1", dimensions=DIMENSIONS)
    moving = Description(vector=NAME, dimensions=DIMENSIONS, migration=Move(source=old, target=new))
    await index.describe_as(moving)
    for start in range(0, NOTES, 500):
        await index.of_model("tiny-1").fill(notes[start : start + 500])
    await index.close()
    assert (await optimize(tmp_path)).indexed == NOTES
    index = open_index(tmp_path)
    assert index.indexed == NOTES
    assert await recall(index.of_model("tiny-1"), notes, queries(50)) >= 0.97
    await index.describe_as(Description(vector="tiny-1", dimensions=DIMENSIONS, dropping=NAME))
    view = index.of_model("tiny-1")
    assert view.indexed == NOTES, "the other vectors are on their way out, and still there"
    await index.close()
    index = open_index(tmp_path, vector_name="tiny-1")
    assert index.indexed == NOTES
    view = index.of_model("tiny-1")
    await view.drop(NAME)
    assert view.indexed == NOTES
    assert await recall(view, notes, queries(50)) >= 0.97
    await index.close()


async def test_deleted_notes_stay_so_and_are_not_counted(tmp_path: Path) -> None:
    await filled(tmp_path, [replace(note, payload=note.payload | {"version": 1}) for note in indexed_notes(NOTES)])
    index, gone = open_index(tmp_path), [f"n{number}" for number in range(500)]
    await index.delete(gone)
    await index.close()
    done = await optimize(tmp_path)
    assert (done.notes, done.indexed) == (NOTES - 500, NOTES - 500)
    index = open_index(tmp_path)
    assert await deleted_versions(index, gone) == dict.fromkeys(gone, 1)
    await index.close()


async def test_a_new_or_empty_index_is_none_the_worse(tmp_path: Path) -> None:
    await filled(tmp_path, [])
    assert (await optimize(tmp_path)).notes == 0
    notes = indexed_notes(50)
    await filled(tmp_path, notes)
    await assert_holds(tmp_path, notes)


async def test_an_index_that_is_open_is_refused(tmp_path: Path) -> None:
    notes = indexed_notes(50)
    await filled(tmp_path, notes)
    index = open_index(tmp_path)
    with pytest.raises(StartupError, match=r"another process has the index .* open: stop it"):
        await optimize(tmp_path)
    await index.upsert(notes)
    await index.close()


async def test_nothing_can_open_an_index_while_it_is_optimised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, refused = indexed_notes(50), []

    def intrude(name: str) -> None:
        original = getattr(optimize_module, name)

        def intruding(*arguments: object) -> object:
            with pytest.raises(StartupError, match="another process has the index"):
                open_index(tmp_path)
            refused.append(name)
            return original(*arguments)

        monkeypatch.setattr(optimize_module, name, intruding)

    await filled(tmp_path, notes)
    for step in ("_copy", "_check_copy", "replace"):
        intrude(step)
    await optimize(tmp_path)
    assert refused == ["_copy", "_check_copy", "replace"]
    monkeypatch.undo()
    await assert_holds(tmp_path, notes)


async def test_too_little_disk_is_told_before_anything_is_done(tmp_path: Path) -> None:
    notes = indexed_notes(50)
    await filled(tmp_path, notes)
    with pytest.raises(CommandError, match=r"MiB free and \d+ are needed: 3 times the index.*The index is as it was"):
        await optimize(tmp_path, min_free_bytes=2**60)
    assert not (tmp_path / OPTIMIZING).exists()
    await assert_holds(tmp_path, notes)


async def test_a_copy_that_lacks_a_note_does_not_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes, other = indexed_notes(50), tmp_path / "other"
    await filled(tmp_path / "index", notes)
    await filled(other, notes[1:])
    monkeypatch.setattr(optimize_module, "_copy", lambda _, target: (other / SHARD).rename(target))
    with pytest.raises(CommandError, match="does not hold the notes that the index holds"):
        await optimize(tmp_path / "index")
    assert not (tmp_path / "index" / OPTIMIZING).exists()
    await assert_holds(tmp_path / "index", notes)


@pytest.mark.parametrize("ended", ["while it copied", "between the renames", "before it tidied up"])
async def test_what_an_interrupted_process_left_is_put_right(ended: str, tmp_path: Path) -> None:
    notes = indexed_notes(50)
    await filled(tmp_path, notes)
    (tmp_path / OPTIMIZING).mkdir()
    if ended == "between the renames":
        (tmp_path / SHARD).rename(tmp_path / REPLACED)
    elif ended == "before it tidied up":
        (tmp_path / OPTIMIZING).rename(tmp_path / REPLACED)
    await assert_holds(tmp_path, notes)
    assert not (tmp_path / OPTIMIZING).exists()
    assert not (tmp_path / REPLACED).exists()


async def test_the_warning_counts_what_is_scanned(tmp_path: Path) -> None:
    notes = indexed_notes(60)
    await filled(tmp_path, notes[:50])
    index = open_index(tmp_path)
    assert "holds 50 notes, more than NOTELLM_EMBEDDED_INDEX_NOTES=20" in (index.size_warning(50, 20) or "")
    assert "notellm-serve optimize" in (index.size_warning(50, 20) or "")
    await index.close()
    await optimize(tmp_path)
    index = open_index(tmp_path)
    await index.upsert(notes)
    assert index.size_warning(await index.count(), 20) is None
    assert "holds 10 notes outside its graph" in (index.size_warning(await index.count(), 5) or "")
    await index.close()

"""One suite over every index: what holds for one must hold for the others."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge

from service.errors import StartupError
from service.index import EdgeIndex, HashtagCounts, IndexedNote, NoteFilter, NoteIndex, Vector
from service.index.points import point_id
from tests.service.index.backends import DIMENSIONS, NOTES, indexed, vector

FIELDS = ("category", "hashtag_keys", "hashtags", "created_at", "deleted_version")


def ranked(query: Vector, notes: list[IndexedNote]) -> list[tuple[str, float]]:
    """The notes by cosine, by brute force."""
    scores = [(note.id, float(note.vector @ query)) for note in notes if note.vector is not None]
    return sorted(scores, key=lambda item: -item[1])


async def test_notes_come_back_as_they_were_stored(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    assert await index.count() == len(NOTES)
    found = await index.get(["n3", "missing", "n5"], with_vectors=True)
    assert set(found) == {"n3", "n5"}
    assert found["n3"].payload == NOTES[3].payload
    stored = found["n3"].vector
    assert stored is not None
    np.testing.assert_allclose(stored, vector(3), atol=1e-6)
    assert (await index.get(["n3"]))["n3"].vector is None
    assert await index.get([]) == {}


async def test_neighbours_are_ranked_by_cosine(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    query = vector(99)
    found = [(hit.payload["id"], hit.score) for hit in await index.search(query, where=NoteFilter(), limit=len(NOTES))]
    expected = ranked(query, NOTES)
    assert [note_id for note_id, _ in found] == [note_id for note_id, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-4)


async def test_neighbours_come_with_their_vectors_where_asked(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    for hit in await index.search(vector(99), where=NoteFilter(), limit=5, with_vectors=True):
        assert hit.vector is not None
        np.testing.assert_allclose(hit.vector, vector(int(hit.id[1:])), atol=1e-6)
    assert [hit.vector for hit in await index.search(vector(99), where=NoteFilter(), limit=5)] == [None] * 5


async def test_pages_follow_each_other(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    query = vector(99)
    pages = [await index.search(query, where=NoteFilter(), limit=6, offset=offset) for offset in (0, 6, 12, 18, 24)]
    assert [len(page) for page in pages] == [6, 6, 6, 2, 0]
    assert [hit.payload["id"] for page in pages for hit in page] == [note_id for note_id, _ in ranked(query, NOTES)]


async def test_hashtags_are_counted_as_notes_come_change_and_go(index: NoteIndex) -> None:
    assert await index.hashtags(10) == HashtagCounts(0, {})
    await index.upsert([*NOTES, indexed(20, hashtags=["other", "Other", "#other", "other"]), indexed(21, hashtags=[])])
    assert await index.hashtags(10) == HashtagCounts(22, {"other": 14, "King Glory": 7})
    await index.upsert([indexed(0, hashtags=["fresh", "KING GLORY"]), indexed(3, hashtags=["fresh"])])
    assert (await index.hashtags(10)).spellings == {"other": 14, "King Glory": 5, "fresh": 2, "KING GLORY": 1}
    await index.delete([f"n{number}" for number in range(20) if number % 3])
    counted = await index.hashtags(2)
    assert list(counted.spellings.items()) == [("King Glory", 5), ("fresh", 2)]


async def test_hashtags_of_recent_notes(index: NoteIndex) -> None:
    await index.upsert([*NOTES, indexed(20, created_at=None)])
    after = datetime(2026, 1, 11, tzinfo=UTC)
    recent = [note.payload["hashtags"] for note in NOTES[11:]]
    expected = Counter(tag for tags in recent for tag in tags)
    assert await index.hashtags(10, created_after=after) == HashtagCounts(9, dict(expected))
    await index.delete(["n19"])
    assert (await index.hashtags(10, created_after=after)).notes == 8
    assert await index.hashtags(10, created_after=datetime(2030, 1, 1, tzinfo=UTC)) == HashtagCounts(0, {})


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        (NoteFilter(category="even"), {n for n in range(20) if n % 2 == 0}),
        (NoteFilter(hashtag_key="kingglory"), {n for n in range(20) if n % 3 == 0}),
        (NoteFilter(created_after=datetime(2026, 1, 11, tzinfo=UTC)), set(range(11, 20))),
        (NoteFilter(exclude=["n1", "n2", "unknown"]), set(range(20)) - {1, 2}),
        (
            NoteFilter(category="odd", hashtag_key="kingglory", created_after=datetime(2026, 1, 5, tzinfo=UTC), exclude=["n9"]),
            {15},
        ),
        (NoteFilter(category="none"), set()),
    ],
)
async def test_filters(where: NoteFilter, wanted: set[int], index: NoteIndex) -> None:
    await index.upsert(NOTES)
    found = await index.search(vector(99), where=where, limit=100)
    assert {hit.payload["id"] for hit in found} == {f"n{number}" for number in wanted}


async def test_a_note_is_not_its_own_neighbour(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    found = await index.search(vector(3), where=NoteFilter(exclude=["n3"]), limit=5)
    others = [note for note in NOTES if note.id != "n3"]
    assert [hit.payload["id"] for hit in found] == [note_id for note_id, _ in ranked(vector(3), others)[:5]]


async def test_only_scores_from_the_least_on(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    found = await index.search(vector(3), where=NoteFilter(), limit=100, min_score=0.2)
    assert {hit.payload["id"] for hit in found} == {note_id for note_id, score in ranked(vector(3), NOTES) if score >= 0.2}


async def test_a_second_write_replaces_the_first(index: NoteIndex) -> None:
    await index.upsert([indexed(1)])
    changed = IndexedNote(indexed(1, title="new", category=None).payload, vector(50))
    await index.upsert([changed])
    assert await index.count() == 1
    found = (await index.get(["n1"], with_vectors=True))["n1"]
    assert found.payload == changed.payload
    assert found.vector is not None
    np.testing.assert_allclose(found.vector, vector(50), atol=1e-6)


async def titles(index: NoteIndex, *ids: str) -> dict[str, str]:
    return {note_id: note.payload["title"] for note_id, note in (await index.get(ids)).items()}


async def test_a_lower_version_never_overwrites_a_higher_one(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=5, title="five"), indexed(2)])
    await index.upsert([indexed(1, version=4, title="four"), indexed(2, version=1, title="one"), indexed(3, version=9)])
    assert await titles(index, "n1", "n2", "n3") == {"n1": "five", "n2": "one", "n3": "title 3"}


async def test_what_is_skipped_keeps_its_vector(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=5)])
    await index.upsert([IndexedNote(indexed(1, version=4).payload, vector(50))])
    stored = (await index.get(["n1"], with_vectors=True))["n1"].vector
    assert stored is not None
    np.testing.assert_allclose(stored, vector(1), atol=1e-6)


async def test_an_equal_version_replaces(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=5, title="five")])
    await index.upsert([indexed(1, version=5, title="five again")])
    assert await titles(index, "n1") == {"n1": "five again"}


async def test_without_a_version_the_last_write_counts(index: NoteIndex) -> None:
    await index.upsert([indexed(1, version=5, title="five")])
    await index.upsert([indexed(1, title="no version")])
    assert await titles(index, "n1") == {"n1": "no version"}
    await index.upsert([indexed(1, version=1, title="one")])
    assert await titles(index, "n1") == {"n1": "one"}


async def test_versions_are_told_apart_up_to_the_largest(index: NoteIndex) -> None:
    largest = 2**53 - 1
    await index.upsert([indexed(1, version=largest, title="largest")])
    await index.upsert([indexed(1, version=largest - 1, title="next")])
    assert await titles(index, "n1") == {"n1": "largest"}


async def test_nothing_to_write_is_no_error(index: NoteIndex) -> None:
    await index.upsert([])
    await index.delete([])
    assert await index.count() == 0


async def test_every_note_is_in_exactly_one_page(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    found: list[IndexedNote] = []
    start, pages = None, 0
    while pages == 0 or start is not None:
        page = await index.scroll(start=start, limit=6)
        found += page.notes
        start, pages = page.next, pages + 1
        if pages == 2:  # a page may begin with a note that is gone when it is asked for
            remaining = {note.id for note in NOTES} - {note.id for note in found}
            following = min(remaining, key=point_id)
            assert start == point_id(following)
            await index.delete([following])
    assert pages == 4
    assert sorted(note.id for note in found) == sorted({note.id for note in NOTES} - {following})
    by_id = {note.id: note for note in NOTES}
    for note in found:
        assert note.payload == by_id[note.id].payload
        np.testing.assert_allclose(note.vector, by_id[note.id].vector, atol=1e-6)  # type: ignore[arg-type]


async def test_an_empty_index_has_one_empty_page(index: NoteIndex) -> None:
    page = await index.scroll(limit=6)
    assert (page.notes, page.next) == ([], None)


async def test_restoring_replaces_only_what_is_older(index: NoteIndex) -> None:
    stored: list[int | None] = [None, None, 0, 3, 3, 3]
    restored: list[int | None] = [None, 2, None, 2, 3, 4]
    await index.upsert([indexed(number, version=version, title="stored") for number, version in enumerate(stored)])
    await index.restore([indexed(number, version=version, title="restored") for number, version in enumerate(restored)])
    await index.restore(
        [indexed(number, version=version, title="new") for number, version in enumerate([None, 0, 7], start=10)]
    )
    found = await index.get([f"n{number}" for number in (0, 1, 2, 3, 4, 5, 10, 11, 12)])
    titles = [found[f"n{number}"].payload["title"] for number in (0, 1, 2, 3, 4, 5, 10, 11, 12)]
    assert titles == ["stored"] * 5 + ["restored"] + ["new"] * 3


async def test_forgotten_notes_are_gone(index: NoteIndex) -> None:
    await index.upsert(NOTES)
    await index.delete(["n1", "unknown"])
    await index.delete(["n1"])
    assert await index.count() == len(NOTES) - 1
    assert await index.get(["n1"]) == {}
    assert "n1" not in {hit.payload["id"] for hit in await index.search(vector(1), where=NoteFilter(), limit=100)}


async def test_an_empty_index_has_no_neighbours(index: NoteIndex) -> None:
    assert await index.search(vector(1), where=NoteFilter(), limit=10) == []
    assert await index.count() == 0


async def test_edge_survives_being_opened_again(tmp_path: Path) -> None:
    first = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    await first.upsert(NOTES)
    await first.close()
    second = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    assert await second.count() == len(NOTES)
    assert (await second.get(["n7"]))["n7"].payload == NOTES[7].payload
    await second.close()


async def test_edge_filters_by_payload_indexes_also_in_an_index_of_an_earlier_release(tmp_path: Path) -> None:
    first = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    await first.upsert(NOTES)
    for field in FIELDS:
        first._shard.update(edge.UpdateOperation.delete_field_index(field))
    assert not first._shard.info().payload_schema
    await first.close()
    again = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    schema = again._shard.info().payload_schema
    assert {field: of.points for field, of in schema.items()} == dict.fromkeys(FIELDS, 20) | {"deleted_version": 0}
    where = NoteFilter(category="odd", hashtag_key="kingglory", created_after=datetime(2026, 1, 5, tzinfo=UTC))
    found = await again.search(vector(1), where=where, limit=10)
    assert {hit.payload["id"] for hit in found} == {"n9", "n15"}
    await again.close()


async def test_edge_has_one_owner(tmp_path: Path) -> None:
    first = EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    with pytest.raises(StartupError, match="another process has the index"):
        EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    await first.upsert(NOTES[:1])
    assert await first.count() == 1
    await first.close()


@pytest.mark.parametrize(("name", "dimensions"), [("m-2", DIMENSIONS), ("m-1", 8)])
async def test_edge_refuses_another_models_index(name: str, dimensions: int, tmp_path: Path) -> None:
    await EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS).close()
    with pytest.raises(StartupError, match="serve the checkpoint it was made with"):
        EdgeIndex.open(tmp_path, vector_name=name, dimensions=dimensions)


async def test_edge_says_that_a_damaged_index_cannot_be_opened(tmp_path: Path) -> None:
    await EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS).close()
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(StartupError, match=r"index\.json is not readable"):
        EdgeIndex.open(tmp_path, vector_name="m-1", dimensions=DIMENSIONS)
    blocked = tmp_path / "file"
    blocked.write_text("x")
    with pytest.raises(StartupError, match="cannot be used"):
        EdgeIndex.open(blocked, vector_name="m-1", dimensions=DIMENSIONS)

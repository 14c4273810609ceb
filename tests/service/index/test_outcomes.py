"""What a write reports is what it has done: in every index, from every state that a note can be in."""

from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.index import Entry, IndexedNote, NoteIndex, Tombstone
from tests.service.index.backends import deleted_versions, indexed

# What is stored under an id before the write: nothing, a note of a version or without one, a deleted note's tombstone.
STATES: list[tuple[str, int | None]] = [
    ("nothing", None), ("note", None), ("note", 1), ("note", 2), ("note", 3), ("deleted", 1), ("deleted", 2), ("deleted", 3),
]  # fmt: skip
VERSIONS: list[int | None] = [None, 1, 2, 3]
UPSERTED = {
    ("nothing", None): ["stored"] * 4,
    ("note", None): ["stored"] * 4,
    ("note", 1): ["stored"] * 4,
    ("note", 2): ["stored", "overtaken", "stored", "stored"],
    ("note", 3): ["stored", "overtaken", "overtaken", "stored"],
    ("deleted", 1): ["stored", "buried", "stored", "stored"],
    ("deleted", 2): ["stored", "buried", "buried", "stored"],
    ("deleted", 3): ["stored", "buried", "buried", "buried"],
}
RESTORED = {
    ("nothing", None): ["stored"] * 4,
    ("note", None): ["kept"] * 4,
    ("note", 1): ["kept", "kept", "stored", "stored"],
    ("note", 2): ["kept", "kept", "kept", "stored"],
    ("note", 3): ["kept"] * 4,
    ("deleted", 1): ["kept", "kept", "stored", "stored"],
    ("deleted", 2): ["kept", "kept", "kept", "stored"],
    ("deleted", 3): ["kept"] * 4,
}
BURIED = {
    ("nothing", None): ["deleted"] * 3,
    ("note", None): ["kept"] * 3,
    ("note", 1): ["deleted"] * 3,
    ("note", 2): ["kept", "deleted", "deleted"],
    ("note", 3): ["kept", "kept", "deleted"],
    ("deleted", 1): ["unchanged", "deleted", "deleted"],
    ("deleted", 2): ["unchanged", "unchanged", "deleted"],
    ("deleted", 3): ["unchanged"] * 3,
}


def note(note_id: str, version: int | None, title: str) -> IndexedNote:
    return indexed(1, id=note_id, version=version, title=title)


def name(state: tuple[str, int | None], version: int | None) -> str:
    return f"{state[0]}-{state[1]}-{version}"


async def begin(index: NoteIndex, ids: dict[str, tuple[str, int | None]]) -> dict[str, Entry]:
    """Notes in their states; what is stored then."""
    await index.upsert([note(note_id, version, "before") for note_id, (kind, version) in ids.items() if kind == "note"])
    await index.bury([Tombstone(note_id, version or 0) for note_id, (kind, version) in ids.items() if kind == "deleted"])
    return await index.look(list(ids))


def contents(entries: dict[str, Entry]) -> dict[str, object]:
    return {note_id: entry.payload for note_id, entry in entries.items()}


async def upsert_after_a_look(index: NoteIndex, notes: Sequence[IndexedNote]) -> list[str]:
    seen = await index.look([note.id for note in notes], with_vectors=True)
    return list(await index.upsert(notes, seen=seen))


@pytest.mark.parametrize(
    ("write", "expected"),
    [(lambda index, notes: index.upsert(notes), UPSERTED), (upsert_after_a_look, UPSERTED),
     (lambda index, notes: index.restore(notes), RESTORED)],
    ids=["upsert", "upsert after a look", "restore"],
)  # fmt: skip
async def test_notes(
    write: Callable[[NoteIndex, Sequence[IndexedNote]], Awaitable[list[str]]],
    expected: dict[tuple[str, int | None], list[str]],
    index: NoteIndex,
) -> None:
    before = await begin(index, {name(state, version): state for state in STATES for version in VERSIONS})
    notes = [note(name(state, version), version, "after") for state in STATES for version in VERSIONS]
    outcomes = await write(index, notes)
    assert outcomes == [outcome for state in STATES for outcome in expected[state]]
    stored: dict[str, Entry] = {note.id: note for note, outcome in zip(notes, outcomes, strict=True) if outcome == "stored"}
    assert contents(await index.look([note.id for note in notes])) == contents(before | stored)


async def test_tombstones(index: NoteIndex) -> None:
    versions = [1, 2, 3]
    before = await begin(index, {name(state, version): state for state in STATES for version in versions})
    tombstones = [Tombstone(name(state, version), version) for state in STATES for version in versions]
    outcomes = await index.bury(tombstones)
    assert outcomes == [outcome for state in STATES for outcome in BURIED[state]]
    buried: dict[str, Entry] = {
        left.id: left for left, outcome in zip(tombstones, outcomes, strict=True) if outcome == "deleted"
    }
    assert contents(await index.look([left.id for left in tombstones])) == contents(before | buried)


async def test_deletions(index: NoteIndex) -> None:
    ids = {name(state, None): state for state in STATES}
    await begin(index, ids)
    assert await index.delete(list(ids)) == ["deleted" if kind == "note" else "missing" for kind, _ in STATES]
    versions = {note_id: version for note_id, (_, version) in ids.items() if version is not None}
    assert contents(await index.look(list(ids))) == contents({one: Tombstone(one, versions[one]) for one in versions})


async def test_what_is_stored_already_is_not_restored(index: NoteIndex) -> None:
    notes = [note("a", None, "same"), note("b", 2, "same")]
    assert await index.restore(notes) == ["stored", "stored"]
    assert await index.restore(notes) == ["unchanged", "unchanged"]


async def test_an_id_may_stand_twice(index: NoteIndex) -> None:
    assert await index.upsert([note("a", 5, "five"), note("a", 4, "four"), note("b", 1, "one"), note("b", 2, "two")]) == [
        "stored", "overtaken", "stored", "stored",
    ]  # fmt: skip
    found = await index.get(["a", "b"])
    assert {note_id: stored.payload["title"] for note_id, stored in found.items()} == {"a": "five", "b": "two"}
    assert await index.bury([Tombstone("c", 3), Tombstone("c", 2), Tombstone("d", 2), Tombstone("d", 3)]) == [
        "deleted", "unchanged", "deleted", "deleted",
    ]  # fmt: skip
    assert await deleted_versions(index, ["c", "d"]) == {"c": 3, "d": 3}


async def test_nothing_to_write(index: NoteIndex) -> None:
    assert await index.upsert([]) == await index.restore([]) == await index.bury([]) == await index.delete([]) == []


async def test_a_look_finds_notes_and_tombstones(index: NoteIndex) -> None:
    await begin(index, {"note": ("note", 2), "gone": ("deleted", 7)})
    found = await index.look(["note", "gone", "never stored"], with_vectors=True)
    assert found["gone"] == Tombstone("gone", 7)
    assert isinstance(found["note"], IndexedNote)
    assert found["note"].vector is not None
    assert found.keys() == {"note", "gone"}
    assert list(await index.get(["note", "gone"])) == ["note"]

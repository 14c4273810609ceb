"""Notes that arrive one after another."""

import pytest

from notellm import Note
from training.waves import Wave, waves

NOTES = [Note(id=f"n{number}", title="t") for number in range(7)]


def ids(notes: tuple[Note, ...]) -> str:
    return " ".join(note.id for note in notes)


def test_each_wave_knows_what_came_before_it() -> None:
    parts = waves(NOTES, {note.id for note in NOTES}, 3)
    assert [(ids(part.asking), ids(part.arrived)) for part in parts] == [
        ("n0 n1 n2", ""),
        ("n3 n4 n5", "n0 n1 n2"),
        ("n6", "n0 n1 n2 n3 n4 n5"),
    ]


def test_only_some_notes_ask() -> None:
    assert waves(NOTES, {"n1", "n6"}, 3) == [Wave((NOTES[1],), ()), Wave((NOTES[6],), tuple(NOTES[:6]))]


@pytest.mark.parametrize("count", [1, 3, 7, 100])
def test_every_note_asks_once_whatever_the_number_of_waves(count: int) -> None:
    parts = waves(NOTES, {note.id for note in NOTES}, count)
    assert [note for part in parts for note in part.asking] == NOTES
    assert len(parts) == min(count, 7)


def test_nobody_comes() -> None:
    assert waves([], {"n1"}) == []

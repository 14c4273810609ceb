"""Which notes are remembered, against a ring that is filled step by step."""

import random

import pytest

from training.batches.examples import Asked, GlobalBatch
from training.batches.memory import MemoryPlan, Remembered


def batch(first: str, second: str, hashtags: str = "") -> GlobalBatch:
    def asked(notes: str) -> tuple[Asked, ...]:
        return tuple(Asked(note, "hashtags", ("x",)) if note in hashtags else Asked(note, "category") for note in notes)

    return GlobalBatch(asked(first), asked(second))


BATCHES = [batch("ab", "cd"), batch("ea", "fg", hashtags="f"), batch("hi", "bj"), batch("ac", "eh")]


def remembered(memory: MemoryPlan, step: int) -> Remembered:
    found = memory(step)
    assert found is not None
    return found


def places(found: Remembered) -> dict[str, int]:
    return dict(zip(found.notes, found.read.tolist(), strict=True))


def test_without_places_nothing_is_remembered() -> None:
    assert MemoryPlan(BATCHES)(0) is None


def test_a_batch_reads_the_latest_vectors_of_other_notes() -> None:
    memory = MemoryPlan(BATCHES, size=100)
    assert places(remembered(memory, 0)) == {}
    assert places(remembered(memory, 1)) == {"b": 1, "c": 2, "d": 3}  # a is in the batch itself
    assert places(remembered(memory, 2)) == {"a": 5, "c": 2, "d": 3, "e": 4, "f": 6, "g": 7}  # and a has a newer vector
    assert remembered(memory, 2).write.tolist() == [8, 9, 10, 11]


@pytest.mark.parametrize("size", [8, 11])
def test_the_oldest_batch_is_overwritten(size: int) -> None:
    memory = MemoryPlan(BATCHES, size=size)
    assert places(remembered(memory, 2)) == {"a": 5, "c": 2, "d": 3, "e": 4, "f": 6, "g": 7}
    assert remembered(memory, 2).write.tolist() == [0, 1, 2, 3]
    assert places(remembered(memory, 3)) == {"f": 6, "g": 7, "i": 1, "b": 2, "j": 3}


@pytest.mark.parametrize("size", [4, 7, 11, 100])
def test_places_do_not_depend_on_the_number_of_processes(size: int) -> None:
    """So a run may be resumed with another number of them."""
    one, two = MemoryPlan(BATCHES, size=size), MemoryPlan(BATCHES, ranks=2, size=size)
    for step, each in enumerate(BATCHES):
        assert places(remembered(one, step)) == places(remembered(two, step))
        notes = [asked.note for asked in (*each.first, *each.second)]
        (a, b), (c, d) = notes[:2], notes[2:]  # the first rank has a and c, the second b and d
        alone = dict(zip(notes, remembered(one, step).write.tolist(), strict=True))
        assert dict(zip((a, c, b, d), remembered(two, step).write.tolist(), strict=True)) == alone


def test_hashtag_prompts_are_not_read() -> None:
    assert "f" not in remembered(MemoryPlan(BATCHES, size=100, hashtag_prompts=False), 2).notes
    assert "f" in remembered(MemoryPlan(BATCHES, size=100), 2).notes


@pytest.mark.parametrize("size", [4, 7, 23, 1000])
def test_any_plan_is_that_of_a_ring(size: int) -> None:
    draw = random.Random(size)
    batches = [batch("".join(notes[:2]), "".join(notes[2:])) for notes in (draw.sample("abcdefghij", 4) for _ in range(30))]
    memory = MemoryPlan(batches, size=size)
    ring: dict[int, tuple[str, int]] = {}
    written = 0
    for step, one in enumerate(batches):
        notes = [asked.note for asked in (*one.first, *one.second)]
        latest: dict[str, tuple[int, int]] = {}
        for place, (note, when) in ring.items():
            latest[note] = max(latest.get(note, (-1, -1)), (when, place))
        assert places(remembered(memory, step)) == {note: place for note, (_, place) in latest.items() if note not in notes}
        for note, place in zip(notes, remembered(memory, step).write.tolist(), strict=True):
            ring[place] = note, written
            written += 1


def test_a_resumed_run_and_an_earlier_step_get_the_same_answer() -> None:
    going, fresh = MemoryPlan(BATCHES, size=8), MemoryPlan(BATCHES, size=8)
    steps = [places(remembered(going, step)) for step in range(4)]
    assert places(remembered(fresh, 3)) == steps[3]
    assert places(remembered(going, 1)) == steps[1]

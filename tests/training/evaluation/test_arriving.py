"""Hashtags of a new topic, whose first notes are stored when later ones ask."""

import pytest

from notellm import Checkpoint, Note
from notellm.evidence import EvidenceWeights
from training.evaluation.arriving import score_method, score_model
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.tag_baselines import NeighbourTags
from training.waves import Wave, waves

# Only the words of the text count.
WORDS = EvidenceWeights(temperature=0.1, intercept=-2.0, weights=(0, 0, 0, 0, 0, 4.0))


def note(number: int, *tags: str) -> Note:
    return Note(id=f"n{number}", title=f"all about {' and '.join(tags)} {number}", hashtags=tags)


TRAINING = [note(number, ("coffee", "beer")[number % 2]) for number in range(10)]
NEW = [note(number, "ristretto") for number in range(10, 20)]
PARTS = waves(NEW, {"n10", "n12", "n13", "n19"}, 10)


def test_a_model_suggests_a_new_hashtag_from_its_third_use(tiny: Checkpoint) -> None:
    scores = score_model(LoadedCheckpoint("x", tiny), WORDS, TRAINING, PARTS)
    assert scores.unseen == [0, 0, 1, 1]  # n12 comes when two notes have it
    assert scores.reach == [0, 1, 1, 1]
    assert scores.f1 == pytest.approx([0, 0, 0.5, 0.5])  # one of three


def test_a_method_is_made_of_what_is_stored_by_then() -> None:
    seen: list[int] = []

    def make(stored: list[Note]) -> NeighbourTags:
        seen.append(len(stored))
        return NeighbourTags(stored, neighbours=1)

    scores = score_method(make, TRAINING, PARTS)  # type: ignore[arg-type]
    assert seen == [10, 12, 13, 19]
    assert scores.unseen == [0, 1, 1, 1]
    assert scores.reach is None


def test_hashtags_that_training_has_seen_are_not_unseen(tiny: Checkpoint) -> None:
    part = Wave((note(30, "beer"), note(31, "BEER", "porter", "stout")), ())
    scores = score_model(LoadedCheckpoint("x", tiny), WORDS, [*TRAINING, note(40, "porter")], [part])
    assert scores.unseen == [0]  # stout
    assert len(scores.f1) == 2
    assert scores.f1[0] > 0

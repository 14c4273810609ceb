"""Scores hashtags of notes that arrive one after another, also those of a new topic, whose first notes are stored by then."""

from collections.abc import Callable, Iterable, Sequence

from notellm.evidence import EvidenceWeights
from notellm.note import Note, hashtag_key
from training.evaluation.embedding import LoadedCheckpoint
from training.evaluation.hashtags import overlap
from training.evaluation.measurement import ArrivingScores
from training.evaluation.tag_baselines import TagMethod
from training.suggesting import StoredNotes, growing
from training.waves import Wave

CUT, UNSEEN_CUT = 3, 5


def score_model(
    loaded: LoadedCheckpoint, weights: EvidenceWeights, training: Sequence[Note], parts: Sequence[Wave]
) -> ArrivingScores:
    """Scores what the service suggests with a checkpoint that has evidence weights.

    Args:
        loaded: the checkpoint.
        weights: its evidence weights.
        training: the notes that are stored from the start.
        parts: the notes that arrive; those that ask have hashtags, and text beside them.
    """
    scores, reach = _Scores(training), []
    for stored, notes in growing(
        StoredNotes(loaded.model, loaded.prompt, [note for note in training if note.all_hashtags]), parts
    ):
        evidence = stored.evidence(notes)
        suggested = (weights.suggestions(stored.candidates(one, weights.temperature), UNSEEN_CUT) for one in evidence)
        scores.add(notes, ([tag.hashtag for tag in tags] for tags in suggested))
        for note, one in zip(notes, evidence, strict=True):
            if unseen := scores.unseen_of(note):
                near = {key for neighbour in one.neighbours for key in neighbour.hashtag_keys}
                reach.append(len(unseen & near) / len(unseen))
    return ArrivingScores(f1=scores.f1, unseen=scores.unseen, reach=reach)


def score_method(
    make: Callable[[Sequence[Note]], TagMethod], training: Sequence[Note], parts: Sequence[Wave]
) -> ArrivingScores:
    """Scores a method that is made of all notes that are stored by then; otherwise as `score_model`."""
    scores = _Scores(training)
    for part in parts:
        scores.add(part.asking, make([*training, *part.arrived]).predict(part.asking, UNSEEN_CUT))
    return ArrivingScores(f1=scores.f1, unseen=scores.unseen)


class _Scores:
    """Collects scores, note by note."""

    def __init__(self, training: Sequence[Note]) -> None:
        self._known = {hashtag_key(tag) for note in training for tag in note.all_hashtags}
        self.f1: list[float] = []
        self.unseen: list[float] = []

    def unseen_of(self, note: Note) -> set[str]:
        """The `hashtag_key` of its hashtags that no training note has."""
        return {key for tag in note.all_hashtags if (key := hashtag_key(tag)) not in self._known}

    def add(self, notes: Sequence[Note], suggested: Iterable[Sequence[str]]) -> None:
        """Adds the suggestions for some notes, best first."""
        for note, tags in zip(notes, suggested, strict=True):
            self.f1.append(round(overlap(tags[:CUT], note.all_hashtags)[2], 6))
            if unseen := self.unseen_of(note):
                self.unseen.append(len(unseen & set(map(hashtag_key, tags[:UNSEEN_CUT]))) / len(unseen))

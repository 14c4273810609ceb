"""Suggests hashtags without a language model: the most frequent ones of the category, or those of the most similar notes."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from notellm.evidence import NEIGHBOURS as WEIGHED_NEIGHBOURS, Candidate, Evidence, EvidenceWeights
from notellm.hashtag_use import HashtagUse
from notellm.note import Note, NoteText, hashtag_key
from notellm.text_words import TextWords
from training.errors import EvaluationError
from training.evaluation.lexical import TfIdf
from training.suggesting import LEAST_NOTES, as_neighbour, fit_evidence, suggested_hashtags
from training.waves import Wave

NEIGHBOURS = 10


class TagMethod(Protocol):
    """Suggests hashtags.

    Attributes:
        name: name of the method.
    """

    name: str

    def predict(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """The first `count` hashtags for each note, of which it reads title and content."""
        ...


class MostFrequentTags:
    """The most frequent hashtags of the note's category in the training notes, or of all of them if the category is unknown.

    This method is given the category; the other methods have only the text.
    """

    name = "most-frequent-tags"

    def __init__(self, training: Sequence[Note]) -> None:
        counts: dict[str | None, Counter[str]] = defaultdict(Counter)
        for note in training:
            for tag in note.all_hashtags:
                counts[note.category][hashtag_key(tag)] += 1
                counts[None][hashtag_key(tag)] += 1
        spelling = HashtagUse.of_notes(training).spelled
        self._ranked = {category: [spelling[key] for key in _ranked(counter)] for category, counter in counts.items()}

    def predict(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """The first `count` hashtags for each note."""
        everywhere = self._ranked.get(None, [])
        return [self._ranked.get(note.category, everywhere)[:count] for note in notes]


class NeighbourTags:
    """The hashtags of the training notes with the most similar words (TF-IDF), each weighted by the cosines of its notes.

    Notes are compared only by title and content, not by hashtags.
    """

    name = "tfidf-neighbour-tags"

    def __init__(self, training: Sequence[Note], neighbours: int = NEIGHBOURS) -> None:
        self._tags = [list(dict.fromkeys(map(hashtag_key, note.all_hashtags))) for note in training]
        self._spelling = HashtagUse.of_notes(training).spelled
        self._index = TfIdf([_text_only(note) for note in training])
        self._neighbours = neighbours

    def predict(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """The first `count` hashtags for each note."""
        predictions = []
        for scores in self._index.scores_of([_text_only(note) for note in notes]):
            votes: Counter[str] = Counter()
            for neighbour in np.argsort(-scores, kind="stable")[: self._neighbours]:
                for tag in self._tags[neighbour]:
                    votes[tag] += float(scores[neighbour])  # type: ignore[assignment]
            predictions.append([self._spelling[key] for key in _ranked(votes)[:count]])
        return predictions


class WordsInText:
    """The hashtags of the training notes whose words the note's text has: first those with all words, the most frequent ones first."""

    name = "words-in-text"

    def __init__(self, training: Sequence[Note]) -> None:
        self._use = HashtagUse.of_notes(training)

    def predict(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """See `TagMethod.predict`."""
        return [self._of(TextWords(note.plain_text))[:count] for note in notes]

    def _of(self, text: TextWords) -> list[str]:
        shares = {tag: text.share_of(tag) for tag in self._use.hashtags}  # most frequent first, and the order stays
        return sorted((tag for tag, share in shares.items() if share), key=lambda tag: -shares[tag])


class WeighedTags:
    """All that the service weighs without the model's part: votes of the nearest stored notes by words, words of the text, frequency.

    The weights are learnt from validation notes, as those of a model are. It shows what a model adds.

    Args:
        training: the stored notes.
        weights: what `fit` has learnt.
    """

    name = "tfidf-evidence"

    def __init__(self, training: Sequence[Note], weights: EvidenceWeights) -> None:
        self._stored, self._weights = _WordEvidence(training), weights

    @classmethod
    def fit(cls, training: Sequence[Note], parts: Sequence[Wave]) -> EvidenceWeights:
        """The weights.

        Args:
            training: the notes that are stored from the start.
            parts: the validation notes.

        Raises:
            EvaluationError: there are too few validation notes with hashtags.
        """
        weights = fit_evidence((_WordEvidence([*training, *part.arrived]), part.asking) for part in parts)
        if weights is None:
            raise EvaluationError(
                f"{cls.name}: raise data.split.validation: it needs {LEAST_NOTES} validation notes with hashtags"
            )
        return weights

    def predict(self, notes: Sequence[Note], count: int) -> list[list[str]]:
        """See `TagMethod.predict`."""
        suggested = suggested_hashtags(self._stored, self._weights, notes, count)
        return [[one.hashtag for one in own] for own in suggested]


class _WordEvidence:
    """What stored notes tell without a model. The nearest notes are those by TF-IDF."""

    def __init__(self, stored: Sequence[Note]) -> None:
        self._stored = [note for note in stored if note.all_hashtags]
        self._use = HashtagUse.of_notes(self._stored)
        self._index = TfIdf([_text_only(note) for note in self._stored])

    def evidence(self, notes: Sequence[Note]) -> list[Evidence]:
        """See `EvidenceSource.evidence`."""
        found = []
        for note, cosines in zip(notes, self._index.scores_of([_text_only(note) for note in notes]), strict=True):
            nearest = np.argsort(-cosines, kind="stable")[:WEIGHED_NEIGHBOURS]
            found.append(
                Evidence(note.plain_text, [], [as_neighbour(self._stored[place], cosines[place]) for place in nearest])
            )
        return found

    def candidates(self, evidence: Evidence, temperature: float) -> list[Candidate]:
        """See `EvidenceSource.candidates`."""
        return evidence.candidates(self._use, self._use.spelled.get, temperature)


def _text_only(note: Note) -> NoteText:
    return NoteText.model_construct(title=note.plain_title, content=note.plain_content, hashtags=())


def _ranked(votes: Counter[str]) -> list[str]:
    return sorted(votes, key=lambda tag: (-votes[tag], tag))

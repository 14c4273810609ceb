"""Suggests hashtags without a language model: the most frequent ones of the category, or those of the most similar notes."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from notellm.hashtag_use import HashtagUse
from notellm.note import Note, NoteText, hashtag_key
from training.evaluation.lexical import TfIdf

NEIGHBOURS = 10


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


def _text_only(note: Note) -> NoteText:
    return NoteText.model_construct(title=note.plain_title, content=note.plain_content, hashtags=())


def _ranked(votes: Counter[str]) -> list[str]:
    return sorted(votes, key=lambda tag: (-votes[tag], tag))

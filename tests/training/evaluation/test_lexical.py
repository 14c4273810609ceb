import math
from collections import Counter

import numpy as np
import pytest

from notellm import NoteText
from training.evaluation.lexical import BM25, CharacterTfIdf, TfIdf
from training.evaluation.text import note_text, words

POOL = [
    NoteText(title="Cold brew", content="brew brew coffee", hashtags=("coffee",)),
    NoteText(title="Coffee grinder"),
    NoteText(content="qubit gate #coffee"),
    NoteText(title="🍺🍺"),
]
EVERYONE = np.arange(4)


def test_tfidf_equals_its_formula() -> None:
    bags = [Counter(words(note_text(note))) for note in POOL]
    frequency = Counter(word for bag in bags for word in bag)
    idf = {word: math.log((1 + len(bags)) / (1 + count)) + 1 for word, count in frequency.items()}

    def dot(one: Counter[str], other: Counter[str]) -> float:
        return sum(one[word] * other[word] * idf[word] ** 2 for word in one)

    expected = [[dot(one, other) / (math.sqrt(dot(one, one) * dot(other, other)) or 1) for other in bags] for one in bags]
    tfidf = TfIdf(POOL)
    assert tfidf.scores(EVERYONE) == pytest.approx(np.array(expected), abs=1e-6)
    assert tfidf.scores_of([POOL[1]]) == pytest.approx(np.array(expected[1:2]), abs=1e-6)
    assert tfidf.scores(EVERYONE).dtype == np.float32


def test_characters_find_other_forms_of_a_word() -> None:
    pool = [NoteText(title="brewing"), NoteText(title="homebrewer"), NoteText(title="grinder")]
    assert TfIdf(pool).scores(np.array([0]))[0, 1:].tolist() == [0, 0]
    scores = CharacterTfIdf(pool).scores(np.array([0]))[0]
    assert scores[1] > scores[2] >= 0
    assert CharacterTfIdf.name == "tfidf-characters"


def test_bm25_equals_its_formula() -> None:
    bags = [Counter(words(note_text(note))) for note in POOL]
    mean_length = sum(bag.total() for bag in bags) / len(bags)

    def score(query: Counter[str], bag: Counter[str]) -> float:
        total = 0.0
        for word, times in query.items():
            holders = sum(word in other for other in bags)
            idf = math.log(1 + (len(bags) - holders + 0.5) / (holders + 0.5))
            total += times * idf * bag[word] / (bag[word] + 1.5 * (1 - 0.75 + 0.75 * bag.total() / mean_length))
        return total

    expected = [[score(query, bag) for bag in bags] for query in bags]
    scores = BM25(POOL).scores(EVERYONE)
    assert scores == pytest.approx(np.array(expected), abs=1e-5)
    assert scores.dtype == np.float32

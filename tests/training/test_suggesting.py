"""Hashtags of new notes with the help of stored ones, and how much each source counts."""

import numpy as np
import pytest

from notellm import Checkpoint, Note, NoteEncoder
from notellm.evidence import MOST_FOUND, EvidenceWeights
from notellm.note import hashtag_key
from notellm.ranking import ChoiceRanker
from notellm.vocabulary import HashtagVocabulary
from training.suggesting import LEAST_NOTES, TEMPERATURES, StoredNotes, fit_evidence, growing, spread, without_hashtags
from training.waves import Wave

TAGS = ("coffee", "beer", "qubits", "hops", "cold-brew")


def note(number: int, tag: str | None = None, **changes: object) -> Note:
    """A note that names its hashtag."""
    tag = tag or TAGS[number % len(TAGS)]
    fields: dict[str, object] = {"id": f"n{number}", "title": f"all about {tag} {number}", "hashtags": [tag]}
    return Note.model_validate(fields | changes)


STORED = [note(number) for number in range(40)]


@pytest.fixture(scope="module")
def stored(tiny: Checkpoint) -> StoredNotes:
    return StoredNotes(tiny.load_model(), tiny.prompt(), STORED)


def test_evidence_is_what_the_service_would_find(stored: StoredNotes, tiny: Checkpoint) -> None:
    asked = note(100, content="#beer", hashtags=["hops", "unheard-of"])
    (evidence,) = stored.evidence([asked])
    model, prompt = tiny.load_model(), tiny.prompt()
    bare = Note(id="x", title=asked.title)
    (tokenized,) = prompt.tokenize([bare])
    vocabulary = HashtagVocabulary(prompt, TAGS)
    ranked = ChoiceRanker(model.layers).rank(prompt.hashtags(tokenized, 1), vocabulary.choices, MOST_FOUND)
    assert [one.hashtag for one in evidence.found] == [one.hashtag for one in vocabulary.suggestions(ranked)]
    encoder = NoteEncoder(model, prompt.embedding_prefix)
    vectors = encoder.encode([prompt.embedding(one) for one in prompt.tokenize([bare, *STORED])])
    cosines = vectors[1:] @ vectors[0]
    order = np.argsort(-cosines, kind="stable")
    np.testing.assert_allclose([one.similarity for one in evidence.neighbours], cosines[order], atol=1e-5)
    assert [one.hashtag_keys for one in evidence.neighbours][:3] == [
        tuple(map(hashtag_key, STORED[place].hashtags)) for place in order[:3]
    ]
    assert "beer" not in evidence.text


def test_candidates_are_hashtags_of_stored_notes(stored: StoredNotes) -> None:
    (evidence,) = stored.evidence([note(100)])
    assert {one.hashtag for one in stored.candidates(evidence, 0.1)} == set(TAGS)


def test_what_tells_right_from_wrong_gets_the_weight(stored: StoredNotes) -> None:
    asked = [note(number) for number in range(100, 160)]
    weights = fit_evidence(
        [(stored, asked[:20]), (stored, [*asked[20:], note(200, hashtags=[]), note(201, title="#beer", hashtags=["beer"])])]
    )
    assert isinstance(weights, EvidenceWeights)
    assert weights.temperature in TEMPERATURES
    for one, evidence in zip(asked, stored.evidence(asked), strict=True):
        best, second = weights.suggestions(stored.candidates(evidence, weights.temperature), 2)
        assert best.hashtag == one.hashtags[0]  # its name is in the title
        assert best.confidence > 0.9
        assert second.confidence < 0.1


def test_probabilities_are_calibrated_where_nothing_tells(tiny: Checkpoint) -> None:
    """Three notes of ten have the hashtag, and nothing in their text says which."""
    drawn = np.random.default_rng(0).random(400) < 0.3
    notes = [note(number, title=f"note {number}", hashtags=["beer"] if has else ["hops"]) for number, has in enumerate(drawn)]
    stored = StoredNotes(tiny.load_model(), tiny.prompt(), notes[:200])
    weights = fit_evidence([(stored, notes[200:])])
    assert weights is not None
    told = [weights.suggestions(stored.candidates(one, weights.temperature), 2) for one in stored.evidence(notes[200:])]
    beer = [one.confidence for tags in told for one in tags if one.hashtag == "beer"]
    assert np.mean(beer) == pytest.approx(drawn[200:].mean(), abs=0.02)


def test_too_few_notes_teach_nothing(stored: StoredNotes) -> None:
    assert fit_evidence([(stored, [note(number) for number in range(LEAST_NOTES - 1)])]) is None
    assert fit_evidence([(stored, [note(number, hashtags=[]) for number in range(100)])]) is None


def test_where_all_candidates_are_wrong_nothing_is_learnt(stored: StoredNotes) -> None:
    assert fit_evidence([(stored, [note(number, hashtags=["unheard-of"]) for number in range(LEAST_NOTES)])]) is None


@pytest.mark.parametrize(
    ("most", "kept"), [(0, []), (1, [0]), (3, [0, 4, 8]), (9, [0, 2, 4, 6, 8]), (10, [*range(10)]), (99, [*range(10)])]
)
def test_a_sample_is_spread_evenly(most: int, kept: list[int]) -> None:
    notes = [note(number) for number in range(10)]
    assert spread(notes, most) == [notes[place] for place in kept]


def test_without_hashtags_only_other_text_is_left() -> None:
    bare = without_hashtags(note(1, title="Ales #beer", content="#hops"))
    assert bare is not None
    assert (bare.title, bare.content, bare.all_hashtags) == ("Ales", "", ())
    assert without_hashtags(note(1, title="#beer", content="")) is None


def test_hashtags_that_come_into_use_may_be_suggested(stored: StoredNotes, tiny: Checkpoint) -> None:
    """As the third note with a hashtag is stored."""
    new = [note(number, "ristretto") for number in range(300, 303)]
    parts = [Wave((note(400, "ristretto"),), tuple(new[:count])) for count in (0, 2, 3)]
    grown = list(growing(stored, parts))
    for (source, (asked,)), count in zip(grown, (0, 2, 3), strict=True):
        assert isinstance(source, StoredNotes)
        assert source.use.notes == len(STORED) + count
        (evidence,) = source.evidence([asked])
        assert ("ristretto" in {one.hashtag for one in source.candidates(evidence, 0.1)}) == (count == 3)
        assert len(evidence.neighbours) == len(STORED) + count
    fresh = StoredNotes(tiny.load_model(), tiny.prompt(), [*STORED, *new])
    (last,), (expected,) = grown[-1][0].evidence([note(400)]), fresh.evidence([note(400)])
    assert {one.hashtag for one in last.found} == {one.hashtag for one in expected.found} >= {"ristretto"}
    assert [one.text for one in last.neighbours] == [one.text for one in expected.neighbours]

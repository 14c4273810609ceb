"""Which hashtags may be suggested."""

import math

import pytest

from notellm import Checkpoint, NotePrompt, NoteText
from notellm.ranking import RankedChoice
from notellm.vocabulary import HashtagVocabulary, hashtags_by_frequency


@pytest.fixture(scope="module")
def prompt(tiny: Checkpoint) -> NotePrompt:
    return tiny.prompt()


def ranked(prompt: NotePrompt, *tags: str) -> list[RankedChoice]:
    return [RankedChoice(tuple(prompt.output(tag)), -1.0 - place) for place, tag in enumerate(tags)]


def test_spellings_of_one_hashtag_are_one(prompt: NotePrompt) -> None:
    known = HashtagVocabulary(prompt, ["King Glory", "kingglory", "beer"])
    assert len(known) == 2
    assert [s.hashtag for s in known.suggestions(ranked(prompt, "beer", "King Glory"), 5)] == ["beer", "King Glory"]


def test_what_a_note_has_is_not_suggested_and_does_not_count(prompt: NotePrompt) -> None:
    known = HashtagVocabulary(prompt, ["King Glory", "beer", "hops"])
    has = ["#kingglory", "unheard-of"]
    assert known.wanted(2, has) == 3
    suggestions = known.suggestions(ranked(prompt, "King Glory", "hops", "beer"), 2, has)
    assert [(s.hashtag, s.confidence) for s in suggestions] == [("hops", math.exp(-2)), ("beer", math.exp(-3))]


def test_not_more_than_asked_for(prompt: NotePrompt) -> None:
    known = HashtagVocabulary(prompt, ["beer", "hops"])
    assert len(known.suggestions(ranked(prompt, "beer", "hops"), 1)) == 1


def test_without_an_end_of_sequence_there_is_no_vocabulary(prompt: NotePrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "eos_token_id", None)
    with pytest.raises(ValueError, match="no end of sequence"):
        HashtagVocabulary(prompt, ["beer"])


def test_hashtags_by_frequency_are_spelled_as_most_often() -> None:
    notes = [
        NoteText(title="a", hashtags=("King Glory", "beer")),
        NoteText(title="b", hashtags=("kingglory",)),
        NoteText(title="c", hashtags=("King Glory",)),
        NoteText(title="d", hashtags=("ale", "beer")),
    ]
    assert hashtags_by_frequency(notes) == ("King Glory", "beer", "ale")
    assert hashtags_by_frequency([]) == ()

"""Which hashtags may be suggested."""

import math

import pytest

from notellm import Checkpoint, NotePrompt, NoteText, PromptError
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
    suggestions = known.suggestions(ranked(prompt, "beer", "King Glory"))
    assert [(one.hashtag, one.confidence) for one in suggestions] == [("beer", math.exp(-1)), ("King Glory", math.exp(-2))]


def test_a_notes_own_hashtags_are_found_in_any_spelling(prompt: NotePrompt) -> None:
    known = HashtagVocabulary(prompt, ["King Glory", "beer"])
    assert known.ids_of(["#kingglory", "unheard-of"]) == {tuple(prompt.output("King Glory"))}


def test_what_would_not_be_suggested_in_a_list_is_not_in_the_vocabulary(prompt: NotePrompt) -> None:
    unclean = ["x" * 41, "one two three four five", "2024", "b"]
    assert len(HashtagVocabulary(prompt, [*unclean, "beer"])) == 1


def test_without_an_end_of_sequence_there_is_no_vocabulary(prompt: NotePrompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "eos_token_id", None)
    with pytest.raises(PromptError, match="no end-of-sequence"):
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

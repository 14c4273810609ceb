"""How often hashtags are used."""

import pytest

from notellm import NoteText
from notellm.hashtag_use import HashtagUse
from notellm.note import hashtag_key


def test_spellings_of_one_hashtag_add_up_and_the_most_used_is_shown() -> None:
    use = HashtagUse.of_spellings({"King Glory": 2, "kingglory": 3, "#KING glory": 1, "beer": 5, "!!": 9}, notes=10)
    assert dict(use.counts) == {"kingglory": 6, "beer": 5}
    assert use.hashtags == ("kingglory", "beer")
    assert use.spelled[hashtag_key("King  Glory")] == "kingglory"


def test_equally_used_ones_come_in_alphabetical_order() -> None:
    assert HashtagUse.of_spellings({"b": 1, "a": 1, "c": 2}, notes=4).hashtags == ("c", "a", "b")


def test_notes_count_each_hashtag_once_with_those_in_their_text() -> None:
    notes = [NoteText(title="x", content="#beer #Beer", hashtags=("beer",)), NoteText(title="y", hashtags=("Beer", "ale"))]
    use = HashtagUse.of_notes(notes)
    assert (use.notes, dict(use.counts)) == (2, {"beer": 2, "ale": 1})


def test_rates_are_shares_and_never_nothing() -> None:
    use = HashtagUse.of_spellings({"beer": 9}, notes=18)
    assert use.rate("beer") == 10 / 20
    assert use.rate("unheard-of") == 1 / 20
    assert HashtagUse().rate("beer") == 1 / 2


def test_recent_notes_tell_how_common_a_hashtag_is() -> None:
    recent = HashtagUse.of_spellings({"hops": 300}, notes=900)
    use = HashtagUse(998, {"beer": 499}, {"beer": "beer"}, recent)
    assert use.rate("hops") == pytest.approx((300 + 100 / 1000) / 1000)
    assert use.rate("beer") == pytest.approx(100 * 0.5 / 1000)  # as a hundred notes
    nothing = HashtagUse(998, {"beer": 499}, {"beer": "beer"}, HashtagUse())
    assert nothing.rate("beer") == pytest.approx(0.5)


def test_counts_that_are_estimates_give_no_share_above_one() -> None:
    recent = HashtagUse.of_spellings({"beer": 30}, notes=20)
    assert 0 < HashtagUse.of_spellings({"beer": 9}, notes=5).rate("beer") < 1
    assert 0 < HashtagUse(5, {"beer": 9}, {}, recent).rate("beer") < 1

"""Words of a hashtag in a text."""

import pytest

from notellm.text_words import TextWords


@pytest.mark.parametrize(
    ("text", "hashtag", "share"),
    [
        ("cold coffee", "cold-brew", 0.5),
        ("COLD BREWING", "cold-brew", 1),
        ("scold brewer", "cold-brew", 0.5),
        ("one fraction", "fractions", 1),
        ("frame", "fractions", 0),
        ("aids", "ai", 0),
        ("AI!", "ai", 1),
        ("周末在家做冷萃咖啡", "咖啡", 1),
        ("周末在家", "咖啡", 0),
        ("", "foam", 0),
        ("C++ and C#", "c++", 1),
        ("...", "!!!", 0),
    ],
)
def test_share_of_the_words(text: str, hashtag: str, share: float) -> None:
    assert TextWords(text).share_of(hashtag) == share


def test_only_the_beginning_of_a_very_long_text_counts() -> None:
    text = TextWords("beer " + "x" * 30_000 + " coffee")
    assert text.share_of("beer") == 1
    assert text.share_of("coffee") == 0

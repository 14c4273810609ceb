from notellm import NoteText
from training.evaluation.text import note_text, words

BREW = NoteText(title="Cold brew", content="brew brew coffee", hashtags=("coffee",))
QUBIT = NoteText(content="qubit gate #coffee")


def test_words() -> None:
    assert words("Café au-lait 咖啡屋 C# x_1\uff21") == ["café", "au", "lait", "咖", "啡", "屋", "c", "x_1a"]


def test_all_methods_read_title_content_and_hashtags() -> None:
    assert note_text(BREW) == "Cold brew\nbrew brew coffee\ncoffee"
    assert note_text(QUBIT) == "qubit gate\ncoffee"

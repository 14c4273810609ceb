"""`HashtagVocabulary`: the hashtags that a checkpoint may suggest, as continuations of the prompt for one hashtag.

`hashtags_by_frequency` and `categories_of` make the lists of a checkpoint from notes.
"""

import math
from collections.abc import Iterable, Sequence

from notellm.errors import PromptError
from notellm.hashtag_use import HashtagUse
from notellm.hashtags import HashtagSuggestion, is_clean
from notellm.note import Note, NoteText, hashtag_key
from notellm.prompt import NotePrompt
from notellm.ranking import RankedChoice
from notellm.trie import TokenTrie


class HashtagVocabulary:
    """Hashtags that are ranked by their likelihood as the only hashtag of a note.

    Training asks for a random number of a note's hashtags in random order. The likelihood of one hashtag therefore estimates how likely
    the note is to have it. In a generated list, the probability of a hashtag also depends on the hashtags before it.

    Args:
        prompt: the checkpoint's prompt builder.
        hashtags: those that are not clean (`is_clean`) are left out; the first spelling of a hashtag is kept.

    Raises:
        PromptError: the tokenizer has no end-of-sequence token, so that a hashtag could not end.
    """

    def __init__(self, prompt: NotePrompt, hashtags: Iterable[str]) -> None:
        if prompt.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token: hashtags cannot be ranked")
        spelled: dict[str, str] = {}
        for tag in filter(is_clean, hashtags):
            spelled.setdefault(hashtag_key(tag), tag)
        # Look hashtags up by their ids: decoding ids need not give back the text that was encoded.
        self._tags: dict[tuple[int, ...], str] = {}
        self._ids: dict[str, tuple[int, ...]] = {}
        for (key, tag), ids in zip(spelled.items(), map(tuple, prompt.outputs(list(spelled.values()))), strict=True):
            self._tags.setdefault(ids, tag)
            self._ids[key] = ids
        self.choices = TokenTrie(self._tags, prompt.eos_token_id)

    def __len__(self) -> int:
        return len(self._tags)

    def ids_of(self, hashtags: Iterable[str]) -> frozenset[tuple[int, ...]]:
        """The ids of hashtags given in any spelling; hashtags outside the vocabulary are left out."""
        return frozenset(self._ids[key] for key in map(hashtag_key, hashtags) if key in self._ids)

    def suggestions(self, ranked: Sequence[RankedChoice]) -> list[HashtagSuggestion]:
        """The hashtags of ranked choices; the confidence is the probability of the whole hashtag."""
        return [HashtagSuggestion(self._tags[choice.ids], math.exp(choice.log_probability)) for choice in ranked]


def hashtags_by_frequency(notes: Iterable[NoteText]) -> tuple[str, ...]:
    """The notes' hashtags, most frequent first, each in its most frequent spelling."""
    return HashtagUse.of_notes(notes).hashtags


def categories_of(notes: Iterable[Note]) -> tuple[str, ...]:
    """The notes' categories, each once, in alphabetical order."""
    return tuple(sorted({note.category for note in notes if note.category}))

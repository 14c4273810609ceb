"""`HashtagVocabulary`: the hashtags that a checkpoint may suggest, as continuations of the prompt for one hashtag.

`hashtags_by_frequency` and `categories_of` make the lists of a checkpoint from notes.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

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
        earlier: an earlier vocabulary of the same prompt, whose hashtags need not be tokenised again.

    Raises:
        PromptError: the tokenizer has no end-of-sequence token, so that a hashtag could not end.
    """

    def __init__(self, prompt: NotePrompt, hashtags: Iterable[str], *, earlier: "HashtagVocabulary | None" = None) -> None:
        if prompt.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token: hashtags cannot be ranked")
        spelled: dict[str, str] = {}
        for tag in filter(is_clean, hashtags):
            spelled.setdefault(hashtag_key(tag), tag)
        self._ids = _ids_of(prompt, spelled, earlier)
        # Look hashtags up by their ids: decoding ids need not give back the text that was encoded.
        self._tags: dict[tuple[int, ...], str] = {}
        for key, ids in self._ids.items():
            self._tags.setdefault(ids, spelled[key])
        self.choices = TokenTrie(self._tags, prompt.eos_token_id)

    def __len__(self) -> int:
        return len(self._tags)

    def spelling(self, key: str) -> str | None:
        """The hashtag of a `hashtag_key`; None if it is not in the vocabulary, or if another one has the same ids."""
        tag = self._tags[self._ids[key]] if key in self._ids else ""
        return tag if hashtag_key(tag) == key else None

    def ids_of(self, hashtags: Iterable[str]) -> frozenset[tuple[int, ...]]:
        """The ids of hashtags given in any spelling; hashtags outside the vocabulary are left out."""
        return frozenset(self._ids[key] for key in map(hashtag_key, hashtags) if key in self._ids)

    def suggestions(self, ranked: Sequence[RankedChoice]) -> list[HashtagSuggestion]:
        """The hashtags of ranked choices; the confidence is the probability of the whole hashtag."""
        return [HashtagSuggestion(self._tags[choice.ids], math.exp(choice.log_probability)) for choice in ranked]


def _ids_of(prompt: NotePrompt, spelled: Mapping[str, str], earlier: HashtagVocabulary | None) -> dict[str, tuple[int, ...]]:
    """The ids of hashtags by their keys, in the order of `spelled`."""
    known = {tag: ids for ids, tag in earlier._tags.items()} if earlier else {}
    unknown = [tag for tag in spelled.values() if tag not in known]
    known |= zip(unknown, map(tuple, prompt.outputs(unknown)), strict=True)
    return {key: known[tag] for key, tag in spelled.items()}


def hashtags_by_frequency(notes: Iterable[NoteText]) -> tuple[str, ...]:
    """The notes' hashtags, most frequent first, each in its most frequent spelling."""
    return HashtagUse.of_notes(notes).hashtags


def categories_of(notes: Iterable[Note]) -> tuple[str, ...]:
    """The notes' categories, each once, in alphabetical order."""
    return tuple(sorted({note.category for note in notes if note.category}))

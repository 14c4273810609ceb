"""`HashtagVocabulary`: the hashtags that a checkpoint may suggest, as continuations of the prompt for one hashtag."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from notellm.errors import PromptError
from notellm.hashtags import HashtagSuggestion, is_clean
from notellm.note import NoteText, hashtag_key
from notellm.prompt import NotePrompt
from notellm.ranking import RankedChoice
from notellm.trie import TokenTrie


class HashtagVocabulary:
    """Hashtags to rank by their likelihood as the one hashtag of a note.

    Training asks for a random number of a note's hashtags in random order, so that likelihood is the one of the note having
    the hashtag. A list that is written in one go commits itself to its first words instead.

    Args:
        prompt: the checkpoint's prompt builder.
        hashtags: those that are not clean (`is_clean`) are left out; of several spellings of one hashtag the first counts.

    Raises:
        PromptError: the tokenizer has no end of sequence, so that no hashtag could end.
    """

    def __init__(self, prompt: NotePrompt, hashtags: Iterable[str]) -> None:
        if prompt.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token: hashtags cannot be ranked")
        spelled: dict[str, str] = {}
        for tag in filter(is_clean, hashtags):
            spelled.setdefault(hashtag_key(tag), tag)
        # By their ids: a tokenizer need not give back the text that it was given.
        self._tags: dict[tuple[int, ...], str] = {}
        self._ids: dict[str, tuple[int, ...]] = {}
        for (key, tag), ids in zip(spelled.items(), map(tuple, prompt.outputs(list(spelled.values()))), strict=True):
            self._tags.setdefault(ids, tag)
            self._ids[key] = ids
        self.choices = TokenTrie(self._tags, prompt.eos_token_id)

    def __len__(self) -> int:
        return len(self._tags)

    def ids_of(self, hashtags: Iterable[str]) -> frozenset[tuple[int, ...]]:
        """The choices that stand for hashtags, in any spelling; unknown ones have none."""
        return frozenset(self._ids[key] for key in map(hashtag_key, hashtags) if key in self._ids)

    def suggestions(self, ranked: Sequence[RankedChoice]) -> list[HashtagSuggestion]:
        """The hashtags of ranked choices; confidence is the probability of the whole hashtag."""
        return [HashtagSuggestion(self._tags[choice.ids], math.exp(choice.log_probability)) for choice in ranked]


def hashtags_by_frequency(notes: Iterable[NoteText]) -> tuple[str, ...]:
    """The notes' hashtags, most frequent first, each as it is written most often."""
    spellings = Counter(tag for note in notes for tag in note.all_hashtags)
    uses: Counter[str] = Counter()
    written: dict[str, str] = {}
    for tag in sorted(spellings, key=lambda tag: (-spellings[tag], tag)):
        uses[hashtag_key(tag)] += spellings[tag]
        written.setdefault(hashtag_key(tag), tag)
    return tuple(written[key] for key in sorted(uses, key=lambda key: (-uses[key], key)))

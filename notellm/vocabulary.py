"""`HashtagVocabulary`: the hashtags that a checkpoint may suggest, as continuations of the prompt for one hashtag."""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from notellm.hashtags import HashtagSuggestion
from notellm.note import NoteText, hashtag_key
from notellm.prompt import NotePrompt
from notellm.ranking import RankedChoice
from notellm.trie import TokenTrie


class HashtagVocabulary:
    """Hashtags to rank by their likelihood as the one hashtag of a note.

    Training asks for a random number of a note's hashtags in random order, so that likelihood is the one of the note having
    the hashtag. A list that is written in one go commits itself to its first words instead.

    Args:
        prompt: the checkpoint's prompt builder; its tokenizer must have an end of sequence.
        hashtags: at least one; of several spellings of the same hashtag the first counts.
    """

    def __init__(self, prompt: NotePrompt, hashtags: Iterable[str]) -> None:
        if prompt.eos_token_id is None:
            raise ValueError("the tokenizer has no end of sequence: no hashtag could end")
        spelled: dict[str, str] = {}
        for tag in hashtags:
            spelled.setdefault(hashtag_key(tag), tag)
        self._keys = spelled.keys()
        # By their ids: a tokenizer need not give back the text that it was given.
        self._tags = {tuple(prompt.output(tag)): tag for tag in spelled.values()}
        self.choices = TokenTrie(self._tags, prompt.eos_token_id)

    def __len__(self) -> int:
        return len(self._tags)

    def wanted(self, count: int, exclude: Collection[str] = ()) -> int:
        """How many choices to rank so that `count` are left without those of `exclude`."""
        return count + len({hashtag_key(tag) for tag in exclude} & self._keys)

    def suggestions(self, ranked: Sequence[RankedChoice], count: int, exclude: Collection[str] = ()) -> list[HashtagSuggestion]:
        """The first `count` ranked hashtags that are not in `exclude`, in any spelling.

        The confidence is the probability of the whole hashtag, among all that the model could write instead.
        """
        excluded = {hashtag_key(tag) for tag in exclude}
        tags = ((self._tags[choice.ids], math.exp(choice.log_probability)) for choice in ranked)
        return [HashtagSuggestion(tag, sure) for tag, sure in tags if hashtag_key(tag) not in excluded][:count]


def hashtags_by_frequency(notes: Iterable[NoteText]) -> tuple[str, ...]:
    """The notes' hashtags, most frequent first, each as it is written most often."""
    spellings = Counter(tag for note in notes for tag in note.all_hashtags)
    uses: Counter[str] = Counter()
    written: dict[str, str] = {}
    for tag in sorted(spellings, key=lambda tag: (-spellings[tag], tag)):
        uses[hashtag_key(tag)] += spellings[tag]
        written.setdefault(hashtag_key(tag), tag)
    return tuple(written[key] for key in sorted(uses, key=lambda key: (-uses[key], key)))

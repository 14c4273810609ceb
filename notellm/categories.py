"""`CategoryList`: the categories that a checkpoint may suggest, as continuations of the category prompt."""

import math
from collections.abc import Iterable, Sequence

from notellm.errors import PromptError
from notellm.prompt import NotePrompt
from notellm.ranking import RankedChoice
from notellm.trie import TokenTrie

# Up to this many categories, all are compared; of more, a beam search of this width finds the likeliest.
MOST_COMPARED = 32


class CategoryList:
    """Categories that are ranked by their likelihood after a note's category prompt.

    Args:
        prompt: the checkpoint's prompt builder.
        categories: the names; of names with the same ids, the first is kept.

    Raises:
        PromptError: the tokenizer has no end-of-sequence token, so that a category could not end.
    """

    def __init__(self, prompt: NotePrompt, categories: Iterable[str]) -> None:
        if prompt.eos_token_id is None:
            raise PromptError("the tokenizer has no end-of-sequence token: categories cannot be ranked")
        names = list(categories)
        # Look names up by their ids: decoding ids need not give back the text that was encoded.
        self._names: dict[tuple[int, ...], str] = {}
        for name, ids in zip(names, map(tuple, prompt.outputs(names)), strict=True):
            self._names.setdefault(ids, name)
        self.choices = TokenTrie(self._names, prompt.eos_token_id)

    def __len__(self) -> int:
        return len(self._names)

    @property
    def compared(self) -> int:
        """How many choices a ranking has to return for `likeliest`."""
        return min(len(self), MOST_COMPARED)

    def likeliest(self, ranked: Sequence[RankedChoice]) -> tuple[str, float]:
        """The likeliest category, and its probability among the ranked ones.

        Args:
            ranked: the `compared` likeliest choices, best first; at least one.
        """
        best = ranked[0]
        # Relative to the best, because the probabilities of all may be too small for a float.
        total = math.fsum(math.exp(choice.log_probability - best.log_probability) for choice in ranked)
        return self._names[best.ids], 1 / total

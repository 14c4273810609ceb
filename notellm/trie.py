"""`TokenTrie`: a finite set of continuations (categories, a vocabulary of hashtags) as token ids, asked for one token at a time."""

from collections.abc import Iterable, Sequence
from typing import Any


class TokenTrie:
    """Holds generation to a list.

    Args:
        sequences: token ids of each continuation.
        eos_token_id: ends each of them, so that `ai` and `ai art` can both be generated.
    """

    def __init__(self, sequences: Iterable[Sequence[int]], eos_token_id: int) -> None:
        self.eos_token_id = eos_token_id
        self._root: dict[int, Any] = {}
        self.longest = 0
        """Tokens of the longest continuation, its end included."""
        tokens = count = 0
        self.sequences = [tuple(sequence) for sequence in sequences]
        """The continuations, without their ends."""
        for sequence in self.sequences:
            node = self._root
            for token in (*sequence, eos_token_id):
                node = node.setdefault(token, {})
            self.longest = max(self.longest, len(sequence) + 1)
            tokens, count = tokens + len(sequence) + 1, count + 1
        self.mean_length = tokens / max(count, 1)
        """Tokens of the average continuation, its end included."""

    def following(self, written: Sequence[int]) -> list[int]:
        """What may come after the tokens written so far; the end alone after a whole continuation, and after none of them."""
        node = self._root
        for token in written:
            if token not in node:
                return [self.eos_token_id]
            node = node[token]
        return list(node) or [self.eos_token_id]

    def ends(self, written: Sequence[int]) -> bool:
        """Whether the tokens written so far are a whole continuation and its end."""
        return bool(written) and written[-1] == self.eos_token_id

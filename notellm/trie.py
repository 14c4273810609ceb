"""`TokenTrie`: a finite set of continuations (categories, a vocabulary of hashtags) as token ids, followed one token at a time."""

from collections.abc import Iterable, Sequence
from typing import Any


class TokenTrie:
    """Restricts generation to a list of continuations.

    Args:
        sequences: token ids of each continuation.
        eos_token_id: ends each continuation, so that `ai` and `ai art` can both be generated.
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
        """The tokens that may come after those written so far; only the end if no continuation goes on after them."""
        node = self._root
        for token in written:
            if token not in node:
                return [self.eos_token_id]
            node = node[token]
        return list(node) or [self.eos_token_id]

    def paths(self, written: Sequence[int], most: int) -> list[tuple[int, ...]]:
        """What may be written in the end, without its end of sequence, if there is little to choose from; else only what is written.

        Args:
            written: the tokens so far, the beginning of a continuation that has not ended.
            most: how many tokens all ways on may have together, those that they share counted once.
        """
        node = self._root
        for token in written:
            node = node[token]
        found: list[tuple[int, ...]] = []
        open_ways, tokens = [(tuple(written), node)], 0
        while open_ways:
            ids, node = open_ways.pop()
            going = [(token, below) for token, below in node.items() if token != self.eos_token_id]
            tokens += len(going)
            if tokens > most:
                return [tuple(written)]
            open_ways += [((*ids, token), below) for token, below in going]
            if not going:
                found.append(ids)
        return found

    def ends(self, written: Sequence[int]) -> bool:
        """Whether the tokens written so far are a whole continuation with its end."""
        return bool(written) and written[-1] == self.eos_token_id

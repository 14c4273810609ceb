"""`GuidedLogits`: keeps every row of a batch within its own regular expression, by llguidance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import llguidance
import llguidance.hf
import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from service.engines.pieces import bare_space_ids


class Guide:
    """Compiles patterns for one tokenizer, each once.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: width of the model's logits.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = llguidance.hf.from_tokenizer(cast("PreTrainedTokenizerFast", tokenizer), n_vocab=vocabulary)
        self._matchers: dict[str, llguidance.LLMatcher] = {}
        self.bare_space_ids = bare_space_ids(tokenizer)

    def matcher(self, pattern: str) -> llguidance.LLMatcher:
        """A fresh matcher of `pattern`.

        Raises:
            ValueError: the pattern is not understood.
        """
        if pattern not in self._matchers:
            matcher = llguidance.LLMatcher(self._tokenizer, llguidance.LLMatcher.grammar_from_regex(pattern))
            if matcher.is_error():
                raise ValueError(f"pattern {pattern[:80]!r}: {matcher.get_error()}")
            self._matchers[pattern] = matcher
        return self._matchers[pattern].deep_copy()


@dataclass
class GuidedRow:
    """One row of a batch: its pattern, the most tokens it may have, and whether tokens may be a space only."""

    matcher: llguidance.LLMatcher
    limit: int
    bare_spaces: bool


class GuidedLogits(LogitsProcessor):
    """Sets the logits of tokens that a row's pattern does not allow to -inf; after its end or limit only eos is left.

    Args:
        rows: one for each row of the batch.
        guide: what made the matchers.
        prompt_length: columns of the prompt, the same for every row.
        eos_token_id: what ends a row.
    """

    def __init__(self, rows: Sequence[GuidedRow], guide: Guide, prompt_length: int, eos_token_id: int) -> None:
        self._rows = rows
        self._guide = guide
        self._prompt_length = prompt_length
        self._eos = eos_token_id
        self.probabilities: list[list[float]] = []
        """Of the token that greedy search takes, among those allowed: for each step, one for each row."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        allowed = torch.stack(
            [self._allowed(row, ids.tolist(), scores.shape[1]) for row, ids in zip(self._rows, input_ids, strict=True)]
        )
        guided = scores.masked_fill(~allowed.to(scores.device), float("-inf"))
        self.probabilities.append(torch.softmax(guided.float(), dim=-1).amax(-1).tolist())
        return guided

    def _allowed(self, row: GuidedRow, ids: list[int], vocabulary: int) -> Tensor:
        """Which tokens may come next in a row, (vocabulary,)."""
        generated = len(ids) - self._prompt_length
        if generated and not row.matcher.is_stopped():
            row.matcher.consume_token(ids[-1])
        allowed = torch.zeros(vocabulary, dtype=torch.bool)
        if row.matcher.is_stopped() or row.matcher.is_error() or generated >= row.limit:
            allowed[self._eos] = True
            return allowed
        bits = np.unpackbits(np.frombuffer(row.matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")[:vocabulary]
        allowed[: len(bits)] = torch.from_numpy(bits.astype(bool))
        if not row.bare_spaces:
            without = allowed.clone()
            without[self._guide.bare_space_ids] = False
            allowed = without if without.any() else allowed
        return allowed

"""`GuidedLogits`: makes every row of a batch match its own regular expression, with llguidance."""

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
    """Compiles patterns for one tokenizer, and each pattern only once.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: width of the model's logits.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = llguidance.hf.from_tokenizer(cast("PreTrainedTokenizerFast", tokenizer), n_vocab=vocabulary)
        self._matchers: dict[str, llguidance.LLMatcher] = {}
        self.bare_space_ids = bare_space_ids(tokenizer)

    def matcher(self, pattern: str) -> llguidance.LLMatcher:
        """Returns a new matcher of `pattern`.

        Raises:
            ValueError: llguidance cannot compile the pattern.
        """
        if pattern not in self._matchers:
            matcher = llguidance.LLMatcher(self._tokenizer, llguidance.LLMatcher.grammar_from_regex(pattern))
            if matcher.is_error():
                raise ValueError(f"pattern {pattern[:80]!r}: {matcher.get_error()}")
            self._matchers[pattern] = matcher
        return self._matchers[pattern].deep_copy()


@dataclass
class GuidedRow:
    """One row of a batch.

    Attributes:
        matcher: matcher of the row's pattern.
        limit: limit of new tokens.
        bare_spaces: whether a token may consist of spaces only.
    """

    matcher: llguidance.LLMatcher
    limit: int
    bare_spaces: bool


class GuidedLogits(LogitsProcessor):
    """Sets the logits of all tokens that a row's pattern does not allow to -inf. After the end or limit of a row, only eos is allowed.

    Args:
        rows: one for each row of the batch.
        guide: the guide that made the matchers.
        prompt_length: length of the padded prompts, the same for every row.
        eos_token_id: token that ends a row.
    """

    def __init__(self, rows: Sequence[GuidedRow], guide: Guide, prompt_length: int, eos_token_id: int) -> None:
        self._rows = rows
        self._guide = guide
        self._prompt_length = prompt_length
        self._eos = eos_token_id
        self.probabilities: list[list[float]] = []
        """For each step and each row: the probability of the token that greedy search takes, among the allowed tokens."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        allowed = torch.stack(
            [self._allowed(row, ids.tolist(), scores.shape[1]) for row, ids in zip(self._rows, input_ids, strict=True)]
        )
        guided = scores.masked_fill(~allowed.to(scores.device), float("-inf"))
        self.probabilities.append(torch.softmax(guided.float(), dim=-1).amax(-1).tolist())
        return guided

    def _allowed(self, row: GuidedRow, ids: list[int], vocabulary: int) -> Tensor:
        """Returns which tokens may come next in a row: booleans, (vocabulary,)."""
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

"""`GuidedLogits`: keeps every row of a batch within its own regular expression, by llguidance."""

from collections.abc import Sequence
from typing import cast

import llguidance
import llguidance.hf
import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedTokenizerBase, PreTrainedTokenizerFast


class Guide:
    """Compiles patterns for one tokenizer, each once.

    Args:
        tokenizer: a fast tokenizer.
        vocabulary: width of the model's logits.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self._tokenizer = llguidance.hf.from_tokenizer(cast("PreTrainedTokenizerFast", tokenizer), n_vocab=vocabulary)
        self._matchers: dict[str, llguidance.LLMatcher] = {}
        texts = tokenizer.batch_decode([[token_id] for token_id in range(len(tokenizer))])
        # A lone space leads nowhere in a list: words bring their own.
        self.blank_ids = [token_id for token_id, text in enumerate(texts) if text.isspace()]

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


class GuidedLogits(LogitsProcessor):
    """Sets the logits of tokens that a row's pattern does not allow to -inf; after the pattern's end only eos is left.

    Args:
        matchers: one a row.
        guide: what made them.
        prompt_length: columns of the prompt, the same for every row.
        eos_token_id: what ends a row.
    """

    def __init__(self, matchers: Sequence[llguidance.LLMatcher], guide: Guide, prompt_length: int, eos_token_id: int) -> None:
        self._matchers = matchers
        self._prompt_length = prompt_length
        self._guide = guide
        self._eos = eos_token_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """See `LogitsProcessor`."""
        allowed = torch.zeros(scores.shape, dtype=torch.bool)
        for row, matcher in enumerate(self._matchers):
            if input_ids.shape[1] > self._prompt_length and not matcher.is_stopped():
                matcher.consume_token(int(input_ids[row, -1]))
            if matcher.is_stopped() or matcher.is_error():
                allowed[row, self._eos] = True
            else:
                bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
                allowed[row, : len(bits)] = torch.from_numpy(bits[: scores.shape[1]].astype(bool))
        allowed[:, self._guide.blank_ids] = False
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))

"""`PlainTokenizer` tokenises everything that users typed as plain text, even if it looks like a control token."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

from notellm.errors import TokenizerError

if TYPE_CHECKING:  # importing transformers takes seconds, and commands without a model do not need it
    from transformers import PreTrainedTokenizerBase

# SentencePiece tokenizers put a space before the first word of a text. A text that continues another one must not get that space, so
# it is encoded after an anchor, whose tokens are then cut off. No LLaMA vocabulary merges a newline with the text after it.
_ANCHOR = "\n"


class PlainTokenizer:
    """Encodes pieces of a prompt. Text never becomes a control token (`</s>`, `[EMB]`, `<|im_end|>`, …).

    It uses a copy of the tokenizer's rules without the added tokens, so that the spelling of a control token is ordinary text.

    Args:
        tokenizer: a fast tokenizer of `transformers`; it is not changed.

    Raises:
        TokenizerError: the tokenizer is not a fast one, or turns the spelling of a control token into that token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise TokenizerError(f"{type(tokenizer).__name__} has no tokenizer.json: convert it to a fast tokenizer")
        rules = json.loads(backend.to_str())
        rules |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        self._tokenizer = Tokenizer.from_str(json.dumps(rules))
        self._anchor = self._anchor_ids()
        self.control_ids = frozenset(tokenizer.added_tokens_decoder) | frozenset(tokenizer.all_special_ids)
        self._refuse_control_tokens(sorted(str(t) for t in tokenizer.added_tokens_decoder.values()))

    def encode(self, text: str) -> list[int]:
        """Token ids of `text` as it stands in the middle of a longer text; `[]` for an empty one."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` for each text, in one call that releases the interpreter lock."""
        if not self._anchor:
            return [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        anchored = self._tokenizer.encode_batch([_ANCHOR + text for text in texts], add_special_tokens=False)
        cut = len(self._anchor)
        return [
            encoding.ids[cut:] if encoding.ids[:cut] == self._anchor else self.encode_start(text)
            for text, encoding in zip(texts, anchored, strict=True)
        ]

    def encode_start(self, text: str) -> list[int]:
        """Token ids of `text` as the start of a longer text, with the space that the tokenizer puts before a first word."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _anchor_ids(self) -> list[int]:
        """The anchor's ids, to be cut off after encoding; empty if the tokenizer puts no space before a first word."""
        first_word = self._tokenizer.encode("a", add_special_tokens=False).tokens
        if not "".join(first_word).startswith("▁"):
            return []
        ids: list[int] = self._tokenizer.encode(_ANCHOR, add_special_tokens=False).ids
        return ids

    def _refuse_control_tokens(self, spellings: list[str]) -> None:
        for spelling, ids in zip(spellings, self.encode_batch(spellings), strict=True):
            if self.control_ids.intersection(ids):
                raise TokenizerError(
                    f"the typed text {spelling!r} would become a control token: this tokenizer is not safe for users' text"
                )

"""Which tokens of a base model count as the same term, for the text features and the token vectors."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from notellm.note import Note
from notellm.prompt import NotePrompt
from notellm.token_vectors import TokenTerms
from training.projection import TextFeatures

Classes = npt.NDArray[np.int64]
_NO_TERM = -1
_BROKEN = "\N{REPLACEMENT CHARACTER}"


def token_classes(tokenizer: PreTrainedTokenizerBase, rows: int) -> Classes:
    """The class of each token id, (rows,). Tokens whose texts differ only in case or in spaces around them are one class.

    Control tokens and white space have the class -1: they are no part of a note's words.

    Args:
        tokenizer: the base's tokenizer with `[EMB]` and a pad token.
        rows: number of ids of the model, which may be larger than the tokenizer's.
    """
    classes = np.full(rows, _NO_TERM)
    of_text: dict[str, int] = {}
    control = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token, number in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        if number in control:
            continue
        text = str(tokenizer.decode([number]))
        # A token that is a part of a character has no text of its own.
        key = token if _BROKEN in text else text.strip().casefold()
        if key:
            classes[number] = of_text.setdefault(key, len(of_text))
    return classes


def documents(prompt: NotePrompt, classes: Classes, notes: Sequence[Note]) -> list[list[int]]:
    """The classes of each note's own tokens in its embedding prompt."""
    frame, opening = prompt.frame, len(prompt.embedding_prefix)
    own = (frame.own(prompt.embedding(note)[opening:]) for note in prompt.tokenize(notes))
    return [[one for one in classes[ids].tolist() if one != _NO_TERM] if ids else [] for ids in own]


def terms_of(features: TextFeatures, classes: Classes, prompt: NotePrompt) -> TokenTerms:
    """The rows of all tokens: the columns of the text features."""
    row_of = np.full(max(int(classes.max(initial=0)) + 1, 1) + 1, _NO_TERM)  # the last one is that of the class -1
    for term, column in features.vocabulary.items():
        row_of[int(term)] = column
    return TokenTerms(row_of[classes], features.idf.astype(np.float32), prompt.frame)

"""Turns generated token ids into pieces of text, in the same way for every engine."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from notellm.hashtags import GeneratedPiece
from service.engines.base import Generation

# The lowest logit bias that vLLM takes. A token with it is not chosen unless it is the only one that the pattern allows.
FORBID = -100


def read_generation(
    tokenizer: PreTrainedTokenizerBase, ids: list[int], probabilities: Sequence[float], max_new_tokens: int
) -> Generation:
    """Returns the tokens up to the end of sequence, each with the text that it adds."""
    pieces: list[GeneratedPiece] = []
    text = ""
    for position, (token_id, probability) in enumerate(zip(ids[:max_new_tokens], probabilities, strict=False)):
        if token_id == tokenizer.eos_token_id:
            # The end adds no text, but its probability counts: it distinguishes the choice `ai` from the choice `ai art`.
            return Generation((*pieces, GeneratedPiece("", probability)), finished=True)
        longer = str(tokenizer.decode(ids[: position + 1], skip_special_tokens=True))
        whole = longer.rstrip("\ufffd")  # a character may be spread over several tokens: its text belongs to the last one
        pieces.append(GeneratedPiece(whole[len(text) :], probability))
        text = whole
    return Generation(tuple(pieces), finished=False)


def bare_space_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Returns the ids of the tokens that consist of spaces only."""
    texts = tokenizer.batch_decode([[token_id] for token_id in range(len(tokenizer))])
    return [token_id for token_id, text in enumerate(texts) if text.isspace()]

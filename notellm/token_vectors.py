"""`TokenVectors`: a vector for each token of the vocabulary, which adds to an embedding what the note's words say by themselves."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from notellm.own_tokens import PromptFrame

TOKENS, FRAME = "tokens.safetensors", "frame.json"


class Bags(NamedTuple):
    """The weighted rows of several notes, one note after the other.

    Attributes:
        rows: (terms,), int64.
        weights: (terms,), float32, above 0; those of one note have the length 1.
        offsets: (notes,), int64, where each note's terms begin.
    """

    rows: Tensor
    weights: Tensor
    offsets: Tensor

    def to(self, device: torch.device) -> "Bags":
        """The same bags on another device."""
        return Bags(*(tensor.to(device) for tensor in self))


@dataclass(frozen=True)
class TokenTerms:
    """Which tokens count as the same term, and how much each term counts.

    Attributes:
        rows: (vocabulary,), the row of each token; -1 for tokens that do not count. Tokens that differ only in case or in a leading
            space share a row.
        idf: (rows,), inverse document frequencies.
        frame: what is the prompt's and not the note's.
    """

    rows: npt.NDArray[np.int64]
    idf: npt.NDArray[np.float32]
    frame: PromptFrame

    def bags(self, prompts: Iterable[Sequence[int]]) -> Bags:
        """The terms of notes with the weights (1 + ln count) · idf, those of each note divided by their length.

        Args:
            prompts: embedding prompts without their opening.
        """
        own = [self.frame.own(prompt) for prompt in prompts]
        lengths = np.fromiter(map(len, own), np.int64, len(own))
        rows = self.rows[np.fromiter((id_ for ids in own for id_ in ids), np.int64, int(lengths.sum()))]
        notes = np.repeat(np.arange(len(own)), lengths)[rows >= 0]
        # One number for each pair of note and row, so that one call counts the terms of all notes.
        terms, counts = np.unique(notes * len(self.idf) + rows[rows >= 0], return_counts=True)
        notes, rows = np.divmod(terms, max(len(self.idf), 1))
        weights = (1 + np.log(counts)) * self.idf[rows]
        squares = np.bincount(notes, weights=weights**2, minlength=len(own))
        weights = weights / np.sqrt(squares[notes])
        offsets = np.searchsorted(notes, np.arange(len(own)))
        return Bags(torch.from_numpy(rows), torch.from_numpy(weights.astype(np.float32)), torch.from_numpy(offsets))


class TokenVectors(nn.Module):
    """The sum of a note's weighted token vectors.

    Args:
        terms: the terms and their weights.
        weight: (rows, dimensions), one vector per term.
    """

    def __init__(self, terms: TokenTerms, weight: Tensor) -> None:
        super().__init__()
        if len(weight) != len(terms.idf):
            raise ValueError(f"there are {len(terms.idf)} terms, but {len(weight)} vectors")
        self.terms = terms
        self.weight = nn.Parameter(weight.float().contiguous())  # FSDP2 shards no other tensors

    def forward(self, bags: Bags) -> Tensor:
        """What is added to each note's projected state, (notes, dimensions), float32."""
        summed: Tensor = functional.embedding_bag(
            bags.rows, self.weight, bags.offsets, mode="sum", per_sample_weights=bags.weights
        )
        return summed

    def of_prompts(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """`forward` for embedding prompts without their opening."""
        added: Tensor = self(self.terms.bags(prompts).to(self.weight.device))
        return added


def save_token_vectors(directory: Path, tokens: TokenVectors) -> None:
    """Writes the vectors in half precision, the terms, and the frame."""
    tensors = {
        "weight": tokens.weight.detach().half().cpu().contiguous(),
        "idf": torch.from_numpy(tokens.terms.idf),
        "rows": torch.from_numpy(tokens.terms.rows.astype(np.int32)),
    }
    save_file(tensors, directory / TOKENS, metadata={"format": "pt"})
    (directory / FRAME).write_text(tokens.terms.frame.model_dump_json() + "\n", encoding="utf-8")


def read_token_vectors(directory: Path) -> TokenVectors:
    """Reads what `save_token_vectors` has written.

    Raises:
        ValueError: the files do not fit together.
        OSError, SafetensorError: they cannot be read.
    """
    tensors = load_file(directory / TOKENS)
    if set(tensors) != {"weight", "idf", "rows"}:
        raise ValueError(f"it holds {', '.join(sorted(tensors))} instead of idf, rows, weight")
    weight, idf, rows = tensors["weight"], tensors["idf"].float().numpy(), tensors["rows"].long().numpy()
    if weight.dim() != 2 or rows.ndim != 1 or (len(rows) and not -1 <= rows.min() <= rows.max() < len(weight)):  # noqa: PLR2004
        raise ValueError(f"its rows do not fit its weight of shape {tuple(weight.shape)}")
    frame = PromptFrame.model_validate_json((directory / FRAME).read_text(encoding="utf-8"))
    return TokenVectors(TokenTerms(rows, idf, frame), weight)

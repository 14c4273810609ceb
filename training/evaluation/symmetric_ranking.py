"""`SymmetricRanking`: the loss with which MiniLM is fine-tuned."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data import Cooccurrences


class SymmetricRanking(nn.Module):
    """MultipleNegativesRankingLoss in both directions, without negatives that are known to co-occur with the note.

    Args:
        model: the `SentenceTransformer`.
        pairs: the ids of each training pair; a batch's labels are places in it.
        cooccurrences: what is not a negative.
        scale: cosines are multiplied by this.
    """

    def __init__(self, model: Any, pairs: Sequence[tuple[str, str]], cooccurrences: Cooccurrences, scale: float) -> None:
        super().__init__()
        self.model = model
        self._pairs, self._cooccurrences, self._scale = pairs, cooccurrences, scale

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean of the cross-entropies of both directions, for the tokens of the two sides of the batch's pairs."""
        first, second = (self.model(features)["sentence_embedding"] for features in sentence_features)
        return self.loss(first, second, labels)

    def loss(self, first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        """The same for vectors, (pairs, dimensions)."""
        cosines = functional.normalize(first, dim=-1) @ functional.normalize(second, dim=-1).T
        logits = (self._scale * cosines).masked_fill(self._related(labels.tolist()).to(cosines.device), -torch.inf)
        own = torch.arange(len(logits), device=logits.device)
        return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2

    def _related(self, labels: list[int]) -> Tensor:
        """Which first notes co-occur with which second notes of other pairs, (pairs, pairs)."""
        first, second = ([self._pairs[label][side] for label in labels] for side in (0, 1))
        scores = self._cooccurrences.among([*first, *second])[: len(first), len(first) :]
        related = torch.from_numpy(scores > 0)
        return related.fill_diagonal_(False)

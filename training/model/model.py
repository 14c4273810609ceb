"""`TrainingModel`: the model with its losses, all behind `forward`, so that every kind of data parallelism can wrap it."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from notellm.model import NoteLLM
from training.batches import TokenRows
from training.model.frozen import FrozenLayers
from training.model.losses import Temperature, contrastive_loss, generative_loss, total_loss

Value = TypeVar("Value")


class Losses(NamedTuple):
    """L, and the two that it is made of."""

    total: Tensor
    contrastive: Tensor
    generative: Tensor


@dataclass(frozen=True)
class CachedGradients:
    """∂L/∂embeddings and ∂L/∂τ, found before the second pass of GradCache (arXiv 2101.06983).

    Attributes:
        contrastive: L_cl.
        embeddings: (examples, d).
        temperature: (1,), to be counted once a batch: none but for one of its chunks.
    """

    contrastive: Tensor
    embeddings: Tensor
    temperature: Tensor | None

    def share(self, examples: slice, *, with_temperature: bool) -> "CachedGradients":
        """What one chunk needs of it."""
        return CachedGradients(self.contrastive, self.embeddings[examples], self.temperature if with_temperature else None)


class TrainingModel(nn.Module):
    """`NoteLLM` with the temperature and the losses.

    Args:
        note_llm: the model that is trained; adapters may be inside.
        alpha: weight of the generative loss (paper: 0.01).
        contrastive: false trains generation alone (CSFT only).
        temperature: where τ starts (paper: 3).
        frozen: what runs the lower layers, when their output is kept.
    """

    _frozen: FrozenLayers | None

    def __init__(
        self, note_llm: NoteLLM, alpha: float = 0.01, *, contrastive: bool = True, temperature: float = 3.0,
        frozen: FrozenLayers | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.note_llm = note_llm
        self.temperature = Temperature(temperature)
        self.alpha = alpha
        self.contrastive = contrastive
        # Not a sub-module: its layers are those of `note_llm`.
        object.__setattr__(self, "_frozen", frozen)
        if not contrastive:
            note_llm.projection.requires_grad_(requires_grad=False)
            self.temperature.requires_grad_(requires_grad=False)

    def forward(
        self, rows: TokenRows | None = None, related: Tensor | None = None, *, output_tokens: Tensor | None = None,
        embeddings: Tensor | None = None, gradients: CachedGradients | None = None,
    ) -> Losses | CachedGradients | Tensor:  # fmt: skip
        """One of four computations, chosen by what is given.

        Args:
            rows: alone: their embeddings, (examples, d), unit float32.
            related: with `rows`: the losses of this process's whole share. With `embeddings`: their `CachedGradients`.
            output_tokens: the number of output tokens of the global batch.
            embeddings: (examples of the whole share, d), the first pass of GradCache.
            gradients: with `rows`: a number whose gradient is that of the whole loss with respect to what this chunk
                contributes, the second pass of GradCache; it stands in the place of the total.
        """
        if embeddings is not None:
            return self._first_pass(embeddings, _given(related))
        hidden = self._hidden_states(_given(rows))
        vectors = self.note_llm.project(hidden[_given(rows).embedding_at])
        if output_tokens is None:
            return vectors
        generative = self._generative_loss(_given(rows), hidden, output_tokens)
        if gradients is not None:
            return self._second_pass(vectors, generative, gradients)
        if not self.contrastive:
            return Losses(generative, torch.zeros_like(generative), generative)
        contrastive = contrastive_loss(vectors, _given(related), self.temperature())
        return Losses(total_loss(contrastive, generative, self.alpha), contrastive, generative)

    def _first_pass(self, embeddings: Tensor, related: Tensor) -> CachedGradients:
        """Leaves of its own, so that it works whatever holds the parameters."""
        with torch.enable_grad():
            leaves = embeddings.detach().requires_grad_(), self.temperature().detach().requires_grad_()
            contrastive = contrastive_loss(leaves[0], related, leaves[1])
            gradients = torch.autograd.grad(contrastive / (1 + self.alpha), leaves)
        return CachedGradients(contrastive.detach(), *gradients)

    def _second_pass(self, vectors: Tensor, generative: Tensor, gradients: CachedGradients) -> Losses:
        surrogate = (vectors * gradients.embeddings).sum() + generative * self.alpha / (1 + self.alpha)
        if gradients.temperature is not None:
            surrogate = surrogate + (self.temperature() * gradients.temperature).sum()
        return Losses(surrogate, gradients.contrastive, generative)

    def _hidden_states(self, rows: TokenRows) -> Tensor:
        """Last-layer states of all positions, (positions, hidden size)."""
        if self._frozen is not None:
            states: Tensor = self._frozen.hidden_states(rows)
        else:
            given = {"attention_mask": rows.attention_mask} if rows.runs is None else {"runs": rows.runs}
            states = self.note_llm.causal_lm.model(
                input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False, **given
            ).last_hidden_state
        return states.flatten(0, 1)

    def _generative_loss(self, rows: TokenRows, hidden: Tensor, output_tokens: Tensor) -> Tensor:
        """The language-model head runs at output positions only: elsewhere its logits would be thrown away."""
        if self.alpha == 0:
            return hidden.new_zeros((), dtype=torch.float32)
        logits = self.note_llm.causal_lm.lm_head(hidden[rows.predict_at])
        return generative_loss(logits, rows.output_ids, output_tokens)


def _given(value: Value | None) -> Value:
    if value is None:
        raise TypeError("an argument of this computation is missing")
    return value

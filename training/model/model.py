"""`TrainingModel`: the model with its losses. `forward` computes everything, so that every kind of data parallelism can wrap it."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from notellm.model import NoteLLM
from training.batches import Contrast, TokenRows
from training.model.frozen import FrozenLayers
from training.model.losses import Temperature, contrastive_loss, generative_loss, total_loss

Value = TypeVar("Value")


class Losses(NamedTuple):
    """L, and the two losses that it consists of.

    Attributes:
        embeddings: (examples, d), of this process, without gradient; None in the second pass of GradCache.
    """

    total: Tensor
    contrastive: Tensor
    generative: Tensor
    embeddings: Tensor | None = None


@dataclass(frozen=True)
class CachedGradients:
    """∂L/∂embeddings and ∂L/∂τ, the result of the first pass of GradCache (arXiv 2101.06983).

    Attributes:
        contrastive: L_cl.
        embeddings: (examples, d).
        temperature: (1,). It must count once per batch, so it is None for all chunks of a batch except one.
    """

    contrastive: Tensor
    embeddings: Tensor
    temperature: Tensor | None

    def share(self, examples: slice, *, with_temperature: bool) -> "CachedGradients":
        """The part that one chunk needs."""
        return CachedGradients(self.contrastive, self.embeddings[examples], self.temperature if with_temperature else None)


class TrainingModel(nn.Module):
    """`NoteLLM` with the temperature and the losses.

    Args:
        note_llm: the model to train; it may contain adapters.
        alpha: weight of the generative loss (paper: 0.01).
        contrastive: false trains with the generative loss only (CSFT).
        temperature: start value of τ (paper: 3).
        frozen: runs the frozen layers, if their output is kept.
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
        # It must not become a sub-module, because its layers are those of `note_llm`.
        object.__setattr__(self, "_frozen", frozen)
        if not contrastive:
            note_llm.projection.requires_grad_(requires_grad=False)
            if note_llm.tokens is not None:
                note_llm.tokens.requires_grad_(requires_grad=False)
            self.temperature.requires_grad_(requires_grad=False)

    def forward(
        self, rows: TokenRows | None = None, contrast: Contrast | None = None, *, output_tokens: Tensor | None = None,
        embeddings: Tensor | None = None, gradients: CachedGradients | None = None, remembered: Tensor | None = None,
    ) -> Losses | CachedGradients | Tensor:  # fmt: skip
        """Does one of four computations, depending on the arguments.

        - `rows`: returns their embeddings, (examples, d), unit float32.
        - `rows`, `contrast` and `output_tokens`: returns the losses of this process's whole share.
        - `embeddings` and `contrast`: the first pass of GradCache, returns `CachedGradients`.
        - `rows`, `output_tokens` and `gradients`: the second pass of GradCache, returns losses. In place of the total stands a number
          that has the same gradient with respect to this chunk as the loss of the whole share.

        Args:
            rows: examples to compute.
            contrast: what the examples of the whole share have to find.
            output_tokens: number of output tokens of the global batch.
            embeddings: (examples of the whole share, d).
            gradients: the chunk's part of the first pass's result.
            remembered: with `contrast`, vectors of earlier batches, (remembered notes, d).
        """
        if embeddings is not None:
            return self._first_pass(embeddings, _given(contrast), remembered)
        hidden = self._hidden_states(_given(rows))
        tokens, bags = self.note_llm.tokens, _given(rows).bags
        added = tokens(bags) if tokens is not None and bags is not None else None
        vectors = self.note_llm.project(hidden[_given(rows).embedding_at], added)
        if output_tokens is None:
            return vectors
        generative = self._generative_loss(_given(rows), hidden, output_tokens)
        if gradients is not None:
            return self._second_pass(vectors, generative, gradients)
        if not self.contrastive:
            return Losses(generative, torch.zeros_like(generative), generative)
        contrastive = contrastive_loss(vectors, _given(contrast), self.temperature(), remembered)
        return Losses(total_loss(contrastive, generative, self.alpha), contrastive, generative, vectors.detach())

    def _first_pass(self, embeddings: Tensor, contrast: Contrast, remembered: Tensor | None) -> CachedGradients:
        """Computes gradients for detached copies, so that it works however the parameters are stored."""
        with torch.enable_grad():
            leaves = embeddings.detach().requires_grad_(), self.temperature().detach().requires_grad_()
            contrastive = contrastive_loss(leaves[0], contrast, leaves[1], remembered)
            gradients = torch.autograd.grad(contrastive / (1 + self.alpha), leaves)
        return CachedGradients(contrastive.detach(), *gradients)

    def _second_pass(self, vectors: Tensor, generative: Tensor, gradients: CachedGradients) -> Losses:
        surrogate = (vectors * gradients.embeddings).sum() + generative * self.alpha / (1 + self.alpha)
        if gradients.temperature is not None:
            surrogate = surrogate + (self.temperature() * gradients.temperature).sum()
        return Losses(surrogate, gradients.contrastive, generative)

    def _hidden_states(self, rows: TokenRows) -> Tensor:
        """Last-layer states at all positions, (positions, hidden size)."""
        if self._frozen is not None:
            states: Tensor = self._frozen.hidden_states(rows)
        else:
            attention = {"attention_mask": rows.attention_mask} if rows.runs is None else {"runs": rows.runs}
            states = self.note_llm.causal_lm.model(
                input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False, **attention
            ).last_hidden_state
        return states.flatten(0, 1)

    def _generative_loss(self, rows: TokenRows, hidden: Tensor, output_tokens: Tensor) -> Tensor:
        """The language-model head runs only at output positions, because the loss does not use its other logits."""
        if self.alpha == 0:
            return hidden.new_zeros((), dtype=torch.float32)
        logits = self.note_llm.causal_lm.lm_head(hidden[rows.predict_at])
        return generative_loss(logits, rows.output_ids, output_tokens)


def _given(value: Value | None) -> Value:
    if value is None:
        raise TypeError("an argument of this computation is missing")
    return value

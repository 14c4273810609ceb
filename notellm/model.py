"""`NoteLLM`: a causal language model and the projection of its compressed hidden state."""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from notellm.forward import TransformersLayers
from notellm.token_vectors import TokenVectors


class NoteLLM(nn.Module):
    """The model of arXiv 2403.01744: one LLaMA for generation and, through `projection`, for the note embedding.

    Args:
        causal_lm: any `LlamaForCausalLM`.
        projection: hidden size → dimensions. A trained one has no bias; the bias of a zero-shot one may subtract a mean.
        tokens: adds to the projected state what the note's own tokens say; None in the paper's model.
    """

    def __init__(self, causal_lm: LlamaForCausalLM, projection: nn.Linear, tokens: TokenVectors | None = None) -> None:
        super().__init__()
        if projection.in_features != causal_lm.config.hidden_size:
            raise ValueError(
                f"the projection expects {projection.in_features} values, but the model's hidden size is {causal_lm.config.hidden_size}"
            )
        self.causal_lm = causal_lm
        self.projection = projection
        self.tokens = tokens

    @property
    def dimensions(self) -> int:
        """Length of the embedding."""
        return self.projection.out_features

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.projection.weight.device

    @property
    def layers(self) -> TransformersLayers:
        """The layers, for the custom forward pass."""
        return TransformersLayers(self.causal_lm.model, self.causal_lm.lm_head)

    def project(self, hidden: Tensor, added: Tensor | None = None, *, normalize: bool = True) -> Tensor:
        """Projects last-layer hidden states after the final norm to unit float32 embeddings.

        Args:
            hidden: (..., hidden size).
            added: (..., dimensions), what `tokens` gives for the same notes.
            normalize: false leaves the length as it is.

        Returns:
            (..., dimensions).
        """
        projected: Tensor = self.projection(hidden.to(self.projection.weight.dtype)).float()
        if added is not None:
            projected = projected + added
        return functional.normalize(projected, dim=-1) if normalize else projected

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embeds one prompt with a plain forward pass: the reference that every faster implementation must match.

        Args:
            input_ids: (tokens,), ending with the token before `[EMB]`.

        Returns:
            Unit float32 vector, (dimensions,).
        """
        hidden = self.causal_lm.model(input_ids=input_ids.unsqueeze(0), use_cache=False).last_hidden_state[0, -1]
        if self.tokens is None:
            return self.project(hidden)
        rest = input_ids[len(self.tokens.terms.frame.opening) :].tolist()
        return self.project(hidden, self.tokens.of_prompts([rest])[0])

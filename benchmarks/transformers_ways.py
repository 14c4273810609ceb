"""Ways of embedding prompts with transformers alone, as most scripts do."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from notellm import NoteLLM

Ids = Sequence[Sequence[int]]
Vectors = npt.NDArray[np.float32]


def one_by_one(model: NoteLLM, prompts: Ids) -> Vectors:
    """A plain forward pass for each prompt."""
    return torch.stack([model(torch.tensor(prompt)) for prompt in prompts]).numpy()


def padded(model: NoteLLM, prompts: Ids, batch_size: int, *, by_length: bool) -> Vectors:
    """Batches padded on the right, the whole prompt computed for each note; without the language-model head.

    Args:
        model: that embeds.
        prompts: ids.
        batch_size: prompts of a batch.
        by_length: batches of similar lengths instead of batches in the order of arrival.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index])) if by_length else list(range(len(prompts)))
    vectors = np.empty((len(prompts), model.dimensions), dtype=np.float32)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        vectors[batch] = _padded_batch(model, [prompts[index] for index in batch]).numpy()
    return vectors


def _padded_batch(model: NoteLLM, prompts: Ids) -> Tensor:
    width = max(map(len, prompts))
    ids = torch.tensor([[*prompt, *[0] * (width - len(prompt))] for prompt in prompts])
    mask = torch.tensor([[1] * len(prompt) + [0] * (width - len(prompt)) for prompt in prompts])
    hidden = model.causal_lm.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return model.project(hidden[torch.arange(len(prompts)), mask.sum(1) - 1])

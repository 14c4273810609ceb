"""Ways to embed prompts with transformers alone, as in most scripts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from notellm import NoteLLM

Ids = Sequence[Sequence[int]]
Vectors = npt.NDArray[np.float32]


def one_by_one(model: NoteLLM, prompts: Ids) -> Vectors:
    """Runs a plain forward pass for each prompt."""
    return torch.stack([model(torch.tensor(prompt)) for prompt in prompts]).numpy()


def padded(model: NoteLLM, prompts: Ids, batch_size: int, *, by_length: bool) -> Vectors:
    """Runs batches that are padded on the right, computing every prompt completely, without the language-model head.

    Args:
        model: the model.
        prompts: token ids.
        batch_size: prompts per batch.
        by_length: make batches of similar lengths instead of batches in the order of arrival.
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

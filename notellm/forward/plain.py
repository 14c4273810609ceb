"""`PlainForward`: the fallback for `PackedForward`. It runs the model's own forward pass, one prompt at a time."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from transformers import LlamaModel

from notellm.forward.packing import Pack


class PlainForward:
    """Computes the last-layer state of the last token of each sequence of a pack, and computes the prefix again for each sequence.

    Args:
        backbone: the model without its head.
        prefix_ids: the ids that every sequence begins with.
    """

    def __init__(self, backbone: LlamaModel, prefix_ids: Sequence[int]) -> None:
        self._backbone = backbone
        self._prefix_ids = list(prefix_ids)

    def __call__(self, pack: Pack) -> Tensor:
        """Last-token states after the final norm, (S, E)."""
        prefix = torch.tensor(self._prefix_ids, device=pack.input_ids.device)
        starts = pack.starts.tolist()
        sequences = (pack.input_ids[0, start:end] for start, end in pairwise(starts))
        return torch.stack([self._last_state(torch.cat([prefix, own])) for own in sequences])

    def _last_state(self, ids: Tensor) -> Tensor:
        state: Tensor = self._backbone(input_ids=ids[None], use_cache=False).last_hidden_state[0, -1]
        return state

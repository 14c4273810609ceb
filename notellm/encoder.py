"""`NoteEncoder`: the custom forward pass, from prompt ids to unit float32 vectors."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from notellm.errors import PromptError
from notellm.forward import Lanes, Layers, Pack, PackedForward, PlainForward, even_batches, read_prefix, token_batches
from notellm.model import NoteLLM

logger = logging.getLogger(__name__)

# Largest difference of any component of a unit vector from the plain one-note forward pass, in float32.
TOLERANCE = 1e-5
# Beyond it, vectors are another model's. Half precision differs by rounding alone, and by more than float32.
_ANOTHER_MODEL = {torch.float32: 1e-3}
_ANOTHER_MODEL_ROUNDED = 0.1
# Tokens of a lane from which one thread by itself is as fast as all of them together on one pass, unless the lane with the most
# has so much more than the others that they wait for it.
_LANE_TOKENS = 256
_UNEVEN = 1.12


class CompressingModel(Protocol):
    """What the encoder needs: `NoteLLM`, or the same weights in another engine's hands."""

    @property
    def layers(self) -> Layers[Any]:
        """The layers."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        ...

    def project(self, hidden: Tensor, *, normalize: bool = True) -> Tensor:
        """See `NoteLLM.project`."""
        ...


class NoteEncoder:
    """Embeds prompts that share a prefix, whose keys and values are computed once.

    Batches are cut by tokens after sorting by length and run without padding and without the language-model head. A vector
    does not depend on what else is in its batch beyond `TOLERANCE`. Safe to use from several threads. On a CPU all of torch's
    threads compute a small batch together; of more tokens, each computes a pass of its own (`Lanes`).

    A `NoteLLM` is asked for two vectors by its own plain forward pass first: where the fast one gives others (a variant of LLaMA
    that it does not know), the plain one is used from then on, with a warning.

    Args:
        model: shared, not copied; it can generate at the same time.
        prefix_ids: what every prompt starts with, `NotePrompt.embedding_prefix`.
        max_batch_tokens: tokens of one forward pass, prefix not counted.
        lanes: false leaves all threads to all passes.
    """

    @torch.inference_mode()
    def __init__(
        self, model: CompressingModel, prefix_ids: Sequence[int], *, max_batch_tokens: int = 1024, lanes: bool = True
    ) -> None:
        self._model = model
        self._prefix_ids = list(prefix_ids)
        self._max_batch_tokens = max_batch_tokens
        layers = model.layers
        self._device = layers.device
        self._states: Callable[[Pack], Tensor] = PackedForward(layers, read_prefix(layers, self._prefix_ids).prefix)
        if isinstance(model, NoteLLM) and not self._agrees_with_plain(model):
            logger.warning("the packed forward pass does not give this model's vectors: the plain one is used, which is slower")
            self._states = PlainForward(model.causal_lm.model, self._prefix_ids)
        threads = torch.get_num_threads()
        self._lanes = Lanes(threads) if self._device.type == "cpu" and threads > 1 and self.packed and lanes else None

    @property
    def packed(self) -> bool:
        """Whether the fast forward pass is used."""
        return isinstance(self._states, PackedForward)

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return self._model.dimensions

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Sequence[int]], *, normalize: bool = True) -> npt.NDArray[np.float32]:
        """Embeds prompts.

        Args:
            prompts: token ids as from `NotePrompt.embedding`.
            normalize: false leaves out the division by the length, to fit a projection.

        Returns:
            Unit vectors in the order of the prompts, (prompts, dimensions).

        Raises:
            PromptError: a prompt does not start with the shared prefix, or ends with it.
        """
        rests = [self._after_prefix(index, prompt) for index, prompt in enumerate(prompts)]
        vectors = np.empty((len(prompts), self.dimensions), dtype=np.float32)
        lengths = [len(rest) for rest in rests]

        def embed(batch: Sequence[int]) -> Tensor:
            return self._embed([rests[index] for index in batch], normalize=normalize)

        if self._lanes and (batches := _worth_lanes(lengths, self._max_batch_tokens, self._lanes.count)):
            found = self._lanes.map(embed, batches)
        else:
            batches = list(token_batches(lengths, self._max_batch_tokens))
            # All are begun before the first is fetched: a GPU computes one while the next is packed.
            found = [embed(batch) for batch in batches]
        for batch, embedded in zip(batches, found, strict=True):
            vectors[batch] = embedded.cpu().numpy()
        return vectors

    def _embed(self, sequences: Sequence[Sequence[int]], *, normalize: bool) -> Tensor:
        pack = Pack.of(sequences, len(self._prefix_ids), self._device)
        return self._model.project(self._states(pack), normalize=normalize)

    def _after_prefix(self, index: int, prompt: Sequence[int]) -> Sequence[int]:
        length = len(self._prefix_ids)
        if list(prompt[:length]) != self._prefix_ids or len(prompt) == length:
            raise PromptError(f"prompt {index} does not continue the {length} ids of the shared prefix")
        return prompt[length:]

    def _agrees_with_plain(self, model: NoteLLM) -> bool:
        probes = [self._prefix_ids[:1], self._prefix_ids[-3:]]
        plain = torch.stack([model(torch.tensor([*self._prefix_ids, *ids], device=self._device)) for ids in probes])
        difference = float((self._embed(probes, normalize=True) - plain).abs().max())
        return difference <= _ANOTHER_MODEL.get(model.causal_lm.dtype, _ANOTHER_MODEL_ROUNDED)


def _worth_lanes(lengths: Sequence[int], max_tokens: int, lanes: int) -> list[list[int]]:
    """Batches to compute side by side; none where all threads had better compute one after another together."""
    total = sum(lengths)
    if total < lanes * _LANE_TOKENS:
        return []
    batches = even_batches(lengths, max_tokens, lanes)
    most = sum(lengths[index] for index in batches[0])
    return batches if lanes <= len(batches) and most * len(batches) <= _UNEVEN * total else []

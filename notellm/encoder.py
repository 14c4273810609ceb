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
from notellm.token_vectors import TokenVectors

logger = logging.getLogger(__name__)

# Largest difference of any component of a unit vector from the plain one-note forward pass, in float32.
TOLERANCE = 1e-5
# A larger difference means that the fast pass computes a different model. In half precision, rounding alone exceeds the limit for float32.
_MAX_DIFFERENCE = {torch.float32: 1e-3}
_MAX_DIFFERENCE_HALF_PRECISION = 0.1
# Lanes pay off from this many tokens per lane, unless the largest batch exceeds the mean batch by this factor: then the other
# lanes wait for it.
_LANE_TOKENS = 256
_UNEVEN = 1.12


class CompressingModel(Protocol):
    """What the encoder needs: `NoteLLM`, or an engine that holds the same weights."""

    @property
    def layers(self) -> Layers[Any]:
        """The layers, for the custom forward pass."""
        ...

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        ...

    @property
    def tokens(self) -> TokenVectors | None:
        """See `NoteLLM`."""
        ...

    def project(self, hidden: Tensor, added: Tensor | None = None, *, normalize: bool = True) -> Tensor:
        """See `NoteLLM.project`."""
        ...


class NoteEncoder:
    """Embeds prompts that share a prefix, whose keys and values are computed once.

    Prompts are sorted by length and cut into batches by their number of tokens. A batch runs without padding and without the
    language-model head. The other prompts of a batch change a vector by at most `TOLERANCE`. Safe to use from several threads.
    On a CPU, all of torch's threads work together on a small batch; with more tokens, each thread runs its own pass (`Lanes`).

    For a `NoteLLM`, the constructor first computes two vectors with the model's own plain forward pass. If the fast pass gives
    different ones (for a LLaMA variant that it does not know), it logs a warning and the encoder uses the plain pass.

    Args:
        model: shared, not copied; it can generate at the same time.
        prefix_ids: what every prompt starts with, `NotePrompt.embedding_prefix`.
        max_batch_tokens: most tokens of one forward pass, without the prefix.
        lanes: false makes all threads work together on every pass.
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
            logger.warning("the packed forward pass gives wrong vectors for this model: using the plain one, which is slower")
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
            prompts: token ids from `NotePrompt.embedding`.
            normalize: false returns vectors that are not normalized, to fit a projection to them.

        Returns:
            Unit vectors in the order of the prompts, (prompts, dimensions).

        Raises:
            PromptError: a prompt does not start with the shared prefix, or contains nothing else.
        """
        rests = [self._after_prefix(index, prompt) for index, prompt in enumerate(prompts)]
        vectors = np.empty((len(prompts), self.dimensions), dtype=np.float32)
        lengths = [len(rest) for rest in rests]

        def embed(batch: Sequence[int]) -> Tensor:
            return self._embed([rests[index] for index in batch], normalize=normalize)

        if self._lanes and (batches := _lane_batches(lengths, self._max_batch_tokens, self._lanes.count)):
            found = self._lanes.map(embed, batches)
        else:
            batches = list(token_batches(lengths, self._max_batch_tokens))
            # Start all batches before fetching the first result: a GPU computes one while the CPU packs the next.
            found = [embed(batch) for batch in batches]
        for batch, embedded in zip(batches, found, strict=True):
            vectors[batch] = embedded.cpu().numpy()
        return vectors

    @torch.inference_mode()
    def finish(self, states: Sequence[Tensor], prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """The vectors of prompts whose last states were computed elsewhere.

        Args:
            states: the state of each prompt's last token after the final norm, (E,).
            prompts: as in `encode`.

        Returns:
            See `encode`.

        Raises:
            PromptError: see `encode`.
        """
        if not prompts:
            return np.empty((0, self.dimensions), dtype=np.float32)
        rests = [self._after_prefix(index, prompt) for index, prompt in enumerate(prompts)]
        added = self._model.tokens.of_prompts(rests) if self._model.tokens is not None else None
        vectors: npt.NDArray[np.float32] = self._model.project(torch.stack(list(states)), added).cpu().numpy()
        return vectors

    def _embed(self, sequences: Sequence[Sequence[int]], *, normalize: bool) -> Tensor:
        pack = Pack.of(sequences, len(self._prefix_ids), self._device)
        states = self._states(pack)
        # On a GPU, the CPU counts the tokens while the layers run.
        added = self._model.tokens.of_prompts(sequences) if self._model.tokens is not None else None
        return self._model.project(states, added, normalize=normalize)

    def _after_prefix(self, index: int, prompt: Sequence[int]) -> Sequence[int]:
        length = len(self._prefix_ids)
        if list(prompt[:length]) != self._prefix_ids or len(prompt) == length:
            raise PromptError(f"prompt {index} must start with the {length} ids of the shared prefix and continue after them")
        return prompt[length:]

    def _agrees_with_plain(self, model: NoteLLM) -> bool:
        probes = [self._prefix_ids[:1], self._prefix_ids[-3:]]
        plain = torch.stack([model(torch.tensor([*self._prefix_ids, *ids], device=self._device)) for ids in probes])
        difference = float((self._embed(probes, normalize=True) - plain).abs().max())
        return difference <= _MAX_DIFFERENCE.get(model.causal_lm.dtype, _MAX_DIFFERENCE_HALF_PRECISION)


def _lane_batches(lengths: Sequence[int], max_tokens: int, lanes: int) -> list[list[int]]:
    """Batches for the lanes; empty if it is faster when all threads work together on each batch."""
    total = sum(lengths)
    if total < lanes * _LANE_TOKENS:
        return []
    batches = even_batches(lengths, max_tokens, lanes)
    most = sum(lengths[index] for index in batches[0])
    return batches if lanes <= len(batches) and most * len(batches) <= _UNEVEN * total else []

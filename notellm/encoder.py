"""`NoteEncoder`: the custom forward pass, from prompt ids to unit float32 vectors."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from notellm.attention import Prefix
from notellm.errors import PromptError
from notellm.forward import PackedForward, TransformersLayers
from notellm.model import NoteLLM
from notellm.packing import Pack, token_batches

# Largest difference of any component of a unit vector from the plain one-note forward pass, in float32.
TOLERANCE = 1e-5


class NoteEncoder:
    """Embeds prompts that share a prefix, whose keys and values are computed once.

    Batches are cut by tokens after sorting by length and run without padding and without the language-model head. A vector
    does not depend on what else is in its batch beyond `TOLERANCE`. Safe to use from several threads.

    Args:
        model: shared, not copied; it can generate at the same time.
        prefix_ids: what every prompt starts with, `NotePrompt.embedding_prefix`.
        max_batch_tokens: tokens of one forward pass, prefix not counted.
    """

    def __init__(self, model: NoteLLM, prefix_ids: Sequence[int], *, max_batch_tokens: int = 2048) -> None:
        self._model = model
        self._prefix_ids = list(prefix_ids)
        self._max_batch_tokens = max_batch_tokens
        backbone = model.causal_lm.model
        self._prefix, _ = Prefix.read(backbone, self._prefix_ids)
        scaling = float(backbone.layers[0].self_attn.scaling)
        self._states = PackedForward(TransformersLayers(backbone), self._prefix, scaling)

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
        for batch in token_batches([len(rest) for rest in rests], self._max_batch_tokens):
            pack = Pack.of([rests[index] for index in batch], self._prefix.length, self._model.device)
            vectors[batch] = self._forward(pack, normalize).cpu().numpy()
        return vectors

    def _forward(self, pack: Pack, normalize: bool) -> torch.Tensor:
        return self._model.project(self._states(pack), normalize=normalize)

    def _after_prefix(self, index: int, prompt: Sequence[int]) -> Sequence[int]:
        length = len(self._prefix_ids)
        if list(prompt[:length]) != self._prefix_ids or len(prompt) == length:
            raise PromptError(f"prompt {index} does not continue the {length} ids of the shared prefix")
        return prompt[length:]

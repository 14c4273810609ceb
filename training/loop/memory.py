"""`VectorMemory`: the vectors that notes had in earlier batches."""

import torch
from torch import Tensor

from training.batches import Remembered
from training.model import gather


class VectorMemory:
    """Vectors at the places that a `MemoryPlan` gives them, the same on all processes.

    Args:
        size: number of places.
        dimensions: length of the vectors.
        device: where they are kept.
    """

    def __init__(self, size: int, dimensions: int, device: torch.device | str = "cpu") -> None:
        self.vectors = torch.zeros(size, dimensions, device=device)

    def read(self, remembered: Remembered | None) -> Tensor | None:
        """(notes, d), the vectors that a batch reads; None without a memory."""
        return self.vectors[remembered.read.to(self.vectors.device)] if remembered else None

    def write(self, remembered: Remembered | None, embeddings: Tensor) -> None:
        """Keeps a batch's vectors. All processes must call it, each with its own examples, (examples, d)."""
        if remembered:
            self.vectors[remembered.write.to(self.vectors.device)] = gather(embeddings).to(self.vectors)

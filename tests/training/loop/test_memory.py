"""Vectors of earlier batches; whole runs with them are in test_run.py and test_distributed.py."""

import torch

from training.batches import Remembered
from training.loop.memory import VectorMemory


def remembered(read: list[int], write: list[int]) -> Remembered:
    return Remembered(tuple("n" * len(read)), torch.tensor(read, dtype=torch.long), torch.tensor(write))


def test_what_was_written_is_read() -> None:
    memory = VectorMemory(4, 2)
    first, second = torch.eye(2), torch.tensor([[0.5, 0.5], [3.0, 4.0]])
    memory.write(remembered([], [0, 1]), first)
    memory.write(remembered([], [2, 0]), second.requires_grad_())
    found = memory.read(remembered([0, 1], [3]))
    assert found is not None
    assert found.tolist() == [[3.0, 4.0], [0.0, 1.0]]
    assert not found.requires_grad


def test_without_a_plan_nothing_happens() -> None:
    memory = VectorMemory(0, 2)
    memory.write(None, torch.ones(3, 2))
    assert memory.read(None) is None
    assert memory.vectors.shape == (0, 2)

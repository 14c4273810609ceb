"""`Contrast`: what the notes of a batch have to find among each other. One-hot targets are the paper's, soft ones use all behaviour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.batches.examples import Asked, GlobalBatch
from training.batches.teacher import Teacher
from training.data import Cooccurrences

TargetKind = Literal["one_hot", "cooccurrences"]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Contrast:
    """One process's rows. Columns are the rows of all processes, in rank order, and then the notes that are remembered, if any.

    Attributes:
        targets: (examples, columns), float32. A row is a distribution over the notes to find, or all 0 if it does not count.
        left_out: (examples, columns), booleans. True for columns that are neither to be found nor negatives of the row.
        rows: (), the number of rows of the *global* batch that count.
    """

    targets: Tensor
    left_out: Tensor
    rows: Tensor

    def to(self, device: torch.device) -> "Contrast":
        """The same on another device."""
        return Contrast(self.targets.to(device), self.left_out.to(device), self.rows.to(device))


class Contrasts:
    """Makes the `Contrast` of global batches.

    With `one_hot`, a note has to find its partner, and all other notes that it co-occurs with are left out. With `cooccurrences`, it has
    to find all notes of the batch that it co-occurs with, in proportion to score^power; its partner is always one of them.

    Args:
        cooccurrences: those of the training notes.
        targets: the kind of target.
        power: exponent of the scores; 0 makes them all equal.
        hashtag_prompts: false leaves out the vectors of hashtag prompts, as rows and as columns. A row whose targets are all left out
            does not count.
        groups: the group of each note by id. Notes of different groups are left out; they are neither negatives nor to be found. Notes
            that are not in it form a group together. A row without a negative does not count.
        teacher: gives a part of each target.
    """

    def __init__(
        self, cooccurrences: Cooccurrences, *, targets: TargetKind = "one_hot", power: float = 0.5, hashtag_prompts: bool = True,
        groups: Mapping[str, str | None] | None = None, teacher: Teacher | None = None,
    ) -> None:  # fmt: skip
        self._cooccurrences = cooccurrences
        self._soft = targets == "cooccurrences"
        self._power = power
        self._hashtag_prompts = hashtag_prompts
        self._groups = groups
        self._teacher = teacher
        # Of partners whose co-occurrence was not kept because each of them has better ones.
        self._least = float(cooccurrences.score.min()) if len(cooccurrences) else 1.0

    def __call__(self, batch: GlobalBatch, rank: int, ranks: int, remembered: Sequence[str] = ()) -> Contrast:
        """The rows of one process. Each process computes all rows, to know how many count without communication.

        Args:
            batch: the global batch.
            rank: the process.
            ranks: the number of processes.
            remembered: notes of earlier batches that are columns too. They are not in this batch, and each appears once.
        """
        columns = [asked for each in range(ranks) for asked in batch.shard(each, ranks)]
        partners = np.pad(_partners(len(columns), ranks), ((0, 0), (0, len(remembered))))
        scores = self._cooccurrences.among([asked.note for asked in columns], remembered)
        weights = self._soft_weights(scores, partners) if self._soft else partners
        left_out = np.zeros_like(partners, dtype=bool) if self._soft else (scores > 0) & (partners == 0)
        np.fill_diagonal(left_out, val=True)
        if not self._hashtag_prompts:
            _leave_out_hashtag_prompts(columns, weights, left_out)
        notes = (*(asked.note for asked in columns), *remembered)
        if self._groups is not None:
            _leave_out_other_groups([self._groups.get(note) for note in notes], weights, left_out)
        totals = weights.sum(axis=1, keepdims=True)
        counted = torch.tensor(float((totals > 0).sum()))
        mine = slice(rank * len(columns) // ranks, (rank + 1) * len(columns) // ranks)
        targets, left_out = (weights / np.where(totals > 0, totals, 1))[mine], left_out[mine]
        if self._teacher is not None:
            targets = self._teacher.mix(targets, left_out, notes[: len(columns)][mine], notes)
        return Contrast(torch.from_numpy(targets).float(), torch.from_numpy(left_out), counted)

    def _soft_weights(self, scores: Matrix, partners: Matrix) -> Matrix:
        known: Matrix = np.where(scores > 0, scores, partners * self._least)
        return np.where(known > 0, known**self._power, 0)


def _partners(columns: int, ranks: int) -> Matrix:
    """1 at each row's partner, else 0, (columns, columns). Each rank has first notes, then their partners."""
    size = columns // ranks
    places = np.arange(columns)
    partners = np.zeros((columns, columns))
    partners[places, places - places % size + (places % size + size // 2) % size] = 1
    return partners


def _leave_out_other_groups(groups: list[str | None], weights: Matrix, left_out: npt.NDArray[np.bool_]) -> None:
    """`groups` are those of the columns, which begin with the rows."""
    numbers = np.unique([str(group) for group in groups], return_inverse=True)[1]
    other = numbers[: len(weights), None] != numbers
    weights[other] = 0
    left_out |= other
    weights[(~left_out).sum(axis=1) <= 1] = 0  # without a negative there is nothing to learn: the row does not count


def _leave_out_hashtag_prompts(columns: list[Asked], weights: Matrix, left_out: npt.NDArray[np.bool_]) -> None:
    hashtags = np.flatnonzero([asked.task == "hashtags" for asked in columns])
    weights[hashtags] = 0
    weights[:, hashtags] = 0
    left_out[:, hashtags] = True

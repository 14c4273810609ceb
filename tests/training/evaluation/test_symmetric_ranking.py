import numpy as np
import pytest
import torch

from training.data import Cooccurrences
from training.evaluation.symmetric_ranking import SymmetricRanking

PAIRS = [("a", "b"), ("c", "d"), ("e", "f")]
SCALE = 20.0


def loss(*related: tuple[int, int]) -> SymmetricRanking:
    first, second = np.array([*related], dtype=np.int64).reshape(-1, 2).T
    return SymmetricRanking(None, PAIRS, Cooccurrences(tuple("abcdef"), first, second, np.ones(len(related))), SCALE)


@pytest.fixture
def sides() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, generator=made), torch.randn(3, 4, generator=made)


def by_hand(first: torch.Tensor, second: torch.Tensor, masked: set[tuple[int, int]]) -> float:
    cosines = torch.nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)
    count = len(first)
    total = 0.0
    for own in range(count):
        forward = [float(SCALE * cosines[own, other]) for other in range(count) if (own, other) not in masked]
        backward = [float(SCALE * cosines[other, own]) for other in range(count) if (other, own) not in masked]
        total += np.logaddexp.reduce(forward) + np.logaddexp.reduce(backward) - 2 * float(SCALE * cosines[own, own])
    return total / (2 * count)


def test_it_is_the_mean_of_both_directions(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    assert float(loss().loss(*sides, torch.arange(3))) == pytest.approx(by_hand(*sides, set()), rel=1e-5)


def test_cooccurring_notes_are_no_negatives(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    """a and d co-occur, and so do b and e: a's row loses d, and b's column loses e. Own pairs stay, also if they co-occur."""
    masked = loss((0, 3), (1, 4), (0, 1))
    assert float(masked.loss(*sides, torch.arange(3))) == pytest.approx(by_hand(*sides, {(0, 1), (2, 0)}), rel=1e-5)


def test_labels_say_which_pairs_are_in_the_batch(sides: tuple[torch.Tensor, torch.Tensor]) -> None:
    first, second = (side[:2] for side in sides)
    masked = loss((0, 3))
    assert float(masked.loss(first, second, torch.tensor([1, 0]))) == pytest.approx(by_hand(first, second, {(1, 0)}), rel=1e-5)

"""The losses against brute force, row by row, in plain Python arithmetic."""

import math

import pytest
import torch
from torch.nn import functional

from training.model.losses import MAX_LOG_SCALE, Temperature, contrastive_loss, generative_loss, total_loss


def unit(rows: int, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def brute_force(vectors: torch.Tensor, related: torch.Tensor, tau: float) -> float:
    """GCL as section 3.3.1 writes it: for every note, -log of its partner's share among all other notes."""
    rows = len(vectors)
    terms = []
    for row in range(rows):
        partner = (row + rows // 2) % rows
        scores = {
            column: math.exp(float(vectors[row] @ vectors[column]) * math.exp(tau))
            for column in range(rows)
            if column == partner or not related[row, column]
        }
        terms.append(-math.log(scores[partner] / sum(scores.values())))
    return sum(terms) / rows


@pytest.mark.parametrize("pairs", [1, 2, 7])
def test_contrastive_loss_is_that_of_the_formula(pairs: int) -> None:
    vectors, itself = unit(2 * pairs), torch.eye(2 * pairs, dtype=torch.bool)
    loss = contrastive_loss(vectors, itself, torch.tensor([1.5]))
    assert float(loss) == pytest.approx(brute_force(vectors, itself, 1.5), rel=1e-5)


def test_a_related_note_is_no_negative() -> None:
    vectors = unit(6)
    related = torch.eye(6, dtype=torch.bool)
    related[0, 1] = related[1, 0] = True
    loss = contrastive_loss(vectors, related, torch.tensor([2.0]))
    assert float(loss) == pytest.approx(brute_force(vectors, related, 2.0), rel=1e-5)
    assert float(loss) < float(contrastive_loss(vectors, torch.eye(6, dtype=torch.bool), torch.tensor([2.0])))


def test_partners_in_the_wrong_order_would_be_noticed() -> None:
    vectors = unit(4)
    partnered = torch.cat([vectors, vectors])  # a note and its partner are the same vector
    shuffled = torch.cat([vectors, vectors.flip(0)])
    itself, tau = torch.eye(8, dtype=torch.bool), torch.tensor([3.0])
    assert float(contrastive_loss(partnered, itself, tau)) < float(contrastive_loss(shuffled, itself, tau))


def test_a_temperature_above_its_cap_comes_back() -> None:
    temperature = Temperature(start=9.0)
    contrastive_loss(unit(4), torch.eye(4, dtype=torch.bool), temperature()).backward()
    assert temperature.log_scale.grad is not None
    assert float(temperature.log_scale.grad) == 0  # by itself it never would
    temperature.cap()
    assert float(temperature().detach()) == pytest.approx(MAX_LOG_SCALE)
    contrastive_loss(unit(4), torch.eye(4, dtype=torch.bool), temperature()).backward()
    assert float(temperature.log_scale.grad) != 0


def test_the_temperature_is_capped_and_learns() -> None:
    temperature = Temperature(start=9.0)
    assert temperature.log_scale.shape == (1,)
    assert temperature.log_scale.dtype == torch.float32
    itself = torch.eye(4, dtype=torch.bool)
    at_cap = contrastive_loss(unit(4), itself, torch.tensor([MAX_LOG_SCALE]))
    torch.testing.assert_close(contrastive_loss(unit(4), itself, temperature()), at_cap)
    warm = Temperature(start=1.0)
    contrastive_loss(unit(4), itself, warm()).backward()
    assert warm.log_scale.grad is not None
    assert float(warm.log_scale.grad.abs()) > 0


def test_the_loss_is_float32_under_autocast() -> None:
    vectors, itself = unit(8), torch.eye(8, dtype=torch.bool)
    exact = contrastive_loss(vectors, itself, torch.tensor([3.0]))
    with torch.autocast("cpu", torch.bfloat16):
        assert contrastive_loss(vectors, itself, torch.tensor([3.0])) == exact


def test_generative_loss_is_the_mean_over_output_tokens() -> None:
    logits, ids = torch.randn(5, 11), torch.randint(11, (5,))
    expected = -sum(float(functional.log_softmax(row, -1)[token]) for row, token in zip(logits, ids, strict=True)) / 5
    assert float(generative_loss(logits, ids, torch.tensor(5.0))) == pytest.approx(expected, rel=1e-5)


def test_no_output_tokens_make_no_loss() -> None:
    logits = torch.zeros(0, 11, requires_grad=True)
    loss = generative_loss(logits, torch.zeros(0, dtype=torch.long), torch.tensor(0.0))
    loss.backward()
    assert float(loss.detach()) == 0


def test_total_loss_weighs_both() -> None:
    assert float(total_loss(torch.tensor(2.0), torch.tensor(5.0), 0.01)) == pytest.approx(2.05 / 1.01)

"""The losses against brute force, row by row, in plain Python arithmetic."""

import math

import pytest
import torch
from torch.nn import functional

from training.batches import Contrast
from training.model.losses import MAX_LOG_SCALE, Temperature, contrastive_loss, generative_loss, total_loss


def unit(rows: int, seed: int = 0) -> torch.Tensor:
    return functional.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def one_hot(rows: int) -> Contrast:
    """Each row has to find the one that is half of the rows away."""
    partners = torch.eye(rows).roll(rows // 2, dims=1)
    return Contrast(partners, torch.eye(rows, dtype=torch.bool), torch.tensor(float(rows)))


def brute_force(vectors: torch.Tensor, contrast: Contrast, tau: float) -> float:
    """GCL as section 3.3.1 writes it: for every note, -log of its target's share among all other notes, weighted by target."""
    terms = []
    for row, targets in enumerate(contrast.targets):
        if not targets.any():
            continue
        scores = {
            column: math.exp(float(vectors[row] @ vectors[column]) * math.exp(tau))
            for column in range(len(vectors))
            if not contrast.left_out[row, column]
        }
        total = sum(scores.values())
        terms.append(-sum(float(targets[column]) * math.log(score / total) for column, score in scores.items()))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("pairs", [1, 2, 7])
def test_contrastive_loss_is_that_of_the_formula(pairs: int) -> None:
    vectors, contrast = unit(2 * pairs), one_hot(2 * pairs)
    loss = contrastive_loss(vectors, contrast, torch.tensor([1.5]))
    assert float(loss) == pytest.approx(brute_force(vectors, contrast, 1.5), rel=1e-5)


def test_a_note_that_is_left_out_is_no_negative() -> None:
    vectors, contrast = unit(6), one_hot(6)
    contrast.left_out[0, 1] = contrast.left_out[1, 0] = True
    loss = contrastive_loss(vectors, contrast, torch.tensor([2.0]))
    assert float(loss) == pytest.approx(brute_force(vectors, contrast, 2.0), rel=1e-5)
    assert float(loss) < float(contrastive_loss(vectors, one_hot(6), torch.tensor([2.0])))


def test_remembered_vectors_are_columns_too() -> None:
    vectors, remembered, contrast = unit(6), unit(3, seed=1), one_hot(6)
    contrast = Contrast(
        torch.cat([contrast.targets, torch.zeros(6, 3)], 1),
        torch.cat([contrast.left_out, torch.zeros(6, 3) > 0], 1),
        contrast.rows,
    )
    contrast.targets[0] = torch.tensor([0, 0, 0, 0.5, 0, 0, 0, 0.5, 0])
    contrast.left_out[4, 8] = True
    loss = contrastive_loss(vectors, contrast, torch.tensor([1.0]), remembered)
    expected = brute_force(torch.cat([vectors, remembered]), contrast, 1.0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(loss) > float(contrastive_loss(vectors, one_hot(6), torch.tensor([1.0])))


def test_targets_may_be_distributions_and_rows_may_not_count() -> None:
    vectors, contrast = unit(6), one_hot(6)
    contrast.targets[0] = torch.tensor([0, 0.5, 0, 0.25, 0.25, 0])
    contrast.targets[2] = 0
    contrast.left_out[2] = True  # its shares are not numbers
    contrast.rows.fill_(5)
    vectors.requires_grad_()
    loss = contrastive_loss(vectors, contrast, torch.tensor([1.5]))
    assert float(loss.detach()) == pytest.approx(brute_force(vectors.detach(), contrast, 1.5), rel=1e-5)
    loss.backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_a_distribution_is_learnt() -> None:
    """The gradient is that of the difference between shares and targets."""
    vectors, contrast = unit(4), one_hot(4)
    contrast.targets[0] = torch.tensor([0, 0.2, 0.5, 0.3])
    cosines = vectors @ vectors.T
    shares = cosines.masked_fill(contrast.left_out, -torch.inf).softmax(dim=1)
    expected = (shares - contrast.targets) / 4
    vectors.requires_grad_()
    (gradient,) = torch.autograd.grad(contrastive_loss(vectors, contrast, torch.tensor([0.0])), vectors)
    torch.testing.assert_close(gradient, (expected + expected.T) @ vectors.detach())


def test_no_rows_that_count_make_no_loss() -> None:
    vectors, contrast = unit(4).requires_grad_(), one_hot(4)
    contrast.targets.zero_()
    loss = contrastive_loss(vectors, Contrast(contrast.targets, contrast.left_out, torch.tensor(0.0)), torch.tensor([1.0]))
    loss.backward()
    assert float(loss.detach()) == 0
    assert vectors.grad is not None
    assert not vectors.grad.any()


def test_partners_in_the_wrong_order_would_be_noticed() -> None:
    vectors = unit(4)
    partnered = torch.cat([vectors, vectors])  # a note and its partner are the same vector
    shuffled = torch.cat([vectors, vectors.flip(0)])
    contrast, tau = one_hot(8), torch.tensor([3.0])
    assert float(contrastive_loss(partnered, contrast, tau)) < float(contrastive_loss(shuffled, contrast, tau))


def test_a_temperature_above_its_cap_comes_back() -> None:
    temperature = Temperature(start=9.0)
    contrastive_loss(unit(4), one_hot(4), temperature()).backward()
    assert temperature.log_scale.grad is not None
    assert float(temperature.log_scale.grad) == 0  # by itself it never would
    temperature.cap()
    assert float(temperature().detach()) == pytest.approx(MAX_LOG_SCALE)
    contrastive_loss(unit(4), one_hot(4), temperature()).backward()
    assert float(temperature.log_scale.grad) != 0


def test_the_temperature_is_capped_and_learns() -> None:
    temperature = Temperature(start=9.0)
    assert temperature.log_scale.shape == (1,)
    assert temperature.log_scale.dtype == torch.float32
    contrast = one_hot(4)
    at_cap = contrastive_loss(unit(4), contrast, torch.tensor([MAX_LOG_SCALE]))
    torch.testing.assert_close(contrastive_loss(unit(4), contrast, temperature()), at_cap)
    warm = Temperature(start=1.0)
    contrastive_loss(unit(4), contrast, warm()).backward()
    assert warm.log_scale.grad is not None
    assert float(warm.log_scale.grad.abs()) > 0


def test_the_loss_is_float32_under_autocast() -> None:
    vectors, contrast = unit(8), one_hot(8)
    exact = contrastive_loss(vectors, contrast, torch.tensor([3.0]))
    with torch.autocast("cpu", torch.bfloat16):
        assert contrastive_loss(vectors, contrast, torch.tensor([3.0])) == exact


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

"""The mixed target, against its definition and against the sum of two losses."""

import numpy as np
import pytest
import torch

from tests.training.batches.test_contrast import BATCH, KNOWN, NOTES, cooccurring
from training.batches import Contrast, Contrasts, DistillationSettings, Teacher
from training.data import ItemVectors
from training.model.losses import contrastive_loss

# b and e are never visited with each other, but both with a.
SCORES = KNOWN | {"ac": 1.0, "fh": 2.0}
LESSON = DistillationSettings(share=0.3, dimensions=3, factor=4.0)
COLUMNS = (*NOTES, "z", "?")  # z was remembered; behaviour does not know "?"


def mixed(targets: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    return Teacher(cooccurring(SCORES, NOTES + "z"), LESSON).mix(targets, left_out, COLUMNS[:8], COLUMNS)


def test_the_target_is_a_mixture_with_the_softmax_of_cosines() -> None:
    draw = np.random.default_rng(0)
    targets, left_out = draw.dirichlet(np.ones(10), 8), np.eye(8, 10, dtype=bool)
    left_out[:, 4] = True
    left_out[6] = True  # nothing to see: as it was
    targets[2] = 0  # does not count: still does not
    found = mixed(targets, left_out)
    items = ItemVectors.of(cooccurring(SCORES, NOTES + "z"), 3)
    for row, note in enumerate(COLUMNS[:8]):
        seen = [
            column for column, other in enumerate(COLUMNS) if other != "?" and not left_out[row, column] and other in items.row
        ]
        expected = targets[row]
        if note in items.row and note not in "cg":
            cosines = torch.tensor(
                [float(items.vectors[items.row[note]] @ items.vectors[items.row[COLUMNS[at]]]) for at in seen]
            )
            expected = 0.7 * expected
            expected[seen] += 0.3 * (4.0 * cosines).softmax(0).numpy()
        np.testing.assert_allclose(found[row], expected, atol=1e-6)
        assert found[row].sum() == pytest.approx(targets[row].sum())


def test_a_note_without_behaviour_keeps_its_target() -> None:
    targets, left_out = np.full((8, 10), 0.1), np.eye(8, 10, dtype=bool)
    assert "g" not in "".join(SCORES)
    assert mixed(targets, left_out)[6] == pytest.approx(targets[6])
    assert mixed(targets, left_out)[0] != pytest.approx(targets[0])


def test_without_any_behaviour_nothing_is_taught() -> None:
    targets = np.full((8, 10), 0.1)
    taught = Teacher(cooccurring({}, NOTES), LESSON).mix(targets, np.zeros((8, 10), dtype=bool), COLUMNS[:8], COLUMNS)
    assert taught == pytest.approx(targets)


def contrast_of(teacher: Teacher | None, rank: int = 0, ranks: int = 1) -> Contrast:
    known = cooccurring(SCORES, NOTES + "z")
    return Contrasts(known, targets="cooccurrences", hashtag_prompts=False, teacher=teacher)(BATCH, rank, ranks, ["z"])


def test_the_loss_is_the_weighted_sum_of_two() -> None:
    torch.manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(8, 4), dim=1)
    remembered, log_scale = torch.nn.functional.normalize(torch.randn(1, 4), dim=1), torch.tensor([1.5])

    def loss(share: float) -> torch.Tensor:
        teacher = Teacher(cooccurring(SCORES, NOTES + "z"), LESSON.model_copy(update={"share": share})) if share else None
        return contrastive_loss(vectors, contrast_of(teacher), log_scale, remembered)

    assert loss(0.25).item() == pytest.approx(0.75 * loss(0).item() + 0.25 * loss(1.0).item(), abs=1e-5)
    assert loss(1.0).item() != pytest.approx(loss(0).item(), abs=1e-3)


def test_what_is_left_out_is_not_taught_and_the_same_rows_count() -> None:
    plain, taught = contrast_of(None), contrast_of(Teacher(cooccurring(SCORES, NOTES + "z"), LESSON))
    assert not ((taught.targets > 0) & taught.left_out).any()
    assert taught.rows == plain.rows
    assert torch.equal(taught.targets.any(dim=1), plain.targets.any(dim=1))
    assert not torch.equal(taught.targets, plain.targets)


def test_two_processes_have_the_rows_of_one() -> None:
    teacher = Teacher(cooccurring(SCORES, NOTES + "z"), LESSON)
    whole, parts = contrast_of(teacher), [contrast_of(teacher, rank, 2) for rank in range(2)]
    rows = ["abef".index(note) if note in "abef" else 4 + "cdgh".index(note) for note in NOTES]
    both = torch.cat([part.targets for part in parts])[rows][:, [*rows, 8]]
    torch.testing.assert_close(both, whole.targets)
    assert all(part.rows == whole.rows for part in parts)

"""The sentence encoder that NoteLLM is compared with, its real weights, on the demo's questions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from training.batches import undirected
from training.config import TrainingConfig
from training.data import Dataset, load_dataset
from training.evaluation.minilm import FineTunedMiniLM, FineTuning, MiniLM

pytestmark = [pytest.mark.integration, pytest.mark.slow("trains an encoder of another size")]

CONFIG = Path("training/configs/smollm2-135m-stackexchange.yaml")
PAIRS = 24


@pytest.fixture(scope="module")
def questions() -> Dataset:
    """Bodies cut, so that an epoch takes seconds."""
    dataset = load_dataset(TrainingConfig.load(CONFIG).data)
    short = {name: note.model_copy(update={"content": note.content[:60]}) for name, note in dataset.notes.items()}
    return replace(dataset, notes=short)


def test_fine_tuning_draws_the_pairs_that_it_learns_from_together(questions: Dataset) -> None:
    pairs = undirected(questions.pairs["train"])[:PAIRS]
    first, second = ([questions.notes[pair[side]] for pair in pairs] for side in (0, 1))
    tuned = FineTunedMiniLM(questions, FineTuning(epochs=2, max_pairs=PAIRS, pairs_per_batch=8, learning_rates=(2e-4,)))
    margins = []
    for model in (MiniLM(), tuned):
        one, other = model.embed(first), model.embed(second)
        assert np.allclose(np.linalg.norm(one, axis=1), 1, atol=1e-5)
        cosines = one @ other.T
        own = np.trace(cosines) / PAIRS
        margins.append(own - (cosines.sum() - np.trace(cosines)) / (PAIRS * (PAIRS - 1)))
    assert margins[1] > margins[0] + 0.02

from collections.abc import Callable

from training.config import TrainingConfig
from training.data import load_dataset
from training.evaluation.validation import cooccurrence_pool


def test_every_cooccurrence_of_validation_notes_asks_in_both_directions(run_config: Callable[..., TrainingConfig]) -> None:
    dataset = load_dataset(run_config().data)
    pool = cooccurrence_pool(dataset)
    assert pool is not None
    assert set(pool.notes) == dataset.split.validation
    pairs = set(zip(pool.sources.tolist(), pool.targets.tolist(), strict=True))
    assert len(pairs) == 2 * len(dataset.cooccurrences["validation"]) == len(pool.sources)
    assert pairs == {(target, source) for source, target in pairs}


def test_there_is_none_without_validation_notes(run_config: Callable[..., TrainingConfig]) -> None:
    assert cooccurrence_pool(load_dataset(run_config(data__split={"validation": 0, "test": 0.2}).data)) is None

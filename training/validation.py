"""`validation_pool`: what a run is measured on while it trains."""

import logging

from training.batches import ValidationPool
from training.config import TrainingConfig
from training.data import Dataset
from training.errors import ConfigError

logger = logging.getLogger(__name__)


def with_fitting_k(config: TrainingConfig, dataset: Dataset) -> TrainingConfig:
    """Lowers `validation.k` if there are few validation notes and the settings do not name it."""
    settings, pool = config.validation, _pool(config, dataset)
    if pool is None or "k" in settings.model_fields_set or _tells(settings.k, pool):
        return config
    logger.warning(
        "validation.k is %d instead of %d: there are only %d validation notes", pool.cut, settings.k, len(pool.notes)
    )
    return config.model_copy(update={"validation": settings.model_copy(update={"k": pool.cut})})


def _pool(config: TrainingConfig, dataset: Dataset) -> ValidationPool | None:
    settings = config.validation
    pairs = dataset.pairs_of("validation", settings.pairs)
    others = sorted(dataset.split.validation)
    return ValidationPool.of(pairs, others, settings.notes, both_ways=settings.pairs == "cooccurrences")


def _tells(k: int, pool: ValidationPool) -> bool:
    """Whether recall@k can be less than 1."""
    return k < len(pool.notes) - 1


def validation_pool(config: TrainingConfig, dataset: Dataset) -> ValidationPool | None:
    """The validation notes that recall is measured on; None if there is nothing to find among them.

    Raises:
        ConfigError: recall@k would always be 1.
    """
    pool = _pool(config, dataset)
    if pool and not _tells(1, pool):
        raise ConfigError(
            f"validation: a pool of {len(pool.notes)} validation notes tells nothing: raise validation.notes or "
            "data.split.validation, or set data.split.validation: 0"
        )
    if pool and not _tells(config.validation.k, pool):
        raise ConfigError(
            f"validation.k {config.validation.k} finds every note of a pool of {len(pool.notes)} validation notes: lower validation.k, or "
            "raise validation.notes or data.split.validation"
        )
    return pool

"""What can go wrong in training.

TrainingError
├── DataError          a notes or events file breaks its format, or contains nothing to learn from
├── ConfigError        a setting is wrong, or two settings exclude each other
├── BaseModelError     the base model cannot be made into a checkpoint
├── SaveError          a checkpoint could not be written or read; the one before it is unchanged
├── NonFiniteLossError the loss or a gradient is not a finite number
├── EvaluationError    the requested measurement is not possible
└── MissingPackageError a package of the extra `evaluate` is not installed
"""


class TrainingError(Exception):
    """Base of every error that this package raises on purpose. The command line prints only its message."""


class DataError(TrainingError):
    """A data file breaks its format, or contains nothing to learn from."""


class ConfigError(TrainingError):
    """A setting is wrong, or two settings exclude each other."""


class BaseModelError(TrainingError):
    """The base model cannot be used."""


class SaveError(TrainingError):
    """A checkpoint could not be written or read; the one before it is unchanged."""


class NonFiniteLossError(TrainingError):
    """The loss or a gradient is not a finite number."""


class EvaluationError(TrainingError):
    """The requested measurement is not possible."""


class MissingPackageError(TrainingError):
    """A package that only evaluation needs is not installed."""

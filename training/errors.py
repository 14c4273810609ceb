"""What can go wrong in training.

TrainingError
├── DataError          a notes or events file breaks its format, or holds nothing to learn from
├── ConfigError        a setting is wrong, or two do not go together
├── BaseModelError     the base model cannot be made into a checkpoint
├── SaveError          a checkpoint could not be written or read back; the one before it is untouched
├── NonFiniteLossError the loss is no longer a number
├── EvaluationError    what was asked for cannot be measured
└── MissingPackageError a package of the extra `evaluate` is not installed (training/evaluation/errors.py)
"""


class TrainingError(Exception):
    """Base of every error the package raises on purpose: its message is all that the command line prints."""


class DataError(TrainingError):
    """A data file breaks its format, or holds nothing to learn from."""


class ConfigError(TrainingError):
    """A setting is wrong, or two do not go together."""


class BaseModelError(TrainingError):
    """The base model cannot be used."""


class SaveError(TrainingError):
    """A checkpoint could not be written or read back; the one before it is untouched."""


class NonFiniteLossError(TrainingError):
    """The loss is no longer a number."""


class EvaluationError(TrainingError):
    """What was asked for cannot be measured."""

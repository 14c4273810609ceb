"""What can go wrong in training.

TrainingError
├── DataError        a notes file breaks its format
└── BaseModelError   the base model cannot be made into a checkpoint
"""


class TrainingError(Exception):
    """Base of every error the package raises on purpose: its message is all that the command line prints."""


class DataError(TrainingError):
    """A data file breaks its format."""


class BaseModelError(TrainingError):
    """The base model cannot be used."""

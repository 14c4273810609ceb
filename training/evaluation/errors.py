"""What can go wrong in evaluation.

TrainingError
├── EvaluationError       what was asked for cannot be measured
└── MissingPackageError   a package of the extra `evaluate` is not installed
"""

from importlib import import_module
from types import ModuleType

from training.errors import TrainingError


class EvaluationError(TrainingError):
    """What was asked for cannot be measured."""


class MissingPackageError(TrainingError):
    """A package that only evaluation needs is not installed."""


def evaluation_package(name: str) -> ModuleType:
    """Imports a module of the extra `evaluate` when it is needed: training and export do without these packages.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the package {error.name} is not installed: install the extra `evaluate`, pip install 'notellm[evaluate]'"
        ) from error

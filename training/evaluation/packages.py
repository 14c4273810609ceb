"""`evaluation_package`: imports the packages that only evaluation needs."""

from importlib import import_module
from types import ModuleType

from training.errors import MissingPackageError


def evaluation_package(name: str) -> ModuleType:
    """Imports a module of the extra `evaluate` on first use: training and export do not need these packages.

    Raises:
        MissingPackageError: its package is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"the package {error.name} is not installed: install the extra `evaluate` with pip install 'notellm[evaluate]'"
        ) from error

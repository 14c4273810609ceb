"""`lazy_exports`: a package exports names, and imports the module that defines a name only when the name is used.

torch takes seconds to import. `notellm-serve --help`, or a command that only calls a running service, does not need it.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_exports(package: str, places: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], list[str]]:
    """The `__getattr__` (PEP 562) and the `__all__` of a package.

    Args:
        package: its `__name__`.
        places: for each module, such as `.note` or `service.index`, the names that the package exports from it. Repeat them as imports
            under `TYPE_CHECKING`, where type checkers and editors look; tests/test_exports.py compares the two.
    """
    modules = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name], package), name)

    return get, sorted(modules)

"""`lazy_exports`: a package hands on names without importing the modules that define them before somebody uses one.

torch takes seconds to import. `notellm-serve --help`, or a command that only asks a running service, need not wait for it.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module


def lazy_exports(package: str, places: Mapping[str, Sequence[str]]) -> tuple[Callable[[str], object], list[str]]:
    """The `__getattr__` (PEP 562) and the `__all__` of a package.

    Args:
        package: its `__name__`.
        places: for each module, such as `.note` or `service.index`, the names that the package hands on. Repeat them as imports under
            `TYPE_CHECKING`, where type checkers and editors look; tests/test_exports.py compares the two.
    """
    modules = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name], package), name)

    return get, sorted(modules)
